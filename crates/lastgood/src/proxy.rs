//! Ways out by a proxy. Feature `proxy`.
//!
//! Where only a proxy leads out, [`Proxies`] says which one a destination is reached by, and [`ProxyConnector`] connects
//! by it. Every connection is a tunnel (`CONNECT`, or SOCKS 5): the destination's bytes, TLS included, go to
//! it alone, and the proxy's user and password go to the proxy alone. The proxy resolves the names.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderValue, Uri};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};

mod connector;
mod error;
mod failure;
mod names;

pub use self::connector::{ProxyConnector, ProxyStream};
pub use self::error::ProxyError;
pub use self::failure::ProxyFailure;
pub(crate) use self::names::{Names, NotAllowed, Unresolved};

/// What names proxies: the values of the conventional variables. Empty ones name none.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ProxyVariables {
    /// `HTTP_PROXY`: for `http://` and `ws://`.
    pub http: String,
    /// `HTTPS_PROXY`: for `https://` and `wss://`.
    pub https: String,
    /// `ALL_PROXY`: for what the other two say nothing of.
    pub all: String,
    /// `NO_PROXY`: the destinations reached directly, split by commas: hosts with all below them, addresses, networks
    /// such as `10.0.0.0/8`, each with a port or without; `*` is everything.
    pub no: String,
}

/// Which proxy a destination is reached by. By default none is. Its texts never show a user or a password.
#[derive(Clone, Default)]
pub struct Proxies(Option<Arc<Chosen>>);

struct Chosen {
    said: ProxyVariables,
    matcher: Matcher,
    /// Exceptions for one port alone.
    exceptions: Vec<(u16, Matcher)>,
}

/// A proxy that a destination is reached by.
#[derive(Clone)]
pub struct Proxy(Intercept);

impl Proxies {
    /// Proxies as the variables say.
    ///
    /// # Errors
    ///
    /// When a variable cannot be used.
    pub fn new(said: &ProxyVariables) -> Result<Proxies, ProxyError> {
        for (name, value) in [("HTTPS_PROXY", &said.https), ("HTTP_PROXY", &said.http), ("ALL_PROXY", &said.all)] {
            check(value).map_err(|problem| ProxyError { variable: name, problem })?;
        }
        if [&said.http, &said.https, &said.all].iter().all(|value| value.trim().is_empty()) {
            return Ok(Proxies::default());
        }
        let (mut everywhere, mut exceptions) = (Vec::new(), Vec::new());
        for entry in said.no.split([',', ' ', '\t']).map(str::trim).filter(|entry| !entry.is_empty()) {
            // `*.example.com` is what many write for `.example.com`.
            let entry = entry.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(entry);
            match with_port(entry) {
                Some((host, port)) => exceptions.push((port, matcher(said, host))),
                None => everywhere.push(entry.trim_start_matches('[').trim_end_matches(']')),
            }
        }
        let matcher = matcher(said, &everywhere.join(","));
        Ok(Proxies(Some(Arc::new(Chosen { said: said.clone(), matcher, exceptions }))))
    }

    /// The proxy that leads to a destination, by its scheme, host and port; `None` where it is reached directly, as this
    /// machine itself always is.
    pub fn of(&self, destination: &Uri) -> Option<Proxy> {
        let chosen = self.0.as_deref()?;
        let host = destination.host().filter(|host| !is_this_machine(host))?;
        let scheme = match destination.scheme_str()? {
            "http" | "ws" => "http",
            _ => "https",
        };
        // A trailing dot is no part of the name.
        let authority = format!("{}:{}", host.trim_end_matches('.'), port_of(destination)?);
        let like = Uri::builder().scheme(scheme).authority(authority).path_and_query("/").build().ok()?;
        let excepted = chosen.exceptions.iter().filter(|(port, _)| Some(*port) == like.port_u16());
        if excepted.into_iter().any(|(_, matcher)| matcher.intercept(&like).is_none()) {
            return None;
        }
        chosen.matcher.intercept(&like).map(Proxy)
    }
}

impl Proxy {
    fn is_socks(&self) -> bool {
        self.0.uri().scheme_str().is_some_and(|scheme| scheme.starts_with("socks"))
    }

    fn host(&self) -> &str {
        self.0.uri().host().unwrap_or_default()
    }

    fn port(&self) -> u16 {
        port_of(self.0.uri()).unwrap_or(if self.is_socks() { 1080 } else { 80 })
    }

    fn authorization(&self) -> Option<&HeaderValue> {
        self.0.basic_auth()
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host(), self.port())
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

impl PartialEq for Proxies {
    fn eq(&self, other: &Proxies) -> bool {
        self.0.as_deref().map(|chosen| &chosen.said) == other.0.as_deref().map(|chosen| &chosen.said)
    }
}

impl Eq for Proxies {}

impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Proxies(…)" } else { "Proxies(none)" })
    }
}

impl fmt::Debug for ProxyVariables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The others may hold passwords.
        f.debug_struct("ProxyVariables").field("no", &self.no).finish_non_exhaustive()
    }
}

fn matcher(said: &ProxyVariables, no: &str) -> Matcher {
    let trimmed = |value: &str| value.trim().to_owned();
    Matcher::builder().http(trimmed(&said.http)).https(trimmed(&said.https)).all(trimmed(&said.all)).no(no).build()
}

/// The problem with the URL of a proxy. An empty one is none.
fn check(value: &str) -> Result<(), &'static str> {
    let value = value.trim();
    if value.is_empty() {
        return Ok(());
    }
    let uri: Uri = value.parse().map_err(|_| "is no URL of a proxy")?;
    if uri.authority().is_none_or(|authority| authority.host().is_empty() || authority.port_u16() == Some(0)) {
        return Err("names no host and port of a proxy");
    }
    if uri.path().len() > 1 || uri.query().is_some() {
        return Err("has a path or query, which no proxy has");
    }
    match uri.scheme_str() {
        None | Some("http" | "https" | "socks5" | "socks5h") => Ok(()),
        Some(_) => Err("is of a kind that cannot be used; http, https, socks5 and socks5h can"),
    }
}

fn port_of(uri: &Uri) -> Option<u16> {
    uri.port_u16().or(match uri.scheme_str()? {
        "http" | "ws" => Some(80),
        "https" | "wss" => Some(443),
        _ => None,
    })
}

/// `host:port` in two; `None` without a port. An IPv6 address has one only in brackets.
fn with_port(entry: &str) -> Option<(&str, u16)> {
    let (host, port) = entry.rsplit_once(':')?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = bare.or(Some(host).filter(|host| !host.contains(':')))?;
    Some((host, port.parse().ok()?))
}

/// Whether a host is this machine, to which no proxy leads.
fn is_this_machine(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
    let address = host.parse::<IpAddr>().map(|address| address.to_canonical());
    let is_name = host.eq_ignore_ascii_case("localhost") || host.to_ascii_lowercase().ends_with(".localhost");
    is_name || address.is_ok_and(|address| address.is_loopback() || address.is_unspecified())
}

#[cfg(test)]
mod tests;
