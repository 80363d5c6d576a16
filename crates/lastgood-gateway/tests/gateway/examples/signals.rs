//! The signal platform, each feature with Redis up, down, stopped and never named.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use lastgood_sim::SimConfig;
use lastgood_testing::{PostgresServer, RedisServer};
use serde_json::{Value, json};
use tokio::process::Command;

use super::{RedisIs, eventually, number_after, path, settings};
use crate::support::{Exchange, Got, Running, client, get, read};

mod outages;
mod program;
mod run;
mod worker;

const ANALYTICS: [&str; 10] = [
    "/v1/analytics/agents",
    "/v1/analytics/symbols",
    "/v1/analytics/timeframes",
    "/v1/analytics/pnl",
    "/v1/analytics/hours",
    "/v1/analytics/streaks",
    "/v1/analytics/drawdown",
    "/v1/analytics/volume",
    "/v1/analytics/calibration",
    "/v1/analytics/movers",
];
const LEADERBOARD: &str = "/v1/agents/leaderboard";
const NEWEST: &str = "/v1/signals";
const SYMBOLS: &str = "/v1/symbols/spot";
const PRICE: &str = "/api/v3/ticker/price?symbol=BTCUSDT";

/// Where `PostgresServer::execute` looks.
const DATABASE: &str = "postgres";

/// The routes on PostgreSQL.
fn declared() -> impl Iterator<Item = &'static str> {
    ANALYTICS.into_iter().chain([LEADERBOARD, NEWEST])
}

/// Every state that Redis may be in; none where none is configured.
fn states() -> [Option<RedisIs>; 4] {
    [None, Some(RedisIs::Up), Some(RedisIs::Down), Some(RedisIs::Stopped)]
}

/// Runs one of the example's scripts as its `run` does.
fn run_script(postgres: &PostgresServer, script: &str, variables: &[(&str, &str)]) {
    let mut psql = std::process::Command::new("psql");
    psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", &postgres.url(DATABASE), "-f"]).arg(path("signals", script));
    psql.args(variables.iter().flat_map(|(name, value)| ["-v".to_owned(), format!("{name}={value}")]));
    let done = psql.output().expect("psql starts");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// The platform but for its gateway: the exchange, and PostgreSQL with some thousand signals.
struct Platform {
    exchange: Exchange,
    postgres: PostgresServer,
}

impl Platform {
    async fn start() -> Platform {
        let exchange = Exchange::start_with(SimConfig { seed: 7, symbols: 300, ..SimConfig::default() }).await;
        let postgres = PostgresServer::start();
        let prices = get(format!("{}/api/v3/ticker/price", exchange.url())).await.json();
        let prices = prices.as_array().expect("a list").iter();
        let pairs = prices.map(|row| (row["symbol"].as_str().unwrap(), row["price"].as_str().unwrap()));
        let pairs = pairs.filter(|(symbol, _)| symbol.ends_with("USDT")).take(40);
        let pairs = pairs.map(|(symbol, price)| format!("{symbol}={price}")).collect::<Vec<_>>().join(",");
        let variables = [("signals", "8000"), ("agents", "12"), ("pairs", pairs.as_str())];
        for script in ["schema.sql", "seed.sql"] {
            run_script(&postgres, script, &variables);
        }
        exchange.sim.reset_counters();
        Platform { exchange, postgres }
    }

    /// The environment that the example's `run` gives.
    fn environment(&self, redis: Option<&str>) -> BTreeMap<&'static str, String> {
        let mut env = BTreeMap::from([
            ("LASTGOOD_BINANCE_SPOT_URL", self.exchange.url()),
            ("LASTGOOD_BINANCE_FUTURES_URL", self.exchange.url()),
            ("LASTGOOD_BINANCE_COIN_URL", self.exchange.url()),
            ("DATABASE_URL", self.postgres.url(DATABASE)),
        ]);
        env.extend(redis.map(|url| ("REDIS_URL", url.to_owned())));
        env
    }

    /// A gateway on the example's file.
    async fn gateway(&self, redis: Option<&RedisServer>) -> Running {
        let data = tempfile::tempdir().unwrap();
        let mut env = self.environment(redis.map(RedisServer::url).as_deref());
        env.insert("LASTGOOD_DATA_DIR", data.path().display().to_string());
        let env: Vec<_> = env.iter().map(|(name, value)| (*name, value.as_str())).collect();
        Running::serve(&settings("signals", &env, &[]), data).await
    }

    /// A gateway with a Redis in this state, which lives as long as the returned value.
    async fn with_redis(&self, redis: Option<RedisIs>) -> (Running, Option<RedisServer>) {
        let redis = redis.map(RedisIs::server);
        (self.gateway(redis.as_ref()).await, redis)
    }

    /// A round of the real worker.
    async fn worker(&self, gateway: &Running) -> Value {
        self.round(&gateway.url(""), &[]).await.0
    }

    /// A round of the worker on a gateway at `url`: what it has written, and what it logged.
    async fn round(&self, url: &str, more: &[&str]) -> (Value, String) {
        let worker = Command::new("python3")
            .arg(path("signals", "worker.py"))
            .args([url, "--pairs", "3"])
            .args(more)
            .env("DATABASE_URL", self.postgres.url(DATABASE))
            .kill_on_drop(true)
            .output();
        let done = tokio::time::timeout(Duration::from_secs(60), worker).await.expect("it ends").expect("it starts");
        let logged = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "{logged}");
        (serde_json::from_slice(&done.stdout).expect("what it has written"), logged)
    }
}

