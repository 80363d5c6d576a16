//! Random schedules: the exchange is well, then answers wrongly for a while, then is well again, while questions of
//! every form are asked, time goes by, and the process is restarted.

use std::sync::Arc;
use std::time::Duration;

use lastgood::testing::RedisServer;
use lastgood::{Clock, Timestamp};
use lastgood_sim::{Lie, Sim, SimConfig, Venue};

use super::bench::{Backing, Bench, RealTime};
use super::exchange::{Mood, mixed};
use super::{BEGIN, CLAIM_BELIEVED, DAY, HEALED_WITHIN, LISTS_HEALED_WITHIN, MINUTE, SECOND};

/// What a schedule asks for.
#[derive(Clone, Copy, Debug)]
enum Group {
    Spot,
    UsdM,
    CoinM,
    Tickers,
    Books,
    Trades,
    Statistics,
}

/// Chance that is the same for a seed.
struct Chance {
    seed: u64,
    drawn: u64,
}

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.drawn += 1;
        mixed(self.seed, self.drawn) % end.max(1)
    }

    fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len() as u64) as usize]
    }
}

/// A question: its target may depend on the time at which it is asked.
#[derive(Clone, Debug)]
enum Form {
    Fixed(String),
    /// The end is now.
    UntilNow(String),
}

impl Form {
    fn target(&self, now: u64) -> String {
        match self {
            Form::Fixed(target) => target.clone(),
            Form::UntilNow(target) => format!("{target}&endTime={now}"),
        }
    }
}

const INTERVALS: [(&str, u64); 8] = [
    ("1s", SECOND),
    ("1m", MINUTE),
    ("5m", 5 * MINUTE),
    ("1h", 60 * MINUTE),
    ("1d", DAY),
    ("3d", 3 * DAY),
    ("1w", 7 * DAY),
    ("1M", 30 * DAY),
];

/// A series of candles, as a path and a query without bounds, and the length of its interval.
fn series(group: Group, chance: &mut Chance, sim: &Sim) -> (String, u64) {
    let intervals = if let Group::Spot = group { &INTERVALS[..] } else { &INTERVALS[1..] };
    let (interval, length) = *chance.pick(intervals);
    let (venue, prefix) = match group {
        Group::CoinM => (Venue::Coin, "/dapi/v1"),
        Group::UsdM => (Venue::Futures, "/fapi/v1"),
        _ => (Venue::Spot, "/api/v3"),
    };
    let symbols = sim.symbols(venue);
    // Half of the time a well-known one, without gaps.
    let symbol = if chance.one_in(2) { &symbols[0] } else { chance.pick(&symbols) };
    let symbol = percent_encoding::utf8_percent_encode(symbol, percent_encoding::NON_ALPHANUMERIC);
    let pair = if let Group::CoinM = group { "BTCUSD" } else { "ETHUSDT" };
    let kind = if let Group::Spot = group { chance.below(2) } else { chance.below(6) };
    let named = match (group, kind) {
        (Group::Spot, 0) => format!("/klines?symbol={symbol}"),
        (Group::Spot, _) => format!("/uiKlines?symbol={symbol}"),
        (_, 0) => format!("/continuousKlines?pair={pair}&contractType=PERPETUAL"),
        (_, 1) => format!("/indexPriceKlines?pair={pair}"),
        (_, 2) => format!("/markPriceKlines?symbol={symbol}"),
        (_, 3) => format!("/premiumIndexKlines?symbol={symbol}"),
        _ => format!("/klines?symbol={symbol}"),
    };
    let zone = match group {
        Group::Spot if chance.one_in(4) => *chance.pick(&["&timeZone=8", "&timeZone=-5:30", "&timeZone=14"]),
        _ => "",
    };
    (format!("{prefix}{named}&interval={interval}{zone}"), length)
}

