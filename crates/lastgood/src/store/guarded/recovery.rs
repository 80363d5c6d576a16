//! Finding out in the background that a store is well again.

use std::sync::{PoisonError, Weak};

use tokio::time::{Instant, sleep, timeout};

use super::breaker::Outcome;
use super::{Guard, GuardedStore};
use crate::store::StoreError;
use crate::store::jitter::{jittered, somewhere_in};

/// After this many failed probes in a row the next is at a random time within the wait, once: other processes lost the
/// store at the same moment, and would go on to probe it together.
const SPREAD_AFTER: u32 = 3;

/// Probes the store, one probe at a time, until one succeeds, then closes the breaker. Ends when the guard is dropped.
pub(super) fn recover(guarded: Weak<GuardedStore>, guard: &Guard) -> impl Future<Output = ()> + use<> {
    let (mut wait, longest) = (guard.open_for, guard.open_for_at_most);
    // Made before the first poll: a runtime that shuts down may drop the task before it ever ran.
    let closes = CloseOnDrop(guarded);
    async move {
        for failures in 0_u32.. {
            let is_spread = failures == SPREAD_AFTER;
            sleep(if is_spread { somewhere_in(longest.max(wait)) } else { jittered(wait) }).await;
            let Some(guarded) = closes.0.upgrade() else { return };
            guarded.breaker.half_open();
            if guarded.is_well().await {
                return;
            }
            guarded.breaker.reopen();
            wait = (wait * 2).min(longest);
        }
    }
}

/// Closes the breaker when the recovery ends, even if it was cut short by a runtime that shuts down or a probe that
/// panicked: with no probe left, the breaker would otherwise stay open for ever.
struct CloseOnDrop(Weak<GuardedStore>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        if let Some(guarded) = self.0.upgrade() {
            guarded.breaker.close();
            *guarded.last_failure.lock().unwrap_or_else(PoisonError::into_inner) = None;
            guarded.condition.succeeded(super::CALLS);
        }
    }
}

impl GuardedStore {
    /// Asks the store once. The probe is judged like a read, because reads are what it will have to answer.
    async fn is_well(&self) -> bool {
        let started = Instant::now();
        let result = timeout(self.guard.budget, self.inner.probe()).await.unwrap_or(Err(StoreError::Timeout));
        self.remember(&result);
        // What the store says now is truer than what broke the first call.
        if let Err(why) = &result
            && why.is_failure()
        {
            self.condition.still_fails(super::CALLS, &why.cause());
        }
        Outcome::of(&result, started.elapsed(), self.guard.slow_after()) == Outcome::Good
    }
}
