//! A store in this process's memory.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use tokio::sync::Notify;
use tokio::time::timeout;

use super::{
    Addition, Counters, Cursor, FieldUpdate, Fields, KEPT_RECORDS, Log, Page, Position, Store, StoreError, Swap, Tail,
    Usage, Version, counters, fields,
};
use crate::clock::{Clock, Timestamp};

/// What a row costs beyond its value and twice its key: map nodes and the row itself.
const ROW_OVERHEAD: u64 = 128;

/// A store that forgets everything with the process.
///
/// Clones share one content, so two nodes of a cluster can be tried out in one process. When full, it gives up the
/// values closest to their expiry first.
#[derive(Clone)]
pub struct MemoryStore {
    shared: Arc<Shared>,
}

struct Shared {
    clock: Clock,
    max_bytes: u64,
    table: Mutex<Table>,
    logs: Mutex<BTreeMap<String, Records>>,
    appended: Notify,
    /// Held by an addition to counters, which reads before it writes.
    adding: tokio::sync::Mutex<()>,
}

/// One log: its last records, and how many there were before them.
#[derive(Default)]
struct Records {
    gone: u64,
    kept: VecDeque<Bytes>,
}

#[derive(Default)]
struct Table {
    rows: BTreeMap<Arc<str>, Row>,
    by_expiry: BTreeSet<(Timestamp, Arc<str>)>,
    bytes: u64,
}

struct Row {
    value: Bytes,
    expires: Timestamp,
}

impl MemoryStore {
    /// An empty store that holds at most `max_bytes`, keys and book-keeping included.
    pub fn new(clock: Clock, max_bytes: u64) -> Self {
        let shared = Shared {
            clock,
            max_bytes,
            table: Mutex::default(),
            logs: Mutex::default(),
            appended: Notify::new(),
            adding: tokio::sync::Mutex::default(),
        };
        MemoryStore { shared: Arc::new(shared) }
    }

    fn put_into(&self, table: &mut Table, key: &str, value: Bytes, ttl: Duration) -> Result<(), StoreError> {
        let cost = charge(key, &value);
        if cost > self.shared.max_bytes {
            return Err(StoreError::Refused(format!("{cost} bytes do not fit into {}", self.shared.max_bytes)));
        }
        let expires = self.shared.clock.now().plus(ttl.max(Duration::from_millis(1)));
        table.remove(key);
        while table.bytes + cost > self.shared.max_bytes {
            table.drop_closest_to_expiry();
        }
        table.insert(key.into(), Row { value, expires });
        Ok(())
    }

    fn logs(&self) -> MutexGuard<'_, BTreeMap<String, Records>> {
        self.shared.logs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The table without its expired rows.
    fn table(&self) -> MutexGuard<'_, Table> {
        // Every change of the table is complete before anything in it can panic.
        let mut table = self.shared.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.drop_expired(self.shared.clock.now());
        table
    }
}

impl Table {
    fn drop_expired(&mut self, now: Timestamp) {
        while self.by_expiry.first().is_some_and(|(expires, _)| *expires <= now) {
            self.drop_closest_to_expiry();
        }
    }

    fn drop_closest_to_expiry(&mut self) {
        if let Some((_, key)) = self.by_expiry.pop_first()
            && let Some(row) = self.rows.remove(&key)
        {
            self.bytes -= charge(&key, &row.value);
        }
    }

    fn insert(&mut self, key: Arc<str>, row: Row) {
        self.remove(&key);
        self.bytes += charge(&key, &row.value);
        self.by_expiry.insert((row.expires, Arc::clone(&key)));
        self.rows.insert(key, row);
    }

    fn remove(&mut self, key: &str) -> bool {
        let Some((key, row)) = self.rows.remove_entry(key) else {
            return false;
        };
        self.bytes -= charge(&key, &row.value);
        self.by_expiry.remove(&(row.expires, key))
    }
}

fn charge(key: &str, value: &Bytes) -> u64 {
    2 * key.len() as u64 + value.len() as u64 + ROW_OVERHEAD
}

