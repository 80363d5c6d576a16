//! Which store the cache uses.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use lastgood::store::{RedisOptions, StoreError};
use lastgood_routes::suggest::nearest;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};

pub use self::upstash::UpstashAddress;
pub(crate) use self::upstash::{without_redis_url, without_token};
use super::problem::Wrong;
use super::value::{self, Raw};
use crate::redact::MASK;

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
    Redis(RedisAddress),
    /// A Redis at Upstash, over REST.
    Upstash(UpstashAddress),
}

impl StoreSetting {
    /// Whether it is a database at Upstash, which bills each command.
    #[must_use]
    pub fn is_at_upstash(&self) -> bool {
        match self {
            Self::Upstash(_) => true,
            Self::Redis(RedisAddress { endpoint: RedisEndpoint::Tcp { host, .. }, .. }) => upstash::is_host(host),
            _ => false,
        }
    }

    /// Whether other processes may use the same store.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        matches!(self, Self::Redis(_) | Self::Upstash(_))
    }
}

/// Where a Redis is, and how to log in.
#[derive(Debug, Clone)]
pub struct RedisAddress {
    url: SecretString,
    endpoint: RedisEndpoint,
}

/// The part of a Redis address that may be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedisEndpoint {
    /// Over the network.
    Tcp {
        /// Host name or address, without brackets.
        host: String,
        /// The port.
        port: u16,
        /// Whether `rediss://` was written.
        tls: bool,
        /// Number of the database.
        database: u32,
    },
    /// Over a socket in the file system.
    Unix(PathBuf),
    /// Several servers, Sentinels or members of a cluster, as their URL names them.
    Several(String),
}

impl RedisAddress {
    /// The whole URL with its credentials, for the client library only.
    #[must_use]
    pub fn expose_url(&self) -> &str {
        self.url.expose_secret()
    }

    /// Logs in with a token as the password, as Upstash wants it, unless the URL has a password of its own.
    pub(crate) fn log_in_with(&mut self, token: &str) {
        let Ok(mut url) = Url::parse(self.expose_url()) else { return };
        if url.password().is_some() || !matches!(self.endpoint, RedisEndpoint::Tcp { .. }) {
            return;
        }
        let user = if url.username().is_empty() { "default".to_owned() } else { url.username().to_owned() };
        let token = utf8_percent_encode(token, NON_ALPHANUMERIC).to_string();
        if url.set_username(&user).and_then(|()| url.set_password(Some(&token))).is_ok() {
            self.url = SecretString::from(url.as_str());
        }
    }

    /// Where it is, free of credentials.
    #[must_use]
    pub fn endpoint(&self) -> &RedisEndpoint {
        &self.endpoint
    }
}

impl fmt::Display for RedisEndpoint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port, tls, database } => {
                let scheme = if *tls { "rediss" } else { "redis" };
                let (open, close) = if host.contains(':') { ("[", "]") } else { ("", "") };
                write!(out, "{scheme}://{open}{host}{close}:{port}")?;
                if *database > 0 {
                    write!(out, "/{database}")?;
                }
                Ok(())
            }
            Self::Unix(path) => write!(out, "unix:{}", path.display()),
            Self::Several(url) => out.write_str(url),
        }
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
            Self::Redis(redis) => {
                let shown = redis.endpoint.to_string();
                match shown.split_once("://") {
                    Some((scheme, rest)) if redis.expose_url().contains('@') => {
                        write!(out, "{scheme}://{MASK}@{rest}")
                    }
                    _ => out.write_str(&shown),
                }
            }
        }
    }
}

