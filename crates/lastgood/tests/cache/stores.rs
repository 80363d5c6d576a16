//! What the memory store and the guard do beyond their common contract.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use lastgood::clock::Clock;
use lastgood::store::{BreakerState, Guard, GuardedStore, MemoryStore, Store, StoreError};
use lastgood::testing::{Fault, FaultyStore};
use tokio::time::{Instant, timeout};

const HOUR: Duration = Duration::from_secs(3600);

mod memory {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_full_memory_store_gives_up_what_expires_first() {
        let store = MemoryStore::new(Clock::paused_with_tokio(), 10_000);
        for (key, seconds) in [("late", 300), ("early", 100), ("middle", 200)] {
            store.put(key, vec![0; 3_000].into(), Duration::from_secs(seconds)).await.expect("it fits");
        }
        store.put("new", vec![0; 3_000].into(), HOUR).await.expect("room is made");
        let keys = ["late", "early", "middle", "new"].map(String::from);
        let there: Vec<_> = store.get_many(&keys).await.expect("it answers").iter().map(Option::is_some).collect();
        assert_eq!(there, [true, false, true, true]);
        assert!(store.probe().await.expect("it answers").bytes.expect("it knows") <= 10_000);
    }

    #[tokio::test]
    async fn a_value_larger_than_the_memory_store_is_refused_and_the_rest_stays() {
        let store = MemoryStore::new(Clock::system(), 10_000);
        store.put("small", "value".into(), HOUR).await.expect("it fits");
        let refused = store.put("large", vec![0; 10_001].into(), HOUR).await;
        assert!(matches!(refused, Err(StoreError::Refused(_))), "{refused:?}");
        assert_eq!(store.get("small").await, Ok(Some("value".into())));
    }

    #[tokio::test]
    async fn clones_of_a_memory_store_share_one_content() {
        let store = MemoryStore::new(Clock::system(), 10_000);
        store.clone().put("key", "value".into(), HOUR).await.expect("it fits");
        assert_eq!(store.get("key").await, Ok(Some("value".into())));
        assert_eq!(store.to_string(), "MemoryStore");
    }
}

mod guard {
    use super::*;

    struct Setup {
        faulty: Arc<FaultyStore>,
        guarded: Arc<GuardedStore>,
    }

    async fn setup(guard: Guard) -> Setup {
        let memory = MemoryStore::new(Clock::paused_with_tokio(), 1 << 20);
        memory.put("key", "value".into(), HOUR * 24).await.expect("it fits");
        let faulty = FaultyStore::new(Arc::new(memory));
        Setup { guarded: GuardedStore::new(Arc::clone(&faulty) as _, guard), faulty }
    }

    async fn get(setup: &Setup) -> Result<Option<Bytes>, StoreError> {
        setup.guarded.get("key").await
    }

    fn unavailable() -> StoreError {
        StoreError::Unavailable("injected".into())
    }

    async fn wait_for(setup: &Setup, state: BreakerState) {
        let mut changes = setup.guarded.subscribe();
        timeout(Duration::from_secs(60), changes.wait_for(|now| *now == state))
            .await
            .unwrap_or_else(|_| panic!("the breaker never became {state:?}"))
            .expect("the guard is there");
    }

