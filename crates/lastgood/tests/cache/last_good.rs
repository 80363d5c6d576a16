//! Fresh, stale, kept, gone; and the memory of a source that fails.

use std::collections::BTreeMap;
use std::time::Duration;

use lastgood::{Cache, Clock, Error, Freshness, Keep, Outcome, Policy, Reason, Tier, WasThere};
use tokio::time::{Instant, advance};

use crate::support::{
    HOUR, MINUTE, SECOND, Source, Stored, a_minute, good, loaded, memory_only, peeked, region, settle, summary,
};

mod bounds;

#[tokio::test(start_paused = true)]
async fn an_answer_is_fresh_to_the_millisecond_and_tells_its_age() {
    let cache = memory_only();
    let prices = region(&cache, a_minute());
    let source = Source::answering("v1");
    let first = source.read(&prices, "BTCUSDT").await.expect("it loads");
    assert_eq!((first.outcome(), first.age(), first.fresh_for()), (Outcome::Miss, Duration::ZERO, MINUTE));
    advance(MINUTE - Duration::from_millis(1)).await;
    source.set("v2");
    let hit = source.read(&prices, "BTCUSDT").await.expect("it is there");
    assert_eq!(hit.outcome(), Outcome::Hit(Tier::Memory));
    assert_eq!((hit.age(), hit.fresh_for()), (MINUTE - Duration::from_millis(1), Duration::from_millis(1)));
    advance(Duration::from_millis(1)).await;
    assert_eq!(summary(source.read(&prices, "BTCUSDT").await), good("v2", "MISS"));
}

#[tokio::test(start_paused = true)]
async fn a_stale_answer_is_served_at_once_while_one_load_refreshes_it() {
    let cache = memory_only();
    let prices = region(&cache, a_minute().stale_while_revalidate(MINUTE));
    let source = Source::answering("v1");
    assert_eq!(summary(source.read(&prices, "BTCUSDT").await), good("v1", "MISS"));
    advance(MINUTE).await;
    source.set("v2");
    source.pause();
    let start = Instant::now();
    for _ in 0..100 {
        assert_eq!(summary(source.read(&prices, "BTCUSDT").await), good("v1", "STALE"));
    }
    settle().await;
    assert_eq!((start.elapsed(), source.loads()), (Duration::ZERO, 2));
    source.resume();
    settle().await;
    assert_eq!(summary(source.read(&prices, "BTCUSDT").await), good("v2", "HIT"));
}

