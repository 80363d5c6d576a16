//! Several processes on one store: what one invalidates, the others stop serving.

use std::sync::Arc;
use std::time::Duration;

use lastgood::store::{KEPT_RECORDS, MemoryStore, Store, StoreError};
use lastgood::testing::{Fault, FaultyStore};
use lastgood::{Cache, Clock, Loaded, Mode, Persist, Reason, Region, Selector, Tier};
use tokio::time::advance;

use crate::support::{
    HOUR, MINUTE, SECOND, Source, a_minute, good, loaded, over, peeked, region, settle, summary, text,
};

mod clocks;
mod conditional;
mod cut_off;
mod fences;
mod leases;
mod notice;
mod order;
mod records;
mod redis;
mod tags;
mod unknown;
mod versions;

/// One process: its cache, its region, and its own way to the store.
struct Node {
    cache: Cache,
    prices: Region,
    way: Arc<FaultyStore>,
}

/// Processes on one store in memory.
struct Nodes {
    store: MemoryStore,
    clock: Clock,
}

impl Nodes {
    fn new() -> Nodes {
        let clock = Clock::paused_with_tokio();
        Nodes { store: MemoryStore::new(clock.clone(), 256 << 20), clock }
    }

    async fn start(&self) -> Node {
        self.start_with(self.clock.clone(), 1).await
    }

    async fn start_with(&self, clock: Clock, schema: u32) -> Node {
        let way = FaultyStore::new(Arc::new(self.store.clone()));
        let cache = over(Arc::clone(&way) as _, &clock);
        let policy = a_minute().stale_if_error(lastgood::Keep::For(24 * HOUR));
        let prices = cache.region_with_schema("prices", policy, schema).expect("the policy is sound");
        settle().await;
        Node { cache, prices, way }
    }
}

impl Node {
    async fn flush(&self) {
        assert!(self.cache.sync(MINUTE).await, "the queue never drained");
        settle().await;
    }

    async fn read(&self, source: &Source, name: &str) -> Result<(String, &'static str), Reason> {
        summary(source.read(&self.prices, name).await)
    }
}

/// Lets time pass until all that waits is written and heard.
async fn converge(nodes: &[&Node]) {
    for _ in 0..20 {
        advance(SECOND).await;
        settle().await;
    }
    for node in nodes {
        node.flush().await;
    }
    settle().await;
}

/// What a stream brings: it is no news to the other processes, and nothing decides about its write.
fn tick(body: &str) -> Loaded {
    Loaded { persist: Persist::Every(Duration::ZERO), ..loaded(body) }
}

fn unavailable() -> Fault {
    Fault::Fail(StoreError::Unavailable("injected".to_owned()))
}

/// Two processes that hold `v1` of two keys; the source has gone on to `v2`.
async fn two(nodes: &Nodes, source: &Source) -> (Node, Node) {
    let (one, other) = (nodes.start().await, nodes.start().await);
    for name in ["BTCUSDT", "ETHUSDT"] {
        assert_eq!(one.read(source, name).await, good("v1", "MISS"));
        one.flush().await;
        assert_eq!(other.read(source, name).await, good("v1", "HIT"));
    }
    source.set("v2");
    (one, other)
}

#[tokio::test(start_paused = true)]
async fn what_one_process_removes_no_other_serves() {
    let (nodes, source) = (Nodes::new(), Source::answering("v1"));
    let (one, other) = two(&nodes, &source).await;
    one.prices.remove("BTCUSDT").await;
    one.flush().await;
    assert_eq!(peeked(&other.prices, "BTCUSDT"), None);
    assert_eq!(other.read(&source, "BTCUSDT").await, good("v2", "MISS"));
    assert_eq!(other.read(&source, "ETHUSDT").await, good("v1", "HIT"), "the other key stays");
    // What it said itself is no news to the first.
    assert_eq!(one.read(&source, "BTCUSDT").await, good("v2", "HIT"));
}

