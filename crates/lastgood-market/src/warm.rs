//! Warming: what was declared is loaded ahead of its readers, on a schedule, popular first.
//!
//! One task runs rounds, one at a time. Regions with a schedule of their own have rounds of their own. Whatever a round asks for it asks as [`Priority::Warm`], which yields to every
//! reader; of nodes that share a store, one at a time runs them. Readers never wait for any of it.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lastgood::store::Store;
use lastgood::warm::{Lease, Tally};
use lastgood::{Cache, Clock, Region, Timestamp};
use tokio::sync::{Notify, mpsc, oneshot, watch};

use self::set::Set;
use crate::candles::Candles;
use crate::regions::Regions;
use crate::symbol_chain::SymbolChain;
use crate::upstream::ExchangeLoader;
use crate::{Identities, RegionName, Venue};

mod progress;
mod run;
mod schedule;
mod set;

pub use self::progress::Progress;
pub use self::schedule::ON_DEMAND_WITHIN;
pub(crate) use self::schedule::keep;
pub use self::set::{Filter, WARMED};

/// The regions and symbols to warm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WarmOptions {
    /// The markets whose lists of symbols are; without any, nothing is.
    pub markets: Vec<Venue>,
    /// Pairs whose candles are, in this order.
    pub symbols: Vec<String>,
    /// After them, this many from the head of each market's list of symbols.
    pub popular: usize,
    /// Intervals of the candles; none keeps them off.
    pub intervals: Vec<String>,
    /// How many of the newest candles.
    pub candles: usize,
    /// Whether the 24 h tickers of all symbols are.
    pub tickers: bool,
    /// How long from the beginning of a round to the next.
    pub every: Duration,
    /// The same for single regions of [`WARMED`], in place of `every`.
    pub every_of: HashMap<RegionName, Duration>,
}

impl Default for WarmOptions {
    /// No market; 500 candles and the tickers once there is one, every five minutes.
    fn default() -> Self {
        WarmOptions {
            markets: Vec::new(),
            symbols: Vec::new(),
            popular: 0,
            intervals: Vec::new(),
            candles: 500,
            tickers: true,
            every: Duration::from_secs(300),
            every_of: HashMap::new(),
        }
    }
}

impl WarmOptions {
    /// The regions in which anything is kept warm, in the order in which they are loaded.
    pub fn regions(&self) -> Vec<RegionName> {
        Set::of(self, &Identities::public()).regions()
    }
}

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
    pub(crate) loader: Arc<ExchangeLoader>,
    pub(crate) symbols: Arc<SymbolChain>,
    pub(crate) clock: Clock,
    /// Of the keys in the store.
    pub(crate) namespace: String,
    /// The store, where other processes may use it too.
    pub(crate) shared: Option<Arc<dyn Store>>,
}

/// Why there is no round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRound {
    /// The program is stopping.
    Stopping,
    /// Too many rounds are asked for already.
    TooMany,
}

impl fmt::Display for NoRound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NoRound::Stopping => "the program is stopping",
            NoRound::TooMany => "too many rounds are asked for already; ask again when they have ended",
        })
    }
}

impl std::error::Error for NoRound {}

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
    /// The declared regions, by schedule: that of the region, else the common one.
    fn all(options: &WarmOptions, set: &Set, means: &Means) -> Vec<Part> {
        let mut schedules: Vec<(Duration, Vec<RegionName>)> = Vec::new();
        for name in set.regions() {
            let every = options.every_of.get(&name).copied().unwrap_or(options.every);
            match schedules.iter_mut().find(|(other, _)| *other == every) {
                Some((_, names)) => names.push(name),
                None => schedules.push((every, vec![name])),
            }
        }
        let part = |(every, names): (Duration, Vec<RegionName>)| {
            let is_list = |name: &&RegionName| matches!(name, RegionName::ExchangeInfo | RegionName::Symbols);
            let lists = names.iter().filter(is_list).map(|name| shortest(means.regions.of(*name)));
            // Lists that would end shortly before the next round move it forward.
            let nearly = lists.filter(|fresh| *fresh >= every / 2).map(|fresh| fresh.mul_f64(0.9));
            let pause = nearly.fold(every, Duration::min);
            let what = format!("{:016x}", set.fingerprint(&names));
            let lease = means.shared.as_ref().map(|store| Lease::new(Arc::clone(store), &means.namespace, &what));
            Part { regions: names, pause, lease, next: AtomicU64::new(0) }
        };
        schedules.into_iter().map(part).collect()
    }

    fn begins_next(&self, at: Timestamp) {
        self.next.store(at.as_millis(), Ordering::Relaxed);
    }
}

