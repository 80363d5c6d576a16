//! The gateway as a whole: built from settings, run on a listener.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use lastgood::store::Store;
use lastgood::{Cache, CacheBuilder, Clock, KeyedMutex, Policy, Region};
use lastgood_market::api_keys::AccountKeys;
use lastgood_market::engine::{EngineOptions, SharedBudget, SharedStore};
use lastgood_market::symbol_chain::SymbolOptions;
use lastgood_market::upstream::SharePace;
use lastgood_market::{Engine, Plans, Preset, RegionName, Venue};
use lastgood_routes::Connections;
use lastgood_routes::warm::SharedTurns;
use lastgood_settings::{BaseUrl, Settings};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::admin::Admin;
use crate::app::{App, Counts};
use crate::bulk_limit::BulkLimit;
use crate::cache_api::selector::selectors;
use crate::claims::Claims;
use crate::claims::shared::SharedClaims;
use crate::cors::Cors;
use crate::durations::Durations;
use crate::figures::{self, Figures};
use crate::fleet::{self, Fleet};
use crate::handles::Share;
use crate::health;
use crate::own_site::OwnSite;
use crate::page::demonstration::Demonstration;
use crate::page::{self, Page};
use crate::places::Places;
use crate::response::packed_lists::PackedLists;
use crate::router::Routes;
use crate::server;
use crate::server::certificate::{Certificate, NoCertificate};
use crate::server::listening::Listening;
use crate::stats_log;
use crate::traffic::Traffic;
use crate::user_keys;
use crate::user_keys::sql::SharedStatement;

mod store;
mod unopened;

use self::store::{guard, store_of};
pub use self::store::{open_embedded, open_store};

/// How long queued writes may take when the gateway stops.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);
/// The least that the cache takes.
const LEAST_MEMORY: u64 = 1 << 20;

/// The file, in the data directory, of changes that a shared store has not taken.
const PENDING: &str = "pending.redb";

/// A gateway that can be run.
pub struct Gateway {
    pub(crate) app: Arc<App>,
    /// What the operator's page is sent.
    page: Arc<Page>,
    /// What the listener shows, where it speaks TLS.
    pub(crate) certificate: Option<Arc<Certificate>>,
    /// What the declared sources are asked by, until a reload opens others.
    pub(crate) connections: tokio::sync::Mutex<Connections>,
    pub(crate) user_keys: Option<SharedStatement>,
    unix_socket: Option<PathBuf>,
    /// What goes on behind the requests; it ends with the gateway.
    _behind: JoinSet<()>,
}

/// A gateway that cannot be built from its settings, and the hint.
#[derive(Debug)]
pub struct BuildError(Box<dyn Error + Send + Sync>);

impl BuildError {
    fn new(why: impl Into<Box<dyn Error + Send + Sync>>) -> BuildError {
        BuildError(why.into())
    }

    /// How to fix it, where the message does not say so.
    pub fn hint(&self) -> Option<&'static str> {
        self.0.downcast_ref::<NoCertificate>().map(NoCertificate::hint)
    }
}

impl fmt::Display for BuildError {
    /// With all that is behind it: it is what an operator reads.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&lastgood::error_chain(&*self.0))
    }
}

impl Error for BuildError {}

