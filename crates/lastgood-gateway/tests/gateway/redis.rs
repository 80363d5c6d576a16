//! A real Redis behind the gateway, in each of its bad states. No client ever sees an error from it.

use std::time::Duration;

use lastgood_testing::{Chaos, ChaosProxy, RedisCluster, RedisSentinels, RedisServer};
use tokio::time::Instant;

use crate::support::{Exchange, Running, eventually, get};

/// What one request may take when the store does nothing for it: the budget of 25 ms, and what a busy machine adds.
const BOUND: Duration = Duration::from_millis(400);

const SYMBOLS: [&str; 6] = ["BTCUSDT", "ETHUSDT", "BNBUSDT", "SOLUSDT", "XRPUSDT", "ADAUSDT"];

pub(crate) fn question(symbol: &str, limit: usize) -> String {
    format!("/api/v3/klines?symbol={symbol}&interval=1h&limit={limit}")
}

async fn over(exchange: &Exchange, redis: &str) -> Running {
    let flags = [("store", redis), ("regions.klines.fresh_for", "5m"), ("store_budget", "25ms")];
    Running::start(&exchange.url(), &flags).await
}

/// Cold questions, each answered well and most in bounds: a busy machine may stand still for one, a store that is
/// waited for holds up all. `round` makes them new.
pub(crate) async fn answers_everything(gateway: &Running, round: usize) {
    let mut took = Vec::new();
    for symbol in SYMBOLS {
        let asked = Instant::now();
        let got = get(gateway.url(&question(symbol, 10 + round))).await;
        assert_eq!(got.status, 200, "{}", got.text());
        took.push(asked.elapsed());
    }
    took.sort_unstable();
    assert!(took[SYMBOLS.len() / 2] < BOUND, "{took:?}");
}

/// The number that a command answers.
fn number(redis: &RedisServer, words: &[&str]) -> i64 {
    let reply = redis.command(words);
    reply.trim().trim_start_matches(':').parse().unwrap_or_else(|_| panic!("{words:?} answered {reply:?}"))
}

/// Every key, out of the reply's lines of counts and lengths.
fn keys(redis: &RedisServer) -> Vec<String> {
    let reply = redis.command(&["KEYS", "*"]);
    reply.lines().filter(|line| !line.starts_with(['*', '$'])).map(str::to_owned).collect()
}

pub(crate) async fn health(gateway: &Running) -> serde_json::Value {
    get(gateway.url("/health")).await.json()
}

async fn attached(exchange: &Exchange, redis: &str) -> Running {
    let gateway = over(exchange, redis).await;
    eventually("attached", async || {
        gateway.gateway.cache().probe_store().await.is_some_and(|probe| probe.is_ok())
            && health(&gateway).await["breaker"] == "closed"
    })
    .await;
    gateway
}

#[tokio::test]
async fn two_gateways_share_what_either_loaded() {
    let redis = RedisServer::start();
    let exchange = Exchange::start().await;
    exchange.sim.set_clock(lastgood_sim::ClockMode::Frozen(crate::support::half_past()));
    let first = attached(&exchange, &redis.url()).await;
    let loaded = get(first.url(&question("BTCUSDT", 10))).await;
    assert!(first.gateway.cache().sync(Duration::from_secs(5)).await);
    let second = attached(&exchange, &redis.url()).await;
    let found = get(second.url(&question("BTCUSDT", 10))).await;
    assert_eq!((found.cache(), &found.body), ("HIT", &loaded.body));
    assert!(found.header("cache-status").contains("detail=store"), "{}", found.header("cache-status"));
    assert_eq!(exchange.asked(), 1);
    // Every key has a time to live.
    for key in keys(&redis) {
        let ttl = number(&redis, &["PTTL", &key]);
        assert!(ttl > 0, "{key} has no time to live");
    }
}

#[tokio::test]
async fn a_stopped_redis_costs_no_error_and_is_used_again_when_it_goes_on() {
    let redis = RedisServer::start();
    let exchange = Exchange::start().await;
    let gateway = over(&exchange, &redis.url()).await;
    answers_everything(&gateway, 0).await;
    redis.stop();
    for round in 1..4 {
        answers_everything(&gateway, round).await;
    }
    assert_eq!(health(&gateway).await["status"], "degraded");
    redis.cont();
    eventually("the breaker closes", async || health(&gateway).await["breaker"] == "closed").await;
    answers_everything(&gateway, 4).await;
    assert_eq!(health(&gateway).await["status"], "ok");
}

#[tokio::test]
async fn a_killed_redis_costs_no_error_and_is_attached_again_when_it_returns() {
    let mut redis = RedisServer::start();
    let exchange = Exchange::start().await;
    let gateway = over(&exchange, &redis.url()).await;
    answers_everything(&gateway, 0).await;
    redis.kill();
    for round in 1..4 {
        answers_everything(&gateway, round).await;
    }
    redis.restart();
    eventually("the breaker closes", async || health(&gateway).await["breaker"] == "closed").await;
    answers_everything(&gateway, 4).await;
    assert!(gateway.gateway.cache().sync(Duration::from_secs(5)).await);
    assert!(number(&redis, &["DBSIZE"]) > 0, "it is written to again");
}

