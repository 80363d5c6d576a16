//! A cluster that loses, moves and regains a part of the keys. The same three things are looked at as where there is
//! one server: the kind of error, how long a caller waited, and that the store is in use again by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use lastgood::store::{BreakerState, Guard, GuardedStore, Store, StoreError};
use lastgood_testing::{RedisCluster, RedisServer};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, sleep, timeout};

use crate::redis_faults::{
    HOUR, PATIENCE, SLACK, assert_cheap, get_within, guard, is_unavailable, open, until, until_put, until_read,
};

mod failing;

const PRIMARIES: usize = 3;

/// Runs what blocks without holding up what else the runtime has to do.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    spawn_blocking(work).await.expect("the task ends")
}

async fn started() -> RedisCluster {
    aside(RedisCluster::start).await
}

/// Waits until every server takes its keys.
async fn until_whole(store: &dyn Store, cluster: &RedisCluster) {
    for server in 0..PRIMARIES {
        let key = key_on(cluster, server);
        until(async || store.put(&key, "value".into(), HOUR).await, Result::is_ok).await;
    }
}

/// A key of the server in this place, while the slots are as at the start.
fn key_on(cluster: &RedisCluster, server: usize) -> String {
    let mut keys = (0..).map(|number| format!("on:{number}"));
    let first_server_of = |slot: u16| (0..PRIMARIES).find(|server| (slot as usize) < (server + 1) * 16_384 / PRIMARIES);
    keys.find(|key| first_server_of(cluster.slot_of(key)) == Some(server)).expect("every server has some key")
}

fn numbered(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{prefix}{number}")).collect()
}

async fn put_all(store: &dyn Store, keys: &[String]) {
    for key in keys {
        store.put(key, key.clone().into(), HOUR).await.expect("a put succeeds");
    }
}

