//! Random schedules: the exchange is well, then answers wrongly for a while, then is well again, while questions of
//! every form are asked, time goes by, and the process is restarted.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lastgood::{Clock, Timestamp};
use lastgood_sim::{Lie, Sim, SimConfig};
use lastgood_testing::RedisServer;

use super::bench::{Backing, Bench, RealTime};
use super::exchange::{Mood, mixed};
use super::questions::{Chance, Form, Group, candles, others, series};
use super::{BEGIN, CLAIM_BELIEVED, DAY, healed_within};

/// The lies in use: all, unless the environment names some, or none.
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
        false => {
            let of_group = others(group, bench.now(), chance);
            Form::Fixed(chance.pick(&of_group).clone())
        }
    };
    let mut pool: Vec<Form> = (0..3 + chance.below(3)).map(|_| form(bench, chance)).collect();
    // Less than makes a load too slow to wait for where there is an answer already.
    bench.exchange.latency_ms.store(*chance.pick(&[0, 0, 4, 30]), Ordering::SeqCst);
    for _ in 0..chance.below(6) {
        ask_some(bench, &pool, chance).await?;
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
        ask_some(bench, &pool, chance).await?;
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
    bench.convalesce(healed_within(group)).await;
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

/// Asks one question, or several at once.
async fn ask_some(bench: &mut Bench, pool: &[Form], chance: &mut Chance) -> Result<(), String> {
    let count = if chance.one_in(4) { 3 } else { 1 };
    let targets: Vec<String> = (0..count).map(|_| chance.pick(pool).target(bench.now())).collect();
    bench.judged_together(&targets).await
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

/// The most failures reported.
const MOST_REPORTED: usize = 20;
/// How many schedules all groups together run by default.
const ALL_SCHEDULES: u64 = 4_000;

#[test]
fn candles_of_spot() {
    run(Group::Spot, 1_100, backing);
}

#[test]
fn candles_of_usd_m_futures() {
    run(Group::UsdM, 700, backing);
}

#[test]
fn candles_of_coin_m_futures() {
    run(Group::CoinM, 700, backing);
}

#[test]
fn tickers() {
    run(Group::Tickers, 500, backing);
}

#[test]
fn books() {
    run(Group::Books, 160, backing);
}

#[test]
fn trades() {
    run(Group::Trades, 500, backing);
}

#[test]
fn statistics_and_symbols() {
    run(Group::Statistics, 340, backing);
}

#[test]
fn everything_over_a_real_redis() {
    let redis = RedisServer::start();
    let store = Arc::new(RealTime::redis(&redis.url()));
    for (number, group) in [Group::Spot, Group::CoinM, Group::Tickers].into_iter().enumerate() {
        run(group, 40, |seed, _| Backing::Redis(Arc::clone(&store), format!("truth-{number}-{seed}")));
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
