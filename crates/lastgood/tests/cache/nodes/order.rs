//! What one process answers never gets older, whatever the others invalidate and the store still holds.

use super::*;

const NAME: &str = "BTCUSDT";

impl Node {
    /// Begins a load that takes some time, as all loads do.
    async fn begin(&self, source: &Source) -> tokio::task::JoinHandle<Result<(String, &'static str), Reason>> {
        source.pause();
        let (source, prices) = (source.clone(), self.prices.clone());
        let reading = tokio::spawn(async move { summary(source.read(&prices, NAME).await) });
        settle().await;
        advance(Duration::from_millis(20)).await;
        reading
    }

    /// Hears again what the others said meanwhile.
    async fn hear(&self) {
        self.way.heal();
        self.way.set_log_reads(Fault::Pass);
        for _ in 0..10 {
            advance(Duration::from_millis(300)).await;
            settle().await;
        }
    }

    async fn load(&self, source: &Source) -> Result<(String, &'static str), Reason> {
        let reading = self.begin(source).await;
        source.resume();
        reading.await.expect("it does not panic")
    }
}

/// Two processes: the one has removed the key and loaded `v1` since, which is in the store. The other hears nothing yet, and
/// its reads of the store fail.
async fn one_that_was_earlier(nodes: &Nodes, source: &Source) -> (Node, Node) {
    let (one, other) = (nodes.start().await, nodes.start().await);
    other.way.set_log_reads(unavailable());
    settle().await;
    one.prices.remove(NAME).await;
    one.flush().await;
    assert_eq!(one.load(source).await, good("v1", "MISS"));
    one.flush().await;
    other.way.set_reads(unavailable());
    advance(Duration::from_millis(100)).await;
    source.set("v2");
    (one, other)
}

#[tokio::test(start_paused = true)]
async fn after_the_answer_of_a_load_that_was_voided_none_from_before_it_comes_out_of_the_store() {
    let (nodes, source) = (Nodes::new(), Source::answering("v1"));
    let (_one, other) = one_that_was_earlier(&nodes, &source).await;
    let loading = other.begin(&source).await;
    other.hear().await;
    source.resume();
    assert_eq!(loading.await.unwrap(), good("v2", "MISS"), "who asked before is answered");
    assert_eq!(peeked(&other.prices, NAME).as_deref(), Some("v2"), "it was asked for after the removal");
    source.fail(Reason::Unreachable);
    assert_eq!(other.read(&source, NAME).await, good("v2", "LAST-GOOD"));
    advance(SECOND).await;
    source.set("v3");
    assert_eq!(other.load(&source).await, good("v3", "MISS"));
    other.flush().await;
    assert_eq!(other.read(&source, NAME).await, good("v3", "HIT"));
}

#[tokio::test(start_paused = true)]
async fn after_an_answer_that_a_removal_elsewhere_took_from_memory_none_from_before_it_comes_out_of_the_store() {
    let (nodes, source) = (Nodes::new(), Source::answering("v1"));
    let (one, other) = one_that_was_earlier(&nodes, &source).await;
    assert_eq!(other.load(&source).await, good("v2", "MISS"));
    other.hear().await;
    assert_eq!(other.read(&source, NAME).await, good("v2", "HIT"), "it was asked for after the removal");
    // Another process's clock may be wrong by so much that it was asked for before.
    other.way.set_log_reads(unavailable());
    settle().await;
    one.prices.remove(NAME).await;
    one.flush().await;
    other.prices.expire(NAME).await;
    other.flush().await;
    other.way.set_reads(unavailable());
    assert_eq!(other.load(&source).await, good("v2", "MISS"));
    other.hear().await;
    assert_eq!(peeked(&other.prices, NAME), None, "the removal is heard");
    source.set("v3");
    assert_eq!(other.load(&source).await, good("v3", "MISS"));
    // Another process has answered nothing yet.
    let third = nodes.start().await;
    assert!(matches!(third.read(&source, NAME).await, Ok((body, _)) if body != "v2"));
}