#[tokio::test(start_paused = true)]
async fn what_one_process_expires_the_others_keep_for_bad_days_alone() {
    let (nodes, source) = (Nodes::new(), Source::answering("v1"));
    let (one, other) = two(&nodes, &source).await;
    one.prices.expire("BTCUSDT").await;
    one.flush().await;
    source.fail(Reason::Unreachable);
    assert_eq!(other.read(&source, "BTCUSDT").await, good("v1", "LAST-GOOD"));
    source.set("v2");
    advance(SECOND).await;
    assert_eq!(other.read(&source, "BTCUSDT").await, good("v2", "MISS"));
}

#[tokio::test(start_paused = true)]
async fn what_one_process_puts_the_others_serve_even_if_its_clock_is_a_quarter_of_an_hour_behind() {
    let (nodes, source) = (Nodes::new(), Source::answering("v1"));
    advance(15 * MINUTE).await;
    let late = nodes.start_with(Clock::paused_with_tokio(), 1).await;
    let (_one, other) = two(&nodes, &source).await;
    // By its clock, what it puts is older than what the others hold.
    late.prices.put("BTCUSDT", loaded("v3").fresh_for(HOUR)).await;
    late.flush().await;
    source.fail(Reason::Unreachable);
    assert_eq!(other.read(&source, "BTCUSDT").await, good("v3", "HIT"));
    assert_eq!(other.read(&source, "ETHUSDT").await, good("v1", "HIT"));
}

#[tokio::test(start_paused = true)]
async fn a_cleared_region_a_prefix_and_a_tag_are_gone_in_every_process() {
    let (nodes, source) = (Nodes::new(), Source::answering("v1"));
    let (one, other) = two(&nodes, &source).await;
    source.tag("oil");
    source.set("v1");
    for name in ["a:1", "a:2", "b:1"] {
        one.read(&source, name).await.expect("it loads");
        one.flush().await;
        assert_eq!(other.read(&source, name).await, good("v1", "HIT"));
    }
    one.prices.remove_prefix("a:").await;
    one.flush().await;
    let held = |name: &str| peeked(&other.prices, name).is_some();
    assert_eq!(["a:1", "a:2", "b:1", "BTCUSDT"].map(held), [false, false, true, true]);
    let invalidated =
        one.cache.invalidate(&Selector::Tag("oil".to_owned()), Some(Mode::Remove)).await.expect("the store answers");
    assert_eq!(invalidated.changed, 1);
    one.flush().await;
    assert_eq!(["b:1", "BTCUSDT"].map(held), [false, true]);
    one.prices.clear().await;
    one.flush().await;
    assert!(!held("BTCUSDT"));
    // None of it affects later loads.
    source.set("v2");
    other.read(&source, "a:1").await.expect("it loads");
    advance(SECOND).await;
    settle().await;
    assert_eq!(other.read(&source, "a:1").await, good("v2", "HIT"));
}

#[tokio::test(start_paused = true)]
async fn a_load_that_another_process_invalidates_is_kept_nowhere() {
    let nodes = Nodes::new();
    let (one, other) = (nodes.start().await, nodes.start().await);
    let source = Source::answering("v1");
    source.pause();
    let loading = tokio::spawn({
        let (prices, source) = (other.prices.clone(), source.clone());
        async move { summary(source.read(&prices, "BTCUSDT").await) }
    });
    settle().await;
    one.prices.remove("BTCUSDT").await;
    one.flush().await;
    source.resume();
    assert_eq!(loading.await.unwrap(), good("v1", "MISS"), "who asked before is answered");
    other.flush().await;
    assert_eq!(peeked(&other.prices, "BTCUSDT"), None);
    assert_eq!(nodes.store.get("lastgood:prices:v1:BTCUSDT").await, Ok(None));
}

