//! By whose clock times are stored: the store's, so that processes whose clocks differ understand each other.

use std::sync::PoisonError;
use std::time::Duration;

use tokio::time::Instant;

use super::{GuardedStore, Kind};
use crate::clock::Timestamp;
use crate::store::StoreError;

/// How long a difference of the clocks is taken for granted. Their drift meanwhile is far under what a round trip costs.
const KNOWN_FOR: Duration = Duration::from_secs(600);
/// A machine whose clock was set by more than this since is asked for the difference again.
const JUMP: Duration = Duration::from_millis(200);

/// How far the store's clock is ahead of this process's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ahead {
    /// In milliseconds; negative where it is behind.
    pub(crate) by: i64,
    /// By how much that may be wrong: half of the round trip, and the rounding.
    pub(crate) at_most_wrong_by: Duration,
}

impl Ahead {
    /// What the store calls a time of this process.
    pub(crate) fn stored(self, local: Timestamp) -> Timestamp {
        local.shifted(self.by)
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
}

impl Measured {
    /// How far the store's clock is ahead when this process's says `now`, which may have been set since.
    fn ahead_at(&self, now: Timestamp) -> Ahead {
        let millis = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        let (passed, by_clock) = (millis(self.at.elapsed()), millis(now.since(self.local)));
        Ahead { by: self.ahead.by.saturating_sub(by_clock.saturating_sub(passed)), ..self.ahead }
    }
}

impl GuardedStore {
    /// How far the store's clock is ahead; asks the store where that is not known. Nothing for a store that one process has
    /// to itself.
    pub(crate) async fn ahead(&self) -> Result<Ahead, StoreError> {
        if self.inner.log().is_none() {
            return Ok(Ahead::default());
        }
        if let Some(known) = self.known_ahead() {
            return Ok(known);
        }
        let _turn = self.measuring.lock().await;
        if let Some(known) = self.known_ahead() {
            return Ok(known);
        }
        let (at, local) = (Instant::now(), self.clock.now());
        let told = match self.call(Kind::Read, || self.inner.now()).await {
            // An account may lack the command: then all clocks have to agree.
            Err(StoreError::Refused(_)) => None,
            told => told?,
        };
        let trip = at.elapsed();
        let ahead = told.map_or(Ahead::default(), |told| {
            let millis = |time: Timestamp| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
            let by = millis(told).saturating_sub(millis(local.plus(trip / 2)));
            Ahead { by, at_most_wrong_by: trip / 2 + Duration::from_millis(1) }
        });
        *self.measured.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Measured { ahead, at, local, is_doubted: false });
        tracing::debug!(store = %self.inner, ahead_ms = ahead.by, "the store tells the time");
        Ok(ahead)
    }

    /// How far the store's clock is ahead as far as that was ever found out, without asking: also while the store is away. A
    /// clock of this process that was set since has no part in it.
    pub(crate) fn assumed_ahead(&self) -> Option<Ahead> {
        self.inner.log()?;
        let measured = (*self.measured.lock().unwrap_or_else(PoisonError::into_inner))?;
        Some(measured.ahead_at(self.clock.now()))
    }

    /// Another server may answer from now on, with another clock.
    pub(crate) fn forget_clock(&self) {
        if let Some(measured) = &mut *self.measured.lock().unwrap_or_else(PoisonError::into_inner) {
            measured.is_doubted = true;
        }
    }

    fn known_ahead(&self) -> Option<Ahead> {
        let measured = (*self.measured.lock().unwrap_or_else(PoisonError::into_inner))?;
        let Measured { at, local, is_doubted, .. } = measured;
        let (passed, now) = (at.elapsed(), self.clock.now());
        let has_jumped = passed.abs_diff(now.since(local)) > JUMP;
        (passed < KNOWN_FOR && !has_jumped && !is_doubted).then(|| measured.ahead_at(now))
    }
}
