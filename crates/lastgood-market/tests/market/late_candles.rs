//! Candles of a stream that come out of their order.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lastgood::{Outcome, Reason, Tier};
use lastgood_market::Venue;
use lastgood_market::candles::{Fed, Series, StreamedCandle};

use crate::candles::{Bench, at_many_times, newest, text};
use crate::ledger::{Grid, MINUTE};

/// A candle as the exchange streamed it at `at`.
fn as_of(bench: &Bench, opened: u64, at: u64) -> StreamedCandle {
    StreamedCandle { row: bench.ledger.row(opened, Grid::of("1m"), at).into(), is_closed: at >= opened + MINUTE }
}

/// What a process was sent at 30 seconds of the minute `now`, and comes again or only now: each with what it is.
fn late(bench: &Bench, now: u64) -> Vec<(&'static str, StreamedCandle)> {
    let before = now - MINUTE;
    vec![
        ("this minute, as it stood ten seconds in", as_of(bench, now, now + 10_000)),
        ("the minute before, as it stood half way", as_of(bench, before, before + 30_000)),
        ("the minute before, as it closed", as_of(bench, before, now)),
        ("ten minutes ago", as_of(bench, before - 10 * MINUTE, before - 9 * MINUTE)),
        ("a day ago", as_of(bench, before - 1_440 * MINUTE, before - 1_439 * MINUTE)),
    ]
}

/// The series of the bench at 30 seconds of a minute, with all that its stream brought in order.
async fn in_the_midst_of_a_minute(bench: &Bench) -> (Arc<Series>, u64) {
    bench.go_far_from_gaps().await;
    bench.same(newest(20)).await;
    let series = Arc::clone(&bench.question(newest(20)).series);
    let minute = bench.now() / MINUTE * MINUTE;
    for at in [30_000, MINUTE - 1, MINUTE, MINUTE + 30_000] {
        tokio::time::advance(Duration::from_millis(minute + at - bench.now())).await;
        let (opened, at) = if at < MINUTE { (minute, minute + at) } else { (minute + MINUTE, minute + at) };
        if at == minute + MINUTE {
            assert_eq!(bench.candles.feed(&series, &as_of(bench, minute, at)).await, Fed::Taken, "its close");
        }
        assert_eq!(bench.candles.feed(&series, &as_of(bench, opened, at)).await, Fed::Taken, "at {at}");
    }
    (series, minute + MINUTE)
}

#[test]
fn a_candle_that_comes_late_after_a_newer_one_changes_no_tier() {
    at_many_times(async |at| {
        let mut bench = Bench::new(at, Venue::Spot, 48);
        let (series, now) = in_the_midst_of_a_minute(&bench).await;
        let expected = text(&bench.same(newest(20)).await);
        bench.ledger.asked();
        // Before the store has the newer ones and after, and to a process that has them from the store.
        for has_restarted in [false, true] {
            for (what, candle) in late(&bench, now) {
                let fed = bench.candles.feed(&series, &candle).await;
                assert!(matches!(fed, Fed::Behind | Fed::Outdated), "{what}: {fed:?}");
                let slice = bench.ask(newest(20)).await.unwrap();
                assert_eq!((text(&slice), has_restarted), (expected.clone(), has_restarted), "{what}");
                assert!(bench.cache.sync(Duration::from_secs(60)).await);
            }
            bench.restart().await;
            let found = bench.ask(newest(20)).await.unwrap();
            assert_eq!((text(&found), found.outcome), (expected.clone(), Outcome::Hit(Tier::Store)));
        }
        assert_eq!(bench.ledger.asked(), Vec::<String>::new(), "the exchange was not needed");

        // Past its freshness, with the exchange away, the newest is the last good one: in memory, and in the store.
        bench.ledger.is_down.store(true, Ordering::SeqCst);
        tokio::time::advance(Duration::from_secs(20)).await;
        for has_restarted in [false, true] {
            for (what, candle) in late(&bench, now) {
                let fed = bench.candles.feed(&series, &candle).await;
                assert!(matches!(fed, Fed::Behind | Fed::Outdated), "{what}: {fed:?}");
                let kept = bench.ask(newest(20)).await.unwrap();
                assert_eq!(
                    (text(&kept), kept.outcome, has_restarted),
                    (expected.clone(), Outcome::LastGood(Reason::Unreachable), has_restarted),
                    "{what}"
                );
            }
            bench.restart().await;
        }
    });
}

#[test]
fn a_newer_candle_that_comes_after_late_ones_is_taken_and_is_what_every_tier_has() {
    at_many_times(async |at| {
        let mut bench = Bench::new(at, Venue::Spot, 48);
        let (series, now) = in_the_midst_of_a_minute(&bench).await;
        for (_, candle) in late(&bench, now) {
            bench.candles.feed(&series, &candle).await;
        }
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(bench.candles.feed(&series, &as_of(&bench, now, now + 40_000)).await, Fed::Taken);
        bench.ledger.asked();
        let newest_of_all = text(&bench.same(newest(20)).await);
        for (what, candle) in late(&bench, now) {
            bench.candles.feed(&series, &candle).await;
            assert_eq!(text(&bench.ask(newest(20)).await.unwrap()), newest_of_all, "{what}");
        }
        bench.restart().await;
        let found = bench.same(newest(20)).await;
        assert_eq!((text(&found), found.outcome), (newest_of_all, Outcome::Hit(Tier::Store)));
        assert_eq!(bench.ledger.asked(), Vec::<String>::new());
    });
}
