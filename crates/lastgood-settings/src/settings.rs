//! The settings in force, and what follows from them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use lastgood::Policy;
use lastgood_market::credentials::CredentialStore;
use lastgood_market::upstream::{BaseUrl, Options};
use lastgood_market::warm::{WARMED, WarmOptions};
use lastgood_market::{Preset, RegionName};
use lastgood_routes::ConnectOptions;
use secrecy::SecretString;

use crate::declared::Declared;
use crate::listening::{Cors, Tls};
use crate::proxy::ProxySetting;
use crate::regions::{self, RegionOverride};
use crate::store::{self, StoreSetting};
use crate::warm::MARKETS;

/// All settings of the gateway, checked.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where to listen. Not loopback only with an admin token.
    pub listen: SocketAddr,
    /// A unix socket to listen on as well.
    pub unix_socket: Option<PathBuf>,
    /// What the listener proves itself with; without it, it speaks plain HTTP.
    pub tls: Tls,
    /// Which pages of other sites may read public answers.
    pub cors: Cors,
    /// Names that lead to this gateway, apart from its address and loopback's names.
    pub hosts: Vec<String>,
    /// The store behind the memory tier.
    pub store: StoreSetting,
    /// What gets into a store at Upstash.
    pub store_token: Option<SecretString>,
    /// US dollars for 100,000 commands of the store; `None`: what Upstash takes, where the store is there.
    pub store_price: Option<f64>,
    /// What all store work of one request may cost together.
    pub store_budget: Duration,
    /// Whether gateways on one store load each key one at a time; `None`: where commands are not billed.
    pub store_leases: Option<bool>,
    /// How long memory is served while the other gateways on the store cannot be heard; `None`: as suits the store.
    pub store_trust_for: Option<Duration>,
    /// Where the embedded store, the ban memory and the credentials live.
    pub data_dir: PathBuf,
    /// Which set of region defaults applies.
    pub preset: Preset,
    /// Prefix of every key in the store.
    pub namespace: String,
    /// Off: everything passes through.
    pub enabled: bool,
    /// The exchange.
    pub binance: Binance,
    /// The fear & greed index.
    pub fear_greed: FearGreed,
    /// The proxy that leads to upstreams, buckets and APIs.
    pub proxy: ProxySetting,
    /// The admin API.
    pub admin: Admin,
    /// Key for credentials at rest.
    pub master_key: Option<SecretString>,
    /// The prepared lists of symbols.
    pub symbols: Symbols,
    /// The warm set.
    pub warm: WarmOptions,
    /// The memory tier.
    pub memory: Memory,
    /// What one client, and all of them together, may ask of the gateway.
    pub limits: Limits,
    /// What the gateway may ask of an upstream.
    pub upstream: Upstream,
    /// The log's level and form.
    pub log: Log,
    /// Overrides by region; a name that no region has yet makes one for data of applications.
    pub regions: BTreeMap<String, RegionOverride>,
    /// Routes, and the databases, buckets and APIs that they ask.
    pub declared: Declared,
}

/// The hosts of the exchange, each list in the order to be tried.
#[derive(Debug, Clone)]
pub struct Binance {
    /// Off: a gateway without an exchange. All the lists below are empty then.
    pub enabled: bool,
    /// Answers `/api` and `/sapi`.
    pub spot_url: Vec<BaseUrl>,
    /// Answers `/fapi` and `/futures/data`.
    pub futures_url: Vec<BaseUrl>,
    /// Answers `/dapi`.
    pub coin_url: Vec<BaseUrl>,
    /// Answers `/eapi`, which is only passed on. None: the exchange's own, where all its markets are its own too.
    pub options_url: Vec<BaseUrl>,
    /// Answers `/papi`, likewise.
    pub portfolio_url: Vec<BaseUrl>,
    /// The spot testnet.
    pub testnet_spot_url: Vec<BaseUrl>,
    /// The futures testnet.
    pub testnet_futures_url: Vec<BaseUrl>,
    /// Spot market streams; none keeps them off.
    pub ws_url: Vec<BaseUrl>,
    /// USD-M futures streams; none keeps them off.
    pub futures_ws_url: Vec<BaseUrl>,
}

/// The prepared lists of symbols.
#[derive(Debug, Clone)]
pub struct Symbols {
    /// The pairs that stand first, in this order.
    pub popular: Vec<String>,
}

/// The fear & greed index.
#[derive(Debug, Clone)]
pub struct FearGreed {
    /// Base of its API.
    pub url: Option<BaseUrl>,
}

/// The admin API.
#[derive(Debug, Clone)]
pub struct Admin {
    /// Bearer token; `None` leaves the API open, on loopback only.
    pub token: Option<SecretString>,
}

/// The memory tier.
#[derive(Debug, Clone)]
pub struct Memory {
    /// Its size in bytes.
    pub limit: u64,
}

/// What one client, and all of them together, may ask of the gateway.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Open connections.
    pub max_connections: usize,
    /// Requests being answered at the same time.
    pub max_concurrent_requests: usize,
    /// Length of path and query in bytes.
    pub max_url_bytes: u64,
    /// Size of a request body in bytes.
    pub max_body_bytes: u64,
    /// For the header of a request to arrive.
    pub header_timeout: Duration,
    /// For a whole request to be answered.
    pub request_timeout: Duration,
}

