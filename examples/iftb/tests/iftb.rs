//! Each thing that the bot's data layer did, with Redis and without.

#![expect(clippy::unwrap_used, reason = "in tests a panic is the report")]

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lastgood::{Outcome, Tier, WasThere};
use lastgood_example_iftb::{Model, Picture, Times, builder, data_layer, hours, look};
use lastgood_market::bars::{BarSeries, Ohlcv};
use lastgood_market::market::Confirm;
use lastgood_market::{Market, RegionName};
use lastgood_sim::{Fault, FaultKind, Sim, SimConfig};
use lastgood_testing::{RedisServer, eventually};
use rust_decimal::Decimal;
use tokio::net::TcpListener;

const SYMBOL: &str = "BTCUSDT";
/// Nothing becomes old in the midst of a test.
const FOR_LONG: Times = Times::all(Duration::from_secs(3_600));

async fn exchange() -> (Sim, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let sim = Sim::new(SimConfig { symbols: 50, ..SimConfig::default() });
    let serving = sim.clone();
    tokio::spawn(async move { serving.serve(listener, std::future::pending()).await });
    (sim, url)
}

fn outcomes(picture: &Picture) -> [Outcome; 5] {
    let Picture { bars, ticker, funding, mood, analysis } = picture;
    [bars.outcome, ticker.outcome, funding.outcome, mood.outcome, analysis.outcome]
}

async fn store_answers(market: &Market) {
    let answers = async {
        while !matches!(market.health().await.store, Some(Ok(_))) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), answers).await.expect("the store answers");
}

/// Keys of a database, by a script: it may look into any.
fn keys(redis: &RedisServer, database: u8) -> String {
    redis.command(&["EVAL", &format!("redis.call('SELECT', {database}) return #redis.call('KEYS', '*')"), "0"])
}

async fn a_turn_costs_each_source_once(sim: &Sim, market: &Market) -> Picture {
    let model = Arc::new(Model::default());
    let first = look(market, &model, SYMBOL).await.unwrap();
    assert_eq!(outcomes(&first), [Outcome::Miss; 5]);
    assert_eq!((first.bars.bars.len(), first.mood.value.len()), (100, 7));
    assert_eq!(first.ticker.value.symbol, SYMBOL);
    assert!(first.funding.value.last_funding_rate.is_some());
    let asked = sim.counters().total;
    assert_eq!(asked, 4, "{:?}", sim.counters().paths);
    let second = look(market, &model, SYMBOL).await.unwrap();
    assert_eq!(outcomes(&second), [Outcome::Hit(Tier::Memory); 5]);
    assert_eq!(second.analysis.value, first.analysis.value);
    assert_eq!((sim.counters().total, model.calls.load(Ordering::Relaxed)), (asked, 1));
    second
}

#[tokio::test]
async fn with_redis_a_restart_finds_everything_in_its_own_database() {
    let (sim, url) = exchange().await;
    let redis = RedisServer::start();
    let store = redis.url().replace("/0", "/5");
    let market = data_layer(&store, Some(&url), FOR_LONG).await.unwrap();
    store_answers(&market).await;
    assert!(market.health().await.is_well());
    let known = a_turn_costs_each_source_once(&sim, &market).await;
    assert!(market.sync(Duration::from_secs(10)).await);
    assert_eq!(keys(&redis, 0), ":0\r\n", "another database");
    assert_ne!(keys(&redis, 5), ":0\r\n");

    sim.fault(Fault { kind: FaultKind::Status { status: 503 }, path_prefix: String::new(), times: None });
    let next = data_layer(&store, Some(&url), FOR_LONG).await.unwrap();
    store_answers(&next).await;
    let model = Arc::new(Model::default());
    let found = look(&next, &model, SYMBOL).await.unwrap();
    assert_eq!(found.bars.bars, known.bars.bars);
    assert_eq!((found.ticker.value, found.ticker.outcome), (known.ticker.value, Outcome::Hit(Tier::Store)));
    assert_eq!((found.funding.value, found.funding.outcome), (known.funding.value, Outcome::Hit(Tier::Store)));
    assert_eq!((found.mood.value, found.mood.outcome), (known.mood.value, Outcome::Hit(Tier::Store)));
    assert_eq!((found.analysis.value, found.analysis.outcome), (known.analysis.value, Outcome::Hit(Tier::Store)));
    assert_eq!(model.calls.load(Ordering::Relaxed), 0, "no model is asked twice");

    assert!(next.clear(Confirm::YesClearEverything).await.store_done);
    assert_eq!(keys(&redis, 5), ":2\r\n", "the two logs that other processes read stay");
}

#[tokio::test]
async fn the_times_are_those_of_the_bot() {
    let market = data_layer("memory:", None, Times::BOT).await.unwrap();
    for (region, seconds) in [
        (RegionName::Ticker24hr, 10),
        (RegionName::PremiumIndex, 60),
        (RegionName::FearGreed, 300),
        (RegionName::Llm, 300),
        (RegionName::Bars, 300),
    ] {
        assert_eq!(market.region(region).policy().fresh_for, Duration::from_secs(seconds), "{region}");
    }
}

