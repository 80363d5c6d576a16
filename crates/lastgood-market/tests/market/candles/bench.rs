//! A candle store over an exchange whose every candle is known, at many times of a day.

use std::sync::Arc;
use std::time::Duration;

use lastgood::store::{MemoryStore, Store};
use lastgood::{Cache, Clock, Error, Policy, Region, Timestamp};
use lastgood_market::candles::{Candles, Question, Slice};
use lastgood_market::{Identities, Plan, Preset, RegionName, Request, Venue, plan};

use crate::ledger::{Grid, Ledger, MINUTE, Range};

pub(crate) struct Bench {
    pub(crate) clock: Clock,
    pub(super) store: MemoryStore,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) cache: Cache,
    pub(crate) candles: Candles,
    pub(super) venue: Venue,
    pub(super) grid: Grid<'static>,
}

pub(super) fn over(store: Arc<dyn Store>, clock: &Clock, ledger: &Arc<Ledger>) -> (Cache, Candles) {
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