#[tokio::test(start_paused = true)]
async fn a_stale_answer_whose_refresh_fails_becomes_the_last_good_one() {
    let cache = memory_only();
    let prices = region(&cache, a_minute().stale_while_revalidate(HOUR));
    let source = Source::answering("v1");
    source.read(&prices, "BTCUSDT").await.expect("it loads");
    advance(MINUTE).await;
    source.fail(Reason::Upstream);
    assert_eq!(summary(source.read(&prices, "BTCUSDT").await), good("v1", "STALE"));
    settle().await;
    let next = source.read(&prices, "BTCUSDT").await.expect("it is kept");
    assert_eq!(next.outcome(), Outcome::LastGood(Reason::Upstream));
    assert_eq!(source.loads(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_slow_source_costs_the_soft_timeout_and_its_answer_is_kept_when_it_comes() {
    let cache = memory_only();
    let prices = region(&cache, a_minute());
    let source = Source::answering("v1");
    source.read(&prices, "BTCUSDT").await.expect("it loads");
    advance(MINUTE).await;
    source.set("v2");
    source.pause();
    let start = Instant::now();
    let answer = source.read(&prices, "BTCUSDT").await.expect("it is kept");
    assert_eq!(answer.outcome(), Outcome::LastGood(Reason::Slow));
    assert_eq!(answer.freshness(), Freshness::Kept);
    assert!(start.elapsed() <= Duration::from_millis(402), "{:?}", start.elapsed());
    source.resume();
    settle().await;
    assert_eq!(summary(source.read(&prices, "BTCUSDT").await), good("v2", "HIT"));
    assert_eq!(source.loads(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_slow_source_is_waited_for_where_nothing_is_kept() {
    let cache = memory_only();
    let prices = region(&cache, a_minute());
    let start = Instant::now();
    let answer = prices.get_or_load("BTCUSDT", || async {
        tokio::time::sleep(9 * SECOND).await;
        Ok(loaded("v1"))
    });
    assert_eq!(summary(answer.await), good("v1", "MISS"));
    assert_eq!(start.elapsed().as_secs(), 9);
}

#[tokio::test(start_paused = true)]
async fn the_last_good_answer_stands_in_for_every_failure_and_names_it() {
    for reason in Reason::ALL.into_iter().filter(|reason| !matches!(reason, Reason::NotFound | Reason::Yielded)) {
        let cache = memory_only();
        let prices = region(&cache, a_minute());
        let source = Source::answering("v1");
        source.read(&prices, "BTCUSDT").await.expect("it loads");
        advance(2 * HOUR).await;
        source.fail(reason);
        for _ in 0..2 {
            let answer = source.read(&prices, "BTCUSDT").await.expect("it is kept");
            assert_eq!((answer.outcome(), answer.age()), (Outcome::LastGood(reason), 2 * HOUR));
        }
        assert_eq!(source.loads(), 2, "the second read does not ask again");
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_good_answer_has_a_ceiling_and_then_the_error_is_served() {
    let cache = memory_only();
    let prices = region(&cache, a_minute().stale_if_error(Keep::For(HOUR)));
    let source = Source::answering("v1");
    source.read(&prices, "BTCUSDT").await.expect("it loads");
    source.fail(Reason::Unreachable);
    advance(MINUTE + HOUR - SECOND).await;
    assert_eq!(summary(source.read(&prices, "BTCUSDT").await), good("v1", "LAST-GOOD"));
    advance(SECOND).await;
    assert_eq!(summary(source.read(&prices, "BTCUSDT").await), Err(Reason::Unreachable));
}

#[tokio::test(start_paused = true)]
async fn an_entry_kept_for_ever_is_there_after_ten_years() {
    let cache = memory_only();
    let prices = region(&cache, a_minute().stale_if_error(Keep::Forever));
    let source = Source::answering("v1");
    source.read(&prices, "BTCUSDT").await.expect("it loads");
    source.fail(Reason::Unreachable);
    advance(10 * 365 * 24 * HOUR).await;
    assert_eq!(summary(source.read(&prices, "BTCUSDT").await), good("v1", "LAST-GOOD"));
}

/// The seconds at which a failing source is asked, with one read every half second.
async fn asked_at(source: &Source, prices: &lastgood::Region, name: &str, seconds: u64) -> Vec<u64> {
    let mut asked = Vec::new();
    for half in 0..2 * seconds {
        let before = source.loads();
        let _ = source.read(prices, name).await;
        if source.loads() > before {
            asked.push(half / 2);
        }
        advance(SECOND / 2).await;
    }
    asked
}

#[tokio::test(start_paused = true)]
async fn a_failing_source_is_asked_less_and_less_while_a_last_good_answer_is_there() {
    let cache = memory_only();
    let prices = region(&cache, a_minute());
    let source = Source::answering("v1");
    source.read(&prices, "BTCUSDT").await.expect("it loads");
    advance(MINUTE).await;
    source.fail(Reason::Unreachable);
    assert_eq!(asked_at(&source, &prices, "BTCUSDT", 130).await, [0, 1, 3, 7, 15, 31, 61, 91, 121]);
    source.set("v2");
    advance(30 * SECOND).await;
    assert_eq!(summary(source.read(&prices, "BTCUSDT").await), good("v2", "MISS"));
    advance(MINUTE).await;
    source.fail(Reason::Unreachable);
    assert_eq!(asked_at(&source, &prices, "BTCUSDT", 4).await, [0, 1, 3], "a success resets the count");
}

#[tokio::test(start_paused = true)]
async fn a_failing_source_is_asked_every_second_while_callers_get_nothing() {
    let cache = memory_only();
    let source = Source::failing(Reason::Unreachable);
    let prices = region(&cache, a_minute());
    assert_eq!(asked_at(&source, &prices, "BTCUSDT", 5).await, [0, 1, 2, 3, 4]);

    let policy = Policy { jitter: 0.0, ..Policy::fresh_for(SECOND).stale_if_error(Keep::For(Duration::ZERO)) };
    let never_stale = cache.region("never-stale", policy).expect("the policy is sound");
    source.set("v1");
    source.read(&never_stale, "BTCUSDT").await.expect("it loads");
    advance(MINUTE).await;
    source.fail(Reason::Unreachable);
    assert_eq!(asked_at(&source, &never_stale, "BTCUSDT", 5).await, [0, 1, 2, 3, 4], "a gone entry does not count");
}

#[tokio::test(start_paused = true)]
async fn a_source_that_asks_to_be_left_alone_is_left_alone_that_long() {
    let cache = memory_only();
    let prices = region(&cache, a_minute());
    let source = Source::answering("v1");
    source.read(&prices, "KEPT").await.expect("it loads");
    advance(MINUTE).await;
    source.answer(Err(Error::new(Reason::Banned, "418").with_retry_after(5 * MINUTE)));
    assert_eq!(summary(source.read(&prices, "KEPT").await), good("v1", "LAST-GOOD"));
    assert_eq!(summary(source.read(&prices, "OTHER").await), Err(Reason::Banned));
    source.set("v2");
    advance(5 * MINUTE - SECOND).await;
    assert_eq!(summary(source.read(&prices, "KEPT").await), good("v1", "LAST-GOOD"));
    let refused = source.read(&prices, "OTHER").await.expect_err("the ban is remembered");
    assert_eq!((refused.retry_after, refused.remembered), (Some(SECOND), true));
    assert_eq!(source.loads(), 3);
    advance(SECOND).await;
    assert_eq!(summary(source.read(&prices, "KEPT").await), good("v2", "MISS"));
    assert_eq!(summary(source.read(&prices, "OTHER").await), good("v2", "MISS"));
}

#[tokio::test(start_paused = true)]
async fn a_source_that_paces_is_asked_at_its_pace_however_often_it_refuses() {
    let cache = memory_only();
    let prices = region(&cache, a_minute());
    let source = Source::answering("v1");
    source.read(&prices, "BTCUSDT").await.expect("it loads");
    advance(MINUTE).await;
    source.answer(Err(Error::new(Reason::RateLimited, "not yet").with_retry_after(SECOND)));
    for tries in 2..20 {
        assert_eq!(summary(source.read(&prices, "BTCUSDT").await), good("v1", "LAST-GOOD"));
        assert_eq!(source.loads(), tries);
        advance(SECOND).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_region_that_is_never_stale_serves_nothing_stale() {
    let cache = memory_only();
    let policy = Policy { jitter: 0.0, ..Policy::fresh_for(MINUTE).stale_if_error(Keep::For(Duration::ZERO)) };
    let prices = region(&cache, policy);
    let source = Source::answering("v1");
    for expire in [false, true] {
        source.set("v1");
        source.read(&prices, "BTCUSDT").await.expect("it loads");
        if expire {
            advance(SECOND).await;
            assert_eq!(prices.expire("BTCUSDT").await, WasThere::Yes);
        } else {
            advance(MINUTE).await;
        }
        assert_eq!(peeked(&prices, "BTCUSDT"), None);
        source.fail(Reason::Unreachable);
        assert_eq!(summary(source.read(&prices, "BTCUSDT").await), Err(Reason::Unreachable), "expired: {expire}");
        source.set("too late");
        source.pause();
        advance(2 * SECOND).await;
        assert_eq!(summary(source.read(&prices, "BTCUSDT").await), Err(Reason::TimedOut));
        source.resume();
        advance(2 * SECOND).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_expired_answer_is_kept_from_then_on_and_expiring_it_again_keeps_it_no_longer() {
    let cache = memory_only();
    let prices = region(&cache, a_minute().stale_if_error(Keep::For(10 * SECOND)));
    let source = Source::answering("v1");
    source.read(&prices, "BTCUSDT").await.expect("it loads");
    advance(9 * SECOND).await;
    prices.expire("BTCUSDT").await;
    source.fail(Reason::Unreachable);
    assert_eq!(summary(source.read(&prices, "BTCUSDT").await), good("v1", "LAST-GOOD"));
    advance(9 * SECOND).await;
    prices.expire("BTCUSDT").await;
    assert_eq!(summary(source.read(&prices, "BTCUSDT").await), good("v1", "LAST-GOOD"));
    advance(SECOND).await;
    assert_eq!(summary(source.read(&prices, "BTCUSDT").await), Err(Reason::Unreachable));
}

#[tokio::test(start_paused = true)]
async fn not_found_is_remembered_briefly_and_a_created_object_is_then_seen() {
    let cache = memory_only();
    let prices = region(&cache, Policy { negative_for: 5 * SECOND, ..a_minute() });
    let source = Source::failing(Reason::NotFound);
    assert_eq!(summary(source.read(&prices, "NEWUSDT").await), Err(Reason::NotFound));
    source.set("v1");
    advance(5 * SECOND - Duration::from_millis(1)).await;
    assert_eq!(summary(source.read(&prices, "NEWUSDT").await), Err(Reason::NotFound));
    assert_eq!(source.loads(), 1);
    advance(Duration::from_millis(1)).await;
    assert_eq!(summary(source.read(&prices, "NEWUSDT").await), good("v1", "MISS"));
}

#[tokio::test(start_paused = true)]
async fn not_found_is_reported_but_replaces_no_kept_answer() {
    let stored = Stored::new();
    let prices = region(&stored.cache, a_minute());
    let source = Source::answering("v1");
    source.read(&prices, "BTCUSDT").await.expect("it loads");
    stored.flush().await;
    advance(MINUTE).await;
    source.fail(Reason::NotFound);
    for _ in 0..2 {
        assert_eq!(summary(source.read(&prices, "BTCUSDT").await), Err(Reason::NotFound));
    }
    advance(10 * SECOND).await;
    source.fail(Reason::Unreachable);
    assert_eq!(summary(source.read(&prices, "BTCUSDT").await), good("v1", "LAST-GOOD"));
    let again = region(&stored.restarted(), a_minute());
    assert_eq!(summary(source.read(&again, "BTCUSDT").await), good("v1", "LAST-GOOD"));
}

#[tokio::test(start_paused = true)]
async fn having_been_not_found_for_long_does_not_slow_the_retries_of_a_failing_source() {
    let cache = memory_only();
    let prices = region(&cache, Policy { negative_for: SECOND, ..a_minute() });
    let source = Source::answering("v1");
    source.read(&prices, "BTCUSDT").await.expect("it loads");
    advance(MINUTE).await;
    source.fail(Reason::NotFound);
    assert_eq!(asked_at(&source, &prices, "BTCUSDT", 20).await.len(), 20);
    source.fail(Reason::Unreachable);
    assert_eq!(asked_at(&source, &prices, "BTCUSDT", 8).await, [0, 1, 3, 7]);
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_answers_of_one_second_expire_spread_out() {
    let cache = memory_only();
    let prices = region(&cache, Policy::fresh_for(100 * SECOND));
    let mut a_second = BTreeMap::new();
    for number in 0..10_000 {
        let name = number.to_string();
        prices.put(&name, loaded("v1")).await;
        let fresh_for = prices.peek(&name).expect("it was just put").fresh_for();
        assert!((90..=100).contains(&fresh_for.as_secs()), "{fresh_for:?}");
        *a_second.entry(fresh_for.as_secs()).or_insert(0) += 1;
    }
    assert!(a_second.values().all(|&count| count < 1_300), "{a_second:?}");
    assert!(a_second.values().filter(|&&count| count > 700).count() >= 10, "{a_second:?}");
}

#[tokio::test(start_paused = true)]
async fn a_freshness_of_the_source_is_taken_as_it_is() {
    let cache = memory_only();
    let prices = region(&cache, Policy { jitter: 1.0, ..Policy::fresh_for(SECOND) });
    let source = Source::answering("");
    source.answer(Ok(loaded("v1").fresh_for(HOUR)));
    assert_eq!(source.read(&prices, "FNG").await.map(|answer| answer.fresh_for()).ok(), Some(HOUR));
}

#[tokio::test(start_paused = true)]
async fn a_cache_switched_off_asks_the_source_each_time_and_can_be_switched_on_again() {
    let stored = Stored::new();
    let prices = region(&stored.cache, a_minute());
    let source = Source::answering("v1");
    source.read(&prices, "BTCUSDT").await.expect("it loads");
    stored.flush().await;
    let (reads, writes) = (stored.faulty.reads(), stored.faulty.writes());

    stored.cache.set_enabled(false);
    assert!(!stored.cache.status().enabled);
    for body in ["v2", "v3"] {
        source.set(body);
        assert_eq!(summary(source.read(&prices, "BTCUSDT").await), good(body, "PASS"));
    }
    source.fail(Reason::Unreachable);
    assert_eq!(summary(source.read(&prices, "BTCUSDT").await), Err(Reason::Unreachable), "nor is anything kept");
    assert_eq!((stored.faulty.reads(), stored.faulty.writes()), (reads, writes), "nor is the store asked");

    stored.cache.set_enabled(true);
    assert_eq!(summary(source.read(&prices, "BTCUSDT").await), good("v1", "HIT"));
}

#[tokio::test(start_paused = true)]
async fn every_answer_is_counted_by_its_outcome() {
    let cache = memory_only();
    let prices = region(&cache, a_minute().stale_while_revalidate(MINUTE));
    let source = Source::answering("v1");
    for wait in [0, 0, 60, 0] {
        advance(wait * SECOND).await;
        source.read(&prices, "BTCUSDT").await.expect("it is there");
        settle().await;
    }
    source.fail(Reason::Upstream);
    advance(HOUR).await;
    source.read(&prices, "BTCUSDT").await.expect("it is kept");
    source.read(&prices, "NEWUSDT").await.expect_err("the source fails");
    let (name, stats) = cache.stats().remove(0);
    assert_eq!(name, "prices");
    assert_eq!((stats.misses, stats.hits_memory, stats.stale, stats.last_good, stats.errors), (1, 2, 1, 1, 1));
    assert_eq!((stats.loads, stats.load_failures, stats.keys), (4, 2, 1));
    assert_eq!(stats.load_buckets.iter().sum::<u64>(), 2);
    assert!(stats.last_refresh.is_some());
    assert_eq!(stats.hit_rate(), 0.5);
}
