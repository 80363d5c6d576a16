//! What a Redis can do to a cache. Each test breaks a real server, or the way to it, and looks at three things: the
//! kind of error, how long a caller waited for it, and that the store is in use again by itself.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use lastgood::Timestamp;
use lastgood::store::{
    Addition, BreakerState, Counters, Guard, GuardedStore, RedisOptions, RedisStore, Store, StoreError,
};
use lastgood_testing::{Chaos, ChaosProxy, RedisServer};
use tokio::time::{Instant, sleep, timeout};

mod joined;
mod refusals;
mod tls;
mod turned_away;

pub(crate) const HOUR: Duration = Duration::from_secs(3600);
/// What the machine may add to a time bound when it is busy with other tests.
pub(crate) const SLACK: Duration = Duration::from_millis(250);
/// How long to wait for what happens by itself; far longer than it takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn open(url: &str) -> RedisStore {
    RedisStore::connect(RedisOptions::parse(url).expect("a good URL"))
}

pub(crate) fn guard(url: &str) -> Arc<GuardedStore> {
    GuardedStore::new(Arc::new(open(url)), Guard::default())
}

/// Asks until `wanted`, and says how long that took.
pub(crate) async fn until<T: std::fmt::Debug>(
    mut ask: impl AsyncFnMut() -> T,
    wanted: impl Fn(&T) -> bool,
) -> Duration {
    let start = Instant::now();
    loop {
        let answer = ask().await;
        if wanted(&answer) {
            return start.elapsed();
        }
        assert!(start.elapsed() < PATIENCE, "still {answer:?} after {PATIENCE:?}");
        sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) async fn until_put(store: &dyn Store) -> Duration {
    until(async || store.put("key", "value".into(), HOUR).await, Result::is_ok).await
}

pub(crate) async fn until_read(store: &dyn Store) -> Duration {
    until(async || store.get("key").await, |answer| *answer == Ok(Some("value".into()))).await
}

pub(crate) async fn until_answered(store: &dyn Store) -> Duration {
    until(async || store.get("key").await, Result::is_ok).await
}

/// One call, its answer and whether it was given in time.
pub(crate) async fn get_within(store: &dyn Store, bound: Duration) -> Result<Option<Bytes>, StoreError> {
    let start = Instant::now();
    let answer = timeout(PATIENCE, store.get("key")).await.expect("no call hangs");
    assert!(start.elapsed() <= bound + SLACK, "{answer:?} took {:?}", start.elapsed());
    answer
}

/// Many calls against a broken store: each within the budget, and most at once, because the breaker opens.
pub(crate) async fn assert_cheap(guarded: &GuardedStore) {
    for _ in 0..10 {
        let error = get_within(guarded, Guard::default().budget).await.expect_err("it is broken");
        let expected = matches!(error, StoreError::Timeout | StoreError::BreakerOpen | StoreError::Unavailable(_));
        assert!(expected, "{error:?}");
    }
    assert_ne!(guarded.state(), BreakerState::Closed);
    let start = Instant::now();
    for _ in 0..100 {
        assert_eq!(guarded.get("key").await, Err(StoreError::BreakerOpen));
    }
    assert!(start.elapsed() < SLACK, "a hundred calls took {:?}", start.elapsed());
}

pub(crate) fn is_unavailable<T>(answer: &Result<T, StoreError>) -> bool {
    matches!(answer, Err(StoreError::Unavailable(_)))
}

pub(crate) fn is_refused<T>(answer: &Result<T, StoreError>) -> bool {
    matches!(answer, Err(StoreError::Refused(_)))
}

#[tokio::test]
async fn a_stopped_redis_adds_no_more_than_the_budget_and_is_back_within_a_second() {
    let server = RedisServer::start();
    let store = guard(&server.url());
    until_put(&*store).await;
    server.stop();
    assert_cheap(&store).await;
    sleep(Duration::from_millis(1500)).await;
    assert_cheap(&store).await;
    server.cont();
    let back = until_read(&*store).await;
    println!("in use again {back:?} after SIGCONT");
    assert!(back < Duration::from_secs(1) + SLACK, "{back:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_stopped_under_load_adds_next_to_nothing_to_most_calls() {
    let server = RedisServer::start();
    let store = guard(&server.url());
    until_put(&*store).await;
    until_read(&*store).await;
    server.stop();
    let callers = (0..32).map(|_| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let mut waits = Vec::new();
            for _ in 0..200 {
                let start = Instant::now();
                assert!(store.get("key").await.is_err());
                waits.push(start.elapsed());
                sleep(Duration::from_millis(5)).await;
            }
            waits
        })
    });
    let mut waits: Vec<Duration> =
        join_all(callers).await.into_iter().flat_map(|caller| caller.expect("no caller panics")).collect();
    waits.sort_unstable();
    let at = |share: f64| waits[(waits.len() as f64 * share) as usize - 1];
    let (median, p99, longest) = (at(0.5), at(0.99), at(1.0));
    println!("of {} calls: median {median:?}, p99 {p99:?}, longest {longest:?}", waits.len());
    assert!(median < Duration::from_millis(1), "{median:?}");
    assert!(p99 <= Guard::default().budget + Duration::from_millis(25), "{p99:?}");
    assert!(longest <= Guard::default().budget + SLACK, "{longest:?}");
    server.cont();
    until_read(&*store).await;
}

