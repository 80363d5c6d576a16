//! Asking a store again that did not answer.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::{Progress, Side, Stopped};
use crate::store::{StoreError, jittered};

/// How long a store may be away.
const GIVE_UP_AFTER: Duration = Duration::from_secs(60);
/// How long the first pause is; each is twice the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Repeats calls of a store that does not answer, and says so.
pub(super) struct Patience<'a> {
    progress: &'a watch::Sender<Progress>,
    /// The last failure that passed.
    away: Mutex<Option<Stopped>>,
}

impl<'a> Patience<'a> {
    pub(super) fn new(progress: &'a watch::Sender<Progress>) -> Self {
        Patience { progress, away: Mutex::default() }
    }

    fn away(&self) -> MutexGuard<'_, Option<Stopped>> {
        self.away.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which store was away since [`Patience::forget`], and why.
    pub(super) fn was_away(&self) -> Option<Stopped> {
        self.away().clone()
    }

    pub(super) fn forget(&self) {
        *self.away() = None;
    }

    /// The answer of a store that may be away for a minute.
    pub(super) async fn wait_for<T, F>(&self, side: Side, call: impl Fn() -> F) -> Result<T, Stopped>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let (mut pause, mut away_since) = (FIRST_PAUSE, None);
        loop {
            let error = match call().await {
                Ok(answer) => {
                    if away_since.is_some() {
                        self.progress.send_modify(|now| now.trouble = None);
                    }
                    return Ok(answer);
                }
                Err(error) => error,
            };
            let since = *away_since.get_or_insert_with(Instant::now);
            if !may_pass(&error) || since.elapsed() >= GIVE_UP_AFTER {
                return Err(Stopped { side, error });
            }
            // A store that is only busy is well.
            if error != StoreError::Busy {
                self.progress.send_modify(|now| now.trouble = Some(format!("the {side} does not answer: {error}")));
                *self.away() = Some(Stopped { side, error });
            }
            sleep(jittered(pause)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

fn may_pass(error: &StoreError) -> bool {
    !matches!(error, StoreError::Refused(_) | StoreError::Corrupt(_))
}
