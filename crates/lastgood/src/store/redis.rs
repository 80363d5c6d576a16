//! A store in Redis, or in what speaks its protocol.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ::redis::{Cmd, cmd};
use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::{Instant, timeout_at};

use self::cluster::Cluster;
use self::node::Node;
pub use self::options::RedisOptions;
use self::options::Topology;
pub use self::permissions::Lack;
use self::sentinel::Sentinels;
use self::supervisor::Target;
use super::dialect::stream::{self, PolledStream};
use super::{
    Addition, Counters, Cursor, FieldUpdate, Fields, Log, Page, Position, Settle, Store, StoreError, Swap, Tail, Usage,
    Version, Watch, dialect,
};
use crate::clock::Timestamp;

mod cluster;
mod connect;
mod greeting;
mod joined;
mod link;
mod log;
mod node;
mod notices;
mod options;
mod permissions;
mod reply;
mod sentinel;
mod server;
mod supervisor;
mod tracking;

/// A store in a Redis: one server, the primary that Sentinels name, or a cluster.
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
/// # Sentinel
///
/// The primary is whom the Sentinels name, and who says of itself that it is one. They are asked whenever the connection
/// is lost, every second, and when a write is refused, so that also a demoted primary that lives on is left within about
/// a second. What it took until then is lost, as every write is that it had not passed on yet.
///
/// # Cluster
///
/// Each command goes to the server that has its key, all for one server in one round trip, and is sent on where a slot
/// moves. There is one connection to each primary. While one of them cannot be reached, its keys are
/// [`StoreError::PartlyUnavailable`], a batch that has one of them included: absence would be a lie. A listing goes from
/// server to server, needs all of them, and starts over if slots moved meanwhile; a key in a slot that is just moving
/// may be missing. In a cluster that demands full coverage (`cluster-require-full-coverage yes`, which is the default),
/// the loss of a primary without a replica is the loss of all, and [`StoreError::Unavailable`].
///
/// # TLS
///
/// `rediss://`, `rediss+sentinel://` and `rediss+cluster://` check the certificate of every server, against the authority in
/// `ca=FILE` or else the system's roots (`SSL_CERT_FILE` stands in for them), for the name or address by which the URL,
/// the Sentinels or the cluster name it, with the process's default rustls provider. Where the program installed none, rustls takes the one it was built with; a
/// program that links two has to install one first, else every connection fails, saying so.
pub struct RedisStore {
    servers: Servers,
    /// Where one server has the log.
    reader: Option<log::Reader>,
    /// Commands that were sent to hear of single keys.
    commands_of_watch: Arc<AtomicU64>,
}

enum Servers {
    /// One at a time has all keys.
    One(Node),
    /// Each has its part of them.
    Many(Cluster),
}

impl RedisStore {
    /// A store that connects in the background; an absent server is no error.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with IO and time enabled.
    pub fn connect(options: RedisOptions) -> RedisStore {
        let reader = match options.topology() {
            Topology::Single(server) => Some(log::Reader::new(server.clone())),
            Topology::Sentinel { .. } | Topology::Cluster { .. } => None,
        };
        let servers = match options.topology().clone() {
            Topology::Single(server) => Servers::One(Node::connect(options, Target::Server(Box::new(server)))),
            Topology::Sentinel { sentinels, service, access } => {
                Servers::One(Node::connect(options, Target::Primary(Sentinels::new(sentinels, service, access))))
            }
            Topology::Cluster { seeds, access } => Servers::Many(Cluster::connect(options, seeds, access)),
        };
        RedisStore { servers, reader, commands_of_watch: Arc::default() }
    }

    /// Whether there is a connection at this moment; in a cluster, to every primary.
    pub fn is_connected(&self) -> bool {
        match &self.servers {
            Servers::One(node) => node.is_up(),
            Servers::Many(cluster) => cluster.is_up(),
        }
    }

    fn redacted(&self, error: StoreError) -> StoreError {
        match error {
            StoreError::Unavailable(why) => StoreError::Unavailable(self.options().redact(why)),
            other => other,
        }
    }

    fn options(&self) -> &RedisOptions {
        match &self.servers {
            Servers::One(node) => node.options(),
            Servers::Many(cluster) => cluster.options(),
        }
    }
}

fn get(key: &str) -> Cmd {
    cmd("GET").arg(key).take()
}

