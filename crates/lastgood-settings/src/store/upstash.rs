//! The address of a store at Upstash.

use std::fmt;
use std::net::IpAddr;

use lastgood::store::{RedisPlace, RedisUrl, StoreError, UpstashOptions, UpstashUrl};
use secrecy::{ExposeSecret, SecretString};

use crate::problem::Wrong;

/// What the names of Upstash's databases end in.
const DOMAIN: &str = ".upstash.io";
/// Where a Redis listens unless message otherwise.
const REDIS_PORT: u16 = 6379;

const EXAMPLE: &str = "write REDIS_URL as Upstash shows it, rediss://default:TOKEN@NAME.upstash.io:6379, \
                       or the REST address itself, https://NAME.upstash.io, with UPSTASH_REDIS_REST_TOKEN";

pub(super) const HINT: &str = "write https://HOST, as Upstash shows it, and its token in UPSTASH_REDIS_REST_TOKEN or \
                               UPSTASH_REDIS_TOKEN; plain http:// is for loopback hosts";

/// Where an Upstash database answers over REST. Its token is a setting of its own.
#[derive(Debug, Clone)]
pub struct UpstashAddress {
    /// `None`: that of the database that `REDIS_URL` names.
    url: Option<UpstashUrl>,
}

impl UpstashAddress {
    pub(super) fn at(url: UpstashUrl) -> UpstashAddress {
        UpstashAddress { url: Some(url) }
    }

    /// The address of the database that `REDIS_URL` names, which is not known yet.
    pub(super) fn of_redis_url() -> UpstashAddress {
        UpstashAddress { url: None }
    }

    /// Whether [`UpstashAddress::derived`] has to report it.
    pub(crate) fn is_of_redis_url(&self) -> bool {
        self.url.is_none()
    }

    /// The REST address and token of the database at Upstash that a Redis URL names: its host, and its password.
    ///
    /// # Errors
    ///
    /// What of the URL has no such counterpart. No message repeats any of it.
    pub(crate) fn derived(redis_url: &str) -> Result<(UpstashAddress, SecretString), Wrong> {
        let wrong = |what: &str| Wrong::new(format!("the REST address cannot be derived: {what}")).hint(EXAMPLE);
        let Some((scheme, _)) = redis_url.trim().split_once("://") else { return Err(wrong("REDIS_URL is no URL")) };
        if !matches!(scheme, "redis" | "rediss") {
            return Err(wrong("REDIS_URL does not begin with rediss://"));
        }
        let url = RedisUrl::parse(redis_url.trim()).map_err(|why| wrong(why.what()))?;
        let base = match &url.place {
            RedisPlace::Server { host, .. } if is_host(host) => format!("https://{host}"),
            // A stand-in for Upstash on this machine answers REST where the URL leads; no Redis does at its own port.
            RedisPlace::Server { host, port } if is_loopback(host) && *port != REDIS_PORT => {
                let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
                format!("{}://{host}:{port}", if url.tls.is_some() { "https" } else { "http" })
            }
            _ => return Err(wrong("the host of REDIS_URL is none of Upstash's, NAME.upstash.io")),
        };
        let Some(token) = url.login.password else {
            return Err(wrong("REDIS_URL has no password, which is the token"));
        };
        let address = UpstashAddress::at(UpstashUrl::parse(&base).map_err(|why| wrong(why.what()))?);
        let token = SecretString::from(token.expose());
        match address.options(Some(&token)) {
            Ok(_) => Ok((address, token)),
            Err(why) => Err(wrong(&why.to_string())),
        }
    }

    /// The address with the token to get in.
    ///
    /// # Errors
    ///
    /// When there is no token, or one that no header can carry.
    pub fn options(&self, token: Option<&SecretString>) -> Result<UpstashOptions, StoreError> {
        let url = self.url.as_ref().ok_or_else(|| StoreError::Unavailable("REDIS_URL is not read yet".to_owned()))?;
        UpstashOptions::of(url, token.map(SecretString::expose_secret).unwrap_or_default())
    }
}

impl fmt::Display for UpstashAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.url {
            Some(url) => url.fmt(out),
            None => out.write_str("upstash-rest:"),
        }
    }
}

/// Whether a host is one of Upstash's databases.
pub(super) fn is_host(host: &str) -> bool {
    host.to_ascii_lowercase().strip_suffix(DOMAIN).is_some_and(|name| !name.is_empty())
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The problem with an address that came without a token.
pub(crate) fn without_token() -> Wrong {
    Wrong::new("this is an Upstash REST address, and there is no token for it").hint(
        "set UPSTASH_REDIS_REST_TOKEN, or UPSTASH_REDIS_TOKEN, to the token that Upstash shows next to the address, \
         or write rediss://default:TOKEN@HOST:6379 for the same database",
    )
}

/// The problem where the REST address is to be that of `REDIS_URL`, and there is none.
pub(crate) fn without_redis_url() -> Wrong {
    Wrong::new("the REST address is to be derived from REDIS_URL, and that is not set").hint(EXAMPLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn derived(url: &str) -> Result<(String, String), Wrong> {
        let (address, token) = UpstashAddress::derived(url)?;
        Ok((address.to_string(), token.expose_secret().to_owned()))
    }

    #[test]
    fn the_rest_address_and_its_token_are_those_of_the_redis_url() {
        let rest = |address: &str, token: &str| Ok((address.to_owned(), token.to_owned()));
        for (url, expected) in [
            ("rediss://default:AXt%2B0k==@eu1-x.upstash.io:6379", rest("https://eu1-x.upstash.io", "AXt+0k==")),
            ("redis://default:t@EU1-x.Upstash.io", rest("https://EU1-x.Upstash.io", "t")),
            ("rediss://:t@eu1-x.upstash.io:6379/0", rest("https://eu1-x.upstash.io", "t")),
            ("redis://default:t@127.0.0.1:8079", rest("http://127.0.0.1:8079", "t")),
            ("rediss://default:t@localhost:8079", rest("https://localhost:8079", "t")),
            ("redis://default:t@[::1]:8079", rest("http://[::1]:8079", "t")),
        ] {
            assert_eq!(derived(url), expected, "{url}");
        }
    }

    #[test]
    fn a_redis_url_without_a_rest_address_is_refused_and_not_repeated() {
        for (url, part) in [
            ("rediss://default:hunter2@redis.example.com:6379", "none of Upstash's"),
            ("rediss://default:hunter2@upstash.io", "none of Upstash's"),
            ("rediss://default:hunter2@x.upstash.io.example.com", "none of Upstash's"),
            ("rediss://default:hunter2@evilupstash.io", "none of Upstash's"),
            ("redis://default:hunter2@localhost", "none of Upstash's"),
            ("rediss://eu1-x.upstash.io:6379", "no password"),
            ("rediss://hunter2@eu1-x.upstash.io:6379", "no password"),
            ("https://default:hunter2@eu1-x.upstash.io", "does not begin with rediss://"),
            ("redis+cluster://default:hunter2@eu1-x.upstash.io", "does not begin with rediss://"),
            ("hunter2", "is no URL"),
            ("rediss://default:hunter2%0a@eu1-x.upstash.io", "no header can carry"),
            ("rediss://default:hunter2%ff@eu1-x.upstash.io", "no text"),
        ] {
            let why = derived(url).expect_err(url).what;
            assert!(why.contains(part) && !why.contains("hunter2"), "{url}: {why}");
        }
    }
}
