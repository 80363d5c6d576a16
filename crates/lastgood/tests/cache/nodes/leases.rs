//! One load of a key at a time among all processes, and nothing written by a load that something overtook.

use lastgood::{Answer, Error, Filled};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::{JoinHandle, JoinSet};

use super::*;

mod batches;

const KEY: &str = "lastgood:prices:v1:BTCUSDT";

impl Nodes {
    async fn start_many(&self, count: usize) -> Vec<Node> {
        let mut nodes = Vec::new();
        for _ in 0..count {
            nodes.push(self.start().await);
        }
        nodes
    }

    /// Two, and in the store an entry that has expired, if any.
    async fn two_over(&self, before: Option<&str>) -> (Node, Node) {
        let (one, other) = (self.start().await, self.start().await);
        if let Some(before) = before {
            other.prices.put("BTCUSDT", Loaded { tags: vec!["oil".to_owned()], ..loaded(before) }).await;
            other.prices.expire("BTCUSDT").await;
            other.flush().await;
            advance(MINUTE).await;
        }
        (one, other)
    }

    /// What a process that was never here before reads, with a source that fails.
    async fn seen_by_another(&self) -> Result<(String, &'static str), Reason> {
        self.start().await.read(&Source::failing(Reason::Unreachable), "BTCUSDT").await
    }

    /// The keys of the store, claims included.
    async fn keys(&self) -> Vec<String> {
        self.store.list("", None, 100).await.expect("it answers").keys
    }
}

/// A load that has begun, and ends with its answer on command.
struct Slow {
    answer: Option<oneshot::Sender<Result<Loaded, Error>>>,
    read: JoinHandle<Result<Answer, Error>>,
}

impl Slow {
    async fn begin(node: &Node) -> Slow {
        let (answer, answered) = oneshot::channel();
        let prices = node.prices.clone();
        let load = move || async move {
            match answered.await {
                Ok(answer) => Ok(answer?),
                Err(_) => std::future::pending().await,
            }
        };
        let read = tokio::spawn(async move { prices.get_or_load("BTCUSDT", load).await });
        settle().await;
        Slow { answer: Some(answer), read }
    }

    async fn end(self, with: Result<Loaded, Error>) -> Result<(String, &'static str), Reason> {
        self.answer.map(|answer| answer.send(with).is_ok());
        let answer = self.read.await.expect("it does not panic");
        settle().await;
        summary(answer)
    }

    /// As if its process were killed: nothing of it goes on.
    fn kill(mut self, node: Node) {
        std::mem::forget(self.answer.take());
        node.way.set(Fault::Fail(StoreError::Unavailable("killed".to_owned())));
        node.way.set_log_appends(unavailable());
    }
}

#[tokio::test(start_paused = true)]
async fn five_hundred_cold_reads_at_each_of_two_processes_make_one_load() {
    let (nodes, source) = (Nodes::new(), Source::answering("v1"));
    let both = nodes.start_many(2).await;
    source.pause();
    let mut readers = JoinSet::new();
    for number in 0..1_000 {
        let (source, prices) = (source.clone(), both[number % 2].prices.clone());
        readers.spawn(async move { summary(source.read(&prices, "BTCUSDT").await) });
    }
    settle().await;
    source.resume();
    let answers = readers.join_all().await;
    assert_eq!(source.loads(), 1);
    assert!(answers.iter().all(|answer| answer.as_ref().is_ok_and(|(body, _)| body == "v1")), "{answers:?}");
    let count = |outcome| answers.iter().filter(|answer| **answer == good("v1", outcome)).count();
    assert_eq!((count("MISS"), count("JOINED"), count("HIT")), (1, 499, 500));
}

#[tokio::test(start_paused = true)]
async fn a_stale_entry_is_refreshed_by_one_process_and_served_meanwhile_by_all() {
    let (nodes, source) = (Nodes::new(), Source::answering("v1"));
    let all = nodes.start_many(5).await;
    for node in &all {
        node.read(&source, "BTCUSDT").await.expect("it loads");
        node.flush().await;
    }
    assert_eq!(source.loads(), 1);
    advance(2 * MINUTE).await;
    source.set("v2");
    source.pause();
    let readers: Vec<_> = all
        .iter()
        .map(|node| {
            let (source, prices) = (source.clone(), node.prices.clone());
            tokio::spawn(async move { summary(source.read(&prices, "BTCUSDT").await) })
        })
        .collect();
    settle().await;
    let lies_there = nodes.store.get(KEY).await.expect("it answers").expect("it lies where it was");
    assert!(lies_there.windows(2).any(|bytes| bytes == b"v1"), "and is what it was");
    source.resume();
    for reader in readers {
        assert_eq!(reader.await.unwrap().map(|(body, _)| body), Ok("v2".to_owned()));
    }
    assert_eq!(source.loads(), 2);
}

