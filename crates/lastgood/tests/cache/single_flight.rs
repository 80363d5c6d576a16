//! One load at a time, whatever becomes of those who wait for it.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;

use lastgood::testing::Fault;
use lastgood::{Cache, Error, LoadError, Loaded, Outcome, Policy, Reason};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::support::{MINUTE, SECOND, Source, Stored, a_minute, good, loaded, memory_only, region, settle, summary};

#[tokio::test(start_paused = true)]
async fn a_thousand_callers_of_a_cold_key_make_one_load_and_one_store_write() {
    let stored = Stored::new();
    let prices = region(&stored.cache, a_minute());
    let source = Source::answering("v1");
    source.pause();
    let mut callers = JoinSet::new();
    for _ in 0..1000 {
        let (source, prices) = (source.clone(), prices.clone());
        callers.spawn(async move { source.read(&prices, "BTCUSDT").await });
    }
    settle().await;
    assert_eq!((source.loads(), stored.cache.status().loads), (1, 1));
    source.resume();
    let answers = callers.join_all().await;
    let count = |outcome| answers.iter().filter(|answer| summary((*answer).clone()) == good("v1", outcome)).count();
    assert_eq!((count("MISS"), count("JOINED")), (1, 999));
    stored.flush().await;
    // The claim of the load, and its answer.
    assert_eq!((source.loads(), stored.faulty.reads(), stored.faulty.writes()), (1, 1, 2));
    assert_eq!(stored.cache.status().loads, 0);
}

