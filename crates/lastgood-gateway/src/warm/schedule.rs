//! When rounds run: on the schedule, where it is this node's turn, and on demand.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::lease::{Turn, some_of};
use super::set::Filter;
use super::{Request, Warmer, run};

/// The first round begins within this of the start, not at once on every node.
const START_WITHIN: Duration = Duration::from_secs(1);
/// After a round that the exchange did not answer the next comes so soon, doubled each time up to the schedule.
const AGAIN_AFTER: Duration = Duration::from_secs(2);
/// A round that somebody waits for gives up on what the budget refuses after this.
pub(crate) const ON_DEMAND_WITHIN: Duration = Duration::from_secs(20);

/// Runs rounds on the schedule and on demand, until the task is dropped.
pub(crate) async fn keep(warmer: Arc<Warmer>, mut requests: mpsc::Receiver<Request>) {
    warmer.listening.notified().await;
    let mut next = Instant::now() + some_of(START_WITHIN.min(warmer.pause / 4));
    let mut troubles = 0;
    loop {
        let request = tokio::select! {
            request = requests.recv() => request,
            () = sleep_until(next), if !warmer.set.is_empty() => None,
        };
        match request {
            Some(Request { only, done }) => {
                let within = Instant::now() + ON_DEMAND_WITHIN.min(warmer.pause);
                let ended = run::round(&warmer, &only, within, None).await;
                // Who asked may have gone.
                let _ = done.send(ended.tally);
            }
            None => next = scheduled(&warmer, &mut troubles).await,
        }
    }
}

/// Runs a round if it is this node's turn, and says when to look again.
async fn scheduled(warmer: &Warmer, troubles: &mut u32) -> Instant {
    let began = Instant::now();
    if !warmer.means.cache.is_enabled() {
        return began + warmer.pause;
    }
    let began_at = warmer.means.clock.now();
    if let Some(lease) = &warmer.lease
        && let Turn::Theirs(wait) = lease.take(&warmer.means.clock, warmer.pause).await
    {
        tracing::debug!(seconds = wait.as_secs(), "another node keeps this warm");
        return Instant::now() + wait + some_of(wait / 4);
    }
    let ended = run::round(warmer, &Filter::default(), began + warmer.pause, warmer.lease.as_ref()).await;
    if let Some(lease) = &warmer.lease {
        let finished = (!ended.troubled).then_some(began_at);
        lease.give_up(finished, warmer.pause).await;
    }
    *troubles = if ended.troubled { *troubles + 1 } else { 0 };
    let pause = match *troubles {
        0 => warmer.pause,
        troubles => warmer.pause.min(AGAIN_AFTER * 2u32.saturating_pow((troubles - 1).min(10))),
    };
    Instant::now().max(began + pause)
}
