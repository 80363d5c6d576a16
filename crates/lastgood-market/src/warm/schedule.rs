//! When rounds run: on the schedule, where it is this node's turn, and on demand.

use std::sync::Arc;
use std::time::Duration;

use lastgood::Timestamp;
use lastgood::warm::{TRIES, Turn, some_of};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::set::Filter;
use super::{Part, Request, Warmer, run};

/// The first round begins within this of the start, not at once on every node.
const START_WITHIN: Duration = Duration::from_secs(1);
/// After a round that the exchange did not answer the next comes so soon, doubled each time up to the schedule.
const AGAIN_AFTER: Duration = Duration::from_secs(2);
/// A round that somebody waits for gives up on what the budget refuses after this.
pub const ON_DEMAND_WITHIN: Duration = Duration::from_secs(20);

/// Runs rounds on the schedule and on demand, until the task is dropped.
pub(crate) async fn keep(warmer: Arc<Warmer>, mut requests: mpsc::Receiver<Request>) {
    warmer.listening.notified().await;
    let shortest = warmer.parts.iter().map(|part| part.pause).fold(ON_DEMAND_WITHIN, Duration::min);
    let start_within = some_of(START_WITHIN.min(shortest / 4));
    let start = Instant::now() + start_within;
    warmer.parts.iter().for_each(|part| part.begins_next(warmer.means.clock.now().plus(start_within)));
    let mut due: Vec<Due<'_>> = warmer.parts.iter().map(|part| Due { part, at: start, troubles: 0 }).collect();
    loop {
        // Of those that are due together the first comes first: candles are ranked by lists.
        let next = due.iter_mut().min_by_key(|due| due.at);
        let at = next.as_ref().map(|due| due.at);
        let request = tokio::select! {
            request = requests.recv() => request,
            () = sleep_until(at.unwrap_or(start)), if at.is_some() => None,
        };
        match request {
            Some(Request { only, done }) => {
                let within = Instant::now() + shortest;
                let ended = run::round(&warmer, &only, within, None).await;
                // Who asked may have gone.
                let _ = done.send(ended.tally);
            }
            None => {
                if let Some(due) = next {
                    due.at = scheduled(&warmer, due.part, &mut due.troubles).await;
                }
            }
        }
    }
}

/// When the next round of a part is due.
struct Due<'a> {
    part: &'a Part,
    at: Instant,
    /// Rounds in a row that the exchange did not answer.
    troubles: u32,
}

/// Runs a round of a part if it is this node's turn, and says when to look again.
async fn scheduled(warmer: &Warmer, part: &Part, troubles: &mut u32) -> Instant {
    let began = Instant::now();
    if !warmer.means.cache.is_enabled() {
        return began + part.pause;
    }
    let began_at = warmer.means.clock.now();
    if let Some(lease) = &part.lease
        && let Turn::Theirs(wait) = lease.take(&warmer.means.clock, part.pause, TRIES).await
    {
        part.begins_next(Timestamp::EPOCH);
        tracing::debug!(seconds = wait.as_secs(), "another node keeps this warm");
        return Instant::now() + wait + some_of(wait / 4);
    }
    part.begins_next(began_at.plus(part.pause));
    let only = Filter { regions: Some(part.regions.clone()), ..Filter::default() };
    let ended = run::round(warmer, &only, began + part.pause, part.lease.as_ref()).await;
    if let Some(lease) = &part.lease {
        let finished = (!ended.troubled).then_some(began_at);
        lease.give_up(&warmer.means.clock, finished, part.pause).await;
    }
    *troubles = if ended.troubled { *troubles + 1 } else { 0 };
    let pause = match *troubles {
        0 => part.pause,
        troubles => part.pause.min(AGAIN_AFTER * 2u32.saturating_pow((troubles - 1).min(10))),
    };
    part.begins_next(began_at.plus(pause).max(warmer.means.clock.now()));
    Instant::now().max(began + pause)
}
