//! What a market is made of.

use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lastgood::store::{EmbeddedStore, RedisOptions, RedisStore, Store, StoreUrl};
use lastgood::{Cache, Clock};

use super::{Market, Shared};
use crate::engine::{EngineOptions, SharedStore};
use crate::region::PolicyOverride;
use crate::symbol_chain::SymbolOptions;
use crate::upstream::{BaseUrl, Options};
use crate::warm::WarmOptions;
use crate::{Engine, Preset, RegionName, Venue};

/// The embedded store keeps at most this much; the oldest by expiry go first.
const EMBEDDED_MAX_BYTES: u64 = 4 << 30;

const FEAR_GREED: &str = "https://api.alternative.me";

/// Collects what a [`Market`] is made of.
#[derive(Clone, Debug)]
pub struct MarketBuilder {
    store: StoreChoice,
    namespace: String,
    preset: Preset,
    overrides: HashMap<RegionName, PolicyOverride>,
    memory_limit: u64,
    upstream: Options,
    fear_greed: Option<BaseUrl>,
    streams: HashMap<Venue, Vec<BaseUrl>>,
    popular: Vec<String>,
    warm: WarmOptions,
    clock: Clock,
}

#[derive(Clone, Debug)]
enum StoreChoice {
    Memory,
    Embedded(PathBuf),
    Redis(Box<RedisOptions>),
}

/// Why a market cannot be built, and how to fix it.
#[derive(Debug)]
pub struct BuildError {
    message: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl BuildError {
    fn new(message: impl Into<String>) -> BuildError {
        BuildError { message: message.into(), source: None }
    }

    fn with_source(message: impl Into<String>, source: impl Error + Send + Sync + 'static) -> BuildError {
        BuildError { message: message.into(), source: Some(Box::new(source)) }
    }

    /// An error that says what its source says.
    fn of(source: impl Error + Send + Sync + 'static) -> BuildError {
        BuildError::with_source(source.to_string(), source)
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for BuildError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        // The message says what the source says.
        self.source.as_deref().and_then(Error::source)
    }
}

impl MarketBuilder {
    pub(super) fn new() -> MarketBuilder {
        MarketBuilder {
            store: StoreChoice::Memory,
            namespace: "lastgood".to_owned(),
            preset: Preset::Trading,
            overrides: HashMap::new(),
            memory_limit: 256 << 20,
            upstream: Options::public(),
            fear_greed: BaseUrl::parse(FEAR_GREED).ok(),
            streams: HashMap::new(),
            popular: Vec::new(),
            warm: WarmOptions::default(),
            clock: Clock::system(),
        }
    }

    /// The store behind memory: `redis://host[:port][/database]`, `rediss://…`, `unix:///path[?db=n]`,
    /// `redis+sentinel://host,host/service[?db=n]`, `redis+cluster://host,host`, both with TLS as `rediss+…`,
    /// `embedded:FILE`, or `memory:` for none, which is the default. A Redis need not be there: it is used when it is.
    ///
    /// # Errors
    ///
    /// When the text is none of these. The error repeats no password.
    pub fn store(mut self, url: &str) -> Result<Self, BuildError> {
        self.store = match StoreUrl::parse(url).map_err(BuildError::of)? {
            StoreUrl::Memory => StoreChoice::Memory,
            StoreUrl::Embedded(Some(file)) => StoreChoice::Embedded(file),
            StoreUrl::Embedded(None) => {
                return Err(BuildError::new("embedded: names no file; write for example embedded:./bot.redb"));
            }
            StoreUrl::Redis(url) => {
                let options = RedisOptions::new(&url)
                    .map_err(|why| BuildError::with_source(format!("{why}; {}", url.hint()), why))?;
                StoreChoice::Redis(Box::new(options))
            }
            StoreUrl::Upstash(_) => {
                return Err(BuildError::new(
                    "an Upstash database is reached over Redis' own protocol here; write rediss://default:TOKEN@HOST:6379",
                ));
            }
        };
        Ok(self)
    }

    /// What every key in the store begins with, so that programs can share one: letters, digits, `-`, `_` and `.`. By
    /// default `lastgood`, which is the gateway's too.
    #[must_use]
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// What kind of use the freshness times are for. By default trading.
    #[must_use]
    pub fn preset(mut self, preset: Preset) -> Self {
        self.preset = preset;
        self
    }

    /// How long answers of a region are fresh, in place of what the preset says. Of candles: how long a forming one is.
    #[must_use]
    pub fn fresh_for(mut self, region: RegionName, fresh_for: Duration) -> Self {
        self.overrides.entry(region).or_default().fresh_for = Some(fresh_for);
        self
    }

    /// Most bytes in memory. By default 256 MiB.
    #[must_use]
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.memory_limit = bytes;
        self
    }

    /// The hosts of a venue, in the order they are preferred. By default the exchange's own.
    ///
    /// # Errors
    ///
    /// When one is no base URL, or there is none.
    pub fn hosts(mut self, venue: Venue, urls: &[&str]) -> Result<Self, BuildError> {
        let hosts: Result<Vec<BaseUrl>, BuildError> = urls.iter().map(|url| base_url(url)).collect();
        let hosts = hosts?;
        if hosts.is_empty() {
            return Err(BuildError::new(format!("{venue} has no host; name at least one https:// URL")));
        }
        match venue {
            Venue::Spot => self.upstream.spot = hosts,
            Venue::UsdM => self.upstream.futures = hosts,
            Venue::CoinM => self.upstream.coin = hosts,
        }
        Ok(self)
    }

