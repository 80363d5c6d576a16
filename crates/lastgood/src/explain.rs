//! What the cache knows of a key, for those who wonder.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::entry::{Entry, Freshness};
use crate::error::Reason;
use crate::listing::Tiers;
use crate::memory::Key;
use crate::outcome::{Outcome, Tier};
use crate::region::{Answer, Region};
use crate::store::StoreError;

/// What the cache knows of a key.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The answer that would be judged, if there is one: the younger of the two tiers'. Its outcome names the tier.
    pub answer: Option<Answer>,
    /// How good it is now; [`Freshness::Gone`] without one.
    pub freshness: Freshness,
    /// The tiers that hold it.
    pub tiers: Tiers,
    /// Why the store does not say what it holds, if it does not.
    pub store_error: Option<StoreError>,
    /// Until when it is served at once while one load refreshes it behind.
    pub stale_until: Option<Timestamp>,
    /// Until when it may stand in for a failing source; [`Timestamp::FOREVER`] as long as there is room.
    pub kept_until: Option<Timestamp>,
    /// What the last load ended in, as long as it is not repeated.
    pub backoff: Option<Backoff>,
    /// Whether a load is under way.
    pub is_loading: bool,
}

/// A load that failed or found nothing, and is not repeated yet.
#[derive(Clone, Debug)]
pub struct Backoff {
    /// Why.
    pub reason: Reason,
    /// For a person.
    pub message: String,
    /// How many such loads there were in a row.
    pub in_a_row: u32,
    /// When the next read may try again.
    pub retry_in: Duration,
}

impl Region {
    /// What the cache knows of `name`. Asks the store once, within its budget; counts nothing and changes nothing.
    pub async fn explain(&self, name: &str) -> Explanation {
        let (stored, store_error) = match self.ask_store(name).await {
            Ok(stored) => (stored.entry.map(Arc::new), None),
            Err(why) => (None, Some(why)),
        };
        let at = self.cache.clock.now();
        let is_there = |entry: &Arc<Entry>| entry.freshness(at) != Freshness::Gone;
        let held = self.held(name).filter(is_there);
        let tiers = Tiers { memory: held.is_some(), store: stored.is_some() };
        let is_younger =
            |stored: &Arc<Entry>| held.as_ref().is_none_or(|held| stored.fetch_started_at > held.fetch_started_at);
        let answer = match stored.filter(is_younger) {
            Some(entry) => Some(self.answer(entry, Outcome::Hit(Tier::Store), at)),
            None => held.map(|entry| self.answer(entry, Outcome::Hit(Tier::Memory), at)),
        };
        let backoff = self.backoff(name, at).map(|backoff| Backoff {
            reason: backoff.error.reason,
            message: backoff.error.message.clone(),
            in_a_row: backoff.in_a_row,
            retry_in: backoff.until.since(at),
        });
        Explanation {
            freshness: answer.as_ref().map_or(Freshness::Gone, Answer::freshness),
            tiers,
            store_error,
            stale_until: answer.as_ref().map(|answer| answer.entry.times.stale_until),
            kept_until: answer.as_ref().map(|answer| answer.entry.times.keep_until),
            backoff,
            is_loading: self.cache.flights.has(&Key::new(self.shared.id, name)),
            answer,
        }
    }
}
