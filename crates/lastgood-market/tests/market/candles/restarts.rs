//! What a restart finds in the store.

use super::*;

#[test]
fn a_restart_asks_for_no_settled_candle_again() {
    at_a_few_times(3, async |at| {
        let mut bench = Bench::new(at, Venue::Spot, 48);
        bench.go_to_minute_and(30_000).await;
        bench.same(newest(700)).await;
        bench.restart().await;
        for _ in 0..10 {
            tokio::time::advance(Duration::from_secs(7)).await;
            bench.same(newest(700)).await;
            bench.same(Range { start: Some(bench.now() - 600 * MINUTE), end: None, limit: Some(50) }).await;
            bench.restart().await;
        }
        let sent = bench.ledger.sent.lock().unwrap();
        let again: Vec<_> = sent.iter().filter(|(_, times)| **times > 1).collect();
        assert!(again.is_empty(), "{again:?}");
    });
}

#[test]
fn candles_that_were_confirmed_are_not_asked_for_again_after_a_restart() {
    at_many_times(async |at| {
        let mut bench = Bench::new(at, Venue::Spot, 20);
        bench.same(newest(500)).await;
        tokio::time::advance(Duration::from_secs(50 * 60)).await;
        bench.same(Range { start: None, end: Some(bench.now() - 12 * MINUTE), limit: None }).await;
        bench.restart().await;
        bench.ledger.asked();
        bench.same(newest(450)).await;
        assert_eq!(bench.ledger.asked(), Vec::<String>::new());
    });
}

#[test]
fn after_a_restart_the_end_and_its_blocks_are_read_in_one_round_trip() {
    at_many_times(async |at| {
        let mut bench = Bench::new(at, Venue::Spot, 48);
        bench.go_far_from_gaps().await;
        bench.go_to_second(30).await;
        // From the midst of a block on, so that gaps do not make it one block more.
        let many = newest((bench.now() / MINUTE % 256 + 256 + 128) as usize);
        bench.same(many).await;
        bench.ledger.asked();
        for range in [many, newest(2)] {
            assert!(bench.cache.sync(Duration::from_secs(60)).await);
            let counted = FaultyStore::new(Arc::new(bench.store.clone()));
            (bench.cache, bench.candles) = over(Arc::clone(&counted) as _, &bench.clock, &bench.ledger);
            assert_eq!(bench.same(range).await.outcome, Outcome::Hit(Tier::Store));
            assert_eq!((counted.reads(), bench.ledger.asked()), (1, vec![]), "{range:?}");
        }
    });
}
