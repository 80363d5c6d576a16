//! A guarded store is a store: each call within its budget, past the breaker.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::{Instant, timeout};

use super::{GuardedStore, Kind};
use crate::clock::Timestamp;
use crate::store::{
    Addition, Counters, Cursor, FieldUpdate, Fields, Log, Page, Position, Settle, Store, StoreError, Swap, Tail, Usage,
    Version, Watch, Watched,
};

/// How long a closing store may flush. Closing happens once, at the end, and loses writes when cut short.
const CLOSE_BUDGET: Duration = Duration::from_secs(10);
/// How long a slow disk may take to keep what the store has taken.
const SETTLE_BUDGET: Duration = Duration::from_secs(10);

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Store for GuardedStore {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        Ok(self.read_by(key, Instant::now(), None).await?.0)
    }

    async fn get_by(&self, key: &str, deadline: Instant) -> Result<Option<Bytes>, StoreError> {
        Ok(self.read_by(key, Instant::now(), Some(deadline)).await?.0)
    }

    async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Bytes>>, StoreError> {
        self.call(Kind::Read, || self.inner.get_many(keys)).await
    }

    async fn put(&self, key: &str, value: Bytes, ttl: Duration) -> Result<(), StoreError> {
        self.call(Kind::Write, || self.inner.put(key, value, ttl)).await
    }

    async fn remove(&self, keys: &[String]) -> Result<u64, StoreError> {
        self.call(Kind::Removal, || self.inner.remove(keys)).await
    }

    async fn list(&self, prefix: &str, cursor: Option<Cursor>, limit: usize) -> Result<Page, StoreError> {
        self.call(Kind::Search, || self.inner.list(prefix, cursor, limit)).await
    }

    async fn probe(&self) -> Result<Usage, StoreError> {
        match self.call(Kind::Search, || self.inner.probe()).await {
            // A health check wants to know what the store failed by.
            Err(why) => Err(self.cause(why)),
            probed => probed,
        }
    }

    async fn add(&self, addition: &Addition) -> Result<Counters, StoreError> {
        let kind = if addition.counts.iter().all(|(_, more)| *more == 0) { Kind::Search } else { Kind::Write };
        self.call_that(|_| kind, Kind::Write, || self.inner.add(addition)).await
    }

    async fn update_fields(&self, update: &FieldUpdate) -> Result<Fields, StoreError> {
        let kind = if update.set.is_none() { Kind::Search } else { Kind::Write };
        self.call_that(|_| kind, Kind::Write, || self.inner.update_fields(update)).await
    }

    async fn now(&self) -> Result<Option<Timestamp>, StoreError> {
        self.call(Kind::Read, || self.inner.now()).await
    }

    async fn remove_if(&self, removals: &[(String, Version)]) -> Result<u64, StoreError> {
        let (sent_at, may_take) = (Instant::now(), self.may_take(removals.first().map(|(_, expected)| expected)));
        let ended = self.call(Kind::Removal, || self.inner.remove_if(removals)).await;
        if !self.is_odd(&ended, sent_at, may_take) {
            return ended;
        }
        let removals: Vec<_> = removals.iter().map(|(key, expected)| (key.clone(), expected.whenever())).collect();
        self.call(Kind::Removal, || self.inner.remove_if(&removals)).await
    }

    async fn swap(&self, swap: &Swap) -> Result<bool, StoreError> {
        let (sent_at, may_take) = (Instant::now(), self.may_take(swap.expected.as_ref()));
        let ended =
            self.call_that(|swapped| kind_of(swap, *swapped), kind_of(swap, true), || self.inner.swap(swap)).await;
        if !self.is_odd(&ended, sent_at, may_take) {
            return ended;
        }
        let swap = swap.whenever();
        self.call_that(|swapped| kind_of(&swap, *swapped), kind_of(&swap, true), || self.inner.swap(&swap)).await
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

    fn watch(&self) -> Option<&dyn Watch> {
        self.inner.watch().map(|_| self as &dyn Watch)
    }

    fn settling(&self) -> Option<&dyn Settle> {
        self.inner.settling().map(|_| self as &dyn Settle)
    }

    /// Closes the inner store whatever the breaker thinks, and waits at most ten seconds for it.
    async fn close(&self) -> Result<(), StoreError> {
        timeout(CLOSE_BUDGET, self.inner.close()).await.unwrap_or(Err(StoreError::Timeout))
    }
}

#[async_trait]
impl Settle for GuardedStore {
    /// Waits at most ten seconds. A disk that is slow to keep what the store has taken is no store that does not answer:
    /// the breaker hears nothing of it.
    async fn settle(&self) -> Result<(), StoreError> {
        let Some(settling) = self.inner.settling() else { return Ok(()) };
        let settled = timeout(SETTLE_BUDGET, settling.settle()).await.unwrap_or(Err(StoreError::Timeout));
        if matches!(settled, Err(StoreError::Refused(_))) {
            self.judge(Kind::Write, &settled);
        }
        settled
    }
}

#[async_trait]
impl Log for GuardedStore {
    /// Guarded like any other write.
    async fn append(&self, name: &str, record: Bytes) -> Result<(), StoreError> {
        match self.inner.log() {
            Some(log) => self.call(Kind::Write, || log.append(name, record)).await,
            None => Err(no_log()),
        }
    }

    /// Not judged either: the reader of a log has time.
    async fn end(&self, name: &str) -> Result<Option<Position>, StoreError> {
        let log = self.inner.log().ok_or_else(no_log)?;
        self.judge_log(timeout(self.guard.write_budget, log.end(name)).await.unwrap_or(Err(StoreError::Timeout)))
    }

    /// Waits by its nature, so that it has no part in the judgement; it ends a little after `wait` at the latest.
    async fn read(&self, name: &str, after: Option<&Position>, wait: Duration) -> Result<Tail, StoreError> {
        let log = self.inner.log().ok_or_else(no_log)?;
        let read = timeout(wait + self.guard.write_budget, log.read(name, after, wait));
        self.judge_log(read.await.unwrap_or(Err(StoreError::Timeout)))
    }

    fn is_away(&self) -> bool {
        self.inner.log().is_some_and(Log::is_away)
    }

    fn trust_for(&self) -> Duration {
        self.inner.log().map_or(Duration::ZERO, Log::trust_for)
    }
}

#[async_trait]
impl Watch for GuardedStore {
    fn watch(&self, prefix: &str) -> Watched {
        self.inner.watch().map_or_else(Watched::nothing, |watch| watch.watch(prefix))
    }

    /// Guarded like a write: no caller waits for it.
    async fn checksums(&self, keys: &[String]) -> Result<Vec<Option<u32>>, StoreError> {
        match self.inner.watch() {
            Some(watch) => self.call(Kind::Search, || watch.checksums(keys)).await,
            None => Ok(vec![None; keys.len()]),
        }
    }
}

/// What a swap is: one that met another value than it expected wrote nothing.
fn kind_of(swap: &Swap, swapped: bool) -> Kind {
    match swap.to {
        _ if !swapped => Kind::Search,
        Some(_) => Kind::Write,
        None => Kind::Removal,
    }
}

fn no_log() -> StoreError {
    StoreError::Refused("this store has no log".to_owned())
}
