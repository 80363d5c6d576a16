//! A primary that changes, behind Sentinels who say which server it is. The same three things are looked at as where
//! there is one server: the kind of error, how long a caller waited, and that the store is in use again by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use lastgood::store::{Guard, GuardedStore, Store, StoreError};
use lastgood_testing::{Chaos, ChaosProxy, RedisSentinels, RedisServer};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, sleep};

use crate::redis_faults::{
    HOUR, PATIENCE, SLACK, assert_cheap, get_within, guard, is_refused, is_unavailable, open, until, until_put,
    until_read,
};

/// From the election until the store takes writes again. The store looks every second; the rest is for the machine.
const FOLLOWED_WITHIN: Duration = Duration::from_secs(8);

/// Callers who read and write on and on, and want no more than an answer in time.
struct Load {
    ends: Arc<AtomicBool>,
    succeeded: Arc<AtomicU64>,
    callers: JoinSet<()>,
}

impl Load {
    fn on(store: &Arc<GuardedStore>) -> Load {
        let mut load = Load { ends: Arc::default(), succeeded: Arc::default(), callers: JoinSet::new() };
        for caller in 0..8 {
            let (store, ends, succeeded) = (Arc::clone(store), Arc::clone(&load.ends), Arc::clone(&load.succeeded));
            load.callers.spawn(async move {
                let key = format!("load:{caller}");
                while !ends.load(Ordering::Relaxed) {
                    let start = Instant::now();
                    let put = store.put(&key, "value".into(), HOUR).await;
                    let bound = Guard::default().write_budget + SLACK;
                    assert!(start.elapsed() <= bound, "{put:?} took {:?}", start.elapsed());
                    let got = get_within(&*store, Guard::default().budget).await;
                    assert!(!matches!(got, Err(StoreError::Refused(_) | StoreError::Corrupt(_))), "{got:?}");
                    succeeded.fetch_add(u64::from(put.is_ok()), Ordering::Relaxed);
                    sleep(Duration::from_millis(2)).await;
                }
            });
        }
        load
    }

    fn succeeded(&self) -> u64 {
        self.succeeded.load(Ordering::Relaxed)
    }

    async fn end(mut self) {
        self.ends.store(true, Ordering::Relaxed);
        while let Some(caller) = self.callers.join_next().await {
            caller.expect("no caller waited too long");
        }
    }
}

/// Starts all without holding up what else the runtime has to do.
async fn started() -> RedisSentinels {
    spawn_blocking(RedisSentinels::start).await.expect("they start")
}

