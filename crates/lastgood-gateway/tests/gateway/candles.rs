//! Candles through the gateway: slices of the known candles equal the exchange's answers.

use std::sync::Arc;

use lastgood::store::{EmbeddedStore, Store as _};
use lastgood_sim::{ClockMode, SimConfig};

use crate::support::{Exchange, Running, client, eventually, get, half_past, read};

/// Numbers that look random and are the same each time (splitmix64, Steele et al. 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    fn of<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len() as u64) as usize]
    }
}

const MINUTE: u64 = 60_000;

/// Endpoints with the parameters that name a series there.
const ENDPOINTS: [(&str, &[&str]); 12] = [
    ("/api/v3/klines", &["symbol=BTCUSDT", "symbol=ETHUSDT", "symbol=ADAUSDT", "symbol=ETHUSDT&timeZone=8"]),
    ("/api/v3/uiKlines", &["symbol=BTCUSDT"]),
    ("/fapi/v1/klines", &["symbol=BTCUSDT", "symbol=ETHUSDT"]),
    ("/fapi/v1/continuousKlines", &["pair=BTCUSDT&contractType=PERPETUAL"]),
    ("/fapi/v1/indexPriceKlines", &["pair=BTCUSDT"]),
    ("/fapi/v1/markPriceKlines", &["symbol=BTCUSDT"]),
    ("/fapi/v1/premiumIndexKlines", &["symbol=BTCUSDT"]),
    ("/dapi/v1/klines", &["symbol=BTCUSD_PERP"]),
    ("/dapi/v1/continuousKlines", &["pair=BTCUSD&contractType=PERPETUAL"]),
    ("/dapi/v1/indexPriceKlines", &["pair=BTCUSD"]),
    ("/dapi/v1/markPriceKlines", &["symbol=BTCUSD_PERP"]),
    ("/dapi/v1/premiumIndexKlines", &["symbol=BTCUSD_PERP"]),
];
const INTERVALS: [(&str, u64); 8] = [
    ("1m", MINUTE),
    ("3m", 3 * MINUTE),
    ("5m", 5 * MINUTE),
    ("15m", 15 * MINUTE),
    ("1h", 60 * MINUTE),
    ("4h", 240 * MINUTE),
    ("1d", 1_440 * MINUTE),
    ("1w", 10_080 * MINUTE),
];

fn question(random: &mut Random, now: u64) -> String {
    let (path, names) = random.of(&ENDPOINTS);
    let (interval, length) = random.of(&INTERVALS);
    let mut query = format!("{path}?{}&interval={interval}", random.of(names));
    let ago = |random: &mut Random| match random.below(4) {
        0 => now - random.below(3 * length),
        1 => now - random.below(700) * length,
        2 => now - random.below(700) * length - random.below(*length),
        _ => now + random.below(2 * length) - random.below(50) * length,
    };
    let mut times = [ago(random), ago(random)];
    times.sort_unstable();
    // Beyond 200 days COIN-M refuses, and which candles it means by a start alone is its own business.
    match random.below(5) {
        0 => {}
        1 => query += &format!("&startTime={}", times[0]),
        2 => query += &format!("&endTime={}", times[1]),
        3 => query += &format!("&startTime={}&endTime={}", times[0], times[1]),
        _ => query += "&startTime=0&limit=1",
    }
    if !query.contains("limit") && random.below(3) > 0 {
        let most = if path.starts_with("/api") { 1_000 } else { 1_500 };
        let limit = *random.of(&[10, 200, most]);
        query += &format!("&limit={}", 1 + random.below(limit));
    }
    query
}

/// An exchange of plenty, whose clock stands, and a gateway that has learnt of the plenty.
async fn plentiful(now: u64, flags: &[(&str, &str)]) -> (Exchange, Running) {
    let plenty = SimConfig { weight_limit_spot: 10_000_000, weight_limit_futures: 10_000_000, ..SimConfig::default() };
    let exchange = Exchange::start_with(SimConfig { seed: 7, symbols: 300, ..plenty }).await;
    exchange.sim.set_clock(ClockMode::Frozen(now));
    let gateway = Running::start(&exchange.url(), flags).await;
    for venue in ["api/v3", "fapi/v1", "dapi/v1"] {
        assert_eq!(get(gateway.url(&format!("/{venue}/exchangeInfo"))).await.status, 200);
    }
    (exchange, gateway)
}

