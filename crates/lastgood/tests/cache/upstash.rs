//! The store over Upstash's REST protocol: the contract, and what such a server, or the way to it, can do to a cache.
//! The protocol is spoken by a front of these tests before a real Redis, and by two programs from npm.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use lastgood::Timestamp;
use lastgood::store::{Addition, BreakerState, Guard, GuardedStore, Store, StoreError, UpstashOptions, UpstashStore};
use lastgood::testing::conformance::{self, Capabilities};
use lastgood_testing::{Canned, Chaos, ChaosProxy, RedisServer, UpstashFront};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep, timeout};

use self::line::Line;

mod line;
mod npm;
mod outages;

const TOKEN: &str = "AX-secret_token==";
const HOUR: Duration = Duration::from_secs(3600);
/// What the machine may add to a time bound when it is busy with other tests.
const SLACK: Duration = Duration::from_millis(250);
/// How long to wait for what happens by itself; far longer than it takes.
const PATIENCE: Duration = Duration::from_secs(20);

fn open(url: &str) -> UpstashStore {
    UpstashStore::new(UpstashOptions::new(url, TOKEN).expect("a good address")).expect("a store")
}

fn through(port: u16) -> UpstashStore {
    open(&format!("http://127.0.0.1:{port}"))
}

async fn front(server: &RedisServer) -> (UpstashFront, UpstashStore) {
    let front = UpstashFront::start(server, TOKEN).await;
    let store = open(&front.url());
    (front, store)
}

