//! One wrong answer takes nothing away that was known, wherever blocks of candles begin: any hour, any interval.

use std::collections::HashSet;
use std::time::Duration;

use lastgood::{Outcome, Reason};
use lastgood_market::Venue;
use lastgood_market::candles::Slice;
use proptest::prelude::*;

use crate::candles::{At, BLOCK, Bench, in_paused_time, newest, text};
use crate::ledger::{Grid, Lie, MINUTE, Range};

const HOUR: u64 = 60 * MINUTE;
/// A single answer is asked for again after this time.
const SAID_ONCE: u64 = 2 * MINUTE;

/// An answer lacks the row of that number, counted from its end.
fn without<const LAST: usize>(mut rows: Vec<String>) -> Vec<String> {
    if let Some(place) = rows.len().checked_sub(LAST + 1) {
        rows.remove(place);
    }
    rows
}

const LIES: [Lie; 11] = [
    |_| Vec::new(),
    without::<0>,
    without::<1>,
    without::<2>,
    without::<3>,
    without::<4>,
    |rows| rows.into_iter().skip(1).collect(),
    |rows| rows.into_iter().skip(2).collect(),
    |mut rows| {
        let third = rows.len() / 3;
        rows.drain(third..2 * third);
        rows
    },
    |mut rows| {
        rows.truncate(rows.len() / 2);
        rows
    },
    |rows| rows.into_iter().map(|row| row.replace("\"15.00\"", "\"16.00\"")).collect(),
];

/// What happens: a list is asked for, time goes by, one answer is wrong.
#[derive(Clone, Copy, Debug)]
struct Story {
    at: At,
    venue: Venue,
    limit: usize,
    wait: u64,
    lie: usize,
    restarts: bool,
}

/// A row: when it opens and closes, and its text.
type Row<'a> = (u64, u64, &'a str);

fn rows(list: &str) -> Vec<Row<'_>> {
    let rows = list.trim_matches(['[', ']']).split("],[").filter(|row| !row.is_empty());
    let time = |row: &str, item| row.split(',').nth(item).unwrap().parse::<u64>().unwrap();
    rows.map(|row| (time(row, 0), time(row, 6), row)).collect()
}

/// Whether an answer has all that was known up to `seen_until` when it was `asked_at` before, and nothing that is not true.
fn judge(story: Story, bench: &Bench, slice: &Slice, asked_at: u64, seen_until: u64) {
    let grid = Grid::of(story.at.interval);
    let context = format!("{story:?}: {:?}; asked {:?}", slice.outcome, bench.ledger.asked());
    let given = text(slice);
    let (first, last) = (rows(&given).first().unwrap().0, rows(&given).last().unwrap().0);
    let truth = bench.truth(Range { start: Some(first), end: Some(bench.now()), limit: Some(usize::MAX) });
    // Of what had not settled it is known that it is there.
    let grace = (grid.length / 2).min(15_000);
    let settled = |row: &Row<'_>| if row.1 + grace < asked_at { row.2.to_owned() } else { row.0.to_string() };
    let known = |list: &str| rows(list).iter().filter(|row| row.0 <= seen_until).map(settled).collect::<Vec<_>>();
    assert_eq!(known(&given), known(&truth), "what was known stays: {context}");
    assert!(last >= seen_until || matches!(slice.outcome, Outcome::LastGood(_)), "nothing older: {context}");
    let opens = |list: &str| rows(list).iter().map(|row| row.0).collect::<HashSet<_>>();
    assert!(opens(&given).is_subset(&opens(&truth)), "nothing invented: {context}");
}

async fn play(story: Story) {
    let grid = Grid::of(story.at.interval);
    let listed_at = story.at.begin.saturating_sub(800 * grid.length);
    let mut bench = Bench::listed_since(story.at, story.venue, listed_at);
    let (asked, asked_at) = (newest(story.limit), bench.now());
    let before = text(&bench.same(asked).await);
    let seen_until = rows(&before).last().unwrap().0;
    if story.restarts {
        bench.restart().await;
    }
    tokio::time::advance(Duration::from_millis(story.wait)).await;
    bench.ledger.lies.lock().unwrap().push_back(LIES[story.lie]);
    match bench.ask(asked).await {
        Ok(slice) => judge(story, &bench, &slice, asked_at, seen_until),
        // The question is passed on as it was asked.
        Err(error) => assert_eq!(error.reason, Reason::Abandoned, "{story:?}: {error:?}"),
    }
    // What could not be known to be wrong is asked for again.
    bench.ledger.lies.lock().unwrap().clear();
    tokio::time::advance(Duration::from_millis(SAID_ONCE)).await;
    bench.same(asked).await;
    let from = bench.now() - (story.limit as u64 / 2) * grid.length;
    bench.same(Range { start: Some(from), end: Some(bench.now()), limit: Some(story.limit) }).await;
    assert_eq!(bench.candles.voided().count(), 0, "{story:?}");
}

