//! Warming: what was declared is loaded ahead of its readers, on a schedule, popular first.
//!
//! One task runs rounds, one at a time. Whatever a round asks for it asks as [`Priority::Warm`], which yields to every
//! reader; of nodes that share a store, one at a time runs them. Readers never wait for any of it.

use std::sync::Arc;
use std::time::Duration;

use lastgood::store::Store;
use lastgood::{Cache, Clock, Region, Timestamp};
use lastgood_market::RegionName;
use lastgood_market::candles::Candles;
use lastgood_market::upstream::Asker;
use tokio::sync::{Notify, mpsc, oneshot, watch};

use crate::config::Settings;
use crate::regions::Regions;
use crate::symbols::chain::SymbolChain;

mod lease;
pub(crate) mod progress;
pub(crate) mod run;
pub(crate) mod schedule;
pub(crate) mod set;

use self::lease::Lease;
use self::progress::{Progress, Tally};
use self::set::{Filter, Set};

/// Requests for a round that may wait for the one under way.
const MOST_REQUESTS: usize = 8;

/// Somebody wants a round now.
pub(crate) struct Request {
    only: Filter,
    done: oneshot::Sender<Tally>,
}

/// By what means items are loaded, and where they lie.
pub(crate) struct Means {
    pub(crate) cache: Cache,
    pub(crate) regions: Regions,
    pub(crate) candles: Candles,
    pub(crate) exchange: Arc<Asker>,
    pub(crate) symbols: Arc<SymbolChain>,
    pub(crate) clock: Clock,
}

/// What is kept warm, and how that goes.
pub(crate) struct Warmer {
    set: Set,
    means: Means,
    /// From the beginning of a round to the next.
    pause: Duration,
    /// Whose turn it is, among nodes that share a store.
    lease: Option<Lease>,
    progress: watch::Sender<Progress>,
    requests: mpsc::Sender<Request>,
    listening: Notify,
}

impl Warmer {
    /// What the settings declare; `shared` is the store that other nodes may use, too. The receiver is for
    /// [`schedule::keep`].
    pub(crate) fn new(
        settings: &Settings,
        means: Means,
        shared: Option<Arc<dyn Store>>,
    ) -> (Warmer, mpsc::Receiver<Request>) {
        let set = Set::of(settings, means.exchange.upstreams.identities());
        let lists = [RegionName::ExchangeInfo, RegionName::Symbols].map(|name| shortest(means.regions.of(name)));
        let every = settings.warm.every;
        // Lists that would end shortly before the next round move it forward.
        let nearly = lists.into_iter().filter(|fresh| *fresh >= every / 2).map(|fresh| fresh.mul_f64(0.9));
        let pause = nearly.fold(every, Duration::min);
        let lease = shared.map(|store| Lease::new(store, &settings.namespace, &set));
        let (requests, waiting) = mpsc::channel(MOST_REQUESTS);
        let progress = watch::Sender::new(Progress::default());
        (Warmer { set, means, pause, lease, progress, requests, listening: Notify::new() }, waiting)
    }

    /// The gateway listens: from now on rounds may begin.
    pub(crate) fn begin(&self) {
        self.listening.notify_one();
    }

    pub(crate) fn progress(&self) -> Progress {
        *self.progress.borrow()
    }

    /// A round now, or the one under way; or why there is none.
    pub(crate) async fn round_now(&self, only: Filter) -> Result<Tally, &'static str> {
        const STOPPING: &str = "The gateway is stopping.";
        let mut progress = self.progress.subscribe();
        let now = *progress.borrow_and_update();
        if only.is_all() && now.running {
            let ended = progress.wait_for(|progress| progress.rounds > now.rounds).await;
            return ended.map(|progress| progress.round).map_err(|_| STOPPING);
        }
        let (done, ended) = oneshot::channel();
        match self.requests.try_send(Request { only, done }) {
            Ok(()) => ended.await.map_err(|_| STOPPING),
            Err(mpsc::error::TrySendError::Full(_)) => {
                Err("Too many rounds are asked for already; ask again when they have ended.")
            }
            Err(mpsc::error::TrySendError::Closed(_)) => Err(STOPPING),
        }
    }

    /// When the round after the last begins, if this node runs it; `None` where nothing was declared or none has ended.
    pub(crate) fn next_round(&self) -> Option<Timestamp> {
        let Progress { last_finished, took, .. } = self.progress();
        let finished = last_finished.filter(|_| !self.set.is_empty())?;
        Some(finished.plus(self.pause.saturating_sub(took)))
    }

    /// Whether a key is of what was declared.
    pub(crate) fn declares(&self, region: RegionName, name: &str) -> bool {
        let only = Filter { region: Some(region), ..Filter::default() };
        let mut items = self.set.lists(&only).into_iter().chain(self.set.candles(&self.means.symbols, &only));
        items.any(|item| item.names(&self.means.symbols, name))
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
