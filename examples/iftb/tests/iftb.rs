//! Each thing that the bot's data layer did, with Redis and without.

#![expect(clippy::unwrap_used, reason = "in tests a panic is the report")]

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lastgood::testing::RedisServer;
use lastgood::{Outcome, Tier};
use lastgood_example_iftb::{Model, Picture, Times, data_layer, look};
use lastgood_market::market::Confirm;
use lastgood_market::{Market, RegionName};
use lastgood_sim::{Fault, FaultKind, Sim, SimConfig};
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
    assert!(market.flush(Duration::from_secs(10)).await);
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
    assert_eq!(keys(&redis, 5), ":1\r\n", "what tells the other processes of it stays");
}

#[tokio::test]
async fn the_times_are_those_of_the_bot() {
    let market = data_layer("memory:", None, Times::BOT).await.unwrap();
    for (region, seconds) in [
        (RegionName::Ticker24hr, 10),
        (RegionName::PremiumIndex, 60),
        (RegionName::FearGreed, 300),
        (RegionName::Llm, 300),
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

#[test]
fn the_command_shows_it_all_and_ends() {
    let shown = std::process::Command::new(env!("CARGO_BIN_EXE_lastgood-example-iftb")).output().unwrap();
    let text = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.status.success(), "{text}\n{}", String::from_utf8_lossy(&shown.stderr));
    for word in ["candles 1h x 100", "HIT(memory)", "HIT(store)", "LAST-GOOD(", "asked the model 1 time", "degraded"] {
        assert!(text.contains(word), "{word} is not in:\n{text}");
    }
    assert_eq!(text.matches("store done: true").count(), 1, "{text}");
}
