//! Which store the cache uses.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use lastgood::store::{RedisOptions, RedisPlace, RedisUrl, StoreError, StoreUrl, StoreUrlError};
use lastgood_routes::suggest::nearest;

pub use self::upstash::UpstashAddress;
pub(crate) use self::upstash::{without_redis_url, without_token};
use crate::problem::Wrong;
use crate::value::{self, Raw};

mod upstash;

/// US dollars that Upstash takes for 100,000 commands, pay as you go, as of 2026: <https://upstash.com/pricing/redis>.
pub(crate) const UPSTASH_PRICE: f64 = 0.2;

/// The store behind the memory tier.
#[derive(Debug, Clone)]
pub enum StoreSetting {
    /// None: the memory tier alone.
    Memory,
    /// A file of this process.
    Embedded {
        /// The file; `None` is `lastgood.redb` under the data directory.
        path: Option<PathBuf>,
    },
    /// A Redis: one server, the primary that Sentinels name, or a cluster.
    Redis(RedisUrl),
    /// A Redis at Upstash, over REST.
    Upstash(UpstashAddress),
}

impl StoreSetting {
    /// Whether it is a database at Upstash, which bills each command.
    #[must_use]
    pub fn is_at_upstash(&self) -> bool {
        match self {
            Self::Upstash(_) => true,
            Self::Redis(url) => matches!(&url.place, RedisPlace::Server { host, .. } if upstash::is_host(host)),
            _ => false,
        }
    }

    /// Whether other processes may use the same store.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        matches!(self, Self::Redis(_) | Self::Upstash(_))
    }
}

impl fmt::Display for StoreSetting {
    /// The URL with its credentials masked.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => out.write_str("memory:"),
            Self::Embedded { path: None } => out.write_str("embedded:"),
            Self::Embedded { path: Some(path) } => write!(out, "embedded:{}", path.display()),
            Self::Upstash(address) => address.fmt(out),
            Self::Redis(url) => url.fmt(out),
        }
    }
}

/// Reads a store URL. Its text never appears in a message: it may hold a password.
pub(crate) fn parse(raw: &Raw) -> Result<StoreSetting, Wrong> {
    let text = raw.as_text("redis://127.0.0.1:6379")?;
    if text.is_empty() {
        return Ok(StoreSetting::Embedded { path: None });
    }
    if let Some(rest) = text.strip_prefix("upstash-rest:") {
        return match rest.trim_matches('/') {
            "" => Ok(StoreSetting::Upstash(UpstashAddress::of_redis_url())),
            _ => Err(Wrong::new("`upstash-rest:` takes nothing after the colon").hint(
                "write \"upstash-rest:\" and the database's rediss:// address in REDIS_URL; a REST address is written as it is",
            )),
        };
    }
    match StoreUrl::parse(text) {
        Ok(StoreUrl::Memory) => Ok(StoreSetting::Memory),
        Ok(StoreUrl::Embedded(None)) => Ok(StoreSetting::Embedded { path: None }),
        Ok(StoreUrl::Embedded(Some(path))) => {
            let path = crate::value::path(&Raw::text(path.to_string_lossy()))?;
            Ok(StoreSetting::Embedded { path: Some(path) })
        }
        Ok(StoreUrl::Redis(url)) => match RedisOptions::new(&url) {
            Ok(_) => Ok(StoreSetting::Redis(url)),
            Err(StoreError::Unavailable(why)) => Err(Wrong::new(why).hint(url.hint())),
            Err(why) => Err(Wrong::new(why.to_string()).hint(url.hint())),
        },
        Ok(StoreUrl::Upstash(url)) => Ok(StoreSetting::Upstash(UpstashAddress::at(url))),
        Err(why) => Err(wrong(text, &why)),
    }
}

/// The problem with a URL, in words that fit a configuration.
fn wrong(text: &str, why: &StoreUrlError) -> Wrong {
    let is_rest = ["https:", "http:"].iter().any(|scheme| text.to_ascii_lowercase().starts_with(scheme));
    match why.unknown_scheme().and_then(|scheme| nearest(scheme, SCHEMES)) {
        None if is_rest => Wrong::new(why.what()).hint(upstash::HINT),
        None => Wrong::new(why.what()).hint(why.hint()),
        Some(found) => {
            let end = if found.starts_with("redis") || found == "https" { "://" } else { ":" };
            Wrong::new(format!("the store URL has an unknown scheme; {KNOWN}"))
                .hint(format!("did you mean `{found}{end}`?"))
        }
    }
}

/// Reads a price in US dollars; empty is none of its own.
pub(crate) fn price(raw: &Raw) -> Result<Option<f64>, Wrong> {
    let word = raw.as_word("a price in US dollars")?;
    match word.parse::<f64>() {
        _ if word.is_empty() => Ok(None),
        Ok(price) if (0.0..=1_000.0).contains(&price) => Ok(Some(price)),
        _ => Err(Wrong::new(format!("{word:?} is no price in US dollars"))
            .hint("write 0.2 for 0.20 USD per 100,000 commands")),
    }
}

/// Reads how long memory is believed while the store is silent; empty is what suits the store.
pub(crate) fn trust_for(raw: &Raw) -> Result<Option<Duration>, Wrong> {
    match raw.as_word("a duration")? {
        "" => Ok(None),
        _ => value::span(raw, Duration::from_millis(500)..=Duration::from_secs(3600)).map(Some),
    }
}