    /// One host for every venue and the fear & greed index: a gateway, or a simulated exchange.
    ///
    /// # Errors
    ///
    /// When it is no base URL.
    pub fn exchange(self, url: &str) -> Result<Self, BuildError> {
        let of_all = Venue::ALL.into_iter().try_fold(self, |builder, venue| builder.hosts(venue, &[url]))?;
        of_all.fear_greed_host(url)
    }

    /// The host of the fear & greed index. By default its publisher's.
    ///
    /// # Errors
    ///
    /// When it is no base URL.
    pub fn fear_greed_host(mut self, url: &str) -> Result<Self, BuildError> {
        self.fear_greed = Some(base_url(url)?);
        Ok(self)
    }

    /// Keeps the candles and tickers that were asked for lately fresh by the exchange's own pushes, at no request weight.
    /// `urls` are the hosts of a venue's streams, such as `wss://stream.binance.com:9443`, in the order they are tried. By
    /// default there are none: stale entries are loaded. COIN-M has none.
    ///
    /// # Errors
    ///
    /// When one is no WebSocket URL, or the venue is COIN-M.
    pub fn streams(mut self, venue: Venue, urls: &[&str]) -> Result<Self, BuildError> {
        if venue == Venue::CoinM {
            return Err(BuildError::new("COIN-M has no streams; name Venue::Spot or Venue::UsdM"));
        }
        let base_url = |url: &&str| BaseUrl::parse_websocket(url).map_err(BuildError::of);
        let hosts: Vec<BaseUrl> = urls.iter().map(base_url).collect::<Result<_, _>>()?;
        match hosts.is_empty() {
            true => self.streams.remove(&venue),
            false => self.streams.insert(venue, hosts),
        };
        Ok(self)
    }

    /// The pairs that stand first in [`Market::popular_symbols`], in this order.
    #[must_use]
    pub fn popular(mut self, symbols: &[&str]) -> Self {
        self.popular = symbols.iter().map(|symbol| (*symbol).to_owned()).collect();
        self
    }

    /// What to warm, on a schedule. Of programs that share a store, one at a time does it. By default
    /// nothing is.
    #[must_use]
    pub fn warm(mut self, warm: WarmOptions) -> Self {
        self.warm = warm;
        self
    }

    /// Where time comes from. By default the system's clock.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Builds the market. Neither a Redis nor an exchange needs to be there. An embedded store that cannot be used is
    /// done without, and [`Market::health`] says so.
    ///
    /// # Errors
    ///
    /// When the namespace, a policy or the memory limit is impossible, the hosts of a venue are known to be of different
    /// exchanges, or the system's certificate authorities cannot be read.
    pub async fn build(self) -> Result<Market, BuildError> {
        let Opened { store, shared, bans_in, no_store } = self.open_store().await;
        let mut cache =
            Cache::builder().memory_limit(self.memory_limit).namespace(&self.namespace).clock(self.clock.clone());
        if let Some(store) = store {
            cache = cache.store(store);
        }
        let cache = cache.build().map_err(BuildError::of)?;
        let options = EngineOptions {
            namespace: self.namespace,
            preset: self.preset,
            overrides: self.overrides,
            upstream: self.upstream,
            fear_greed: self.fear_greed,
            streams: self.streams.into_iter().collect(),
            folder: bans_in,
            shared: shared.map(|store| SharedStore { store, one_address: true, budget: None }),
            symbols: SymbolOptions { popular: self.popular, ..SymbolOptions::default() },
            warm: self.warm,
        };
        let engine = Engine::build(cache, self.clock, options).await.map_err(BuildError::of)?;
        engine.warmer.begin();
        Ok(Market(Arc::new(Shared { engine, no_store })))
    }

    async fn open_store(&self) -> Opened {
        match &self.store {
            StoreChoice::Memory => Opened::default(),
            StoreChoice::Redis(options) => {
                let store: Arc<dyn Store> = Arc::new(RedisStore::connect(RedisOptions::clone(options)));
                Opened { store: Some(Arc::clone(&store)), shared: Some(store), ..Opened::default() }
            }
            StoreChoice::Embedded(file) => {
                let folder = file.parent().map(PathBuf::from);
                let (path, clock, memory) = (file.clone(), self.clock.clone(), self.memory_limit / 8);
                let opened = tokio::task::spawn_blocking(move || {
                    EmbeddedStore::open_within(&path, clock, EMBEDDED_MAX_BYTES, memory).map_err(|why| why.to_string())
                });
                match opened.await.unwrap_or_else(|why| Err(why.to_string())) {
                    Ok((store, _)) => Opened { store: Some(Arc::new(store)), bans_in: folder, ..Opened::default() },
                    Err(why) => {
                        tracing::error!(path = %file.display(), %why, "the embedded store cannot be used: memory alone is");
                        Opened { no_store: Some(why), ..Opened::default() }
                    }
                }
            }
        }
    }
}

/// A store, as far as there is one.
#[derive(Default)]
struct Opened {
    store: Option<Arc<dyn Store>>,
    /// The same, if others may use it too.
    shared: Option<Arc<dyn Store>>,
    bans_in: Option<PathBuf>,
    no_store: Option<String>,
}

fn base_url(url: &str) -> Result<BaseUrl, BuildError> {
    BaseUrl::parse(url).map_err(BuildError::of)
}
