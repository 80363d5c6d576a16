//! Candles that are warmed, or come from a stream.

use super::*;

/// The newest candle as a stream would send it.
fn streamed(bench: &Bench, is_closed: bool) -> StreamedCandle {
    let opened = bench.now() / MINUTE * MINUTE;
    let at = if is_closed { opened + MINUTE } else { bench.now() };
    StreamedCandle { row: bench.ledger.row(opened, bench.grid, at).into(), is_closed }
}

#[test]
fn warmed_entries_are_there_for_readers_and_are_not_in_use() {
    at_many_times(async |at| {
        let bench = Bench::new(at, Venue::Spot, 48);
        bench.go_far_from_gaps().await;
        let question = bench.question(newest(50));
        bench.ledger.yields.store(true, Ordering::SeqCst);
        let refused = bench.candles.warm(&question).await.unwrap_err();
        assert_eq!((refused.reason, bench.candles.is_warm(&question)), (Reason::Yielded, false));
        bench.ledger.yields.store(false, Ordering::SeqCst);
        assert!(bench.candles.warm(&question).await.unwrap() && bench.candles.is_warm(&question));
        assert!(!bench.candles.warm(&question).await.unwrap());
        assert!(bench.candles.in_use(Duration::from_secs(60)).is_empty());
        assert!(bench.cache.stats().iter().all(|(_, stats)| stats.misses == 0), "there were no reads");
        let asked = bench.ledger.asked().len();
        bench.same(newest(50)).await;
        assert_eq!((asked, bench.ledger.asked().len()), (1, 0));
        // A load that yielded blocks no later one, at the end of a series or within it.
        bench.ledger.yields.store(true, Ordering::SeqCst);
        tokio::time::advance(Duration::from_secs(5)).await;
        for range in [newest(50), newest(700)] {
            assert_eq!(bench.candles.warm(&bench.question(range)).await.unwrap_err().reason, Reason::Yielded);
            bench.same(range).await;
        }
    });
}

#[test]
fn a_streamed_end_costs_no_request_but_one_that_confirms_what_was_loaded() {
    at_many_times(async |at| {
        let bench = Bench::new(at, Venue::Spot, 48);
        bench.go_far_from_gaps().await;
        let question = bench.question(newest(20));
        assert_eq!(
            bench.candles.feed(&question.series, &streamed(&bench, false)).await,
            Fed::Behind,
            "nothing is known"
        );
        bench.same(newest(20)).await;
        assert_eq!(bench.candles.in_use(Duration::from_secs(1)), [Arc::clone(&question.series)]);
        bench.ledger.asked();
        for _ in 0..10 {
            for second in [10, 30, 59] {
                bench.go_to_second(second).await;
                assert_eq!(bench.candles.feed(&question.series, &streamed(&bench, false)).await, Fed::Taken);
                bench.same(newest(20)).await;
            }
            tokio::time::advance(Duration::from_millis(999)).await;
            assert_eq!(bench.candles.feed(&question.series, &streamed(&bench, true)).await, Fed::Taken);
            tokio::time::advance(Duration::from_millis(1)).await;
            assert_eq!(bench.candles.feed(&question.series, &streamed(&bench, false)).await, Fed::Taken);
            bench.same(newest(20)).await;
        }
        let asked = bench.ledger.asked();
        assert!(asked.len() == 1 && asked[0].contains("limit=17"), "what came before the stream: {asked:?}");
        // Silence: what was streamed is believed for a while, and then asked for.
        tokio::time::advance(Duration::from_secs(6)).await;
        bench.same(newest(20)).await;
        assert_eq!(bench.ledger.asked().len(), 1);
    });
}

#[test]
fn a_streamed_candle_that_does_not_follow_is_not_taken() {
    at_many_times(async |at| {
        let bench = Bench::new(at, Venue::Spot, 48);
        bench.go_far_from_gaps().await;
        let series = Arc::clone(&bench.question(newest(20)).series);
        bench.same(newest(20)).await;
        // The close of the last candle was not seen.
        bench.go_to_minute_and(100).await;
        assert_eq!(bench.candles.feed(&series, &streamed(&bench, false)).await, Fed::Behind);
        bench.same(newest(20)).await;
        assert_eq!(bench.candles.feed(&series, &streamed(&bench, false)).await, Fed::Taken);
        let garbage = StreamedCandle { row: "[1]".into(), is_closed: false };
        assert_eq!(bench.candles.feed(&series, &garbage).await, Fed::Unreadable);
    });
}