    #[tokio::test(start_paused = true)]
    async fn a_hung_store_costs_three_budgets_and_then_nothing() {
        let setup = setup(Guard::default()).await;
        setup.faulty.set(Fault::Hang);
        let start = Instant::now();
        for _ in 0..3 {
            assert_eq!(get(&setup).await, Err(StoreError::Timeout));
        }
        assert!(start.elapsed() <= Duration::from_millis(3 * 27), "{:?}", start.elapsed());
        let start = Instant::now();
        for _ in 0..1000 {
            assert_eq!(get(&setup).await, Err(StoreError::BreakerOpen));
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
        assert_eq!(setup.faulty.reads(), 3);
        let counters = setup.guarded.counters();
        assert_eq!((counters.timeouts, counters.failures, counters.opened, counters.rejected), (3, 3, 1, 1000));
    }

    #[tokio::test(start_paused = true)]
    async fn every_method_has_the_hard_deadline() {
        let setup = setup(Guard { timeouts_to_open: 100, failures_to_open: 20, ..Guard::default() }).await;
        setup.faulty.set(Fault::Hang);
        let store = &setup.guarded;
        let keys = ["key".to_owned()];
        let start = Instant::now();
        assert_eq!(store.get_many(&keys).await.err(), Some(StoreError::Timeout));
        assert!(start.elapsed() < Duration::from_millis(30));
        assert_eq!(store.put("key", Bytes::new(), HOUR).await, Err(StoreError::Timeout));
        assert_eq!(store.remove(&keys).await, Err(StoreError::Timeout));
        assert_eq!(store.list("", None, 1).await, Err(StoreError::Timeout));
        assert_eq!(store.probe().await, Err(StoreError::Timeout));
        assert!(start.elapsed() < Duration::from_millis(4_100));
        assert_eq!(store.close().await, Err(StoreError::Timeout));
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_with_little_time_is_kept_no_longer_and_the_store_is_at_fault_only_if_it_was_slow() {
        let setup = setup(Guard::default()).await;
        setup.faulty.set(Fault::Hang);
        let read = async |patience: u64| {
            let start = Instant::now();
            let answer = setup.guarded.get_by("key", start + Duration::from_millis(patience)).await;
            (answer, start.elapsed().as_millis())
        };
        for _ in 0..10 {
            assert_eq!(read(5).await, (Err(StoreError::Timeout), 5));
        }
        assert_eq!((setup.guarded.counters().timeouts, setup.guarded.state()), (0, BreakerState::Closed));
        for _ in 0..2 {
            assert_eq!(read(20).await.0, Err(StoreError::Timeout));
        }
        assert_eq!(setup.guarded.counters().timeouts, 2, "it had been slow by then");
        assert_eq!(read(60_000).await, (Err(StoreError::Timeout), 25));
        assert_eq!((setup.guarded.counters().timeouts, setup.guarded.counters().opened), (3, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_healed_store_is_hit_again_within_a_second_however_long_it_was_away() {
        let setup = setup(Guard::default()).await;
        for away in [0, 1, 60, 3600] {
            setup.faulty.set(Fault::Hang);
            while get(&setup).await != Err(StoreError::BreakerOpen) {}
            tokio::time::sleep(Duration::from_secs(away)).await;
            setup.faulty.heal();
            let healed = Instant::now();
            wait_for(&setup, BreakerState::Closed).await;
            assert!(healed.elapsed() < Duration::from_millis(500), "{:?}", healed.elapsed());
            assert_eq!(get(&setup).await, Ok(Some("value".into())));
        }
        assert_eq!(setup.guarded.counters().opened, 4);
    }

    #[tokio::test(start_paused = true)]
    async fn only_one_background_probe_tries_an_open_store_and_no_caller_does() {
        let setup = setup(Guard::default()).await;
        setup.faulty.set(Fault::Fail(unavailable()));
        join_all((0..100).map(|_| get(&setup))).await;
        assert_eq!(setup.faulty.writes(), 0, "probes are not reads");
        let reads = setup.faulty.reads();
        for _ in 0..1000 {
            assert_eq!(get(&setup).await, Err(StoreError::BreakerOpen));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(setup.faulty.reads(), reads, "no caller's read went through");
        let probes = setup.faulty.writes();
        assert!((20..=40).contains(&probes), "{probes} probes in ten seconds, each 300 to 400 ms after the last");
    }

    #[tokio::test(start_paused = true)]
    async fn callers_are_still_turned_away_while_the_probe_is_under_way() {
        let setup = setup(Guard::default()).await;
        setup.faulty.set(Fault::Fail(unavailable()));
        while get(&setup).await != Err(StoreError::BreakerOpen) {}
        setup.faulty.set(Fault::Delay(Duration::from_millis(10)));
        wait_for(&setup, BreakerState::HalfOpen).await;
        assert_eq!(get(&setup).await, Err(StoreError::BreakerOpen));
        wait_for(&setup, BreakerState::Closed).await;
        assert_eq!(setup.faulty.writes(), 1, "one probe");
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_answers_too_slowly_is_left_alone_until_it_is_faster() {
        let setup = setup(Guard::default()).await;
        setup.faulty.set(Fault::Delay(Duration::from_millis(22)));
        for _ in 0..5 {
            assert_eq!(get(&setup).await, Ok(Some("value".into())), "a slow answer is an answer");
        }
        assert_eq!(get(&setup).await, Err(StoreError::BreakerOpen));
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_ne!(setup.guarded.state(), BreakerState::Closed, "a slow probe does not close it");
        assert_eq!(setup.guarded.counters().slow, 5);
        setup.faulty.set(Fault::Delay(Duration::from_millis(5)));
        wait_for(&setup, BreakerState::Closed).await;
    }

    #[tokio::test(start_paused = true)]
    async fn refused_writes_and_corrupt_values_leave_it_closed() {
        let setup = setup(Guard::default()).await;
        for error in [StoreError::Refused("full".into()), StoreError::Corrupt("bytes".into())] {
            setup.faulty.set(Fault::Fail(error.clone()));
            for _ in 0..100 {
                assert_eq!(setup.guarded.put("key", Bytes::new(), HOUR).await, Err(error.clone()));
                assert_eq!(get(&setup).await, Err(error.clone()));
            }
        }
        assert_eq!(setup.guarded.state(), BreakerState::Closed);
        assert_eq!(setup.guarded.counters().failures, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn having_no_place_for_a_call_says_nothing_about_the_store() {
        let setup = setup(Guard { max_concurrent: 4, ..Guard::default() }).await;
        setup.faulty.set(Fault::Delay(Duration::from_millis(10)));
        let answers = join_all((0..1000).map(|_| get(&setup))).await;
        let busy = answers.iter().filter(|answer| **answer == Err(StoreError::Busy)).count();
        assert_eq!((busy, answers.iter().filter(|answer| answer.is_ok()).count()), (996, 4));
        assert_eq!(setup.guarded.state(), BreakerState::Closed);
        assert_eq!((setup.guarded.counters().busy, setup.guarded.counters().failures), (996, 0));
        assert!(get(&setup).await.is_ok(), "the places are free again");
    }

    #[tokio::test(start_paused = true)]
    async fn slow_writes_do_not_take_the_places_of_reads() {
        let setup = setup(Guard { max_concurrent: 2, ..Guard::default() }).await;
        setup.faulty.set_writes(Fault::Hold);
        let put = || setup.guarded.put("other", Bytes::new(), HOUR);
        let (first, second, third) = (put(), put(), put());
        let reader = async {
            tokio::task::yield_now().await;
            assert_eq!(get(&setup).await, Ok(Some("value".into())));
            setup.faulty.heal();
        };
        let (first, second, third, ()) = tokio::join!(first, second, third, reader);
        assert_eq!((first, second, third), (Ok(()), Ok(()), Err(StoreError::Busy)));
    }

    #[tokio::test(start_paused = true)]
    async fn callers_with_deadlines_of_their_own_still_show_that_the_store_hangs() {
        let setup = setup(Guard::default()).await;
        setup.faulty.set(Fault::Hang);
        for _ in 0..3 {
            assert!(timeout(Duration::from_millis(21), get(&setup)).await.is_err());
        }
        assert_eq!(get(&setup).await, Err(StoreError::BreakerOpen));
    }

    #[tokio::test(start_paused = true)]
    async fn while_it_is_left_alone_the_probe_says_what_it_failed_by() {
        let setup = setup(Guard { open_for: HOUR, open_for_at_most: HOUR, ..Guard::default() }).await;
        let wrong = StoreError::Unavailable("wrong password".to_owned());
        setup.faulty.set(Fault::Fail(wrong.clone()));
        while get(&setup).await != Err(StoreError::BreakerOpen) {}
        assert_eq!(setup.guarded.probe().await.unwrap_err(), wrong);
        setup.faulty.heal();
        tokio::time::sleep(HOUR * 2).await;
        assert!(setup.guarded.probe().await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn callers_that_leave_early_say_nothing_and_free_their_place() {
        let setup = setup(Guard { max_concurrent: 1, ..Guard::default() }).await;
        setup.faulty.set(Fault::Hang);
        for _ in 0..100 {
            assert!(timeout(Duration::from_millis(5), get(&setup)).await.is_err());
        }
        setup.faulty.heal();
        assert!(get(&setup).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_guard_stops_probing() {
        let setup = setup(Guard::default()).await;
        setup.faulty.set(Fault::Fail(unavailable()));
        while get(&setup).await != Err(StoreError::BreakerOpen) {}
        let Setup { faulty, guarded } = setup;
        drop(guarded);
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(faulty.writes(), 0);
        assert_eq!(Arc::strong_count(&faulty), 1, "nothing holds the store any more");
    }

    #[test]
    fn a_breaker_whose_runtime_ended_does_not_stay_open() {
        let runtime =
            || tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime can be built");
        let first = runtime();
        let setup = first.block_on(setup(Guard::default()));
        setup.faulty.set(Fault::Fail(unavailable()));
        first.block_on(async { while get(&setup).await != Err(StoreError::BreakerOpen) {} });
        drop(first);
        setup.faulty.heal();
        assert_eq!(runtime().block_on(get(&setup)), Ok(Some("value".into())));
    }

    #[tokio::test]
    async fn an_open_breaker_answers_in_a_microsecond() {
        let setup = setup(Guard { open_for: HOUR, open_for_at_most: HOUR, ..Guard::default() }).await;
        setup.faulty.set(Fault::Fail(unavailable()));
        while get(&setup).await != Err(StoreError::BreakerOpen) {}
        const CALLS: u32 = 100_000;
        let start = Instant::now();
        for _ in 0..CALLS {
            assert!(get(&setup).await.is_err());
        }
        let each = start.elapsed() / CALLS;
        println!("an open breaker answers in {each:?}");
        assert!(each < Duration::from_micros(if cfg!(debug_assertions) { 20 } else { 1 }), "{each:?}");
    }
}
