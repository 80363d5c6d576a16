//! Warming: what was declared is loaded ahead of its readers, on a schedule, popular first.
//!
//! One task runs rounds, one at a time. Regions with a schedule of their own have rounds of their own. Whatever a round asks for it asks as [`Priority::Warm`], which yields to every
//! reader; of nodes that share a store, one at a time runs them. Readers never wait for any of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lastgood::store::Store;
use lastgood::warm::{Lease, Tally};
use lastgood::{Cache, Clock, Region, Timestamp};
use lastgood_market::RegionName;
use lastgood_market::candles::Candles;
use lastgood_market::upstream::Asker;
use tokio::sync::{Notify, mpsc, oneshot, watch};

use crate::config::Settings;
use crate::regions::Regions;
use crate::symbols::chain::SymbolChain;

pub(crate) mod progress;
pub(crate) mod run;
pub(crate) mod schedule;
pub(crate) mod set;

use self::progress::Progress;
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

/// The regions of the set that have the same schedule.
struct Part {
    regions: Vec<RegionName>,
    /// From the beginning of a round to the next.
    pause: Duration,
    /// Whose turn it is, among nodes that share a store.
    lease: Option<Lease>,
    /// When the next round begins, in ms, if this node runs it; zero before the first.
    next: AtomicU64,
}

impl Part {
    /// What is declared, by schedule: that of the region, else the common one.
    fn all(settings: &Settings, set: &Set, regions: &Regions, shared: Option<&Arc<dyn Store>>) -> Vec<Part> {
        let mut schedules: Vec<(Duration, Vec<RegionName>)> = Vec::new();
        for name in set.regions() {
            let every = settings.region(name.as_str()).warm_every.unwrap_or(settings.warm.every);
            match schedules.iter_mut().find(|(other, _)| *other == every) {
                Some((_, names)) => names.push(name),
                None => schedules.push((every, vec![name])),
            }
        }
        let part = |(every, names): (Duration, Vec<RegionName>)| {
            let is_list = |name: &&RegionName| matches!(name, RegionName::ExchangeInfo | RegionName::Symbols);
            let lists = names.iter().filter(is_list).map(|name| shortest(regions.of(*name)));
            // Lists that would end shortly before the next round move it forward.
            let nearly = lists.filter(|fresh| *fresh >= every / 2).map(|fresh| fresh.mul_f64(0.9));
            let pause = nearly.fold(every, Duration::min);
            let what = format!("{:016x}", set.fingerprint(&names));
            let lease = shared.map(|store| Lease::new(Arc::clone(store), &settings.namespace, &what));
            Part { regions: names, pause, lease, next: AtomicU64::new(0) }
        };
        schedules.into_iter().map(part).collect()
    }

    fn begins_next(&self, at: Timestamp) {
        self.next.store(at.as_millis(), Ordering::Relaxed);
    }
}

/// What is kept warm, and how that goes.
pub(crate) struct Warmer {
    set: Set,
    means: Means,
    /// Each with rounds of its own.
    parts: Vec<Part>,
    progress: watch::Sender<Progress>,
    requests: mpsc::Sender<Request>,
    listening: Notify,
    why: Why,
}

/// Why the last round left something out.
#[derive(Default)]
struct Why(Mutex<Option<String>>);

impl Why {
    fn set(&self, why: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }
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
        let parts = Part::all(settings, &set, &means.regions, shared.as_ref());
        let (requests, waiting) = mpsc::channel(MOST_REQUESTS);
        let progress = watch::Sender::new(Progress::default());
        (Warmer { set, means, parts, progress, requests, listening: Notify::new(), why: Why::default() }, waiting)
    }

    /// The gateway listens: from now on rounds may begin.
    pub(crate) fn begin(&self) {
        self.listening.notify_one();
    }

    pub(crate) fn progress(&self) -> Progress {
        *self.progress.borrow()
    }

    /// Why the last round left something out; `None` if it left out nothing.
    pub(crate) fn why(&self) -> Option<String> {
        self.why.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A round now, or the one under way; or why there is none.
    pub(crate) async fn round_now(&self, only: Filter) -> Result<Tally, &'static str> {
        const STOPPING: &str = "The gateway is stopping.";
        let mut progress = self.progress.subscribe();
        let now = *progress.borrow_and_update();
        if only.is_all() && now.running && self.parts.len() == 1 {
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

    /// When the next round of a region begins, if this node runs it; `None` before its first.
    pub(crate) fn next_round(&self, region: RegionName) -> Option<Timestamp> {
        let next = self.part(region)?.next.load(Ordering::Relaxed);
        (next > 0).then(|| Timestamp::from_millis(next))
    }

    fn part(&self, region: RegionName) -> Option<&Part> {
        self.parts.iter().find(|part| part.regions.contains(&region))
    }

    /// Whether a key is of what was declared.
    pub(crate) fn declares(&self, region: RegionName, name: &str) -> bool {
        let only = Filter { regions: Some(vec![region]), ..Filter::default() };
        let mut items =
            self.set.lists(&self.means.symbols, &only).into_iter().chain(self.set.candles(&self.means.symbols, &only));
        items.any(|item| item.names(&self.means.symbols, name))
    }

    /// For how long what is in `region` must stay fresh to be left alone until the next round: to the next round, or,
    /// where nothing is fresh for so long, just now.
    fn ahead(&self, region: RegionName) -> Duration {
        let pause = self.part(region).map_or(Duration::ZERO, |part| part.pause);
        let ahead = pause + pause / 10;
        if shortest(self.means.regions.of(region)) > ahead { ahead } else { Duration::ZERO }
    }
}

/// The shortest that an answer is fresh.
fn shortest(region: &Region) -> Duration {
    let policy = region.policy();
    policy.fresh_for.mul_f64((1.0 - policy.jitter).clamp(0.0, 1.0))
}
