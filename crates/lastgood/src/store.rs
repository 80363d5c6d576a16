//! The contract of a tier that holds bytes, and the stores that keep it.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::{Instant, timeout_at};

use crate::clock::Timestamp;

mod counters;
#[cfg(any(feature = "redis", feature = "upstash"))]
mod dialect;
#[cfg(feature = "embedded")]
mod embedded;
mod fields;
mod guarded;
mod jitter;
mod memory;
#[cfg(not(feature = "embedded"))]
mod no_embedded;
#[cfg(feature = "redis")]
mod redis;
mod swap;
#[cfg(feature = "upstash")]
mod upstash;
mod url;
mod watch;

pub use self::counters::{Addition, Counters};
#[cfg(feature = "embedded")]
pub use self::embedded::{EmbeddedStore, Opened};
#[cfg(feature = "embedded")]
pub(crate) use self::embedded::{FileTrouble, RowFile};
pub use self::fields::{FieldUpdate, Fields};
pub(crate) use self::guarded::Ahead;
pub use self::guarded::{BreakerState, Guard, GuardCounters, GuardedStore};
#[cfg(feature = "testing")]
pub(crate) use self::jitter::wait_evenly;
pub(crate) use self::jitter::{jittered, somewhere_in};
pub use self::memory::MemoryStore;
#[cfg(not(feature = "embedded"))]
pub(crate) use self::no_embedded::{FileTrouble, RowFile};
#[cfg(feature = "redis")]
pub use self::redis::{Lack, RedisOptions, RedisStore};
pub(crate) use self::swap::Ends;
pub use self::swap::{Swap, Version};
#[cfg(feature = "upstash")]
pub use self::upstash::{UpstashOptions, UpstashStore};
pub use self::url::{Login, Password, RedisPlace, RedisUrl, StoreUrl, StoreUrlError, TlsFiles, UpstashUrl};
pub use self::watch::{Noticed, Watch, Watched};