async fn ok(gateway: &Running, target: &str) -> Got {
    let got = get(gateway.url(target)).await;
    assert_eq!(got.status, 200, "{target}: {}", got.text());
    got
}

/// What the gateway at `url` says to an invalidation, with Redis or without.
async fn invalidate(url: &str, what: Value) -> Value {
    let request = client().post(format!("{url}/api/cache/invalidate")).body(what.to_string());
    let request = request.header("content-type", "application/json");
    let got = read(request.send().await.expect("an answer")).await;
    // Without Redis it waits for the store.
    assert!(matches!(got.status, 200 | 202), "{}", got.text());
    got.json()
}

async fn expire(gateway: &Running, tag: &str) -> Value {
    invalidate(&gateway.url(""), json!({ "tag": tag })).await
}

/// For how many seconds the answer is fresh.
fn ttl(got: &Got) -> f64 {
    number_after(got.header("cache-status"), "ttl=")
}

/// Whether an answer that has just been loaded is as fresh as its policy says: the end of freshness is spread by a
/// tenth.
fn is_fresh_for(got: &Got, seconds: f64) -> bool {
    (seconds * 0.85 - 2.0..=seconds).contains(&ttl(got))
}

/// A first question, which is loaded, and the same once more, which is not.
async fn miss_then_hit(gateway: &Running, target: &str, seconds: f64, context: &str) -> Got {
    let first = ok(gateway, target).await;
    let again = ok(gateway, target).await;
    assert_eq!((first.cache(), again.cache()), ("MISS", "HIT"), "{target}, {context}");
    assert_eq!(first.body, again.body, "{target}");
    let status = again.header("cache-status");
    assert!(is_fresh_for(&again, seconds), "{target} for {seconds}: {status}");
    again
}

fn rows(got: &Got) -> Vec<Value> {
    got.json().as_array().unwrap_or_else(|| panic!("no list: {}", got.text())).clone()
}

async fn warmed(gateway: &Running) {
    let ended = async || get(gateway.url("/health")).await.json()["warming"]["rounds"].as_u64() >= Some(1);
    eventually("a warming round ends", ended).await;
}

#[tokio::test]
async fn active_symbols_are_served_for_five_minutes() {
    let file = settings("signals", &[("DATABASE_URL", "postgres://127.0.0.1/none")], &[]);
    assert_eq!(file.warm.every, Duration::from_secs(300));
    let platform = Platform::start().await;
    for redis in states() {
        let (gateway, _redis) = platform.with_redis(redis).await;
        warmed(&gateway).await;
        platform.exchange.sim.reset_counters();
        let list = ok(&gateway, SYMBOLS).await;
        assert_eq!(list.cache(), "HIT", "Redis {redis:?}");
        assert!(is_fresh_for(&list, 300.0), "{}", list.header("cache-status"));
        let list = list.json();
        let active = list["symbols"].as_array().expect("symbols");
        assert!(active.len() > 100 && active.iter().all(|row| row["status"] == "TRADING"), "{}", active.len());
        assert_eq!(platform.exchange.asked(), 0, "Redis {redis:?}");
    }
}

#[tokio::test]
async fn prices_are_served_for_fifteen_seconds() {
    let platform = Platform::start().await;
    for redis in states() {
        let (gateway, _redis) = platform.with_redis(redis).await;
        let price = miss_then_hit(&gateway, PRICE, 15.0, &format!("Redis {redis:?}")).await;
        assert_eq!(price.json()["symbol"], "BTCUSDT");
    }
}

