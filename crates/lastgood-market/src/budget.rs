//! What may still be asked of a venue: its weight a minute, its pauses and its bans.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lastgood::{Clock, Error, Reason, Timestamp};
use serde::Deserialize;

use crate::venue::Venue;

/// The budget of one venue. Limits and spending are learnt from the exchange's answers.
#[derive(Debug)]
pub struct Budget {
    venue: Venue,
    clock: Clock,
    state: Mutex<State>,
    /// The minute and the weight used in it, for those who only read: every answer states it.
    used: AtomicU64,
}

#[derive(Debug)]
struct State {
    limit: u32,
    /// The minute that `used` is of; the exchange counts by whole minutes of its clock.
    minute: u64,
    used: u32,
    stop: Option<Stop>,
    spent: u64,
    calls: u64,
}

/// The exchange does not want to be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    /// [`Reason::RateLimited`] or [`Reason::Banned`].
    pub reason: Reason,
    /// Until when.
    pub until: Timestamp,
}

/// How a budget stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Weight that the exchange allows a minute.
    pub limit: u32,
    /// Weight used in the current minute, by the exchange's last word and what was asked since.
    pub used: u32,
    /// Weight spent since the start.
    pub spent: u64,
    /// Cacheable requests sent since the start.
    pub calls: u64,
    /// Whether the exchange wants to be left alone.
    pub stop: Option<Stop>,
}

/// The part of the limit that is left to others on the address and to signed calls, which nothing here holds back.
const RESERVE: f64 = 0.05;

impl Budget {
    /// A budget with the venue's usual limit.
    pub fn new(venue: Venue, clock: Clock) -> Self {
        let limit = venue.default_weight_limit();
        let state = State { limit, minute: 0, used: 0, stop: None, spent: 0, calls: 0 };
        Budget { venue, clock, state: Mutex::new(state), used: AtomicU64::new(0) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let minute = self.clock.now().as_millis() / 60_000;
        if state.minute != minute {
            (state.minute, state.used) = (minute, 0);
        }
        if state.stop.is_some_and(|stop| stop.until <= self.clock.now()) {
            state.stop = None;
        }
        state
    }

    /// Spends `weight` on one cacheable request, or says how long not to.
    ///
    /// # Errors
    ///
    /// While the exchange wants to be left alone, or when the minute's weight is used up.
    pub fn spend(&self, weight: u32) -> Result<(), Error> {
        let now = self.clock.now();
        let mut state = self.state();
        if let Some(stop) = state.stop {
            let message = format!("the {} exchange is left alone for now", self.venue);
            return Err(Error::new(stop.reason, message).with_retry_after(stop.until.since(now)));
        }
        let ceiling = (f64::from(state.limit) * (1.0 - RESERVE)) as u32;
        if state.used.saturating_add(weight) > ceiling {
            let left = Duration::from_millis(60_000 - now.as_millis() % 60_000);
            let message = format!("this minute's request weight for {} is used up", self.venue);
            return Err(Error::new(Reason::RateLimited, message).with_retry_after(left));
        }
        self.set_used(&mut state, |used| used.saturating_add(weight));
        state.spent += u64::from(weight);
        state.calls += 1;
        Ok(())
    }

    /// Takes the exchange's word for the weight used in this minute.
    pub fn learn_used(&self, used: u32) {
        self.set_used(&mut self.state(), |_| used);
    }

    fn set_used(&self, state: &mut State, change: impl FnOnce(u32) -> u32) {
        state.used = change(state.used);
        self.used.store(state.minute << 32 | u64::from(state.used), Ordering::Relaxed);
    }

    /// The weight used in the minute of `now`, without waiting for anybody.
    pub fn used(&self, now: Timestamp) -> u32 {
        let used = self.used.load(Ordering::Relaxed);
        if used >> 32 == now.as_millis() / 60_000 { used as u32 } else { 0 }
    }

    /// Stops cacheable requests for `wait`; a longer stop stands.
    pub fn stop(&self, reason: Reason, wait: Duration) {
        let until = self.clock.now().plus(wait);
        let mut state = self.state();
        if state.stop.is_none_or(|stop| stop.until < until) {
            tracing::warn!(venue = %self.venue, %reason, seconds = wait.as_secs(), "the exchange asks to be left alone");
            state.stop = Some(Stop { reason, until });
        }
    }

    /// Takes the weight limit from the `rateLimits` of an exchangeInfo; a body without one changes nothing.
    pub fn learn_limit(&self, exchange_info: &[u8]) {
        #[derive(Deserialize)]
        struct Info {
            #[serde(rename = "rateLimits")]
            limits: Vec<Limit>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Limit {
            rate_limit_type: String,
            interval: String,
            interval_num: u32,
            limit: u32,
        }
        let Ok(info) = serde_json::from_slice::<Info>(exchange_info) else { return };
        let a_minute = |limit: &&Limit| {
            limit.rate_limit_type == "REQUEST_WEIGHT" && limit.interval == "MINUTE" && limit.interval_num == 1
        };
        if let Some(stated) = info.limits.iter().find(a_minute) {
            self.state().limit = stated.limit;
        }
    }

    /// The time that the budget goes by.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// How the budget stands.
    pub fn standing(&self) -> Standing {
        let state = self.state();
        Standing { limit: state.limit, used: state.used, spent: state.spent, calls: state.calls, stop: state.stop }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget() -> Budget {
        Budget::new(Venue::Spot, Clock::paused_with_tokio())
    }

    async fn to_the_next_minute(budget: &Budget) {
        let left = 60_000 - budget.clock.now().as_millis() % 60_000;
        tokio::time::advance(Duration::from_millis(left)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_minutes_weight_is_not_exceeded_and_comes_back() {
        let budget = budget();
        to_the_next_minute(&budget).await;
        budget.learn_used(5_690);
        assert!(budget.spend(10).is_ok());
        let refused = budget.spend(10).unwrap_err();
        assert_eq!((refused.reason, refused.retry_after), (Reason::RateLimited, Some(Duration::from_secs(60))));
        to_the_next_minute(&budget).await;
        assert_eq!(budget.used(budget.now()), 0);
        assert!(budget.spend(10).is_ok());
        assert_eq!((budget.standing().used, budget.used(budget.now())), (10, 10));
    }

    #[tokio::test(start_paused = true)]
    async fn a_ban_outlasts_a_shorter_pause() {
        let budget = budget();
        budget.stop(Reason::Banned, Duration::from_secs(120));
        budget.stop(Reason::RateLimited, Duration::from_secs(5));
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(budget.spend(1).unwrap_err().reason, Reason::Banned);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(budget.spend(1).is_ok());
    }

    #[test]
    fn the_limit_is_learnt() {
        let budget = budget();
        budget.learn_limit(
            br#"{"rateLimits":[{"rateLimitType":"REQUEST_WEIGHT","interval":"MINUTE","intervalNum":1,"limit":600}]}"#,
        );
        assert_eq!(budget.standing().limit, 600);
        budget.learn_limit(b"{}");
        budget.learn_limit(b"garbage");
        assert_eq!(budget.standing().limit, 600);
    }
}