/// A tier below memory that holds bytes under text keys.
///
/// # Contract
///
/// * Absence is `Ok(None)`, never an error. So is a value that another program put there in another type
///   ([`StoreError::Corrupt`] is for callers that must tell them apart; `get` answers `Ok(None)`).
/// * A `put` is atomic: a reader sees the old value or the new one, never a mixture, and never a value without its
///   time to live.
/// * A value is gone, for every reader, once its `ttl` has passed. Whether a value is still *fresh* is not the
///   store's business: the bytes carry their own times.
/// * `get_many` answers in the order of its keys, one item a key, duplicates included. It is one round trip.
/// * `list` gives every key with the prefix that is there from the first page to the last. Keys that come or go
///   meanwhile may be missing; a key may come twice.
/// * Any future may be dropped at any await point. A dropped `put` or `remove` has happened or has not.
/// * Keys are any non-empty UTF-8 text up to [`MAX_KEY_BYTES`], `*`, `?`, `[` and line breaks included.
/// * No method panics, and none waits for a reconnect: an unreachable store says so at once.
///
/// The module `lastgood::testing::conformance` (feature `testing`) checks all of this and is run against every store.
#[async_trait]
pub trait Store: fmt::Debug + fmt::Display + Send + Sync + 'static {
    /// The value under `key`, or `None`.
    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError>;

    /// As [`Store::get`], for a caller who waits until `deadline` and no longer: then [`StoreError::Timeout`]. For stores that
    /// keep one timer for many reads; others need not implement it.
    async fn get_by(&self, key: &str, deadline: Instant) -> Result<Option<Bytes>, StoreError> {
        timeout_at(deadline, self.get(key)).await.unwrap_or(Err(StoreError::Timeout))
    }

    /// The values under `keys`, in their order, in one round trip.
    async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Bytes>>, StoreError>;

    /// Stores `value` under `key` for `ttl` (at least a millisecond), replacing what was there.
    async fn put(&self, key: &str, value: Bytes, ttl: Duration) -> Result<(), StoreError>;

    /// Removes the keys and says how many were there. Removing nothing is no error.
    async fn remove(&self, keys: &[String]) -> Result<u64, StoreError>;

    /// One page of about `limit` keys that start with `prefix`, going on after `cursor`.
    async fn list(&self, prefix: &str, cursor: Option<Cursor>, limit: usize) -> Result<Page, StoreError>;

    /// Proves in one round trip that the store answers, and says how much it holds.
    async fn probe(&self) -> Result<Usage, StoreError>;

    /// Adds to a set of counters and answers with all of the set. Atomic among all processes that share the store. An
    /// addition that is repeated, because its answer was lost, takes effect once. The counters are kept for 90 days
    /// after the last addition.
    ///
    /// As given, for a store that one process has to itself, and one addition at a time.
    async fn add(&self, addition: &Addition) -> Result<Counters, StoreError> {
        counters::add_alone(self, addition).await
    }

    /// Changes a key if it holds the expected bytes, and says whether it did. One step among all processes that share
    /// the store. Bytes that the store cannot read are not the expected ones. A change that comes too late is
    /// [`StoreError::Late`], where the store can tell.
    ///
    /// As given, for a store that one process has to itself, and one change of a key at a time.
    async fn swap(&self, swap: &Swap) -> Result<bool, StoreError> {
        swap::swap_alone(self, swap).await
    }

    /// Removes those of the keys that hold the bytes expected of them, and says how many were there. One round trip;
    /// each key is one step among all processes that share the store.
    ///
    /// As given, for a store that one process has to itself, and one change of a key at a time.
    async fn remove_if(&self, removals: &[(String, Version)]) -> Result<u64, StoreError> {
        swap::remove_alone(self, removals).await
    }

    /// Changes a map of fields and answers with all of it. Atomic among all processes that share the store: none undoes what
    /// another set in a field of its own.
    ///
    /// As given, for a store that one process has to itself, and one update at a time.
    async fn update_fields(&self, update: &FieldUpdate) -> Result<Fields, StoreError> {
        fields::update_alone(self, update).await
    }

    /// The time by the clock that all processes which share the store go by in it; `None` where one process has it to
    /// itself. [`StoreError::Refused`] where it may not be asked.
    async fn now(&self) -> Result<Option<Timestamp>, StoreError> {
        Ok(None)
    }

    /// How many commands this process has sent to the server, for stores that are billed by the command; `None` where
    /// none is counted.
    fn commands(&self) -> Option<u64> {
        None
    }

    /// What keeps it from doing all of its work at the moment, such as a full or read-only disk; `None` while nothing is
    /// known to. Makes no request.
    fn trouble(&self) -> Option<StoreError> {
        None
    }

    /// The largest value that it ever keeps, in bytes; `None` where nothing is known to bound it.
    fn largest_value(&self) -> Option<u64> {
        None
    }

    /// Where the processes that share this store tell each other what they invalidated; `None` where one process has
    /// the store to itself.
    fn log(&self) -> Option<&dyn Log> {
        None
    }

    /// How the server itself tells what anybody did to single keys; `None` where it does not.
    fn watch(&self) -> Option<&dyn Watch> {
        None
    }

    /// How to wait until what it was given outlives the process; `None` where that is so as soon as it has answered.
    fn settling(&self) -> Option<&dyn Settle> {
        None
    }

    /// Completes the writes in flight and ends background work. The store is not used afterwards.
    async fn close(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// A store that answers before what it was given is kept for good, and gathers it.
#[async_trait]
pub trait Settle: Send + Sync {
    /// Waits until all that the store has taken so far would outlive the process.
    ///
    /// # Errors
    ///
    /// When some of it would not: [`StoreError::Refused`] where the disk does not take it, [`StoreError::Timeout`] where it
    /// is not known.
    async fn settle(&self) -> Result<(), StoreError>;
}

/// A log in a store that several processes share: each appends to it, and each reads it from its own place.
///
/// # Contract
///
/// * Records are read in the order in which they were appended, by any process, and each exactly once by a reader that
///   goes on from [`Tail::end`].
/// * A log keeps at least its last [`KEPT_RECORDS`] records, for a week after the last was appended; older ones may be
///   gone.
/// * A reader who missed records finds out: [`Tail::is_complete`] is false where anything that was appended after its
///   place is not there any more, the whole log included. No clock has a part in that.
/// * [`Store::remove`] of the log's name removes the log.
#[async_trait]
pub trait Log: Send + Sync {
    /// Appends a record to the log called `name`, which it begins if need be.
    async fn append(&self, name: &str, record: Bytes) -> Result<(), StoreError>;

    /// The place after the last record; `None` before the first. Does not wait for a [`Log::read`] that waits.
    async fn end(&self, name: &str) -> Result<Option<Position>, StoreError>;

    /// What was appended after `after` (`None`: from the beginning), as soon as there is something, in one page or
    /// several; nothing once `wait` is over.
    async fn read(&self, name: &str, after: Option<&Position>, wait: Duration) -> Result<Tail, StoreError>;

    /// Whether the last read failed because the server is down for all: then no process can write to it either.
    /// A server that only this process cannot reach is less than that.
    fn is_away(&self) -> bool {
        false
    }

    /// How long memory is believed while this log cannot be read, unless
    /// [`CacheBuilder::trust_for`](crate::CacheBuilder::trust_for) says otherwise. The log is read six times in it: it has
    /// to be long where each command is billed. As given, for such a log, and for one that never falls silent.
    fn trust_for(&self) -> Duration {
        Duration::from_secs(60)
    }
}

/// How many records a log keeps at least.
pub const KEPT_RECORDS: usize = 10_000;

/// A place in a log; opaque outside the store that issued it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position(pub(crate) String);

impl Position {
    /// A place in the log of a store of yours, in words that only that store reads.
    pub fn new(place: impl Into<String>) -> Self {
        Position(place.into())
    }

    /// What its store made it of.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a log holds after a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tail {
    /// The records, oldest first.
    pub records: Vec<Bytes>,
    /// Where to go on reading; `None`: at the beginning.
    pub end: Option<Position>,
    /// Whether nothing is missing between the place that was asked for and the records.
    pub is_complete: bool,
}

/// The longest key a store must take, in bytes.
pub const MAX_KEY_BYTES: usize = 1024;

/// Where the next page of a listing begins; opaque outside the store that issued it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor(pub(crate) String);

impl Cursor {
    /// Where the next page of a store of yours begins, in words that only that store reads.
    pub fn new(place: impl Into<String>) -> Self {
        Cursor(place.into())
    }

    /// What its store made it of.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One page of keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The keys, in no promised order.
    pub keys: Vec<String>,
    /// Where the next page begins; `None` after the last.
    pub next: Option<Cursor>,
}

/// What a store holds, as far as it can tell cheaply.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Keys in the whole store, other programs' included.
    pub keys: Option<u64>,
    /// Bytes in use by the whole store.
    pub bytes: Option<u64>,
    /// The same in the server's own words (`used_memory_human`); of one server only.
    pub bytes_human: Option<String>,
    /// The most bytes it may use; `None` where there is no limit, or none is known.
    pub limit: Option<u64>,
    /// Keys that were evicted to stay within the limit, since the server's start.
    pub evicted_keys: Option<u64>,
    /// The size of its file.
    pub file_bytes: Option<u64>,
}