/// Reads a store URL. Its text never appears in a message: it may hold a password.
pub(crate) fn parse(raw: &Raw) -> Result<StoreSetting, Wrong> {
    let text = raw.as_text("redis://127.0.0.1:6379")?;
    if text.is_empty() {
        return Ok(StoreSetting::Embedded { path: None });
    }
    let Some((scheme, rest)) = text.split_once(':') else {
        return Err(without_scheme(text));
    };
    match scheme.to_ascii_lowercase().as_str() {
        "memory" => match rest.trim_matches('/') {
            "" => Ok(StoreSetting::Memory),
            _ => Err(Wrong::new("`memory:` takes nothing after the colon").hint("write \"memory:\"")),
        },
        "embedded" => {
            let path = rest.strip_prefix("//").unwrap_or(rest);
            let path = super::value::path(&Raw::text(path))?;
            Ok(StoreSetting::Embedded { path: Some(path).filter(|path| !path.as_os_str().is_empty()) })
        }
        "redis" | "rediss" => tcp(text),
        "unix" => unix(text),
        "redis+sentinel" => several(text, "write redis+sentinel://[user:password@]host:26379,host:26379/SERVICE[?db=n]"),
        "rediss+sentinel" => several(
            text,
            "write rediss+sentinel://[user:password@]host:26379,host:26379/SERVICE[?db=n][&ca=FILE][&cert=FILE&key=FILE]",
        ),
        "redis+cluster" => several(text, "write redis+cluster://[user:password@]host:6379,host:6379"),
        "rediss+cluster" => several(
            text,
            "write rediss+cluster://[user:password@]host:6379,host:6379[?ca=FILE][&cert=FILE&key=FILE]",
        ),
        "https" | "http" => upstash::parse(text),
        "upstash-rest" => match rest.trim_matches('/') {
            "" => Ok(StoreSetting::Upstash(UpstashAddress::of_redis_url())),
            _ => Err(Wrong::new("`upstash-rest:` takes nothing after the colon").hint(
                "write \"upstash-rest:\" and the database's rediss:// address in REDIS_URL; a REST address is written as it is",
            )),
        },
        other => Err(unknown_scheme(other, text)),
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

fn tcp(text: &str) -> Result<StoreSetting, Wrong> {
    let malformed = |what: &str| {
        Wrong::new(format!("the Redis URL {what}"))
            .hint("write redis://[user:password@]host:port[/db]; percent-encode / ? # @ % in the password")
    };
    let url = Url::parse(text).map_err(|error| malformed(&format!("does not parse: {error}")))?;
    let host = url.host_str().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() {
        return Err(malformed("names no host"));
    }
    if matches!(host, "0.0.0.0" | "::") {
        return Err(malformed("names a wildcard address, to which nobody can connect"));
    }
    if url.port() == Some(0) {
        return Err(malformed("names port 0"));
    }
    if url.fragment().is_some() {
        return Err(malformed("has a part after `#`, which is not supported"));
    }
    let database = match url.path().trim_matches('/') {
        "" => 0,
        text => text.parse().map_err(|_| malformed("has a path that is no database number"))?,
    };
    let hint = "write rediss://[user:password@]host:port[/db][?ca=FILE][&cert=FILE&key=FILE]";
    readable(text, hint)?;
    Ok(StoreSetting::Redis(RedisAddress {
        endpoint: RedisEndpoint::Tcp {
            host: host.to_owned(),
            port: url.port().unwrap_or(6379),
            tls: url.scheme() == "rediss",
            database,
        },
        url: SecretString::from(text),
    }))
}

fn unix(text: &str) -> Result<StoreSetting, Wrong> {
    let malformed =
        || Wrong::new("the path of the Redis socket is not absolute").hint("write \"unix:/run/redis/redis.sock\"");
    let url = Url::parse(text).map_err(|_| malformed())?;
    let path = url.path();
    if !path.starts_with('/') || path == "/" || url.has_host() {
        return Err(malformed());
    }
    readable(text, "write \"unix:/run/redis/redis.sock\"")?;
    Ok(StoreSetting::Redis(RedisAddress {
        endpoint: RedisEndpoint::Unix(PathBuf::from(path)),
        url: SecretString::from(text),
    }))
}

/// The options that the client library reads from the URL, which looks at the files of certificates, too.
fn readable(text: &str, hint: &str) -> Result<RedisOptions, Wrong> {
    RedisOptions::parse(text).map_err(|error| match error {
        StoreError::Unavailable(why) => Wrong::new(why).hint(hint),
        other => Wrong::new(other.to_string()).hint(hint),
    })
}

/// What names several servers is read by who connects to them.
fn several(text: &str, hint: &str) -> Result<StoreSetting, Wrong> {
    let options = readable(text, hint)?;
    Ok(StoreSetting::Redis(RedisAddress {
        endpoint: RedisEndpoint::Several(options.to_string()),
        url: SecretString::from(text),
    }))
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

fn unknown_scheme(scheme: &str, text: &str) -> Wrong {
    let known = "a store is one of embedded:, memory:, redis://, rediss://, unix:, redis+sentinel://, \
                 redis+cluster://, rediss+sentinel://, rediss+cluster://, https:// and upstash-rest:";
    let hint = match scheme {
        "valkey" => "did you mean `redis://`?".to_owned(),
        "valkeys" => "did you mean `rediss://`?".to_owned(),
        "redis+unix" | "redis+socket" => "did you mean `unix:`?".to_owned(),
        _ => match nearest(scheme, SCHEMES) {
            Some(found) if found.starts_with("redis") || found == "https" => format!("did you mean `{found}://`?"),
            Some(found) => format!("did you mean `{found}:`?"),
            None => return without_scheme(text),
        },
    };
    Wrong::new(format!("the store URL has an unknown scheme; {known}")).hint(hint)
}

fn without_scheme(text: &str) -> Wrong {
    let hint = match text {
        "memory" | "embedded" => format!("did you mean \"{text}:\"?"),
        _ if text.starts_with('/') && text.ends_with(".sock") => {
            format!("did you mean \"unix:{text}\"?")
        }
        _ if text.starts_with(['/', '.']) => format!("did you mean \"embedded:{text}\"?"),
        _ => "put redis:// before the host, for example \"redis://127.0.0.1:6379\"".to_owned(),
    };
    Wrong::new("the store has no known scheme").hint(hint)
}

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