/// A question for candles of a series.
fn candles(series: &str, length: u64, now: u64, chance: &mut Chance) -> Form {
    let limits: &[u64] = if length > DAY { &[1, 2, 10, 60] } else { &[1, 2, 3, 7, 20, 50, 120, 500, 1_000] };
    let limit = match chance.below(8) {
        0 => String::new(),
        1..=5 => format!("&limit={}", chance.pick(&limits[..4])),
        _ => format!("&limit={}", chance.pick(limits)),
    };
    // Within some blocks of the store, so that questions overlap; off the grid.
    let back = chance.below(600) * length + chance.below(3) * chance.below(length);
    let start = now.saturating_sub(back);
    let span = chance.below(90) * length + chance.below(2) * chance.below(length);
    Form::Fixed(match chance.below(12) {
        0..=2 => format!("{series}{limit}"),
        3 => format!("{series}&startTime={start}{limit}"),
        4 => format!("{series}&endTime={start}{limit}"),
        5..=6 => format!("{series}&startTime={start}&endTime={}{limit}", start + span),
        7 => format!("{series}&startTime=0&limit=1"),
        8 => format!("{series}&startTime=1300000000000&endTime=1400000000000{limit}"),
        9 => format!("{series}&startTime={}{limit}", now + 10 * length),
        10 => format!("{series}&startTime={}&limit=5", 1_577_836_800_000 + chance.below(5) * 256 * length),
        _ => return Form::UntilNow(format!("{series}{limit}")),
    })
}

/// A question for something else.
fn other(group: Group, now: u64, chance: &mut Chance) -> Form {
    let spot = *chance.pick(&["BTCUSDT", "ETHUSDT"]);
    let coin = *chance.pick(&["BTCUSD_PERP", "ETHUSD_PERP"]);
    let (some, few) = ("symbols=%5B%22BTCUSDT%22,%22ETHUSDT%22%5D", *chance.pick(&[5, 10, 20, 100]));
    let symbol = format!("symbol={spot}");
    let recent = now - chance.below(50) * MINUTE;
    let one_of = match group {
        Group::Tickers => vec![
            format!("/api/v3/ticker/price?{symbol}"),
            "/api/v3/ticker/price".to_owned(),
            format!("/api/v3/ticker/price?{some}"),
            format!("/api/v3/ticker/bookTicker?{symbol}"),
            "/api/v3/ticker/bookTicker".to_owned(),
            format!("/api/v3/ticker/24hr?{symbol}"),
            format!("/api/v3/ticker/24hr?{some}"),
            "/api/v3/ticker/24hr".to_owned(),
            format!("/api/v3/ticker/24hr?{symbol}&type=MINI"),
            format!("/api/v3/ticker?{symbol}&windowSize=1h"),
            format!("/api/v3/ticker/tradingDay?{symbol}"),
            format!("/api/v3/avgPrice?{symbol}"),
            format!("/fapi/v1/ticker/price?{symbol}"),
            "/fapi/v1/ticker/price".to_owned(),
            format!("/fapi/v2/ticker/price?{symbol}"),
            format!("/fapi/v1/ticker/24hr?{symbol}"),
            "/fapi/v1/ticker/bookTicker".to_owned(),
            format!("/fapi/v1/ticker/bookTicker?{symbol}"),
            format!("/dapi/v1/ticker/price?symbol={coin}"),
            format!("/dapi/v1/ticker/24hr?symbol={coin}"),
            "/dapi/v1/ticker/bookTicker".to_owned(),
        ],
        Group::Books => vec![
            format!("/api/v3/depth?{symbol}&limit={few}"),
            format!("/api/v3/depth?{symbol}&limit=1000"),
            format!("/api/v3/depth?{symbol}"),
            format!("/fapi/v1/depth?{symbol}&limit={few}"),
            format!("/fapi/v1/depth?{symbol}"),
            format!("/dapi/v1/depth?symbol={coin}&limit={few}"),
            format!("/dapi/v1/depth?symbol={coin}&limit=1000"),
        ],
        Group::Trades => vec![
            format!("/api/v3/trades?{symbol}&limit={few}"),
            format!("/api/v3/aggTrades?{symbol}&limit={few}"),
            format!("/api/v3/aggTrades?{symbol}&startTime={recent}&limit={few}"),
            format!("/api/v3/aggTrades?{symbol}&startTime={recent}&endTime={}", recent + 20 * SECOND),
            format!("/api/v3/aggTrades?{symbol}&fromId=1000&limit={few}"),
            format!("/api/v3/historicalTrades?{symbol}&fromId=5000&limit={few}"),
            format!("/fapi/v1/trades?{symbol}&limit={few}"),
            format!("/fapi/v1/aggTrades?{symbol}&limit={few}"),
            format!("/dapi/v1/trades?symbol={coin}&limit={few}"),
        ],
        _ => vec![
            format!("/fapi/v1/premiumIndex?{symbol}"),
            "/fapi/v1/premiumIndex".to_owned(),
            format!("/fapi/v1/openInterest?{symbol}"),
            format!("/fapi/v1/fundingRate?{symbol}&limit={few}"),
            format!("/fapi/v1/fundingRate?{symbol}&startTime={}&limit=3", now - 40 * DAY),
            format!("/fapi/v1/fundingRate?{symbol}&endTime={}&limit=4", now - 3 * DAY),
            "/fapi/v1/fundingInfo".to_owned(),
            format!("/futures/data/openInterestHist?{symbol}&period=5m"),
            format!("/futures/data/globalLongShortAccountRatio?{symbol}&period=1h&limit={few}"),
            "/futures/data/basis?pair=BTCUSD&contractType=PERPETUAL&period=5m".to_owned(),
            format!("/dapi/v1/premiumIndex?symbol={coin}"),
            format!("/dapi/v1/openInterest?symbol={coin}"),
            "/api/v3/exchangeInfo".to_owned(),
            format!("/api/v3/exchangeInfo?{symbol}"),
            "/fapi/v1/exchangeInfo".to_owned(),
        ],
    };
    Form::Fixed(chance.pick(&one_of).clone())
}