impl Gateway {
    /// Builds a gateway. No upstream and no Redis needs to be there: an absent one is attached when it appears.
    ///
    /// # Errors
    ///
    /// When a setting cannot be acted upon; the message says which and what to do.
    pub fn build(settings: &Settings) -> BoxFuture<'_, Result<Gateway, BuildError>> {
        // Boxed here, so that what awaits it need not be compiled with all of a gateway's making.
        Box::pin(Gateway::of(settings))
    }

    async fn of(settings: &Settings) -> Result<Gateway, BuildError> {
        let certificate = Certificate::read(&settings.tls).map_err(BuildError::new)?.map(Arc::new);
        let (clock, packed) = (Clock::system(), PackedLists::share_of(settings.memory.limit));
        let data_dir = settings.data_dir.clone();
        let _ = tokio::task::spawn_blocking(move || lastgood::private::tighten(&data_dir, is_own_file)).await;
        let store = store_of(settings, &clock).await?;
        let shared = store.clone().filter(|_| settings.store.is_shared());
        let cache = open_cache(settings, store, packed, &clock).await?;
        let connections = Connections::open(&settings.declared.sources, &settings.connect_options(), &clock);
        let connections = connections.map_err(BuildError::new)?;
        let statement = user_keys::sql::statement(settings, &connections).map_err(BuildError::new)?;
        let statement = statement.map(SharedStatement::new);
        let id = node_id();
        let options = EngineOptions {
            shared: shared.clone().map(|store| shared_store(settings, store, &id)),
            symbols: symbols(settings, statement.clone()).await,
            ..engine_options(settings)
        };
        let engine = Engine::build(cache.clone(), clock.clone(), options).await.map_err(BuildError::new)?;
        let named = named_regions(settings, &cache)?;
        let declared = lastgood_routes::Routes::new(&settings.declared.routes, &connections, &named);
        let claims = cache.shared_store().map(|store| SharedClaims::new(store, &settings.namespace, clock.clone()));
        let share = Share::of(settings);
        let app = App {
            packed_lists: PackedLists::of(packed),
            fleet: fleet(settings, &cache, &clock, &id)?,
            figures: Arc::new(Figures::new(&id, settings.price_of_commands())),
            cache,
            named,
            declared: declared.map_err(BuildError::new)?,
            known_targets: Arc::default(),
            plans: Plans::new(engine.identities().clone()),
            engine,
            changing: KeyedMutex::default(),
            claims: Claims::new(claims),
            admin: Admin::new(settings.admin.token.clone(), OwnSite::new(&settings.hosts)),
            bulk_limit: BulkLimit::default(),
            began: clock.now(),
            clock,
            limits: settings.limits.clone(),
            places: Arc::new(Places::new(share.waiting, share.passing)),
            connections: share.connections,
            counts: Counts::default(),
            durations: Durations::default(),
            has_exchange: settings.binance.enabled,
            cors: Cors::new(&settings.cors.origins),
            access_log: AtomicBool::new(settings.log.access),
        };
        let turns = shared.map(|store| SharedTurns { store, namespace: settings.namespace.clone() });
        let app = Arc::new(app);
        let page = Arc::<Page>::default();
        let behind = behind(&app, &page, turns, settings.log.stats_every);
        let (connections, unix_socket) = (tokio::sync::Mutex::new(connections), settings.unix_socket.clone());
        Ok(Gateway { app, page, certificate, connections, user_keys: statement, unix_socket, _behind: behind })
    }

    /// Serves on `listener` until `shutdown` ends; then answers the requests under way, writes the queued changes and
    /// returns.
    ///
    /// # Errors
    ///
    /// When the unix socket that the settings name cannot be made, or the listener fails for good.
    pub fn serve<'a>(
        &'a self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send + 'a,
    ) -> BoxFuture<'a, io::Result<()>> {
        let shutdown: BoxFuture<'a, ()> = Box::pin(shutdown);
        Box::pin(async move { self.serve_on(self.listen(listener)?, shutdown).await })
    }

    /// All that the gateway is to listen on: `listener`, and the unix socket that the settings name. Clients can connect from now
    /// on; [`Gateway::serve_on`] answers them.
    ///
    /// # Errors
    ///
    /// When the unix socket cannot be made.
    pub fn listen(&self, listener: TcpListener) -> io::Result<Listening> {
        Listening::new(listener, self.certificate.clone(), self.unix_socket.as_deref())
    }

    /// As [`Gateway::serve`], of what [`Gateway::listen`] listens on.
    ///
    /// # Errors
    ///
    /// When the listener fails for good.
    pub fn serve_on<'a>(&'a self, listening: Listening, shutdown: BoxFuture<'a, ()>) -> BoxFuture<'a, io::Result<()>> {
        // Boxed for the same reason.
        Box::pin(async move {
            self.app.admin.listens_on_loopback(listening.is_on_loopback());
            self.app.engine.warmer.begin();
            let routes = Routes::new(Arc::clone(&self.app), &self.page);
            let shutdown = async {
                shutdown.await;
                self.page.live.end();
            };
            let served = server::serve(listening, routes, &self.app.limits, self.app.connections, shutdown).await;
            self.app.engine.leave().await;
            self.app.figures.lifetime.finish(&self.app.cache).await;
            self.app.engine.close(CLOSE_WITHIN).await;
            let lost = self.lost_changes();
            if lost > 0 {
                tracing::error!(changes = lost, "the store never confirmed some changes, which end with this process");
            }
            served
        })
    }

    /// Lets the operator's page switch the faults of a simulated exchange; the first call counts.
    pub fn demonstrate(&self, exchange: Arc<dyn Demonstration>) {
        let _ = self.page.demonstration.set(exchange);
    }

    /// What the gateway did so far.
    pub fn traffic(&self) -> Traffic {
        self.app.traffic()
    }

    /// How many changes end with this process, once it no longer serves: put values, removals and invalidations that the store
    /// never confirmed. A shared store's wait in a file.
    pub fn lost_changes(&self) -> usize {
        let store = self.app.cache.status().store.filter(|_| self.app.fleet.is_none());
        store.map_or(0, |store| store.unconfirmed_removals)
    }

    /// How long the exchange may not be asked yet, because it asked for a pause or banned this address: the longest of them.
    pub fn paused_for(&self) -> Option<Duration> {
        let until = health::stops(&self.app).into_iter().map(|stop| stop.until).max()?;
        Some(until.since(self.app.clock.now()))
    }

    /// How many stream messages were taken, of all venues.
    pub fn streamed(&self) -> u64 {
        let taken = |venue: Venue| self.app.engine.streams.counters(venue).taken.load(Ordering::Relaxed);
        Venue::ALL.into_iter().map(taken).sum()
    }

    /// The cache within, for programs that run a gateway in their own process.
    pub fn cache(&self) -> &Cache {
        &self.app.cache
    }
}