/// What the gateway may ask of an upstream.
#[derive(Debug, Clone)]
pub struct Upstream {
    /// For a connection to be made.
    pub connect_timeout: Duration,
    /// Requests under way at the same time, per upstream.
    pub max_concurrent: usize,
    /// Size of an answer in bytes.
    pub max_answer_bytes: u64,
    /// Whether gateways on one store leave by one public address, and so spend one budget.
    pub share_budget: bool,
}

/// The log's level and form.
#[derive(Debug, Clone)]
pub struct Log {
    /// A level, or filter directives such as `info,lastgood=debug`.
    pub level: String,
    /// Text for people, JSON for collectors.
    pub format: LogFormat,
    /// Whether each request is a line of its own.
    pub access: bool,
    /// How often the hit rate is logged; zero for never.
    pub stats_every: Duration,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One readable line an event.
    Text,
    /// One JSON object an event.
    Json,
}

impl LogFormat {
    pub(crate) const ALL: [(&str, Self); 2] = [("text", Self::Text), ("json", Self::Json)];

    /// The name used in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

impl Settings {
    /// What the configuration says about a region; all `None` if nothing.
    #[must_use]
    pub fn region(&self, name: &str) -> RegionOverride {
        self.regions.get(name).cloned().unwrap_or_default()
    }

    /// Whether gateways on one store load each key one at a time.
    #[must_use]
    pub fn takes_leases(&self) -> bool {
        self.store.is_shared() && self.store_leases.unwrap_or_else(|| !self.store.is_at_upstash())
    }

    /// US dollars for 100,000 commands of the store, where they are billed.
    #[must_use]
    pub fn price_of_commands(&self) -> Option<f64> {
        self.store_price.or_else(|| self.store.is_at_upstash().then_some(store::UPSTASH_PRICE))
    }

    /// Where the credentials are.
    #[must_use]
    pub fn credentials(&self) -> CredentialStore {
        CredentialStore::in_directory(&self.data_dir)
    }

    /// The file of the embedded store, if that is the store.
    #[must_use]
    pub fn embedded_file(&self) -> Option<PathBuf> {
        match &self.store {
            StoreSetting::Embedded { path: Some(path) } => Some(path.clone()),
            StoreSetting::Embedded { path: None } => Some(self.data_dir.join("lastgood.redb")),
            _ => None,
        }
    }

    /// Where the exchange is, and how it is asked.
    #[must_use]
    pub fn upstreams(&self) -> Options {
        Options {
            spot: self.binance.spot_url.clone(),
            futures: self.binance.futures_url.clone(),
            coin: self.binance.coin_url.clone(),
            options: self.binance.options_url.clone(),
            portfolio: self.binance.portfolio_url.clone(),
            proxies: self.proxy.proxies().clone(),
            connect_timeout: self.upstream.connect_timeout,
            max_concurrent: self.upstream.max_concurrent,
            max_answer_bytes: self.upstream.max_answer_bytes,
        }
        .with_pass_only_defaults()
    }

    /// How databases, buckets and APIs of declared routes are reached.
    #[must_use]
    pub fn connect_options(&self) -> ConnectOptions {
        ConnectOptions {
            connect_timeout: self.upstream.connect_timeout,
            proxies: self.proxy.proxies().clone(),
            max_concurrent: self.upstream.max_concurrent,
            max_answer_bytes: usize::try_from(self.upstream.max_answer_bytes).unwrap_or(usize::MAX),
        }
    }

    /// The regions for data of applications, which declared routes and `/v1/kv` use: those that are always there, and
    /// those that the configuration makes by naming them.
    #[must_use]
    pub fn application_regions(&self) -> Vec<(String, Policy)> {
        regions::of_applications(&self.regions)
    }

    /// Every region with the policy that is in force there, those of the exchange first.
    pub(crate) fn policies(&self) -> impl Iterator<Item = (String, Policy)> {
        let of_exchange =
            RegionName::ALL.into_iter().filter(|name| self.binance.enabled || self.regions.contains_key(name.as_str()));
        let of_exchange = of_exchange.map(|name| (name.as_str().to_owned(), name.policy(self.preset)));
        of_exchange.chain(self.application_regions()).map(|(name, policy)| {
            let policy = self.region(&name).policy.on(policy);
            (name, policy)
        })
    }

    /// The warm set. The dashboard preset keeps lists of symbols warm by default.
    #[must_use]
    pub fn warm_options(&self) -> WarmOptions {
        let every_of = WARMED.into_iter().filter_map(|name| Some((name, self.region(name.as_str()).warm_every?)));
        let warm = WarmOptions { every_of: every_of.collect(), ..self.warm.clone() };
        match (warm.markets.is_empty(), self.preset) {
            (true, Preset::Dashboard) if self.binance.enabled => {
                WarmOptions { markets: MARKETS.to_vec(), intervals: Vec::new(), tickers: false, ..warm }
            }
            _ => warm,
        }
    }
}