#[tokio::test]
async fn klines_by_timeframe_pass_through_the_drop_in_api_and_are_cached() {
    let platform = Platform::start().await;
    for redis in states() {
        let (gateway, _redis) = platform.with_redis(redis).await;
        for (timeframe, seconds) in [("15m", 120), ("1h", 300), ("4h", 900), ("1d", 3_600), ("1w", 14_400)] {
            let target = format!("/api/v3/klines?symbol=BTCUSDT&interval={timeframe}&limit=50");
            let candles = get(format!("{}{target}", platform.exchange.url())).await.json();
            let closes_at = candles[49][6].as_u64().expect("a close time");
            let left = closes_at.saturating_sub(lastgood::Clock::system().now().as_millis()) / 1_000;
            if left < 5 {
                // Another candle begins in the midst of it.
                continue;
            }
            let context = format!("Redis {redis:?}");
            // A list never outlives its last candle.
            let served = miss_then_hit(&gateway, &target, left.min(seconds) as f64, &context).await.json();
            let opens = |list: &Value| list.as_array().unwrap().iter().map(|row| row[0].clone()).collect::<Vec<_>>();
            assert_eq!(opens(&served), opens(&candles), "{timeframe}");
        }
    }
}

#[tokio::test]
async fn ten_analytics_queries_are_cached_for_two_minutes() {
    let platform = Platform::start().await;
    for redis in states() {
        let (gateway, _redis) = platform.with_redis(redis).await;
        for target in ANALYTICS {
            let answer = miss_then_hit(&gateway, target, 120.0, &format!("Redis {redis:?}")).await;
            assert!(!rows(&answer).is_empty(), "{target}");
        }
    }
}

/// The sum of a number over the rows.
fn sum(rows: &[Value], field: &str) -> f64 {
    let number = |row: &Value| match &row[field] {
        Value::String(text) => text.parse().expect("a number"),
        other => other.as_f64().unwrap_or_else(|| panic!("{field} in {row}")),
    };
    rows.iter().map(number).sum()
}

#[tokio::test]
async fn the_analytics_add_up_to_what_the_tables_hold() {
    let platform = Platform::start().await;
    let gateway = platform.gateway(None).await;
    let table = |sql: &str| platform.postgres.execute(sql).parse::<f64>().expect("a number");
    let recent = "FROM outcomes WHERE closed_at >= now() - interval '30 days'";
    let closed = table(&format!("SELECT count(*) {recent}"));
    assert!(closed > 2_000.0, "{closed}");
    for target in ["/v1/analytics/agents?limit=100", "/v1/analytics/symbols?min_signals=1&limit=200"]
        .into_iter()
        .chain(["/v1/analytics/timeframes", "/v1/analytics/hours", "/v1/analytics/calibration", LEADERBOARD])
    {
        assert_eq!(sum(&rows(&ok(&gateway, target).await), "closed"), closed, "{target}");
    }
    let pnl = rows(&ok(&gateway, "/v1/analytics/pnl?days=90").await);
    let all =
        table("SELECT sum(pnl) FROM outcomes WHERE closed_at >= date_trunc('day', now(), 'UTC') - interval '90 days'");
    assert_eq!(pnl.len(), 91);
    assert!((sum(&pnl, "pnl") - all).abs() < 0.01 && (sum(&pnl[90..], "cumulative_pnl") - all).abs() < 0.01);
    let volume = rows(&ok(&gateway, "/v1/analytics/volume?days=90&symbol=btcusdt").await);
    let of_pair =
        table("SELECT count(*) FROM signals WHERE symbol_id = (SELECT id FROM symbols WHERE symbol = 'BTCUSDT')");
    assert_eq!(sum(&volume, "signals"), of_pair);
}

#[tokio::test]
async fn the_leaderboard_is_cached_for_one_minute() {
    let platform = Platform::start().await;
    for redis in states() {
        let (gateway, _redis) = platform.with_redis(redis).await;
        let board = rows(&miss_then_hit(&gateway, LEADERBOARD, 60.0, &format!("Redis {redis:?}")).await);
        assert_eq!(board.len(), 12);
        assert!(board.windows(2).all(|pair| pair[0]["rank"].as_u64() <= pair[1]["rank"].as_u64()), "{board:?}");
        assert_eq!(rows(&ok(&gateway, "/v1/agents/leaderboard?limit=3").await), board[..3]);
    }
}

