//! A store in Redis, or in what speaks its protocol.

use std::fmt;
use std::time::Duration;

use ::redis::{Cmd, FromRedisValue, cmd};
use async_trait::async_trait;
use bytes::Bytes;

use self::node::Node;
pub use self::options::RedisOptions;
use self::options::Topology;
use self::sentinel::Sentinels;
use self::supervisor::Target;
use super::{Cursor, Page, Store, StoreError, Usage};

mod connect;
mod link;
mod node;
mod options;
mod reply;
mod sentinel;
mod supervisor;

/// Redis counts a time to live in milliseconds and adds it to the time of day; ten years never overflow.
const LONGEST_TTL: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// How many SCAN steps one page may take. Few matches in a large database would otherwise make pages of nothing.
const SCANS_A_PAGE: usize = 20;

/// A store in one Redis server.
///
/// A task of its own keeps one connection and reconnects in the background; no call ever waits for that. Without a
/// connection a call is answered [`StoreError::Unavailable`] at once, and nothing is retried. A call on a server that
/// fell silent ends after five seconds at the latest; put a [`GuardedStore`](super::GuardedStore) around it for a
/// shorter deadline. The task ends when the store is dropped or closed.
///
/// What the server refuses for now or for good (`-OOM`, `-READONLY`, `-MISCONF`, a write without permission) is
/// [`StoreError::Refused`]. What says that it cannot be used (`-LOADING`, `-BUSY`, `-MASTERDOWN`, `-NOAUTH`,
/// `-WRONGPASS`, `-NOPERM`, and what else it answers with) is [`StoreError::Unavailable`]. A value of another type than
/// string is `Ok(None)`.
///
/// # TLS
///
/// `rediss://` checks the server's certificate against the system's roots (`SSL_CERT_FILE` stands in for them), with the
/// process's default rustls provider. Where the program installed none, rustls takes the one it was built with; a
/// program that links two has to install one first, else every connection fails, saying so.
pub struct RedisStore {
    node: Node,
}

impl RedisStore {
    /// A store that connects in the background; an absent server is no error.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with IO and time enabled.
    pub fn connect(options: RedisOptions) -> RedisStore {
        let target = match options.topology().clone() {
            Topology::Single(info) => Target::Server(Box::new(info)),
            Topology::Sentinel { sentinels, service, login } => {
                Target::Primary(Sentinels::new(sentinels, service, login))
            }
        };
        RedisStore { node: Node::connect(options, target) }
    }

    /// Whether there is a connection at this moment.
    pub fn is_connected(&self) -> bool {
        self.node.is_up()
    }

    async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, StoreError> {
        self.node.ask(command).await.map_err(|error| reply::read_error(&error))
    }

    async fn tell<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, StoreError> {
        self.node.ask(command).await.map_err(|error| reply::write_error(&error))
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Store for RedisStore {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        match self.ask(cmd("GET").arg(key)).await {
            Err(StoreError::Corrupt(_)) => Ok(None),
            answer => answer,
        }
    }

    async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Bytes>>, StoreError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let values: Vec<Option<Bytes>> = self.ask(cmd("MGET").arg(keys)).await?;
        if values.len() != keys.len() {
            return Err(StoreError::Corrupt(format!("{} answers to {} keys", values.len(), keys.len())));
        }
        Ok(values)
    }

    async fn put(&self, key: &str, value: Bytes, ttl: Duration) -> Result<(), StoreError> {
        let millis = ttl.clamp(Duration::from_millis(1), LONGEST_TTL).as_millis() as u64;
        self.tell(cmd("SET").arg(key).arg(&value[..]).arg("PX").arg(millis)).await
    }

    async fn remove(&self, keys: &[String]) -> Result<u64, StoreError> {
        if keys.is_empty() {
            return Ok(0);
        }
        self.tell(cmd("UNLINK").arg(keys)).await
    }

    async fn list(&self, prefix: &str, cursor: Option<Cursor>, limit: usize) -> Result<Page, StoreError> {
        let pattern = reply::glob_of_prefix(prefix);
        let count = limit.clamp(10, 1000);
        let mut at = match cursor {
            None => 0,
            Some(Cursor(at)) => at.parse().map_err(|_| StoreError::Corrupt(format!("{at:?} is no cursor of Redis")))?,
        };
        let mut keys = Vec::new();
        for _ in 0..SCANS_A_PAGE {
            let scan = cmd("SCAN").arg(at).arg("MATCH").arg(&pattern).arg("COUNT").arg(count).take();
            let (next, found): (u64, Vec<Vec<u8>>) = self.ask(&scan).await?;
            // Other programs' keys may be no text; none of ours.
            let texts = found.into_iter().filter_map(|key| String::from_utf8(key).ok());
            keys.extend(texts.filter(|key| key.starts_with(prefix)));
            at = next;
            if at == 0 || keys.len() >= limit {
                break;
            }
        }
        Ok(Page { keys, next: (at != 0).then(|| Cursor(at.to_string())) })
    }

    async fn probe(&self) -> Result<Usage, StoreError> {
        // Sent together, so one round trip.
        let (ping, info, size) = (cmd("PING"), cmd("INFO").arg("memory").take(), cmd("DBSIZE"));
        let (ping, info, size) =
            tokio::join!(self.ask::<String>(&ping), self.ask::<String>(&info), self.ask::<u64>(&size));
        ping?;
        // An account may well lack the right to see these two.
        Ok(Usage { keys: size.ok(), bytes: info.ok().and_then(|info| reply::used_memory(&info)) })
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.node.close();
        Ok(())
    }
}

impl fmt::Display for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.node.options().fmt(f)
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisStore({}, connected: {})", self.node.options(), self.is_connected())
    }
}
