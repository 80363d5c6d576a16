//! The candle store: any range, limit and interval of a series is a slice of the known candles, and the exchange is
//! asked only for the missing ones.
//!
//! Of a series three kinds of values lie in the tiers, each by itself sound:
//!
//! * **blocks**, the closed candles of a stretch of time as the exchange wrote them, with the spans that it answered
//!   for: which candles there are in them, or that there are none. Outside the spans nothing is known.
//! * **voids**, long stretches without a candle, such as that before the first.
//! * the **tail**, every candle from a moment on: the forming one, and the one before as long as it may be corrected.
//!
//! A candle is settled once a newer one exists and its grace has passed. A single answer is believed for a
//! while only; an independent later answer confirms it (see [`statement`]). Each load asks for one candle that is kept
//! already: if that comes back different, twice, the exchange has changed its history, and nothing that is kept of the
//! series is believed any longer.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use lastgood::{
    Answer, Clock, Composed, Error, Filled, Freshness, KeyedMutex, Loaded, Outcome, Persist, Reason, Region, Tier,
};

use crate::budget::Priority;

mod bars;
mod block;
mod exchange;
mod explain;
mod feed;
mod keep;
mod lagging;
mod last_good;
mod load;
mod passed;
mod repeat;
mod resolve;
mod rows;
mod series;
mod slice;
mod spans;
mod statement;
mod view;
mod voided;

/// Checks what must hold of whatever is taken for an exchange's candles.
#[cfg(feature = "testing")]
pub(crate) fn hold_rows(body: &Bytes) {
    rows::hold(body);
}

pub use self::bars::{Bar, Bars};
use self::block::{Block, Tail};
pub use self::exchange::Exchange;
pub use self::explain::{KnownSeries, KnownSpan, KnownSpans, series_prefix};
use self::feed::InUse;
pub use self::feed::{Fed, StreamedCandle};
use self::keep::{Asked, Draft, RECALL, TAIL, VOIDS, kept_block};
use self::lagging::Lagging;
use self::load::LEAST;
use self::passed::Passed;
pub use self::repeat::Repeat;
use self::resolve::{Resolution, resolve};
pub use self::series::{Question, Series};
use self::slice::For;
pub use self::slice::Slice;
use self::spans::Belief;
use self::view::View;
pub use self::voided::{Voided, VoidedSeries};

/// The candles of every series. Clones share everything.
#[derive(Clone)]
pub struct Candles {
    region: Region,
    has_store: bool,
    clock: Clock,
    exchange: Arc<dyn Exchange>,
    /// Series that are being loaded.
    loading: KeyedMutex,
    in_use: InUse,
    voided: Arc<Voided>,
    lagging: Arc<Lagging>,
    passed: Arc<Passed>,
}

/// The tail is written to the store at most once in so long: a restart or another node loads the rest of it again.
const STORED_EVERY: Duration = Duration::from_secs(10);
/// The flight name that loads of candles missing before the end share.
const FILL: &str = "fill";
/// How often an answer may turn out to lack something more.
const ATTEMPTS: usize = 8;
/// How often a load that another asked for may turn out not to have brought the wanted candles.
const WAITS: usize = 100;

impl Candles {
    /// Candles in `region`, of what `exchange` answers. `has_store` tells whether the region's cache has a store.
    pub fn new(region: Region, has_store: bool, clock: Clock, exchange: Arc<dyn Exchange>) -> Self {
        Candles {
            region,
            has_store,
            clock,
            exchange,
            loading: KeyedMutex::default(),
            in_use: InUse::default(),
            voided: Arc::default(),
            lagging: Arc::default(),
            passed: Arc::default(),
        }
    }

    /// The rows that a question asks for.
    ///
    /// # Errors
    ///
    /// The exchange's, where nothing that is known answers; [`Reason::Abandoned`] when the answer cannot be put together
    /// from settled candles and an end, so that [`Question::direct`] must be asked.
    pub async fn answer(&self, question: &Arc<Question>) -> Result<Slice, Error> {
        self.in_use.note(&question.series, self.clock.now());
        let stopwatch = self.region.composite().stopwatch();
        let found = self.find(question, For::Reader).await;
        match &found {
            Ok(slice) => self.region.composite().count_timed(slice.outcome, stopwatch),
            // Counted by the direct question that follows.
            Err(error) if error.reason == Reason::Abandoned => self.note_passed(question),
            Err(error) => self.region.composite().count_failed(error),
        }
        found
    }