#[tokio::test]
async fn without_redis_it_is_all_the_same() {
    let (sim, url) = exchange().await;
    let market = data_layer("memory:", Some(&url), FOR_LONG).await.unwrap();
    assert!(market.health().await.is_well());
    a_turn_costs_each_source_once(&sim, &market).await;
}

#[tokio::test]
async fn a_redis_that_is_not_there_costs_no_answer() {
    let (sim, url) = exchange().await;
    let redis = RedisServer::prepare(&[]);
    let market = data_layer(&redis.url(), Some(&url), FOR_LONG).await.unwrap();
    a_turn_costs_each_source_once(&sim, &market).await;
    assert!(!market.health().await.is_well());
}

#[tokio::test]
async fn when_everything_is_gone_the_last_good_is_left_and_says_so() {
    let (sim, url) = exchange().await;
    let mut redis = RedisServer::start();
    let market = data_layer(&redis.url(), Some(&url), Times::all(Duration::ZERO)).await.unwrap();
    store_answers(&market).await;
    let model = Arc::new(Model::default());
    let known = look(&market, &model, SYMBOL).await.unwrap();
    redis.kill();
    sim.fault(Fault { kind: FaultKind::Reset, path_prefix: String::new(), times: None });
    model.is_down.store(true, Ordering::Relaxed);
    let left = look(&market, &model, SYMBOL).await.unwrap();
    assert_eq!(left.bars.bars, known.bars.bars);
    for outcome in &outcomes(&left)[1..] {
        assert!(matches!(outcome, Outcome::LastGood(_)), "{outcome}");
    }
    assert_eq!((left.ticker.value, left.analysis.value), (known.ticker.value, known.analysis.value));
    let health = market.health().await;
    assert!(!health.is_well());
    let troubled = |region| health.last_errors.iter().any(|trouble| trouble.region == region);
    assert!(troubled(RegionName::Ticker24hr) && troubled(RegionName::FearGreed) && troubled(RegionName::Llm));
}

const PASSWORD: &str = "bot-secret";

#[tokio::test]
async fn a_password_a_database_and_a_namespace_keep_it_apart_from_everything_else() {
    let (_sim, url) = exchange().await;
    let redis = RedisServer::start_with(&["--requirepass", PASSWORD]);
    for (database, key) in [(0, "another-program"), (5, "neighbour:of-the-same-database"), (5, "iftb2:no-prefix-of-it")]
    {
        redis.command(&[
            "EVAL",
            &format!("redis.call('SELECT', {database}) redis.call('SET', '{key}', '1') return 1"),
            "0",
        ]);
    }
    let store = redis.url().replace("/0", "/5");
    assert!(store.contains(&format!(":{PASSWORD}@")), "{store}");
    let market = data_layer(&store, Some(&url), FOR_LONG).await.unwrap();
    store_answers(&market).await;
    look(&market, &Arc::new(Model::default()), SYMBOL).await.unwrap();
    market.own_bars().set_bars(&series("own"), &hours(3, 100)).await;
    assert!(market.sync(Duration::from_secs(10)).await);
    assert_eq!(keys(&redis, 0), ":1\r\n", "nothing of it is in another database");
    let of_bot = "redis.call('SELECT', 5) return #redis.call('KEYS', 'iftb:*')";
    assert_ne!(redis.command(&["EVAL", of_bot, "0"]), ":0\r\n");
    assert!(market.clear(Confirm::YesClearEverything).await.store_done);
    assert_eq!(redis.command(&["EVAL", of_bot, "0"]), ":2\r\n", "the two logs that other processes read stay");
    assert_eq!((keys(&redis, 0), keys(&redis, 5)), (":1\r\n".to_owned(), ":4\r\n".to_owned()), "all else is untouched");
    // A busy machine may be slower than the store's budget.
    eventually("it is known", async || market.own_bars().exists(&series("own")).await == Ok(false)).await;
}