fn keys(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Asks until it is answered, and says how long that took.
async fn until_answered(store: &dyn Store) -> Duration {
    let start = Instant::now();
    while store.get("key").await.is_err() {
        assert!(start.elapsed() < PATIENCE, "not answered after {PATIENCE:?}");
        sleep(Duration::from_millis(5)).await;
    }
    start.elapsed()
}

fn is_unavailable<T>(answer: &Result<T, StoreError>) -> bool {
    matches!(answer, Err(StoreError::Unavailable(_)))
}

fn is_refused<T>(answer: &Result<T, StoreError>) -> bool {
    matches!(answer, Err(StoreError::Refused(_)))
}

fn one_more_hit() -> Addition {
    let (key, writer) = ("{counters}".to_owned(), "one".to_owned());
    Addition { key, writer, number: 1, counts: vec![("hits", 1)], at: Timestamp::EPOCH }
}

/// What every method answers, as text.
async fn every_answer(store: &dyn Store) -> [String; 7] {
    let key = keys(&["key"]);
    [
        format!("{:?}", store.get("key").await),
        format!("{:?}", store.get_many(&key).await),
        format!("{:?}", store.put("key", "value".into(), HOUR).await),
        format!("{:?}", store.remove(&key).await),
        format!("{:?}", store.list("", None, 10).await),
        format!("{:?}", store.probe().await),
        format!("{:?}", store.add(&one_more_hit()).await),
    ]
}

#[tokio::test]
async fn the_upstash_store_keeps_the_contract() {
    let server = RedisServer::start();
    let (_front, store) = front(&server).await;
    conformance::run(&store, Capabilities::default(), sleep).await;
}

#[tokio::test]
async fn the_log_of_the_upstash_store_keeps_its_contract() {
    let server = RedisServer::start();
    let (_front, store) = front(&server).await;
    conformance::run_log(&store).await;
}

#[tokio::test]
async fn the_counters_of_the_upstash_store_keep_their_contract() {
    let server = RedisServer::start();
    let (_front, store) = front(&server).await;
    conformance::run_counters(Arc::new(store)).await;
}

#[tokio::test]
async fn a_swap_keeps_its_contract_in_the_upstash_store() {
    let server = RedisServer::start();
    let (_front, store) = front(&server).await;
    conformance::run_swap(&store).await;
    conformance::run_late(&store).await;
    conformance::run_fields(&store).await;
}

#[tokio::test]
async fn every_command_is_counted_those_of_a_pipeline_one_by_one() {
    let server = RedisServer::start();
    let (front, store) = front(&server).await;
    let commands = || store.commands().expect("they are counted");
    assert_eq!(commands(), 0);
    every_answer(&store).await;
    // GET, MGET, SET, UNLINK, SCAN, EVAL; PING, DBSIZE and INFO in one request.
    assert_eq!((commands(), front.asked()), (9, 7));
    front.answer_with(canned(401, ""));
    every_answer(&store).await;
    assert_eq!(commands(), 18, "sent is sent");
    store.close().await.expect("closed");
    every_answer(&store).await;
    assert_eq!(commands(), 18, "nothing is sent any more");
}

#[tokio::test]
async fn the_guarded_upstash_store_keeps_the_contract() {
    let server = RedisServer::start();
    let (_front, store) = front(&server).await;
    let patient = Guard { budget: PATIENCE, write_budget: PATIENCE, ..Guard::default() };
    let guarded = GuardedStore::new(Arc::new(store), patient);
    conformance::run(&*guarded, Capabilities::default(), sleep).await;
}

#[tokio::test]
async fn values_are_stored_as_they_are_with_a_time_to_live() {
    let server = RedisServer::start();
    let (_front, store) = front(&server).await;
    for key in ["a/b:c?d=e&f#g %2F+é", "..", ".", "/", "//x/", "plain"] {
        store.put(key, Bytes::from_static(b"{\"a\":\"\xff\"}"), HOUR).await.expect("stored");
        // The whole value, then its end: what a client of Redis finds there.
        let strlen = server.command(&["STRLEN", key]);
        assert_eq!(strlen, ":9\r\n", "{key}");
        let ttl = server.command(&["PTTL", key]);
        let ttl: u64 = ttl.trim_start_matches(':').trim().parse().unwrap_or_else(|_| panic!("{key}: {ttl}"));
        assert!((3_500_000..=3_600_000).contains(&ttl), "{key}: {ttl}");
        assert_eq!(store.get(key).await, Ok(Some(Bytes::from_static(b"{\"a\":\"\xff\"}"))), "{key}");
        assert_eq!(store.remove(&keys(&[key])).await, Ok(1), "{key}");
    }
}

#[tokio::test]
async fn each_call_is_one_request() {
    let server = RedisServer::start();
    let (front, store) = front(&server).await;
    every_answer(&store).await;
    assert_eq!(front.asked(), 7, "seven calls");
    let none = store.get_many(&[]).await;
    assert_eq!((none, store.remove(&[]).await, front.asked()), (Ok(vec![]), Ok(0), 7), "nothing to ask");
    let many: Vec<String> = (0..500).map(|index| format!("key:{index}")).collect();
    assert_eq!(store.get_many(&many).await.map(|values| values.len()), Ok(500));
    assert_eq!(front.asked(), 8, "also for many keys");
}

#[tokio::test]
async fn writes_that_redis_refuses_are_refused_and_keys_of_another_type_are_absent() {
    let server = RedisServer::start();
    let (_front, store) = front(&server).await;
    store.put("key", "value".into(), HOUR).await.expect("stored");
    server.command(&["LPUSH", "list", "x"]);
    assert_eq!(store.get("list").await, Ok(None));
    assert_eq!(store.get_many(&keys(&["list", "key"])).await, Ok(vec![None, Some("value".into())]));
    for (sick, well) in [
        (["CONFIG", "SET", "maxmemory", "1"], ["CONFIG", "SET", "maxmemory", "0"]),
        (["CONFIG", "SET", "min-replicas-to-write", "1"], ["CONFIG", "SET", "min-replicas-to-write", "0"]),
        (["ACL", "SETUSER", "default", "-set"], ["ACL", "SETUSER", "default", "+set"]),
    ] {
        server.command(&sick);
        let put = store.put("other", "value".into(), HOUR).await;
        assert!(is_refused(&put), "{sick:?}: {put:?}");
        assert_eq!(store.get("key").await, Ok(Some("value".into())), "reading goes on after {sick:?}");
        server.command(&well);
        assert_eq!(store.put("other", "value".into(), HOUR).await, Ok(()), "{well:?}");
    }
    server.command(&["REPLICAOF", "127.0.0.1", "1"]);
    assert!(is_refused(&store.put("other", "value".into(), HOUR).await));
    assert!(is_refused(&store.remove(&keys(&["key"])).await));
}

#[tokio::test]
async fn a_probe_tells_how_much_is_there_as_far_as_the_token_may_know() {
    let server = RedisServer::start();
    let (_front, store) = front(&server).await;
    store.put("key", "value".into(), HOUR).await.expect("stored");
    let usage = store.probe().await.expect("a probe");
    assert!(usage.keys == Some(1) && usage.bytes > Some(100_000), "{usage:?}");
    server.command(&["ACL", "SETUSER", "default", "-info", "-dbsize"]);
    let usage = store.probe().await.expect("a probe");
    assert_eq!((usage.keys, usage.bytes), (None, None));
    server.command(&["ACL", "SETUSER", "default", "-ping"]);
    assert!(is_unavailable(&store.probe().await));
}

#[tokio::test]
async fn a_wrong_token_is_unavailable_and_in_no_text() {
    let server = RedisServer::start();
    let front = UpstashFront::start(&server, "another").await;
    let store = open(&front.url());
    for answer in every_answer(&store).await {
        assert!(answer.contains("Unavailable") && answer.contains("does not accept the REST token"), "{answer}");
        assert!(answer.contains("WRONGPASS") && !answer.contains(TOKEN), "{answer}");
    }
    let (shown, debugged) = (store.to_string(), format!("{store:?}"));
    assert_eq!(shown, front.url());
    assert!(!debugged.contains(TOKEN), "{debugged}");
}

fn canned(status: u16, body: impl Into<Bytes>) -> Option<Canned> {
    Some(Canned { status, headers: BTreeMap::new(), body: body.into() })
}

#[tokio::test]
async fn an_answer_that_is_not_the_databases_is_unavailable_and_repeats_no_token() {
    let server = RedisServer::start();
    let (front, store) = front(&server).await;
    let repeats = format!("{{\"error\":\"ERR over quota with {TOKEN}\"}}");
    for (status, body, part) in [
        (429, repeats.as_str(), "limits the rate of requests (HTTP 429): ERR over quota with ***"),
        (500, "oops", "answers with an error of its own (HTTP 500)"),
        (503, "{\"error\":\"OOM\"}", "answers with an error of its own (HTTP 503): OOM"),
        (403, "<html>", "does not accept the REST token (HTTP 403)"),
        (404, "<html>", "answers, but not as Upstash does (HTTP 404)"),
        (200, "<html><body>Sign in</body></html>", "answers, but not as Upstash does"),
        (200, "{\"result\":\"dmFs", "answers, but not as Upstash does"),
        (200, "{}", "answers, but not as Upstash does"),
        (200, "", "answers, but not as Upstash does"),
    ] {
        front.answer_with(canned(status, body.to_owned()));
        for answer in every_answer(&store).await {
            assert!(answer.contains("Unavailable") && answer.contains(part), "{status} {body}: {answer}");
            assert!(!answer.contains(TOKEN), "{answer}");
        }
    }
    front.answer_with(canned(413, ""));
    assert!(is_refused(&store.put("key", "value".into(), HOUR).await));
    front.answer_with(None);
    assert_eq!(store.put("key", "value".into(), HOUR).await, Ok(()), "well again");
}

#[tokio::test]
async fn no_redirect_is_followed() {
    let server = RedisServer::start();
    let (front, store) = front(&server).await;
    let elsewhere = UpstashFront::start(&server, TOKEN).await;
    let headers = BTreeMap::from([("location".to_owned(), elsewhere.url())]);
    front.answer_with(Some(Canned { status: 307, headers, body: Bytes::new() }));
    for answer in every_answer(&store).await {
        assert!(answer.contains("a redirect, which is not followed"), "{answer}");
    }
    assert_eq!(elsewhere.asked(), 0);
}

#[tokio::test]
async fn an_answer_that_is_too_long_is_unavailable_whether_or_not_its_length_is_said() {
    let server = RedisServer::start();
    let (front, store) = front(&server).await;
    front.answer_with(canned(200, vec![b' '; (64 << 20) + 1]));
    let said = store.get("key").await.expect_err("too long").to_string();
    assert!(said.contains("longer than 64 MiB"), "{said}");
    let endless = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let store = through(endless.local_addr().expect("an address").port());
    tokio::spawn(async move {
        let (mut stream, _) = endless.accept().await.expect("a connection");
        _ = stream.read(&mut [0; 4096]).await;
        _ = stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
        let chunk = [&b"100000\r\n"[..], &vec![b' '; 1 << 20], b"\r\n"].concat();
        while stream.write_all(&chunk).await.is_ok() {}
    });
    let said = store.get("key").await.expect_err("too long").to_string();
    assert!(said.contains("longer than 64 MiB"), "{said}");
}

#[tokio::test]
async fn no_more_than_its_connections_are_used_and_the_rest_waits_its_turn() {
    let server = RedisServer::start();
    let front = UpstashFront::start(&server, TOKEN).await;
    let line = Line::start(front.address(), |_| Duration::ZERO).await;
    let store = through(line.port());
    let answers = join_all((0..500).map(|_| store.get("key"))).await;
    assert!(answers.iter().all(|answer| *answer == Ok(None)));
    assert!(line.accepted() <= 64, "{} connections", line.accepted());
}

#[tokio::test]
async fn a_database_of_many_regions_is_warned_about_with_its_rows() {
    let server = RedisServer::start();
    let (front, store) = front(&server).await;
    store.put("key", "value".into(), HOUR).await.expect("stored");
    let (before, given) = front.sync_tokens();
    assert_eq!(before, None);
    store.get("key").await.expect("read");
    assert_eq!(front.sync_tokens().0, Some(given));
}

#[tokio::test]
async fn a_closed_store_says_so_at_once() {
    let server = RedisServer::start();
    let (front, store) = front(&server).await;
    store.put("key", "value".into(), HOUR).await.expect("stored");
    store.close().await.expect("closed");
    for answer in every_answer(&store).await {
        assert!(answer.contains("the store was closed"), "{answer}");
    }
    assert_eq!(front.asked(), 1);
}
