//! By whose clock times are stored: the store's, so that processes whose clocks differ understand each other.

use std::sync::PoisonError;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::call::Held;
use super::{GuardedStore, Kind};
use crate::clock::Timestamp;
use crate::store::{StoreError, Version};

/// How long a difference of the clocks is taken for granted. Their drift meanwhile is far under what a round trip costs.
const KNOWN_FOR: Duration = Duration::from_secs(600);
/// A machine whose clock was set by more than this since is asked for the difference again.
const JUMP: Duration = Duration::from_millis(200);

/// How far the store's clock is ahead of this process's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ahead {
    /// In milliseconds; negative where it is behind.
    pub(crate) by: i64,
    /// By how much that may be wrong: half of the round trip, and the rounding.
    pub(crate) at_most_wrong_by: Duration,
    /// The same for the times that this process's clock read before it was set, oldest first; at the end, where there
    /// are fewer.
    before: [Before; JUMPS],
}

/// How far the store's clock was ahead of this process's until then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Before {
    until: Timestamp,
    by: i64,
}

/// By this many milliseconds a clock and a time span differ where both are cut to whole ones.
const ROUNDING: i64 = 2;
/// A difference that is known so exactly is good enough.
const EXACT: Duration = Duration::from_millis(2);
/// One that is not is measured so often again, each time after twice as long: the shortest of several round trips tells most.
const REFINED: u32 = 6;
const REFINED_AFTER: Duration = Duration::from_millis(250);

/// How often the store is asked for the time where the clock of this process is set meanwhile.
const TRIES: usize = 2;
/// So often the clock may be set while something waits for the store, and is still placed right in its time.
const JUMPS: usize = 4;

impl Default for Ahead {
    fn default() -> Ahead {
        Ahead::NONE
    }
}

impl Ahead {
    /// Nothing is known of another clock.
    pub(crate) const NONE: Ahead =
        Ahead { by: 0, at_most_wrong_by: Duration::ZERO, before: [Before { until: Timestamp::EPOCH, by: 0 }; JUMPS] };

    /// How far the store's clock was ahead when this process's read `read_at`. Not where its machine was suspended
    /// since: then the store's clock has gone on as well, and the difference is what it was.
    pub(crate) fn by_at(self, read_at: Timestamp) -> i64 {
        self.before.iter().find(|before| read_at <= before.until).map_or(self.by, |before| before.by)
    }

    /// The store's time for a time that this process's clock read.
    pub(crate) fn stored(self, local: Timestamp) -> Timestamp {
        local.shifted(self.by_at(local))
    }

    /// The same, where in doubt the times of the store are the later ones.
    pub(crate) fn at_the_latest(self) -> Ahead {
        let wrong_by = self.at_most_wrong_by.as_millis() as u64;
        let later = |by: i64| by.saturating_add_unsigned(wrong_by);
        let before = self.before.map(|before| Before { by: later(before.by), ..before });
        Ahead { by: later(self.by), before, ..self }
    }

    /// The same, by what was measured earlier and more exactly, if this does not contradict it: then it is likely the same
    /// server, which only answered in a busy moment, such as the first after it was away.
    fn or_as_before(self, earlier: Ahead) -> Ahead {
        let apart = Duration::from_millis(self.by.abs_diff(earlier.by));
        let is_finer = earlier.at_most_wrong_by < self.at_most_wrong_by;
        match is_finer && apart <= self.at_most_wrong_by + earlier.at_most_wrong_by {
            true => Ahead { by: earlier.by, at_most_wrong_by: self.at_most_wrong_by + apart, ..self },
            false => self,
        }
    }

    /// A time that this process's clock read, as it would read now.
    pub(crate) fn present(self, local: Timestamp) -> Timestamp {
        self.present_of(local, local)
    }

    /// A time by this process's clock as that was when it read `read_at`, as it would read now.
    pub(crate) fn present_of(self, time: Timestamp, read_at: Timestamp) -> Timestamp {
        time.shifted(self.by_at(read_at).saturating_sub(self.by))
    }
}

