//! The candle store against a list of candles and the exchange's own rules.

mod bench;
mod model;
mod restarts;
mod streamed;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lastgood::testing::FaultyStore;
use lastgood::{Outcome, Reason, Tier};
use lastgood_market::Venue;
use lastgood_market::candles::{Fed, StreamedCandle};
use lastgood_market::query::Params;

use self::bench::over;
pub(crate) use self::bench::{At, BLOCK, Bench, at_a_few_times, at_many_times, in_paused_time, newest, text};
use crate::ledger::{MINUTE, Range};

#[test]
fn the_end_of_a_series_is_as_old_as_the_request_that_brought_it() {
    at_a_few_times(1, async |at| {
        let bench = Bench::new(at, Venue::Spot, 300);
        *bench.ledger.held_back.lock().unwrap() = Duration::from_millis(800);
        let slice = bench.ask(Range { limit: Some(3), ..Range::default() }).await.unwrap();
        let age = slice.tail.expect("the end of the series").age();
        assert!(age < Duration::from_millis(100), "sent just now, and {age:?} old");
    });
}

#[test]
fn a_settled_range_is_asked_for_once_whatever_slice_of_it_is_wanted() {
    at_many_times(async |at| {
        let bench = Bench::new(at, Venue::Spot, 48);
        let end = bench.now() - 60 * MINUTE;
        let whole = Range { start: Some(end - 300 * MINUTE), end: Some(end), limit: Some(1_000) };
        assert_eq!(bench.same(whole).await.outcome, Outcome::Miss);
        bench.ledger.asked();
        for (from, to, limit) in [(10, 200, 1_000), (0, 290, 7), (150, 290, 500), (299, 299, 1)] {
            let part = Range {
                start: whole.start.map(|start| start + from * MINUTE),
                end: Some(end - (300 - to) * MINUTE),
                limit: Some(limit),
            };
            let slice = bench.same(part).await;
            assert!(matches!(slice.outcome, Outcome::Hit(_)) && slice.tail.is_none(), "{slice:?}");
        }
        bench.same(Range { start: None, end: Some(end - 10 * MINUTE), limit: Some(100) }).await;
        assert_eq!(bench.ledger.asked(), Vec::<String>::new());
    });
}

#[test]
fn the_newest_candles_cost_one_request_and_then_only_new_ones() {
    at_many_times(async |at| {
        let bench = Bench::new(at, Venue::Spot, 48);
        bench.go_to_minute_and(20_000).await;
        bench.same(newest(500)).await;
        assert_eq!(bench.ledger.asked().len(), 1);
        bench.same(newest(100)).await;
        assert_eq!(bench.ledger.asked().len(), 0);
        bench.go_to_minute_and(500).await;
        bench.same(newest(500)).await;
        let asked = bench.ledger.asked();
        assert_eq!(asked.len(), 1, "{asked:?}");
        assert!(asked[0].contains("startTime="), "only the end: {asked:?}");
    });
}

#[test]
fn no_list_is_served_without_the_candle_that_has_begun() {
    at_many_times(async |at| {
        let bench = Bench::new(at, Venue::Spot, 5);
        bench.go_to_minute_and(59_500).await;
        bench.same(newest(10)).await;
        tokio::time::advance(Duration::from_millis(499)).await;
        assert!(matches!(bench.ask(newest(10)).await.unwrap().outcome, Outcome::Hit(_)));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(bench.same(newest(10)).await.outcome, Outcome::Miss);
        // The exchange may be late itself: then its own answer is given, and it is asked again soon.
        bench.go_to_minute_and(0).await;
        bench.ledger.is_late.store(true, Ordering::SeqCst);
        bench.same(newest(10)).await;
        bench.ledger.is_late.store(false, Ordering::SeqCst);
        tokio::time::advance(Duration::from_millis(1_001)).await;
        bench.same(newest(10)).await;
    });
}

