//! Whether a request was meant for this gateway by somebody at this machine.
//!
//! A browser on the operator's machine reaches loopback, too, and so do clients behind a reverse proxy that runs there.
//! Without an admin token, what tells them apart is what they cannot help sending: a page of another site its `Origin` and
//! `Sec-Fetch-Site`, a name that was pointed here to get round that (DNS rebinding) its `Host`, a proxy what it adds.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};

use axum::response::Response;
use http::header::{HOST, HeaderName, ORIGIN};
use http::{HeaderMap, HeaderValue, StatusCode, Uri, Version};

use crate::problem::problem;

/// What proxies, load balancers and content delivery networks add to a request that they pass on. No browser and no client
/// library sends one of these by itself.
const ADDED_BY_PROXIES: [&str; 29] = [
    "forwarded",
    "via",
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-remote-ip",
    "x-remote-addr",
    "x-scheme",
    "x-request-start",
    "true-client-ip",
    "client-ip",
    "fastly-client-ip",
    "fly-client-ip",
    "x-azure-clientip",
    "x-envoy-external-address",
    "cf-connecting-ip",
    "cf-ray",
    "cdn-loop",
    "x-varnish",
    "x-originating-ip",
    "x-proxyuser-ip",
    "x-nginx-proxy",
    "x-rewrite-url",
    "x-host",
    "x-amzn-trace-id",
    "x-cloud-trace-context",
    "x-appengine-user-ip",
    "do-connecting-ip",
    "ngrok-trace-id",
];
/// How further ones begin: `X-Forwarded-For` and its like, and what they replace of an earlier proxy's.
const PREFIXES_OF_PROXIES: [&str; 4] = ["x-forwarded", "x-original-", "x-envoy-", "tailscale-"];
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");
/// So much of a name is shown.
const SHOWN: usize = 80;

/// The operator's page.
const PAGE: &str = "/";

/// Paths that show the cache's inside or change it, the operator's page included. Market data, declared routes and health
/// are for everybody.
pub(crate) fn is_inside(path: &str) -> bool {
    const INSIDE: [&str; 6] = ["/api/cache", "/cache", "/page", "/v1/kv", "/v1/llm", "/v1/bars"];
    let is_below = |root: &&str| path.strip_prefix(*root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    path == PAGE || INSIDE.iter().any(is_below)
}

/// The names and places that are this gateway's own.
pub(crate) struct OwnSite {
    /// As the configuration has them.
    hosts: RwLock<Vec<String>>,
    on_loopback: AtomicBool,
}

impl OwnSite {
    pub(crate) fn new(hosts: &[String]) -> OwnSite {
        OwnSite { hosts: RwLock::new(hosts.to_vec()), on_loopback: AtomicBool::new(false) }
    }

    /// From now on the gateway is reached by these names.
    pub(crate) fn is_named(&self, hosts: &[String]) {
        *self.hosts.write().unwrap_or_else(PoisonError::into_inner) = hosts.to_vec();
    }

    /// Notes where the gateway listens.
    pub(crate) fn listens_on_loopback(&self, on_loopback: bool) {
        self.on_loopback.store(on_loopback, Ordering::Relaxed);
    }

    /// Whether only this machine can ask.
    pub(crate) fn is_on_loopback(&self) -> bool {
        self.on_loopback.load(Ordering::Relaxed)
    }

    /// The answer to a request that a page of another site sent, or that was sent to a name which is not the gateway's.
    pub(crate) fn refusal(&self, uri: &Uri, headers: &HeaderMap) -> Option<Response> {
        let Some(host) = host_of(uri, headers) else {
            return Some(problem(
                StatusCode::FORBIDDEN,
                "A request to the cache names one host, and this one does not.",
            ));
        };
        if !self.is_own(host) {
            let shown: String = host.chars().take(SHOWN).collect();
            let detail = format!(
                "{shown:?} is no name of this gateway; if it is one, add it to `hosts` in the configuration, or send the admin token."
            );
            return Some(problem(StatusCode::FORBIDDEN, &detail));
        }
        // A link from elsewhere may lead to the page: it holds no data, and runs in no frame and no window of the other site.
        if uri.path() == PAGE && is_navigation(headers) {
            return None;
        }
        let detail = "A page of another site may not do this; send the admin token.";
        is_of_another_site(headers).then(|| problem(StatusCode::FORBIDDEN, detail))
    }

    fn is_own(&self, host: &str) -> bool {
        let Some(name) = name_of(host) else { return false };
        let is_name = |own: &str| own.eq_ignore_ascii_case(name);
        let hosts = || self.hosts.read().unwrap_or_else(PoisonError::into_inner);
        if is_name("localhost") || hosts().iter().any(|own| is_name(own)) {
            return true;
        }
        match name.parse::<IpAddr>() {
            // No name leads to an address that is written out, so that no name can be pointed here to use it.
            Ok(address) => !self.is_on_loopback() || address.to_canonical().is_loopback(),
            // Beyond loopback others of the same network use short names, such as those of a compose file. No site has one.
            Err(_) => !self.is_on_loopback() && !name.is_empty() && !name.contains('.'),
        }
    }
}

/// Whether a request came through a proxy, so that who sent it is not at this machine, wherever the connection is from.
/// HTTP/1.0 is nginx's default towards its upstreams, and no client of today speaks it.
pub(crate) fn is_proxied(version: Version, headers: &HeaderMap) -> bool {
    let is_one = |name: &str| {
        ADDED_BY_PROXIES.contains(&name) || PREFIXES_OF_PROXIES.iter().any(|prefix| name.starts_with(prefix))
    };
    // Some write the words with another line between them.
    let is_added = |name: &HeaderName| match name.as_str() {
        name if name.contains('_') => is_one(&name.replace('_', "-")),
        name => is_one(name),
    };
    version < Version::HTTP_11 || headers.keys().any(is_added)
}

/// The one host that a request names, its URL before its header (RFC 9112, 3.2.2).
fn host_of<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    let mut named = headers.get_all(HOST).iter();
    let header = named.next().map(HeaderValue::to_str);
    if named.next().is_some() {
        return None;
    }
    match uri.authority() {
        Some(authority) => Some(authority.as_str()),
        None => header?.ok(),
    }
}