/// Starts what goes on behind the requests.
fn behind(app: &Arc<App>, page: &Arc<Page>, turns: Option<SharedTurns>, stats_every: Duration) -> JoinSet<()> {
    let mut behind = JoinSet::new();
    if let Some(fleet) = &app.fleet {
        behind.spawn(fleet::keep(Arc::clone(fleet), app.cache.clone()));
    }
    behind.spawn(figures::keep(Arc::clone(&app.figures), app.cache.clone()));
    behind.spawn(app.declared.keep_warm(app.cache.clone(), app.clock.clone(), turns));
    behind.spawn(page::live::keep(Arc::clone(app), Arc::clone(page)));
    behind.spawn(page::history::keep(Arc::clone(app), Arc::clone(page)));
    behind.spawn(stats_log::keep(Arc::clone(app), stats_every));
    behind
}

/// What distinguishes this process from the others that share its store.
fn node_id() -> String {
    format!("{:016x}", RandomState::new().hash_one(std::process::id()))
}

/// The cache over its store, with what of its memory lists of candles take packed.
async fn open_cache(
    settings: &Settings,
    store: Option<Arc<dyn Store>>,
    packed: u64,
    clock: &Clock,
) -> Result<Cache, BuildError> {
    let mut builder = cache_builder(settings, packed, clock)?;
    if let Some(store) = store {
        builder = builder.store(store);
    }
    // The file of what waits is read there, which may block.
    let built = tokio::task::spawn_blocking(|| builder.build()).await;
    let cache = built.map_err(BuildError::new)?.map_err(BuildError::new)?;
    cache.set_enabled(settings.enabled);
    Ok(cache)
}

/// The regions of applications' own data.
fn named_regions(settings: &Settings, cache: &Cache) -> Result<BTreeMap<String, Region>, BuildError> {
    let region = |(name, policy): (String, Policy)| {
        let region = cache.region(&name, settings.region(&name).policy.on(policy)).map_err(BuildError::new)?;
        Ok((name, region))
    };
    settings.application_regions().into_iter().map(region).collect()
}