/// Many rounds of many callers on all threads at once; each key must be loaded once.
async fn stampede(answer: fn() -> Result<Loaded, Error>) {
    let cache = Cache::builder().build().expect("the defaults are sound");
    let prices = region(&cache, a_minute());
    for round in 0..50 {
        let loads = Arc::new(AtomicU64::new(0));
        let mut callers = JoinSet::new();
        for _ in 0..1000 {
            let (prices, loads) = (prices.clone(), Arc::clone(&loads));
            callers.spawn(async move {
                let load = move || async move {
                    loads.fetch_add(1, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                    Ok(answer()?)
                };
                prices.get_or_load(&format!("KEY{round}"), load).await
            });
        }
        for given in callers.join_all().await {
            assert_eq!(given.map(|given| given.body().clone()).ok(), answer().map(|loaded| loaded.value.body).ok());
        }
        assert_eq!(loads.load(Ordering::SeqCst), 1, "round {round}");
    }
    assert_eq!(cache.status().loads, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_callers_on_many_threads_make_one_load() {
    stampede(|| Ok(loaded("v1"))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_callers_on_many_threads_make_one_failing_load() {
    stampede(|| Err(Error::new(Reason::Unreachable, "no route"))).await;
}

#[tokio::test(start_paused = true)]
async fn callers_that_leave_at_any_point_cost_no_second_load_and_harm_no_other() {
    for polls in 0..12 {
        for leaver_is_first in [true, false] {
            let stored = Stored::new();
            let prices = region(&stored.cache, a_minute());
            let source = Source::answering("v1");
            source.pause();
            let stayer = {
                let (source, prices) = (source.clone(), prices.clone());
                async move { source.read(&prices, "BTCUSDT").await }
            };
            let leave = async {
                let mut leaver = pin!(source.read(&prices, "BTCUSDT"));
                for _ in 0..polls {
                    let _ = leaver.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                    tokio::task::yield_now().await;
                }
            };
            let stayer = if leaver_is_first {
                leave.await;
                tokio::spawn(stayer)
            } else {
                let stayer = tokio::spawn(stayer);
                leave.await;
                stayer
            };
            settle().await;
            source.resume();
            let body = summary(stayer.await.expect("the reader does not panic")).map(|(body, _)| body);
            assert_eq!((body, source.loads()), (Ok("v1".to_owned()), 1), "left after {polls} polls");
            assert_eq!(stored.cache.status().loads, 0);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_load_that_all_callers_left_still_fills_the_cache() {
    let cache = memory_only();
    let prices = region(&cache, a_minute());
    let source = Source::answering("v1");
    source.pause();
    assert!(tokio::time::timeout(SECOND, source.read(&prices, "BTCUSDT")).await.is_err());
    source.resume();
    settle().await;
    assert_eq!(summary(source.read(&prices, "BTCUSDT").await), good("v1", "HIT"));
    assert_eq!(source.loads(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_load_that_never_returns_releases_its_waiters_and_leaks_nothing() {
    let cache = memory_only();
    let prices = region(&cache, Policy { max_loads: 1, hard_timeout: 5 * SECOND, ..a_minute() });
    let source = Source::answering("v1");
    source.pause();
    let start = Instant::now();
    let mut waiters = JoinSet::new();
    for _ in 0..20 {
        let (source, prices) = (source.clone(), prices.clone());
        waiters.spawn(async move { source.read(&prices, "BTCUSDT").await });
    }
    for answer in waiters.join_all().await {
        assert_eq!(summary(answer), Err(Reason::TimedOut));
    }
    assert!(start.elapsed() < 5 * SECOND + Duration::from_millis(10), "{:?}", start.elapsed());
    assert_eq!((source.loads(), cache.status().loads), (1, 0));
    source.resume();
    tokio::time::advance(SECOND).await;
    assert_eq!(summary(source.read(&prices, "BTCUSDT").await), good("v1", "MISS"), "its place among the loads is free");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_loader_that_blocks_its_thread_for_ever_releases_its_waiters() {
    let cache = Cache::builder().build().expect("the defaults are sound");
    let prices = region(&cache, Policy { hard_timeout: Duration::from_millis(100), ..a_minute() });
    let (unblock, blocked) = std::sync::mpsc::channel::<()>();
    let blocking = prices.get_or_load("BTCUSDT", move || async move {
        let _ = blocked.recv();
        Ok(loaded("from the blocked load"))
    });
    let source = Source::answering("v1");
    let (first, second) = tokio::join!(blocking, source.read(&prices, "BTCUSDT"));
    assert_eq!((summary(first), summary(second)), (Err(Reason::TimedOut), Err(Reason::TimedOut)));
    assert_eq!(source.loads(), 0, "the second waited for the first's load");

    assert_eq!(summary(source.read(&prices, "BTCUSDT").await), good("v1", "MISS"));
    drop(unblock);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(summary(source.read(&prices, "BTCUSDT").await), good("v1", "HIT"), "the blocked load came too late");
    assert_eq!(cache.status().loads, 0);
}

#[tokio::test(start_paused = true)]
async fn a_panicking_loader_is_an_error_and_the_key_stays_usable() {
    let cache = memory_only();
    let prices = region(&cache, a_minute());
    let while_awaited = prices.get_or_load("BTCUSDT", || async { panic!("injected") }).await;
    assert_eq!(summary(while_awaited), Err(Reason::Panicked));
    fn at_once() -> std::future::Ready<Result<Loaded, LoadError>> {
        panic!("injected")
    }
    assert_eq!(summary(prices.get_or_load("ETHUSDT", at_once).await), Err(Reason::Panicked));
    assert_eq!(cache.status().loads, 0);
    tokio::time::advance(SECOND).await;
    let source = Source::answering("v1");
    assert_eq!(summary(source.read(&prices, "BTCUSDT").await), good("v1", "MISS"));
    assert_eq!(summary(source.read(&prices, "ETHUSDT").await), good("v1", "MISS"));
}

#[tokio::test(start_paused = true)]
async fn a_failing_load_gives_all_its_waiters_that_one_error() {
    let cache = memory_only();
    let prices = region(&cache, a_minute());
    let source = Source::answering("");
    source.answer(Err(Error::new(Reason::Upstream, "error 503 of this very load")));
    source.pause();
    let mut waiters = JoinSet::new();
    for _ in 0..100 {
        let (source, prices) = (source.clone(), prices.clone());
        waiters.spawn(async move { source.read(&prices, "BTCUSDT").await });
    }
    settle().await;
    source.resume();
    for answer in waiters.join_all().await {
        let error = answer.expect_err("the source fails");
        assert_eq!((error.message.as_str(), error.remembered), ("error 503 of this very load", false));
    }
    let next = source.read(&prices, "BTCUSDT").await.expect_err("the source fails");
    assert_eq!((next.message.as_str(), next.remembered), ("error 503 of this very load", true));
    assert_eq!(source.loads(), 1);
}

#[test]
fn a_load_whose_runtime_ends_releases_waiters_in_other_runtimes() {
    let runtime =
        || tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime can be built");
    let (first, second) = (runtime(), runtime());
    let cache = Cache::builder().build().expect("the defaults are sound");
    let prices = region(&cache, a_minute());
    let source = Source::answering("v1");
    source.pause();
    first.block_on(async {
        let mut leader = pin!(source.read(&prices, "BTCUSDT"));
        assert!(leader.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        settle().await;
    });
    second.block_on(async {
        let mut waiter = pin!(source.read(&prices, "BTCUSDT"));
        assert!(waiter.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        first.shutdown_background();
        assert_eq!(summary(waiter.await), Err(Reason::Abandoned));
        source.resume();
        assert_eq!(summary(source.read(&prices, "BTCUSDT").await), good("v1", "MISS"));
    });
    assert_eq!((source.loads(), cache.status().loads), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn one_load_more_than_allowed_is_refused_or_served_from_the_last_good() {
    let cache = memory_only();
    let prices = region(&cache, Policy { max_loads: 2, ..a_minute() });
    let source = Source::answering("v1");
    assert_eq!(summary(source.read(&prices, "KNOWN").await), good("v1", "MISS"));
    tokio::time::advance(MINUTE).await;

    source.pause();
    let mut loads = JoinSet::new();
    for name in ["A", "B"] {
        let (source, prices) = (source.clone(), prices.clone());
        loads.spawn(async move { source.read(&prices, name).await });
    }
    settle().await;
    let start = Instant::now();
    assert_eq!(summary(source.read(&prices, "C").await), Err(Reason::Overloaded));
    let known = source.read(&prices, "KNOWN").await.expect("it is kept");
    assert_eq!(known.outcome(), Outcome::LastGood(Reason::Overloaded));
    assert_eq!((start.elapsed(), source.loads()), (Duration::ZERO, 3), "refusals come at once");

    source.resume();
    assert!(loads.join_all().await.iter().all(Result::is_ok));
    assert_eq!(summary(source.read(&prices, "C").await), good("v1", "MISS"), "a refusal is not remembered");
    assert_eq!(cache.status().loads, 0);
}

#[tokio::test(start_paused = true)]
async fn what_the_store_holds_needs_no_place_among_the_loads() {
    let stored = Stored::new();
    let before = region(&stored.restarted(), a_minute());
    before.put("STORED", loaded("v1")).await;
    stored.flush().await;
    settle().await;
    let prices = region(&stored.cache, Policy { max_loads: 1, ..a_minute() });
    let source = Source::answering("v2");
    source.pause();
    let held = {
        let (source, prices) = (source.clone(), prices.clone());
        tokio::spawn(async move { source.read(&prices, "LOADING").await })
    };
    settle().await;
    assert_eq!(summary(source.read(&prices, "STORED").await), good("v1", "HIT"));
    source.resume();
    assert_eq!(summary(held.await.expect("the reader does not panic")), good("v2", "MISS"));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_fails_while_the_store_hangs_still_comes_once() {
    let stored = Stored::new();
    stored.faulty.set(Fault::Hang);
    let prices = region(&stored.cache, a_minute());
    let source = Source::failing(Reason::Unreachable);
    let mut waiters = JoinSet::new();
    for _ in 0..50 {
        let (source, prices) = (source.clone(), prices.clone());
        waiters.spawn(async move { source.read(&prices, "BTCUSDT").await });
    }
    for answer in waiters.join_all().await {
        assert_eq!(summary(answer), Err(Reason::Unreachable));
    }
    assert_eq!((source.loads(), stored.faulty.reads()), (1, 0), "a store that does not tell the time is asked no more");
}

#[tokio::test(start_paused = true)]
async fn limits_that_mean_no_limit_are_taken_as_such() {
    let cache = memory_only();
    let policy = Policy {
        fresh_for: Duration::MAX,
        stale_while_revalidate: Duration::MAX,
        soft_timeout: Duration::MAX,
        hard_timeout: Duration::MAX,
        negative_for: Duration::MAX,
        max_loads: usize::MAX,
        ..a_minute()
    };
    let prices = region(&cache, policy);
    let source = Source::answering("v1");
    assert_eq!(summary(source.read(&prices, "BTCUSDT").await), good("v1", "MISS"));
    assert_eq!(summary(source.read(&prices, "BTCUSDT").await), good("v1", "HIT"));
    source.fail(Reason::NotFound);
    assert_eq!(summary(source.read(&prices, "ETHUSDT").await), Err(Reason::NotFound));
}

#[tokio::test(start_paused = true)]
async fn a_loader_may_fail_with_any_error_and_its_words_are_for_the_log_alone() {
    let prices = region(&memory_only(), a_minute());
    let load = || async {
        let price: f64 = "table prices_2024 is locked".parse()?;
        Ok(loaded(&price.to_string()))
    };
    let error = prices.get_or_load("BTCUSDT", load).await.expect_err("it is no number");
    assert_eq!((error.reason, error.message.as_str()), (Reason::Upstream, "the source failed"));
    assert_eq!(error.detail.as_deref(), Some("invalid float literal"));
    assert!(std::error::Error::source(&error).is_some_and(|source| source.is::<std::num::ParseFloatError>()));
    assert!(!error.to_string().contains("literal"), "{error}");
    let remembered = prices.get_or_load("BTCUSDT", || async { panic!("asked again") }).await.expect_err("it failed");
    assert!(remembered.remembered && std::error::Error::source(&remembered).is_some());
    // The cache's own errors keep their reason through the same question mark.
    let load = || async { Ok(Err::<Loaded, _>(Error::new(Reason::NotFound, "no such symbol"))?) };
    let error = prices.get_or_load("DOGE", load).await.expect_err("there is none");
    assert_eq!((error.reason, error.message.as_str()), (Reason::NotFound, "no such symbol"));
}
