//! The request budget of an exchange: its limits, the weight used, priorities, pauses and bans.
//!
//! The exchange counts by address and by fixed windows of its clock. So one budget stands for all hosts of one
//! exchange, and has one [`Bucket`] for each thing that is counted. Limits are the exchange's own words wherever it
//! publishes them; use is counted here call by call and corrected by the exchange's headers.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use lastgood::{Clock, Error, Reason, Timestamp};
use tokio::sync::Notify;

use crate::venue::{Bucket, Venue};

mod ask;
pub mod bounds;
mod frequency;
mod learn;
pub(crate) mod peers;
#[cfg(test)]
mod scarcity;
mod spent;
mod standing;
mod stops;
mod window;

use self::ask::costs;
pub use self::ask::{Ask, Priority};
pub use self::frequency::{Frequency, Slot};
use self::peers::Peers;
pub use self::spent::Spent;
pub use self::standing::{BucketStanding, Standing};
pub use self::stops::Stop;
use self::stops::backing_off;
use self::window::Window;

/// The budget of one exchange.
#[derive(Debug)]
pub struct Budget {
    name: String,
    clock: Clock,
    state: Mutex<State>,
    /// The minute and the weight used in it, for those who only read: every answer states it.
    used: AtomicU64,
    /// By how much the exchange's clock is ahead of this process's, in ms: its windows begin by its clock.
    ahead: AtomicI64,
    /// Notified when this gateway should publish to the others, or read from them, at once.
    urgent: OnceLock<Arc<Notify>>,
}

#[derive(Debug)]
struct State {
    /// In the order of [`Bucket::ALL`].
    windows: [Window; 5],
    stop: Option<Stop>,
    /// The gateways that spend from the same limits.
    peers: Peers,
    /// Weight of calls that were sent and have not been answered: a header may or may not count them.
    in_flight: u32,
    calls_in_flight: u32,
    /// Good answers since the start or the last stop.
    good: u32,
    /// Stops since the exchange last answered anything else.
    stops_in_a_row: u32,
    /// After a stop that may have ended too early, one call goes at a time until the exchange has answered one.
    is_probing: bool,
    /// A limit that is doubted has held a call back.
    wants_limits: bool,
    /// When the exchange may be asked for its limits again.
    ask_limits_at: Timestamp,
    calls: u64,
    /// Numbers calls as they are sent, and the exchange's words as they are heard.
    order: u64,
    refused: [u64; 3],
    pauses: u64,
    bans: u64,
    firewalled: u64,
}

/// The part of a limit that is left to signed calls, which nothing here holds back, and to others on the address.
pub(crate) const RESERVE: f64 = 0.08;
/// The most calls under way before the first good answer.
const FIRST_CALLS: u32 = 6;
/// How long a call waits for the one that finds out whether a stop is over.
const PROBED_WITHIN: Duration = Duration::from_secs(1);
/// The exchange is asked for its limits out of turn at most once in so long.
const ASK_LIMITS_EVERY: Duration = Duration::from_secs(60);

impl Budget {
    /// A budget with the venue's usual limits. `name` identifies it in logs and in its saved state.
    pub fn new(name: impl Into<String>, venue: Venue, clock: Clock) -> Self {
        let windows = Bucket::ALL.map(|bucket| Window::new(bucket, bucket.usual(venue)));
        let state = State {
            windows,
            stop: None,
            peers: Peers::default(),
            in_flight: 0,
            calls_in_flight: 0,
            good: 0,
            stops_in_a_row: 0,
            is_probing: false,
            wants_limits: false,
            ask_limits_at: Timestamp::EPOCH,
            calls: 0,
            order: 0,
            refused: [0; 3],
            pauses: 0,
            bans: 0,
            firewalled: 0,
        };
        Budget {
            name: name.into(),
            clock,
            state: Mutex::new(state),
            used: AtomicU64::new(0),
            ahead: AtomicI64::new(0),
            urgent: OnceLock::new(),
        }
    }

    /// What distinguishes it from others.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The time that the budget goes by.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The exchange's time at `now`, as far as it is known.
    fn exchange_time(&self, now: Timestamp) -> Timestamp {
        Timestamp::from_millis(now.as_millis().saturating_add_signed(self.ahead.load(Ordering::Relaxed)))
    }

