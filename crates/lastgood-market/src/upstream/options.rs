//! Where the exchange is, and how it is asked.

use std::fmt;
use std::time::Duration;

use lastgood::proxy::Proxies;
use url::Url;

use crate::venue::Venue;

/// The base of an upstream, the only way a host gets to be asked: scheme, host, port and an optional base path, free of
/// userinfo, query and fragment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BaseUrl(Url);

/// A text that is no [`BaseUrl`]. It never repeats the text, which may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoBaseUrl(&'static str);

impl fmt::Display for NoBaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; write for example https://host", self.0)
    }
}

impl std::error::Error for NoBaseUrl {}

impl BaseUrl {
    /// The base that a text names.
    ///
    /// # Errors
    ///
    /// When it is no URL, or one that [`BaseUrl::new`] refuses.
    pub fn parse(text: &str) -> Result<BaseUrl, NoBaseUrl> {
        let url = Url::parse(text).map_err(|_| NoBaseUrl("this is not a URL"))?;
        match url.scheme() {
            "https" | "http" => BaseUrl::new(url),
            _ => Err(NoBaseUrl("the scheme of an upstream URL is https or http")),
        }
    }

    /// The base that a URL is.
    ///
    /// # Errors
    ///
    /// When it holds a user, a password, a query or a fragment, or names no host and port.
    pub fn new(url: Url) -> Result<BaseUrl, NoBaseUrl> {
        if !url.username().is_empty() || url.password().is_some() {
            return Err(NoBaseUrl("an upstream URL must not hold a user or password"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(NoBaseUrl("an upstream URL has no query or fragment"));
        }
        if url.host_str().is_none_or(str::is_empty) || url.port() == Some(0) {
            return Err(NoBaseUrl("the URL names no host and port to connect to"));
        }
        Ok(BaseUrl(url))
    }

    /// The text to put a path behind: it never ends with a slash.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str().trim_end_matches('/')
    }

    /// The parsed URL.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.0
    }

    /// The host name, as the budget and the bans know it.
    #[must_use]
    pub fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }

    /// The port, written or implied by the scheme.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.0.port_or_known_default().unwrap_or_default()
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// The exchange's own spot hosts, in the order to be tried.
pub const SPOT_BASES: &str = "https://api.binance.com,https://api-gcp.binance.com,https://api1.binance.com,\
    https://api2.binance.com,https://api3.binance.com,https://api4.binance.com";
/// Its host of USD-M futures.
pub const FUTURES_BASES: &str = "https://fapi.binance.com";
/// Its host of COIN-M futures.
pub const COIN_BASES: &str = "https://dapi.binance.com";

/// Where the exchange is, and how it is asked. By default it is nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The bases of spot, in the order to be tried.
    pub spot: Vec<BaseUrl>,
    /// Those of the USD-M futures.
    pub futures: Vec<BaseUrl>,
    /// Those of the COIN-M futures.
    pub coin: Vec<BaseUrl>,
    /// The proxies by which the bases are reached. None by default.
    pub proxies: Proxies,
    /// The longest that making a connection may take.
    pub connect_timeout: Duration,
    /// How many requests may be under way to one base.
    pub max_concurrent: usize,
    /// The largest answer that is taken, in bytes, unpacked.
    pub max_answer_bytes: u64,
}

impl Options {
    /// The exchange's own hosts.
    pub fn public() -> Options {
        let bases = |list: &str| list.split(',').filter_map(|base| BaseUrl::parse(base).ok()).collect();
        Options {
            spot: bases(SPOT_BASES),
            futures: bases(FUTURES_BASES),
            coin: bases(COIN_BASES),
            ..Options::default()
        }
    }

    /// The bases of a venue, in the order to be tried.
    pub fn bases(&self, venue: Venue) -> &[BaseUrl] {
        match venue {
            Venue::Spot => &self.spot,
            Venue::Futures => &self.futures,
            Venue::Coin => &self.coin,
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Options {
            spot: Vec::new(),
            futures: Vec::new(),
            coin: Vec::new(),
            proxies: Proxies::default(),
            connect_timeout: Duration::from_secs(2),
            max_concurrent: 64,
            max_answer_bytes: 64 << 20,
        }
    }
}