#[tokio::test]
async fn the_pipeline_invalidates_by_tag_and_the_next_read_sees_its_rows() {
    let platform = Platform::start().await;
    for redis in states() {
        let (gateway, _redis) = platform.with_redis(redis).await;
        warmed(&gateway).await;
        let price = ok(&gateway, "/api/v3/klines?symbol=ETHUSDT&interval=1w&limit=5").await;
        let mut before = BTreeMap::new();
        for target in declared() {
            ok(&gateway, target).await;
            let held = ok(&gateway, target).await;
            assert_eq!(held.cache(), "HIT", "{target}, Redis {redis:?}");
            before.insert(target, held);
        }
        let written = platform.worker(&gateway).await;
        // Three pairs in four timeframes; and the routes.
        assert_eq!((&written["signals"], &written["invalidated"]), (&json!(12), &json!(12)), "{written}");
        for target in declared() {
            let after = ok(&gateway, target).await;
            assert_ne!(after.cache(), "HIT", "{target}, Redis {redis:?}");
            assert_eq!(after.header("age"), "0", "{target}, {}", after.header("cache-status"));
            assert_eq!(ok(&gateway, target).await.cache(), "HIT", "{target}");
        }
        let newest = |got: &Got| rows(got)[0]["id"].as_u64().expect("an id");
        let after = ok(&gateway, NEWEST).await;
        assert_eq!(newest(&after), newest(&before[NEWEST]) + 12);
        assert_eq!(newest(&after).to_string(), platform.postgres.execute("SELECT max(id) FROM signals"));
        let volume = |got: &Got| sum(&rows(got), "signals");
        let grown = volume(&ok(&gateway, "/v1/analytics/volume").await) - volume(&before["/v1/analytics/volume"]);
        assert_eq!(grown, 12.0);
        // What has no such tag is left as it is.
        let again = ok(&gateway, "/api/v3/klines?symbol=ETHUSDT&interval=1w&limit=5").await;
        assert_eq!((again.cache(), &again.body), ("HIT", &price.body), "Redis {redis:?}");
    }
}

#[tokio::test]
async fn a_second_gateway_on_the_same_redis_sees_the_invalidation() {
    let platform = Platform::start().await;
    let redis = RedisServer::start();
    let first = platform.gateway(Some(&redis)).await;
    let board = ok(&first, LEADERBOARD).await;
    assert!(first.gateway.cache().sync(Duration::from_secs(5)).await);
    let second = platform.gateway(Some(&redis)).await;
    eventually("attached", async || second.gateway.cache().probe_store().await.is_some_and(|probe| probe.is_ok()))
        .await;
    let shared = ok(&second, LEADERBOARD).await;
    assert_eq!((shared.cache(), &shared.body), ("HIT", &board.body), "{}", shared.header("cache-status"));
    assert!(shared.header("cache-status").contains("detail=store"), "{}", shared.header("cache-status"));
    expire(&first, "agents").await;
    assert!(first.gateway.cache().sync(Duration::from_secs(5)).await);
    let third = platform.gateway(Some(&redis)).await;
    eventually("attached", async || third.gateway.cache().probe_store().await.is_some_and(|probe| probe.is_ok())).await;
    assert_ne!(ok(&third, LEADERBOARD).await.cache(), "HIT");
}

#[tokio::test]
async fn stats_are_in_health() {
    let platform = Platform::start().await;
    for redis in states() {
        let (gateway, _redis) = platform.with_redis(redis).await;
        let cache = async || get(gateway.url("/health")).await.json()["cache"].clone();
        warmed(&gateway).await;
        let before = cache().await;
        for _ in 0..5 {
            ok(&gateway, LEADERBOARD).await;
        }
        let after = cache().await;
        let grown = |field: &str| after[field].as_u64().expect(field) - before[field].as_u64().expect(field);
        assert_eq!((grown("misses"), grown("hits"), grown("errors")), (1, 4, 0), "Redis {redis:?}: {after}");
        let rate = after["hit_rate"].as_f64().expect("a rate");
        assert!((0.5..1.0).contains(&rate), "{rate}");
        assert!(after["memory_used"].as_u64() > Some(0) && after["store"].is_string(), "{after}");
    }
}

#[tokio::test]
async fn the_newest_signals_are_read_page_by_page() {
    let platform = Platform::start().await;
    let gateway = platform.gateway(None).await;
    let whole = rows(&ok(&gateway, "/v1/signals?limit=100").await);
    let last = whole[49]["id"].as_u64().expect("an id");
    let (first, second) = (ok(&gateway, NEWEST).await, ok(&gateway, &format!("/v1/signals?before={last}")).await);
    assert_eq!([rows(&first), rows(&second)].concat(), whole);
    assert!(rows(&ok(&gateway, "/v1/signals?symbol=ethusdt").await).iter().all(|row| row["symbol"] == "ETHUSDT"));
}