/// The lies that are told: all, unless the environment names some, or none.
fn lies() -> Vec<Lie> {
    let named = std::env::var("LASTGOOD_LIES").ok().map(|names| {
        let name =
            |name: &str| serde_json::from_value(name.trim().into()).unwrap_or_else(|why| panic!("{name}: {why}"));
        names.split(',').filter(|name| !name.is_empty()).map(name).collect()
    });
    named.unwrap_or_else(|| Lie::ALL.to_vec())
}

/// How long passes between two questions: mostly moments, seldom days.
fn pause(chance: &mut Chance) -> Duration {
    let longest = *chance.pick(&[20, 900, 2_500, 11_000, 11_000, 70_000, 400_000, 5_000_000, 200_000_000]);
    Duration::from_millis(chance.below(longest))
}

async fn schedule(group: Group, seed: u64, bench: &mut Bench) -> Result<(), String> {
    let chance = &mut Chance { seed, drawn: 0 };
    let sim = bench.exchange.sim.clone();
    let is_candles = matches!(group, Group::Spot | Group::UsdM | Group::CoinM);
    let of = series(group, chance, &sim);
    let form = |bench: &Bench, chance: &mut Chance| match is_candles {
        true => candles(&of.0, of.1, bench.now(), chance),
        false => other(group, bench.now(), chance),
    };
    let mut pool: Vec<Form> = (0..3 + chance.below(3)).map(|_| form(bench, chance)).collect();
    for _ in 0..chance.below(6) {
        bench.judged(&chance.pick(&pool).target(bench.now())).await?;
        bench.wait(pause(chance)).await;
    }
    if chance.one_in(4) {
        bench.restart().await;
    }
    // A hiccup: every answer is wrong, in one way or in any, for less time than makes two answers independent. Or a
    // longer illness, in which some answers are wrong.
    let lies = lies();
    let one: Vec<Lie> = lies.get(chance.below(lies.len() as u64) as usize).copied().into_iter().collect();
    let is_hiccup = chance.one_in(2);
    let mood = match is_hiccup {
        true => Mood {
            lies: if chance.one_in(2) { one } else { lies },
            one_in: 1,
            left: 1 + chance.below(12),
            seed,
            cap: None,
        },
        false => Mood { lies, one_in: 2 + chance.below(5), left: u64::MAX, seed, cap: None },
    };
    bench.fall_ill(mood);
    for _ in 0..2 + chance.below(7) {
        if chance.one_in(4) {
            let fresh = form(bench, chance);
            pool.push(fresh);
        }
        bench.judged(&chance.pick(&pool).target(bench.now())).await?;
        let pause = if is_hiccup { pause(chance).min(CLAIM_BELIEVED / 12) } else { pause(chance) };
        bench.wait(pause).await;
        if chance.one_in(8) {
            bench.restart().await;
        }
    }
    bench.heal();
    for _ in 0..chance.below(3) {
        bench.judged(&chance.pick(&pool).target(bench.now())).await?;
        bench.wait(pause(chance).min(Duration::from_secs(20))).await;
    }
    bench.convalesce(if let Group::Statistics = group { LISTS_HEALED_WITHIN } else { HEALED_WITHIN }).await;
    for _ in 0..2 {
        for _ in 0..2 {
            let never_asked = form(bench, chance);
            pool.push(never_asked);
        }
        for form in &pool {
            bench.judged(&form.target(bench.now())).await?;
        }
        bench.restart().await;
        bench.wait(pause(chance)).await;
    }
    Ok(())
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|why| panic!("{name}={value}: {why}")))
}

