//! Processes whose clocks differ: what one stores means the same to the others.

use bytes::Bytes;
use lastgood::{Loaded, Timestamp, Value};

use super::*;

/// A clock that is this far from that of the store; negative: behind.
fn clock_off_by(nodes: &Nodes, minutes: i64) -> Clock {
    let now = nodes.clock.now().as_millis().saturating_add_signed(minutes * 60_000);
    Clock::paused_at(Timestamp::from_millis(now))
}

fn tagged(value: &str) -> Loaded {
    let value = Loaded::from(Value::new(Bytes::copy_from_slice(value.as_bytes())));
    Loaded { tags: vec!["symbol:BTCUSDT".to_owned()], ..value }
}

async fn kept(node: &Node) -> Option<String> {
    let kept = node.prices.newest("BTCUSDT").await.expect("the store answers");
    kept.map(|kept| text(&kept))
}

const OFF_BY: [i64; 3] = [15, -15, 0];

#[tokio::test(start_paused = true)]
async fn a_value_is_as_fresh_and_as_old_to_a_process_whose_clock_is_wrong() {
    for minutes in OFF_BY {
        let nodes = Nodes::new();
        let (one, other) = (nodes.start().await, nodes.start_with(clock_off_by(&nodes, minutes), 1).await);
        let source = Source::answering("v1");
        assert_eq!(one.read(&source, "BTCUSDT").await, good("v1", "MISS"));
        one.flush().await;
        advance(20 * SECOND).await;
        let held = source.read(&other.prices, "BTCUSDT").await.expect("the store has it");
        assert_eq!(summary(Ok(held.clone())), good("v1", "HIT"), "{minutes}");
        assert!(
            held.fresh_for() <= 40 * SECOND && held.fresh_for() >= 30 * SECOND,
            "{minutes}: {:?}",
            held.fresh_for()
        );
        assert!(held.age() >= 19 * SECOND && held.age() <= 21 * SECOND, "{minutes}: {:?}", held.age());
        advance(41 * SECOND).await;
        source.set("v2");
        assert_eq!(other.read(&source, "BTCUSDT").await, good("v2", "MISS"), "{minutes}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_tag_that_is_invalidated_by_a_process_whose_clock_is_wrong_holds_for_what_was_before_and_nothing_else() {
    for minutes in OFF_BY {
        for mode in [Mode::Remove, Mode::Expire] {
            let nodes = Nodes::new();
            let (one, other) = (nodes.start().await, nodes.start_with(clock_off_by(&nodes, minutes), 1).await);
            one.prices.put("BTCUSDT", tagged("before")).await;
            one.flush().await;
            advance(SECOND).await;
            other.cache.invalidate(&Selector::Tag("symbol:BTCUSDT".to_owned()), Some(mode)).await.expect("marked");
            other.flush().await;
            advance(SECOND).await;
            let third = nodes.start_with(clock_off_by(&nodes, -minutes), 1).await;
            let source = Source::failing(Reason::Upstream);
            let wanted = match mode {
                Mode::Remove => Err(Reason::Upstream),
                Mode::Expire => good("before", "LAST-GOOD"),
            };
            for node in [&one, &other, &third] {
                assert_eq!(node.read(&source, "BTCUSDT").await, wanted, "{minutes} {mode:?}");
            }
            one.prices.put("BTCUSDT", tagged("after")).await;
            one.flush().await;
            settle().await;
            for node in [&one, &other, &third] {
                assert_eq!(node.read(&source, "BTCUSDT").await, good("after", "HIT"), "{minutes} {mode:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_another_loads_in_the_moment_of_a_removal_by_tag_is_gone_although_its_clock_is_off_by_half_a_round_trip() {
    let (nodes, source) = (Nodes::new(), Source::answering("before"));
    source.tag("symbol:BTCUSDT");
    let (one, other) = (nodes.start().await, nodes.start().await);
    // It takes the store's clock for a millisecond ahead of its own, and does not hear in time.
    other.way.set_reads(Fault::Delay(Duration::from_millis(2)));
    other.way.set_log_reads(Fault::Hold);
    source.pause();
    let (prices, begun) = (other.prices.clone(), source.clone());
    let reader = tokio::spawn(async move { begun.read(&prices, "BTCUSDT").await });
    while source.loads() == 0 {
        advance(Duration::from_millis(1)).await;
        settle().await;
    }
    let tag = Selector::Tag("symbol:BTCUSDT".to_owned());
    one.cache.invalidate(&tag, Some(Mode::Remove)).await.expect("marked");
    source.resume();
    assert_eq!(summary(reader.await.expect("the reader does not panic")), good("before", "MISS"));
    other.flush().await;
    one.flush().await;
    assert_eq!(nodes.store.list("lastgood:prices:", None, 10).await.expect("it answers").keys.len(), 1);
    source.fail(Reason::Upstream);
    for node in [&one, &nodes.start().await] {
        assert_eq!(node.read(&source, "BTCUSDT").await, Err(Reason::Upstream));
    }
}

#[tokio::test(start_paused = true)]
async fn the_newest_put_wins_whoevers_clock_is_wrong() {
    for minutes in OFF_BY {
        let nodes = Nodes::new();
        let (one, other) = (nodes.start().await, nodes.start_with(clock_off_by(&nodes, minutes), 1).await);
        for round in 0..3 {
            for (node, name) in [(&one, "one"), (&other, "other")] {
                let value = format!("{name} {round}");
                node.prices.put("BTCUSDT", tagged(&value)).await;
                node.flush().await;
                advance(SECOND).await;
                settle().await;
                for node in [&one, &other, &nodes.start().await] {
                    assert_eq!(kept(node).await.as_deref(), Some(&*value), "{minutes}");
                }
            }
        }
        other.way.set(unavailable());
        other.prices.put("BTCUSDT", tagged("late")).await;
        settle().await;
        advance(SECOND).await;
        one.prices.put("BTCUSDT", tagged("newest")).await;
        one.flush().await;
        other.way.heal();
        converge(&[&one, &other]).await;
        for node in [&one, &other, &nodes.start().await] {
            assert_eq!(kept(node).await.as_deref(), Some("newest"), "{minutes}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_removal_by_a_process_whose_clock_is_behind_takes_away_what_was_there() {
    for minutes in OFF_BY {
        let nodes = Nodes::new();
        let (one, other) = (nodes.start().await, nodes.start_with(clock_off_by(&nodes, minutes), 1).await);
        one.prices.put("BTCUSDT", tagged("v1")).await;
        one.flush().await;
        advance(SECOND).await;
        other.way.set(unavailable());
        other.prices.remove("BTCUSDT").await;
        settle().await;
        other.way.heal();
        converge(&[&one, &other]).await;
        for node in [&one, &other, &nodes.start().await] {
            assert_eq!(kept(node).await, None, "{minutes}");
        }
    }
}
