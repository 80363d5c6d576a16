//! A round: each item once, and what came of it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use lastgood::warm::{Lease, RENEW_AFTER, Tally};
use lastgood::{Error, Freshness, Reason};
use tokio::time::{Instant, sleep};

use super::Warmer;
use super::progress::Progress;
use super::set::{Filter, Item};
use crate::Priority;

/// Series that are loaded at the same time.
const AT_ONCE: usize = 4;
/// After this many in a row that the exchange did not answer, the rest is left for the next round.
const MOST_FAILURES: u32 = 3;
/// How often progress is logged.
const SAY_EVERY: Duration = Duration::from_secs(10);
/// The pause after a refusal that names none.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How a round ended.
pub(super) struct Ended {
    pub(super) tally: Tally,
    /// Whether the exchange failed, so that the next round should come soon.
    pub(super) troubled: bool,
}

struct Round<'a> {
    warmer: &'a Warmer,
    lease: Option<&'a Lease>,
    waiting: VecDeque<Item>,
    tally: Tally,
    failures_in_a_row: u32,
    troubled: bool,
    /// Which item was not loaded the last time, and why.
    why: Option<String>,
    said: Instant,
}

/// Loads what `only` takes of the declared set. What the budget refuses is tried again until `within`.
pub(super) async fn round(warmer: &Warmer, only: &Filter, within: Instant, lease: Option<&Lease>) -> Ended {
    let began = Instant::now();
    let (set, symbols) = (&warmer.set, &warmer.means.symbols);
    let mut round = Round {
        warmer,
        lease,
        waiting: set.lists(symbols, only).into(),
        tally: Tally::default(),
        failures_in_a_row: 0,
        troubled: false,
        why: None,
        said: began,
    };
    round.tally.of = round.waiting.len() as u64;
    round.publish(|progress| progress.running = true);
    tracing::info!(lists_and_tickers = round.tally.of, "warming begins");
    let mut goes_on = round.through(within).await;
    if goes_on {
        // Which symbols are popular is known now.
        round.waiting = set.candles(symbols, only).into();
        round.tally.of += round.waiting.len() as u64;
        goes_on = round.through(within).await;
    }
    round.leave(goes_on);
    let (now, took) = (warmer.means.clock.now(), began.elapsed());
    round.publish(|progress| {
        progress.running = false;
        progress.rounds += 1;
        progress.last_finished = Some(now);
        progress.took = took;
    });
    let why = round.why.take().filter(|_| round.tally.refused + round.tally.failed > 0);
    warmer.why.set(why);
    let Tally { of, loaded, fresh, refused, failed } = round.tally;
    tracing::info!(of, loaded, fresh, refused, failed, took_ms = took.as_millis() as u64, "warming ended");
    Ended { tally: round.tally, troubled: round.troubled }
}

/// How many items `only` takes, and how many of them a round would load, by what memory holds.
pub(super) fn preview(warmer: &Warmer, only: &Filter) -> (u64, u64) {
    let (set, symbols) = (&warmer.set, &warmer.means.symbols);
    let items: Vec<Item> = set.lists(symbols, only).into_iter().chain(set.candles(symbols, only)).collect();
    let due = items.iter().filter(|item| is_due(warmer, item)).count();
    (items.len() as u64, due as u64)
}

fn is_due(warmer: &Warmer, item: &Item) -> bool {
    let name = match item {
        Item::Candles(question) => return !warmer.means.candles.is_warm(question),
        Item::Request(request) => request.key.clone(),
        Item::List(venue) => warmer.means.symbols.name(*venue),
    };
    let (region, ahead) = (warmer.means.regions.of(item.region()), warmer.ahead(item.region()));
    let held = region.peek(&name).filter(|held| held.freshness() == Freshness::Fresh);
    held.is_none_or(|held| held.fresh_for() <= ahead)
}

