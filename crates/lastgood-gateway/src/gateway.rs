//! The gateway as a whole: built from settings, run on a listener.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lastgood::store::{EmbeddedStore, Guard, Opened, RedisOptions, RedisStore, Store, StoreError, UpstashStore};
use lastgood::{Cache, CacheBuilder, Clock, KeyedMutex};
use lastgood_market::api_keys::AccountKeys;
use lastgood_market::engine::{EngineOptions, SharedBudget, SharedStore};
use lastgood_market::symbol_chain::SymbolOptions;
use lastgood_market::upstream::SharePace;
use lastgood_market::{Engine, Plans, Preset, RegionName, Venue};
use lastgood_routes::Connections;
use lastgood_routes::warm::SharedTurns;
use lastgood_settings::{BaseUrl, Settings, StoreSetting};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::admin::Admin;
use crate::app::{App, Counts};
use crate::bulk_limit::BulkLimit;
use crate::cache_api::selector::selectors;
use crate::claims::Claims;
use crate::claims::shared::SharedClaims;
use crate::cluster::{self, Cluster};
use crate::cors::Cors;
use crate::durations::Durations;
use crate::figures::{self, Figures};
use crate::handles::Share;
use crate::own_site::OwnSite;
use crate::page::demonstration::Demonstration;
use crate::page::{self, Page};
use crate::places::Places;
use crate::response::packed::Packed;
use crate::router::Routes;
use crate::server;
use crate::server::certificate::Certificate;
use crate::server::listening::Listening;
use crate::stats_log;
use crate::totals::Totals;
use crate::user_keys;
use crate::user_keys::sql::SharedStatement;

/// How long queued writes may take when the gateway stops.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);
/// The least that the cache takes.
const LEAST_MEMORY: u64 = 1 << 20;
/// The embedded store keeps at most this much; the oldest by expiry go first.
const EMBEDDED_MAX_BYTES: u64 = 4 << 30;

/// The file, in the data directory, of changes that a shared store has not taken.
const PENDING: &str = "pending.redb";

/// A gateway that can be run.
pub struct Gateway {
    pub(crate) app: Arc<App>,
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
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for BuildError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

impl Gateway {
    /// Builds a gateway. No upstream and no Redis needs to be there: an absent one is attached when it appears.
    ///
    /// # Errors
    ///
    /// When a setting cannot be acted upon; the message says which and what to do.
    pub async fn build(settings: &Settings) -> Result<Gateway, BuildError> {
        let certificate = Certificate::read(&settings.tls).map_err(BuildError::new)?.map(Arc::new);
        let (clock, packed) = (Clock::system(), Packed::share_of(settings.memory.limit));
        let data_dir = settings.data_dir.clone();
        let _ = tokio::task::spawn_blocking(move || lastgood::private::tighten(&data_dir, is_own_file)).await;
        let mut builder = cache_builder(settings, packed, &clock)?;
        let store = store_of(settings, &clock).await?;
        let shared = store.clone().filter(|_| settings.store.is_shared());
        if let Some(store) = store {
            builder = builder.store(store);
        }
        let refuse = |why: lastgood::BuildError| BuildError::new(why);
        // The file of what waits is read there, which may block.
        let built = tokio::task::spawn_blocking(|| builder.build()).await;
        let cache = built.map_err(BuildError::new)?.map_err(refuse)?;
        cache.set_enabled(settings.enabled);
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
        let mut named = BTreeMap::new();
        for (name, policy) in settings.application_regions() {
            let region = cache.region(&name, settings.region(&name).policy.on(policy)).map_err(refuse)?;
            named.insert(name, region);
        }
        let declared =
            lastgood_routes::Routes::new(&settings.declared.routes, &connections, &named).map_err(BuildError::new)?;
        let claims = cache.shared_store().map(|store| SharedClaims::new(store, &settings.namespace, clock.clone()));
        let cluster = match settings.store.is_shared() {
            true => Some(cache.region(cluster::REGION, cluster::policy()).map_err(refuse)?),
            false => None,
        };
        let share = Share::of(settings);
        let app = App {
            packed: Packed::of(packed),
            cluster: cluster.map(|region| Arc::new(Cluster::new(region, &id))),
            figures: Arc::new(Figures::new(&id, settings.price_of_commands())),
            cache,
            named,
            declared,
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
            page: Page::default(),
        };
        let turns = shared.map(|store| SharedTurns { store, namespace: settings.namespace.clone() });
        let app = Arc::new(app);
        let behind = behind(&app, turns, settings.log.stats_every);
        let (connections, unix_socket) = (tokio::sync::Mutex::new(connections), settings.unix_socket.clone());
        Ok(Gateway { app, certificate, connections, user_keys: statement, unix_socket, _behind: behind })
    }