#[tokio::test]
async fn a_killed_redis_is_unavailable_at_once_and_in_use_within_a_second_of_its_restart() {
    let mut server = RedisServer::start();
    let store = guard(&server.url());
    until_put(&*store).await;
    server.kill();
    assert_cheap(&store).await;
    server.restart();
    let back = until_answered(&*store).await;
    println!("in use again {back:?} after the restart");
    assert!(back < Duration::from_secs(1) + SLACK, "{back:?}");
}

#[tokio::test]
async fn a_redis_that_is_absent_at_boot_is_attached_when_it_starts() {
    let mut server = RedisServer::prepare(&[]);
    let store = guard(&server.url());
    assert_cheap(&store).await;
    sleep(Duration::from_millis(500)).await;
    server.restart();
    let attached = until_put(&*store).await;
    println!("attached {attached:?} after the start");
    assert!(attached < Duration::from_secs(1) + SLACK, "{attached:?}");
    until_read(&*store).await;
}

#[tokio::test]
async fn a_refused_reset_or_black_holed_connection_is_cheap_and_mends_itself() {
    let server = RedisServer::start();
    let proxy = ChaosProxy::start(format!("127.0.0.1:{}", server.port())).await;
    let store = guard(&server.url_through(proxy.port()));
    for chaos in [Chaos::Refuse, Chaos::Reset, Chaos::BlackHole] {
        until_put(&*store).await;
        until_read(&*store).await;
        proxy.set(chaos);
        assert_cheap(&store).await;
        proxy.set(Chaos::Pass);
        let back = until_read(&*store).await;
        println!("in use again {back:?} after {chaos:?}");
        assert!(back < Duration::from_secs(3), "{back:?} after {chaos:?}");
    }
}

#[tokio::test]
async fn a_redis_at_the_end_of_a_slow_line_is_left_alone_until_the_line_is_fast() {
    let server = RedisServer::start();
    let proxy = ChaosProxy::start(format!("127.0.0.1:{}", server.port())).await;
    let store = guard(&server.url_through(proxy.port()));
    until_put(&*store).await;
    proxy.set(Chaos::Delay(Duration::from_millis(100)));
    assert_cheap(&store).await;
    proxy.set(Chaos::Pass);
    until_read(&*store).await;
}

#[tokio::test]
async fn a_truncated_reply_is_unavailable_at_once_and_the_connection_is_replaced() {
    let server = RedisServer::start();
    let proxy = ChaosProxy::start(format!("127.0.0.1:{}", server.port())).await;
    let store = open(&server.url_through(proxy.port()));
    let value = Bytes::from(vec![7; 100_000]);
    until(async || store.put("key", value.clone(), HOUR).await, Result::is_ok).await;
    proxy.set(Chaos::Truncate(1000));
    let cut = get_within(&store, Duration::ZERO).await;
    assert!(is_unavailable(&cut), "{cut:?}");
    proxy.set(Chaos::Pass);
    until(async || store.get("key").await, |answer| *answer == Ok(Some(value.clone()))).await;
}

#[tokio::test]
async fn answers_that_come_too_late_reach_no_other_call() {
    let server = RedisServer::start();
    let proxy = ChaosProxy::start(format!("127.0.0.1:{}", server.port())).await;
    let store = open(&server.url_through(proxy.port()));
    until_put(&store).await;
    for _ in 0..20 {
        proxy.set(Chaos::BlackHole);
        assert!(timeout(Duration::from_millis(20), store.get("absent")).await.is_err());
        proxy.set(Chaos::Pass);
        assert_eq!(store.get("key").await, Ok(Some("value".into())));
        assert_eq!(store.get("absent").await, Ok(None));
    }
}