#[tokio::test]
async fn a_wrong_password_is_reported_and_costs_no_answer() {
    let (sim, url) = exchange().await;
    let redis = RedisServer::start_with(&["--requirepass", PASSWORD]);
    let wrong = redis.url().replace(PASSWORD, "a-wrong-one");
    for store in [wrong, redis.url().replace(&format!(":{PASSWORD}@"), "")] {
        sim.reset_counters();
        let market = data_layer(&store, Some(&url), FOR_LONG).await.unwrap();
        a_turn_costs_each_source_once(&sim, &market).await;
        let named = async {
            loop {
                let why = market.health().await.store.and_then(Result::err).map(|why| why.to_string());
                if let Some(why) = why.filter(|why| why.to_lowercase().contains("authentication")) {
                    return why;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let why = tokio::time::timeout(Duration::from_secs(20), named).await.expect("the password is named");
        assert!(!why.contains("a-wrong-one") && !market.health().await.is_well(), "{why}");
    }
}

fn series(name: &str) -> BarSeries {
    BarSeries::new(name, "1h").unwrap()
}

#[tokio::test]
async fn ohlcv_is_set_got_asked_for_its_latest_and_invalidated() {
    let market = data_layer("memory:", None, Times::BOT).await.unwrap();
    let own = market.own_bars();
    assert_eq!(own.exists(&series("my:BTC-PERP")).await, Ok(false));
    let mut brought = hours(50, 100);
    brought.push(Ohlcv { high: Decimal::ZERO, ..brought[0].clone() });
    let set = own.set_bars(&series("my:BTC-PERP"), &brought).await;
    assert_eq!((set.stored, set.refused.len(), set.refused[0].0), (50, 1, 50));
    let read = own.get_bars(&series("my:BTC-PERP"), 10).await.unwrap().unwrap();
    assert_eq!(read.bars, brought[40..50]);
    assert_eq!(own.latest_bar(&series("my:BTC-PERP")).await, Ok(Some(brought[49].clone())));
    assert_eq!(own.exists(&series("my:BTC-PERP")).await, Ok(true));
    assert_eq!(own.invalidate(&series("my:BTC-PERP")).await, WasThere::Yes);
    assert_eq!(own.exists(&series("my:BTC-PERP")).await, Ok(false));
}

#[tokio::test]
async fn what_memory_drops_comes_from_the_store() {
    let redis = RedisServer::start();
    let market = builder(&redis.url(), None, FOR_LONG).unwrap().memory_limit(1 << 20).build().await.unwrap();
    store_answers(&market).await;
    let names: Vec<String> = (0..30).map(|number| format!("many{number}")).collect();
    for (close, name) in (100..).zip(&names) {
        assert_eq!(market.own_bars().set_bars(&series(name), &hours(1_000, close)).await.stored, 1_000);
    }
    assert!(market.sync(Duration::from_secs(20)).await);
    assert!(market.stats(RegionName::Bars).keys < 30 && market.status().memory_bytes <= 1 << 20);
    let mut from_store = 0;
    for (close, name) in (100..).zip(&names) {
        // A busy machine may be slower than the store's budget.
        let read = async {
            loop {
                match market.own_bars().get_bars(&series(name), 1_000).await {
                    Ok(read) => return read,
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        };
        let read =
            tokio::time::timeout(Duration::from_secs(20), read).await.expect("the store answers").expect("it is found");
        assert_eq!(read.bars, hours(1_000, close), "{name}");
        from_store += u32::from(read.outcome == Outcome::Hit(Tier::Store));
    }
    assert!(from_store > 0);
}

#[test]
fn the_program_keeps_its_promises_in_every_state_of_redis() {
    for state in ["up", "frozen", "stopped", "absent", "returning"] {
        let program = env!("CARGO_BIN_EXE_lastgood-example-iftb");
        let shown = std::process::Command::new(program).args(["--redis", state]).output().unwrap();
        let text = String::from_utf8(shown.stdout).unwrap();
        assert!(shown.status.success(), "{state}: {text}\n{}", String::from_utf8_lossy(&shown.stderr));
        for word in ["a cache", "candles 1h x 100", "hit(memory)", "HIT(store)", "LAST-GOOD(", "model once", "degraded"]
        {
            assert!(text.contains(word), "{state}: {word} is not in:\n{text}");
        }
        let (_, last) = text.trim_end().rsplit_once('\n').unwrap();
        let (held, all) = last.split_once("library: ").and_then(|(_, rest)| rest.split_once(" of ")).unwrap();
        assert!(all.starts_with(&format!("{held} promises")), "{state}: {last}");
    }
}

/// Next to a gateway over HTTP, by the command that a reader types.
#[test]
fn run_shows_it_as_a_library_and_over_http_and_keeps_every_promise() {
    let lastgood = std::path::Path::new(env!("CARGO_BIN_EXE_lastgood-example-iftb")).with_file_name("lastgood");
    assert!(lastgood.exists(), "there is no {}: cargo build --bin lastgood", lastgood.display());
    let run = concat!(env!("CARGO_MANIFEST_DIR"), "/run");
    for state in ["up", "frozen", "stopped", "absent", "returning"] {
        let mut command = std::process::Command::new(run);
        let shown = command.args(["--once", "--redis", state]).env("LASTGOOD_BIN", &lastgood).output().unwrap();
        let text = String::from_utf8(shown.stdout).unwrap();
        assert!(shown.status.success(), "{state}: {text}\n{}", String::from_utf8_lossy(&shown.stderr));
        assert!(text.contains("as a library") && text.contains("over HTTP"), "{state}: {text}");
        assert!(!text.contains("BROKEN") && text.trim_end().ends_with("promises held"), "{state}: {text}");
    }
}
