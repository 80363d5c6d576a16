//! What a market is made of.

use std::error::Error;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lastgood::store::{EmbeddedStore, RedisOptions, RedisStore, Store, StoreUrl};
use lastgood::{Cache, Clock, Policy};
use tokio::task::JoinSet;

use super::trouble::{Noting, Troubles};
use super::{Market, Shared};
use crate::bars::ApplicationBars;
use crate::candles::Candles;
use crate::upstream::{
    Asker, BanMemory, BaseUrl, Options, Site, Upstreams, remember_identities, share_bans, watch_health,
};
use crate::{Preset, RegionName, Venue};

/// The embedded store keeps at most this much; the oldest by expiry go first.
const EMBEDDED_MAX_BYTES: u64 = 4 << 30;

const FEAR_GREED: &str = "https://api.alternative.me";

/// Collects what a [`Market`] is made of.
#[derive(Clone, Debug)]
pub struct MarketBuilder {
    store: StoreChoice,
    namespace: String,
    preset: Preset,
    fresh_for: Vec<(RegionName, Duration)>,
    memory_limit: u64,
    upstream: Options,
    fear_greed: Option<BaseUrl>,
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
        self.source.as_deref().map(|source| source as _)
    }
}

impl MarketBuilder {
    pub(super) fn new() -> MarketBuilder {
        MarketBuilder {
            store: StoreChoice::Memory,
            namespace: "lastgood".to_owned(),
            preset: Preset::Trading,
            fresh_for: Vec::new(),
            memory_limit: 256 << 20,
            upstream: Options::public(),
            fear_greed: BaseUrl::parse(FEAR_GREED).ok(),
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
        self.fresh_for.push((region, fresh_for));
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
        let bases: Result<Vec<BaseUrl>, BuildError> = urls.iter().map(|url| base(url)).collect();
        let bases = bases?;
        if bases.is_empty() {
            return Err(BuildError::new(format!("{venue} has no host; name at least one https:// base")));
        }
        match venue {
            Venue::Spot => self.upstream.spot = bases,
            Venue::Futures => self.upstream.futures = bases,
            Venue::Coin => self.upstream.coin = bases,
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
        self.fear_greed = Some(base(url)?);
        Ok(self)
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
        let clock = self.clock.clone();
        let Opened { store, shared, bans_in, no_store } = self.open_store().await;
        let bans = match bans_in.clone() {
            Some(folder) => BanMemory::new(folder, shared, &self.namespace),
            None => BanMemory::without_file(shared, &self.namespace),
        };
        let has_store = store.is_some();
        let mut cache =
            Cache::builder().memory_limit(self.memory_limit).namespace(&self.namespace).clock(clock.clone());
        if let Some(store) = store {
            cache = cache.store(store);
        }
        let cache = cache.build().map_err(BuildError::of)?;
        let mut regions = Vec::with_capacity(RegionName::ALL.len());
        for name in RegionName::ALL {
            regions.push(cache.region(name.as_str(), self.policy(name)).map_err(BuildError::of)?);
        }
        let upstreams = Arc::new(Upstreams::new(&self.upstream, &clock, bans).map_err(BuildError::of)?);
        upstreams.recall_stops().await;
        let mood = self.fear_greed.clone().ok_or_else(|| BuildError::new("the fear & greed index has no host"))?;
        let mood = Arc::new(Site::new(mood, &self.upstream, &clock).map_err(BuildError::of)?);
        if let Some(folder) = bans_in {
            remember_identities(&folder, upstreams.identities(), Some(mood.name())).await;
        }
        let mut behind = JoinSet::new();
        behind.spawn(watch_health(Arc::clone(&upstreams)));
        behind.spawn(share_bans(Arc::clone(&upstreams)));
        let asker = Arc::new(Asker {
            upstreams: Arc::clone(&upstreams),
            clock: clock.clone(),
            preset: self.preset,
            klines_fresh_for: self.told(RegionName::Klines),
        });
        let troubles = Troubles::new(clock.clone());
        let noting = Noting { asker: Arc::clone(&asker), troubles: Arc::clone(&troubles) };
        let klines = regions[RegionName::Klines as usize].clone();
        Ok(Market(Arc::new(Shared {
            own_bars: ApplicationBars::new(regions[RegionName::Bars as usize].clone(), clock.clone()),
            candles: Candles::new(klines, has_store, clock.clone(), Arc::new(noting)),
            mood,
            mood_dates_itself: self.preset == Preset::Trading && self.told(RegionName::FearGreed).is_none(),
            cache,
            regions,
            upstreams,
            asker,
            troubles,
            no_store,
            clock,
            _behind: behind,
        })))
    }

    fn told(&self, name: RegionName) -> Option<Duration> {
        self.fresh_for.iter().rev().find(|(told, _)| *told == name).map(|(_, fresh_for)| *fresh_for)
    }

    fn policy(&self, name: RegionName) -> Policy {
        let policy = name.policy(self.preset);
        let Some(fresh_for) = self.told(name) else { return policy };
        // What is fresh longer or shorter is stale in proportion.
        let stale_while_revalidate =
            if policy.stale_while_revalidate == policy.fresh_for { fresh_for } else { policy.stale_while_revalidate };
        Policy { fresh_for, stale_while_revalidate, ..policy }
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

fn base(url: &str) -> Result<BaseUrl, BuildError> {
    BaseUrl::parse(url).map_err(BuildError::of)
}
