//! Settings before any layer has spoken, and with the defaults of [`KEYS`] alone.

use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use lastgood_market::Preset;
use lastgood_market::warm::WarmOptions;

use crate::declared::Declared;
use crate::keys::KEYS;
use crate::listening::{Cors, Tls};
use crate::proxy::ProxySetting;
use crate::settings::{Admin, Binance, FearGreed, Limits, Log, LogFormat, Memory, Settings, Symbols, Upstream};
use crate::store::StoreSetting;
use crate::value::Raw;

/// Where the data is when neither a setting nor the home says it.
pub(crate) const DATA_DIR_WITHOUT_HOME: &str = "lastgood-data";

impl Settings {
    /// Zeros and empty lists, for the table of keys to fill.
    fn blank() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            unix_socket: None,
            tls: Tls { certificate: None, key: None },
            cors: Cors { origins: Vec::new() },
            hosts: Vec::new(),
            store: StoreSetting::Memory,
            store_token: None,
            store_price: None,
            store_budget: Duration::ZERO,
            store_leases: None,
            store_trust_for: None,
            data_dir: PathBuf::new(),
            preset: Preset::Trading,
            namespace: String::new(),
            enabled: true,
            binance: no_exchange(),
            fear_greed: FearGreed { url: None },
            proxy: ProxySetting::default(),
            admin: Admin { token: None },
            master_key: None,
            symbols: Symbols { popular: Vec::new() },
            warm: WarmOptions {
                markets: Vec::new(),
                symbols: Vec::new(),
                popular: 0,
                intervals: Vec::new(),
                candles: 0,
                tickers: true,
                every: Duration::ZERO,
                every_of: HashMap::new(),
            },
            memory: Memory { limit: 0 },
            limits: Limits {
                max_connections: 0,
                max_concurrent_requests: 0,
                max_url_bytes: 0,
                max_body_bytes: 0,
                header_timeout: Duration::ZERO,
                request_timeout: Duration::ZERO,
            },
            upstream: Upstream {
                connect_timeout: Duration::ZERO,
                max_concurrent: 0,
                max_answer_bytes: 0,
                share_budget: true,
            },
            log: Log { level: String::new(), format: LogFormat::Text, access: false, stats_every: Duration::ZERO },
            regions: BTreeMap::new(),
            declared: Declared::default(),
        }
    }
}

impl Default for Settings {
    /// The defaults of [`KEYS`], with `./lastgood-data` as the data directory.
    fn default() -> Self {
        let mut settings = Self::blank();
        for key in KEYS {
            let applied = key.apply(&mut settings, &Raw::text(key.default));
            debug_assert!(applied.is_ok(), "the default of {} is valid", key.name);
        }
        settings.data_dir = PathBuf::from(DATA_DIR_WITHOUT_HOME);
        settings
    }
}

fn no_exchange() -> Binance {
    Binance {
        enabled: true,
        spot_url: Vec::new(),
        futures_url: Vec::new(),
        coin_url: Vec::new(),
        options_url: Vec::new(),
        portfolio_url: Vec::new(),
        testnet_spot_url: Vec::new(),
        testnet_futures_url: Vec::new(),
        ws_url: Vec::new(),
        futures_ws_url: Vec::new(),
    }
}
