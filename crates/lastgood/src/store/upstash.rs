//! A store in Redis at Upstash, over its REST protocol.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout, timeout_at};

use self::link::Link;
pub use self::options::UpstashOptions;
use self::reply::{At, Binary};
use super::dialect::stream::{self, PolledStream};
use super::{
    Addition, Counters, Cursor, FieldUpdate, Fields, Log, Page, Position, Settle, Store, StoreError, Swap, Tail, Usage,
    Version, Watch, dialect,
};
use crate::clock::Timestamp;

mod link;
mod log;
mod options;
mod reply;

/// How many SCAN steps one page may take, each a request of its own over a line that may be long.
const SCANS_A_PAGE: usize = 5;

/// The longest that one page may take.
const PAGE_WITHIN: Duration = Duration::from_secs(5);

/// What stands for itself in a key of a path; the rest is percent-encoded.
const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'~');

/// A store in one Upstash database, over REST (`https://…upstash.io`).
///
/// Every call is one HTTP request; nothing is retried and no redirect is followed. A call ends after five seconds at
/// the latest; put a [`GuardedStore`](super::GuardedStore) around it for a shorter deadline, and make its budget longer
/// than a round trip to the database takes. A read that its caller gave up goes on for a second, so that a connection
/// that took too long to make is there for the next. A write goes on until it is answered, and the next write to its
/// key waits for that, so that they take effect in the order in which they were asked for. At most 64 reads and 32
/// writes are under way.
///
/// Errors are those of [`RedisStore`](super::RedisStore). A token that is not accepted, a rate limit, a quota that is
/// used up and an answer that is not Upstash's are [`StoreError::Unavailable`]; a value or a request that is too large
/// is [`StoreError::Refused`]. The token is in no text.
///
/// A database with replicas in several regions answers reads from the nearest. This store reads what it wrote itself;
/// what another wrote in another region may take a moment.
///
/// # TLS
///
/// `https://` checks the server's certificate against the system's roots (`SSL_CERT_FILE` stands in for them).
pub struct UpstashStore {
    link: Arc<Link>,
}

impl UpstashStore {
    /// A store that connects when it is first asked. Its methods must be called inside a tokio runtime with IO and time
    /// enabled.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] when the system's certificate authorities cannot be read.
    pub fn new(options: UpstashOptions) -> Result<UpstashStore, StoreError> {
        Ok(UpstashStore { link: Link::new(options)? })
    }

    async fn send_read<T: DeserializeOwned>(&self, command: &impl Serialize) -> Result<T, StoreError> {
        let answer = self.link.read("/", self.encode(command)?, 1).await?;
        reply::result(&answer, self.link.options(), dialect::error_of)
    }

    async fn send_write<T: DeserializeOwned>(&self, path: &str, body: Bytes, keys: &[String]) -> Result<T, StoreError> {
        let answer = self.link.write(path, body, keys).await?;
        reply::result(&answer, self.link.options(), dialect::write_error_of)
    }

    fn encode(&self, command: &impl Serialize) -> Result<Bytes, StoreError> {
        let encoded = serde_json::to_vec(command);
        encoded.map(Bytes::from).map_err(|why| StoreError::Unavailable(format!("{}: {why}", self.link.options())))
    }

    async fn page(&self, prefix: &str, from: u64, limit: usize) -> Result<Page, StoreError> {
        let pattern = dialect::glob_of_prefix(prefix);
        let count = limit.clamp(10, 1000).to_string();
        let mut at = from;
        let mut keys = Vec::new();
        for _ in 0..SCANS_A_PAGE {
            let scan = ["SCAN", &at.to_string(), "MATCH", &pattern, "COUNT", &count];
            let (At(next), found): (At, Vec<Binary>) = self.send_read(&scan).await?;
            // Other programs' keys may be no text; none of ours.
            let texts = found.into_iter().filter_map(|key| String::from_utf8(key.0.into()).ok());
            keys.extend(texts.filter(|key| key.starts_with(prefix)));
            at = next;
            if at == 0 || keys.len() >= limit {
                break;
            }
        }
        Ok(Page { keys, next: (at != 0).then(|| Cursor(at.to_string())) })
    }
}

