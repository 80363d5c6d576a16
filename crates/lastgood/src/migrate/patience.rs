//! Asking a store again that did not answer.

use std::sync::atomic::{AtomicBool, Ordering};
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
    source_was_away: AtomicBool,
}

impl<'a> Patience<'a> {
    pub(super) fn new(progress: &'a watch::Sender<Progress>) -> Self {
        Patience { progress, source_was_away: AtomicBool::new(false) }
    }

    /// Whether the source was away since [`Patience::forget`].
    pub(super) fn source_was_away(&self) -> bool {
        self.source_was_away.load(Ordering::Relaxed)
    }

    pub(super) fn forget(&self) {
        self.source_was_away.store(false, Ordering::Relaxed);
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
            if side == Side::Source {
                self.source_was_away.store(true, Ordering::Relaxed);
            }
            // A store that is only busy is well.
            if error != StoreError::Busy {
                self.progress.send_modify(|now| now.trouble = Some(format!("the {side} does not answer: {error}")));
            }
            sleep(jittered(pause)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

fn may_pass(error: &StoreError) -> bool {
    !matches!(error, StoreError::Refused(_) | StoreError::Corrupt(_))
}