const SCHEMES: [&str; 11] = [
    "embedded",
    "https",
    "memory",
    "redis",
    "rediss",
    "unix",
    "redis+sentinel",
    "redis+cluster",
    "rediss+sentinel",
    "rediss+cluster",
    "upstash-rest",
];

const KNOWN: &str = "a store is one of embedded:, memory:, redis://, rediss://, unix:, redis+sentinel://, redis+cluster://, \
                     rediss+sentinel://, rediss+cluster://, https:// and upstash-rest:";

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        match parse(&Raw::text(text)) {
            Ok(store) => store.to_string(),
            Err(wrong) => format!("{} / {}", wrong.what, wrong.hint.unwrap_or_default()),
        }
    }

    #[test]
    fn the_known_schemes_are_read_and_shown_without_credentials() {
        for (text, expected) in [
            ("", "embedded:"),
            ("embedded:", "embedded:"),
            ("embedded:/var/lib/x.redb", "embedded:/var/lib/x.redb"),
            ("embedded:///var/lib/x.redb", "embedded:/var/lib/x.redb"),
            ("memory:", "memory:"),
            ("redis://localhost", "redis://localhost:6379"),
            ("redis://h:1/2", "redis://h:1/2"),
            ("redis://:pw@h:1", "redis://***@h:1"),
            ("rediss://default:t%23k==@h.upstash.io:6379", "rediss://***@h.upstash.io:6379"),
            ("redis://[::1]:7", "redis://[::1]:7"),
            ("unix:/run/redis.sock", "unix:/run/redis.sock"),
            ("unix:///run/redis.sock?pass=secret", "unix:/run/redis.sock"),
            ("https://eu1-x.upstash.io", "https://eu1-x.upstash.io"),
            ("HTTPS://h:8443/", "https://h:8443"),
            ("http://127.0.0.1:8079", "http://127.0.0.1:8079"),
            ("http://[::1]:8079", "http://[::1]:8079"),
            ("http://localhost", "http://localhost"),
            ("upstash-rest:", "upstash-rest:"),
            ("upstash-rest://", "upstash-rest:"),
            (
                "redis+sentinel://u:pw@a,b:2/main?db=1&sentinel_password=pw",
                "redis+sentinel://***@a:26379,b:2/main?db=1",
            ),
            ("redis+sentinel://a/main?sentinel_password=pw", "redis+sentinel://a:26379/main"),
            ("redis+cluster://:pw@a,[::1]:7", "redis+cluster://***@a:6379,[::1]:7"),
            ("rediss+cluster://:pw@a,[::1]:7", "rediss+cluster://***@a:6379,[::1]:7"),
            ("rediss+sentinel://:pw@a/main", "rediss+sentinel://***@a:26379/main"),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn a_wrong_store_gets_a_suggestion_and_keeps_its_password() {
        for (text, part) in [
            ("rdis://u:hunter2@h", "did you mean `redis://`?"),
            ("valkey://u:hunter2@h", "did you mean `redis://`?"),
            ("memory", "did you mean \"memory:\"?"),
            ("localhost:6379", "put redis:// before the host"),
            ("u:hunter2@h:6379", "put redis:// before the host"),
            ("/run/redis.sock", "did you mean \"unix:/run/redis.sock\"?"),
            ("redis://:hunter2#x@h:1", "percent-encode"),
            ("redis://u:hunter2/x@h:1", "percent-encode"),
            ("redis://u:hunter2@h/name", "no database number"),
            ("redis://u:hunter2@0.0.0.0", "wildcard"),
            ("redis://", "names no host"),
            ("unix:run.sock", "not absolute"),
            ("memory:x", "nothing after the colon"),
            ("upstash-rest:hunter2", "nothing after the colon"),
            ("upstash-rst:hunter2", "did you mean `upstash-rest:`?"),
            ("httpz://hunter2@h", "did you mean `https://`?"),
            ("https://default:hunter2@h", "holds a user or password"),
            ("https://h/?_token=hunter2", "has a path or query"),
            ("https://h/hunter2", "write https://HOST, as Upstash shows it"),
            ("https://h#hunter2", "has a fragment"),
            ("https://", "cannot be read as a URL"),
            ("http://h.upstash.io", "plain http:// is for loopback hosts"),
            ("redis+sentinel://u:hunter2@a:1", "names no service"),
            ("redis+sentinel://u:hunter2@a:1", "host:26379/SERVICE"),
            ("redis+sentinel://u:hunter2@a:1/main?password=hunter2", "sentinel_password"),
            ("redis+cluster://u:hunter2@a:1/3", "but database 0"),
            ("redis+cluster://u:hunter2@", "names no host"),
            ("rediss+cluster://u:hunter2@a?db=1", "takes cert, key and ca"),
            ("rediss+cluster://u:hunter2@a?cert=/c.pem", "add key=FILE"),
            ("rediss://u:hunter2@a?ca=/no/such/file", "/no/such/file cannot be read"),
            ("rediss://u:hunter2@a?ca=/no/such/file", "[?ca=FILE]"),
            ("redis://u:hunter2@a?ca=/ca.pem", "write rediss://"),
            ("rediss+sentinal://u:hunter2@a/main", "did you mean `rediss+sentinel://`?"),
            ("redis+sentinal://u:hunter2@a/main", "did you mean `redis+sentinel://`?"),
        ] {
            let message = shown(text);
            assert!(message.contains(part), "{text}: {message}");
            assert!(!message.contains("hunter2"), "{message}");
        }
    }
}