    /// Loads what a question lacks before anybody asks it, as [`Priority::Warm`], and says whether memory lacked
    /// anything. It counts neither as a read nor as use.
    ///
    /// # Errors
    ///
    /// As [`Candles::answer`]; [`Reason::Yielded`] where the exchange's budget is for others now.
    pub async fn warm(&self, question: &Arc<Question>) -> Result<bool, Error> {
        if self.is_warm(question) {
            return Ok(false);
        }
        self.find(question, For::Later).await.map(|_| true)
    }

    /// Whether memory holds all that a question asks for, its end fresh.
    pub fn is_warm(&self, question: &Question) -> bool {
        let tail = self.fresh_tail(&question.series);
        let end = tail.as_ref().and_then(Tail::of);
        let view = self.view(&question.series, Belief::At(self.said_at()));
        matches!(resolve(question, &view, end.as_deref(), self.now()), Resolution::Whole { .. })
    }

    async fn find(&self, question: &Arc<Question>, whom: For) -> Result<Slice, Error> {
        let found = self.put_together(question, whom).await;
        match found {
            Err(error) if whom == For::Reader && is_of_the_exchange(error.reason) => {
                Box::pin(self.last_good(question, error)).await
            }
            found => found,
        }
    }

    async fn put_together(&self, question: &Arc<Question>, whom: For) -> Result<Slice, Error> {
        let series = &question.series;
        let (mut tail, mut outcome, mut stuck_on) = (None, None, None);
        let (mut attempts, mut waits) = (0, 0);
        while attempts < ATTEMPTS && waits < WAITS {
            attempts += 1;
            tail = tail.or_else(|| self.fresh_tail(series));
            let known = tail.clone().or_else(|| self.region.peek(&series.key(TAIL)));
            let end = known.as_ref().and_then(Tail::of);
            let view = self.view(series, Belief::At(self.said_at()));
            // Loads are boxed, so that nothing else that is asked carries the room that they need.
            match resolve(question, &view, end.as_deref(), self.now()) {
                Resolution::Whole { runs, ends_in_tail } if !ends_in_tail || tail.is_some() => {
                    return Ok(self.slice(runs, view.age.get(), outcome, tail.filter(|_| ends_in_tail)));
                }
                _ if self.is_known_to_be_empty(question) => break,
                Resolution::NeedsTail if tail.is_some() => break,
                Resolution::NeedsTail | Resolution::Whole { .. } => {
                    tail = Some(Box::pin(self.load_later_tail(question, whom)).await?)
                }
                // With an end that has moved on, fewer or more candles may be missing before it.
                Resolution::Missing(_) if tail.is_none() && question.reaches(end.as_deref()) => {
                    tail = Some(Box::pin(self.load_later_tail(question, whom)).await?);
                }
                Resolution::Missing(hole) if stuck_on == Some((hole, end.is_some())) => match tail {
                    Some(_) => break,
                    // With the end of the series known, more can be said of the candles before it.
                    None => (tail, stuck_on) = (Some(Box::pin(self.load_later_tail(question, whom)).await?), None),
                },
                Resolution::Missing(hole) => {
                    let knows_end = end.is_some();
                    let filled = Box::pin(self.fill_in_time(question, end, whom)).await?;
                    // The load may have come to the end of the series, and know it from earlier on.
                    tail = self.fresh_tail(series).or(tail);
                    stuck_on = (filled != Outcome::Joined).then_some((hole, knows_end));
                    if filled == Outcome::Joined {
                        (attempts, waits) = (attempts - 1, waits + 1);
                    }
                    // The outcome of the most expensive load is reported.
                    outcome = outcome.filter(|outcome| *outcome == Outcome::Miss).or(Some(filled));
                }
            }
        }
        Err(Error::new(Reason::Abandoned, "the candles asked for cannot be distinguished from those still forming"))
    }