impl Round<'_> {
    /// Loads what waits, in order; says whether the round may go on.
    async fn through(&mut self, within: Instant) -> bool {
        while !self.waiting.is_empty() {
            let items = self.take();
            let loads = items.iter().map(|item| load(self.warmer, item));
            let (mut refused, mut pause) = (Vec::new(), Duration::ZERO);
            for (item, loaded) in items.iter().zip(join_all(loads).await) {
                match loaded {
                    Err(error) if error.reason == Reason::Yielded => {
                        self.why = Some(format!("{item}: {}", error.message));
                        refused.push(item.clone());
                        pause = pause.max(error.retry_after.unwrap_or(RETRY_AFTER));
                    }
                    other => self.note(item, other),
                }
            }
            self.say();
            let has_refused = !refused.is_empty();
            refused.into_iter().rev().for_each(|item| self.waiting.push_front(item));
            if self.failures_in_a_row >= MOST_FAILURES || !self.is_ours().await {
                return false;
            }
            if has_refused && !self.rest(pause, within).await {
                return false;
            }
        }
        true
    }

    /// The next loads: one list after the other, several series together.
    fn take(&mut self) -> Vec<Item> {
        let is_series = |item: &Item| matches!(item, Item::Candles(_));
        let series = self.waiting.iter().take(AT_ONCE).take_while(|item| is_series(item)).count();
        self.waiting.drain(..series.max(1)).collect()
    }

    fn note(&mut self, item: &Item, loaded: Result<bool, Error>) {
        match &loaded {
            Ok(true) => self.tally.loaded += 1,
            Ok(false) => self.tally.fresh += 1,
            Err(error) => {
                self.tally.failed += 1;
                self.why = Some(format!("{item}: {error}"));
            }
        }
        match loaded {
            Ok(_) => self.failures_in_a_row = 0,
            // The exchange has answered, if not as hoped.
            Err(error) if matches!(error.reason, Reason::NotFound | Reason::Abandoned) => {
                self.failures_in_a_row = 0;
                tracing::debug!(region = %item.region(), why = %error, "not warmed");
            }
            Err(error) => {
                self.failures_in_a_row += 1;
                self.troubled = true;
                tracing::debug!(region = %item.region(), why = %error, "not warmed");
            }
        }
        self.publish(|_| ());
    }

    /// Leaves the exchange to others for a while; says whether there is time for it.
    async fn rest(&mut self, pause: Duration, within: Instant) -> bool {
        let end = Instant::now() + pause;
        if end > within {
            return false;
        }
        while Instant::now() < end {
            sleep(end.saturating_duration_since(Instant::now()).min(RENEW_AFTER)).await;
            self.say();
            if !self.is_ours().await {
                return false;
            }
        }
        true
    }

    /// Whether it is still this node's turn.
    async fn is_ours(&self) -> bool {
        match self.lease {
            Some(lease) => lease.renew(&self.warmer.means.clock).await,
            None => true,
        }
    }

    /// Counts what was not reached.
    fn leave(&mut self, goes_on: bool) {
        let left = self.waiting.len() as u64;
        match self.failures_in_a_row >= MOST_FAILURES {
            _ if goes_on => {}
            true => self.tally.failed += left,
            false => self.tally.refused += left,
        }
    }

    fn say(&mut self) {
        if self.said.elapsed() >= SAY_EVERY {
            self.said = Instant::now();
            let Tally { of, loaded, fresh, refused, failed } = self.tally;
            tracing::info!(of, loaded, fresh, refused, failed, "warming");
        }
    }

    fn publish(&self, change: impl FnOnce(&mut Progress)) {
        let tally = self.tally;
        self.warmer.progress.send_modify(|progress| {
            // A round begins with a tally of its own.
            let before = if progress.running { progress.round } else { Tally::default() };
            progress.total.of += tally.of - before.of;
            progress.total.loaded += tally.loaded - before.loaded;
            progress.total.fresh += tally.fresh - before.fresh;
            progress.total.refused += tally.refused - before.refused;
            progress.total.failed += tally.failed - before.failed;
            progress.round = tally;
            change(progress);
        });
    }
}

/// Makes one item warm, and says whether anything had to be loaded.
async fn load(warmer: &Warmer, item: &Item) -> Result<bool, Error> {
    let (region, ahead) = (warmer.means.regions.of(item.region()), warmer.ahead(item.region()));
    match item {
        Item::Candles(question) => warmer.means.candles.warm(question).await,
        Item::Request(request) => {
            let (loader, asked) = (Arc::clone(&warmer.means.loader), Arc::clone(request));
            let load = move || async move { Ok(loader.load(&asked, Priority::Warm).await?) };
            region.refresh(&request.key, ahead, load).await
        }
        Item::List(venue) => {
            let (chain, venue, patience) = (Arc::clone(&warmer.means.symbols), *venue, region.policy().hard_timeout);
            let (name, keys) = (chain.name(venue), chain.own(venue));
            let load = move || async move { Ok(chain.load(venue, &keys, patience, Some(Priority::Warm)).await?) };
            region.refresh(&name, ahead, load).await
        }
    }
}
