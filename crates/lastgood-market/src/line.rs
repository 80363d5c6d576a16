//! One question, the keys that may hold its answer, and which of them answers it.
//!
//! A ticker lies in the list of all symbols and under its own key, an order book in each deeper one. Whatever their
//! state, the newest answers: fresh, it is served; else the exchange is asked; if that fails, the newest is the last
//! good one. So the answer kept under one key stands in for another, and no question is answered with something older
//! than it was answered with before.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lastgood::{Answer, Composed, Error, Freshness, LoadError, Loaded, Outcome, Reason, Region, Tier};

use crate::Priority;
use crate::projection::{self, Index};
use crate::upstream_request::UpstreamRequest;

mod before;
mod doubts;
mod moment;
mod repeat;

pub use self::doubts::Doubts;
pub(crate) use self::moment::is_outdated;
use self::moment::{Back, Moment};
pub use self::repeat::Repeat;

/// The keys that may hold the answer to one question, and how it is loaded.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Every key that may hold it, [`Line::load`] and [`Line::direct`] among them.
    candidates: Vec<Arc<UpstreamRequest>>,
    /// The names of those that are not loaded first.
    siblings: Vec<String>,
    load: Arc<UpstreamRequest>,
    direct: Option<Arc<UpstreamRequest>>,
    starts_book: bool,
}

/// An answer, and the candidate that it is of: the question's part must still be cut out of it.
#[derive(Clone, Debug)]
pub struct Answered<'a> {
    /// The answer kept under the candidate's key, or just loaded.
    pub answer: Answer,
    /// The candidate.
    pub request: &'a Arc<UpstreamRequest>,
}

/// Where answers are kept and how they are loaded.
pub trait Keeper: Sync {
    /// The region of a request.
    fn region(&self, request: &UpstreamRequest) -> &Region;
    /// Calls `with` with the index of an answer's rows, which is worth keeping as long as the answer.
    fn with_index<R>(&self, answer: &Answer, with: impl FnOnce(Option<&Index>) -> R) -> R;
    /// Who asks the exchange.
    fn loader(&self) -> Arc<dyn Loader>;
}

/// Asks the exchange.
#[async_trait]
pub trait Loader: Send + Sync {
    /// Loads an answer, checked and dated.
    async fn load_request(&self, request: &UpstreamRequest, priority: Priority) -> Result<Loaded, Error>;

    /// Which kept answers the exchange contradicts.
    fn doubts(&self) -> &Doubts;
}

impl Line {
    /// A question with one key.
    pub fn only(request: impl Into<Arc<UpstreamRequest>>) -> Line {
        let load = request.into();
        Line { candidates: vec![Arc::clone(&load)], siblings: Vec::new(), load, direct: None, starts_book: false }
    }

    /// A question that is answered by loading `load`, or `direct` where `load` turns out not to hold the answer. `others`
    /// may hold it too.
    pub(crate) fn new(
        load: UpstreamRequest,
        direct: Option<UpstreamRequest>,
        others: impl IntoIterator<Item = UpstreamRequest>,
    ) -> Line {
        let (load, direct) = (Arc::new(load), direct.map(Arc::new));
        let mut candidates = vec![Arc::clone(&load)];
        candidates.extend(direct.clone());
        candidates.extend(others.into_iter().map(Arc::new));
        let before: Vec<_> = candidates.iter().filter_map(|request| before::request(request)).map(Arc::new).collect();
        candidates.extend(before);
        Line { candidates, siblings: Vec::new(), load, direct, starts_book: false }.with_names()
    }

    /// The same question, whose answer may start a local order book: only a load that begins after the question will do.
    pub(crate) fn starting_a_book(mut self, starts_book: bool) -> Line {
        self.starts_book = starts_book;
        self
    }

    /// The same question for a program that asks for little else: nothing is loaded that answers others as well.
    #[must_use]
    pub fn alone(mut self) -> Line {
        if let Some(direct) = self.direct.take() {
            self.load = direct;
        }
        self.with_names()
    }

