//! What a process writes late, or writes again, never undoes what another wrote meanwhile.

use bytes::Bytes;
use lastgood::{Loaded, Value};
use tokio::time::sleep;

use super::*;

mod waiting;

/// The ways to end the freshness of one key.
#[derive(Clone, Copy, Debug)]
enum Way {
    Key,
    InvalidatedKey,
    Tag,
    Region,
    Pattern,
}

const WAYS: [Way; 5] = [Way::Key, Way::InvalidatedKey, Way::Tag, Way::Region, Way::Pattern];

impl Way {
    async fn expire(self, node: &Node) {
        let selector = match self {
            Way::Key => {
                node.prices.expire("BTCUSDT").await;
                return;
            }
            Way::InvalidatedKey => Selector::Key { region: "prices".to_owned(), name: "BTCUSDT".to_owned() },
            Way::Tag => Selector::Tag("symbol:BTCUSDT".to_owned()),
            Way::Region => Selector::Region("prices".to_owned()),
            Way::Pattern => Selector::Matching(Arc::new(|region, name| region == "prices" && name.starts_with("BTC"))),
        };
        node.cache.invalidate(&selector, Some(Mode::Expire)).await.expect("invalidated");
    }
}

impl Node {
    async fn put(&self, value: &str) {
        let value = Loaded::from(Value::new(Bytes::copy_from_slice(value.as_bytes())));
        self.prices.put("BTCUSDT", Loaded { tags: vec!["symbol:BTCUSDT".to_owned()], ..value }).await;
    }

    /// What an application reads that has no source: whatever is kept.
    async fn kept(&self) -> Option<String> {
        let kept = self.prices.newest("BTCUSDT").await.expect("the store answers");
        kept.map(|kept| text(&kept))
    }

