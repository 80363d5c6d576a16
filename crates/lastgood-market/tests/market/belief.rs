//! Which candles are believed, for how long, and how wrong ones go.

use std::time::Duration;

use lastgood::{Outcome, Reason};
use lastgood_market::Venue;
use std::sync::atomic::Ordering;

use crate::candles::{Bench, at_a_few_times, at_many_times, newest, text};
use crate::ledger::{Lie, MINUTE, Range};

/// How long a single answer's absence between rows is believed; at an edge much shorter.
const SAID_ONCE: Duration = Duration::from_secs(120);

const EMPTY: Lie = |_| Vec::new();
const HOLED: Lie = |mut rows| {
    let third = rows.len() / 3;
    rows.drain(third..2 * third);
    rows
};
const SHORT: Lie = |mut rows| {
    rows.truncate(rows.len() / 2);
    rows
};
const OTHER: Lie = |rows| rows.into_iter().map(|row| row.replace("\"15.00\"", "\"16.00\"")).collect();
const LATER: Lie = |mut rows| {
    rows.drain(..rows.len().min(2));
    rows
};

fn past(bench: &Bench, from: u64, to: u64, limit: usize) -> Range {
    let at = |hours: u64| Some(bench.now() - hours * 60 * MINUTE);
    Range { start: at(from), end: (to > 0).then(|| at(to)).flatten(), limit: Some(limit) }
}

/// Gateways go by it to tell which of two ends is the newer: it is not when the load began.
#[test]
fn an_end_that_took_several_questions_is_of_the_time_at_which_it_was_asked_for() {
    at_many_times(async |at| {
        let bench = Bench::new(at, Venue::Spot, 48);
        bench.same(newest(50)).await;
        tokio::time::advance(Duration::from_secs(3)).await;
        let trip = Duration::from_millis(200);
        *bench.ledger.latency.lock().unwrap() = trip;
        bench.ledger.lies.lock().unwrap().push_back(EMPTY);
        bench.ledger.asked();
        let (began, series) = (bench.clock.now(), &bench.question(newest(50)).series);
        bench.same(newest(50)).await;
        let asked = bench.ledger.asked();
        assert!(asked.len() > 1, "the first answer was not enough: {asked:?}");
        let loaded_at = bench.candles.end_loaded_at(series).expect("it is kept");
        assert_eq!(loaded_at.since(began), trip * (asked.len() as u32 - 1), "{asked:?}");
    });
}

#[test]
fn one_empty_answer_erases_nothing_not_even_until_the_next_question() {
    at_many_times(async |at| {
        let mut bench = Bench::new(at, Venue::Spot, 2_000);
        bench.same(newest(50)).await;
        let from_long_ago = Range { start: Some(bench.now() - 1_900 * 60 * MINUTE), end: None, limit: Some(500) };
        bench.ledger.lies.lock().unwrap().extend([EMPTY, EMPTY, EMPTY]);
        // Twice nothing where candles are kept: the question is for the exchange itself, as it was asked.
        assert_eq!(bench.ask(from_long_ago).await.unwrap_err().reason, Reason::Abandoned);
        bench.ledger.lies.lock().unwrap().clear();
        bench.same(newest(50)).await;
        tokio::time::advance(Duration::from_secs(3)).await;
        for _ in 0..2 {
            bench.same(newest(50)).await;
            bench.same(from_long_ago).await;
            bench.same(past(&bench, 700, 690, 500)).await;
            bench.restart().await;
        }
    });
}

#[test]
fn whatever_one_answer_said_wrongly_of_the_past_is_right_again_in_two_minutes_in_every_form_of_question() {
    at_a_few_times(2, async |at| {
        for lie in [EMPTY, HOLED, SHORT, OTHER, LATER] {
            for venue in [Venue::Spot, Venue::CoinM] {
                let mut bench = Bench::new(at, venue, 2_000);
                bench.same(newest(50)).await;
                let (end, hour) = (bench.now() - 300 * 60 * MINUTE, 60 * MINUTE);
                let mut ranges = vec![
                    Range { start: Some(end - 5 * hour), end: Some(end), limit: Some(500) },
                    Range { start: None, end: Some(end - 20 * hour), limit: Some(200) },
                ];
                if venue == Venue::Spot {
                    ranges.push(Range { start: Some(end - 50 * hour), end: None, limit: Some(100) });
                }
                for range in ranges {
                    bench.ledger.lies.lock().unwrap().push_back(lie);
                    drop(bench.ask(range).await);
                    bench.ledger.lies.lock().unwrap().clear();
                    bench.restart().await;
                    tokio::time::advance(SAID_ONCE).await;
                    bench.same(range).await;
                    bench.same(newest(700)).await;
                }
            }
        }
    });
}

#[test]
fn an_answer_that_contradicts_the_kept_one_is_not_believed_at_all() {
    at_many_times(async |at| {
        for lie in [EMPTY, HOLED, OTHER, LATER] {
            let bench = Bench::new(at, Venue::Spot, 200);
            bench.go_far_from_gaps().await;
            bench.same(newest(500)).await;
            tokio::time::advance(SAID_ONCE).await;
            bench.ledger.lies.lock().unwrap().push_back(lie);
            bench.same(newest(500)).await;
            assert_eq!(bench.candles.voided().count(), 0);
        }
    });
}

