//! The table of what can be set.

use std::time::Duration;

use super::{Field, Key};
use crate::config::problem::Wrong;
use crate::config::upstream::{self, BaseUrl, Protocol};
use crate::config::value::{self, Raw};
use crate::config::{LogFormat, Preset, address, show, store, warm};

/// A field, the function that reads it and the one that shows it.
macro_rules! field {
    ($($path:ident).+, $parse:expr, $show:expr) => {
        Field {
            set: |settings, raw| {
                settings.$($path).+ = ($parse)(raw)?;
                Ok(())
            },
            show: |settings| ($show)(&settings.$($path).+),
        }
    };
}

/// Everything that can be set, in the order it is shown.
pub const KEYS: &[Key] = &[
    Key {
        name: "listen",
        kind: "address",
        env: &["LASTGOOD_LISTEN"],
        flag: Some("listen"),
        default: "127.0.0.1:8090",
        doc: "where to listen; other than loopback needs admin.token",
        secret: false,
        field: field!(listen, address::parse, show::plain),
    },
    Key {
        name: "store",
        kind: "store URL",
        env: &["LASTGOOD_STORE_URL", "REDIS_URL", "UPSTASH_REDIS_URL", "UPSTASH_REDIS_REST_URL", "KV_REST_API_URL"],
        flag: Some("store"),
        default: "embedded:",
        doc: "the store: embedded:[FILE], memory:, redis://, rediss:// or unix:SOCKET; empty is embedded",
        secret: false,
        field: field!(store, store::parse, show::plain),
    },
    Key {
        name: "store_budget",
        kind: "duration",
        env: &["LASTGOOD_STORE_BUDGET"],
        flag: None,
        default: "25ms",
        doc: "what all store work of one request may cost together",
        secret: false,
        field: field!(store_budget, |raw| value::span(raw, MILLISECOND..=SECOND * 10), show::span),
    },
    Key {
        name: "data_dir",
        kind: "path",
        env: &["LASTGOOD_DATA_DIR"],
        flag: Some("data-dir"),
        default: "",
        doc: "embedded store, ban memory and credentials; empty is $XDG_DATA_HOME/lastgood, \
            else ~/.local/share/lastgood, else ./lastgood-data",
        secret: false,
        field: field!(data_dir, value::path, show::path),
    },
    Key {
        name: "preset",
        kind: "trading or dashboard",
        env: &["LASTGOOD_PRESET"],
        flag: Some("preset"),
        default: "trading",
        doc: "which region defaults apply: trading for bots, dashboard for pages",
        secret: false,
        field: field!(preset, |raw| value::one_of(raw, &Preset::ALL), show::preset),
    },
    Key {
        name: "namespace",
        kind: "name",
        env: &["LASTGOOD_NAMESPACE"],
        flag: None,
        default: "lastgood",
        doc: "prefix of every key in the store",
        secret: false,
        field: field!(namespace, value::namespace, show::plain),
    },
    Key {
        name: "enabled",
        kind: "true or false",
        env: &["LASTGOOD_ENABLED", "CACHE_ENABLED", "REDIS_ENABLED"],
        flag: None,
        default: "true",
        doc: "false passes everything through",
        secret: false,
        field: field!(enabled, value::boolean, show::plain),
    },
    Key {
        name: "master_key",
        kind: "secret",
        env: &["LASTGOOD_MASTER_KEY"],
        flag: None,
        default: "",
        doc: "key for credentials at rest: 32 bytes in hexadecimal or base64, or a passphrase of 16 characters",
        secret: true,
        field: field!(master_key, value::master_key, show::secret),
    },
    Key {
        name: "binance.spot_url",
        kind: "list of URLs",
        env: &["LASTGOOD_BINANCE_SPOT_URL"],
        flag: None,
        default: "https://api.binance.com,https://api-gcp.binance.com,https://api1.binance.com,\
            https://api2.binance.com,https://api3.binance.com,https://api4.binance.com",
        doc: "bases of /api and /sapi, tried in order",
        secret: false,
        field: field!(binance.spot_url, http, show::bases),
    },
    Key {
        name: "binance.futures_url",
        kind: "list of URLs",
        env: &["LASTGOOD_BINANCE_FUTURES_URL"],
        flag: None,
        default: "https://fapi.binance.com",
        doc: "bases of /fapi and /futures/data, tried in order",
        secret: false,
        field: field!(binance.futures_url, http, show::bases),
    },
    Key {
        name: "binance.coin_url",
        kind: "list of URLs",
        env: &["LASTGOOD_BINANCE_COIN_URL"],
        flag: None,
        default: "https://dapi.binance.com",
        doc: "bases of /dapi, tried in order",
        secret: false,
        field: field!(binance.coin_url, http, show::bases),
    },
    Key {
        name: "binance.testnet_spot_url",
        kind: "list of URLs",
        env: &["LASTGOOD_BINANCE_TESTNET_SPOT_URL"],
        flag: None,
        default: "https://testnet.binance.vision",
        doc: "bases of the spot testnet, asked for symbols with a testnet key of the user's",
        secret: false,
        field: field!(binance.testnet_spot_url, http, show::bases),
    },
    Key {
        name: "binance.testnet_futures_url",
        kind: "list of URLs",
        env: &["LASTGOOD_BINANCE_TESTNET_FUTURES_URL"],
        flag: None,
        default: "https://testnet.binancefuture.com",
        doc: "bases of the futures testnet, asked for symbols with a testnet key of the user's",
        secret: false,
        field: field!(binance.testnet_futures_url, http, show::bases),
    },
    Key {
        name: "binance.ws_url",
        kind: "list of URLs",
        env: &["LASTGOOD_BINANCE_WS_URL"],
        flag: None,
        default: "",
        doc: "bases of the spot market streams, tried in order, such as wss://stream.binance.com:9443; \
            with the trading preset candles and tickers in use are then kept fresh by them",
        secret: false,
        field: field!(binance.ws_url, streams, show::bases),
    },
    Key {
        name: "binance.futures_ws_url",
        kind: "list of URLs",
        env: &["LASTGOOD_BINANCE_FUTURES_WS_URL"],
        flag: None,
        default: "",
        doc: "bases of the USD-M futures streams, such as wss://fstream.binance.com",
        secret: false,
        field: field!(binance.futures_ws_url, streams, show::bases),
    },
    Key {
        name: "fear_greed.url",
        kind: "URL",
        env: &["LASTGOOD_FEAR_GREED_URL"],
        flag: None,
        default: "https://api.alternative.me",
        doc: "base of the fear & greed API; not used by this version",
        secret: false,
        field: field!(fear_greed.url, |raw| upstream::single(raw).map(Some), show::option),
    },
    Key {
        name: "symbols.popular",
        kind: "list of symbols",
        env: &["LASTGOOD_SYMBOLS_POPULAR"],
        flag: None,
        default: "BTCUSDT,ETHUSDT,BNBUSDT,SOLUSDT,XRPUSDT,DOGEUSDT,ADAUSDT,TRXUSDT,AVAXUSDT,LINKUSDT,DOTUSDT,LTCUSDT",
        doc: "the pairs that /v1/symbols lists first, in this order",
        secret: false,
        field: field!(symbols.popular, value::symbols, show::words),
    },
    Key {
        name: "warm.markets",
        kind: "list of spot, futures",
        env: &["LASTGOOD_WARM_MARKETS"],
        flag: None,
        default: "",
        doc: "the markets that are kept warm, ahead of their readers; with none, lists of symbols alone are, \
            and only with the dashboard preset",
        secret: false,
        field: field!(warm.markets, warm::markets, warm::show_markets),
    },
    Key {
        name: "warm.symbols",
        kind: "list of symbols",
        env: &["LASTGOOD_WARM_SYMBOLS"],
        flag: None,
        default: "",
        doc: "the pairs whose candles are kept warm, in this order",
        secret: false,
        field: field!(warm.symbols, value::symbols, show::words),
    },
    Key {
        name: "warm.popular",
        kind: "count",
        env: &["LASTGOOD_WARM_POPULAR"],
        flag: None,
        default: "0",
        doc: "after them so many from the head of each market's list, popular first",
        secret: false,
        field: field!(warm.popular, |raw| value::count(raw, 0..=500), show::plain),
    },
    Key {
        name: "warm.intervals",
        kind: "list of intervals",
        env: &["LASTGOOD_WARM_INTERVALS"],
        flag: None,
        default: "",
        doc: "the intervals of those candles, such as 1m,1h; with none no candles are kept warm",
        secret: false,
        field: field!(warm.intervals, warm::intervals, show::words),
    },
    Key {
        name: "warm.candles",
        kind: "count",
        env: &["LASTGOOD_WARM_CANDLES"],
        flag: None,
        default: "500",
        doc: "how many of the newest candles",
        secret: false,
        field: field!(warm.candles, |raw| value::count(raw, 1..=1_000), show::plain),
    },
    Key {
        name: "warm.tickers",
        kind: "true or false",
        env: &["LASTGOOD_WARM_TICKERS"],
        flag: None,
        default: "true",
        doc: "whether the 24 h tickers of all symbols are kept warm, too",
        secret: false,
        field: field!(warm.tickers, value::boolean, show::plain),
    },
    Key {
        name: "warm.every",
        kind: "duration",
        env: &["LASTGOOD_WARM_EVERY"],
        flag: None,
        default: "5m",
        doc: "how long from the beginning of a round to the next, at most",
        secret: false,
        field: field!(warm.every, |raw| value::span(raw, SECOND..=SECOND * 86_400), show::span),
    },
    Key {
        name: "admin.token",
        kind: "secret",
        env: &["LASTGOOD_ADMIN_TOKEN"],
        flag: None,
        default: "",
        doc: "bearer token of the admin API; needed to listen beyond loopback",
        secret: true,
        field: field!(admin.token, value::secret, show::secret),
    },
    Key {
        name: "memory.limit",
        kind: "bytes",
        env: &["LASTGOOD_MEMORY_LIMIT"],
        flag: None,
        default: "256MiB",
        doc: "size of the memory tier",
        secret: false,
        field: field!(memory.limit, |raw| value::bytes(raw, MIB..=TIB), show::bytes),
    },
    Key {
        name: "limits.max_connections",
        kind: "count",
        env: &["LASTGOOD_LIMITS_MAX_CONNECTIONS"],
        flag: None,
        default: "10000",
        doc: "open connections",
        secret: false,
        field: field!(limits.max_connections, |raw| value::count(raw, 1..=1_000_000), show::plain),
    },
    Key {
        name: "limits.max_concurrent_requests",
        kind: "count",
        env: &["LASTGOOD_LIMITS_MAX_CONCURRENT_REQUESTS"],
        flag: None,
        default: "2000",
        doc: "requests being answered at the same time",
        secret: false,
        field: field!(limits.max_concurrent_requests, |raw| value::count(raw, 1..=1_000_000), show::plain),
    },
    Key {
        name: "limits.max_url_bytes",
        kind: "bytes",
        env: &["LASTGOOD_LIMITS_MAX_URL_BYTES"],
        flag: None,
        default: "8KiB",
        doc: "length of path and query",
        secret: false,
        field: field!(limits.max_url_bytes, |raw| value::bytes(raw, 256..=MIB), show::bytes),
    },
    Key {
        name: "limits.max_body_bytes",
        kind: "bytes",
        env: &["LASTGOOD_LIMITS_MAX_BODY_BYTES"],
        flag: None,
        default: "10MiB",
        doc: "size of a request body",
        secret: false,
        field: field!(limits.max_body_bytes, |raw| value::bytes(raw, 0..=GIB), show::bytes),
    },
    Key {
        name: "limits.header_timeout",
        kind: "duration",
        env: &["LASTGOOD_LIMITS_HEADER_TIMEOUT"],
        flag: None,
        default: "10s",
        doc: "for the header of a request to arrive",
        secret: false,
        field: field!(limits.header_timeout, timeout, show::span),
    },
    Key {
        name: "limits.request_timeout",
        kind: "duration",
        env: &["LASTGOOD_LIMITS_REQUEST_TIMEOUT"],
        flag: None,
        default: "30s",
        doc: "for a whole request to be answered",
        secret: false,
        field: field!(limits.request_timeout, timeout, show::span),
    },
    Key {
        name: "upstream.connect_timeout",
        kind: "duration",
        env: &["LASTGOOD_UPSTREAM_CONNECT_TIMEOUT"],
        flag: None,
        default: "2s",
        doc: "for a connection to an upstream to be made",
        secret: false,
        field: field!(upstream.connect_timeout, timeout, show::span),
    },
    Key {
        name: "upstream.max_concurrent",
        kind: "count",
        env: &["LASTGOOD_UPSTREAM_MAX_CONCURRENT"],
        flag: None,
        default: "64",
        doc: "requests to one upstream at the same time",
        secret: false,
        field: field!(upstream.max_concurrent, |raw| value::count(raw, 1..=100_000), show::plain),
    },
    Key {
        name: "upstream.max_answer_bytes",
        kind: "bytes",
        env: &["LASTGOOD_UPSTREAM_MAX_ANSWER_BYTES"],
        flag: None,
        default: "64MiB",
        doc: "size of an upstream's answer",
        secret: false,
        field: field!(upstream.max_answer_bytes, |raw| value::bytes(raw, KIB..=GIB), show::bytes),
    },
    Key {
        name: "log.level",
        kind: "level or directives",
        env: &["LASTGOOD_LOG"],
        flag: None,
        default: "info",
        doc: "off, error, warn, info, debug, trace, or directives such as info,lastgood=debug",
        secret: false,
        field: field!(log.level, value::log_filter, show::plain),
    },
    Key {
        name: "log.format",
        kind: "text or json",
        env: &["LASTGOOD_LOG_FORMAT"],
        flag: None,
        default: "text",
        doc: "the form of a log line",
        secret: false,
        field: field!(log.format, |raw| value::one_of(raw, &LogFormat::ALL), show::format),
    },
];

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

fn timeout(raw: &Raw) -> Result<Duration, Wrong> {
    value::span(raw, MILLISECOND..=SECOND * 600)
}

/// Unlike what answers requests, streams can be left out.
fn streams(raw: &Raw) -> Result<Vec<BaseUrl>, Wrong> {
    if raw.as_list()?.is_empty() { Ok(Vec::new()) } else { upstream::list(raw, Protocol::WebSocket) }
}

fn http(raw: &Raw) -> Result<Vec<BaseUrl>, Wrong> {
    upstream::list(raw, Protocol::Http)
}
