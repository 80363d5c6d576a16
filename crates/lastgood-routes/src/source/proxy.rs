//! Proxies for the clients of declared sources.

use http::Uri;
use lastgood::proxy::{Proxies, Proxy};
use reqwest::ClientBuilder;

/// The proxy that a URL is reached by.
pub(super) fn of(proxies: &Proxies, url: &str) -> Option<Proxy> {
    url.parse::<Uri>().ok().and_then(|uri| proxies.of(&uri))
}

/// Has a client go by these proxies, and by no others.
pub(super) fn by(client: ClientBuilder, proxies: &Proxies) -> ClientBuilder {
    let proxies = proxies.clone();
    // Without an explicit choice the client would read the environment itself.
    client.no_proxy().proxy(reqwest::Proxy::custom(move |url| {
        let destination: Uri = url.as_str().parse().ok()?;
        proxies.of(&destination).map(|proxy| proxy.expose_url(&proxies, &destination))
    }))
}

/// The error for a proxy that lets nothing through; `None` where it is not to blame.
pub(super) fn failure(why: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    let mut cause = Some(why);
    while let Some(one) = cause {
        let text = one.to_string();
        if text.contains("proxy authorization required") {
            return Some("the proxy wants a user and a password, or others (407)");
        }
        if text.contains("tunnel error") {
            return Some("the proxy cannot be reached, or does not lead there");
        }
        if text.contains("SOCKS") || text.contains("socks") {
            return Some("the SOCKS proxy does not lead there");
        }
        cause = one.source();
    }
    None
}

/// The hint for any failure of a proxy.
pub(super) const HINT: &str = "check LASTGOOD_PROXY, HTTPS_PROXY, HTTP_PROXY or ALL_PROXY, and whether the proxy allows this \
    host; NO_PROXY names hosts that are reached directly";
