//! How upstreams are reached: directly, or by a proxy.

use std::error::Error;
use std::fmt;

use http::Uri;
use hyper_rustls::ConfigBuilderExt as _;
use lastgood::proxy::{Proxies, ProxyConnector, ProxyFailure};
use lastgood_settings::Settings;
use reqwest::{Client, redirect};
use rustls::ClientConfig;

use super::probe::{PATIENCE, cause};

/// A client that reaches upstreams as the gateway does.
pub(super) struct Ways {
    pub(super) client: Client,
    connector: ProxyConnector,
    proxies: Proxies,
}

/// Why upstreams cannot be asked at all.
#[derive(Debug)]
pub(super) struct NoClient(Box<dyn Error + Send + Sync>);

impl fmt::Display for NoClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the HTTP client does not start: {}", cause(&*self.0))
    }
}

impl Error for NoClient {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.0)
    }
}

impl Ways {
    pub(super) fn new(settings: &Settings) -> Result<Ways, NoClient> {
        let (proxies, connect_timeout) = (settings.proxy.proxies().clone(), settings.upstream.connect_timeout);
        let by = proxies.clone();
        let client = Client::builder()
            .redirect(redirect::Policy::none())
            .no_proxy()
            .proxy(reqwest::Proxy::custom(move |url| {
                let destination: Uri = url.as_str().parse().ok()?;
                by.of(&destination).map(|proxy| proxy.expose_url(&by, &destination))
            }))
            .connect_timeout(connect_timeout)
            .timeout(PATIENCE)
            .build()
            .map_err(|why| NoClient(why.into()))?;
        let tls =
            ClientConfig::builder().with_native_roots().map_err(|why| NoClient(why.into()))?.with_no_client_auth();
        Ok(Ways { client, connector: ProxyConnector::new(proxies.clone(), tls, connect_timeout), proxies })
    }

    /// How a URL is reached, and whether the proxy, if there is one, leads there.
    pub(super) async fn to(&self, url: &str) -> (String, Result<(), ProxyFailure>) {
        let destination = url.parse::<Uri>().ok();
        let Some((destination, proxy)) = destination.and_then(|url| Some((url.clone(), self.proxies.of(&url)?))) else {
            return ("direct".to_owned(), Ok(()));
        };
        let led = match self.connector.clone().connect(destination).await {
            Ok(_) => Ok(()),
            Err(why) => ProxyFailure::among_causes_of(&*why).cloned().map_or(Ok(()), Err),
        };
        (format!("by proxy {proxy}"), led)
    }

    /// What to add to the hint for a URL that cannot be reached this way.
    pub(super) fn hint(&self, way: &str) -> &'static str {
        match (way == "direct", self.proxies == Proxies::default()) {
            (true, true) => "; where only a proxy leads out, set HTTPS_PROXY or LASTGOOD_PROXY",
            (true, false) => "; a proxy is set, but NO_PROXY or the kind of URL has this one reached directly",
            (false, _) => "; the proxy leads there, so look beyond it",
        }
    }
}