    /// Goes by a clock that is this many milliseconds ahead of this process's. What was counted stays, unless the
    /// difference is small: then a window that ends by it has ended. Answers tell most of the exchange's clock just
    /// as its second changes, so that the last bit is often learnt at the very turn of a minute.
    pub(crate) fn go_by(&self, ahead: i64) {
        let was = self.ahead.load(Ordering::Relaxed);
        if was == ahead {
            return;
        }
        let now = self.clock.now();
        let mut state = self.state(now);
        self.ahead.store(ahead, Ordering::Relaxed);
        if was.abs_diff(ahead) >= window::CLOCK_SLACK {
            let at = self.exchange_time(now);
            state.windows.iter_mut().for_each(|window| window.is_at(at));
        }
        self.publish(&state);
    }

    fn state(&self, now: Timestamp) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let at = self.exchange_time(now);
        let turn = state.windows[Bucket::Weight as usize].turn;
        state.windows.iter_mut().for_each(|window| window.roll(now, at));
        let State { windows, peers, in_flight, .. } = &mut *state;
        let weight = &mut windows[Bucket::Weight as usize];
        if weight.turn != turn && peers.presumed() > 1 {
            weight.carry(*in_flight);
        }
        state.stop = state.stop.filter(|stop| stop.is_in_force(now));
        state
    }

    /// Spends on one call, or says how long not to. Drop or settle the returned value when the call has ended.
    ///
    /// # Errors
    ///
    /// While we back off from the exchange, or when the budget has nothing left for such a call. The time to
    /// wait differs from call to call, so that those refused together do not return together.
    pub fn spend(&self, ask: Ask) -> Result<Spent<'_>, Error> {
        let now = self.clock.now();
        let mut state = self.state(now);
        if let Some(error) = self.refusal_of_stop(&state, ask.bucket, now) {
            return Err(state.refuse(ask.priority, error));
        }
        if state.must_hear_others(ask, now) {
            self.is_urgent();
            return Err(state.refuse(ask.priority, peers::not_yet(&self.name)));
        }
        let windows = || costs(ask).into_iter().filter(|&(_, cost)| cost > 0);
        let at = self.exchange_time(now);
        for (bucket, cost) in windows() {
            state.windows[bucket as usize].asked(cost);
        }
        let refusal = windows().find_map(|(bucket, cost)| {
            let wait = state.windows[bucket as usize].refuses(cost, ask.priority, ask.frequency, at)?;
            Some((bucket, wait))
        });
        if let Some((bucket, wait)) = refusal {
            state.wants_limits |= state.windows[bucket as usize].is_doubtful(now);
            let message = format!("the {bucket} budget of {} has nothing left for this now", self.name);
            let error = Error::new(Reason::RateLimited, message).with_retry_after(wait);
            return Err(state.refuse(ask.priority, error));
        }
        Ok(self.send(&mut state, ask))
    }

    /// Spends on asking for the limits again, where one that is doubted holds calls back: out of turn, because a limit
    /// that is too low by mistake would never let itself be put right. At most once a minute, and not during a stop.
    pub(crate) fn spend_on_limits(&self, weight: u32) -> Option<Spent<'_>> {
        let now = self.clock.now();
        let mut state = self.state(now);
        let ask = Ask { bucket: Bucket::Weight, weight, priority: Priority::Refresh, frequency: 0 };
        if !state.wants_limits || state.ask_limits_at > now || self.refusal_of_stop(&state, ask.bucket, now).is_some() {
            return None;
        }
        state.wants_limits = false;
        state.ask_limits_at = now.plus(ASK_LIMITS_EVERY);
        Some(self.send(&mut state, ask))
    }

    fn send(&self, state: &mut State, ask: Ask) -> Spent<'_> {
        for (bucket, cost) in costs(ask) {
            state.windows[bucket as usize].spend(cost, ask.priority);
        }
        state.in_flight = state.in_flight.saturating_add(ask.weight);
        state.calls += 1;
        state.calls_in_flight += 1;
        self.publish(state);
        self.under_way(state, 1, ask.weight)
    }

    /// Why no call at all may be made that counts in `bucket`.
    fn refusal_of_stop(&self, state: &State, bucket: Bucket, now: Timestamp) -> Option<Error> {
        if let Some(stop) = state.stop.or(state.windows[bucket as usize].stop) {
            return Some(backing_off(&self.name, stop, now));
        }
        (state.is_probing && state.calls_in_flight > 0).then(|| {
            let message = format!("one request finds out whether {} answers again", self.name);
            Error::new(Reason::RateLimited, message).with_retry_after(PROBED_WITHIN)
        })
    }

    /// Notes a call that nothing holds back, so that the headers of its answer can be taken in.
    pub fn pass(&self) -> Spent<'_> {
        self.under_way(&mut self.state(self.clock.now()), 0, 0)
    }

    /// As [`Budget::pass`], of a call that every stop holds back.
    ///
    /// # Errors
    ///
    /// While we back off from the exchange, or from what counts in `bucket`.
    pub(crate) fn pass_unsigned(&self, bucket: Bucket) -> Result<Spent<'_>, Error> {
        let now = self.clock.now();
        let mut state = self.state(now);
        if let Some(error) = self.refusal_of_stop(&state, bucket, now) {
            return Err(error);
        }
        state.calls_in_flight += 1;
        Ok(self.under_way(&mut state, 1, 0))
    }

    fn under_way(&self, state: &mut State, calls: u32, weight: u32) -> Spent<'_> {
        let turn = state.windows[Bucket::Weight as usize].turn;
        Spent { budget: self, calls, weight, turn, sent: state.next() }
    }

    /// Whether slow start limits concurrency now. After the start and after a stop it is not known
    /// what others on the address have used, or whether the limit is still what it was: a burst sent then might be
    /// refused as a whole, and many refusals are a ban. So a few calls go first, and each good answer lets two more.
    ///
    /// Nor is it known at each moment what the other gateways spend: each has a part of the rest under way, until the
    /// exchange or the store says what all have used.
    pub(crate) fn feels_its_way(&self, ask: Ask) -> bool {
        let now = self.clock.now();
        let state = self.state(now);
        let most = if state.is_probing { 1 } else { FIRST_CALLS.saturating_add(state.good.saturating_mul(2)) };
        let must_hear_others = state.must_hear_others(ask, now);
        if must_hear_others {
            self.is_urgent();
        }
        state.calls_in_flight >= most || must_hear_others
    }

    fn publish(&self, state: &State) {
        let weight = &state.windows[Bucket::Weight as usize];
        self.used.store(weight.index << 32 | u64::from(weight.used), Ordering::Relaxed);
    }

    /// The weight used in the minute of `now`, without waiting for anybody.
    pub fn used(&self, now: Timestamp) -> u32 {
        let used = self.used.load(Ordering::Relaxed);
        if used >> 32 == self.exchange_time(now).as_millis() / 60_000 { used as u32 } else { 0 }
    }

    /// Takes limits from the `rateLimits` of an exchangeInfo; a body without any changes nothing. A limit that cannot be
    /// one, by [`bounds`], is not believed.
    pub fn learn_limits(&self, exchange_info: &[u8]) {
        let now = self.clock.now();
        let limits = learn::stated_limits(exchange_info);
        if !limits.is_empty() {
            self.is_urgent();
        }
        for (bucket, limit, length) in limits {
            if !self.state(now).windows[bucket as usize].learn(limit, length, now) {
                tracing::warn!(exchange = %self.name, %bucket, limit, "the exchange states a limit that cannot be one");
            }
        }
    }

    /// Takes the weight limit from the words of a 429, so that a limit that was lowered is known before it is
    /// published to us. A limit above the usual one is given up: it has just been refused.
    pub fn learn_from_refusal(&self, message: &str) {
        let now = self.clock.now();
        let mut state = self.state(now);
        let weight = &mut state.windows[Bucket::Weight as usize];
        weight.disbelieve_more(now);
        if let Some(limit) = learn::limit_of_refusal(message) {
            weight.learn(limit, 60_000, now);
        }
    }

    /// How the budget stands.
    pub fn standing(&self) -> Standing {
        let state = self.state(self.clock.now());
        Standing {
            buckets: Bucket::ALL.map(|bucket| state.windows[bucket as usize].standing(bucket)),
            calls: state.calls,
            refused: state.refused,
            pauses: state.pauses,
            bans: state.bans,
            firewalled: state.firewalled,
            stop: state.stop,
            gateways: state.peers.count(),
        }
    }
}

impl State {
    /// A place behind all that was sent or heard before.
    fn next(&mut self) -> u64 {
        self.order += 1;
        self.order
    }

    /// Counts a refusal, and lengthens its wait: those refused together must not be back together.
    fn refuse(&mut self, priority: Priority, error: Error) -> Error {
        self.refused[priority as usize] += 1;
        let wait = spread(error.retry_after.unwrap_or_default(), self.refused.iter().sum());
        error.with_retry_after(wait)
    }
}

/// Lengthens a wait by up to a half, or up to a few seconds, by another part for each number in turn.
fn spread(wait: Duration, number: u64) -> Duration {
    const GOLDEN: f64 = 0.618_033_988_749_895;
    const AT_MOST: Duration = Duration::from_secs(3);
    wait + (wait / 2).min(AT_MOST).mul_f64((number as f64 * GOLDEN).fract())
}

#[cfg(test)]
mod tests;