/// A command of many keys.
fn of_keys<'a>(name: &'a str, keys: &'a [String]) -> Vec<&'a str> {
    std::iter::once(name).chain(keys.iter().map(String::as_str)).collect()
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Store for UpstashStore {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        match self.send_read::<Option<Binary>>(&["GET", key]).await {
            Err(StoreError::Corrupt(_)) => Ok(None),
            answer => Ok(answer?.map(|value| value.0)),
        }
    }

    async fn get_by(&self, key: &str, deadline: Instant) -> Result<Option<Bytes>, StoreError> {
        timeout_at(deadline, self.get(key)).await.unwrap_or(Err(StoreError::Timeout))
    }

    async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Bytes>>, StoreError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let values: Vec<Option<Binary>> = self.send_read(&of_keys("MGET", keys)).await?;
        if values.len() != keys.len() {
            return Err(StoreError::Corrupt(format!("{} answers to {} keys", values.len(), keys.len())));
        }
        Ok(values.into_iter().map(|value| value.map(|value| value.0)).collect())
    }

    async fn put(&self, key: &str, value: Bytes, ttl: Duration) -> Result<(), StoreError> {
        let (millis, keys) = (dialect::ttl_millis(ttl), [key.to_owned()]);
        let done: String = if value.is_empty() {
            // A request without a body has no last argument.
            self.send_write("/", self.encode(&["SET", key, "", "PX", &millis.to_string()])?, &keys).await?
        } else {
            // The body is the argument behind the key, as it is; the query follows it.
            let path = format!("/set/{}?PX={millis}", utf8_percent_encode(key, KEPT));
            self.send_write(&path, value, &keys).await?
        };
        match done.as_str() {
            "OK" => Ok(()),
            _ => Err(StoreError::Unavailable(format!("{} did not say that it stored the value", self.link.options()))),
        }
    }

    async fn remove(&self, keys: &[String]) -> Result<u64, StoreError> {
        if keys.is_empty() {
            return Ok(0);
        }
        self.send_write("/", self.encode(&of_keys("UNLINK", keys))?, keys).await
    }

    async fn list(&self, prefix: &str, cursor: Option<Cursor>, limit: usize) -> Result<Page, StoreError> {
        let from = match cursor {
            None => 0,
            Some(Cursor(at)) => at.parse().map_err(|_| StoreError::Corrupt(format!("{at:?} is no cursor of Redis")))?,
        };
        timeout(PAGE_WITHIN, self.page(prefix, from, limit)).await.unwrap_or(Err(StoreError::Timeout))
    }

    async fn probe(&self) -> Result<Usage, StoreError> {
        let commands = ["PING", "DBSIZE", "INFO"].map(|name| [name]);
        let answer = self.link.read("/pipeline", self.encode(&commands)?, commands.len()).await?;
        reply::usage(&answer, self.link.options())
    }

    async fn add(&self, addition: &Addition) -> Result<Counters, StoreError> {
        let keys = [addition.key.clone(), addition.writer_key()];
        let answer = self.link.write("/", self.encode(&addition.command())?, &keys).await?;
        let pairs: Vec<Binary> = reply::result(&answer, self.link.options(), dialect::script_error_of)?;
        Ok(Counters::of_pairs(&pairs.into_iter().map(|part| part.0).collect::<Vec<_>>()))
    }

    async fn update_fields(&self, update: &FieldUpdate) -> Result<Fields, StoreError> {
        let key = std::slice::from_ref(&update.key);
        let answer = self.link.write("/", self.encode(&update.command())?, key).await?;
        let reply: Vec<Binary> = reply::result(&answer, self.link.options(), dialect::script_error_of)?;
        Fields::of_reply(&reply.into_iter().map(|part| part.0).collect::<Vec<_>>())
    }

    async fn now(&self) -> Result<Option<Timestamp>, StoreError> {
        let answer = self.link.read("/", self.encode(&["TIME"])?, 1).await?;
        let parts: Vec<Binary> = reply::result(&answer, self.link.options(), dialect::script_error_of)?;
        dialect::time(&parts.into_iter().map(|part| part.0).collect::<Vec<_>>()).map(Some)
    }

    async fn remove_if(&self, removals: &[(String, Version)]) -> Result<u64, StoreError> {
        if removals.is_empty() {
            return Ok(0);
        }
        let keys: Vec<String> = removals.iter().map(|(key, _)| key.clone()).collect();
        let command = self.encode(&dialect::swap::removal_command(removals))?;
        let answer = self.link.write("/", command, &keys).await?;
        reply::result(&answer, self.link.options(), dialect::script_error_of)
    }

    async fn swap(&self, swap: &Swap) -> Result<bool, StoreError> {
        let (words, value, keys) = (swap.command(), swap.value(), [swap.key.clone()]);
        let answer = if value.is_empty() {
            // A request without a body has no last argument.
            let words: Vec<&str> = words.iter().map(String::as_str).chain([""]).collect();
            self.link.write("/", self.encode(&words)?, &keys).await?
        } else {
            let words = words.iter().map(|word| utf8_percent_encode(word, KEPT).to_string());
            let path = words.map(|word| ["/", &word].concat()).collect::<String>();
            self.link.write(&path, value, &keys).await?
        };
        match reply::result::<i64>(&answer, self.link.options(), dialect::script_error_of) {
            Err(StoreError::Corrupt(_)) => Ok(false),
            swapped => swapped.map(|swapped| swapped == 1),
        }
    }

    fn commands(&self) -> Option<u64> {
        Some(self.link.commands())
    }

    fn trouble(&self) -> Option<StoreError> {
        None
    }

    /// A request has at most 10 MB, in which bytes are written as base64.
    fn largest_value(&self) -> Option<u64> {
        Some(7 << 20)
    }

    fn log(&self) -> Option<&dyn Log> {
        Some(self)
    }

    fn watch(&self) -> Option<&dyn Watch> {
        None
    }

    fn settling(&self) -> Option<&dyn Settle> {
        None
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.link.close();
        Ok(())
    }
}

/// Logs are streams, looked at every few seconds: nothing waits over REST. A record must be text.
#[async_trait]
impl Log for UpstashStore {
    async fn append(&self, name: &str, record: Bytes) -> Result<(), StoreError> {
        self.append_record(name, &record).await
    }

    async fn end(&self, name: &str) -> Result<Option<Position>, StoreError> {
        self.newest(name).await
    }

    async fn read(&self, name: &str, after: Option<&Position>, wait: Duration) -> Result<Tail, StoreError> {
        stream::poll(self, name, after, wait, log::EVERY).await
    }
}

impl fmt::Display for UpstashStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.link.options().fmt(f)
    }
}

impl fmt::Debug for UpstashStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UpstashStore({})", self.link.options())
    }
}