    fn view<'a>(&'a self, series: &'a Series, belief: Belief) -> View<'a> {
        View { candles: self, series, belief, age: Cell::default() }
    }

    /// Forgets a series in every tier.
    pub async fn invalidate(&self, series: &Series) {
        self.region.remove_prefix(&series.prefix).await;
    }

    /// Which series lost their history because the exchange had changed it.
    pub fn voided(&self) -> &Voided {
        &self.voided
    }

    /// The end of a series, if memory holds it fresh.
    fn fresh_tail(&self, series: &Series) -> Option<Answer> {
        let held = self.region.peek(&series.key(TAIL)).filter(|tail| tail.freshness() == Freshness::Fresh);
        held.filter(|tail| !self.is_passed(series, tail))
    }

    fn slice(&self, runs: Vec<Bytes>, age: Duration, filled: Option<Outcome>, tail: Option<Answer>) -> Slice {
        let of_tail = tail.as_ref().map(Answer::outcome);
        let outcome = match (of_tail, filled) {
            (Some(last_good @ Outcome::LastGood(_)), _) => last_good,
            (Some(missed @ (Outcome::Miss | Outcome::Joined)), _) => missed,
            (_, Some(filled)) => filled,
            (Some(of_tail), None) => of_tail,
            (None, None) => Outcome::Hit(Tier::Memory),
        };
        Slice { runs, outcome, given_at: self.clock.now(), age, tail, unverified: self.region.is_unverified() }
    }

    /// The end of a series, loaded unless another load brings it.
    async fn load_tail(&self, question: &Arc<Question>, whom: For) -> Result<Answer, Error> {
        let (candles, question) = (self.clone(), Arc::clone(question));
        let key = question.series.key(TAIL);
        let siblings = self.lacking(&question);
        let load = move || async move {
            let series = &question.series;
            let guard = candles.loading.lock(&series.prefix).await;
            let kept = candles.region.peek(&series.key(TAIL));
            let earlier = kept.as_ref().and_then(Tail::of);
            let wanted = question.wants_of_the_end(candles.now());
            let mut draft = Draft::new(&candles, series, whom.priority(earlier.is_some()));
            draft.absent = candles.region.composite().absent(&series.key(TAIL));
            draft.has_end = earlier.is_some();
            draft.was_halted = kept.as_ref().zip(earlier.as_ref()).is_some_and(|(kept, earlier)| {
                let loaded_at = candles.now().saturating_sub(u64::try_from(kept.age().as_millis()).unwrap_or(u64::MAX));
                earlier.rows.last_close().is_some_and(|close| series.is_halted(close, loaded_at))
            });
            let (tail, as_of, siblings) = draft.tail(wanted, earlier.as_deref()).await?;
            // It may have waited for its turn, and for the store, while another process loaded at once.
            let loaded = Loaded { as_of: Some(as_of), ..candles.loaded(series, &tail) };
            let own = candles.seen_again(series, loaded, &tail, kept.as_ref().zip(earlier.as_deref()));
            Ok(Composed { own, siblings, guard })
        };
        if whom == For::Reader {
            return self.region.composite().get_or_load(&key, &siblings, load).await;
        }
        self.region.composite().refresh(&key, Duration::ZERO, load).await?;
        self.region.peek(&key).ok_or_else(|| Error::new(Reason::Abandoned, "what was loaded was invalidated"))
    }

    /// What memory lacks of the blocks that an answer takes that reaches the end of the series: the store is asked for
    /// them together with that end.
    fn lacking(&self, question: &Question) -> Vec<String> {
        let (series, now) = (&question.series, self.now());
        if !self.has_store || question.limit == 1 {
            return Vec::new();
        }
        let least = now.saturating_sub(LEAST as u64 * series.length);
        let (first, newest) = (series.block_at(question.oldest_wanted(now).min(least)), series.block_at(now));
        let blocks = first.max(newest.saturating_sub(RECALL))..=newest;
        let lacks = |key: &String| self.region.peek(key).is_none();
        let mut keys: Vec<String> = blocks.map(|index| series.block_key(index)).filter(lacks).collect();
        keys.extend((!keys.is_empty()).then(|| series.key(VOIDS)));
        keys
    }

