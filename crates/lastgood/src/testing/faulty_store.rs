//! A store that misbehaves on command.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::clock::Timestamp;
use crate::store::{
    Addition, Counters, Cursor, FieldUpdate, Fields, Log, Page, Position, Settle, Store, StoreError, Swap, Tail, Usage,
    Version, Watch,
};

/// How a [`FaultyStore`] misbehaves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Not at all.
    #[default]
    Pass,
    /// Answers with this error at once and does nothing.
    Fail(StoreError),
    /// Never answers, and does nothing. A call stays hung after the fault is over.
    Hang,
    /// Waits for the fault to end, then does as asked.
    Hold,
    /// Waits this long, then does as asked.
    Delay(Duration),
    /// Does as asked, then answers with this error: the write that happened although it failed.
    FailAfter(StoreError),
}

/// A [`Store`] around another that fails, hangs and delays on command. Reads (`get`, `get_many`) and all other calls
/// can be chosen separately.
#[derive(Debug)]
pub struct FaultyStore {
    inner: Arc<dyn Store>,
    reads: Side,
    writes: Side,
    log_reads: Side,
    log_appends: Side,
}

#[derive(Debug)]
struct Side {
    fault: watch::Sender<Fault>,
    calls: AtomicU64,
}

impl FaultyStore {
    /// A store that passes everything on to `inner` by default.
    pub fn new(inner: Arc<dyn Store>) -> Arc<Self> {
        let side = || Side { fault: watch::Sender::new(Fault::Pass), calls: AtomicU64::new(0) };
        Arc::new(FaultyStore { inner, reads: side(), writes: side(), log_reads: side(), log_appends: side() })
    }

    /// From now on every call shows this fault.
    pub fn set(&self, fault: Fault) {
        self.set_reads(fault.clone());
        self.set_writes(fault.clone());
        self.set_log_reads(fault.clone());
        self.set_log_appends(fault);
    }

    /// From now on nothing is appended to a log without this fault.
    pub fn set_log_appends(&self, fault: Fault) {
        self.log_appends.fault.send_replace(fault);
    }

    /// From now on every read of a log shows this fault, also one that waits already.
    pub fn set_log_reads(&self, fault: Fault) {
        // Who waits already is disturbed by news only.
        self.log_reads.fault.send_if_modified(|now| std::mem::replace(now, fault.clone()) != fault);
    }

    /// From now on every `get` and `get_many` shows this fault.
    pub fn set_reads(&self, fault: Fault) {
        self.reads.fault.send_replace(fault);
    }

    /// From now on every call but `get` and `get_many` shows this fault.
    pub fn set_writes(&self, fault: Fault) {
        self.writes.fault.send_replace(fault);
    }

    /// From now on everything is passed on; calls on [`Fault::Hold`] go on.
    pub fn heal(&self) {
        self.set(Fault::Pass);
    }

    /// How many `get` and `get_many` calls were begun.
    pub fn reads(&self) -> u64 {
        self.reads.calls.load(Ordering::Relaxed)
    }

    /// How many other calls were begun, probes included.
    pub fn writes(&self) -> u64 {
        self.writes.calls.load(Ordering::Relaxed)
    }
}

impl Side {
    async fn call<T>(&self, work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.meet(work).await
    }