#[tokio::test(start_paused = true)]
async fn when_the_process_that_loads_is_killed_one_of_twenty_takes_its_place_within_the_term() {
    let (nodes, source) = (Nodes::new(), Source::answering("v1"));
    let all = nodes.start_many(20).await;
    let killed = nodes.start().await;
    Slow::begin(&killed).await.kill(killed);
    let began = tokio::time::Instant::now();
    let mut readers = JoinSet::new();
    for node in &all {
        let (source, prices) = (source.clone(), node.prices.clone());
        readers.spawn(async move { summary(source.read(&prices, "BTCUSDT").await) });
    }
    let answers = readers.join_all().await;
    assert_eq!(source.loads(), 1, "{answers:?}");
    assert!(answers.iter().all(|answer| answer.as_ref().is_ok_and(|(body, _)| body == "v1")), "{answers:?}");
    assert!(began.elapsed() <= 5 * SECOND, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_process_that_was_paused_over_its_load_writes_nothing_when_it_goes_on() {
    let (nodes, source) = (Nodes::new(), Source::answering("v2"));
    let (paused, other) = (nodes.start().await, nodes.start().await);
    let slow = Slow::begin(&paused).await;
    // Nothing of it goes on, its renewals included.
    paused.way.set_writes(Fault::Hold);
    assert_eq!(other.read(&source, "BTCUSDT").await, good("v2", "MISS"));
    other.flush().await;
    paused.way.heal();
    assert_eq!(slow.end(Ok(loaded("v1"))).await, good("v1", "MISS"), "who waited for it is answered");
    paused.flush().await;
    assert_eq!(nodes.seen_by_another().await, good("v2", "HIT"));
}

#[tokio::test(start_paused = true)]
async fn a_load_that_hangs_keeps_the_others_waiting_for_half_of_the_hard_timeout() {
    let (nodes, source) = (Nodes::new(), Source::answering("v1"));
    let (hung, other) = (nodes.start().await, nodes.start().await);
    let _slow = Slow::begin(&hung).await;
    let began = tokio::time::Instant::now();
    other.read(&source, "BTCUSDT").await.expect("it loads");
    let (waited, longest) = (began.elapsed(), a_minute().hard_timeout / 2);
    assert!(waited > longest - SECOND && waited < longest + SECOND, "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_load_that_fails_gives_its_place_up_at_once() {
    let (nodes, source) = (Nodes::new(), Source::answering("v1"));
    let (one, other) = (nodes.start().await, nodes.start().await);
    let slow = Slow::begin(&one).await;
    let waiting = {
        let (source, prices) = (source.clone(), other.prices.clone());
        tokio::spawn(async move { summary(source.read(&prices, "BTCUSDT").await) })
    };
    settle().await;
    let began = tokio::time::Instant::now();
    assert_eq!(slow.end(Err(Error::new(Reason::Unreachable, "away"))).await, Err(Reason::Unreachable));
    assert_eq!(waiting.await.unwrap(), good("v1", "MISS"));
    assert!(began.elapsed() < SECOND / 2, "{:?}", began.elapsed());
}

/// The ways to invalidate what another process is loading.
#[derive(Clone, Copy, Debug)]
enum Invalidation {
    Remove,
    Expire,
    Clear,
    Region(Mode),
    Selected(Mode),
    Tag(Mode),
    Put,
    PutIf,
}

const INVALIDATIONS: [Invalidation; 11] = [
    Invalidation::Remove,
    Invalidation::Expire,
    Invalidation::Clear,
    Invalidation::Region(Mode::Expire),
    Invalidation::Region(Mode::Remove),
    Invalidation::Selected(Mode::Expire),
    Invalidation::Selected(Mode::Remove),
    Invalidation::Tag(Mode::Expire),
    Invalidation::Tag(Mode::Remove),
    Invalidation::Put,
    Invalidation::PutIf,
];

impl Invalidation {
    async fn happens(self, at: &Node) {
        let invalidate =
            async |selector, mode| drop(at.cache.invalidate(&selector, Some(mode)).await.expect("it answers"));
        match self {
            Invalidation::Remove => drop(at.prices.remove("BTCUSDT").await),
            Invalidation::Expire => drop(at.prices.expire("BTCUSDT").await),
            Invalidation::Clear => drop(at.prices.clear().await),
            Invalidation::Region(mode) => invalidate(Selector::Region("prices".to_owned()), mode).await,
            Invalidation::Selected(mode) => invalidate(Selector::Text("BTC".to_owned()), mode).await,
            Invalidation::Tag(mode) => invalidate(Selector::Tag("oil".to_owned()), mode).await,
            Invalidation::Put => at.prices.put("BTCUSDT", loaded("put")).await,
            Invalidation::PutIf => {
                at.prices.put_if("BTCUSDT", loaded("put"), |_| true).await.expect("the store decides");
            }
        }
        at.flush().await;
    }
}

/// The race: a load reads `old` and pauses; the key is invalidated elsewhere; the load goes on. `before` is what lies in the
/// store at the beginning, if anything.
async fn overtaken(by: Invalidation, before: Option<&str>) {
    let case = format!("{by:?} over {before:?}");
    let nodes = Nodes::new();
    let (one, other) = nodes.two_over(before).await;
    let slow = Slow::begin(&one).await;
    // It does not hear of it.
    one.way.set_log_reads(Fault::Hold);
    by.happens(&other).await;
    _ = slow.end(Ok(Loaded { tags: vec!["oil".to_owned()], ..loaded("old") })).await;
    one.flush().await;
    let seen = nodes.seen_by_another().await;
    assert_ne!(seen, good("old", "HIT"), "{case}");
    assert!(!matches!(by, Invalidation::Put | Invalidation::PutIf) || seen == good("put", "HIT"), "{case}: {seen:?}");
    // And the next load's answer is the one that stays.
    let next = other.read(&Source::answering("new"), "BTCUSDT").await.expect("an answer").0;
    other.flush().await;
    if !matches!(by, Invalidation::Put | Invalidation::PutIf) {
        assert_eq!(next, "new", "{case}");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_written_by_a_load_that_an_invalidation_elsewhere_has_overtaken() {
    for by in INVALIDATIONS {
        overtaken(by, None).await;
        overtaken(by, Some("before")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_read_after_an_invalidation_does_not_wait_for_a_load_from_before_it() {
    for by in INVALIDATIONS {
        for before in [None, Some("before")] {
            let nodes = Nodes::new();
            let (one, other) = nodes.two_over(before).await;
            let _slow = Slow::begin(&one).await;
            advance(SECOND).await;
            by.happens(&other).await;
            let began = tokio::time::Instant::now();
            other.read(&Source::answering("new"), "BTCUSDT").await.expect("an answer");
            assert!(began.elapsed() < SECOND, "{by:?} over {before:?}: {:?}", began.elapsed());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn with_the_store_away_each_process_loads_for_itself_and_nothing_is_written() {
    for fault in [unavailable(), Fault::Hang, Fault::Fail(StoreError::Refused("NOSCRIPT".to_owned()))] {
        let (nodes, source) = (Nodes::new(), Source::answering("v1"));
        let both = nodes.start_many(2).await;
        for node in &both {
            node.way.set_writes(fault.clone());
            assert_eq!(node.read(&source, "BTCUSDT").await, good("v1", "MISS"));
            node.way.heal();
        }
        assert_eq!((source.loads(), nodes.keys().await), (2, Vec::new()), "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn every_claim_has_a_time_to_live_and_none_is_left_after_its_load() {
    let nodes = Nodes::new();
    let node = nodes.start().await;
    let slow = Slow::begin(&node).await;
    assert_eq!(nodes.keys().await, [KEY]);
    assert_eq!(slow.end(Err(Error::new(Reason::Upstream, "ill"))).await, Err(Reason::Upstream));
    assert_eq!(nodes.keys().await, Vec::<String>::new(), "a failed load leaves none");
    advance(MINUTE).await;
    let slow = Slow::begin(&node).await;
    slow.kill(node);
    assert_eq!(nodes.keys().await, [KEY]);
    advance(3 * SECOND).await;
    settle().await;
    assert_eq!(nodes.keys().await, Vec::<String>::new(), "nor one that was killed");
}

#[tokio::test(start_paused = true)]
async fn a_claim_is_renewed_for_as_long_as_its_load_goes_on() {
    let (nodes, source) = (Nodes::new(), Source::answering("v2"));
    let (one, other) = (nodes.start().await, nodes.start().await);
    let slow = Slow::begin(&one).await;
    let waiting = {
        let (source, prices) = (source.clone(), other.prices.clone());
        tokio::spawn(async move { summary(source.read(&prices, "BTCUSDT").await) })
    };
    for _ in 0..40 {
        advance(SECOND / 10).await;
        settle().await;
    }
    assert_eq!(source.loads(), 0, "four seconds on, no other process loads");
    assert_eq!(slow.end(Ok(loaded("v1"))).await, good("v1", "MISS"));
    assert_eq!(waiting.await.unwrap(), good("v1", "HIT"));
}

#[tokio::test(start_paused = true)]
async fn without_leases_each_process_loads_and_an_overtaken_load_still_writes_nothing() {
    let (nodes, source) = (Nodes::new(), Source::answering("v1"));
    let start = || {
        let builder = Cache::builder().store(Arc::new(nodes.store.clone()) as _).clock(nodes.clock.clone());
        let cache = builder.leases(false).build().expect("the defaults are sound");
        (region(&cache, a_minute()), cache)
    };
    let ((one, _cache), (other, other_cache)) = (start(), start());
    settle().await;
    source.pause();
    let slow = {
        let (source, one) = (source.clone(), one.clone());
        tokio::spawn(async move { summary(source.read(&one, "BTCUSDT").await) })
    };
    settle().await;
    other.put("BTCUSDT", loaded("put")).await;
    assert!(other_cache.sync(MINUTE).await);
    source.resume();
    slow.await.unwrap().expect("an answer");
    settle().await;
    assert_eq!(nodes.seen_by_another().await, good("put", "HIT"));
}
