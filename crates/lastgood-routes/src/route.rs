//! A declared route: what it asks whom, and how it is read through the cache.

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use lastgood::condition::Condition;
use lastgood::{Answer, Clock, Error, Freshness, Outcome, Reason, Region, Timestamp};

use crate::answer::RouteAnswer;
use crate::arguments::Arguments;
use crate::source::Source;
use crate::spec::RouteSpec;

/// A route: what may be asked, and whom.
pub struct Route {
    pub(crate) spec: RouteSpec,
    pub(crate) region: Region,
    pub(crate) links: Vec<Link>,
    /// What distinguishes these sources from others: what was loaded before they were changed is not what they say.
    pub(crate) definition: String,
    pub(crate) clock: Clock,
    last_failure: Mutex<Option<LastFailure>>,
}

/// When a source of a route gave no answer last, and why.
#[derive(Clone, Debug)]
pub struct LastFailure {
    /// When.
    pub at: Timestamp,
    /// The name of the database, bucket or API, as in [`Route::sources`].
    pub source: String,
    /// Why; names no secret.
    pub why: Error,
}

impl Route {
    pub(crate) fn new(spec: RouteSpec, region: Region, links: Vec<Link>, definition: String, clock: Clock) -> Route {
        Route { spec, region, links, definition, clock, last_failure: Mutex::default() }
    }

    /// The last time that one of its sources gave no answer; `None` if that never happened since the start. That there is
    /// no such thing is an answer.
    pub fn last_failure(&self) -> Option<LastFailure> {
        self.last_failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes that a source gave no answer.
    pub(crate) fn failed(&self, link: &Link, why: &Error) {
        let failure = LastFailure { at: self.clock.now(), source: link.condition.name().to_owned(), why: why.clone() };
        *self.last_failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
    }

    /// What it was declared as.
    pub fn spec(&self) -> &RouteSpec {
        &self.spec
    }

    /// The names of its databases, buckets and APIs, as `/health` has them, in the order that they are asked.
    pub fn sources(&self) -> impl Iterator<Item = &str> {
        self.links.iter().map(|link| link.condition.name())
    }

    /// The answer, from the cache or the sources.
    ///
    /// # Errors
    ///
    /// When no source answers, and there is no last good answer.
    pub async fn answer(self: &Arc<Self>, arguments: &Arguments) -> Result<RouteAnswer, Error> {
        let key = self.key(arguments);
        let answer = self.read_own(&key, arguments).await?;
        let is_of_others = answer.meta().definition.as_ref().is_some_and(|by| *by != self.definition);
        match answer.answer().outcome() {
            // The declaration has changed since, and these sources may say something else.
            Outcome::Hit(_) | Outcome::Stale if is_of_others => {
                self.region.expire(&key).await;
                self.read_own(&key, arguments).await
            }
            _ => Ok(answer),
        }
    }

    /// What `take` makes of the answer that memory holds fresh under a key of this route, as [`Route::answer`] would give it and
    /// count it. `None`, and nothing counted, where that has to look further, or where `take` makes nothing of it.
    pub fn hit<T>(&self, key: &str, take: impl FnOnce(&RouteAnswer) -> Option<T>) -> Option<T> {
        let composite = self.region.composite();
        let stopwatch = composite.stopwatch();
        let held = self.region.peek(key).filter(|held| held.freshness() == Freshness::Fresh);
        let answer = RouteAnswer::of(held.filter(|_| self.region.is_enabled())?);
        let is_of_others = answer.meta().definition.as_ref().is_some_and(|by| *by != self.definition);
        let taken = if is_of_others || !self.is_own(&answer) { None } else { take(&answer) };
        if taken.is_some() {
            composite.count_timed(answer.answer().outcome(), stopwatch);
        }
        taken
    }

    /// As [`Route::read`], but never what another database, bucket or API answered: not even as the last good answer.
    async fn read_own(self: &Arc<Self>, key: &str, arguments: &Arguments) -> Result<RouteAnswer, Error> {
        // A gateway that shares the store may write its own in between.
        for _ in 0..3 {
            let answer = RouteAnswer::of(self.read(key, arguments).await?);
            if self.is_own(&answer) {
                return Ok(answer);
            }
            self.region.remove(key).await;
        }
        let message =
            "another gateway keeps the answers of another source under this key; give it a namespace of its own";
        Err(Error::new(Reason::Abandoned, message))
    }

    /// Whether one of this route's sources answered it.
    fn is_own(&self, answer: &RouteAnswer) -> bool {
        let meta = answer.meta();
        let is_own = |place: &String| self.links.iter().any(|link| link.is_at(place));
        meta.definition.is_none() || meta.place.as_ref().is_some_and(is_own)
    }

    /// The last good answer in memory, for a caller that cannot wait.
    ///
    /// # Errors
    ///
    /// `error`, where there is none.
    pub fn last_good(&self, arguments: &Arguments, error: Error) -> Result<RouteAnswer, Error> {
        let kept = self.region.peek(&self.key(arguments)).filter(|_| self.region.is_enabled());
        let kept = kept.filter(|kept| self.is_own(&RouteAnswer::of(kept.clone())));
        let outcome = Outcome::LastGood(error.reason);
        match &kept {
            Some(_) => self.region.composite().count(outcome),
            None => self.region.composite().count_failed(&error),
        }
        kept.map(|kept| RouteAnswer::of(kept.given_as(outcome))).ok_or(error)
    }

    async fn read(self: &Arc<Self>, key: &str, arguments: &Arguments) -> Result<Answer, Error> {
        let (route, name, arguments) = (Arc::clone(self), key.to_owned(), arguments.clone());
        self.region.get_or_load(key, move || async move { Ok(route.load(&name, &arguments).await?) }).await
    }
}

/// A source of a route.
pub(crate) struct Link {
    asked: RwLock<Asked>,
    /// How the database, bucket or API answers, for all routes over it together.
    pub(crate) condition: Arc<Condition>,
    /// Whether the next source is asked when this one says that there is no such thing.
    pub(crate) next_on_missing: bool,
}

impl Link {
    pub(crate) fn new(asked: Asked, condition: Arc<Condition>, next_on_missing: bool) -> Link {
        Link { asked: RwLock::new(asked), condition, next_on_missing }
    }

    /// Whom it asks now.
    pub(crate) fn asked(&self) -> Asked {
        self.asked.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether it asks this database, bucket or API now.
    fn is_at(&self, place: &str) -> bool {
        *self.asked.read().unwrap_or_else(PoisonError::into_inner).place == *place
    }

    /// From now on it asks by another connection; a request under way ends by the one that it has.
    pub(crate) fn set_asked(&self, asked: Asked) {
        *self.asked.write().unwrap_or_else(PoisonError::into_inner) = asked;
    }
}

/// A question to a source, with the connection by which it is asked.
#[derive(Clone)]
pub(crate) struct Asked {
    pub(crate) source: Arc<dyn Source>,
    /// Which database, bucket or API it is.
    pub(crate) place: Arc<str>,
}
