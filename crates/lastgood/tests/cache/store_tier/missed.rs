//! What a store missed, and what it is given once it is back.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_removal_that_the_store_missed_is_made_up_for_and_the_value_never_served() {
    for fault in [Fault::Hang, Fault::Fail(unavailable()), Fault::FailAfter(unavailable())] {
        let stored = Stored::new();
        let prices = region(&stored.cache, a_minute());
        let source = Source::answering("v1");
        source.read(&prices, "BTCUSDT").await.expect("it loads");
        stored.flush().await;
        stored.faulty.set_writes(fault.clone());
        prices.remove("BTCUSDT").await;
        source.fail(Reason::Unreachable);
        for _ in 0..30 {
            assert_eq!(summary(source.read(&prices, "BTCUSDT").await), Err(Reason::Unreachable), "{fault:?}");
            // Where only its answer was lost, a second look finds it done.
            let is_done = matches!(fault, Fault::FailAfter(_));
            assert!(removals_left(&stored.cache) == 1 || is_done, "{fault:?}");
            advance(SECOND / 5).await;
        }
        stored.faulty.heal();
        tokio::time::sleep(5 * SECOND).await;
        stored.flush().await;
        assert_eq!((removals_left(&stored.cache), stored.keys().await.len()), (0, 0), "{fault:?}");
        assert_eq!(summary(source.read(&prices, "BTCUSDT").await), Err(Reason::Unreachable), "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_clear_that_the_store_missed_is_made_up_for() {
    let stored = Stored::new();
    let prices = region(&stored.cache, a_minute());
    for number in 0..700 {
        prices.put(&number.to_string(), loaded("v1")).await;
    }
    stored.flush().await;
    stored.faulty.set(Fault::Fail(unavailable()));
    advance(SECOND).await;
    prices.clear().await;
    advance(30 * SECOND).await;
    assert_eq!(removals_left(&stored.cache), 1);
    stored.faulty.heal();
    tokio::time::sleep(5 * SECOND).await;
    stored.flush().await;
    assert_eq!((removals_left(&stored.cache), stored.keys().await.len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_put_that_fails_after_a_removal_still_takes_the_old_value_away() {
    let stored = Stored::new();
    let prices = region(&stored.cache, a_minute());
    prices.put("BTCUSDT", loaded("v1")).await;
    stored.flush().await;
    stored.faulty.set_writes(Fault::Fail(unavailable()));
    prices.remove("BTCUSDT").await;
    settle().await;
    let source = Source::answering("v2");
    assert_eq!(summary(source.read(&prices, "BTCUSDT").await), good("v2", "MISS"));
    tokio::time::sleep(2 * SECOND).await;
    assert_eq!(summary(source.read(&prices, "BTCUSDT").await), good("v2", "HIT"));
    stored.faulty.heal();
    tokio::time::sleep(2 * SECOND).await;
    stored.flush().await;
    let again = region(&stored.restarted(), a_minute());
    source.set("v3");
    let after = summary(source.read(&again, "BTCUSDT").await);
    assert!(after == good("v2", "HIT") || after == good("v3", "MISS"), "{after:?}");
    assert_eq!(removals_left(&stored.cache), 0);
}

#[tokio::test(start_paused = true)]
async fn a_put_that_the_store_misses_does_not_leave_the_value_before_it() {
    let stored = Stored::new();
    let prices = region(&stored.cache, a_minute());
    prices.put("BTCUSDT", loaded("v1")).await;
    stored.flush().await;
    stored.faulty.set_writes(Fault::Fail(StoreError::Refused("OOM".into())));
    prices.put("BTCUSDT", loaded("v2")).await;
    tokio::time::sleep(2 * SECOND).await;
    stored.faulty.heal();
    tokio::time::sleep(2 * SECOND).await;
    stored.flush().await;
    let again = region(&stored.restarted(), a_minute());
    let source = Source::failing(Reason::Unreachable);
    assert_ne!(summary(source.read(&again, "BTCUSDT").await), good("v1", "HIT"));
}

#[tokio::test(start_paused = true)]
async fn a_put_that_the_store_misses_is_made_up_for_once_it_is_back() {
    for fault in [Fault::Hang, Fault::Fail(unavailable()), Fault::FailAfter(unavailable())] {
        let stored = Stored::new();
        let prices = region(&stored.cache, a_minute());
        prices.put("BTCUSDT", loaded("v1")).await;
        stored.flush().await;
        stored.faulty.set_writes(fault.clone());
        prices.put("BTCUSDT", loaded("v2")).await;
        prices.put("ETHUSDT", loaded("v2")).await;
        tokio::time::sleep(8 * SECOND).await;
        stored.faulty.heal();
        tokio::time::sleep(5 * SECOND).await;
        stored.flush().await;
        let again = region(&stored.restarted(), a_minute());
        let source = Source::failing(Reason::Unreachable);
        assert_eq!(summary(source.read(&again, "BTCUSDT").await), good("v2", "HIT"), "{fault:?}");
        assert_eq!(summary(source.read(&again, "ETHUSDT").await), good("v2", "HIT"), "{fault:?}");
        assert_eq!(removals_left(&stored.cache), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn of_two_puts_that_the_store_missed_the_later_one_arrives() {
    let stored = Stored::new();
    let prices = region(&stored.cache, a_minute());
    stored.faulty.set_writes(Fault::Fail(unavailable()));
    for version in ["v1", "v2", "v3"] {
        prices.put("BTCUSDT", loaded(version)).await;
        tokio::time::sleep(2 * SECOND).await;
    }
    stored.faulty.heal();
    tokio::time::sleep(5 * SECOND).await;
    stored.flush().await;
    let again = region(&stored.restarted(), a_minute());
    assert_eq!(summary(Source::failing(Reason::Unreachable).read(&again, "BTCUSDT").await), good("v3", "HIT"));
}

#[tokio::test(start_paused = true)]
async fn writes_of_one_key_arrive_in_order_and_those_overtaken_not_at_all() {
    let stored = Stored::new();
    let prices = region(&stored.cache, a_minute());
    stored.faulty.set_writes(Fault::Hold);
    for version in 0..100 {
        prices.put("BTCUSDT", loaded(&format!("v{version}"))).await;
        settle().await;
    }
    stored.faulty.heal();
    stored.flush().await;
    assert_eq!(stored.faulty.writes(), 2, "the one under way and the last");
    let again = region(&stored.restarted(), a_minute());
    assert_eq!(summary(Source::answering("").read(&again, "BTCUSDT").await), good("v99", "HIT"));
}

#[tokio::test(start_paused = true)]
async fn a_fill_that_the_store_refuses_is_dropped_counted_and_served_from_memory() {
    let stored = Stored::new();
    let prices = region(&stored.cache, a_minute());
    stored.faulty.set_writes(Fault::Fail(StoreError::Refused("READONLY".into())));
    let source = Source::answering("v1");
    for number in 0..50 {
        assert_eq!(summary(source.read(&prices, &number.to_string()).await), good("v1", "MISS"));
    }
    stored.flush().await;
    let status = stored.cache.status().store.expect("there is a store");
    assert_eq!((status.dropped_writes, status.unconfirmed_removals), (50, 0));
    assert_eq!(status.breaker, BreakerState::Closed, "a full store can still be read");
    assert_eq!(summary(source.read(&prices, "7").await), good("v1", "HIT"));
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_hung_store_is_bounded_in_bytes() {
    let (stored, limit) = (Stored::new(), 64 << 20);
    let builder = Cache::builder().store(Arc::clone(&stored.faulty) as _).clock(stored.clock.clone());
    let cache = builder.memory_limit(limit).build().expect("the limit is sound");
    let prices = region(&cache, Policy { compress_over: usize::MAX, ..a_minute() });
    stored.faulty.set_writes(Fault::Hold);
    // Small first, then large under the same names: replacing what waits must not pass the bound either.
    for number in 0..200 {
        prices.put(&number.to_string(), loaded("small")).await;
    }
    settle().await;
    let large = "x".repeat(1 << 20);
    for number in 0..200 {
        prices.remove(&number.to_string()).await;
        prices.put(&number.to_string(), Loaded { persist: Persist::Every(Duration::ZERO), ..loaded(&large) }).await;
    }
    settle().await;
    assert!(removals_left(&cache) >= 200, "no removal was forgotten for want of room");
    stored.faulty.heal();
    assert!(cache.sync(MINUTE).await);
    // What the queue had no room for was written from memory, as far as that had.
    let bytes = stored.memory.probe().await.expect("it answers").bytes.expect("it knows");
    assert!(bytes <= limit, "{bytes} bytes had waited");
    assert!(bytes >= limit / 2, "{bytes} bytes had waited");
}