#[async_trait]
impl Store for MemoryStore {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        Ok(self.table().rows.get(key).map(|row| row.value.clone()))
    }

    async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Bytes>>, StoreError> {
        let table = self.table();
        Ok(keys.iter().map(|key| table.rows.get(key.as_str()).map(|row| row.value.clone())).collect())
    }

    async fn put(&self, key: &str, value: Bytes, ttl: Duration) -> Result<(), StoreError> {
        self.put_into(&mut self.table(), key, value, ttl)
    }

    async fn swap(&self, swap: &Swap) -> Result<bool, StoreError> {
        if swap.is_late(self.shared.clock.now()) {
            return Err(StoreError::Late);
        }
        let mut table = self.table();
        let held = table.rows.get(swap.key.as_str()).map(|row| row.value.clone());
        if !swap.is_expected(held.as_deref()) {
            return Ok(false);
        }
        match &swap.to {
            Some((value, ttl)) => self.put_into(&mut table, &swap.key, value.clone(), *ttl)?,
            None => _ = table.remove(&swap.key),
        }
        Ok(true)
    }

    async fn remove_if(&self, removals: &[(String, Version)]) -> Result<u64, StoreError> {
        if removals.iter().any(|(_, expected)| expected.is_late(self.shared.clock.now())) {
            return Err(StoreError::Late);
        }
        let mut table = self.table();
        let mut removed = 0;
        for (key, expected) in removals {
            if expected.is_of(table.rows.get(key.as_str()).map(|row| &row.value[..])) {
                removed += u64::from(table.remove(key));
            }
        }
        Ok(removed)
    }

    async fn remove(&self, keys: &[String]) -> Result<u64, StoreError> {
        let (mut table, mut logs) = (self.table(), self.logs());
        Ok(keys.iter().map(|key| u64::from(table.remove(key) || logs.remove(key).is_some())).sum())
    }

    async fn list(&self, prefix: &str, cursor: Option<Cursor>, limit: usize) -> Result<Page, StoreError> {
        let table = self.table();
        let start = match &cursor {
            Some(Cursor(last)) => Bound::Excluded(last.as_str()),
            None => Bound::Included(prefix),
        };
        let mut matching = table
            .rows
            .range::<str, _>((start, Bound::Unbounded))
            .map(|(key, _)| key.to_string())
            .take_while(|key| key.starts_with(prefix));
        let keys: Vec<String> = matching.by_ref().take(limit.max(1)).collect();
        let next = if matching.next().is_some() { keys.last().cloned().map(Cursor) } else { None };
        Ok(Page { keys, next })
    }

    async fn now(&self) -> Result<Option<Timestamp>, StoreError> {
        Ok(Some(self.shared.clock.now()))
    }

    fn log(&self) -> Option<&dyn Log> {
        Some(self)
    }

    async fn probe(&self) -> Result<Usage, StoreError> {
        let table = self.table();
        let (keys, bytes) = (Some(table.rows.len() as u64), Some(table.bytes));
        Ok(Usage { keys, bytes, limit: Some(self.shared.max_bytes), ..Usage::default() })
    }

    fn largest_value(&self) -> Option<u64> {
        Some(self.shared.max_bytes)
    }

    async fn update_fields(&self, update: &FieldUpdate) -> Result<Fields, StoreError> {
        let _alone = self.shared.adding.lock().await;
        let fields = fields::update_alone(self, update).await?;
        Ok(Fields { now: self.now().await?, ..fields })
    }

    async fn add(&self, addition: &Addition) -> Result<Counters, StoreError> {
        let _alone = self.shared.adding.lock().await;
        counters::add_alone(self, addition).await
    }
}

/// For clones of one store in several caches. The records of its logs are not counted among its bytes.
#[async_trait]
impl Log for MemoryStore {
    async fn append(&self, name: &str, record: Bytes) -> Result<(), StoreError> {
        let mut logs = self.logs();
        let records = logs.entry(name.to_owned()).or_default();
        records.kept.push_back(record);
        if records.kept.len() > KEPT_RECORDS {
            records.kept.pop_front();
            records.gone += 1;
        }
        drop(logs);
        self.shared.appended.notify_waiters();
        Ok(())
    }

    async fn end(&self, name: &str) -> Result<Option<Position>, StoreError> {
        Ok(self.logs().get(name).and_then(|log| log.after(u64::MAX).end))
    }

    async fn read(&self, name: &str, after: Option<&Position>, wait: Duration) -> Result<Tail, StoreError> {
        let after = match after {
            None => 0,
            Some(Position(at)) => {
                at.parse().map_err(|_| StoreError::Corrupt(format!("{at:?} is no place in a log")))?
            }
        };
        let something = async {
            loop {
                let appended = self.shared.appended.notified();
                let tail =
                    self.logs().get(name).map_or_else(|| Records::default().after(after), |log| log.after(after));
                if !tail.records.is_empty() || !tail.is_complete {
                    return tail;
                }
                appended.await;
            }
        };
        let nothing = || Tail { records: Vec::new(), end: (after > 0).then(|| place(after)), is_complete: true };
        Ok(timeout(wait, something).await.unwrap_or_else(|_| nothing()))
    }
}

impl Records {
    /// What follows on the first `after` records.
    fn after(&self, after: u64) -> Tail {
        let appended = self.gone + self.kept.len() as u64;
        let known = after.clamp(self.gone, appended) - self.gone;
        let records = self.kept.iter().skip(usize::try_from(known).unwrap_or(usize::MAX)).cloned().collect();
        let is_complete = (self.gone..=appended).contains(&after);
        Tail { records, end: (appended > 0).then(|| place(appended)), is_complete }
    }
}

fn place(records: u64) -> Position {
    Position(records.to_string())
}

impl fmt::Display for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryStore")
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = self.table();
        f.debug_struct("MemoryStore")
            .field("keys", &table.rows.len())
            .field("bytes", &table.bytes)
            .field("max_bytes", &self.shared.max_bytes)
            .finish()
    }
}