#[tokio::test(start_paused = true)]
async fn what_waits_to_be_written_when_another_process_removes_it_is_not_written() {
    let nodes = Nodes::new();
    let (one, other) = (nodes.start().await, nodes.start().await);
    // Four are being written and do not get on; the fifth waits behind them.
    other.way.set_writes(Fault::Hold);
    for name in ["1", "2", "3", "4", "BTCUSDT"] {
        other.prices.put(name, tick("v1")).await;
        settle().await;
    }
    for name in ["1", "BTCUSDT"] {
        one.prices.remove(name).await;
    }
    one.flush().await;
    other.way.heal();
    other.flush().await;
    let stored = async |name: &str| nodes.store.get(&format!("lastgood:prices:v1:{name}")).await.unwrap().is_some();
    assert!(!stored("BTCUSDT").await, "it waited");
    assert!(!stored("1").await, "it was under way, and is taken back");
    assert!(stored("2").await);
}

#[tokio::test(start_paused = true)]
async fn what_was_written_before_a_removal_elsewhere_was_heard_is_taken_back() {
    let (nodes, source) = (Nodes::new(), Source::answering("v1"));
    let (one, other) = (nodes.start().await, nodes.start().await);
    other.read(&source, "earlier").await.expect("it loads");
    other.flush().await;
    one.prices.remove("another").await;
    one.flush().await;
    advance(SECOND).await;
    // It does not hear at the moment, and goes on writing: a tick from before the removal, and a load from after it.
    other.way.set_log_reads(Fault::Hold);
    one.prices.remove("BTCUSDT").await;
    one.prices.expire("earlier").await;
    one.flush().await;
    let key = "lastgood:prices:v1:BTCUSDT";
    one.prices.remove("ETHUSDT").await;
    one.flush().await;
    other.prices.put("BTCUSDT", tick("v1")).await;
    other.read(&source, "ETHUSDT").await.expect("it loads");
    other.flush().await;
    assert!(nodes.store.get(key).await.unwrap().is_some());
    other.way.heal();
    advance(3 * SECOND).await;
    settle().await;
    other.flush().await;
    assert_eq!((peeked(&other.prices, "BTCUSDT"), nodes.store.get(key).await), (None, Ok(None)));
    let earlier = nodes.store.get("lastgood:prices:v1:earlier").await.unwrap();
    assert!(earlier.is_some(), "what was written long before is not: what the other has put in its place stays");
    let loaded_since = nodes.store.get("lastgood:prices:v1:ETHUSDT").await.unwrap();
    assert!(loaded_since.is_some(), "the store took it after the removal, so that it is later");
}

#[tokio::test(start_paused = true)]
async fn a_tag_reaches_what_only_another_process_holds() {
    let (nodes, source) = (Nodes::new(), Source::answering("v1"));
    let (one, other) = (nodes.start().await, nodes.start().await);
    source.tag("oil");
    source.set("v1");
    other.read(&source, "XOM").await.expect("it loads");
    one.cache.invalidate(&Selector::Tag("oil".to_owned()), Some(Mode::Expire)).await.expect("the store answers");
    one.flush().await;
    source.set("v2");
    assert_eq!(other.read(&source, "XOM").await, good("v2", "MISS"));
}

#[tokio::test(start_paused = true)]
async fn no_other_process_learns_of_it_before_the_store_has_it_and_all_do_once_it_has() {
    let (nodes, source) = (Nodes::new(), Source::answering("v1"));
    let (one, other) = two(&nodes, &source).await;
    one.way.set_writes(unavailable());
    one.prices.remove("BTCUSDT").await;
    settle().await;
    assert_eq!(other.read(&source, "BTCUSDT").await, good("v1", "HIT"), "it would only find the old one");
    one.way.heal();
    advance(SECOND).await;
    settle().await;
    one.flush().await;
    assert_eq!(other.read(&source, "BTCUSDT").await, good("v2", "MISS"));
}