fn set(key: &str, value: &[u8], ttl: Duration) -> Cmd {
    cmd("SET").arg(key).arg(value).arg("PX").arg(dialect::ttl_millis(ttl)).take()
}

fn remove_if(removals: &[(String, Version)]) -> Cmd {
    let mut command = Cmd::new();
    for word in dialect::swap::removal_command(removals) {
        command.arg(&*word);
    }
    command
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Store for RedisStore {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        self.get_by(key, Instant::now() + connect::ANSWER_WITHIN).await
    }

    async fn get_by(&self, key: &str, deadline: Instant) -> Result<Option<Bytes>, StoreError> {
        let answer = match &self.servers {
            Servers::One(node) => node.get(key, deadline).await.map_err(|fault| reply::read_error(&fault)),
            Servers::Many(cluster) => timeout_at(deadline, cluster.get(key)).await.unwrap_or(Err(StoreError::Timeout)),
        };
        match answer {
            Err(StoreError::Corrupt(_)) => Ok(None),
            answer => answer,
        }
    }

    async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Bytes>>, StoreError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let values: Vec<Option<Bytes>> = match &self.servers {
            Servers::One(node) => node.query(cmd("MGET").arg(keys)).await.map_err(|fault| reply::read_error(&fault))?,
            Servers::Many(cluster) => cluster.get_many(keys).await?,
        };
        if values.len() != keys.len() {
            return Err(StoreError::Corrupt(format!("{} answers to {} keys", values.len(), keys.len())));
        }
        Ok(values)
    }

    async fn put(&self, key: &str, value: Bytes, ttl: Duration) -> Result<(), StoreError> {
        match &self.servers {
            Servers::One(node) => node.query(&set(key, &value, ttl)).await.map_err(|fault| reply::write_error(&fault)),
            Servers::Many(cluster) => cluster.put(key, &value, ttl).await,
        }
    }

    async fn remove(&self, keys: &[String]) -> Result<u64, StoreError> {
        if keys.is_empty() {
            return Ok(0);
        }
        match &self.servers {
            Servers::One(node) => node.query(cmd("UNLINK").arg(keys)).await.map_err(|fault| reply::write_error(&fault)),
            Servers::Many(cluster) => cluster.remove(keys).await,
        }
    }

    async fn list(&self, prefix: &str, cursor: Option<Cursor>, limit: usize) -> Result<Page, StoreError> {
        let node = match &self.servers {
            Servers::One(node) => node,
            Servers::Many(cluster) => return cluster.list(prefix, cursor, limit).await,
        };
        let at = match cursor {
            None => 0,
            Some(Cursor(at)) => at.parse().map_err(|_| StoreError::Corrupt(format!("{at:?} is no cursor of Redis")))?,
        };
        let (keys, at) = server::scan(node, prefix, at, limit).await.map_err(|fault| reply::read_error(&fault))?;
        Ok(Page { keys, next: (at != 0).then(|| Cursor(at.to_string())) })
    }

    async fn probe(&self) -> Result<Usage, StoreError> {
        match &self.servers {
            Servers::One(node) => server::probe(node).await.map_err(|fault| reply::read_error(&fault)),
            Servers::Many(cluster) => cluster.probe().await,
        }
    }

    async fn add(&self, addition: &Addition) -> Result<Counters, StoreError> {
        let mut command = Cmd::new();
        for word in addition.command() {
            command.arg(word);
        }
        let pairs: Vec<Bytes> = match &self.servers {
            Servers::One(node) => node.query(&command).await.map_err(|fault| reply::script_error(&fault))?,
            Servers::Many(cluster) => cluster.run(&addition.key, command).await?,
        };
        Ok(Counters::of_pairs(&pairs))
    }

    async fn update_fields(&self, update: &FieldUpdate) -> Result<Fields, StoreError> {
        let mut command = Cmd::new();
        for word in update.command() {
            command.arg(word);
        }
        let reply: Vec<Bytes> = match &self.servers {
            Servers::One(node) => node.query(&command).await.map_err(|fault| reply::script_error(&fault))?,
            Servers::Many(cluster) => cluster.run(&update.key, command).await?,
        };
        Fields::of_reply(&reply)
    }

    async fn now(&self) -> Result<Option<Timestamp>, StoreError> {
        let time = cmd("TIME");
        let parts: Vec<Bytes> = match &self.servers {
            Servers::One(node) => node.query(&time).await.map_err(|fault| reply::script_error(&fault))?,
            // Every process asks the same of its servers: the one that has this key.
            Servers::Many(cluster) => cluster.run("@clock", time).await?,
        };
        dialect::time(&parts).map(Some)
    }

    async fn remove_if(&self, removals: &[(String, Version)]) -> Result<u64, StoreError> {
        if removals.is_empty() {
            return Ok(0);
        }
        match &self.servers {
            Servers::One(node) => {
                let removed = node.query(&remove_if(removals)).await;
                removed.map_err(|fault| reply::script_error(&fault))
            }
            Servers::Many(cluster) => cluster.remove_if(removals).await,
        }
    }

    async fn swap(&self, swap: &Swap) -> Result<bool, StoreError> {
        let mut command = Cmd::new();
        for word in swap.command() {
            command.arg(word);
        }
        command.arg(&swap.value()[..]);
        let swapped: Result<i64, StoreError> = match &self.servers {
            Servers::One(node) => node.query(&command).await.map_err(|fault| reply::script_error(&fault)),
            Servers::Many(cluster) => cluster.run(&swap.key, command).await,
        };
        match swapped {
            // Another program keeps something else there.
            Err(StoreError::Corrupt(_)) => Ok(false),
            swapped => swapped.map(|swapped| swapped == 1),
        }
    }

    /// Of one server; those of Sentinels and clusters are billed by the hour.
    fn commands(&self) -> Option<u64> {
        match (&self.servers, &self.reader) {
            (Servers::One(node), Some(reader)) => {
                Some(node.commands() + reader.commands() + self.commands_of_watch.load(Ordering::Relaxed))
            }
            _ => None,
        }
    }

    fn trouble(&self) -> Option<StoreError> {
        match &self.servers {
            Servers::One(node) => node.why_down().map(|why| StoreError::Unavailable(why.to_string())),
            Servers::Many(cluster) => cluster.trouble(),
        }
    }

    /// Redis keeps no longer strings.
    fn largest_value(&self) -> Option<u64> {
        Some(512 << 20)
    }

    fn log(&self) -> Option<&dyn Log> {
        Some(self)
    }

    /// Not where each command is billed: the connection has to be asked now and then whether it is still there.
    fn watch(&self) -> Option<&dyn Watch> {
        (!self.options().is_billed()).then_some(self)
    }

    fn settling(&self) -> Option<&dyn Settle> {
        None
    }

    async fn close(&self) -> Result<(), StoreError> {
        match &self.servers {
            Servers::One(node) => node.close(),
            Servers::Many(cluster) => cluster.close(),
        }
        Ok(())
    }
}