/// The gateways that share the store, if it can be shared.
fn fleet(settings: &Settings, cache: &Cache, clock: &Clock, id: &str) -> Result<Option<Arc<Fleet>>, BuildError> {
    if !settings.store.is_shared() {
        return Ok(None);
    }
    let region = cache.region(fleet::REGION, fleet::policy()).map_err(BuildError::new)?;
    Ok(Some(Arc::new(Fleet::new(region, id, clock.clone()))))
}

/// What the cache is built from, but for its store.
fn cache_builder(settings: &Settings, packed: u64, clock: &Clock) -> Result<CacheBuilder, BuildError> {
    let identities = settings.upstreams().identities().map_err(BuildError::new)?;
    let mut builder = Cache::builder()
        .selectors(selectors(identities))
        .memory_limit((settings.memory.limit - packed).max(LEAST_MEMORY))
        .namespace(&settings.namespace)
        .clock(clock.clone())
        .guard(guard(settings))
        .leases(settings.takes_leases());
    if let Some(trust_for) = settings.store_trust_for {
        builder = builder.trust_for(trust_for);
    }
    // An embedded store has its own file on the same disk.
    if settings.store.is_shared() {
        builder = builder.pending_file(settings.data_dir.join(PENDING));
    }
    Ok(builder)
}

/// What the engine is built from, but for the store and the API keys.
fn engine_options(settings: &Settings) -> EngineOptions {
    let overrides = RegionName::ALL.into_iter().map(|name| (name, settings.region(name.as_str()).policy));
    EngineOptions {
        namespace: settings.namespace.clone(),
        preset: settings.preset,
        overrides: overrides.collect(),
        upstream: settings.upstreams(),
        fear_greed: settings.fear_greed.url.clone(),
        streams: streamed(settings),
        folder: Some(settings.data_dir.clone()),
        warm: settings.warm_options(),
        ..EngineOptions::default()
    }
}

/// The store that other gateways use too, and what they share by it.
fn shared_store(settings: &Settings, store: Arc<dyn Store>, id: &str) -> SharedStore {
    let one_address = settings.upstream.share_budget;
    let pace = if settings.price_of_commands().is_some() { SharePace::BILLED } else { SharePace::FREE };
    let budget = one_address.then(|| SharedBudget { node: id.to_owned(), pace });
    SharedStore { store, one_address, budget }
}

/// How lists of symbols are made: with the gateway's own API keys and those of users, which `statement` may look up.
async fn symbols(settings: &Settings, statement: Option<SharedStatement>) -> SymbolOptions {
    SymbolOptions {
        popular: settings.symbols.popular.clone(),
        testnet: on_testnet(settings).upstreams(),
        account_keys: AccountKeys::open(settings.credentials(), settings.master_key.clone()).await,
        user_keys: user_keys::user_keys(settings, statement),
    }
}

/// The settings with the testnets in the place of the exchange.
fn on_testnet(settings: &Settings) -> Settings {
    let mut settings = settings.clone();
    settings.binance.spot_url = settings.binance.testnet_spot_url.clone();
    settings.binance.futures_url = settings.binance.testnet_futures_url.clone();
    settings.binance.coin_url = Vec::new();
    settings
}

/// The venues with streams, and their hosts. Screens have no need of them.
fn streamed(settings: &Settings) -> Vec<(Venue, Vec<BaseUrl>)> {
    let binance = &settings.binance;
    let venues = [(Venue::Spot, &binance.ws_url), (Venue::UsdM, &binance.futures_ws_url)];
    let wanted = settings.preset == Preset::Trading;
    let with_hosts = venues.into_iter().filter(|(_, hosts)| wanted && !hosts.is_empty());
    with_hosts.map(|(venue, hosts)| (venue, hosts.clone())).collect()
}

/// Whether a file of the data directory is the gateway's.
fn is_own_file(name: &str) -> bool {
    ["lastgood.redb", PENDING, "bans.", "exchanges.", "credentials"].iter().any(|own| name.starts_with(own))
}
