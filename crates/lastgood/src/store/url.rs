//! Where a store is: its URL, read once.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

pub use self::redis::{Login, Password, RedisPlace, RedisUrl, TlsFiles};
pub use self::upstash::UpstashUrl;

pub(super) mod hosts;
mod redis;
mod upstash;

/// Where a store is, as its URL says. No text that it is shown in holds a password.
///
/// A build reads all of them, with any set of stores: what cannot be opened can still be named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreUrl {
    /// `memory:`: none but the memory of the process.
    Memory,
    /// `embedded:FILE`: a file of this process. `None` where the URL names no file.
    Embedded(Option<PathBuf>),
    /// `redis://…`, `rediss://…`, `unix:SOCKET`, `redis+sentinel://…`, `redis+cluster://…`, the last two with TLS, too.
    Redis(RedisUrl),
    /// `https://HOST`: a Redis at Upstash, over REST. Its token is no part of the URL.
    Upstash(UpstashUrl),
}

/// What a URL is written for when its scheme is wrong.
const EXAMPLE: &str = "put redis:// before the host, for example \"redis://127.0.0.1:6379\"";

const SCHEMES: &str = "a store is one of embedded:, memory:, redis://, rediss://, unix:, redis+sentinel://, redis+cluster://, \
                       rediss+sentinel://, rediss+cluster:// and https://";

impl StoreUrl {
    /// Reads a URL. No file that it names is looked at.
    ///
    /// # Errors
    ///
    /// Names the problem and the right form. Nothing of the URL is repeated: it may hold a password.
    pub fn parse(text: &str) -> Result<StoreUrl, StoreUrlError> {
        let Some((scheme, rest)) = text.split_once(':') else { return Err(without_scheme(text)) };
        match scheme.to_ascii_lowercase().as_str() {
            "memory" => match rest.trim_matches('/') {
                "" => Ok(StoreUrl::Memory),
                _ => Err(StoreUrlError::new("`memory:` takes nothing after the colon", "write \"memory:\"")),
            },
            "embedded" => {
                let path = rest.strip_prefix("//").unwrap_or(rest);
                Ok(StoreUrl::Embedded(Some(PathBuf::from(path)).filter(|path| !path.as_os_str().is_empty())))
            }
            "https" | "http" => UpstashUrl::parse(text).map(StoreUrl::Upstash),
            scheme if redis::is_scheme(scheme) => RedisUrl::parse(text).map(StoreUrl::Redis),
            scheme => Err(unknown_scheme(scheme, text)),
        }
    }

    /// Whether other processes may use the same store.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        matches!(self, StoreUrl::Redis(_) | StoreUrl::Upstash(_))
    }
}

fn unknown_scheme(scheme: &str, text: &str) -> StoreUrlError {
    let meant = match scheme {
        "valkey" => "redis://",
        "valkeys" => "rediss://",
        "redis+unix" | "redis+socket" | "valkey+unix" => "unix:",
        _ if text.contains("://") => {
            let error = StoreUrlError::new(format!("no store is called {scheme}"), SCHEMES.to_owned());
            return StoreUrlError { scheme: Some(scheme.to_owned()), ..error };
        }
        _ => return StoreUrlError { scheme: Some(scheme.to_owned()), ..without_scheme(text) },
    };
    let what = format!("the store URL has an unknown scheme; {SCHEMES}");
    StoreUrlError::new(what, format!("did you mean `{meant}`?"))
}

fn without_scheme(text: &str) -> StoreUrlError {
    let hint = match text {
        "memory" | "embedded" => format!("did you mean \"{text}:\"?"),
        _ if text.starts_with('/') && text.ends_with(".sock") => format!("did you mean \"unix:{text}\"?"),
        _ if text.starts_with(['/', '.']) => format!("did you mean \"embedded:{text}\"?"),
        _ => EXAMPLE.to_owned(),
    };
    StoreUrlError::new("the store has no known scheme", hint)
}

impl FromStr for StoreUrl {
    type Err = StoreUrlError;

    fn from_str(text: &str) -> Result<StoreUrl, StoreUrlError> {
        StoreUrl::parse(text)
    }
}

impl fmt::Display for StoreUrl {
    /// The URL without its password; `***@` stands where there is a user or password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreUrl::Memory => f.write_str("memory:"),
            StoreUrl::Embedded(None) => f.write_str("embedded:"),
            StoreUrl::Embedded(Some(path)) => write!(f, "embedded:{}", path.display()),
            StoreUrl::Redis(url) => url.fmt(f),
            StoreUrl::Upstash(url) => url.fmt(f),
        }
    }
}

/// Why a store's URL cannot be used, and how it is written right. Nothing of the URL is repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreUrlError {
    what: String,
    hint: String,
    scheme: Option<String>,
}

impl StoreUrlError {
    fn new(what: impl Into<String>, hint: impl Into<String>) -> StoreUrlError {
        StoreUrlError { what: what.into(), hint: hint.into(), scheme: None }
    }

    /// The problem.
    #[must_use]
    pub fn what(&self) -> &str {
        &self.what
    }

    /// How it is written right.
    #[must_use]
    pub fn hint(&self) -> &str {
        &self.hint
    }

    /// What stands before the first colon, if that is no scheme of a store. It may be anything, even a user's name: to be
    /// compared with schemes, not shown.
    #[must_use]
    pub fn unknown_scheme(&self) -> Option<&str> {
        self.scheme.as_deref()
    }
}

impl fmt::Display for StoreUrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.what, self.hint)
    }
}

impl std::error::Error for StoreUrlError {}

#[cfg(test)]
mod tests;