async fn listed(store: &dyn Store, prefix: &str) -> Vec<String> {
    let (mut keys, mut cursor) = (Vec::new(), None);
    loop {
        let page = store.list(prefix, cursor, 50).await.expect("a listing succeeds");
        keys.extend(page.keys);
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    keys.sort_unstable();
    keys.dedup();
    keys
}

fn is_partly_unavailable<T>(answer: &Result<T, StoreError>) -> bool {
    matches!(answer, Err(StoreError::PartlyUnavailable(_)))
}

#[tokio::test]
async fn a_batch_over_all_servers_is_answered_in_order_with_duplicates() {
    let mut cluster = started().await;
    let store = open(&cluster.url());
    until_whole(&store, &cluster).await;
    let keys = numbered("batch:", 300);
    put_all(&store, &keys).await;
    for server in cluster.servers() {
        let own = server.command(&["DBSIZE"]);
        assert!(!own.starts_with(":0"), "every server has some of them");
    }
    let owner = cluster.owner_of(cluster.slot_of("batch:list"));
    cluster.servers()[owner].command(&["RPUSH", "batch:list", "a"]);
    let mut asked: Vec<String> = keys.iter().rev().chain(&keys[..100]).cloned().collect();
    asked.extend(["batch:none".into(), "batch:list".into(), "batch:7".into()]);
    let mut expected: Vec<Option<Bytes>> = asked.iter().map(|key| Some(key.clone().into())).collect();
    let at = expected.len() - 3;
    expected[at..at + 2].fill(None);
    assert_eq!(store.get_many(&asked).await, Ok(expected));
    assert_eq!(store.get("batch:list").await, Ok(None));
}

#[tokio::test]
async fn what_begins_with_a_prefix_is_listed_and_removed_on_all_servers_and_nothing_else() {
    let cluster = started().await;
    let store = open(&cluster.url());
    until_whole(&store, &cluster).await;
    let (gone, kept) = (numbered("prefix:", 500), numbered("other:", 50));
    put_all(&store, &gone).await;
    put_all(&store, &kept).await;
    let found = listed(&store, "prefix:").await;
    assert_eq!(found.len(), gone.len());
    assert_eq!(store.remove(&found).await, Ok(500));
    assert_eq!(listed(&store, "prefix:").await, [""; 0]);
    assert_eq!(listed(&store, "other:").await.len(), kept.len());
    assert_eq!(store.probe().await.map(|usage| usage.keys), Ok(Some(50 + PRIMARIES as u64)));
}

#[tokio::test]
async fn a_key_is_found_by_the_very_call_after_its_slot_moved() {
    let cluster = started().await;
    let store = open(&cluster.url());
    until_whole(&store, &cluster).await;
    let key = key_on(&cluster, 0);
    let slot = cluster.slot_of(&key);
    for (to, value) in [(1, "at the second"), (2, "at the third"), (0, "back")] {
        cluster.begin_move(slot, to);
        cluster.finish_move(slot, to);
        assert_eq!(cluster.owner_of(slot), to);
        assert!(store.get(&key).await.is_ok_and(|value| value.is_some()));
        assert_eq!(store.put(&key, value.into(), HOUR).await, Ok(()));
        assert_eq!(
            store.get_many(&[key.clone(), "none".into(), key.clone()]).await.expect("a batch")[2],
            Some(value.into())
        );
    }
    assert_eq!(store.remove(std::slice::from_ref(&key)).await, Ok(1));
}

#[tokio::test]
async fn while_a_slot_moves_its_keys_are_read_written_and_removed_on_either_side() {
    let mut cluster = started().await;
    let store = open(&cluster.url());
    until_whole(&store, &cluster).await;
    let tag = key_on(&cluster, 0);
    let key = |name: &str| format!("{{{tag}}}:{name}");
    put_all(&store, &[key("old"), key("gone")]).await;
    cluster.begin_move(cluster.slot_of(&tag), 1);
    put_all(&store, &[key("new"), key("newer")]).await;
    let there = cluster.servers()[0].command(&["EXISTS", &key("new")]);
    assert!(there.starts_with("-ASK"), "new keys go where the slot goes: {there}");
    let batch = [key("new"), key("old"), "elsewhere".to_owned(), key("none"), key("new")];
    let [new, old] = ["new", "old"].map(|name| Some(Bytes::from(key(name))));
    assert_eq!(store.get_many(&batch).await, Ok(vec![new.clone(), old, None, None, new.clone()]));
    assert_eq!(store.remove(&[key("gone"), key("newer"), key("none")]).await, Ok(2));
    cluster.finish_move(cluster.slot_of(&tag), 1);
    assert_eq!(store.get(&key("new")).await, Ok(new));
    assert_eq!(listed(&store, &format!("{{{tag}}}:")).await.len(), 2);
}

#[tokio::test]
async fn a_server_that_joins_is_used_from_the_first_key_that_moves_there() {
    let mut cluster = started().await;
    let store = open(&cluster.url());
    until_whole(&store, &cluster).await;
    let tag = key_on(&cluster, 0);
    let keys = numbered(&format!("{{{tag}}}:"), 20);
    put_all(&store, &keys[..10]).await;
    let mut cluster = aside(move || {
        let joined = cluster.join();
        cluster.begin_move(cluster.slot_of(&tag), joined);
        cluster
    })
    .await;
    let joined = cluster.servers().len() - 1;
    // No call waits for the connection to a server that was unknown until now.
    let start = Instant::now();
    let first = store.put(&keys[10], "value".into(), HOUR).await;
    assert!(start.elapsed() < SLACK && (first.is_ok() || is_partly_unavailable(&first)), "{first:?}");
    until(async || store.put(&keys[10], "value".into(), HOUR).await, Result::is_ok).await;
    put_all(&store, &keys).await;
    let values = keys.iter().map(|key| Some(Bytes::from(key.clone()))).collect::<Vec<_>>();
    assert_eq!(store.get_many(&keys).await, Ok(values.clone()));
    cluster.finish_move(cluster.slot_of(&keys[0]), joined);
    assert_eq!(store.get_many(&keys).await, Ok(values));
    assert_eq!(cluster.servers()[joined].command(&["DBSIZE"]), ":21\r\n", "those and the one in braces");
    assert_eq!(listed(&store, "{on:").await.len(), 20);
}

#[tokio::test]
async fn a_listing_has_the_keys_that_moved_behind_it() {
    let mut cluster = started().await;
    let store = open(&cluster.url());
    until_whole(&store, &cluster).await;
    let ports: Vec<u16> = cluster.servers().iter().map(RedisServer::port).collect();
    // A listing goes from port to port.
    let first = (0..PRIMARIES).min_by_key(|server| ports[*server]).expect("there are three");
    let last = (0..PRIMARIES).max_by_key(|server| ports[*server]).expect("there are three");
    let tag = key_on(&cluster, last);
    let mut keys = numbered(&format!("{{{tag}}}:"), 30);
    put_all(&store, &keys).await;
    let page = store.list(&format!("{{{tag}}}:"), None, 10).await.expect("a listing succeeds");
    assert_eq!(page.keys, [""; 0], "the first server has none of them yet");
    cluster.begin_move(cluster.slot_of(&tag), first);
    cluster.finish_move(cluster.slot_of(&tag), first);
    let (mut found, mut cursor) = (page.keys, page.next);
    while let Some(at) = cursor {
        let page = store.list(&format!("{{{tag}}}:"), Some(at), 10).await.expect("a listing succeeds");
        found.extend(page.keys);
        cursor = page.next;
    }
    found.sort_unstable();
    found.dedup();
    keys.sort_unstable();
    assert_eq!(found, keys);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_while_slots_move_under_load() {
    let cluster = started().await;
    let guarded =
        GuardedStore::new(Arc::new(open(&cluster.url())), Guard { budget: Duration::from_secs(5), ..Guard::default() });
    until_whole(&*guarded, &cluster).await;
    let tags: Vec<String> = (0..8).map(|number| format!("{{moving{number}}}")).collect();
    let (ends, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut callers = JoinSet::new();
    for tag in tags.clone() {
        let (store, ends, rounds) = (Arc::clone(&guarded), Arc::clone(&ends), Arc::clone(&rounds));
        callers.spawn(async move {
            let keys = numbered(&format!("{tag}:"), 25);
            put_all(&*store, &keys).await;
            let mut last = keys.iter().map(|key| Some(Bytes::from(key.clone()))).collect::<Vec<_>>();
            for round in 0_usize.. {
                if ends.load(Ordering::Relaxed) {
                    break;
                }
                let place = round % keys.len();
                let value = Bytes::from(format!("{round}"));
                if store.put(&keys[place], value.clone(), HOUR).await.is_ok() {
                    last[place] = Some(value);
                } else {
                    // It has happened or has not.
                    let start = Instant::now();
                    last[place] = loop {
                        match store.get(&keys[place]).await {
                            Ok(value) => break value,
                            Err(error) => assert!(start.elapsed() < PATIENCE, "{error}"),
                        }
                        sleep(Duration::from_millis(5)).await;
                    };
                }
                match store.get_many(&keys).await {
                    Ok(values) => assert_eq!(values, last, "in {tag}"),
                    Err(error) => assert!(!matches!(error, StoreError::Refused(_) | StoreError::Corrupt(_)), "{error}"),
                }
                rounds.fetch_add(1, Ordering::Relaxed);
            }
            keys.len()
        });
    }
    until(async || rounds.load(Ordering::Relaxed), |rounds| *rounds > 100).await;
    let cluster = aside(move || {
        for tag in &tags {
            let slot = cluster.slot_of(tag);
            let to = (cluster.owner_of(slot) + 1) % PRIMARIES;
            cluster.begin_move(slot, to);
            cluster.finish_move(slot, to);
        }
        cluster
    });
    let _cluster = cluster.await;
    let moved = rounds.load(Ordering::Relaxed);
    until(async || rounds.load(Ordering::Relaxed), |rounds| *rounds > moved + 100).await;
    ends.store(true, Ordering::Relaxed);
    let mut keys = 0;
    while let Some(caller) = callers.join_next().await {
        keys += caller.expect("nothing was lost");
    }
    println!("{} rounds", rounds.load(Ordering::Relaxed));
    assert_eq!(listed(&*guarded, "{moving").await.len(), keys);
}

#[tokio::test]
async fn one_password_opens_all_servers_and_is_not_shown() {
    let args = ["--requirepass", "s3cret", "--masterauth", "s3cret"];
    let cluster = aside(move || RedisCluster::start_with(&args)).await;
    let store = open(&cluster.url());
    until_whole(&store, &cluster).await;
    for (url, part) in
        [(cluster.url().replace("s3cret", "wr0ng"), "assword"), (cluster.url().replace(":s3cret@", ""), "NOAUTH")]
    {
        let store = open(&url);
        until(async || format!("{:?}", store.get("key").await), |text| text.contains(part)).await;
        let why = store.get("key").await;
        assert!(is_unavailable(&why), "{why:?}");
        let shown = format!("{why:?} {store} {store:?}");
        assert!(!shown.contains("s3cret") && !shown.contains("wr0ng"), "{shown}");
    }
}

#[tokio::test]
async fn problems_of_a_cluster_or_its_announced_addresses_are_reported_with_a_hint() {
    let mut cluster = started().await;
    let single = RedisServer::start();
    let member = open(&cluster.servers()[0].url());
    let keys: Vec<String> = (0..PRIMARIES).map(|server| key_on(&cluster, server)).collect();
    let moved = async || format!("{:?}", member.get(&keys[1]).await);
    until(moved, |text| text.contains("write redis+cluster://")).await;
    for (url, part) in [
        (format!("redis+cluster://127.0.0.1:{}", single.port()), "it is no member of a cluster"),
        ("redis+cluster://no-such-host.invalid".to_owned(), "no-such-host.invalid:6379"),
    ] {
        let store = open(&url);
        let why = async || format!("{:?}", get_within(&store, Duration::ZERO).await);
        until(why, |text| text.contains(part)).await;
        assert!(is_unavailable(&store.get("key").await));
    }
    let absent = RedisServer::prepare(&[]);
    let port = absent.port().to_string();
    let reply = cluster.servers()[1].command(&["CONFIG", "SET", "cluster-announce-port", &port]);
    assert!(reply.starts_with("+OK"), "{reply}");
    let store = open(&cluster.url());
    until(async || format!("{:?}", store.get(&keys[1]).await), |text| text.contains("cluster-announce-ip")).await;
    until(async || store.put(&keys[0], "value".into(), HOUR).await, Result::is_ok).await;
}

#[tokio::test]
async fn a_silent_member_is_passed_over_at_boot_and_a_closed_store_hangs_up() {
    let mut cluster = started().await;
    let keys: Vec<String> = (0..PRIMARIES).map(|server| key_on(&cluster, server)).collect();
    cluster.servers()[0].stop();
    let store = open(&cluster.url());
    until(async || store.put(&keys[1], "value".into(), HOUR).await, Result::is_ok).await;
    assert!(!store.is_connected(), "not to all of them");
    cluster.servers()[0].cont();
    until_whole(&store, &cluster).await;
    until(async || store.is_connected(), |connected| *connected).await;
    store.close().await.expect("closing succeeds");
    assert!(is_unavailable(&store.get(&keys[1]).await));
    for server in cluster.servers() {
        let clients = || server.command(&["CLIENT", "LIST", "TYPE", "NORMAL"]).matches(" name= ").count();
        until(async || clients(), |now| *now == 1).await;
    }
}