    async fn cut_off(&self, is_cut_off: bool) {
        let fault = if is_cut_off { unavailable() } else { Fault::Pass };
        self.way.set_reads(fault.clone());
        self.way.set_writes(fault.clone());
        self.way.set_log_appends(fault.clone());
        self.way.set_log_reads(fault);
        settle().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_expiry_on_another_process_never_brings_back_what_was_put_before() {
    for way in WAYS {
        let nodes = Nodes::new();
        let (one, other) = (nodes.start().await, nodes.start().await);
        one.put("v1").await;
        one.flush().await;
        assert_eq!(other.kept().await.as_deref(), Some("v1"));
        // The other has it in memory, and does not hear of the next one before it expires the key.
        let source = Source::answering("unused");
        assert_eq!(other.read(&source, "BTCUSDT").await, good("v1", "HIT"), "{way:?}");
        other.way.set_log_reads(unavailable());
        settle().await;
        one.put("v2").await;
        one.flush().await;
        way.expire(&other).await;
        other.flush().await;
        other.way.set_log_reads(Fault::Pass);
        converge(&[&one, &other]).await;
        let third = nodes.start().await;
        for (who, node) in [("the one who put it", &one), ("the one who expired it", &other), ("a third", &third)] {
            assert_eq!(node.kept().await.as_deref(), Some("v2"), "{way:?}: {who}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_expiry_in_an_outage_leaves_the_last_good_answer_of_the_others() {
    for way in WAYS {
        let nodes = Nodes::new();
        let (one, other) = (nodes.start().await, nodes.start().await);
        one.put("v1").await;
        one.flush().await;
        assert_eq!(other.kept().await.as_deref(), Some("v1"));
        other.cut_off(true).await;
        way.expire(&other).await;
        settle().await;
        other.cut_off(false).await;
        converge(&[&one, &other]).await;
        let source = Source::answering("v2");
        source.fail(Reason::Upstream);
        for (who, node) in [("the other", &one), ("the one who expired it", &other), ("a third", &nodes.start().await)]
        {
            let answered = node.read(&source, "BTCUSDT").await;
            assert_eq!(answered, good("v1", "LAST-GOOD"), "{way:?}: {who}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_removal_that_comes_late_leaves_what_was_put_after_it() {
    let nodes = Nodes::new();
    let (one, other) = (nodes.start().await, nodes.start().await);
    one.put("v1").await;
    one.flush().await;
    other.cut_off(true).await;
    other.prices.remove("BTCUSDT").await;
    advance(SECOND).await;
    one.put("v2").await;
    one.flush().await;
    other.cut_off(false).await;
    converge(&[&one, &other]).await;
    for node in [&one, &other, &nodes.start().await] {
        assert_eq!(node.kept().await.as_deref(), Some("v2"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_removal_that_comes_late_takes_away_what_was_there_before_it() {
    let nodes = Nodes::new();
    let (one, other) = (nodes.start().await, nodes.start().await);
    one.put("v1").await;
    one.flush().await;
    advance(SECOND).await;
    other.cut_off(true).await;
    other.prices.remove("BTCUSDT").await;
    settle().await;
    other.cut_off(false).await;
    converge(&[&one, &other]).await;
    for node in [&one, &other, &nodes.start().await] {
        assert_eq!(node.kept().await, None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_clear_that_comes_late_leaves_what_was_put_after_it_and_nothing_else() {
    let nodes = Nodes::new();
    let (one, other) = (nodes.start().await, nodes.start().await);
    one.put("v1").await;
    one.prices.put("OLD", loaded("before")).await;
    one.flush().await;
    advance(SECOND).await;
    other.cut_off(true).await;
    other.prices.clear().await;
    advance(SECOND).await;
    one.put("v2").await;
    one.flush().await;
    other.cut_off(false).await;
    converge(&[&one, &other]).await;
    let third = nodes.start().await;
    assert_eq!(third.kept().await.as_deref(), Some("v2"));
    assert!(third.prices.newest("OLD").await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_put_that_comes_late_leaves_what_another_put_after_it() {
    let nodes = Nodes::new();
    let (one, other) = (nodes.start().await, nodes.start().await);
    one.put("v1").await;
    one.flush().await;
    other.cut_off(true).await;
    other.put("v2").await;
    advance(SECOND).await;
    one.put("v3").await;
    one.flush().await;
    other.cut_off(false).await;
    converge(&[&one, &other]).await;
    for node in [&one, &nodes.start().await, &other] {
        assert_eq!(node.kept().await.as_deref(), Some("v3"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_put_in_an_outage_is_written_even_if_it_expires_before_that() {
    let nodes = Nodes::new();
    let (one, other) = (nodes.start().await, nodes.start().await);
    one.put("v1").await;
    one.flush().await;
    other.cut_off(true).await;
    advance(SECOND).await;
    other.put("v2").await;
    settle().await;
    other.prices.expire("BTCUSDT").await;
    settle().await;
    other.cut_off(false).await;
    converge(&[&one, &other]).await;
    for node in [&one, &other, &nodes.start().await] {
        assert_eq!(node.kept().await.as_deref(), Some("v2"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_tag_marked_late_does_not_undo_a_later_mark() {
    let nodes = Nodes::new();
    let (one, other) = (nodes.start().await, nodes.start().await);
    let tag = Selector::Tag("symbol:BTCUSDT".to_owned());
    other.cut_off(true).await;
    other.cache.invalidate(&tag, Some(Mode::Remove)).await.expect("marked");
    advance(SECOND).await;
    one.put("v1").await;
    one.flush().await;
    advance(SECOND).await;
    one.cache.invalidate(&tag, Some(Mode::Remove)).await.expect("marked");
    one.flush().await;
    other.cut_off(false).await;
    converge(&[&one, &other]).await;
    for node in [&one, &other, &nodes.start().await] {
        assert_eq!(node.kept().await, None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_removal_by_tag_that_was_heard_holds_although_the_store_loses_its_mark() {
    for mode in [Mode::Remove, Mode::Expire] {
        let (nodes, source) = (Nodes::new(), Source::answering("v1"));
        source.tag("symbol:BTCUSDT");
        let (one, other, third) = (nodes.start().await, nodes.start().await, nodes.start().await);
        assert_eq!(one.read(&source, "BTCUSDT").await, good("v1", "MISS"));
        one.flush().await;
        advance(SECOND).await;
        other.cache.invalidate(&Selector::Tag("symbol:BTCUSDT".to_owned()), Some(mode)).await.expect("marked");
        other.flush().await;
        let marks = nodes.store.list("lastgood:@tags:", None, 10).await.expect("it answers").keys;
        assert_eq!(nodes.store.remove(&marks).await, Ok(1), "the mark");
        assert_eq!(nodes.store.list("lastgood:prices:", None, 10).await.expect("it answers").keys.len(), 1);
        source.fail(Reason::Upstream);
        let wanted = match mode {
            Mode::Remove => Err(Reason::Upstream),
            Mode::Expire => good("v1", "LAST-GOOD"),
        };
        for node in [&one, &other, &third] {
            assert_eq!(node.read(&source, "BTCUSDT").await, wanted, "{mode:?}");
        }
    }
}

/// What one process alone holds: it was read while the store was away from it.
async fn holds_alone(node: &Node, source: &Source) {
    node.way.set(unavailable());
    assert_eq!(node.read(source, "ETHUSDT").await, good("alone", "MISS"));
    node.way.heal();
    advance(SECOND).await;
    settle().await;
}

#[tokio::test(start_paused = true)]
async fn a_selector_reaches_what_another_process_alone_holds() {
    for mode in [Mode::Expire, Mode::Remove] {
        for selector in [Selector::Region("prices".to_owned()), Selector::Text("ETH".to_owned())] {
            let nodes = Nodes::new();
            let (one, other) = (nodes.start().await, nodes.start().await);
            let source = Source::answering("alone");
            holds_alone(&other, &source).await;
            one.cache.invalidate(&selector, Some(mode)).await.expect("invalidated");
            one.flush().await;
            source.fail(Reason::Upstream);
            let wanted = match mode {
                Mode::Expire => good("alone", "LAST-GOOD"),
                Mode::Remove => Err(Reason::Upstream),
            };
            assert_eq!(other.read(&source, "ETHUSDT").await, wanted, "{selector:?} {mode:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_selector_voids_what_another_process_is_loading() {
    for selector in [Selector::Region("prices".to_owned()), Selector::Text("ETH".to_owned())] {
        let nodes = Nodes::new();
        let (one, other) = (nodes.start().await, nodes.start().await);
        let source = Source::answering("from before");
        source.pause();
        let (reader, region) = (source.load(), other.prices.clone());
        let loading = tokio::spawn(async move { region.get_or_load("ETHUSDT", move || reader).await });
        settle().await;
        one.cache.invalidate(&selector, Some(Mode::Remove)).await.expect("invalidated");
        one.flush().await;
        source.resume();
        assert!(loading.await.expect("no panic").is_ok(), "who waits is answered");
        other.flush().await;
        for (who, node) in [("the one who loaded", &other), ("a third", &nodes.start().await)] {
            source.set("from after");
            let read = node.read(&source, "ETHUSDT").await;
            assert_eq!(read.map(|(body, _)| body), Ok("from after".to_owned()), "{selector:?}: {who}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_sweep_that_could_not_search_the_store_searches_it_when_it_is_back() {
    for mode in [Mode::Expire, Mode::Remove] {
        let nodes = Nodes::new();
        let (one, other) = (nodes.start().await, nodes.start().await);
        one.put("v1").await;
        one.flush().await;
        advance(SECOND).await;
        other.cut_off(true).await;
        let invalidated =
            other.cache.invalidate(&Selector::Text("BTC".to_owned()), Some(mode)).await.expect("invalidated");
        assert!(invalidated.unreached.is_some());
        assert!(other.cache.confirmed(SECOND).await.is_some(), "it is still to be done");
        advance(SECOND).await;
        one.prices.put("BTCEUR", loaded("put later")).await;
        one.flush().await;
        other.cut_off(false).await;
        converge(&[&one, &other]).await;
        assert_eq!(other.cache.confirmed(SECOND).await, None);
        let source = Source::failing(Reason::Upstream);
        let wanted = match mode {
            Mode::Expire => good("v1", "LAST-GOOD"),
            Mode::Remove => Err(Reason::Upstream),
        };
        for (who, node) in [("one", &one), ("the other", &other), ("a third", &nodes.start().await)] {
            assert_eq!(node.read(&source, "BTCUSDT").await, wanted, "{who} {mode:?}");
            assert_eq!(node.read(&source, "BTCEUR").await, good("put later", "HIT"), "{who} {mode:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_selector_that_is_not_understood_makes_all_of_memory_unverified() {
    let nodes = Nodes::new();
    let (one, other) = (nodes.start().await, nodes.start().await);
    let source = Source::answering("alone");
    holds_alone(&other, &source).await;
    // A later version may tell what this one does not know.
    let log = nodes.store.log().expect("a log");
    log.append("lastgood:@log", Bytes::from_static(b"removed-where 0123456789abcdef nonsense")).await.expect("room");
    settle().await;
    source.set("asked again");
    assert_eq!(other.read(&source, "ETHUSDT").await, good("asked again", "MISS"));
    drop(one);
}