/// A difference, and when it was measured by both clocks of this process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measured {
    ahead: Ahead,
    at: Instant,
    local: Timestamp,
    /// Whether another server may answer by now.
    is_doubted: bool,
    /// How often it was measured again since, and when the last time began.
    refined: u32,
    asked_at: Instant,
}

impl Measured {
    /// How far the store's clock is ahead when this process's says `now`, which may have been set since; `moment` is the same
    /// by the monotonic clock.
    fn ahead_at(&self, moment: Instant, now: Timestamp) -> Ahead {
        self.ahead_after(moment - self.at, now)
    }

    /// The same, so long after it was measured.
    fn ahead_after(&self, passed: Duration, now: Timestamp) -> Ahead {
        let millis = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        let set_by = millis(now.since(self.local)).saturating_sub(millis(passed));
        // Two changes of one process within a millisecond keep their order.
        let set_by = if set_by.abs() <= ROUNDING { 0 } else { set_by };
        Ahead { by: self.ahead.by.saturating_sub(set_by), ..self.ahead }
    }

    /// The same, if it is still what it was.
    fn if_holds(&self, moment: Instant, now: Timestamp) -> Option<Ahead> {
        let passed = moment - self.at;
        let has_jumped = passed.abs_diff(now.since(self.local)) > JUMP;
        (passed < KNOWN_FOR && !has_jumped && !self.is_doubted).then(|| self.ahead_after(passed, now))
    }

    fn holds(&self, moment: Instant, now: Timestamp) -> bool {
        self.if_holds(moment, now).is_some()
    }

    fn is_to_be_refined(&self) -> bool {
        self.ahead.at_most_wrong_by > EXACT
            && self.refined < REFINED
            && self.asked_at.elapsed() >= REFINED_AFTER * 2_u32.pow(self.refined)
    }
}

impl GuardedStore {
    /// How far the store's clock is ahead; asks the store where that is not known. Nothing for a store that one process has
    /// to itself.
    pub(crate) async fn ahead(&self) -> Result<Ahead, StoreError> {
        if let Some(known) = self.known_ahead() {
            return Ok(known);
        }
        let _turn = self.measuring.lock().await;
        for _ in 0..TRIES {
            if let Some(known) = self.known_ahead() {
                return Ok(known);
            }
            self.measure().await?;
        }
        self.assumed_ahead().ok_or(StoreError::Timeout)
    }

    /// Asks for the time once more where the difference is known only roughly: a busy moment must not count for ten minutes.
    /// Waits for the answer, so that no reader should call it.
    pub(crate) async fn refine_clock(&self) {
        let Ok(_turn) = self.measuring.try_lock() else { return };
        if self.begins_to_refine() {
            // The next measurement comes; the known offset holds.
            drop(self.measure().await);
        }
    }

    /// Counts another measurement where one is due: failed ones count too, so that their number is limited.
    fn begins_to_refine(&self) -> bool {
        let mut measured = self.measured.lock().unwrap_or_else(PoisonError::into_inner);
        let (moment, now) = self.clock.moment();
        let known = measured.as_mut().filter(|known| known.holds(moment, now) && known.is_to_be_refined());
        known.is_some_and(|known| {
            (known.refined, known.asked_at) = (known.refined + 1, Instant::now());
            true
        })
    }

    async fn measure(&self) -> Result<(), StoreError> {
        let (at, local) = (Instant::now(), self.clock.now());
        let answered = match self.call(Kind::Read, || self.inner.now()).await {
            // An account may lack the command: then all clocks have to agree.
            Err(StoreError::Refused(_)) => None,
            answered => answered?,
        };
        let trip = at.elapsed();
        let mut measured = self.measured.lock().unwrap_or_else(PoisonError::into_inner);
        let (moment, now) = self.clock.moment();
        let known = measured.filter(|known| known.holds(moment, now));
        if known.is_some_and(|known| answered.is_none() || known.ahead.at_most_wrong_by <= wrong_by(trip)) {
            return Ok(());
        }
        let refined = known.map_or(0, |known| known.refined);
        let ahead = answered.map_or(Ahead::NONE, |answered| {
            let millis = |time: Timestamp| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
            let by = millis(answered).saturating_sub(millis(local.plus(trip / 2)));
            let before =
                measured.map_or_else(|| self.before_the_first(by, local), |measured| self.before(&measured, local));
            let rough = Ahead { by, at_most_wrong_by: wrong_by(trip), before };
            measured.map_or(rough, |earlier| rough.or_as_before(earlier.ahead_at(moment, now)))
        });
        *measured = Some(Measured { ahead, at, local, is_doubted: false, refined, asked_at: at });
        drop(measured);
        tracing::debug!(store = %self.inner, ahead_ms = ahead.by, "the store tells the time");
        Ok(())
    }