    /// Serves on `listener` until `shutdown` ends; then answers the requests under way, writes the queued changes and
    /// returns.
    ///
    /// # Errors
    ///
    /// When the unix socket that the settings name cannot be made, or the listener fails for good.
    pub async fn serve(&self, listener: TcpListener, shutdown: impl Future<Output = ()>) -> std::io::Result<()> {
        let is_loopback = listener.local_addr().is_ok_and(|address| address.ip().is_loopback());
        self.app.admin.listens_on_loopback(is_loopback);
        let listening = Listening::new(listener, self.certificate.clone(), self.unix_socket.as_deref())?;
        self.app.engine.warmer.begin();
        let routes = Routes::new(Arc::clone(&self.app));
        let shutdown = async {
            shutdown.await;
            self.app.page.live.end();
        };
        let served = server::serve(listening, routes, &self.app.limits, self.app.connections, shutdown).await;
        self.app.engine.leave().await;
        self.app.figures.lifetime.finish(&self.app.cache).await;
        self.app.engine.close(CLOSE_WITHIN).await;
        served
    }

    /// Lets the operator's page switch the faults of a simulated exchange; the first call counts.
    pub fn demonstrate(&self, exchange: Arc<dyn Demonstration>) {
        let _ = self.app.page.demonstration.set(exchange);
    }

