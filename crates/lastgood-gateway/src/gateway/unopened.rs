//! The embedded store whose file cannot be used for now: each call fails by that reason, so that nothing is taken for kept
//! that is not, until the file can be opened.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use lastgood::clock::Timestamp;
use lastgood::store::{
    Addition, Counters, Cursor, FieldUpdate, Fields, Log, Page, Settle, Store, StoreError, Swap, Usage, Version, Watch,
};
use tokio::time::{Instant, sleep};

/// How often the file is tried again: soon enough for a gateway that takes the place of another, and seldom enough for a
/// disk in trouble.
const TRY_EVERY: Duration = Duration::from_secs(2);

/// The store, once there is one.
pub(super) struct UnopenedStore {
    path: PathBuf,
    opened: OnceLock<Arc<dyn Store>>,
    why: Mutex<String>,
    is_closed: AtomicBool,
}

impl UnopenedStore {
    /// A store that could not be opened because of `why`. While it is in use, `open` is tried again.
    pub(super) fn new<F, T, E>(path: &Path, why: String, open: impl Fn() -> F + Send + Sync + 'static) -> Arc<Self>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        T: Store,
        E: fmt::Display + Send + 'static,
    {
        let store = Arc::new(UnopenedStore {
            path: path.to_owned(),
            opened: OnceLock::new(),
            why: Mutex::new(why),
            is_closed: AtomicBool::new(false),
        });
        tokio::spawn(keep_trying(Arc::downgrade(&store), open));
        store
    }

    fn opened(&self) -> Result<&dyn Store, StoreError> {
        self.opened.get().map(|store| &**store).ok_or_else(|| self.error())
    }

    fn error(&self) -> StoreError {
        StoreError::Unavailable(self.why.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

async fn keep_trying<F, T, E>(store: Weak<UnopenedStore>, open: impl Fn() -> F)
where
    F: Future<Output = Result<T, E>>,
    T: Store,
    E: fmt::Display,
{
    loop {
        sleep(TRY_EVERY).await;
        if store.upgrade().is_none_or(|store| store.is_closed.load(Ordering::Acquire)) {
            return;
        }
        let opened = open().await;
        let Some(store) = store.upgrade() else { return };
        match opened {
            Ok(opened) => {
                tracing::info!(path = %store.path.display(), "embedded store opened");
                let opened: Arc<dyn Store> = Arc::new(opened);
                _ = store.opened.set(Arc::clone(&opened));
                // It may have been closed while the file was being opened.
                if store.is_closed.load(Ordering::Acquire) {
                    _ = opened.close().await;
                }
                return;
            }
            Err(why) => *store.why.lock().unwrap_or_else(PoisonError::into_inner) = why.to_string(),
        }
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Store for UnopenedStore {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        self.opened()?.get(key).await
    }

    async fn get_by(&self, key: &str, deadline: Instant) -> Result<Option<Bytes>, StoreError> {
        self.opened()?.get_by(key, deadline).await
    }

    async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Bytes>>, StoreError> {
        self.opened()?.get_many(keys).await
    }

    async fn put(&self, key: &str, value: Bytes, ttl: Duration) -> Result<(), StoreError> {
        self.opened()?.put(key, value, ttl).await
    }

    async fn remove(&self, keys: &[String]) -> Result<u64, StoreError> {
        self.opened()?.remove(keys).await
    }

    async fn list(&self, prefix: &str, cursor: Option<Cursor>, limit: usize) -> Result<Page, StoreError> {
        self.opened()?.list(prefix, cursor, limit).await
    }

    async fn probe(&self) -> Result<Usage, StoreError> {
        self.opened()?.probe().await
    }

    async fn add(&self, addition: &Addition) -> Result<Counters, StoreError> {
        self.opened()?.add(addition).await
    }

    async fn swap(&self, swap: &Swap) -> Result<bool, StoreError> {
        self.opened()?.swap(swap).await
    }

    async fn remove_if(&self, removals: &[(String, Version)]) -> Result<u64, StoreError> {
        self.opened()?.remove_if(removals).await
    }

    async fn update_fields(&self, update: &FieldUpdate) -> Result<Fields, StoreError> {
        self.opened()?.update_fields(update).await
    }

    /// The file will be one process's alone.
    async fn now(&self) -> Result<Option<Timestamp>, StoreError> {
        Ok(None)
    }

    fn commands(&self) -> Option<u64> {
        None
    }

    fn trouble(&self) -> Option<StoreError> {
        self.opened().map_or_else(Some, Store::trouble)
    }

    fn largest_value(&self) -> Option<u64> {
        self.opened().ok().and_then(Store::largest_value)
    }

    fn log(&self) -> Option<&dyn Log> {
        None
    }

    fn watch(&self) -> Option<&dyn Watch> {
        None
    }

    fn settling(&self) -> Option<&dyn Settle> {
        self.opened().ok().and_then(Store::settling)
    }

    /// # Errors
    ///
    /// When it was never opened: what was to be written is lost.
    async fn close(&self) -> Result<(), StoreError> {
        self.is_closed.store(true, Ordering::Release);
        self.opened()?.close().await
    }
}

impl fmt::Display for UnopenedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "embedded:{}", self.path.display())
    }
}

impl fmt::Debug for UnopenedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnopenedStore").field("path", &self.path).finish_non_exhaustive()
    }
}