    /// How far the store's clock is ahead as far as that was ever found out, without asking: also while the store is away. A
    /// clock of this process that was set since has no part in it.
    pub(crate) fn assumed_ahead(&self) -> Option<Ahead> {
        self.inner.log()?;
        let measured = (*self.measured.lock().unwrap_or_else(PoisonError::into_inner))?;
        let (moment, now) = self.clock.moment();
        Some(Ahead { before: self.before(&measured, now), ..measured.ahead_at(moment, now) })
    }

    /// The same before the clock read `local`, where it was measured then for the first time. A clock that jumps before
    /// the store was ever reached was wrong when the machine started, rather than that the machine was suspended.
    fn before_the_first(&self, by: i64, local: Timestamp) -> [Before; JUMPS] {
        let (mut by, mut before) = (by, Ahead::NONE.before);
        let jumps = self.clock.jumps_since(Timestamp::EPOCH);
        let jumps = jumps.iter().rev().filter(|jump| jump.until < local);
        for (before, jump) in before.iter_mut().rev().zip(jumps) {
            by = by.saturating_add(jump.by);
            *before = Before { until: jump.until, by };
        }
        before
    }

    /// How far the store's clock was ahead before the jumps of this process's, those from a measurement to `local` included.
    fn before(&self, measured: &Measured, local: Timestamp) -> [Before; JUMPS] {
        let (mut by, mut before) = (measured.ahead.by, measured.ahead.before);
        let jumps = self.clock.jumps_since(measured.local);
        for jump in jumps.into_iter().filter(|jump| jump.until < local) {
            before.rotate_left(1);
            before[JUMPS - 1] = Before { until: jump.until, by };
            by = by.saturating_sub(jump.by);
        }
        before
    }

    /// What a key must hold for a change that is sent now, and that is made only while its sender waits for the end: a server
    /// may carry out a command long after that.
    pub(crate) fn while_waited_for(&self, expected: Option<Version>, ahead: Ahead) -> Version {
        let waits_for = self.write_budget().saturating_sub(ahead.at_most_wrong_by);
        Version::until(expected, ahead.stored(self.clock.now()).plus(waits_for))
    }

    /// The same, for a change that is made only if it arrives by `by`, by the store's clock, too.
    pub(crate) fn while_waited_for_by(&self, expected: Version, by: Timestamp, ahead: Ahead) -> Version {
        self.while_waited_for(Some(expected), ahead).no_later(by)
    }

    /// How long a change that is sent now may take to arrive, given what it expects.
    pub(super) fn may_take(&self, expected: Option<&Version>) -> Duration {
        let now = self.assumed_ahead().map(|ahead| ahead.stored(self.clock.now()));
        let by = expected.and_then(Version::by).zip(now).map(|(by, now)| by.since(now));
        by.unwrap_or_else(|| self.write_budget())
    }

    /// Another server may answer from now on, with another clock.
    pub(crate) fn forget_clock(&self) {
        if let Some(measured) = &mut *self.measured.lock().unwrap_or_else(PoisonError::into_inner) {
            measured.is_doubted = true;
        }
    }

    fn known_ahead(&self) -> Option<Ahead> {
        let (moment, now) = self.clock.moment();
        self.known_ahead_at(moment, now)
    }