    /// What the gateway did so far.
    pub fn totals(&self) -> Totals {
        self.app.totals()
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
fn behind(app: &Arc<App>, turns: Option<SharedTurns>, stats_every: Duration) -> JoinSet<()> {
    let mut behind = JoinSet::new();
    if let Some(cluster) = &app.cluster {
        behind.spawn(cluster::keep(Arc::clone(cluster), app.cache.clone()));
    }
    behind.spawn(figures::keep(Arc::clone(&app.figures), app.cache.clone()));
    behind.spawn(app.declared.keep_warm(app.cache.clone(), app.clock.clone(), turns));
    behind.spawn(page::live::keep(Arc::clone(app)));
    behind.spawn(page::history::keep(Arc::clone(app)));
    behind.spawn(stats_log::keep(Arc::clone(app), stats_every));
    behind
}

/// What distinguishes this process from the others that share its store.
fn node_id() -> String {
    format!("{:016x}", RandomState::new().hash_one(std::process::id()))
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

/// The venues with streams, and their bases. Screens have no need of them.
fn streamed(settings: &Settings) -> Vec<(Venue, Vec<BaseUrl>)> {
    let binance = &settings.binance;
    let venues = [(Venue::Spot, &binance.ws_url), (Venue::Futures, &binance.futures_ws_url)];
    let wanted = settings.preset == Preset::Trading;
    let with_bases = venues.into_iter().filter(|(_, bases)| wanted && !bases.is_empty());
    with_bases.map(|(venue, bases)| (venue, bases.clone())).collect()
}

/// A store that is billed by the request is asked less often whether it is well again.
const ASK_BILLED_EVERY: Duration = Duration::from_secs(5);

fn guard(settings: &Settings) -> Guard {
    let guard = Guard { budget: settings.store_budget, ..Guard::default() };
    match &settings.store {
        StoreSetting::Upstash(_) => Guard { open_for_at_most: ASK_BILLED_EVERY, ..guard },
        _ => guard,
    }
}

/// The store that the settings name. An embedded file that is unusable is no reason not to serve.
async fn store_of(settings: &Settings, clock: &Clock) -> Result<Option<Arc<dyn Store>>, BuildError> {
    let Some(path) = settings.embedded_file() else { return open_store(settings, clock).await };
    match open_embedded(settings, clock).await {
        Ok((store, opened)) => {
            tracing::info!(path = %path.display(), ?opened, "embedded store opened");
            Ok(Some(Arc::new(store)))
        }
        Err(why) => {
            tracing::error!(
                path = %path.display(), %why,
                "the embedded store cannot be used: serving from memory alone, and a restart will begin cold; \
                 choose another --data-dir, or --store memory: to say so on purpose"
            );
            Ok(None)
        }
    }
}

/// Opens the store that the settings name; `None` is the memory of one process. A Redis connects in the background.
///
/// # Errors
///
/// When the address is wrong or the embedded file cannot be used.
pub async fn open_store(settings: &Settings, clock: &Clock) -> Result<Option<Arc<dyn Store>>, BuildError> {
    let refuse = |why: StoreError| BuildError::new(why);
    match &settings.store {
        StoreSetting::Memory => Ok(None),
        StoreSetting::Redis(url) => {
            let options = RedisOptions::new(url).map_err(refuse)?;
            Ok(Some(Arc::new(RedisStore::connect(options))))
        }
        StoreSetting::Upstash(address) => {
            let options = address.options(settings.store_token.as_ref()).map_err(refuse)?;
            let options = options.with_proxies(settings.proxy.proxies().clone());
            Ok(Some(Arc::new(UpstashStore::new(options).map_err(refuse)?)))
        }
        StoreSetting::Embedded { .. } => Ok(Some(Arc::new(open_embedded(settings, clock).await?.0))),
    }
}

/// Opens the embedded file that the settings name, and says what it found there.
///
/// # Errors
///
/// When the settings name another store, or the file cannot be used.
pub async fn open_embedded(settings: &Settings, clock: &Clock) -> Result<(EmbeddedStore, Opened), BuildError> {
    let file = settings.embedded_file().ok_or_else(|| BuildError::new("the store is not embedded"))?;
    let (clock, memory) = (clock.clone(), settings.memory.limit / 8);
    let opened =
        tokio::task::spawn_blocking(move || EmbeddedStore::open_within(&file, clock, EMBEDDED_MAX_BYTES, memory));
    opened.await.map_err(BuildError::new)?.map_err(BuildError::new)
}

/// Whether a file of the data directory is the gateway's.
fn is_own_file(name: &str) -> bool {
    ["lastgood.redb", PENDING, "bans.", "exchanges.", "credentials"].iter().any(|own| name.starts_with(own))
}

#[cfg(test)]
mod tests {
    use super::*;
    use lastgood_settings::{FlagValue, Sources, resolve};

    #[test]
    fn a_database_that_is_billed_by_the_request_is_probed_seldom_while_it_is_down() {
        let guard_of = |store: &str| {
            let flag =
                |key: &str, value: &str| FlagValue { flag: "--set".into(), key: key.into(), value: value.into() };
            let flags = vec![flag("store", store), flag("store_token", "t"), flag("store_budget", "90ms")];
            let sources = Sources { file: None, env: &|_| None, env_names: Vec::new(), flags };
            guard(&resolve(&sources).expect("valid").settings)
        };
        let (redis, upstash) = (guard_of("redis://h"), guard_of("https://h"));
        assert_eq!((redis.budget, redis.open_for_at_most), (upstash.budget, Guard::default().open_for_at_most));
        assert_eq!((upstash.budget, upstash.open_for_at_most), (Duration::from_millis(90), Duration::from_secs(5)));
    }
}