    fn with_names(mut self) -> Line {
        let others = self.candidates.iter().filter(|request| request.key != self.load.key);
        self.siblings = others.map(|request| request.key.clone()).collect();
        self
    }

    /// Every key that may hold the answer.
    pub fn candidates(&self) -> &[Arc<UpstreamRequest>] {
        &self.candidates
    }

    /// The request to load where nothing fresh is kept.
    pub fn load(&self) -> &Arc<UpstreamRequest> {
        &self.load
    }

    /// The question as it was asked.
    pub fn question(&self) -> &Arc<UpstreamRequest> {
        self.direct.as_ref().unwrap_or(&self.load)
    }

    /// Whether the answer may start a local order book, so that one from before the question is of no use.
    #[cfg(test)]
    pub(crate) fn starts_book(&self) -> bool {
        self.starts_book
    }

    /// Answers the question: with the newest candidate while that is fresh, else by loading, else with the newest that
    /// is kept, which says so.
    ///
    /// # Errors
    ///
    /// The exchange's refusal of the question; any other only where no candidate holds an answer.
    pub async fn answer<K: Keeper>(&self, keeper: &K) -> Result<Answered<'_>, Error> {
        let region = keeper.region(&self.load);
        let stopwatch = region.composite().stopwatch();
        let answered = self.answer_uncounted(keeper, || false).await;
        match &answered {
            Ok(answered) => region.composite().count_timed(answered.answer.outcome(), stopwatch),
            Err(error) => region.composite().count_failed(error),
        }
        answered
    }

    /// As [`Line::answer`], for a caller that may have something to serve in place of an error: the answer is the
    /// caller's to count. Where a load is needed, `is_alone` says whether the question is best loaded by itself.
    ///
    /// # Errors
    ///
    /// As [`Line::answer`].
    pub(crate) async fn answer_uncounted<K: Keeper>(
        &self,
        keeper: &K,
        is_alone: impl FnOnce() -> bool,
    ) -> Result<Answered<'_>, Error> {
        let kept = if keeper.region(&self.load).is_enabled() { self.newest(keeper) } else { None };
        match kept {
            Some(kept) if !self.starts_book && kept.answer.freshness() == Freshness::Fresh => Ok(kept),
            // Boxed, so that a hit does not carry the room that a load needs.
            kept => Box::pin(self.answer_by_loading(keeper, kept.is_some(), is_alone())).await,
        }
    }

    /// The newest answer that is kept, for when the question cannot be waited for. Not counted.
    ///
    /// # Errors
    ///
    /// `error`, where nothing is kept.
    pub fn last_good<K: Keeper>(&self, keeper: &K, error: Error) -> Result<Answered<'_>, Error> {
        let region = keeper.region(&self.load);
        let kept = if region.is_enabled() { self.newest(keeper) } else { None };
        kept.map(|kept| kept.given_as(Outcome::LastGood(error.reason))).ok_or(error)
    }

    async fn answer_by_loading<K: Keeper>(
        &self,
        keeper: &K,
        has_kept: bool,
        is_alone: bool,
    ) -> Result<Answered<'_>, Error> {
        let loading = self.load_any(keeper, has_kept, is_alone);
        // A reader with something to serve does not wait longer for better; but no book can start from it.
        let loaded = match has_kept && !self.starts_book {
            false => loading.await,
            true => {
                let patience = keeper.region(&self.load).policy().soft_timeout;
                let mut loading = std::pin::pin!(loading);
                match tokio::time::timeout(patience, &mut loading).await {
                    Ok(loaded) => loaded,
                    Err(_) if self.newest(keeper).is_some() => {
                        Err(Error::new(Reason::Slow, "the exchange has not answered yet"))
                    }
                    // What there was to serve was removed meanwhile.
                    Err(_) => loading.await,
                }
            }
        };
        match loaded {
            Ok(loaded) if matches!(loaded.answer.outcome(), Outcome::Bypass(_)) => Ok(loaded),
            Ok(loaded) => Ok(self.or_newer(keeper, loaded)),
            Err(error) if error.reason == Reason::NotFound => Err(error),
            Err(error) => {
                let kept = self.newest(keeper).ok_or(error.clone())?;
                let outcome = match kept.answer.freshness() {
                    Freshness::Fresh if !self.starts_book => Outcome::Hit(Tier::Memory),
                    _ => Outcome::LastGood(error.reason),
                };
                Ok(kept.given_as(outcome))
            }
        }
    }

    /// What was loaded, or a candidate that is newer: another key may have been loaded meanwhile, a stream may be ahead
    /// of the exchange's REST answers, or the exchange behind itself.
    fn or_newer<'a, K: Keeper>(&'a self, keeper: &K, loaded: Answered<'a>) -> Answered<'a> {
        let Some(kept) = self.newest(keeper) else { return loaded };
        if Arc::ptr_eq(kept.request, loaded.request) && kept.answer.source_time() <= loaded.answer.source_time() {
            return loaded;
        }
        if !kept.moment(keeper).is_after(&loaded.moment(keeper)) {
            return loaded;
        }
        let began_later = kept.answer.source_time() >= loaded.answer.source_time();
        let outcome = match (kept.answer.freshness(), loaded.answer.outcome()) {
            (Freshness::Fresh, _) if began_later || !self.starts_book => Outcome::Hit(Tier::Memory),
            (Freshness::Stale, Outcome::Stale | Outcome::Hit(_)) => Outcome::Stale,
            (_, Outcome::LastGood(reason)) => Outcome::LastGood(reason),
            _ => Outcome::LastGood(Reason::Outdated),
        };
        kept.given_as(outcome)
    }

    /// Loads what serves others too; where that does not hold the answer, or is refused or garbled, the question itself. That one
    /// at once where it is asked alone.
    async fn load_any<K: Keeper>(&self, keeper: &K, has_kept: bool, is_alone: bool) -> Result<Answered<'_>, Error> {
        if let Some(direct) = self.direct.as_ref().filter(|_| is_alone) {
            return self.load_one(keeper, direct, has_kept).await;
        }
        let loaded = self.load_one(keeper, &self.load, has_kept).await;
        let lacks_it = loaded.as_ref().is_ok_and(|answered| !answered.holds(keeper));
        let reason = match &loaded {
            Ok(answered) => answered.answer.outcome().last_good_because(),
            Err(error) => Some(error.reason),
        };
        let is_unfit = lacks_it || matches!(reason, Some(Reason::NotFound | Reason::Malformed));
        match &self.direct {
            Some(direct) if is_unfit => self.load_one(keeper, direct, has_kept).await,
            None if lacks_it => Err(Error::new(Reason::Malformed, "the exchange's answer lacks what was asked for")),
            _ => loaded,
        }
    }

    async fn load_one<'a, K: Keeper>(
        &'a self,
        keeper: &K,
        request: &'a Arc<UpstreamRequest>,
        has_kept: bool,
    ) -> Result<Answered<'a>, Error> {
        let region = keeper.region(request);
        let load = newer(keeper.loader(), region.clone(), Arc::clone(request), self.candidates.clone(), has_kept);
        // With nothing in memory, as after a restart, the newest may lie in the store under any of the keys.
        let siblings: &[String] = if has_kept { &[] } else { &self.siblings };
        let answer = match self.starts_book {
            true => region.composite().reload(&request.key, siblings, load).await,
            false => region.composite().get_or_load(&request.key, siblings, load).await,
        };
        answer.map(|answer| Answered { answer, request })
    }

    /// The newest candidate in memory that holds the answer.
    fn newest<K: Keeper>(&self, keeper: &K) -> Option<Answered<'_>> {
        self.newest_of(keeper, |request| keeper.region(request).peek(&request.key))
    }

    /// The newest candidate that holds the answer, where `peek` says what memory has of each.
    fn newest_of<K: Keeper>(
        &self,
        keeper: &K,
        mut peek: impl FnMut(&UpstreamRequest) -> Option<Answer>,
    ) -> Option<Answered<'_>> {
        let mut newest: Option<Answered<'_>> = None;
        for request in &self.candidates {
            let Some(answer) = peek(request) else { continue };
            let candidate = Answered { answer, request };
            let is_newest =
                newest.as_ref().is_none_or(|other| candidate.moment(keeper).is_after(&other.moment(keeper)));
            if is_newest && candidate.holds(keeper) {
                newest = Some(candidate);
            }
        }
        newest
    }
}