#[tokio::test]
async fn a_connection_on_which_nothing_comes_back_is_replaced_after_a_second() {
    let server = RedisServer::start();
    let proxy = ChaosProxy::start(format!("127.0.0.1:{}", server.port())).await;
    let store = open(&server.url_through(proxy.port()));
    until_put(&store).await;
    let before = proxy.accepted();
    proxy.set(Chaos::BlackHole);
    assert!(timeout(Duration::from_millis(20), store.get("key")).await.is_err());
    let replaced = until(async || proxy.accepted(), |accepted| *accepted > before).await;
    assert!(replaced < Duration::from_secs(2) + SLACK, "{replaced:?}");
    assert!(is_unavailable(&get_within(&store, Duration::ZERO).await), "and no call waits for the new one");
    proxy.set(Chaos::Pass);
    until_read(&store).await;
}

#[tokio::test]
async fn without_a_connection_no_call_waits_for_one() {
    let server = RedisServer::start();
    let proxy = ChaosProxy::start(format!("127.0.0.1:{}", server.port())).await;
    proxy.set(Chaos::BlackHole);
    let store = open(&server.url_through(proxy.port()));
    sleep(Duration::from_millis(100)).await;
    let start = Instant::now();
    let answers = join_all((0..1000).map(|_| store.get("key"))).await;
    assert!(answers.iter().all(is_unavailable));
    assert!(start.elapsed() < SLACK, "a thousand calls took {:?}", start.elapsed());
    assert!(is_unavailable(&store.probe().await));
    assert!(is_unavailable(&store.put("key", Bytes::new(), HOUR).await));
}

#[tokio::test]
async fn calls_in_flight_on_a_silent_connection_end_by_themselves() {
    let server = RedisServer::start();
    let store = open(&server.url());
    until_put(&store).await;
    server.stop();
    let answer = get_within(&store, Duration::from_secs(6)).await;
    assert_eq!(answer, Err(StoreError::Timeout));
    let answer = get_within(&store, Duration::ZERO).await;
    assert!(is_unavailable(&answer), "the silent connection is gone: {answer:?}");
    server.cont();
    until_read(&store).await;
}

#[tokio::test]
async fn a_probe_gives_memory_limit_and_evictions_in_redis_own_words() {
    let server = RedisServer::start_with(&["--maxmemory", "3mb", "--maxmemory-policy", "allkeys-lru"]);
    let store = open(&server.url());
    for number in 0..80 {
        let put = async || store.put(&format!("key:{number}"), vec![7; 50_000].into(), HOUR).await;
        until(put, Result::is_ok).await;
    }
    let usage = store.probe().await.expect("a probe");
    assert_eq!(usage.limit, Some(3 << 20));
    assert!(usage.evicted_keys > Some(20) && usage.bytes > Some(500_000), "{usage:?}");
    let said = server.command(&["INFO", "memory"]);
    let human = usage.bytes_human.as_deref().expect("in its own words");
    assert!(human.ends_with('M') && said.contains("used_memory_human:"), "{human}");
    assert!(usage.keys.is_some_and(|keys| (1..80).contains(&keys)), "{usage:?}");
}