#[test]
fn a_candle_that_just_closed_may_still_be_corrected_and_a_later_correction_is_noticed_by_the_next_load() {
    at_many_times(async |at| {
        let bench = Bench::new(at, Venue::Spot, 5);
        bench.go_far_from_gaps().await;
        bench.go_to_minute_and(5_000).await;
        bench.same(newest(2)).await;
        bench.ledger.correction.store(1, Ordering::SeqCst);
        tokio::time::advance(Duration::from_secs(3)).await;
        bench.same(newest(2)).await;
        tokio::time::advance(Duration::from_secs(20)).await;
        bench.same(newest(5)).await;
        // What was kept of the series is loaded again, all of it.
        bench.ledger.correction.store(2, Ordering::SeqCst);
        tokio::time::advance(Duration::from_secs(20)).await;
        bench.same(newest(2)).await;
        bench.same(newest(5)).await;
        let voided = bench.candles.voided();
        // The ledger corrects all that is closed, both times.
        assert_eq!((voided.count(), voided.last()[0].series.as_str()), (2, "spot/api/v3/klines:BTCUSDT:1m:"));
    });
}

#[test]
fn a_candle_of_an_exchange_that_has_fallen_behind_is_not_taken_for_settled() {
    at_many_times(async |at| {
        let bench = Bench::new(at, Venue::Spot, 48);
        bench.go_far_from_gaps().await;
        bench.go_to_minute_and(30_000).await;
        let (from, stuck_at) = (bench.now() - 20 * MINUTE, bench.now());
        bench.ledger.stuck_at.store(stuck_at, Ordering::SeqCst);
        bench.go_to_minute_and(0).await;
        tokio::time::advance(Duration::from_secs(5 * 60)).await;
        let ranges = [
            newest(5),
            Range { start: Some(from), end: Some(stuck_at + MINUTE), limit: None },
            Range { start: None, end: Some(stuck_at), limit: Some(7) },
            Range { start: Some(from), end: None, limit: Some(21) },
        ];
        for range in ranges {
            bench.same(range).await;
        }
        // It catches up: what was half of a candle is whole, and what was missing is there.
        bench.ledger.stuck_at.store(u64::MAX, Ordering::SeqCst);
        tokio::time::advance(Duration::from_secs(3)).await;
        for range in ranges {
            bench.same(range).await;
        }
    });
}

#[test]
fn the_first_candle_and_all_before_it_are_remembered() {
    at_many_times(async |at| {
        let bench = Bench::new(at, Venue::Spot, 30 * 24);
        let first = Range { start: Some(0), end: Some(bench.now()), limit: Some(1) };
        bench.same(first).await;
        assert_eq!(bench.ledger.asked().len(), 1);
        bench.same(first).await;
        bench.same(Range { start: Some(5), end: None, limit: Some(1) }).await;
        bench.same(Range { start: None, end: Some(bench.ledger.listed_at - 1), limit: Some(10) }).await;
        assert_eq!(bench.ledger.asked(), Vec::<String>::new());
    });
}

#[test]
fn an_exchange_that_is_away_leaves_the_known_candles() {
    at_many_times(async |at| {
        let bench = Bench::new(at, Venue::Spot, 48);
        let before = bench.same(newest(50)).await;
        bench.ledger.is_down.store(true, Ordering::SeqCst);
        tokio::time::advance(Duration::from_secs(600)).await;
        let kept = bench.ask(newest(50)).await.unwrap();
        assert_eq!(kept.outcome, Outcome::LastGood(Reason::Unreachable));
        assert_eq!(text(&kept), text(&before));
        let unknown = bench.ask(newest(60)).await.unwrap_err();
        assert_eq!(unknown.reason, Reason::Unreachable, "part of an answer is none");
    });
}

#[test]
fn a_question_that_was_answered_as_it_was_asked_is_not_answered_with_an_earlier_end_while_the_exchange_is_away() {
    at_a_few_times(3, async |at| {
        let bench = Bench::new(at, Venue::Spot, 48);
        bench.same(newest(50)).await;
        tokio::time::advance(Duration::from_secs(600)).await;
        let (own, body) = (bench.question(newest(50)).direct.key.clone(), bench.truth(newest(50)));
        bench.cache.region_named("klines").unwrap().put(&own, lastgood::Loaded::from(bytes::Bytes::from(body))).await;
        bench.ledger.is_down.store(true, Ordering::SeqCst);
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(bench.ask(newest(50)).await.unwrap_err().reason, Reason::Abandoned, "its own answer is given");
        let kept = bench.ask(newest(40)).await.unwrap();
        assert_eq!(kept.outcome, Outcome::LastGood(Reason::Unreachable), "another question has none");
    });
}