/// Waits for the election, then for the store to write to the one that was elected.
async fn is_followed(servers: RedisSentinels, before: usize, store: &dyn Store) -> (RedisSentinels, usize) {
    let elected = move || {
        let now = servers.primary_after(before);
        (servers, now)
    };
    let (mut servers, now) = spawn_blocking(elected).await.expect("one is elected");
    let server = &servers.servers()[now];
    let written = async || {
        let put = store.put("followed", "value".into(), HOUR).await;
        put.is_ok() && server.command(&["GET", "followed"]).contains("value")
    };
    let took = until(written, |there| *there).await;
    assert!(took < FOLLOWED_WITHIN, "written to the new primary {took:?} after its election");
    (servers, now)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_primary_is_followed_under_load_and_no_call_waits() {
    let mut servers = started().await;
    let store = guard(&servers.url());
    until_put(&*store).await;
    let load = Load::on(&store);
    servers.servers()[0].kill();
    let (servers, _) = is_followed(servers, 0, &*store).await;
    let before = load.succeeded();
    until(async || load.succeeded(), |now| *now > before + 100).await;
    load.end().await;
    drop(servers);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_demoted_while_it_lives_is_left_under_load_and_no_call_waits() {
    let mut servers = started().await;
    let store = guard(&servers.url());
    until_put(&*store).await;
    let load = Load::on(&store);
    // There and back: also a server that was left once can be the primary again.
    let mut primary = 0;
    for _ in 0..2 {
        servers.fail_over();
        (servers, primary) = is_followed(servers, primary, &*store).await;
    }
    load.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_falls_silent_is_cheap_and_followed() {
    let mut servers = started().await;
    let store = guard(&servers.url());
    until_put(&*store).await;
    servers.servers()[0].stop();
    assert_cheap(&store).await;
    let (mut servers, _) = is_followed(servers, 0, &*store).await;
    servers.servers()[0].cont();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_refused_by_a_demoted_primary_is_no_failure_and_has_the_primary_looked_for() {
    let mut servers = started().await;
    let store = guard(&servers.url());
    until_put(&*store).await;
    let failures = store.counters().failures;
    // The Sentinels put it right after some seconds; until then it is a replica without a primary, which they still
    // name.
    servers.servers()[0].command(&["REPLICAOF", "127.0.0.1", "1"]);
    let put = store.put("key", "other".into(), HOUR).await;
    assert!(is_refused(&put), "{put:?}");
    assert_eq!(store.counters().failures, failures);
    let why = async || format!("{:?}", store.inner().get("key").await);
    until(why, |text| text.contains("it is a replica now") || text.contains("it says that it is a replica")).await;
    until_put(&*store).await;
}

#[tokio::test]
async fn a_connection_that_works_is_left_when_the_sentinels_name_another_primary() {
    let mut servers = started().await;
    let one = RedisServer::start();
    let other = RedisServer::start();
    let sentinel = &servers.sentinels()[0];
    let name = |server: &RedisServer| {
        sentinel.command(&["SENTINEL", "REMOVE", "moved"]);
        let reply = sentinel.command(&["SENTINEL", "MONITOR", "moved", "127.0.0.1", &server.port().to_string(), "2"]);
        assert!(reply.starts_with("+OK"), "{reply}");
    };
    name(&one);
    let store = open(&format!("redis+sentinel://127.0.0.1:{}/moved", sentinel.port()));
    until_put(&store).await;
    for server in [&other, &one] {
        name(server);
        let put = async || {
            let put = store.put("key", "moved".into(), HOUR).await;
            assert_eq!(put, Ok(()), "nothing is refused on the way");
            server.command(&["GET", "key"]).contains("moved")
        };
        until(put, |there| *there).await;
        server.command(&["DEL", "key"]);
    }
}

#[tokio::test]
async fn without_any_sentinel_the_connection_stays_and_one_sentinel_is_enough_to_find_the_primary() {
    let mut servers = started().await;
    servers.sentinels()[..2].iter_mut().for_each(RedisServer::kill);
    let store = open(&servers.url());
    until_put(&store).await;
    servers.sentinels()[2].kill();
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(3) {
        assert!(store.put("key", "value".into(), HOUR).await.is_ok());
        sleep(Duration::from_millis(50)).await;
    }
    let late = open(&servers.url());
    let why = async || format!("{:?}", get_within(&late, Duration::ZERO).await);
    until(why, |text| text.contains("no Sentinel could say where the primary is")).await;
    servers.sentinels()[1].restart();
    until_put(&late).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_and_servers_absent_at_boot_are_attached_when_they_start() {
    let mut servers = RedisSentinels::prepare();
    let store = guard(&servers.url());
    assert_cheap(&store).await;
    let servers = spawn_blocking(move || {
        servers.start_all();
        servers
    });
    let _servers = servers.await.expect("they start");
    until_put(&*store).await;
    until_read(&*store).await;
}

#[tokio::test]
async fn both_passwords_are_used_and_neither_is_shown() {
    let servers = spawn_blocking(|| RedisSentinels::start_with_passwords("s3cret", "hunter2")).await;
    let mut servers = servers.expect("they start");
    let store = open(&format!("{}&db=3", servers.url()));
    until_put(&store).await;
    let keys = servers.servers()[0].command(&["INFO", "keyspace"]);
    assert!(keys.contains("db3:keys=1"), "{keys}");
    let shown = format!("{store} {store:?}");
    assert!(shown.contains("/main?db=3") && !shown.contains("s3cret") && !shown.contains("hunter2"), "{shown}");
    for (url, part) in [
        (servers.url().replace("s3cret", "wr0ng"), "does not let us in"),
        (servers.url().replace(":s3cret@", ""), "does not let us in"),
        (servers.url().replace("hunter2", "wr0ng"), "sentinel_password"),
        (servers.url().replace("?sentinel_password=hunter2", ""), "sentinel_password"),
    ] {
        let store = open(&url);
        let why = async || format!("{:?}", store.get("key").await);
        until(why, |text| text.contains(part)).await;
        let why = store.get("key").await;
        assert!(is_unavailable(&why), "{why:?}");
        let shown = format!("{why:?} {store:?}");
        assert!(!["s3cret", "hunter2", "wr0ng"].iter().any(|secret| shown.contains(secret)), "{shown}");
    }
}

#[tokio::test]
async fn problems_of_sentinels_or_the_address_they_name_are_reported_with_a_hint() {
    let mut servers = started().await;
    let replica = servers.servers()[1].port();
    let absent = RedisServer::prepare(&[]);
    let sentinel = &servers.sentinels()[0];
    for (service, port) in [("far", absent.port()), ("copy", replica)] {
        let reply = sentinel.command(&["SENTINEL", "MONITOR", service, "127.0.0.1", &port.to_string(), "2"]);
        assert!(reply.starts_with("+OK"), "{reply}");
    }
    let sentinel = sentinel.port();
    let server = servers.servers()[0].port();
    for (url, part) in [
        (format!("redis+sentinel://127.0.0.1:{sentinel}/far"), "replica-announce-ip"),
        (format!("redis+sentinel://127.0.0.1:{sentinel}/copy"), "it says that it is a replica"),
        (format!("redis+sentinel://127.0.0.1:{sentinel}/unknown"), "it knows no service"),
        (format!("redis+sentinel://127.0.0.1:{server}/main"), "it is no Sentinel"),
        ("redis+sentinel://no-such-host.invalid/main".to_owned(), "no-such-host.invalid:26379"),
    ] {
        let store = open(&url);
        let why = async || format!("{:?}", get_within(&store, Duration::ZERO).await);
        until(why, |text| text.contains(part)).await;
        assert!(is_unavailable(&store.get("key").await));
    }
}

#[tokio::test]
async fn a_sentinel_that_falls_silent_is_passed_over_and_a_closed_store_hangs_up() {
    let mut servers = started().await;
    let proxy = ChaosProxy::start(format!("127.0.0.1:{}", servers.sentinels()[0].port())).await;
    proxy.set(Chaos::BlackHole);
    let others: Vec<String> =
        servers.sentinels()[1..].iter().map(|sentinel| format!("127.0.0.1:{}", sentinel.port())).collect();
    let url = format!("redis+sentinel://127.0.0.1:{},{}/main", proxy.port(), others.join(","));
    let server = &servers.servers()[0];
    // Those of the Sentinels have a name.
    let clients = || server.command(&["CLIENT", "LIST", "TYPE", "NORMAL"]).matches(" name= ").count();
    let alone = clients();
    let store = open(&url);
    let took = until_put(&store).await;
    assert!(took < PATIENCE / 4, "{took:?}");
    assert_eq!(clients(), alone + 1);
    store.close().await.expect("closing succeeds");
    assert!(is_unavailable(&store.get("key").await));
    until(async || clients(), |now| *now == alone).await;
}