#[tokio::test(start_paused = true)]
async fn records_that_could_not_be_published_are_published_later_in_order() {
    let (nodes, source) = (Nodes::new(), Source::answering("v1"));
    let (one, other) = two(&nodes, &source).await;
    one.way.set_log_appends(unavailable());
    for name in ["BTCUSDT", "ETHUSDT"] {
        one.prices.remove(name).await;
        one.flush().await;
    }
    assert_eq!(one.cache.status().store.expect("there is one").unpublished, 2);
    assert_eq!(other.read(&source, "BTCUSDT").await, good("v1", "HIT"));
    one.way.heal();
    advance(11 * SECOND).await;
    settle().await;
    assert_eq!(one.cache.status().store.expect("there is one").unpublished, 0);
    for name in ["BTCUSDT", "ETHUSDT"] {
        assert_eq!(other.read(&source, name).await, good("v2", "MISS"));
    }
}

#[tokio::test(start_paused = true)]
async fn processes_of_two_schemas_invalidate_for_each_other_and_come_to_rest() {
    let nodes = Nodes::new();
    let (old, new) = (nodes.start_with(nodes.clock.clone(), 1).await, nodes.start_with(nodes.clock.clone(), 2).await);
    let source = Source::answering("v1");
    for node in [&old, &new] {
        node.read(&source, "BTCUSDT").await.expect("it loads");
        node.flush().await;
    }
    old.prices.remove("BTCUSDT").await;
    old.flush().await;
    new.flush().await;
    assert_eq!(nodes.store.get("lastgood:prices:v2:BTCUSDT").await, Ok(None), "its own key is gone as well");
    source.set("v2");
    assert_eq!(new.read(&source, "BTCUSDT").await, good("v2", "MISS"));
    assert_eq!(old.read(&source, "BTCUSDT").await, good("v2", "MISS"));
    for _ in 0..10 {
        settle().await;
    }
    for node in [&old, &new] {
        assert_eq!(node.read(&source, "BTCUSDT").await, good("v2", "HIT"));
    }
}

#[tokio::test]
async fn a_dropped_cache_listens_no_longer() {
    let nodes = Nodes::new();
    let way = FaultyStore::new(Arc::new(nodes.store.clone()));
    let cache = over(Arc::clone(&way) as _, &nodes.clock);
    settle().await;
    drop(cache);
    settle().await;
    assert_eq!(Arc::strong_count(&way), 1);
}

#[tokio::test(start_paused = true)]
async fn processes_that_write_during_outages_that_overlap_end_with_the_newest_in_every_tier() {
    let (nodes, source) = (Nodes::new(), Source::failing(Reason::Unreachable));
    let (one, other) = (nodes.start().await, nodes.start().await);
    for name in ["a", "b", "c", "d"] {
        one.prices.put(name, loaded("v1")).await;
    }
    one.flush().await;
    let step = async || {
        advance(SECOND).await;
        settle().await;
    };
    // One is cut off, the other is, one is back, the other is back; each writes all along.
    one.way.set(unavailable());
    step().await;
    one.prices.put("a", loaded("v2")).await;
    one.prices.remove("b").await;
    one.prices.put("c", loaded("v2")).await;
    step().await;
    other.way.set(unavailable());
    step().await;
    other.prices.put("a", loaded("v3")).await;
    other.prices.put("b", loaded("v3")).await;
    other.prices.put("d", loaded("v3")).await;
    step().await;
    one.way.heal();
    one.prices.put("c", loaded("v4")).await;
    one.prices.remove("d").await;
    step().await;
    one.prices.put("d", loaded("v5")).await;
    step().await;
    other.way.heal();
    converge(&[&one, &other]).await;
    for (name, newest) in [("a", "v3"), ("b", "v3"), ("c", "v4"), ("d", "v5")] {
        for node in [&one, &other] {
            let served = node.read(&source, name).await.expect("it is there");
            assert_eq!(served.0, newest, "{name}");
            let stored = node.prices.stored(&[name.to_owned()]).await.pop().and_then(Result::ok).flatten();
            assert_eq!(stored.as_ref().map(text).as_deref(), Some(newest), "{name} in the store");
        }
    }
}