    /// As [`Candles::fill`], but no longer than a reader is to wait where something is kept.
    async fn fill_in_time(
        &self,
        question: &Arc<Question>,
        tail: Option<Arc<Tail>>,
        whom: For,
    ) -> Result<Outcome, Error> {
        let has_kept = self.has_kept(question);
        let filled = self.fill(question, tail, whom.priority(has_kept));
        if whom != For::Reader || !has_kept {
            return filled.await;
        }
        let patience = self.region.policy().soft_timeout;
        let mut filled = std::pin::pin!(filled);
        match tokio::time::timeout(patience, &mut filled).await {
            Ok(filled) => filled,
            Err(_) if self.has_kept(question) => {
                Err(Error::new(Reason::TimedOut, format!("no answer within {} ms", patience.as_millis())))
            }
            // What was kept was removed meanwhile.
            Err(_) => filled.await,
        }
    }

    /// Loads what a question lacks before the end of its series, from the store or the exchange, and says from which
    /// it came or whether another load brought it.
    async fn fill(
        &self,
        question: &Arc<Question>,
        tail: Option<Arc<Tail>>,
        priority: Priority,
    ) -> Result<Outcome, Error> {
        let (candles, question) = (self.clone(), Arc::clone(question));
        let asked = Arc::new(Asked::default());
        let asks = Arc::clone(&asked);
        let key = question.series.key(FILL);
        let load = move || async move {
            let guard = candles.loading.lock(&question.series.prefix).await;
            let draft = Draft::new(&candles, &question.series, priority);
            let siblings = draft.fill(&question, tail.as_deref(), &asks).await?;
            Ok(Filled { siblings, guard })
        };
        let is_ours = self.region.composite().fill(&key, load).await?;
        if asked.in_vain.load(Ordering::Relaxed) {
            return Err(Error::new(Reason::Abandoned, "the exchange gives nothing for that time"));
        }
        Ok(match is_ours {
            true if asked.the_exchange.load(Ordering::Relaxed) => Outcome::Miss,
            true => Outcome::Hit(Tier::Store),
            false => Outcome::Joined,
        })
    }

    /// The end of a series as the tiers keep it.
    fn loaded(&self, series: &Series, tail: &Tail) -> Loaded {
        let close = tail.rows.last_close();
        let forming = self.exchange.forming_fresh_for(&series.interval);
        let fresh_for = Some(series.fresh_for(close, self.now(), forming));
        Loaded { fresh_for, persist: Persist::Every(STORED_EVERY), ..Loaded::from(tail.write()) }
    }

    /// The end of a series, which is looked at less often where nothing is traded and it came back the same.
    fn seen_again(&self, series: &Series, loaded: Loaded, tail: &Tail, kept: Option<(&Answer, &Tail)>) -> Loaded {
        let now = self.now();
        let halted = tail.rows.last_close().filter(|close| series.is_halted(*close, now));
        let again = kept.filter(|(_, earlier)| earlier.rows.last() == tail.rows.last());
        let (Some(close), Some((kept, _))) = (halted, again) else { return loaded };
        let before = (kept.age() + kept.fresh_for()).saturating_sub(kept.stale_by());
        let forming = self.exchange.forming_fresh_for(&series.interval);
        loaded.fresh_for(series.halted_for(close, now, before, forming))
    }

    /// A block that memory holds.
    fn held(&self, key: &str) -> Option<Arc<Block>> {
        self.region.peek(key).as_ref().and_then(kept_block)
    }

    /// Now, by our own clock: the age of an answer is counted by it, because it does not jump when the exchange's is
    /// learnt.
    fn said_at(&self) -> u64 {
        self.clock.now().as_millis()
    }

    /// Now, by the clock that candles open and close by.
    fn now(&self) -> u64 {
        self.clock.now().as_millis().saturating_add_signed(self.exchange.clock_skew())
    }
}

/// Whether a load failed for want of a good answer of the exchange, not because of the question.
fn is_of_the_exchange(reason: Reason) -> bool {
    !matches!(reason, Reason::NotFound | Reason::Abandoned | Reason::Yielded)
}

impl fmt::Debug for Candles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Candles").field("region", &self.region).finish_non_exhaustive()
    }
}