/// How long memory is believed while the log cannot be read.
const TRUST_FOR: Duration = Duration::from_secs(2);
/// The same where each command is billed, and the log is read rarely for that reason.
const TRUST_FOR_WHERE_BILLED: Duration = Duration::from_secs(60);

/// Logs are streams. That of one server is read over a connection of its own; a primary of the day and a cluster are asked
/// five times a second.
#[async_trait]
impl Log for RedisStore {
    async fn append(&self, name: &str, record: Bytes) -> Result<(), StoreError> {
        let append = log::append(name, &record);
        match &self.servers {
            Servers::One(node) => node.query(&append).await.map_err(|fault| reply::write_error(&fault)),
            Servers::Many(cluster) => cluster.tell_one(name, append).await,
        }
    }

    async fn end(&self, name: &str) -> Result<Option<Position>, StoreError> {
        let end = match &self.reader {
            Some(reader) if !reader.is_waiting(name) => reader.end(name).await,
            _ => self.newest(name).await,
        };
        end.map_err(|error| self.redacted(error))
    }

    async fn read(&self, name: &str, after: Option<&Position>, wait: Duration) -> Result<Tail, StoreError> {
        let tail = match &self.reader {
            Some(reader) => reader.read(name, after, wait).await,
            None => stream::poll(self, name, after, wait, log::EVERY).await,
        };
        tail.map_err(|error| self.redacted(error))
    }

    /// Where a port refuses connections, no server listens. Sentinels and clusters put another server in its place.
    fn is_away(&self) -> bool {
        self.reader.as_ref().is_some_and(log::Reader::is_refused)
    }

    fn trust_for(&self) -> Duration {
        if self.options().is_billed() { TRUST_FOR_WHERE_BILLED } else { TRUST_FOR }
    }
}

impl fmt::Display for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.options().fmt(f)
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisStore({}, connected: {})", self.options(), self.is_connected())
    }
}