#[tokio::test(start_paused = true)]
async fn an_older_answer_in_the_store_that_another_expired_does_not_replace_the_last_good_one() {
    let (nodes, source) = (Nodes::new(), Source::answering("v1"));
    let (one, other) = one_that_was_earlier(&nodes, &source).await;
    assert_eq!(other.load(&source).await, good("v2", "MISS"));
    // It hears of the removal from before; then the one expires the key.
    other.hear().await;
    assert_eq!(other.read(&source, NAME).await, good("v2", "HIT"));
    other.way.heal();
    one.prices.expire(NAME).await;
    one.flush().await;
    source.fail(Reason::Unreachable);
    assert_eq!(other.read(&source, NAME).await, good("v2", "LAST-GOOD"));
    assert_eq!(one.read(&source, NAME).await, good("v1", "LAST-GOOD"));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_an_expiry_overtook_on_its_way_stands_in_when_the_source_fails() {
    for is_by_another in [false, true] {
        let (nodes, source) = (Nodes::new(), Source::answering("v1"));
        let (one, other) = two(&nodes, &source).await;
        advance(MINUTE).await;
        settle().await;
        let loading = other.begin(&source).await;
        let by = if is_by_another { &one } else { &other };
        by.prices.expire(NAME).await;
        by.flush().await;
        source.resume();
        assert_eq!(loading.await.unwrap(), good("v2", "MISS"), "who asked before is answered");
        source.fail(Reason::Unreachable);
        assert_eq!(other.read(&source, NAME).await, good("v2", "LAST-GOOD"), "by another: {is_by_another}");
        advance(SECOND).await;
        source.set("v3");
        assert_eq!(other.load(&source).await, good("v3", "MISS"), "it was expired");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_two_invalidations_overtook_is_kept_only_if_neither_removed_it() {
    let (nodes, source) = (Nodes::new(), Source::answering("v1"));
    let (_one, other) = two(&nodes, &source).await;
    for invalidations in [["expire", "remove"], ["remove", "expire"]] {
        let loading = {
            other.prices.expire(NAME).await;
            other.begin(&source).await
        };
        for invalidation in invalidations {
            match invalidation {
                "expire" => _ = other.prices.expire(NAME).await,
                _ => _ = other.prices.remove(NAME).await,
            }
        }
        source.resume();
        loading.await.unwrap().expect("who asked before is answered");
        assert_eq!(peeked(&other.prices, NAME), None, "{invalidations:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_loaded_after_a_removal_that_is_heard_late_stays() {
    for is_under_way in [false, true] {
        let (nodes, source) = (Nodes::new(), Source::answering("v1"));
        let (_one, other) = one_that_was_earlier(&nodes, &source).await;
        advance(SECOND).await;
        let expected = if is_under_way {
            let loading = other.begin(&source).await;
            other.hear().await;
            source.resume();
            assert_eq!(loading.await.unwrap(), good("v2", "MISS"));
            "LAST-GOOD"
        } else {
            assert_eq!(other.load(&source).await, good("v2", "MISS"));
            other.hear().await;
            "HIT"
        };
        source.fail(Reason::Unreachable);
        assert_eq!(other.read(&source, NAME).await, good("v2", expected));
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_older_than_a_removed_one_stands_in_for_no_failing_source() {
    let (nodes, source) = (Nodes::new(), Source::answering("v1"));
    let (one, other) = two(&nodes, &source).await;
    advance(MINUTE).await;
    let key = "lastgood:prices:v1:BTCUSDT";
    let older = nodes.store.get(key).await.unwrap().expect("it was loaded");
    other.way.set_reads(unavailable());
    assert_eq!(other.load(&source).await, good("v2", "MISS"));
    one.prices.remove(NAME).await;
    one.flush().await;
    other.hear().await;
    assert_eq!(peeked(&other.prices, NAME), None, "the removal is heard");
    // As where the removal is published before the store has it.
    nodes.store.put(key, older, HOUR).await.expect("the store takes it");
    source.fail(Reason::Unreachable);
    assert_eq!(other.read(&source, NAME).await, Err(Reason::Unreachable));
}

#[tokio::test(start_paused = true)]
async fn a_change_that_is_held_up_on_its_way_leaves_alone_what_was_put_after_it() {
    for is_removal in [false, true] {
        let nodes = Nodes::new();
        let (one, other) = (nodes.start().await, nodes.start().await);
        one.prices.put(NAME, loaded("v1")).await;
        one.flush().await;
        one.way.set_writes(Fault::Delay(Duration::from_millis(100)));
        match is_removal {
            true => drop(one.prices.remove(NAME).await),
            false => one.prices.put(NAME, loaded("v2")).await,
        }
        settle().await;
        // Sooner than clocks can differ.
        advance(Duration::from_millis(13)).await;
        other.prices.put(NAME, loaded("v3")).await;
        settle().await;
        advance(Duration::from_millis(87)).await;
        settle().await;
        one.way.heal();
        converge(&[&one, &other]).await;
        for node in [&one, &other] {
            let newest = node.prices.newest(NAME).await.expect("the store answers").expect("it was put");
            assert_eq!(text(&newest), "v3", "after a removal: {is_removal}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_put_that_waits_is_labelled_once_it_is_known_that_another_process_has_put_something_too() {
    let nodes = Nodes::new();
    let (one, other) = (nodes.start().await, nodes.start().await);
    one.way.set_writes(unavailable());
    one.prices.put(NAME, loaded("v1")).await;
    settle().await;
    let is_unverified = async || {
        let newest = one.prices.newest(NAME).await.expect("it waits for the store").expect("it was put");
        newest.is_unverified()
    };
    assert!(!is_unverified().await);
    advance(Duration::from_millis(50)).await;
    other.prices.put(NAME, loaded("v2")).await;
    other.flush().await;
    assert!(is_unverified().await);
}
