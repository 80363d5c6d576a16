//! Warming: what was declared is loaded ahead of its readers, on a schedule, popular first.
//!
//! One task runs rounds, one at a time. Whatever a round asks for it asks as [`Priority::Warm`], which yields to every
//! reader; of nodes that share a store, one at a time runs them. Readers never wait for any of it.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use lastgood::store::Store;
use lastgood::{Region, Timestamp};
use lastgood_market::RegionName;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use crate::app::App;
use crate::config::Settings;

mod api;
mod lease;
mod run;
mod set;

pub(crate) use self::api::warm;
use self::lease::{Lease, Turn};
use self::set::{Filter, Set};

/// The first round begins within this of the start, not at once on every node.
const START_WITHIN: Duration = Duration::from_secs(1);
/// After a round that the exchange did not answer the next comes so soon, doubled each time up to the schedule.
const AGAIN_AFTER: Duration = Duration::from_secs(2);
/// A round that somebody waits for gives up on what the budget refuses after this.
const ON_DEMAND_WITHIN: Duration = Duration::from_secs(20);
/// Requests for a round that may wait for the one under way.
const MOST_REQUESTS: usize = 8;

/// How many items came to what end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Items of the round, as far as it is known.
    pub(crate) of: u64,
    /// Loaded.
    pub(crate) loaded: u64,
    /// Fresh for long enough already.
    pub(crate) fresh: u64,
    /// Left out, because the exchange's budget was for others.
    pub(crate) refused: u64,
    /// Not answered by the exchange.
    pub(crate) failed: u64,
}

/// How many items came to one end.
type State = fn(&Tally) -> u64;

impl Tally {
    /// The states of an item, by their words for labels.
    pub(crate) const STATES: [(&'static str, State); 4] = [
        ("loaded", |tally| tally.loaded),
        ("fresh", |tally| tally.fresh),
        ("refused", |tally| tally.refused),
        ("failed", |tally| tally.failed),
    ];
}

/// How warming goes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Progress {
    /// Whether a round is under way.
    pub(crate) running: bool,
    /// Of the round under way, else of the last.
    pub(crate) round: Tally,
    /// Of all rounds.
    pub(crate) total: Tally,
    /// Rounds that ended.
    pub(crate) rounds: u64,
    /// When the last one ended.
    pub(crate) last_finished: Option<Timestamp>,
    /// How long it took.
    pub(crate) took: Duration,
}

/// Somebody wants a round now.
pub(crate) struct Request {
    only: Filter,
    done: oneshot::Sender<Tally>,
}

/// What is kept warm, and how that goes.
pub(crate) struct Warmer {
    set: Set,
    /// From the beginning of a round to the next.
    pause: Duration,
    /// Whose turn it is, among nodes that share a store.
    lease: Option<Lease>,
    progress: watch::Sender<Progress>,
    requests: mpsc::Sender<Request>,
    listening: Notify,
}

impl Warmer {
    /// What the settings declare; `shared` is the store that other nodes may use, too. The receiver is for [`keep`].
    pub(crate) fn new(
        settings: &Settings,
        regions: &[Region],
        shared: Option<Arc<dyn Store>>,
    ) -> (Warmer, mpsc::Receiver<Request>) {
        let set = Set::of(settings);
        let lists = [RegionName::ExchangeInfo, RegionName::Symbols].map(|name| shortest(&regions[name as usize]));
        let every = settings.warm.every;
        // Lists that would end shortly before the next round move it forward.
        let nearly = lists.into_iter().filter(|fresh| *fresh >= every / 2).map(|fresh| fresh.mul_f64(0.9));
        let pause = nearly.fold(every, Duration::min);
        let lease = shared.map(|store| Lease::new(store, &settings.namespace, &set));
        let (requests, waiting) = mpsc::channel(MOST_REQUESTS);
        let progress = watch::Sender::new(Progress::default());
        (Warmer { set, pause, lease, progress, requests, listening: Notify::new() }, waiting)
    }

    /// The gateway listens: from now on rounds may begin.
    pub(crate) fn begin(&self) {
        self.listening.notify_one();
    }

    pub(crate) fn progress(&self) -> Progress {
        *self.progress.borrow()
    }

    /// When the round after the last begins, if this node runs it; `None` where nothing was declared or none has ended.
    pub(crate) fn next_round(&self) -> Option<Timestamp> {
        let Progress { last_finished, took, .. } = self.progress();
        let finished = last_finished.filter(|_| !self.set.is_empty())?;
        Some(finished.plus(self.pause.saturating_sub(took)))
    }

    /// Whether a key is of what was declared.
    pub(crate) fn declares(&self, app: &App, region: RegionName, name: &str) -> bool {
        let only = Filter { region: Some(region), ..Filter::default() };
        let mut items = self.set.lists(&only).into_iter().chain(self.set.candles(app, &only));
        items.any(|item| item.names(app, name))
    }

    /// For how long what is in `region` must stay fresh to be left alone until the next round: to the next round, or,
    /// where nothing is fresh for so long, just now.
    fn ahead(&self, region: &Region) -> Duration {
        let ahead = self.pause + self.pause / 10;
        if shortest(region) > ahead { ahead } else { Duration::ZERO }
    }
}

/// The shortest that an answer is fresh.
fn shortest(region: &Region) -> Duration {
    let policy = region.policy();
    policy.fresh_for.mul_f64((1.0 - policy.jitter).clamp(0.0, 1.0))
}

/// A part of `wait`, another each time.
fn some_of(wait: Duration) -> Duration {
    wait.mul_f64((RandomState::new().hash_one(0) >> 11) as f64 / (1u64 << 53) as f64)
}

/// Runs rounds on the schedule and on demand, until the task is dropped.
pub(crate) async fn keep(app: Arc<App>, mut requests: mpsc::Receiver<Request>) {
    let warmer = &app.warmer;
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
                let ended = run::round(&app, &only, within, None).await;
                // Who asked may have gone.
                let _ = done.send(ended.tally);
            }
            None => next = scheduled(&app, &mut troubles).await,
        }
    }
}

/// Runs a round if it is this node's turn, and says when to look again.
async fn scheduled(app: &App, troubles: &mut u32) -> Instant {
    let warmer = &app.warmer;
    let began = Instant::now();
    if !app.cache.is_enabled() {
        return began + warmer.pause;
    }
    let began_at = app.clock.now();
    if let Some(lease) = &warmer.lease
        && let Turn::Theirs(wait) = lease.take(&app.clock, warmer.pause).await
    {
        tracing::debug!(seconds = wait.as_secs(), "another node keeps this warm");
        return Instant::now() + wait + some_of(wait / 4);
    }
    let ended = run::round(app, &Filter::default(), began + warmer.pause, warmer.lease.as_ref()).await;
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
