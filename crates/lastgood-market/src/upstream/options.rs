//! Where the exchange is, and how it is asked.

use std::fmt;
use std::time::Duration;

use http::HeaderValue;
use lastgood::proxy::Proxies;
use url::Url;

use crate::venue::{PassOnly, Venue};

/// The host of an upstream, the only way a host gets to be asked: scheme, host, port and an optional host path, free of
/// userinfo, query and fragment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BaseUrl {
    url: Url,
    /// As requests name it.
    host: HeaderValue,
}

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
    /// The host that a text names.
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

    /// The host of streams that a text names.
    ///
    /// # Errors
    ///
    /// When it is no URL, or one that [`BaseUrl::new`] refuses.
    pub(crate) fn parse_websocket(text: &str) -> Result<BaseUrl, NoBaseUrl> {
        let url = Url::parse(text).map_err(|_| NoBaseUrl("this is not a URL"))?;
        match url.scheme() {
            "wss" | "ws" => BaseUrl::new(url),
            _ => Err(NoBaseUrl("the scheme of a stream URL is wss or ws")),
        }
    }

    /// The host that a URL is.
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
        let host = url.host_str().unwrap_or_default();
        let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let host = HeaderValue::try_from(host);
        Ok(BaseUrl { host: host.map_err(|_| NoBaseUrl("the URL names no host and port to connect to"))?, url })
    }

    /// The text to put a path behind: it never ends with a slash.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.url.as_str().trim_end_matches('/')
    }

    /// The parsed URL.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The host name alone.
    #[must_use]
    pub fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    /// What it is called in reports, messages and the log: the host, with the port where the scheme does not imply it.
    #[must_use]
    pub fn name(&self) -> &str {
        self.host.to_str().unwrap_or_default()
    }

    /// The `Host` of requests to it: the port stands with it where the scheme does not imply it.
    pub(super) fn host_header(&self) -> &HeaderValue {
        &self.host
    }

    /// The port, written or implied by the scheme.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.url.port_or_known_default().unwrap_or_default()
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// The exchange's own spot hosts, in the order to be tried.
pub(super) const SPOT_HOSTS: &str = "https://api.binance.com,https://api-gcp.binance.com,https://api1.binance.com,\
    https://api2.binance.com,https://api3.binance.com,https://api4.binance.com";
/// Its host of USD-M futures.
pub(super) const FUTURES_HOSTS: &str = "https://fapi.binance.com";
/// Its host of COIN-M futures.
pub(super) const COIN_HOSTS: &str = "https://dapi.binance.com";
/// Its host of European options.
pub(super) const OPTIONS_HOST: &str = "https://eapi.binance.com";
/// Its host of portfolio margin.
pub(super) const PORTFOLIO_HOST: &str = "https://papi.binance.com";
/// Its host of spot market data alone.
const MARKET_DATA_HOST: &str = "https://data-api.binance.vision";

/// Where the exchange is, and how it is asked. By default it is nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The hosts of spot, in the order to be tried.
    pub spot: Vec<BaseUrl>,
    /// Those of the USD-M futures.
    pub futures: Vec<BaseUrl>,
    /// Those of the COIN-M futures.
    pub coin: Vec<BaseUrl>,
    /// Those of European options, which are only passed to. None: nothing is.
    pub options: Vec<BaseUrl>,
    /// Those of portfolio margin, likewise.
    pub portfolio: Vec<BaseUrl>,
    /// The proxies by which the hosts are reached. None by default.
    pub proxies: Proxies,
    /// The longest that making a connection may take.
    pub connect_timeout: Duration,
    /// How many requests may be under way to one host; to one path at most three quarters of them.
    pub max_concurrent: usize,
    /// The largest answer that is taken, in bytes, unpacked.
    pub max_answer_bytes: u64,
}

impl Options {
    /// Whether any of an exchange's hosts are named.
    pub(crate) fn has_exchange(&self) -> bool {
        [&self.spot, &self.futures, &self.coin].into_iter().any(|hosts| !hosts.is_empty())
    }