#[tokio::test]
async fn a_redis_absent_at_the_start_is_attached_without_a_restart() {
    let mut redis = RedisServer::prepare(&[]);
    let exchange = Exchange::start().await;
    let gateway = over(&exchange, &redis.url()).await;
    assert_ne!(health(&gateway).await["breaker"], "closed", "it has not answered anything yet");
    answers_everything(&gateway, 0).await;
    redis.restart();
    eventually("attached", async || gateway.gateway.cache().probe_store().await.is_some_and(|probe| probe.is_ok()))
        .await;
    answers_everything(&gateway, 1).await;
    assert!(gateway.gateway.cache().sync(Duration::from_secs(5)).await);
    assert!(number(&redis, &["DBSIZE"]) > 0);
    let store = get(gateway.url("/health")).await.json()["cache"]["store"].to_string();
    assert!(store.starts_with("\"redis://127.0.0.1:"), "named as people name it: {store}");
}

#[tokio::test]
async fn a_black_hole_or_a_broken_line_in_redis_s_place_costs_no_error() {
    let redis = RedisServer::start();
    let exchange = Exchange::start().await;
    let proxy = ChaosProxy::start(format!("127.0.0.1:{}", redis.port())).await;
    let gateway = over(&exchange, &redis.url_through(proxy.port())).await;
    answers_everything(&gateway, 0).await;
    for (round, chaos) in [Chaos::BlackHole, Chaos::Refuse, Chaos::Reset].into_iter().enumerate() {
        proxy.set(chaos);
        answers_everything(&gateway, 1 + round).await;
        answers_everything(&gateway, 11 + round).await;
        proxy.set(Chaos::Pass);
        eventually("the breaker closes", async || health(&gateway).await["breaker"] == "closed").await;
    }
    answers_everything(&gateway, 40).await;
}

#[tokio::test]
async fn a_redis_with_another_password_costs_no_error_and_the_password_is_shown_nowhere() {
    let redis = RedisServer::start_with(&["--requirepass", "the-right-one"]);
    let exchange = Exchange::start().await;
    let wrong = format!("redis://:the-wrong-one@127.0.0.1:{}", redis.port());
    let gateway = over(&exchange, &wrong).await;
    for round in 0..4 {
        answers_everything(&gateway, round).await;
    }
    let health = get(gateway.url("/health")).await;
    assert_eq!(health.json()["status"], "degraded", "{}", health.text());
    assert!(!health.text().contains("the-wrong-one"));
}

#[tokio::test]
async fn a_full_or_read_only_redis_still_serves_and_costs_no_error() {
    let redis = RedisServer::start();
    let exchange = Exchange::start().await;
    exchange.sim.set_clock(lastgood_sim::ClockMode::Frozen(crate::support::half_past()));
    let first = attached(&exchange, &redis.url()).await;
    answers_everything(&first, 0).await;
    assert!(first.gateway.cache().sync(Duration::from_secs(5)).await);
    for refusal in [["CONFIG", "SET", "maxmemory", "1"], ["REPLICAOF", "127.0.0.1", "1", ""]] {
        let words: Vec<&str> = refusal.into_iter().filter(|word| !word.is_empty()).collect();
        redis.command(&words);
        if words[0] == "REPLICAOF" {
            redis.command(&["CONFIG", "SET", "maxmemory", "0"]);
        }
        let second = attached(&exchange, &redis.url()).await;
        for round in 1..4 {
            answers_everything(&second, round).await;
        }
        let found = get(second.url(&question("BTCUSDT", 10))).await;
        assert_eq!(found.cache(), "HIT", "reads go on: {}", found.header("cache-status"));
        assert_eq!(health(&second).await["breaker"], "closed");
    }
}

#[tokio::test]
async fn corrupt_values_and_foreign_types_are_misses() {
    let redis = RedisServer::start();
    let exchange = Exchange::start().await;
    let first = attached(&exchange, &redis.url()).await;
    answers_everything(&first, 0).await;
    assert!(first.gateway.cache().sync(Duration::from_secs(5)).await);
    let keys: Vec<String> = keys(&redis).into_iter().filter(|key| key.contains(":klines:")).collect();
    assert!(keys.len() >= 2 * SYMBOLS.len(), "a tail and one block or two each, as the hours lie: {keys:?}");
    for (position, key) in keys.iter().enumerate() {
        match position % 3 {
            0 => drop(redis.command(&["SET", key, "garbage"])),
            1 => drop(redis.command(&["SETRANGE", key, "80", "XXXX"])),
            _ => {
                redis.command(&["DEL", key]);
                redis.command(&["LPUSH", key, "a", "list"]);
            }
        }
    }
    let second = attached(&exchange, &redis.url()).await;
    exchange.sim.reset_counters();
    answers_everything(&second, 0).await;
    assert_eq!(exchange.asked(), SYMBOLS.len() as u64, "each was loaded again");
    assert_eq!(health(&second).await["breaker"], "closed");
}