    async fn meet<T>(&self, work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let mut faults = self.fault.subscribe();
        let fault = faults.borrow_and_update().clone();
        match fault {
            Fault::Pass => {}
            Fault::Fail(error) => return Err(error),
            Fault::Hang => std::future::pending().await,
            Fault::Hold => _ = faults.wait_for(|fault| *fault != Fault::Hold).await,
            Fault::Delay(delay) => tokio::time::sleep(delay).await,
            Fault::FailAfter(error) => return work.await.and(Err(error)),
        }
        work.await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Store for FaultyStore {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        self.reads.call(self.inner.get(key)).await
    }

    async fn get_by(&self, key: &str, deadline: Instant) -> Result<Option<Bytes>, StoreError> {
        timeout_at(deadline, self.get(key)).await.unwrap_or(Err(StoreError::Timeout))
    }

    async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Bytes>>, StoreError> {
        self.reads.call(self.inner.get_many(keys)).await
    }

    async fn put(&self, key: &str, value: Bytes, ttl: Duration) -> Result<(), StoreError> {
        self.writes.call(self.inner.put(key, value, ttl)).await
    }

    async fn remove(&self, keys: &[String]) -> Result<u64, StoreError> {
        self.writes.call(self.inner.remove(keys)).await
    }

    async fn list(&self, prefix: &str, cursor: Option<Cursor>, limit: usize) -> Result<Page, StoreError> {
        self.writes.call(self.inner.list(prefix, cursor, limit)).await
    }

    async fn probe(&self) -> Result<Usage, StoreError> {
        self.writes.call(self.inner.probe()).await
    }

    async fn add(&self, addition: &Addition) -> Result<Counters, StoreError> {
        self.writes.call(self.inner.add(addition)).await
    }

    async fn now(&self) -> Result<Option<Timestamp>, StoreError> {
        self.reads.meet(self.inner.now()).await
    }

    async fn update_fields(&self, update: &FieldUpdate) -> Result<Fields, StoreError> {
        self.writes.call(self.inner.update_fields(update)).await
    }

    async fn remove_if(&self, removals: &[(String, Version)]) -> Result<u64, StoreError> {
        self.writes.call(self.inner.remove_if(removals)).await
    }

    async fn swap(&self, swap: &Swap) -> Result<bool, StoreError> {
        self.writes.call(self.inner.swap(swap)).await
    }

    fn commands(&self) -> Option<u64> {
        self.inner.commands()
    }

    fn trouble(&self) -> Option<StoreError> {
        self.inner.trouble()
    }

    fn largest_value(&self) -> Option<u64> {
        self.inner.largest_value()
    }

    fn log(&self) -> Option<&dyn Log> {
        self.inner.log().map(|_| self as &dyn Log)
    }

    /// What it tells of single keys is the store's own: it shows no faults.
    fn watch(&self) -> Option<&dyn Watch> {
        self.inner.watch()
    }

    fn settling(&self) -> Option<&dyn Settle> {
        self.inner.settling()
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.writes.call(self.inner.close()).await
    }
}

/// Appending and reading show faults of their own, and are not counted.
#[async_trait]
impl Log for FaultyStore {
    async fn append(&self, name: &str, record: Bytes) -> Result<(), StoreError> {
        match self.inner.log() {
            Some(log) => self.log_appends.meet(log.append(name, record)).await,
            None => Err(StoreError::Refused("there is no log".to_owned())),
        }
    }

    async fn end(&self, name: &str) -> Result<Option<Position>, StoreError> {
        match self.inner.log() {
            Some(log) => self.log_reads.meet(log.end(name)).await,
            None => Err(StoreError::Refused("there is no log".to_owned())),
        }
    }

    async fn read(&self, name: &str, after: Option<&Position>, wait: Duration) -> Result<Tail, StoreError> {
        let Some(log) = self.inner.log() else { return Err(StoreError::Refused("there is no log".to_owned())) };
        // A reader that waits in the log notices, too.
        let mut faults = self.log_reads.fault.subscribe();
        let changed = async {
            faults.borrow_and_update();
            _ = faults.changed().await;
        };
        tokio::select! {
            tail = self.log_reads.meet(log.read(name, after, wait)) => tail,
            () = changed => Err(StoreError::Unavailable("the log can be read no longer".to_owned())),
        }
    }

    fn is_away(&self) -> bool {
        self.inner.log().is_some_and(Log::is_away)
    }

    fn trust_for(&self) -> Duration {
        self.inner.log().map_or(Duration::ZERO, Log::trust_for)
    }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FaultyStore({})", self.inner)
    }
}
