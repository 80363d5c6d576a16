//! The candle store against a list of candles and the exchange's own rules.

mod model;
mod restarts;
mod streamed;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lastgood::store::{MemoryStore, Store};
use lastgood::testing::FaultyStore;
use lastgood::{Cache, Clock, Error, Outcome, Policy, Reason, Region, Tier, Timestamp};
use lastgood_market::candles::{Candles, Fed, Question, Slice, StreamedCandle};
use lastgood_market::{Identities, Plan, Preset, RegionName, Request, Venue, plan};

use crate::ledger::{Grid, Ledger, MINUTE, Range};

pub(crate) struct Bench {
    pub(crate) clock: Clock,
    store: MemoryStore,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) cache: Cache,
    pub(crate) candles: Candles,
    venue: Venue,
    grid: Grid<'static>,
}

fn over(store: Arc<dyn Store>, clock: &Clock, ledger: &Arc<Ledger>) -> (Cache, Candles) {
    let cache = Cache::builder().store(store).clock(clock.clone()).build().unwrap();
    let policy = Policy { soft_timeout: Duration::from_secs(1), ..RegionName::Klines.policy(Preset::Trading) };
    let region: Region = cache.region("klines", policy).unwrap();
    let exchange = Arc::clone(ledger);
    (cache, Candles::new(region, true, clock.clone(), exchange))
}

/// When a test begins, and the interval of its candles. Where blocks of candles begin depends on both.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At {
    pub(crate) begin: u64,
    pub(crate) interval: &'static str,
}

/// 2026-03-04 05:06:07 UTC.
const A_MORNING: u64 = 1_772_600_767_250;
/// How many candles' time a block spans.
pub(crate) const BLOCK: u64 = 256;

impl At {
    /// The first moment of a block of candles, in 2026.
    pub(crate) fn block(interval: &'static str) -> u64 {
        let length = lastgood_market::interval::length(interval).unwrap().as_millis() as u64;
        A_MORNING.next_multiple_of(BLOCK * length)
    }
}

/// When tests of candles of a minute begin: in the middle of a block of candles, shortly before it ends, and after the next has
/// begun.
fn times() -> impl Iterator<Item = At> {
    let begin = At::block("1m");
    let around = [0, 1, 14_999, 15_001, 59_999, 20 * MINUTE, 100 * MINUTE].map(|after| begin + after);
    let before = [11, 6, 1, 30, 240].map(|minutes| begin - minutes * MINUTE);
    let begins = [A_MORNING].into_iter().chain(before).chain(around).chain([begin - 15_001, begin - 1]);
    begins.map(|begin| At { begin, interval: "1m" })
}

/// Runs a test at several times of a day.
pub(crate) fn at_many_times(test: impl AsyncFn(At)) {
    times().for_each(|at| in_paused_time(at, &test));
}

/// Runs a long test at the first of the times of [`at_many_times`].
pub(crate) fn at_a_few_times(count: usize, test: impl AsyncFn(At)) {
    times().take(count).for_each(|at| in_paused_time(at, &test));
}

/// Runs a test once, in paused time, and tells where it began if it fails.
pub(crate) fn in_paused_time(at: At, test: &impl AsyncFn(At)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| runtime.block_on(test(at))));
    if let Err(panic) = ran {
        let why = panic.downcast_ref::<String>().map_or("it panicked", String::as_str);
        panic!("begun at {at:?}: {why}");
    }
}

impl Bench {
    /// An exchange that lists the symbol since this many hours.
    pub(crate) fn new(at: At, venue: Venue, hours: u64) -> Bench {
        Bench::listed_since(at, venue, at.begin - hours * 60 * MINUTE)
    }

    /// An exchange that lists the symbol since then.
    pub(crate) fn listed_since(at: At, venue: Venue, listed_at: u64) -> Bench {
        let clock = Clock::paused_at(Timestamp::from_millis(at.begin));
        let ledger = Ledger::new(clock.clone(), listed_at, venue == Venue::CoinM);
        let store = MemoryStore::new(clock.clone(), 64 << 20);
        let (cache, candles) = over(Arc::new(store.clone()), &clock, &ledger);
        Bench { clock, store, ledger, cache, candles, venue, grid: Grid::of(at.interval) }
    }

    pub(crate) async fn restart(&mut self) {
        assert!(self.cache.sync(Duration::from_secs(60)).await);
        (self.cache, self.candles) = over(Arc::new(self.store.clone()), &self.clock, &self.ledger);
    }

    pub(crate) fn now(&self) -> u64 {
        self.clock.now().as_millis()
    }

    pub(crate) fn question(&self, range: Range) -> Arc<Question> {
        let path = if self.venue == Venue::CoinM { "/dapi/v1/klines" } else { "/api/v3/klines" };
        let request = Request { is_get: true, path, query: &range.query(self.grid.interval), ..Request::default() };
        match plan(&Identities::public(), self.venue, request) {
            Plan::Candles(question) => question,
            other => panic!("{range:?}: {other:?}"),
        }
    }

    pub(crate) async fn ask(&self, range: Range) -> Result<Slice, Error> {
        self.candles.answer(&self.question(range)).await
    }

    pub(crate) async fn same(&self, range: Range) -> Slice {
        let slice = self.ask(range).await.unwrap_or_else(|error| panic!("{range:?}: {error:?}"));
        let expected = self.truth(range);
        assert_eq!(text(&slice), expected, "{range:?}: {slice:?}; asked {:?}", self.ledger.asked());
        slice
    }

    /// What the exchange answers, without being asked.
    pub(crate) fn truth(&self, range: Range) -> String {
        self.ledger.answer(range, self.grid)
    }

    /// Time goes on to where the ledger has neither gaps nor irregular candles for a while.
    pub(crate) async fn go_far_from_gaps(&self) {
        let place = || self.ledger.place(self.now(), self.grid);
        while place() % 120 != 20 || (0..40).any(|n| (place() - 20 + n).is_multiple_of(97)) {
            self.go_to_next_and(0).await;
        }
    }

    /// Time goes on to a second of the minute that has begun.
    pub(crate) async fn go_to_second(&self, second: u64) {
        tokio::time::advance(Duration::from_millis((second * 1_000).saturating_sub(self.now() % MINUTE))).await;
    }

    /// Time goes on to this many ms after the next candle's begin.
    pub(crate) async fn go_to_next_and(&self, millis: u64) {
        let next = self.grid.opens(self.grid.number(self.now()) + 1);
        tokio::time::advance(Duration::from_millis(next - self.now() + millis)).await;
    }

    /// Time goes on to this many ms after a minute's begin.
    pub(crate) async fn go_to_minute_and(&self, millis: u64) {
        let into = self.now() % MINUTE;
        tokio::time::advance(Duration::from_millis(MINUTE - into + millis)).await;
    }
}

pub(crate) fn text(slice: &Slice) -> String {
    let runs: Vec<&str> = slice.runs.iter().map(|run| std::str::from_utf8(run).unwrap()).collect();
    format!("[{}]", runs.join(","))
}

pub(crate) fn newest(limit: usize) -> Range {
    Range { limit: Some(limit), ..Range::default() }
}

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