/// Why a store could not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreError {
    /// It cannot be reached, is loading, or does not let us in. The text never holds a secret.
    Unavailable(String),
    /// The part of it that this call needs cannot be reached, while other parts can. Found out without waiting, so
    /// nothing is won by leaving the whole store alone.
    PartlyUnavailable(String),
    /// It did not answer within the budget.
    Timeout,
    /// The guard does not ask it at the moment because it failed too often.
    BreakerOpen,
    /// The guard's places for concurrent calls are taken; says nothing about the store's health.
    Busy,
    /// It answers but refuses this write: full, read-only, value too large.
    Refused(String),
    /// What it holds there is not ours to read.
    Corrupt(String),
    /// The change reached it after its sender stopped waiting for it, and was not made; see [`Version::is_late`].
    Late,
}

impl StoreError {
    /// Whether this speaks against the store's health, so that a breaker should count it.
    pub fn is_failure(&self) -> bool {
        matches!(self, StoreError::Unavailable(_) | StoreError::Timeout)
    }

    /// Why, for a sentence that has named the store already.
    pub fn cause(&self) -> Cow<'_, str> {
        match self {
            StoreError::Unavailable(why) => Cow::Borrowed(why),
            StoreError::Timeout => Cow::Borrowed("no answer in time"),
            StoreError::Refused(why) => Cow::Owned(format!("refused: {why}")),
            StoreError::Corrupt(why) => Cow::Owned(format!("unreadable: {why}")),
            StoreError::PartlyUnavailable(_) | StoreError::BreakerOpen | StoreError::Busy | StoreError::Late => {
                Cow::Owned(self.to_string())
            }
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::Unavailable(why) => write!(f, "store unavailable: {why}"),
            StoreError::PartlyUnavailable(why) => write!(f, "a part of the store is unavailable: {why}"),
            StoreError::Timeout => f.write_str("store did not answer in time"),
            StoreError::BreakerOpen => f.write_str("store failed too often: backing off"),
            StoreError::Busy => f.write_str("too many store calls at once"),
            StoreError::Refused(why) => write!(f, "store refused the write: {why}"),
            StoreError::Corrupt(why) => write!(f, "store holds something unreadable: {why}"),
            StoreError::Late => f.write_str("the change reached the store too late and was not made"),
        }
    }
}

impl std::error::Error for StoreError {}