#[test]
fn one_wrong_answer_takes_nothing_away_at_any_hour_of_a_day() {
    // 2026-11-28; a block of candles of a minute begins at 01:36, 05:52, 10:08, 14:24, 18:40 and 22:56.
    const MIDNIGHT: u64 = 1_795_824_000_000;
    for minute in (0..24 * 60).step_by(20) {
        let at = At { begin: MIDNIGHT + minute * MINUTE, interval: "1m" };
        let lie = if minute % 60 == 40 { 2 } else { 8 };
        let story = Story { at, venue: Venue::Spot, limit: 500, wait: SAID_ONCE, lie, restarts: false };
        in_paused_time(at, &async |_| play(story).await);
    }
}

#[test]
fn one_wrong_answer_takes_nothing_away_around_the_begin_of_a_block_of_any_interval() {
    for interval in ["1s", "1m", "5m", "1h", "8h", "1d", "3d", "1w", "1M"] {
        let grid = Grid::of(interval);
        for candle in -2i64..=1 {
            for lie in 0..LIES.len() {
                let begin = At::block(interval).saturating_add_signed(candle * grid.length as i64);
                let at = At { begin: begin + (lie as u64 * 7_919) % grid.length, interval };
                let wait = if candle % 2 == 0 { grid.length.min(HOUR) } else { SAID_ONCE };
                let story = Story { at, venue: Venue::Spot, limit: 20, wait, lie, restarts: false };
                in_paused_time(at, &async |_| play(story).await);
            }
        }
    }
}

fn stories() -> impl Strategy<Value = Story> {
    let intervals = prop::sample::select(vec!["1s", "1m", "3m", "15m", "1h", "4h", "12h", "1d", "3d", "1w", "1M"]);
    let candles = 0..2 * BLOCK;
    let into = prop_oneof![Just(0), Just(1), Just(14_999), Just(15_001), 0..u64::MAX / 2];
    let waits = prop_oneof![Just(0), Just(1_000), Just(SAID_ONCE), Just(u64::MAX), 0..10 * MINUTE];
    let limits = prop::sample::select(vec![1usize, 2, 3, 20, 60, 300, 500]);
    (intervals, candles, into, waits, limits, 0..LIES.len(), any::<bool>(), any::<bool>()).prop_map(
        |(interval, candle, into, wait, limit, lie, restarts, coin)| {
            let grid = Grid::of(interval);
            let at = At { begin: At::block(interval) + candle * grid.length + into % grid.length, interval };
            // COIN-M answers for 200 days at most.
            let venue = if coin && grid.length <= 4 * HOUR && interval != "1s" { Venue::CoinM } else { Venue::Spot };
            let wait = if wait == u64::MAX { grid.length } else { wait };
            Story { at, venue, limit, wait, lie, restarts }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn one_wrong_answer_takes_nothing_away_whenever_and_whatever_is_asked(story in stories()) {
        in_paused_time(story.at, &async |_| play(story).await);
    }
}

#[test]
fn what_one_wrong_answer_said_alone_takes_no_other_candle_along_when_it_is_put_right() {
    // The wrong answer has two settled candles of which nothing was known, and none that was.
    let at = At { begin: 1_772_690_234_999, interval: "3m" };
    let wait = 2 * 3 * MINUTE + 135_038;
    let story = Story { at, venue: Venue::Spot, limit: 1, wait, lie: LIES.len() - 1, restarts: false };
    for venue in [Venue::Spot, Venue::CoinM] {
        for restarts in [false, true] {
            in_paused_time(at, &async |_| play(Story { venue, restarts, ..story }).await);
        }
    }
}

#[test]
fn a_wrong_answer_that_shares_no_candle_with_earlier_ones_takes_none_of_them_along_when_it_is_put_right() {
    // The 74 candles between the two were never asked for. COIN-M has no candles of a second.
    for (venue, interval, length) in
        [(Venue::Spot, "1s", 1_000), (Venue::Spot, "1m", MINUTE), (Venue::CoinM, "1m", MINUTE)]
    {
        let at = At { begin: 1_772_600_832_000, interval };
        for restarts in [false, true] {
            let story = Story { at, venue, limit: 300, wait: 374 * length, lie: LIES.len() - 1, restarts };
            in_paused_time(at, &async |_| play(story).await);
        }
    }
}
