//! A simulated exchange: deterministic data, real limits and bans, faults on demand.
//!
//! It speaks the market-data and account surface of a large exchange closely enough for that exchange's unmodified
//! clients, over HTTP and, on the same port, over the WebSocket streams: `/ws` and `/stream` are spot's, and those below
//! `/public`, `/market` and `/private` the USD-M futures'. Data is a function of seed, symbol and time, so that two
//! simulators of one seed agree and any range can be asked for; the difference of two books follows from it too. Its
//! switches are methods here and paths under `/_sim/` over HTTP.

mod book;
mod candles;
mod catalogue;
mod clock;
mod content;
mod control;
mod counters;
mod direct;
mod endpoints;
mod faults;
mod fear_greed;
mod funding;
mod info;
mod interval;
mod lies;
mod limits;
mod market;
mod params;
mod price;
mod random;
mod rows;
mod server;
mod signed;
mod streams;
mod symbols;
mod tape;

use std::future::Future;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use self::catalogue::Catalogue;
use self::clock::Clock;
use self::faults::Faults;
use self::limits::Limits;
use self::signed::Accounts;
use self::streams::Streams;

pub use self::clock::ClockMode;
pub use self::counters::{Counters, LoggedRequest, StreamCounters};
pub use self::direct::{SimAnswer, SimRequest};
pub use self::faults::{Fault, FaultKind};
pub use self::lies::Lie;
pub use self::signed::Credential;

/// A market of the exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Venue {
    /// Spot, under `/api` and `/sapi`.
    Spot,
    /// USD-M futures, under `/fapi` and `/futures/data`.
    UsdM,
    /// COIN-M futures, under `/dapi`.
    CoinM,
}

impl Venue {
    /// Every market.
    pub const ALL: [Venue; 3] = [Venue::Spot, Venue::UsdM, Venue::CoinM];
}

/// What a simulated exchange is like.
#[derive(Clone, Debug)]
pub struct SimConfig {
    /// Everything follows from it.
    pub seed: u64,
    /// Spot pairs. Defaults to 2,400, for an exchangeInfo of more than 2 MB.
    pub symbols: usize,
    /// Spot request weight a minute. Defaults to 6,000.
    pub weight_limit_spot: u32,
    /// Futures request weight a minute. Defaults to 2,400.
    pub weight_limit_futures: u32,
    /// How long a stream connection lasts, by the exchange's clock. Defaults to 24 hours.
    pub stream_lifetime: Duration,
    /// Attempts to open a stream connection in five minutes, from an address and for a market. Defaults to 300.
    pub stream_attempts: u32,
}

impl Default for SimConfig {
    fn default() -> Self {
        SimConfig {
            seed: 1,
            symbols: 2_400,
            weight_limit_spot: 6_000,
            weight_limit_futures: 2_400,
            stream_lifetime: Duration::from_secs(24 * 3_600),
            stream_attempts: 300,
        }
    }
}

/// A simulated exchange. Clones are the same exchange.
#[derive(Clone, Debug)]
pub struct Sim {
    pub(crate) state: Arc<State>,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) catalogue: Catalogue,
    /// The symbols of another exchange: the same names, other prices.
    pub(crate) foreign: OnceLock<Catalogue>,
    pub(crate) clock: Clock,
    pub(crate) faults: Faults,
    /// Answers that chance might have made wrong.
    pub(crate) lied: AtomicU64,
    pub(crate) accounts: Accounts,
    pub(crate) streams: Streams,
    config: Mutex<SimConfig>,
    limits: [Mutex<Limits>; 3],
    counters: Mutex<Counters>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sim {
    /// An exchange that keeps the time.
    pub fn new(config: SimConfig) -> Sim {
        let state = State {
            catalogue: Catalogue::new(config.seed, config.symbols),
            foreign: OnceLock::new(),
            clock: Clock::new(),
            faults: Faults::default(),
            lied: AtomicU64::default(),
            accounts: Accounts::default(),
            streams: Streams::default(),
            config: Mutex::new(config),
            limits: Default::default(),
            counters: Mutex::default(),
        };
        Sim { state: Arc::new(state) }
    }

    /// Serves on `listener` until `shutdown` ends.
    ///
    /// # Errors
    ///
    /// When the listener fails.
    pub async fn serve(&self, listener: TcpListener, shutdown: impl Future<Output = ()> + Send) -> std::io::Result<()> {
        server::serve(Arc::clone(&self.state), listener, Box::pin(shutdown)).await
    }

    /// What it was asked.
    pub fn counters(&self) -> Counters {
        let mut counters = lock(&self.state.counters).clone();
        (counters.streams.open, counters.streams.subscribed) = self.state.streams.sizes();
        counters
    }

    /// Forgets what it was asked; limits, bans and stream connections stay.
    pub fn reset_counters(&self) {
        *lock(&self.state.counters) = Counters::default();
    }

    /// Brings a fault into force. Those of open stream connections strike now and are over.
    pub fn fault(&self, fault: Fault) {
        if let Some(fault) = self.state.streams.strike_open(fault) {
            self.state.faults.add(fault);
        }
    }

    /// Ends every fault.
    pub fn clear_faults(&self) {
        self.state.faults.clear();
    }

    /// Stops or starts its clock. Open streams are pushed what changed by that.
    pub fn set_clock(&self, mode: ClockMode) {
        self.state.clock.set(mode);
    }

    /// Lets its clock show what `now` tells, in milliseconds since the epoch: a test's own time.
    pub fn follow_clock(&self, now: impl Fn() -> u64 + Send + Sync + 'static) {
        self.state.clock.follow(Arc::new(now));
    }

    /// Moves its clock forward by this many milliseconds. Open streams are pushed the changes.
    pub fn advance(&self, millis: u64) {
        self.state.clock.advance(millis);
    }

    /// Milliseconds since the epoch by its clock.
    pub fn now(&self) -> u64 {
        self.state.clock.now()
    }

    /// The symbols that a market trades, in its own order.
    pub fn symbols(&self, venue: Venue) -> Vec<String> {
        self.state.catalogue.trading(venue).map(|symbol| symbol.name.clone()).collect()
    }

    /// The API keys it knows: one for each account.
    pub fn credentials() -> Vec<Credential> {
        signed::credentials()
    }
}

impl State {
    pub(crate) fn config(&self) -> SimConfig {
        lock(&self.config).clone()
    }

    /// Sets the weight a minute of spot, of the futures, or of both.
    pub(crate) fn set_limits(&self, spot: Option<u32>, futures: Option<u32>) {
        let mut config = lock(&self.config);
        config.weight_limit_spot = spot.unwrap_or(config.weight_limit_spot);
        config.weight_limit_futures = futures.unwrap_or(config.weight_limit_futures);
    }

    /// The symbols of another exchange.
    pub(crate) fn foreign(&self) -> &Catalogue {
        let config = self.config();
        self.foreign.get_or_init(|| Catalogue::new(!config.seed, config.symbols))
    }

    pub(crate) fn limits(&self, venue: Venue) -> MutexGuard<'_, Limits> {
        lock(&self.limits[venue as usize])
    }

    pub(crate) fn counters(&self) -> MutexGuard<'_, Counters> {
        lock(&self.counters)
    }
}