impl Answered<'_> {
    fn holds<K: Keeper>(&self, keeper: &K) -> bool {
        let (body, cut) = (self.answer.body(), &self.request.projection);
        match cut.needs_index() {
            true => keeper.with_index(&self.answer, |index| projection::holds(body, cut, index)),
            false => projection::holds(body, cut, None),
        }
    }

    fn moment<K: Keeper>(&self, keeper: &K) -> Moment {
        match self.request.projection.needs_index() {
            true => keeper.with_index(&self.answer, |index| Moment::of(&self.answer, self.request, index)),
            false => Moment::of(&self.answer, self.request, None),
        }
    }

    fn given_as(mut self, outcome: Outcome) -> Self {
        self.answer = self.answer.given_as(outcome);
        self
    }
}

/// A load that gives nothing older than the answers kept under the keys of its `line`. A replica of the exchange that
/// lags is asked once more, because the next one may not.
fn newer(
    loader: Arc<dyn Loader>,
    region: Region,
    request: Arc<UpstreamRequest>,
    line: Vec<Arc<UpstreamRequest>>,
    has_kept: bool,
) -> impl FnOnce() -> std::pin::Pin<Box<dyn Future<Output = Result<Composed, LoadError>> + Send>> + Send + 'static {
    move || {
        Box::pin(async move {
            let priority = Priority::of_load(has_kept || region.peek(&request.key).is_some());
            let back = |loaded: &Loaded| Back::of(&region, &request, &line, &loaded.value.body);
            let doubted = [request.region().as_str(), ":", &request.key].concat();
            let mut loaded = loader.load_request(&request, priority).await?;
            if let Some(first) = back(&loaded) {
                loaded = loader.load_request(&request, priority).await?;
                if back(&loaded).is_some_and(|second| !second.is_believed(first, loader.doubts(), &doubted)) {
                    let why = "the exchange's answer is older than the one that is kept";
                    return Err(Error::new(Reason::Outdated, why).into());
                }
            }
            loader.doubts().end(&doubted);
            Ok(before::keeping(&region, &request, believed(region.peek(&request.key), loaded)))
        })
    }
}

/// A single answer about the past is believed for this long; one without rows for much less.
const SAID_ONCE: Duration = Duration::from_secs(120);
const EMPTY_ONCE: Duration = Duration::from_secs(10);
/// An answer that is repeated is believed this many times longer than before.
const LONGER_BY: u32 = 4;

/// An answer about the past does not change, but a single one may be wrong: it is fresh for a while only, and longer the
/// more often it comes back the same.
fn believed(kept: Option<Answer>, loaded: Loaded) -> Loaded {
    let body = &loaded.value.body;
    let is_empty = body.iter().filter(|byte| !byte.is_ascii_whitespace()).take(3).eq(b"[]");
    let first = if is_empty { EMPTY_ONCE } else { SAID_ONCE };
    let again = kept.filter(|kept| kept.body() == body);
    let at_most = again.as_ref().map(was_fresh_for).map_or(first, |before| (before * LONGER_BY).max(first));
    Loaded { fresh_for: loaded.fresh_for.map(|fresh_for| fresh_for.min(at_most)), ..loaded }
}

/// How long an answer was fresh, or is.
fn was_fresh_for(answer: &Answer) -> Duration {
    (answer.age() + answer.fresh_for()).saturating_sub(answer.stale_by())
}