/// The warmed set, and how warming goes.
pub struct Warmer {
    set: Set,
    means: Means,
    /// Each with rounds of its own.
    parts: Vec<Part>,
    progress: watch::Sender<Progress>,
    requests: mpsc::Sender<Request>,
    listening: Notify,
    why: Why,
}

/// What the last round left out, and why.
#[derive(Default)]
struct Why(Mutex<Option<String>>);

impl Why {
    fn set(&self, why: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }
}

impl Warmer {
    /// The receiver is for [`keep`].
    pub(crate) fn new(options: &WarmOptions, means: Means) -> (Warmer, mpsc::Receiver<Request>) {
        let set = Set::of(options, means.loader.upstreams.identities());
        let parts = Part::all(options, &set, &means);
        let (requests, waiting) = mpsc::channel(MOST_REQUESTS);
        let progress = watch::Sender::new(Progress::default());
        (Warmer { set, means, parts, progress, requests, listening: Notify::new(), why: Why::default() }, waiting)
    }

    /// Readers can be served: from now on rounds may begin.
    pub fn begin(&self) {
        self.listening.notify_one();
    }

    /// How it goes.
    pub fn progress(&self) -> Progress {
        *self.progress.borrow()
    }

    /// An item that the last round left out, by region and name, and why; `None` if it left out nothing.
    pub fn why(&self) -> Option<String> {
        self.why.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A round now, or the one under way.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub async fn round_now(&self, only: Filter) -> Result<Tally, NoRound> {
        let mut progress = self.progress.subscribe();
        let now = *progress.borrow_and_update();
        if only.is_all() && now.running && self.parts.len() == 1 {
            let ended = progress.wait_for(|progress| progress.rounds > now.rounds).await;
            return ended.map(|progress| progress.round).map_err(|_| NoRound::Stopping);
        }
        let (done, ended) = oneshot::channel();
        match self.requests.try_send(Request { only, done }) {
            Ok(()) => ended.await.map_err(|_| NoRound::Stopping),
            Err(mpsc::error::TrySendError::Full(_)) => Err(NoRound::TooMany),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(NoRound::Stopping),
        }
    }

    /// When the next round of a region begins, if this node runs it; `None` before its first.
    pub fn next_round(&self, region: RegionName) -> Option<Timestamp> {
        let next = self.part(region)?.next.load(Ordering::Relaxed);
        (next > 0).then(|| Timestamp::from_millis(next))
    }

    fn part(&self, region: RegionName) -> Option<&Part> {
        self.parts.iter().find(|part| part.regions.contains(&region))
    }

    /// Whether a key is of what was declared.
    pub fn declares(&self, region: RegionName, name: &str) -> bool {
        let only = Filter { regions: Some(vec![region]), ..Filter::default() };
        let mut items =
            self.set.lists(&self.means.symbols, &only).into_iter().chain(self.set.candles(&self.means.symbols, &only));
        items.any(|item| item.names(&self.means.symbols, name))
    }

    /// How many items `only` takes, and how many of them a round would load, by what memory holds.
    pub fn preview(&self, only: &Filter) -> (u64, u64) {
        run::preview(self, only)
    }

    /// Why `only` takes nothing, where it does: what would have to be declared.
    pub fn why_nothing(&self, only: &Filter) -> String {
        self.set.why_nothing(only)
    }

    /// For how long an entry of `region` must stay fresh to be skipped until the next round: to the next round, or,
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