#[tokio::test]
async fn the_embedded_store_outlives_a_restart_and_its_last_good_answers_an_exchange_s_absence() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("embedded:{}", folder.path().join("cache.redb").display());
    let mut exchange = Exchange::start().await;
    let flags: &[(&str, &str)] =
        &[("store", &store), ("regions.klines.fresh_for", "1ms"), ("regions.klines.soft_timeout", "100ms")];
    let first = Running::start(&exchange.url(), flags).await;
    let loaded = get(first.url(&question("BTCUSDT", 10))).await;
    assert_eq!(loaded.cache(), "MISS");
    first.stop().await;
    exchange.stop().await;
    let second = Running::start(&exchange.url(), flags).await;
    let kept = get(second.url(&question("BTCUSDT", 10))).await;
    assert_eq!((kept.status, kept.cache(), &kept.body), (200, "LAST-GOOD", &loaded.body), "{}", kept.text());
}

#[tokio::test]
async fn the_counters_of_all_gateways_on_one_redis_are_added_up() {
    let redis = RedisServer::start();
    let exchange = Exchange::start().await;
    let (one, two) = (attached(&exchange, &redis.url()).await, attached(&exchange, &redis.url()).await);
    for gateway in [&one, &two] {
        get(gateway.url(&question("BTCUSDT", 10))).await;
        get(gateway.url(&question("BTCUSDT", 10))).await;
    }
    let together = async {
        loop {
            let health = health(&two).await;
            if health["cluster"]["nodes"] == 2 && health["cluster"]["hits"].as_u64() >= Some(2) {
                return health;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let health = tokio::time::timeout(Duration::from_secs(30), together).await.expect("they are added up");
    assert!(health["cluster"]["hit_rate"].as_f64() > Some(0.0), "{health}");
    let metrics = get(two.url("/metrics")).await;
    assert!(metrics.text().contains("lastgood_cluster_nodes 2"), "{}", metrics.text());
}

/// Runs work that blocks for seconds while the gateway runs on.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("the task ends")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_costs_no_error_and_the_new_primary_is_written_to() {
    let mut redis = aside(RedisSentinels::start).await;
    let exchange = Exchange::start().await;
    let gateway = attached(&exchange, &redis.url()).await;
    let store = health(&gateway).await["cache"]["store"].to_string();
    assert!(store.starts_with("\"redis+sentinel://127.0.0.1:"), "named as people name it: {store}");
    answers_everything(&gateway, 0).await;
    redis.servers()[0].kill();
    for round in 1..4 {
        answers_everything(&gateway, round).await;
    }
    let (mut redis, primary) = aside(move || {
        let primary = redis.primary_after(0);
        (redis, primary)
    })
    .await;
    let mut round = 4;
    eventually("the new primary is written to", async || {
        answers_everything(&gateway, round).await;
        round += 1;
        assert!(gateway.gateway.cache().sync(Duration::from_secs(5)).await);
        keys(&redis.servers()[primary]).iter().any(|key| key.contains("klines"))
    })
    .await;
    eventually("the breaker closes", async || health(&gateway).await["breaker"] == "closed").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_of_a_cluster_that_is_down_costs_no_error_and_leaves_the_others_in_use() {
    let mut redis = aside(RedisCluster::start).await;
    let exchange = Exchange::start().await;
    exchange.sim.set_clock(lastgood_sim::ClockMode::Frozen(crate::support::half_past()));
    let gateway = attached(&exchange, &redis.url()).await;
    answers_everything(&gateway, 0).await;
    assert!(gateway.gateway.cache().sync(Duration::from_secs(5)).await);
    assert!(redis.servers().iter().map(|server| number(server, &["DBSIZE"])).sum::<i64>() > 0);
    redis.servers()[0].kill();
    for round in 1..4 {
        answers_everything(&gateway, round).await;
    }
    eventually("the breaker closes", async || health(&gateway).await["breaker"] == "closed").await;
    let other = attached(&exchange, &redis.url()).await;
    let asked = exchange.asked();
    let mut found = 0;
    for symbol in SYMBOLS {
        let got = get(other.url(&question(symbol, 10))).await;
        assert_eq!(got.status, 200, "{}", got.text());
        found += usize::from(got.header("cache-status").contains("detail=store"));
    }
    let loaded = exchange.asked() - asked;
    assert!(found > 0, "what the other servers have is found there; {loaded} were loaded");
    assert_eq!(health(&other).await["breaker"], "closed");
    redis.servers()[0].restart();
    answers_everything(&other, 5).await;
}
