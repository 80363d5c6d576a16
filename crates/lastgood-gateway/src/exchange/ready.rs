//! Targets that memory has answered before, found as they are written.
//!
//! With a target is remembered what its answer was chosen from or put together of, and the head that it had. While memory holds
//! the same, all of it as good as it was, the answer is the same but for what its head says of the moment. Any other request
//! takes the slow path, and so does one of which memory holds something else by now; that answer is remembered in its turn.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use lastgood::{Outcome, Tier, Timestamp};
use lastgood_market::budget::Slot;
use lastgood_market::engine::Answered;
use lastgood_market::{Plan, UpstreamRequest, Venue};
use quick_cache::sync::Cache;

use super::{SBE, TIME_UNIT};
use crate::app::{App, Counts};
use crate::response::cached::Form;
use crate::response::coding::Coding;
use crate::response::payload::Reply;
use crate::response::recent::numeral;
use crate::response::with_headers;

mod head;
mod kept;

use self::head::{Head, Heads};
use self::kept::Kept;

/// The known targets.
pub(crate) struct Targets(Cache<Box<str>, Arc<Target>>);

/// How many are known; each takes some two kilobytes besides its plan.
const TARGETS: usize = 8_192;
/// Longer ones are not remembered.
const LONGEST: usize = 512;
/// How precisely it is known when a ticker was last asked for, in ms.
const NOTED_EVERY: u64 = 5_000;

/// A target: what it asks for, and how it was answered from memory last.
pub(crate) struct Target {
    pub(super) plan: Arc<Plan>,
    venue: Venue,
    /// What it would have cost without the cache.
    weight: u64,
    /// Where it is counted how often it is asked for.
    slot: Slot,
    /// When it was last noted that the ticker is asked for, in ms.
    noted_at: AtomicU64,
    ready: RwLock<Option<Ready>>,
}

/// How a target was answered from memory.
struct Ready {
    kept: Kept,
    /// Whether it is long enough to be packed for those who take that.
    is_packable: bool,
    heads: Heads,
}

/// What of a request bears on its answer, but for its target.
struct Wanted<'a> {
    coding: Coding,
    /// The request's headers, where they have a condition.
    condition: Option<&'a HeaderMap>,
}

impl Default for Targets {
    fn default() -> Targets {
        Targets(Cache::new(TARGETS))
    }
}

impl Targets {
    pub(crate) fn get(&self, target: &str) -> Option<Arc<Target>> {
        self.0.get(target)
    }

    /// The known facts of a target, from now on if not before; nothing where its answers are not the cache's.
    pub(super) fn remember(&self, app: &App, venue: Venue, target: &str, plan: &Arc<Plan>) -> Option<Arc<Target>> {
        let (key, weight) = match &**plan {
            Plan::Cached(line) => (line.load().key.as_str(), line.question().weight),
            Plan::Candles(question) => (question.series.name(), question.direct.weight),
            _ => return None,
        };
        if target.len() > LONGEST {
            return None;
        }
        let (weight, slot) = (u64::from(weight), app.engine.upstreams.frequency.slot(key));
        let (plan, noted_at, ready) = (Arc::clone(plan), AtomicU64::new(0), RwLock::new(None));
        let known = Arc::new(Target { plan, venue, weight, slot, noted_at, ready });
        self.0.insert(target.into(), Arc::clone(&known));
        Some(known)
    }
}

impl Wanted<'_> {
    /// What a request for a known target wants; `None` where it asks for something else than the target says.
    fn of<B>(request: &Request<B>) -> Option<Wanted<'_>> {
        let mut wanted = Wanted { coding: Coding::Identity, condition: None };
        for (name, value) in request.headers() {
            if name == ACCEPT_ENCODING {
                wanted.coding = wanted.coding.better(Coding::taken(value));
            } else if name == IF_NONE_MATCH {
                wanted.condition = Some(request.headers());
            } else if name == TIME_UNIT || name == SBE {
                return None;
            }
        }
        Some(wanted)
    }
}

impl Target {
    /// The answer of memory to a `GET` of this target, as it was given before and counted as by the slow path.
    pub(crate) fn repeat<B>(&self, app: &App, request: &Request<B>) -> Option<Reply> {
        let wanted = Wanted::of(request)?;
        let ready = self.ready.read().unwrap_or_else(PoisonError::into_inner);
        let ready = ready.as_ref()?;
        let coding = if ready.is_packable { wanted.coding } else { Coding::Identity };
        let given = ready.kept.give(app, &self.plan, coding, wanted.condition, &ready.heads)?;
        Counts::add(&app.counts.weight_asked, self.weight);
        app.engine.upstreams.frequency.count_at(self.slot);
        if let Plan::Cached(line) = &*self.plan {
            self.note(app, line.question(), given.label.given_at);
        }
        let used_weight = numeral(u64::from(app.used_weight(self.venue, given.label.given_at)));
        Some(with_headers(given.status, given.head.at(&given.label, used_weight), given.body))
    }

    /// A ticker that is asked for is worth a stream.
    fn note(&self, app: &App, question: &Arc<UpstreamRequest>, now: Timestamp) {
        let now = now.as_millis();
        if now.saturating_sub(self.noted_at.load(Ordering::Relaxed)) >= NOTED_EVERY {
            self.noted_at.store(now, Ordering::Relaxed);
            app.engine.streams.note(question);
        }
    }

    /// Remembers how the target was answered, if memory answered it.
    pub(super) fn learn(&self, app: &App, answered: &Answered<'_>, coding: Coding, reply: &Reply) {
        let memory = Outcome::Hit(Tier::Memory);
        let kept = match (&*self.plan, answered) {
            (Plan::Cached(line), Answered::Entry(answered)) if answered.answer.outcome() == memory => {
                Kept::of_entry(app, line, answered)
            }
            (Plan::Candles(question), Answered::Candles(slice)) if slice.outcome == memory => {
                Kept::of_candles(app, question, slice)
            }
            _ => return,
        };
        self.keep(kept, coding, reply);
    }

    fn keep(&self, kept: Option<(Kept, bool)>, coding: Coding, reply: &Reply) {
        let is_known = match reply.status() {
            StatusCode::OK => false,
            StatusCode::NOT_MODIFIED => true,
            _ => return,
        };
        let (Some((kept, is_packable)), Some(head)) = (kept, Head::of(reply.headers())) else { return };
        let coding = if is_packable { coding } else { Coding::Identity };
        let sent = reply.headers().get(CONTENT_ENCODING).map(HeaderValue::as_bytes);
        if !is_known && sent != coding.name().map(str::as_bytes) {
            return;
        }
        let mut ready = self.ready.write().unwrap_or_else(PoisonError::into_inner);
        // The heads of the other forms, if they are of the same answer.
        let before = ready.take().filter(|before| before.kept.is_same(&kept));
        let mut heads = before.map(|before| before.heads).unwrap_or_default();
        heads.set(Form { coding, is_known }, head);
        *ready = Some(Ready { kept, is_packable, heads });
    }
}