/// The stores, by the seed.
fn backing(seed: u64, clock: &Clock) -> Backing {
    match seed % 25 {
        0 => Backing::Embedded(tempfile::tempdir().expect("a folder")),
        1..=4 => Backing::None,
        _ => Backing::Memory(lastgood::store::MemoryStore::new(clock.clone(), 64 << 20)),
    }
}

/// Runs `count` schedules, or the one that the environment names.
fn run(group: Group, count: u64, backing: impl Fn(u64, &Clock) -> Backing) {
    let count = number("LASTGOOD_SCHEDULES").map_or(count, |all| (all * count).div_ceil(ALL_SCHEDULES));
    let seeds = match number("LASTGOOD_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..count,
    };
    let mut failures = Vec::new();
    let ran = seeds.end - seeds.start;
    for seed in seeds {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        let outcome = runtime.expect("a runtime").block_on(async {
            let clock = Clock::paused_at(Timestamp::from_millis(BEGIN + mixed(seed, 0) % (2 * DAY)));
            let mut bench = Bench::over(clock.clone(), backing(seed, &clock));
            schedule(group, seed, &mut bench).await.map_err(|why| (why, bench.story()))
        });
        if let Err((why, story)) = outcome {
            let story = if failures.is_empty() { format!("\n{story}\n") } else { String::new() };
            failures.push(format!("LASTGOOD_SEED={seed}: {}{story}", why.chars().take(400).collect::<String>()));
        }
    }
    let first: Vec<&String> = failures.iter().take(MOST_REPORTED).collect();
    assert!(
        failures.is_empty(),
        "{} of {ran} schedules of {group:?} failed:\n{}",
        failures.len(),
        first.iter().map(|line| line.as_str()).collect::<Vec<_>>().join("\n")
    );
}

/// So many failures are told.
const MOST_REPORTED: usize = 20;
/// How many schedules all groups together run by default.
const ALL_SCHEDULES: u64 = 2_400;

#[test]
fn candles_of_spot() {
    run(Group::Spot, 600, backing);
}

#[test]
fn candles_of_usd_m_futures() {
    run(Group::UsdM, 400, backing);
}

#[test]
fn candles_of_coin_m_futures() {
    run(Group::CoinM, 400, backing);
}

#[test]
fn tickers() {
    run(Group::Tickers, 300, backing);
}

#[test]
fn books() {
    run(Group::Books, 250, backing);
}

#[test]
fn trades() {
    run(Group::Trades, 200, backing);
}

#[test]
fn statistics_and_symbols() {
    run(Group::Statistics, 200, backing);
}

#[test]
fn everything_over_a_real_redis() {
    let redis = RedisServer::start();
    let store = Arc::new(RealTime::redis(&redis.url()));
    for (number, group) in [Group::Spot, Group::CoinM, Group::Tickers].into_iter().enumerate() {
        run(group, 20, |seed, _| Backing::Redis(Arc::clone(&store), format!("truth-{number}-{seed}")));
    }
}

#[test]
fn a_schedule_is_the_same_for_its_seed() {
    let sim = Sim::new(SimConfig { seed: 7, symbols: 60, ..SimConfig::default() });
    let drawn = |seed| {
        let chance = &mut Chance { seed, drawn: 0 };
        let of = series(Group::Spot, chance, &sim);
        (0..50).map(|_| candles(&of.0, of.1, BEGIN, chance).target(BEGIN)).collect::<Vec<_>>()
    };
    assert_eq!(drawn(3), drawn(3));
    assert_ne!(drawn(3), drawn(4));
}
