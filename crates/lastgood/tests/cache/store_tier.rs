//! The tier below memory: what it adds, and what it may cost when it is ill.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use lastgood::store::{BreakerState, Cursor, MemoryStore, Page, Store, StoreError, Usage};
use lastgood::testing::{Fault, FaultyStore};
use lastgood::{Cache, Clock, Loaded, Outcome, Persist, Policy, Reason, Tier, WasThere};
use tokio::time::{Instant, advance};

use crate::support::{
    HOUR, MINUTE, SECOND, Source, Stored, a_minute, good, loaded, over, peeked, region, settle, summary, text,
};

mod ending;
mod missed;

const BUDGET: Duration = Duration::from_millis(25);
/// What paused time may round up.
const ROUNDING: Duration = Duration::from_millis(2);

fn unavailable() -> StoreError {
    StoreError::Unavailable("injected".into())
}

fn removals_left(cache: &Cache) -> usize {
    cache.status().store.expect("there is a store").unconfirmed_removals
}

#[tokio::test(start_paused = true)]
async fn an_answer_survives_a_restart_with_its_age() {
    let stored = Stored::new();
    let source = Source::answering("");
    let mut answer = loaded("v1");
    answer.value = answer.value.with_meta("text/plain");
    source.answer(Ok(answer));
    source.read(&region(&stored.cache, a_minute()), "BTCUSDT").await.expect("it loads");
    stored.flush().await;
    advance(20 * SECOND).await;
    let restarted = stored.restarted();
    let again = region(&restarted, a_minute());
    let hit = source.read(&again, "BTCUSDT").await.expect("the store has it");
    assert_eq!(restarted.stats()[0].1.store_finds.times, 1, "and how long it took to find is counted");
    assert_eq!((hit.outcome(), hit.meta()), (Outcome::Hit(Tier::Store), Some("text/plain")));
    assert_eq!((hit.age(), hit.fresh_for()), (20 * SECOND, 40 * SECOND));
    let hit = source.read(&again, "BTCUSDT").await.expect("memory has it");
    assert_eq!(hit.outcome(), Outcome::Hit(Tier::Memory));
    assert_eq!(source.loads(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stored_answer_past_its_freshness_serves_after_a_restart_as_it_would_have_before() {
    let stored = Stored::new();
    let policy = a_minute().stale_while_revalidate(MINUTE);
    let source = Source::answering("v1");
    source.read(&region(&stored.cache, policy.clone()), "BTCUSDT").await.expect("it loads");
    stored.flush().await;

    advance(MINUTE).await;
    source.set("v2");
    let while_stale = stored.restarted();
    let prices = region(&while_stale, policy.clone());
    assert_eq!(summary(source.read(&prices, "BTCUSDT").await), good("v1", "STALE"));
    settle().await;
    assert_eq!((summary(source.read(&prices, "BTCUSDT").await), source.loads()), (good("v2", "HIT"), 2));
    assert!(while_stale.sync(MINUTE).await);

    advance(HOUR).await;
    source.fail(Reason::Unreachable);
    let while_kept = region(&stored.restarted(), policy);
    assert_eq!(summary(source.read(&while_kept, "BTCUSDT").await), good("v2", "LAST-GOOD"));
}

#[tokio::test(start_paused = true)]
async fn every_stored_value_has_a_time_to_live_that_ends_with_its_keeping() {
    let stored = Stored::new();
    let prices = region(&stored.cache, a_minute().stale_if_error(lastgood::Keep::For(HOUR)));
    prices.put("BTCUSDT", loaded("v1")).await;
    stored.flush().await;
    advance(MINUTE + HOUR - SECOND).await;
    assert_eq!(stored.keys().await.len(), 1);
    advance(SECOND).await;
    assert_eq!(stored.keys().await.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn unreadable_bytes_are_a_counted_miss_and_left_in_the_store() {
    let stored = Stored::new();
    let key = "lastgood:prices:v1:BTCUSDT";
    region(&stored.cache, a_minute()).put("BTCUSDT", loaded("v1")).await;
    stored.flush().await;
    let sound = stored.memory.get(key).await.expect("it answers").expect("it was put");
    let mut damaged = sound.to_vec();
    damaged[60] ^= 1;
    let mut newer = sound.to_vec();
    newer[3] = 3;
    let cases: [Bytes; 6] = [
        Bytes::from_static(b"not ours at all"),
        Bytes::new(),
        sound.slice(..sound.len() - 1),
        sound.slice(..10),
        damaged.into(),
        newer.into(),
    ];
    for bytes in cases {
        for _ in 0..10 {
            // The claim of the load before has run out: it was of these bytes.
            advance(3 * SECOND).await;
            stored.memory.put(key, bytes.clone(), HOUR).await.expect("there is room");
            let faulty = FaultyStore::new(Arc::new(stored.memory.clone()));
            let cache = over(Arc::clone(&faulty) as _, &stored.clock);
            let prices = region(&cache, a_minute());
            let source = Source::failing(Reason::Unreachable);
            assert_eq!(summary(source.read(&prices, "BTCUSDT").await), Err(Reason::Unreachable));
            assert!(cache.sync(MINUTE).await);
            assert_eq!(stored.memory.get(key).await, Ok(Some(bytes.clone())), "a newer program may read it");
            settle().await;
            let keys = stored.memory.list("", None, 10).await.expect("it answers").keys;
            assert_eq!(keys, [key], "the claim of the load that failed is gone");

            advance(SECOND).await;
            source.set("v2");
            assert_eq!(summary(source.read(&prices, "BTCUSDT").await), good("v2", "MISS"));
            let (_, stats) = cache.stats().remove(0);
            assert_eq!((stats.unreadable, stats.misses, stats.errors), (2, 1, 1));
            let status = cache.status().store.expect("there is a store");
            assert_eq!(status.breaker, BreakerState::Closed);
            assert!(cache.sync(MINUTE).await);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn programs_of_two_schemas_share_a_store_without_disturbing_each_other() {
    let stored = Stored::new();
    let (old, new) = (stored.restarted(), stored.restarted());
    let old = old.region_with_schema("prices", a_minute(), 1).expect("the policy is sound");
    let new = new.region_with_schema("prices", a_minute(), 2).expect("the policy is sound");
    let (old_source, new_source) = (Source::answering("old form"), Source::answering("new form"));
    for _ in 0..3 {
        assert_eq!(summary(old_source.read(&old, "BTCUSDT").await).map(|summary| summary.0), Ok("old form".into()));
        assert_eq!(summary(new_source.read(&new, "BTCUSDT").await).map(|summary| summary.0), Ok("new form".into()));
        advance(SECOND).await;
    }
    assert_eq!((old_source.loads(), new_source.loads()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn bytes_of_another_schema_under_the_same_key_are_a_miss() {
    let stored = Stored::new();
    region(&stored.cache, a_minute()).put("BTCUSDT", loaded("v1")).await;
    stored.flush().await;
    let bytes = stored.memory.get("lastgood:prices:v1:BTCUSDT").await.expect("it answers").expect("it was put");
    stored.memory.put("lastgood:prices:v2:BTCUSDT", bytes, HOUR).await.expect("there is room");
    let cache = stored.restarted();
    let prices = cache.region_with_schema("prices", a_minute(), 2).expect("the policy is sound");
    let source = Source::answering("v2");
    assert_eq!(summary(source.read(&prices, "BTCUSDT").await), good("v2", "MISS"));
    assert_eq!(cache.stats().remove(0).1.unreadable, 1);
}

#[tokio::test(start_paused = true)]
async fn an_ill_store_costs_one_budget_a_read_and_then_nothing() {
    let long = Fault::Delay(10 * SECOND);
    for fault in [Fault::Hang, long, Fault::Fail(unavailable()), Fault::Fail(StoreError::Corrupt("type".into()))] {
        let stored = Stored::new();
        stored.faulty.set(fault.clone());
        let prices = region(&stored.cache, a_minute());
        let load_time = Duration::from_millis(100);
        for number in 0..20 {
            let start = Instant::now();
            let load = move || async move {
                tokio::time::sleep(load_time).await;
                Ok(loaded("v1"))
            };
            let answer = prices.get_or_load(&number.to_string(), load).await;
            assert_eq!(summary(answer), good("v1", "MISS"));
            assert!(start.elapsed() <= BUDGET + load_time + ROUNDING, "{fault:?}: {:?}", start.elapsed());
            let store = stored.cache.status().store.expect("there is a store");
            if store.breaker != BreakerState::Closed {
                let start = Instant::now();
                let source = Source::answering("v1");
                assert_eq!(summary(source.read(&prices, &format!("{number}, open")).await), good("v1", "MISS"));
                assert_eq!(start.elapsed(), Duration::ZERO, "{fault:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_over_a_hung_store_costs_one_budget_altogether() {
    let stored = Stored::new();
    stored.faulty.set(Fault::Hang);
    let prices = region(&stored.cache, a_minute());
    let names: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let start = Instant::now();
    let load = |names: Vec<String>| async { Ok(names.into_iter().map(|name| (name, Ok(loaded("v1")))).collect()) };
    let answers = prices.get_or_load_many(&names, load).await;
    assert!(answers.into_iter().all(|answer| summary(answer) == good("v1", "MISS")));
    assert!(start.elapsed() <= BUDGET + ROUNDING, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn memory_serves_while_the_store_hangs_without_asking_it() {
    let stored = Stored::new();
    let prices = region(&stored.cache, a_minute());
    prices.put("BTCUSDT", loaded("v1")).await;
    stored.flush().await;
    stored.faulty.set(Fault::Hang);
    let source = Source::answering("v2");
    let start = Instant::now();
    assert_eq!(summary(source.read(&prices, "BTCUSDT").await), good("v1", "HIT"));
    assert_eq!((start.elapsed(), stored.faulty.reads()), (Duration::ZERO, 0));
}

#[tokio::test(start_paused = true)]
async fn invalidations_do_not_wait_for_a_hung_store() {
    let stored = Stored::new();
    let prices = region(&stored.cache, a_minute());
    prices.put("BTCUSDT", loaded("v1")).await;
    stored.flush().await;
    stored.faulty.set(Fault::Hang);
    let start = Instant::now();
    prices.expire("BTCUSDT").await;
    prices.put("BTCUSDT", loaded("v2")).await;
    prices.remove("BTCUSDT").await;
    prices.clear().await;
    assert_eq!(start.elapsed(), Duration::ZERO);
    let is_done = stored.cache.sync(SECOND / 2).await && removals_left(&stored.cache) == 0;
    assert!(!is_done, "the store hangs");
}

#[tokio::test(start_paused = true)]
async fn expiring_what_only_the_store_holds_keeps_it_for_bad_days() {
    let stored = Stored::new();
    region(&stored.cache, a_minute()).put("BTCUSDT", loaded("v1")).await;
    stored.flush().await;
    let again = stored.restarted();
    let prices = region(&again, a_minute());
    assert_eq!(prices.expire("BTCUSDT").await, WasThere::Yes);
    assert!(again.sync(MINUTE).await);
    let source = Source::failing(Reason::Unreachable);
    assert_eq!(summary(source.read(&prices, "BTCUSDT").await), good("v1", "LAST-GOOD"));
    let once_more = region(&stored.restarted(), a_minute());
    assert_eq!(summary(source.read(&once_more, "BTCUSDT").await), good("v1", "LAST-GOOD"));
    source.set("v2");
    advance(SECOND).await;
    assert_eq!(summary(source.read(&prices, "BTCUSDT").await), good("v2", "MISS"));
}

#[tokio::test(start_paused = true)]
async fn expiring_while_the_store_is_down_never_leaves_a_fresh_value_behind() {
    let stored = Stored::new();
    region(&stored.restarted(), a_minute()).put("BTCUSDT", loaded("v1")).await;
    while stored.keys().await.is_empty() {
        settle().await;
    }
    let prices = region(&stored.cache, a_minute());
    stored.faulty.set(Fault::Fail(unavailable()));
    assert_eq!(prices.expire("BTCUSDT").await, WasThere::Unknown(unavailable()));
    stored.faulty.heal();
    tokio::time::sleep(3 * SECOND).await;
    let source = Source::answering("v2");
    assert_eq!(summary(source.read(&prices, "BTCUSDT").await), good("v2", "MISS"));
}

#[tokio::test(start_paused = true)]
async fn a_value_too_large_for_every_tier_is_served_each_time_and_leaves_no_older_one() {
    let clock = Clock::paused_with_tokio();
    let memory = MemoryStore::new(clock.clone(), 1 << 20);
    let builder = Cache::builder().store(Arc::new(memory.clone())).clock(clock.clone()).memory_limit(1 << 20);
    let cache = builder.build().expect("the limit is sound");
    let prices = region(&cache, Policy { compress_over: usize::MAX, ..a_minute() });
    prices.put("EXCHANGE-INFO", loaded("small")).await;
    assert!(cache.sync(MINUTE).await);
    let large = "x".repeat(3 << 20);
    let source = Source::answering(&large);
    prices.put("EXCHANGE-INFO", loaded(&large)).await;
    assert!(cache.sync(MINUTE).await);
    tokio::time::sleep(2 * SECOND).await;
    for loads in 1..=3 {
        let answer = source.read(&prices, "EXCHANGE-INFO").await.expect("it loads");
        assert_eq!((answer.body().len(), answer.outcome(), source.loads()), (3 << 20, Outcome::Miss, loads));
    }
    assert_eq!(peeked(&prices, "EXCHANGE-INFO"), None);
    let again = region(&over(Arc::new(memory), &clock), a_minute());
    source.fail(Reason::Unreachable);
    assert_eq!(summary(source.read(&again, "EXCHANGE-INFO").await), Err(Reason::Unreachable));
}

#[tokio::test(start_paused = true)]
async fn names_longer_than_a_store_takes_live_in_memory_alone() {
    let stored = Stored::new();
    let prices = region(&stored.cache, a_minute());
    let source = Source::answering("v1");
    let long = "x".repeat(1 << 20);
    for expected in ["MISS", "HIT"] {
        assert_eq!(summary(source.read(&prices, &long).await), good("v1", expected));
    }
    prices.put(&long, loaded("v2")).await;
    assert_eq!(prices.expire(&long).await, WasThere::Yes);
    assert!(prices.remove(&long).await);
    let load = |names: Vec<String>| async { Ok(names.into_iter().map(|name| (name, Ok(loaded("v1")))).collect()) };
    let answers = prices.get_or_load_many(&[&long, "BTCUSDT"], load).await;
    assert!(answers.into_iter().all(|answer| summary(answer) == good("v1", "MISS")));
    stored.flush().await;
    let lengths: Vec<usize> = stored.keys().await.iter().map(String::len).collect();
    assert_eq!(lengths, ["lastgood:prices:v1:BTCUSDT".len()]);
}

#[tokio::test(start_paused = true)]
async fn what_memory_holds_wins_over_an_older_value_in_the_store() {
    let stored = Stored::new();
    let key = "lastgood:prices:v1:BTCUSDT";
    region(&stored.cache, a_minute()).put("BTCUSDT", loaded("v1").fresh_for(HOUR)).await;
    stored.flush().await;
    let old = stored.memory.get(key).await.expect("it answers").expect("it was put");
    advance(SECOND).await;

    // A program that started while the store was down has a newer value, which never reached the store.
    let faulty = FaultyStore::new(Arc::new(stored.memory.clone()));
    let cache = over(Arc::clone(&faulty) as _, &stored.clock);
    let prices = region(&cache, a_minute());
    faulty.set(Fault::Fail(unavailable()));
    let source = Source::answering("v2");
    assert_eq!(summary(source.read(&prices, "BTCUSDT").await), good("v2", "MISS"));
    assert!(cache.sync(MINUTE).await);
    faulty.heal();
    assert_eq!(stored.memory.get(key).await, Ok(Some(old)));
    tokio::time::sleep(2 * MINUTE).await;
    source.fail(Reason::Unreachable);
    assert_eq!(summary(source.read(&prices, "BTCUSDT").await), good("v2", "LAST-GOOD"));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_appears_late_is_used_from_then_on() {
    let stored = Stored::new();
    stored.faulty.set(Fault::Fail(unavailable()));
    let prices = region(&stored.cache, a_minute());
    let source = Source::answering("v1");
    for number in 0..20 {
        assert_eq!(summary(source.read(&prices, &number.to_string()).await), good("v1", "MISS"));
    }
    assert_ne!(stored.cache.status().store.map(|store| store.breaker), Some(BreakerState::Closed));
    assert!(stored.cache.probe_store().await.expect("there is a store").is_err());
    stored.faulty.heal();
    tokio::time::sleep(SECOND).await;
    assert!(stored.cache.probe_store().await.expect("there is a store").is_ok());
    assert_eq!(summary(source.read(&prices, "late").await), good("v1", "MISS"));
    stored.flush().await;
    assert_eq!(stored.keys().await, ["lastgood:prices:v1:late"]);
}

/// Where the snapshots were stored.
const SNAPSHOT_KEY: &str = "lastgood:prices:v7:BTCUSDT";

#[tokio::test(start_paused = true)]
async fn entries_of_version_2_are_served() {
    let snapshots: [(&'static [u8], usize); 2] =
        [(include_bytes!("snapshots/entry-v2.bin"), 1), (include_bytes!("snapshots/entry-v2-zstd.bin"), 100)];
    for (bytes, times) in snapshots {
        let stored = Stored::new();
        let prices = stored.cache.region_with_schema("prices", a_minute(), 7).expect("the policy is sound");
        let source = Source::failing(Reason::Unreachable);
        stored.memory.put(SNAPSHOT_KEY, Bytes::from_static(bytes), HOUR).await.expect("there is room");
        let answer = source.read(&prices, "BTCUSDT").await.expect("it is kept for ever");
        assert_eq!(text(&answer), r#"{"symbol":"BTCUSDT","price":"67012.50000000"}"#.repeat(times));
        assert_eq!(
            (answer.outcome(), answer.meta()),
            (Outcome::LastGood(Reason::Unreachable), Some("application/json"))
        );
    }
}

#[tokio::test(start_paused = true)]
async fn entries_of_version_1_are_a_counted_miss_on_purpose_for_they_name_no_key() {
    let snapshots: [&'static [u8]; 3] = [
        include_bytes!("snapshots/entry-v1.bin"),
        include_bytes!("snapshots/entry-v1-zstd.bin"),
        include_bytes!("snapshots/entry-v1-rows.bin"),
    ];
    for bytes in snapshots.map(Bytes::from_static) {
        let stored = Stored::new();
        let prices = stored.cache.region_with_schema("prices", a_minute(), 7).expect("the policy is sound");
        stored.memory.put(SNAPSHOT_KEY, bytes.clone(), HOUR).await.expect("there is room");
        let source = Source::failing(Reason::Unreachable);
        assert_eq!(summary(source.read(&prices, "BTCUSDT").await), Err(Reason::Unreachable));
        assert_eq!(stored.memory.get(SNAPSHOT_KEY).await, Ok(Some(bytes)), "no reader deletes it");
        advance(SECOND).await;
        source.set("loaded");
        assert_eq!(summary(source.read(&prices, "BTCUSDT").await), good("loaded", "MISS"));
        assert_eq!(stored.cache.stats().remove(0).1.unreadable, 2);
    }
}
