//! The settings where nothing is set.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use lastgood_market::Preset;
use lastgood_market::upstream::{BaseUrl, Options};
use lastgood_market::warm::WarmOptions;

use crate::declared::Declared;
use crate::listening::{Cors, Tls};
use crate::proxy::ProxySetting;
use crate::settings::{Admin, Binance, FearGreed, Limits, Log, LogFormat, Memory, Settings, Symbols, Upstream};
use crate::store::StoreSetting;

/// Where the data is when neither a setting nor the home says it.
pub(crate) const DATA_DIR_WITHOUT_HOME: &str = "lastgood-data";

const FEAR_GREED: &str = "https://api.alternative.me";
const SPOT_TESTNET: &str = "https://testnet.binance.vision";
const FUTURES_TESTNET: &str = "https://testnet.binancefuture.com";
const POPULAR: [&str; 12] = [
    "BTCUSDT", "ETHUSDT", "BNBUSDT", "SOLUSDT", "XRPUSDT", "DOGEUSDT", "ADAUSDT", "TRXUSDT", "AVAXUSDT", "LINKUSDT",
    "DOTUSDT", "LTCUSDT",
];

impl Default for Settings {
    /// With `./lastgood-data` as the data directory.
    fn default() -> Self {
        let exchange = Options::public();
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8090)),
            unix_socket: None,
            tls: Tls { certificate: None, key: None },
            cors: Cors { origins: Vec::new() },
            hosts: Vec::new(),
            store: StoreSetting::Embedded { path: None },
            store_token: None,
            store_price: None,
            store_budget: Duration::from_millis(25),
            store_leases: None,
            store_trust_for: None,
            data_dir: PathBuf::from(DATA_DIR_WITHOUT_HOME),
            preset: Preset::Trading,
            namespace: "lastgood".to_owned(),
            enabled: true,
            fear_greed: FearGreed { url: base_urls(FEAR_GREED).pop() },
            proxy: ProxySetting::default(),
            admin: Admin { token: None },
            master_key: None,
            symbols: Symbols { popular: POPULAR.map(str::to_owned).to_vec() },
            warm: WarmOptions::default(),
            memory: Memory { limit: 256 << 20 },
            limits: Limits {
                max_connections: 10_000,
                max_concurrent_requests: 2_000,
                max_url_bytes: 8 << 10,
                max_body_bytes: 10 << 20,
                header_timeout: Duration::from_secs(10),
                request_timeout: Duration::from_secs(30),
            },
            upstream: Upstream {
                connect_timeout: exchange.connect_timeout,
                max_concurrent: exchange.max_concurrent,
                max_answer_bytes: exchange.max_answer_bytes,
                share_budget: true,
            },
            binance: binance(exchange),
            log: Log {
                level: "info".to_owned(),
                format: LogFormat::Text,
                access: false,
                stats_every: Duration::from_secs(300),
            },
            regions: BTreeMap::new(),
            declared: Declared::default(),
        }
    }
}

/// The exchange without streams: their addresses have to be set.
fn binance(exchange: Options) -> Binance {
    Binance {
        enabled: true,
        spot_url: exchange.spot,
        futures_url: exchange.futures,
        coin_url: exchange.coin,
        options_url: Vec::new(),
        portfolio_url: Vec::new(),
        testnet_spot_url: base_urls(SPOT_TESTNET),
        testnet_futures_url: base_urls(FUTURES_TESTNET),
        ws_url: Vec::new(),
        futures_ws_url: Vec::new(),
    }
}

fn base_urls(url: &str) -> Vec<BaseUrl> {
    BaseUrl::parse(url).into_iter().collect()
}