#[test]
fn an_exchange_that_goes_back_in_time_is_not_followed_for_a_minute_and_then_believed() {
    at_many_times(async |at| {
        let bench = Bench::new(at, Venue::Spot, 48);
        bench.go_far_from_gaps().await;
        bench.go_to_minute_and(20_000).await;
        let before = text(&bench.same(newest(20)).await);
        bench.ledger.stuck_at.store(bench.now() - 90_000, Ordering::SeqCst);
        for _ in 0..10 {
            tokio::time::advance(Duration::from_secs(5)).await;
            let slice = bench.ask(newest(20)).await.unwrap();
            assert_eq!(slice.outcome, Outcome::LastGood(Reason::Malformed), "asked {:?}", bench.ledger.asked());
            assert_eq!(text(&slice), before);
        }
        tokio::time::advance(Duration::from_secs(45)).await;
        bench.same(newest(20)).await;
    });
}

#[test]
fn a_gap_is_confirmed_by_a_later_answer_and_costs_less_and_less() {
    at_many_times(async |at| {
        let bench = Bench::new(at, Venue::Spot, 60);
        let range = past(&bench, 30, 26, 500);
        bench.same(range).await;
        let mut asked = vec![bench.ledger.asked().len()];
        for wait in [60, 60, 60, 3_600, 60, 86_400, 60, 86_400] {
            tokio::time::advance(Duration::from_secs(wait)).await;
            bench.same(range).await;
            asked.push(bench.ledger.asked().len());
        }
        // Cold; answered once; then after two minutes, an hour, a day, and then not for a month.
        let runs: Vec<bool> = asked.iter().map(|count| *count > 0).collect();
        assert_eq!(runs, [true, false, true, false, true, false, true, false, false], "{asked:?}");
    });
}

#[test]
fn candles_that_were_expired_are_asked_for_again_and_stand_in_where_the_exchange_fails() {
    at_many_times(async |at| {
        let bench = Bench::new(at, Venue::Spot, 60);
        let range = past(&bench, 30, 26, 500);
        let before = text(&bench.same(range).await);
        bench.ledger.asked();
        for (region, prefix) in [("klines", "spot/api/v3/klines:BTCUSDT:1m:")] {
            let matches = move |of: &str, name: &str| of == region && name.starts_with(prefix);
            let scope = lastgood::Selector::Matching(std::sync::Arc::new(matches));
            assert!(bench.cache.invalidate(&scope, Some(lastgood::Mode::Expire)).await.unwrap().changed > 0);
        }
        bench.ledger.is_down.store(true, Ordering::SeqCst);
        let kept = bench.ask(range).await.unwrap();
        assert_eq!((text(&kept), kept.outcome), (before, Outcome::LastGood(Reason::Unreachable)));
        bench.ledger.is_down.store(false, Ordering::SeqCst);
        bench.ledger.correction.store(3, Ordering::SeqCst);
        tokio::time::advance(Duration::from_secs(31)).await;
        assert_eq!(bench.same(range).await.outcome, Outcome::Miss);
    });
}

#[test]
fn a_history_that_was_wiped_is_noticed_by_the_next_load_and_after_a_restart() {
    at_a_few_times(4, async |at| {
        for restarts in [false, true] {
            let mut bench = Bench::new(at, Venue::Spot, 60);
            let (range, all) = (past(&bench, 30, 26, 500), newest(700));
            bench.same(all).await;
            bench.same(range).await;
            tokio::time::advance(SAID_ONCE).await;
            bench.same(all).await;
            bench.same(range).await;
            // Confirmed, and yet: all is different, and the first of it is gone.
            bench.ledger.correction.store(7, Ordering::SeqCst);
            if restarts {
                bench.restart().await;
            }
            tokio::time::advance(Duration::from_secs(3)).await;
            bench.same(newest(2)).await;
            for range in [all, range, past(&bench, 28, 27, 9)] {
                bench.same(range).await;
            }
            assert_eq!(bench.candles.voided().count(), 1);
        }
    });
}

#[test]
fn a_dead_pair_costs_no_more_than_a_live_one_and_less_as_time_goes_on() {
    at_a_few_times(1, async |at| {
        let (dead, live) = (Bench::new(at, Venue::Spot, 48), Bench::new(at, Venue::Spot, 48));
        dead.ledger.halted_at.store(dead.now() - 100 * MINUTE, Ordering::SeqCst);
        let mut counts = Vec::new();
        for _ in 0..3 {
            for _ in 0..450 {
                dead.same(newest(20)).await;
                live.same(newest(20)).await;
                tokio::time::advance(Duration::from_secs(2)).await;
            }
            counts.push((dead.ledger.asked().len(), live.ledger.asked().len()));
            tokio::time::advance(Duration::from_secs(12 * 3_600)).await;
        }
        assert!(counts.iter().all(|(dead, live)| dead <= live), "{counts:?}");
        assert!(counts.windows(2).all(|two| two[1].0 < two[0].0) && counts[2].0 < 20, "{counts:?}");
    });
}
