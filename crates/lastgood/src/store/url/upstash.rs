//! The address of a Redis at Upstash, over REST.

use std::fmt;
use std::net::IpAddr;

use super::StoreUrlError;
use super::hosts::host_and_port;

const HINT: &str =
    "write https://HOST, as Upstash shows it, and give its token apart; plain http:// is for loopback hosts";

/// Where an Upstash database answers over REST. Its token is no part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstashUrl {
    /// Scheme, host and port.
    base: String,
    is_tls: bool,
}

impl UpstashUrl {
    /// Reads `https://host[:port]`. `http://` is for loopback hosts only, because the token would be readable on the way.
    ///
    /// # Errors
    ///
    /// Names the problem without repeating any of it.
    pub fn parse(text: &str) -> Result<UpstashUrl, StoreUrlError> {
        let unusable = |why: &str| StoreUrlError::new(format!("the Upstash address is unusable: {why}"), HINT);
        if text.contains('#') {
            return Err(unusable("it has a fragment"));
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(unusable("it must begin with https:// and name a host"));
        };
        let scheme = scheme.to_ascii_lowercase();
        let is_tls = match scheme.as_str() {
            "https" => true,
            "http" => false,
            _ => return Err(unusable("it must begin with https://")),
        };
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(unusable("it holds a user or password; the token goes apart"));
        }
        if !matches!(path, "" | "/") {
            return Err(unusable("it has a path or query; write https://host alone"));
        }
        let read =
            if authority.ends_with(':') { Err("it names no port after the colon") } else { host_and_port(authority) };
        let (host, _) = read.map_err(|why| unusable(&format!("it cannot be read as a URL: {why}")))?;
        if !is_tls && !is_loopback(&host) {
            return Err(unusable("without TLS only a loopback host is asked; write https://"));
        }
        Ok(UpstashUrl { base: format!("{scheme}://{authority}"), is_tls })
    }

    /// Whether it is asked over TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.is_tls
    }
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

impl fmt::Display for UpstashUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.base)
    }
}