    /// The exchange's own hosts.
    pub fn public() -> Options {
        Options {
            spot: parsed(SPOT_HOSTS),
            futures: parsed(FUTURES_HOSTS),
            coin: parsed(COIN_HOSTS),
            ..Options::default()
        }
        .with_pass_only_defaults()
    }

    /// Passes to the exchange's own hosts of options and portfolio margin where no others are named, if all of its
    /// markets are asked at its own hosts too. Else that would mix a testnet, or another exchange, with the real one.
    #[must_use]
    pub fn with_pass_only_defaults(mut self) -> Options {
        if self.asks_the_exchange_itself() {
            for (hosts, own) in [(&mut self.options, OPTIONS_HOST), (&mut self.portfolio, PORTFOLIO_HOST)] {
                if hosts.is_empty() {
                    *hosts = parsed(own);
                }
            }
        }
        self
    }

    fn asks_the_exchange_itself(&self) -> bool {
        let all_of = |hosts: &[BaseUrl], own: &[&str]| {
            let own: Vec<BaseUrl> = own.iter().flat_map(|list| parsed(list)).collect();
            !hosts.is_empty() && hosts.iter().all(|host| own.contains(host))
        };
        all_of(&self.spot, &[SPOT_HOSTS, MARKET_DATA_HOST])
            && all_of(&self.futures, &[FUTURES_HOSTS])
            && all_of(&self.coin, &[COIN_HOSTS])
    }

    /// The hosts of a part that is only passed to.
    pub(crate) fn pass_only_hosts(&self, part: PassOnly) -> &[BaseUrl] {
        match part {
            PassOnly::Options => &self.options,
            PassOnly::Portfolio => &self.portfolio,
        }
    }

    /// The hosts of a venue, in the order to be tried.
    pub fn hosts(&self, venue: Venue) -> &[BaseUrl] {
        match venue {
            Venue::Spot => &self.spot,
            Venue::UsdM => &self.futures,
            Venue::CoinM => &self.coin,
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Options {
            spot: Vec::new(),
            futures: Vec::new(),
            coin: Vec::new(),
            options: Vec::new(),
            portfolio: Vec::new(),
            proxies: Proxies::default(),
            connect_timeout: Duration::from_secs(2),
            max_concurrent: 64,
            max_answer_bytes: 64 << 20,
        }
    }
}

fn parsed(list: &str) -> Vec<BaseUrl> {
    list.split(',').filter_map(|host| BaseUrl::parse(host).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_and_portfolio_margin_are_never_those_of_another_exchange() {
        let hosts = |options: &Options| {
            PassOnly::ALL
                .map(|part| options.pass_only_hosts(part).iter().map(BaseUrl::host).collect::<Vec<_>>().join(","))
        };
        assert_eq!(hosts(&Options::public()), ["eapi.binance.com", "papi.binance.com"]);
        let fewer =
            Options { spot: parsed("https://api1.binance.com,https://data-api.binance.vision"), ..Options::public() };
        assert_eq!(hosts(&fewer.with_pass_only_defaults()), ["eapi.binance.com", "papi.binance.com"]);
        let bare = || Options { options: Vec::new(), portfolio: Vec::new(), ..Options::public() };
        for mixed in [
            Options { spot: parsed("https://testnet.binance.vision"), ..bare() },
            Options { spot: parsed("https://api.binance.com,http://127.0.0.1:8091"), ..bare() },
            Options { futures: parsed("https://demo-fapi.binance.com"), ..bare() },
            Options { coin: parsed("https://testnet.binancefuture.com"), ..bare() },
            Options { coin: Vec::new(), ..bare() },
        ] {
            assert_eq!(hosts(&mixed.with_pass_only_defaults()), ["", ""]);
        }
        let named = Options { spot: parsed("http://127.0.0.1:1"), options: parsed("http://127.0.0.1:2"), ..bare() };
        assert_eq!(hosts(&named.with_pass_only_defaults()), ["127.0.0.1", ""]);
    }
}