#[tokio::test]
async fn an_addition_whose_answer_was_lost_is_counted_once_and_a_foreign_value_costs_no_more_than_the_counters() {
    let server = RedisServer::start();
    let proxy = ChaosProxy::start(format!("127.0.0.1:{}", server.port())).await;
    let store = open(&format!("redis://127.0.0.1:{}", proxy.port()));
    let addition = |number| Addition {
        key: "app:{counters}:v1".to_owned(),
        writer: "node".to_owned(),
        number,
        counts: vec![("hits", 10)],
        at: Timestamp::from_millis(1),
    };
    let hits = |answer: &Result<Counters, StoreError>| answer.as_ref().ok().map(|counters| counters.counts["hits"]);
    let add = async |number| store.add(&addition(number)).await;
    until(async || add(1).await, Result::is_ok).await;
    // It arrives, and its answer does not.
    proxy.set(Chaos::Truncate(1));
    assert!(add(2).await.is_err());
    proxy.set(Chaos::Pass);
    assert_eq!(server.command(&["HGET", "app:{counters}:v1", "hits"]), "$2\r\n20\r\n", "it did arrive");
    until(async || add(2).await, |answer| answer.is_ok()).await;
    assert_eq!(hits(&add(2).await), Some(20));
    for key in ["app:{counters}:v1", "app:{counters}:v1:writer:node"] {
        let ttl = server.command(&["PTTL", key]);
        assert!(ttl.starts_with(':') && ttl != ":-1\r\n" && ttl != ":-2\r\n", "{key} has no time to live: {ttl}");
    }
    server.command(&["SET", "app:{counters}:v1", "another program's"]);
    assert!(add(3).await.is_err());
    assert_eq!(store.put("key", "value".into(), HOUR).await, Ok(()));
    server.command(&["DEL", "app:{counters}:v1"]);
    server.command(&["ACL", "SETUSER", "default", "-@scripting"]);
    assert!(is_refused(&add(4).await), "the server is well");
}

#[tokio::test]
async fn exhausted_local_places_leave_the_breaker_of_a_healthy_redis_closed() {
    let server = RedisServer::start();
    let guard = Guard { budget: Duration::from_secs(10), max_concurrent: 8, ..Guard::default() };
    let store = GuardedStore::new(Arc::new(open(&server.url())), guard);
    until_put(&*store).await;
    let failures = store.counters().failures;
    let answers = join_all((0..2000).map(|_| store.get("key"))).await;
    let busy = answers.iter().filter(|answer| **answer == Err(StoreError::Busy)).count();
    assert_eq!((answers.iter().filter(|answer| answer.is_ok()).count(), busy), (8, 1992));
    assert_eq!((store.state(), store.counters().failures), (BreakerState::Closed, failures));
}

#[tokio::test]
async fn every_value_in_redis_has_a_time_to_live() {
    let server = RedisServer::start();
    let store = open(&server.url());
    until_put(&store).await;
    for (key, ttl) in [("forever", Duration::MAX), ("hour", HOUR), ("none", Duration::ZERO)] {
        store.put(key, "value".into(), ttl).await.expect("a put succeeds");
    }
    for key in ["key", "forever", "hour", "none"] {
        assert_ne!(server.command(&["PTTL", key]), ":-1\r\n", "{key} has a time to live");
    }
    assert!(server.command(&["TTL", "forever"]).starts_with(":3153"), "ten years");
}

#[tokio::test]
async fn the_database_number_of_the_url_is_used_and_shown() {
    let server = RedisServer::start();
    let store = open(&server.url().replace("/0", "/5"));
    until_put(&store).await;
    assert_eq!(server.command(&["GET", "key"]), "$-1\r\n");
    assert_eq!(store.to_string(), format!("redis://127.0.0.1:{}/5", server.port()));
}

#[tokio::test]
async fn a_unix_socket_is_as_good_as_a_port() {
    let server = RedisServer::start_with(&["--unixsocket", "redis.sock"]);
    let store = open(&format!("unix://{}?db=1", server.directory().join("redis.sock").display()));
    until_put(&store).await;
    until_read(&store).await;
}

#[tokio::test]
async fn a_name_that_does_not_resolve_and_a_server_without_tls_are_unavailable_at_once() {
    let server = RedisServer::start();
    for url in ["redis://no-such-host.invalid:6380".to_owned(), format!("rediss://127.0.0.1:{}", server.port())] {
        let store = open(&url);
        for _ in 0..10 {
            let answer = get_within(&store, Duration::ZERO).await;
            assert!(is_unavailable(&answer), "{answer:?}");
            sleep(Duration::from_millis(20)).await;
        }
        until(async || store.get("key").await.expect_err("never there").to_string(), |text| !text.contains("yet"))
            .await;
    }
}

#[tokio::test]
async fn a_dropped_or_closed_store_hangs_up() {
    let server = RedisServer::start();
    let clients = || server.command(&["CLIENT", "LIST"]).matches("db=").count();
    let alone = clients();
    for close in [true, false] {
        let store = open(&server.url());
        until_put(&store).await;
        assert_eq!(clients(), alone + 1);
        if close {
            store.close().await.expect("closing succeeds");
            assert!(is_unavailable(&store.get("key").await));
        }
        drop(store);
        until(async || clients(), |now| *now == alone).await;
    }
}