    /// As [`GuardedStore::ahead`], where that need not be asked for; `moment` and `now` are of one look at the clock.
    fn known_ahead_at(&self, moment: Instant, now: Timestamp) -> Option<Ahead> {
        if self.inner.log().is_none() {
            return Some(Ahead::NONE);
        }
        let measured = self.measured.lock().unwrap_or_else(PoisonError::into_inner);
        measured.as_ref().and_then(|measured| measured.if_holds(moment, now))
    }

    /// How far the store's clock is ahead, and what `key` holds, for a caller who waits until `deadline`; `moment` and `now` are of
    /// one look at the clock.
    pub(crate) async fn ahead_and_get(
        &self,
        key: &str,
        (moment, now): (Instant, Timestamp),
        deadline: Instant,
    ) -> Result<(Ahead, Held), StoreError> {
        match self.known_ahead_at(moment, now) {
            Some(ahead) => Ok((ahead, self.read_by(key, moment, Some(deadline)).await?)),
            None => {
                let ahead = timeout_at(deadline, self.ahead()).await.unwrap_or(Err(StoreError::Timeout))?;
                Ok((ahead, self.read_by(key, Instant::now(), Some(deadline)).await?))
            }
        }
    }
}

/// By how much a difference may be wrong that was measured by a round trip of this length.
fn wrong_by(trip: Duration) -> Duration {
    trip / 2 + Duration::from_millis(1)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::Clock;
    use crate::store::{Guard, MemoryStore};
    use crate::testing::{Fault, FaultyStore};

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_was_read_in_a_busy_moment_is_read_again_until_it_is_known_exactly() {
        let slow = Duration::from_millis(200);
        let clock = Clock::paused_with_tokio();
        let store = FaultyStore::new(Arc::new(MemoryStore::new(clock.clone(), 1 << 20)));
        let guard = Guard { budget: slow * 2, ..Guard::default() };
        let guarded = GuardedStore::with_clock(Arc::clone(&store) as _, guard, clock);
        let wrong_by = async || guarded.ahead().await.expect("the time").at_most_wrong_by;
        store.set(Fault::Delay(slow));
        assert!(wrong_by().await > slow / 2);
        for _ in 0..2 {
            tokio::time::advance(REFINED_AFTER * 2).await;
            guarded.refine_clock().await;
        }
        assert!(wrong_by().await > slow / 2, "no reading was better");
        store.set(Fault::Delay(slow * 3 / 2));
        tokio::time::advance(REFINED_AFTER * 4).await;
        guarded.refine_clock().await;
        assert!(wrong_by().await < slow * 5 / 8, "a worse one is not taken");
        store.heal();
        guarded.refine_clock().await;
        assert!(wrong_by().await > slow / 2, "not at once");
        tokio::time::advance(REFINED_AFTER * 8).await;
        guarded.refine_clock().await;
        assert!(wrong_by().await <= EXACT);
        let asked = store.reads();
        tokio::time::advance(KNOWN_FOR / 2).await;
        guarded.refine_clock().await;
        assert_eq!(store.reads(), asked, "an exact offset is not measured again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_answers_slowly_after_it_was_away_keeps_the_difference_that_was_known_exactly() {
        let slow = Duration::from_millis(20);
        let clock = Clock::paused_with_tokio();
        let store = FaultyStore::new(Arc::new(MemoryStore::new(clock.clone(), 1 << 20)));
        let guard = Guard { budget: slow * 2, ..Guard::default() };
        let guarded = GuardedStore::with_clock(Arc::clone(&store) as _, guard, clock);
        let exact = guarded.ahead().await.expect("the time");
        assert_eq!((exact.by, exact.at_most_wrong_by), (0, Duration::from_millis(1)));
        store.set(Fault::Delay(slow));
        guarded.forget_clock();
        let again = guarded.ahead().await.expect("the time");
        assert_eq!(again.by, exact.by, "half of the slow round trip is not added to it");
        assert!(again.at_most_wrong_by >= slow / 2, "it may be another server, whose clock is off by as much");
        // What contradicts it is another clock.
        let far = Ahead { by: 500, ..again };
        assert_eq!(far.or_as_before(exact).by, 500);
    }
}