#[tokio::test(flavor = "multi_thread")]
async fn twelve_hundred_random_questions_are_answered_as_the_exchange_answers_byte_for_byte() {
    // Ahead of the gateway's clock, by candles of the shorter intervals: new ones are the exchange's to say.
    random_questions(1_200, half_past() + 40 * MINUTE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exchange_whose_clock_is_hours_behind_is_answered_for_byte_for_byte() {
    random_questions(300, half_past() - 180 * MINUTE).await;
}

/// Asks the gateway and the exchange, whose clock stands at `now`.
async fn random_questions(count: usize, now: u64) {
    let (exchange, gateway) = plentiful(now, &[]).await;
    let (exchange, gateway) = (Arc::new(exchange), Arc::new(gateway));
    let mut random = Random(2_026);
    let questions: Vec<String> = (0..count).map(|_| question(&mut random, now)).collect();
    let health = get(gateway.url("/health")).await.json();
    let offset = health["exchange_clock_offset_ms"].as_i64().unwrap();
    let is = now as i64 - lastgood::Clock::system().now().as_millis() as i64;
    assert!((offset - is).abs() < 30_000, "the exchange's clock is off by {is} ms: {health}");
    // Twelve at a time, as bots do.
    for twelve in questions.chunks(12) {
        let asks = twelve.iter().cloned().map(|question| {
            let (exchange, gateway) = (Arc::clone(&exchange), Arc::clone(&gateway));
            tokio::spawn(async move {
                let through = get(gateway.url(&question)).await;
                let direct = get(format!("{}{question}", exchange.url())).await;
                assert_eq!((through.status, &through.body), (direct.status, &direct.body), "{question}");
                through.status
            })
        });
        for ask in asks.collect::<Vec<_>>() {
            assert!(matches!(ask.await.expect("the same answer"), 200 | 400));
        }
    }
}

/// Candles of the exchange's log: the answers show which candles of which series were asked for.
fn klines_asked(exchange: &Exchange) -> Vec<String> {
    let log = exchange.sim.counters().log;
    log.iter()
        .filter(|request| request.path.contains("lines"))
        .map(|request| format!("{}?{}", request.path, request.query))
        .collect()
}

#[tokio::test]
async fn overlapping_ranges_ask_for_missing_candles_and_no_more() {
    let now = half_past();
    let (exchange, gateway) = plentiful(now, &[]).await;
    exchange.sim.reset_counters();
    let hour = 60 * MINUTE;
    let ask = |from: u64, to: u64| {
        gateway.url(&format!(
            "/fapi/v1/klines?symbol=BTCUSDT&interval=1h&startTime={}&endTime={}&limit=1500",
            now - from * hour,
            now - to * hour
        ))
    };
    get(ask(500, 300)).await;
    get(ask(400, 200)).await;
    get(ask(600, 100)).await;
    let asked = klines_asked(&exchange);
    // The first; what follows it; what comes before and what comes after.
    assert_eq!(asked.len(), 4, "{asked:#?}");
    let limits: u64 = asked
        .iter()
        .map(|query| query.split("limit=").nth(1).unwrap().split('&').next().unwrap().parse::<u64>().unwrap())
        .sum();
    assert!((501..=520).contains(&limits), "as many as there are: {asked:#?}");
    exchange.sim.reset_counters();
    assert_eq!(get(ask(590, 110)).await.cache(), "HIT");
    assert_eq!(klines_asked(&exchange), Vec::<String>::new());
}

#[tokio::test]
async fn a_restarted_gateway_asks_for_no_settled_candle_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("embedded:{}", folder.path().join("cache.redb").display());
    let exchange = Exchange::start().await;
    exchange.sim.set_clock(ClockMode::Frozen(half_past()));
    let flags: &[(&str, &str)] = &[("store", &store)];
    let question = "/api/v3/klines?symbol=BTCUSDT&interval=1h&limit=1000";
    let first = Running::start(&exchange.url(), flags).await;
    let before = get(first.url(question)).await;
    first.stop().await;
    exchange.sim.reset_counters();
    let second = Running::start(&exchange.url(), flags).await;
    let after = get(second.url(question)).await;
    assert_eq!(after.body, before.body);
    for query in klines_asked(&exchange) {
        assert!(query.contains("startTime=") && !query.contains("limit=1000"), "only the end: {query}");
    }
    assert_eq!(get(second.url("/api/v3/klines?symbol=BTCUSDT&interval=1h&limit=700")).await.cache(), "HIT");
}

/// A gateway in a process of its own, on an embedded store in `folder`, and where it listens.
fn process(exchange: &Exchange, folder: &std::path::Path) -> (std::process::Child, String) {
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_lastgood"))
        .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(folder)
        .args(["--set", &format!("binance.spot_url={}", exchange.url()), "--set", "log.level=info"])
        .env_clear()
        .env("NO_COLOR", "1")
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the command starts");
    let lines = std::io::BufRead::lines(std::io::BufReader::new(child.stderr.take().expect("its log")));
    let mut lines = lines.map_while(Result::ok);
    let address = lines.find_map(|line| {
        line.split("listen=").nth(1).map(|rest| rest.split_whitespace().next().unwrap().trim_matches('"').to_owned())
    });
    // The output is not read on, and a full pipe would stop it.
    std::thread::spawn(move || lines.count());
    (child, address.expect("it says where it listens"))
}

/// How many keys of candles are in the file of the store in `folder`, which a gateway has open: a copy of it is read. `None`
/// for a copy that a write went into.
async fn on_disk(folder: &std::path::Path) -> Option<u64> {
    let copy = tempfile::tempdir().unwrap();
    let path = copy.path().join("cache.redb");
    std::fs::copy(folder.join("lastgood.redb"), &path).ok()?;
    let (store, _) = EmbeddedStore::open(&path, lastgood::Clock::system(), 1 << 30).ok()?;
    let page = store.list("lastgood:klines:", None, 100).await.ok()?;
    Some(page.keys.len() as u64)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_gateway_knew_the_next_one_knows() {
    let folder = tempfile::tempdir().unwrap();
    let exchange = Exchange::start().await;
    exchange.sim.set_clock(ClockMode::Frozen(half_past()));
    let question = "/api/v3/klines?symbol=BTCUSDT&interval=1h&limit=1000";
    let (mut first, address) = process(&exchange, folder.path());
    let before = get(format!("{address}{question}")).await;
    assert_eq!(before.status, 200);
    // Writes are committed some hundred times a minute; what was not yet is lost, and loaded again.
    let kept = get(format!("{address}/api/cache/stats")).await.json()["regions"]["klines"]["keys"].clone();
    eventually("all of it is on the disk", async || on_disk(folder.path()).await == kept.as_u64()).await;
    first.kill().expect("kill -9");
    first.wait().expect("it is gone");
    exchange.sim.reset_counters();
    let (mut second, address) = process(&exchange, folder.path());
    let after = get(format!("{address}{question}")).await;
    second.kill().expect("it ends with the test");
    second.wait().expect("it is gone");
    assert_eq!(after.body, before.body);
    for query in klines_asked(&exchange) {
        assert!(query.contains("startTime=") && !query.contains("limit=1000"), "only the end: {query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_bots_at_a_candle_close_cost_one_request_a_series() {
    const SERIES: usize = 150;
    let exchange = Exchange::start_with(SimConfig { seed: 7, symbols: 300, ..SimConfig::default() }).await;
    // The exchange's clock is the gateway's: a candle closes when both say so.
    let symbols: Vec<String> = exchange.sim.symbols(lastgood_sim::Venue::Spot).into_iter().take(120).collect();
    let long = [
        ("regions.klines.fresh_for", "60s"),
        ("regions.klines.soft_timeout", "10s"),
        ("upstream.max_concurrent", "256"),
    ];
    let gateway = Arc::new(Running::start(&exchange.url(), &long).await);
    let every: Vec<String> = symbols
        .iter()
        .flat_map(|symbol| {
            ["1m", "5m", "15m"].map(|interval| format!("/api/v3/klines?symbol={symbol}&interval={interval}&limit=300"))
        })
        .collect();
    // Where the newest candle is missing, the exchange is asked again each second; that is another test's matter.
    let mut series = Vec::new();
    for question in every {
        let got = get(gateway.url(&question)).await;
        assert_eq!(got.status, 200);
        if got.json().as_array().unwrap().last().unwrap()[6].as_u64().unwrap() > now() && series.len() < SERIES {
            series.push(question);
        }
    }
    assert_eq!(series.len(), SERIES);
    // Nothing is newer than the close: every end is expired, as the close would do it.
    for region in gateway.gateway.cache().regions() {
        for name in tails(&exchange, &series) {
            region.expire(&name).await;
        }
    }
    exchange.sim.reset_counters();
    let (began, before) = (tokio::time::Instant::now(), now());
    let bots = (0..100).map(|bot| {
        let (gateway, series) = (Arc::clone(&gateway), series.clone());
        tokio::spawn(async move {
            let client = client();
            for step in 0..series.len() {
                let question = &series[(step + bot * 7) % series.len()];
                let got = read(client.get(gateway.url(question)).send().await.expect("an answer")).await;
                assert_eq!(got.status, 200, "{}", got.text());
                assert_ne!(got.cache(), "LAST-GOOD");
                assert!(got.header("age").parse::<u64>().unwrap() <= began.elapsed().as_secs() + 2);
            }
        })
    });
    for bot in bots.collect::<Vec<_>>() {
        bot.await.expect("every bot is answered");
    }
    let counters = exchange.sim.counters();
    let asked = counters.paths["/api/v3/klines"];
    // A minute may end while they ask; then its series are asked for again.
    let minutes = 1 + u64::from(before / MINUTE != now() / MINUTE);
    let series_asked = SERIES as u64;
    assert!((series_asked..=series_asked * minutes).contains(&asked), "{asked} requests for {} series", series.len());
    assert_eq!(counters.statuses.get(&429), None);
}

fn now() -> u64 {
    lastgood::Clock::system().now().as_millis()
}

/// The keys that the ends of series have in the cache.
fn tails(exchange: &Exchange, series: &[String]) -> Vec<String> {
    let key = |question: &String| {
        let field = |name: &str| question.split(name).nth(1).unwrap().split('&').next().unwrap().to_owned();
        format!("spot@{}/api/v3/klines:{}:{}:tail", exchange.address, field("symbol="), field("interval="))
    };
    series.iter().map(key).collect()
}

#[tokio::test]
async fn the_exchange_refuses_wrong_questions_itself() {
    let exchange = Exchange::start().await;
    let gateway = Running::start(&exchange.url(), &[]).await;
    for question in [
        "/api/v3/klines?symbol=NOSUCHCOIN&interval=1m",
        "/api/v3/klines?symbol=BTCUSDT",
        "/api/v3/klines?interval=1m",
        "/api/v3/klines?symbol=BTCUSDT&interval=1y",
        "/api/v3/klines?symbol=BTCUSDT&interval=1m&limit=0",
        "/api/v3/klines?symbol=BTCUSDT&interval=1m&limit=5000",
        "/api/v3/klines?symbol=BTCUSDT&interval=1m&startTime=2000&endTime=1000",
        "/api/v3/klines?symbol=BTCUSDT&interval=1m&startTime=x",
        "/api/v3/klines?symbol=BTCUSDT&interval=1m&nonsense=1",
        "/fapi/v1/klines?symbol=BTCUSDT&interval=1m&limit=5000",
        "/fapi/v1/klines?symbol=BTCUSDT&interval=1s",
        "/fapi/v1/klines?symbol=BTCUSDT&interval=1m&startTime=2000&endTime=1000",
        "/dapi/v1/klines?symbol=BTCUSD_PERP&interval=1m&startTime=0&endTime=1700000000000",
    ] {
        let (through, direct) = (get(gateway.url(question)).await, get(format!("{}{question}", exchange.url())).await);
        assert_eq!(through.status, direct.status, "{question}: {}", through.text());
        if direct.status == 200 {
            continue;
        }
        assert_eq!(through.body, direct.body, "{question}");
    }
}
