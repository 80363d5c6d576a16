//! The exchange's pauses and bans: as long as it says, within reason.

use std::time::Duration;

use lastgood::{Error, Reason, Timestamp};

use super::{Budget, State, bounds};
use crate::venue::Bucket;

/// The exchange does not want to be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    /// [`Reason::RateLimited`], [`Reason::Banned`] or [`Reason::Firewall`].
    pub reason: Reason,
    /// Until when.
    pub until: Timestamp,
}

impl Stop {
    /// Whether it is not over, and can be meant: with a clock that was set back, its end may lie years ahead.
    pub(super) fn is_in_force(&self, now: Timestamp) -> bool {
        self.until > now && bounds::is_believable(self.reason, self.until.since(now))
    }

    /// The same, no longer than such a stop can last.
    pub(super) fn at_most(self, now: Timestamp) -> Stop {
        Stop { until: self.until.min(now.plus(bounds::longest(self.reason))), ..self }
    }
}

impl Budget {
    /// Stops every call that can be held back for `wait`, within [`bounds`]; a longer stop stands. Says whether it is
    /// news.
    pub fn stop(&self, reason: Reason, wait: Duration) -> bool {
        let now = self.clock.now();
        let mut state = self.state(now);
        state.good = 0;
        match reason {
            Reason::Banned => state.bans += 1,
            Reason::Firewall => state.firewalled += 1,
            _ => state.pauses += 1,
        }
        // Calls that were under way together are refused together.
        if state.stop.is_none() {
            state.stops_in_a_row = state.stops_in_a_row.saturating_add(1);
        }
        let (believed, is_cut) = bounds::within(reason, wait, state.stops_in_a_row);
        if is_cut {
            let named = wait.as_secs();
            tracing::warn!(exchange = %self.name, %reason, named, "the exchange names a wait that cannot be meant");
        }
        state.is_probing |= is_cut || reason == Reason::Banned;
        let what = match reason {
            Reason::Firewall => "the exchange's firewall refuses requests from this address (403)",
            _ => "the exchange asks for a pause: backing off",
        };
        self.apply_stop(&mut state, Stop { reason, until: now.plus(believed) }, what)
    }

    /// Stops the calls of one bucket, as [`Budget::stop`] does all.
    pub fn stop_bucket(&self, bucket: Bucket, wait: Duration) {
        let now = self.clock.now();
        let (wait, _) = bounds::within(Reason::RateLimited, wait, 1);
        let until = now.plus(wait);
        let mut state = self.state(now);
        state.pauses += 1;
        let window = &mut state.windows[bucket as usize];
        if window.stop.is_none_or(|stop| stop.until < until) {
            tracing::warn!(exchange = %self.name, %bucket, seconds = wait.as_secs(), "the exchange asks for a pause");
            window.stop = Some(Stop { reason: Reason::RateLimited, until });
            self.is_urgent();
        }
    }

    /// Follows a stop that another process learnt, or this one before a restart; one that cannot be meant is ignored.
    /// Says whether it is news.
    pub fn apply_remembered(&self, stop: Stop) -> bool {
        let now = self.clock.now();
        if !stop.is_in_force(now) {
            return false;
        }
        self.apply_stop(&mut self.state(now), stop.at_most(now), "a ban is remembered: backing off")
    }

    pub(super) fn apply_stop(&self, state: &mut State, stop: Stop, what: &str) -> bool {
        let news = state.stop.is_none_or(|known| known.until < stop.until);
        if news {
            let seconds = stop.until.since(self.clock.now()).as_secs();
            tracing::warn!(exchange = %self.name, reason = %stop.reason, seconds, "{what}");
            state.stop = Some(stop);
            self.is_urgent();
        }
        news
    }

    /// The stop in force for every call.
    pub fn stopped(&self) -> Option<Stop> {
        self.state(self.clock.now()).stop
    }
}

pub(super) fn backing_off(name: &str, stop: Stop, now: Timestamp) -> Error {
    let message = match stop.reason {
        Reason::Firewall => format!("the firewall of {name} refuses requests from this address"),
        _ => format!("backing off from {name}, as it asked"),
    };
    Error::new(stop.reason, message).with_retry_after(stop.until.since(now))
}