#[test]
fn one_wrong_answer_takes_no_candle_from_a_question_of_the_past_that_was_answered_as_it_was_asked() {
    at_many_times(async |at| {
        let bench = Bench::new(at, Venue::Spot, 200);
        bench.go_far_from_gaps().await;
        let range = Range { start: None, end: Some(bench.now() - 3_000 * MINUTE), limit: Some(2) };
        let (own, body) = (bench.question(range).direct.key.clone(), bench.truth(range));
        bench.cache.region_named("klines").unwrap().put(&own, lastgood::Loaded::from(bytes::Bytes::from(body))).await;
        bench.ledger.lies.lock().unwrap().push_back(|mut rows| {
            rows.pop();
            rows
        });
        bench.same(range).await;
        bench.ledger.asked();
        tokio::time::advance(Duration::from_secs(60)).await;
        bench.same(range).await;
        assert_eq!(bench.ledger.asked(), Vec::<String>::new(), "then it is known");
    });
}

#[test]
fn a_halted_symbol_keeps_its_last_candle_in_the_tail() {
    at_many_times(async |at| {
        let bench = Bench::new(at, Venue::Spot, 48);
        bench.ledger.halted_at.store(bench.now() - 100 * MINUTE, Ordering::SeqCst);
        bench.same(newest(20)).await;
        bench.same(Range { start: Some(bench.now() - 120 * MINUTE), end: None, limit: None }).await;
        bench
            .same(Range { start: Some(bench.now() - 120 * MINUTE), end: Some(bench.now() - 90 * MINUTE), limit: None })
            .await;
        bench.same(Range { start: Some(bench.now() - 50 * MINUTE), end: None, limit: None }).await;
        bench.same(Range { start: None, end: Some(bench.now() - 90 * MINUTE), limit: Some(5) }).await;
    });
}

/// The newest candles of a series in which nothing was traded are three; where they do not join the known ones, those
/// between are asked for, and not all the rest again.
#[test]
fn after_a_pause_in_trading_only_what_came_since_is_asked_for() {
    at_many_times(async |at| {
        for venue in [Venue::Spot, Venue::CoinM] {
            let bench = Bench::new(at, venue, 48);
            // The first gap begins half an hour on, and is twelve minutes long. By then all has been confirmed.
            for minutes in [0, 20, 15, 1, 15] {
                tokio::time::advance(Duration::from_secs(60 * minutes)).await;
                bench.ledger.asked();
                bench.same(newest(500)).await;
            }
            let asked = bench.ledger.asked();
            let counts: Vec<u64> =
                asked.iter().map(|query| Params::parse(query).unwrap().number("limit").unwrap()).collect();
            assert!(counts.len() == 2 && counts[0] == 3 && counts[1] < 60, "{venue:?}: {asked:?}");
        }
    });
}

#[test]
fn many_at_once_ask_once() {
    at_a_few_times(3, async |at| {
        let bench = Arc::new(Bench::new(at, Venue::Spot, 48));
        *bench.ledger.latency.lock().unwrap() = Duration::from_millis(200);
        let end = bench.now() - 100 * MINUTE;
        let asks = (0..50).map(|n| {
            let bench = Arc::clone(&bench);
            let range =
                Range { start: Some(end - 200 * MINUTE - n * MINUTE), end: Some(end - n * MINUTE), limit: None };
            tokio::spawn(async move { bench.same(range).await })
        });
        for ask in asks.collect::<Vec<_>>() {
            ask.await.unwrap();
        }
        let (sent, requests) = (bench.ledger.sent.lock().unwrap(), bench.ledger.asked().len() as u64);
        // Each request asks for a known candle before and after the missing ones, as witnesses.
        let again: u64 = sent.values().map(|times| times - 1).sum();
        assert!(requests <= 52 && again <= 2 * requests, "{again} sent again in {requests} requests: {sent:?}");
    });
}

#[test]
fn a_series_is_forgotten_on_request() {
    at_many_times(async |at| {
        let bench = Bench::new(at, Venue::Spot, 48);
        bench.same(newest(50)).await;
        bench.ledger.asked();
        bench.candles.invalidate(&bench.question(newest(1)).series).await;
        assert!(bench.cache.sync(Duration::from_secs(60)).await);
        assert_eq!(bench.same(newest(50)).await.outcome, Outcome::Miss);
        assert_eq!(bench.ledger.asked().len(), 1);
    });
}
