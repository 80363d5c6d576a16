//! Puts, removals and expiries that wait for the store while other processes change it.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_put_that_waits_for_the_store_is_not_dropped_by_what_another_put_or_expired_before() {
    for is_put in [true, false] {
        let nodes = Nodes::new();
        let (one, other) = (nodes.start().await, nodes.start().await);
        other.cut_off(true).await;
        if is_put {
            one.put("v1").await;
            one.flush().await;
            advance(SECOND).await;
        }
        other.put("v2").await;
        if !is_put {
            one.prices.expire("BTCUSDT").await;
            one.flush().await;
        }
        other.cut_off(false).await;
        converge(&[&one, &other]).await;
        for node in [&one, &other, &nodes.start().await] {
            assert_eq!(node.kept().await.as_deref(), Some("v2"), "put elsewhere: {is_put}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_sweep_that_the_store_gets_late_leaves_what_this_process_put_after_it() {
    let nodes = Nodes::new();
    let (one, other) = (nodes.start().await, nodes.start().await);
    one.put("v1").await;
    one.flush().await;
    other.cut_off(true).await;
    let region = Selector::Region("prices".to_owned());
    let invalidated =
        other.cache.invalidate(&region, Some(Mode::Remove)).await.expect("one with a mode is not refused");
    assert!(invalidated.unreached.is_some());
    advance(SECOND).await;
    other.put("v2").await;
    other.cut_off(false).await;
    converge(&[&one, &other]).await;
    for node in [&one, &other, &nodes.start().await] {
        assert_eq!(node.kept().await.as_deref(), Some("v2"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_put_that_waits_outlives_a_removal_from_before_it_that_is_carried_out_later() {
    let nodes = Nodes::new();
    let (one, other) = (nodes.start().await, nodes.start().await);
    other.way.set_writes(unavailable());
    other.prices.remove("BTCUSDT").await;
    sleep(Duration::from_secs(5)).await;
    one.way.set_writes(unavailable());
    one.put("v2").await;
    sleep(Duration::from_secs(25)).await;
    other.cut_off(false).await;
    sleep(Duration::from_secs(5)).await;
    one.cut_off(false).await;
    sleep(Duration::from_secs(5)).await;
    assert_eq!(one.kept().await.as_deref(), Some("v2"));
    assert_eq!(other.kept().await.as_deref(), Some("v2"));
}

#[tokio::test(start_paused = true)]
async fn a_put_that_waited_is_not_written_over_a_later_removal_that_its_process_has_yet_to_hear() {
    let nodes = Nodes::new();
    let (one, other) = (nodes.start().await, nodes.start().await);
    one.put("v1").await;
    one.flush().await;
    one.cut_off(true).await;
    one.put("v2").await;
    sleep(Duration::from_secs(5)).await;
    other.prices.remove("BTCUSDT").await;
    other.flush().await;
    one.way.set_reads(Fault::Pass);
    one.way.set_writes(Fault::Pass);
    sleep(Duration::from_secs(8)).await;
    assert_eq!(other.kept().await, None, "before the log can be read");
    one.cut_off(false).await;
    sleep(Duration::from_secs(8)).await;
    assert_eq!(other.kept().await, None);
    assert_eq!(one.kept().await, None);
    assert!(one.cache.confirmed(Duration::ZERO).await.is_none(), "nothing waits any longer");
}

#[tokio::test(start_paused = true)]
async fn a_put_that_waits_expires_by_what_another_expired_after_it_and_not_by_what_was_before() {
    for way in WAYS {
        for is_before in [false, true] {
            let nodes = Nodes::new();
            let (one, other) = (nodes.start().await, nodes.start().await);
            one.put("v1").await;
            one.flush().await;
            other.cut_off(true).await;
            if is_before {
                way.expire(&one).await;
                one.flush().await;
                advance(SECOND).await;
            }
            other.put("v2").await;
            advance(SECOND).await;
            if !is_before {
                way.expire(&one).await;
                one.flush().await;
            }
            advance(SECOND).await;
            other.cut_off(false).await;
            converge(&[&one, &other]).await;
            let source = Source::answering("unused");
            source.fail(Reason::Upstream);
            let expected = good("v2", if is_before { "HIT" } else { "LAST-GOOD" });
            for (who, node) in [("who expired it", &one), ("who put it", &other), ("a third", &nodes.start().await)] {
                assert_eq!(node.read(&source, "BTCUSDT").await, expected, "{way:?}, before: {is_before}: {who}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_put_that_waits_is_not_taken_for_the_newest_once_another_put_later() {
    let nodes = Nodes::new();
    let (one, other) = (nodes.start().await, nodes.start().await);
    other.way.set_writes(unavailable());
    other.put("v1").await;
    advance(SECOND).await;
    one.put("v2").await;
    one.flush().await;
    // A removal of before makes memory forget it, not the queue.
    let newest = other.prices.newest("BTCUSDT").await.expect("it is known").expect("there is one");
    assert!(newest.is_unverified(), "{:?} of {}", newest.outcome(), text(&newest));
    other.way.heal();
    converge(&[&one, &other]).await;
    for node in [&one, &other] {
        assert_eq!(node.kept().await.as_deref(), Some("v2"));
        let newest = node.prices.newest("BTCUSDT").await.expect("the store answers").expect("there is one");
        assert!(!newest.is_unverified());
    }
}

#[tokio::test(start_paused = true)]
async fn a_put_that_arrives_after_its_sender_gave_up_does_not_outlive_the_removal_that_came_before_it() {
    let nodes = Nodes::new();
    let (one, other) = (nodes.start().await, nodes.start().await);
    // It does not hear, and its put is on the way for longer than it waits for an answer.
    one.way.set_log_reads(unavailable());
    settle().await;
    one.way.set_writes(Fault::FailAfter(StoreError::Timeout));
    one.put("v1").await;
    settle().await;
    let key = "lastgood:prices:v1:BTCUSDT";
    let on_its_way = nodes.store.get(key).await.unwrap().expect("the store was given it");
    one.way.set_writes(unavailable());
    advance(SECOND).await;
    other.prices.remove("BTCUSDT").await;
    other.flush().await;
    nodes.store.put(key, on_its_way, HOUR).await.expect("it arrives");
    one.cut_off(false).await;
    converge(&[&one, &other]).await;
    for (who, node) in [("who put it", &one), ("who removed it", &other), ("a third", &nodes.start().await)] {
        assert_eq!(node.kept().await, None, "{who}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_another_put_after_a_removal_that_waits_here_is_found() {
    let nodes = Nodes::new();
    let (one, other) = (nodes.start().await, nodes.start().await);
    one.put("v1").await;
    one.flush().await;
    other.way.set_writes(unavailable());
    other.prices.remove("BTCUSDT").await;
    settle().await;
    assert!(other.prices.try_stored("BTCUSDT").await.expect("the store answers").is_none(), "it is removed");
    advance(SECOND).await;
    one.put("v2").await;
    one.flush().await;
    let found = other.prices.try_stored("BTCUSDT").await.expect("the store answers");
    assert_eq!(found.as_ref().map(text).as_deref(), Some("v2"));
}

#[tokio::test(start_paused = true)]
async fn what_a_full_store_cannot_expire_is_expired_once_it_can_and_is_not_removed() {
    let nodes = Nodes::new();
    let (one, other) = (nodes.start().await, nodes.start().await);
    one.put("v1").await;
    one.flush().await;
    other.way.set_writes(Fault::Fail(StoreError::Refused("OOM".to_owned())));
    other.prices.expire("BTCUSDT").await;
    sleep(Duration::from_secs(5)).await;
    assert!(other.cache.confirmed(Duration::ZERO).await.is_some(), "it waits");
    other.way.heal();
    converge(&[&one, &other]).await;
    let source = Source::answering("unused");
    source.fail(Reason::Upstream);
    for (who, node) in [("who put it", &one), ("who expired it", &other), ("a third", &nodes.start().await)] {
        assert_eq!(node.read(&source, "BTCUSDT").await, good("v1", "LAST-GOOD"), "{who}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_expiry_that_meets_a_put_that_waits_reaches_what_another_put_meanwhile() {
    for way in WAYS {
        let nodes = Nodes::new();
        let (one, other) = (nodes.start().await, nodes.start().await);
        other.way.set_writes(unavailable());
        other.put("v1").await;
        advance(SECOND).await;
        one.put("v2").await;
        one.flush().await;
        advance(SECOND).await;
        way.expire(&other).await;
        advance(SECOND).await;
        other.way.heal();
        converge(&[&one, &other]).await;
        let source = Source::answering("unused");
        source.fail(Reason::Upstream);
        for (who, node) in [("who put it", &one), ("who expired it", &other), ("a third", &nodes.start().await)] {
            assert_eq!(node.read(&source, "BTCUSDT").await, good("v2", "LAST-GOOD"), "{way:?}: {who}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_expiry_that_meets_the_answer_of_a_load_on_its_way_does_not_bring_it_past_a_removal() {
    let (nodes, source) = (Nodes::new(), Source::answering("v1"));
    let (one, other) = (nodes.start().await, nodes.start().await);
    source.pause();
    let (prices, begun) = (one.prices.clone(), source.clone());
    let reader = tokio::spawn(async move { begun.read(&prices, "BTCUSDT").await });
    while source.loads() == 0 {
        settle().await;
    }
    // Nothing more is written, and nothing heard.
    one.way.set_log_reads(Fault::Hold);
    one.way.set_writes(Fault::Hold);
    for name in ["A", "B", "C", "D"] {
        one.prices.put(name, loaded("1")).await;
    }
    settle().await;
    source.resume();
    assert_eq!(summary(reader.await.expect("the reader does not panic")), good("v1", "MISS"));
    one.prices.expire("BTCUSDT").await;
    other.prices.remove("BTCUSDT").await;
    other.flush().await;
    one.way.set_writes(Fault::Pass);
    one.flush().await;
    source.fail(Reason::Upstream);
    assert_eq!(other.read(&source, "BTCUSDT").await, Err(Reason::Upstream));
}
