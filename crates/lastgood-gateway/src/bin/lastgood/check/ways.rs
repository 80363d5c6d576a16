//! How upstreams are reached: directly, or by a proxy.

use http::Uri;
use lastgood::http_client::{HttpClient, HttpOptions, NoTls, Trust, tls};
use lastgood::proxy::{Proxies, ProxyConnector, ProxyFailure};
use lastgood_settings::Settings;

/// A client that reaches upstreams as the gateway does.
pub(super) struct Ways {
    pub(super) client: HttpClient,
    connector: ProxyConnector,
    proxies: Proxies,
}

impl Ways {
    pub(super) fn new(settings: &Settings) -> Result<Ways, NoTls> {
        let (proxies, connect_timeout) = (settings.proxy.proxies().clone(), settings.upstream.connect_timeout);
        let client = HttpClient::new(&HttpOptions { proxies: proxies.clone(), ..HttpOptions::new(connect_timeout) })?;
        let connector = ProxyConnector::new(proxies.clone(), tls(Trust::System)?, connect_timeout);
        Ok(Ways { client, connector, proxies })
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