/// A host without its port, and without the dot that may end it; nothing where it is not written as one.
fn name_of(host: &str) -> Option<&str> {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => {
            let (address, rest) = rest.split_once(']')?;
            (address, if rest.is_empty() { rest } else { rest.strip_prefix(':')? })
        }
        None => host.rsplit_once(':').unwrap_or((host, "")),
    };
    port.bytes().all(|byte| byte.is_ascii_digit()).then(|| name.strip_suffix('.').unwrap_or(name))
}

/// Whether a browser opens this as a page in a tab of its own.
fn is_navigation(headers: &HeaderMap) -> bool {
    let is = |name: HeaderName, value: &str| headers.get(name).is_some_and(|sent| sent.as_bytes() == value.as_bytes());
    is(SEC_FETCH_MODE, "navigate") && is(SEC_FETCH_DEST, "document") && !headers.contains_key(ORIGIN)
}

/// Whether a browser sent it for a page that is not of this gateway.
fn is_of_another_site(headers: &HeaderMap) -> bool {
    let is_elsewhere = |site: &HeaderValue| !matches!(site.as_bytes(), b"same-origin" | b"none");
    if headers.get_all(SEC_FETCH_SITE).iter().any(is_elsewhere) {
        return true;
    }
    let mut origins = headers.get_all(ORIGIN).iter();
    let Some(origin) = origins.next() else { return false };
    let origin = origin.to_str().unwrap_or_default();
    let site = ["http://", "https://"].into_iter().find_map(|scheme| origin.strip_prefix(scheme)).map(str::as_bytes);
    origins.next().is_some() || site.is_none() || site != headers.get(HOST).map(HeaderValue::as_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_let_in(site: &OwnSite, headers: &[(&'static str, &str)]) -> bool {
        let mut all = HeaderMap::new();
        for (name, value) in headers {
            all.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        site.refusal(&Uri::from_static("/api/cache/stats"), &all).is_none()
    }

    #[test]
    fn on_loopback_only_loopbacks_names_and_those_that_are_configured_are_its_own() {
        let site = OwnSite::new(&["Cache.Example".to_owned()]);
        site.listens_on_loopback(true);
        for own in [
            "127.0.0.1:8090",
            "127.0.0.1",
            "127.8.8.8:1",
            "localhost:8090",
            "LOCALHOST",
            "localhost.",
            "[::1]:8090",
            "[::1]",
            "[::ffff:127.0.0.1]:8090",
            "127.0.0.1.:8090",
            "cache.example:8090",
            "CACHE.example",
        ] {
            assert!(is_let_in(&site, &[("host", own)]), "{own}");
        }
        for foreign in [
            "evil.example",
            "127.0.0.1.evil.example:8090",
            "localhost.evil.example",
            "10.0.0.1:8090",
            "0.0.0.0:8090",
            "gateway",
            "",
            ":8090",
            "[::2]:8090",
            "evil.example:127.0.0.1",
            "[::1]evil.example",
            "[::1].evil.example:8090",
            "[::1",
            "::1",
            "localhost:evil.example",
            "localhost..",
            "evil@localhost:8090",
            "localhost.localhost",
            "2130706433:8090",
            "0x7f.1",
        ] {
            assert!(!is_let_in(&site, &[("host", foreign)]), "{foreign}");
        }
        assert!(!is_let_in(&site, &[]));
        assert!(!is_let_in(&site, &[("host", "localhost"), ("host", "evil.example")]));
    }

    #[test]
    fn beyond_loopback_addresses_and_short_names_are_its_own_and_no_name_of_a_site() {
        let site = OwnSite::new(&[]);
        for own in ["10.0.0.1:8090", "gateway:8090", "localhost", "[fd00::1]:8090"] {
            assert!(is_let_in(&site, &[("host", own)]), "{own}");
        }
        assert!(!is_let_in(&site, &[("host", "evil.example")]));
    }

    #[test]
    fn a_page_of_another_site_is_recognised_by_its_browsers_headers() {
        let site = OwnSite::new(&[]);
        site.listens_on_loopback(true);
        let host = ("host", "127.0.0.1:8090");
        for own in [("origin", "http://127.0.0.1:8090"), ("sec-fetch-site", "same-origin"), ("sec-fetch-site", "none")]
        {
            assert!(is_let_in(&site, &[host, own]), "{own:?}");
        }
        for foreign in [
            ("origin", "https://elsewhere.example"),
            ("origin", "http://127.0.0.1:3000"),
            ("origin", "null"),
            ("origin", "127.0.0.1:8090"),
            ("origin", "ftp://127.0.0.1:8090"),
            ("origin", "http://127.0.0.1:80900"),
            ("origin", "http://127.0.0.1:8090/"),
            ("origin", "http://127.0.0.1:8090.evil.example"),
            ("origin", "http://evil.example@127.0.0.1:8090"),
            ("origin", "http://localhost:8090"),
            ("origin", ""),
            ("sec-fetch-site", ""),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
            ("sec-fetch-site", "what"),
        ] {
            assert!(!is_let_in(&site, &[host, foreign]), "{foreign:?}");
        }
    }

    #[test]
    fn a_link_of_another_site_leads_to_the_page_and_to_nothing_else() {
        let site = OwnSite::new(&[]);
        site.listens_on_loopback(true);
        let is_refused = |uri: &'static str, headers: [(&'static str, &'static str); 4]| {
            let header = |(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value));
            site.refusal(&Uri::from_static(uri), &headers.into_iter().map(header).collect()).is_some()
        };
        let [host, site_of, mode, dest] = [
            ("host", "localhost:8090"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-dest", "document"),
        ];
        assert!(!is_refused("/", [host, site_of, mode, dest]));
        assert!(!is_refused("/?from=elsewhere", [host, site_of, mode, dest]));
        assert!(is_refused("/page/live", [host, site_of, mode, dest]));
        assert!(is_refused("/api/cache/stats", [host, site_of, mode, dest]));
        assert!(is_refused("/", [("host", "evil.example"), site_of, mode, dest]));
        assert!(is_refused("/", [host, site_of, mode, ("sec-fetch-dest", "iframe")]));
        assert!(is_refused("/", [host, site_of, ("sec-fetch-mode", "no-cors"), dest]));
        assert!(is_refused("/", [host, ("origin", "https://evil.example"), mode, dest]));
        for inside in ["/", "/page", "/page/live", "/page/main.js", "/api/cache/keys"] {
            assert!(is_inside(inside), "{inside}");
        }
        for open in ["/health", "/pages", "/api/v3/time", "/v1/symbols/spot"] {
            assert!(!is_inside(open), "{open}");
        }
    }

    #[test]
    fn the_host_of_an_absolute_url_counts_before_the_header() {
        let site = OwnSite::new(&[]);
        site.listens_on_loopback(true);
        let headers = HeaderMap::from_iter([(HOST, HeaderValue::from_static("localhost:8090"))]);
        let refusal = |uri| site.refusal(&Uri::from_static(uri), &headers).is_some();
        assert!(refusal("http://evil.example/api/cache/stats"));
        assert!(!refusal("http://localhost:8090/api/cache/stats"));
    }

    #[test]
    fn a_request_through_a_proxy_is_recognised_by_its_headers() {
        let with =
            |name: &'static str| HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_static("x"))]);
        let prefixed = ["x-forwarded", "x-forwarded-for", "x-forwarded-client-cert", "x-original-forwarded-for"];
        for name in ADDED_BY_PROXIES.into_iter().chain(prefixed) {
            assert!(is_proxied(Version::HTTP_11, &with(name)), "{name}");
        }
        assert!(is_proxied(Version::HTTP_10, &HeaderMap::new()));
        for name in ["host", "user-agent", "origin", "authorization", "x-request-id", "traceparent"] {
            assert!(!is_proxied(Version::HTTP_11, &with(name)), "{name}");
        }
    }
}
