//! A store in one file on this machine.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::{Instant, timeout_at};

use self::keys::Keys;
use self::overlay::Row;
use self::shared::Shared;
use super::{
    Addition, Counters, Cursor, FieldUpdate, Fields, Log, Page, Settle, Store, StoreError, Swap, Usage, Version, Watch,
    counters, fields, swap,
};
use crate::clock::{Clock, Timestamp};

mod file;
mod keys;
mod overlay;
mod rows;
mod shared;
mod writer;

pub(crate) use self::file::Trouble as FileTrouble;
pub(crate) use self::rows::RowFile;

/// How long a `put` waits for the disk when too much is unsynced already.
const WAIT_FOR_ROOM: Duration = Duration::from_millis(500);

/// Bounds of [`EmbeddedStore::open_within`]'s memory.
const LEAST_MEMORY: u64 = 1 << 20;
const MOST_MEMORY: u64 = 64 << 20;
/// The most that gathers for one commit, unless a single value is larger.
const ENOUGH: u64 = 16 << 20;

/// How many bytes there may be.
#[derive(Clone, Copy)]
struct Bounds {
    /// Of keys and values in the file.
    file: u64,
    /// Of the file's pages in memory, and of what waits for the disk.
    memory: u64,
}

impl Bounds {
    /// Bytes that are written without waiting for more once they have gathered.
    fn enough(&self) -> u64 {
        ENOUGH.min(self.memory / 2)
    }
}

/// What [`EmbeddedStore::open`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    /// A sound file, with what it held.
    Existing,
    /// No file; an empty one was made.
    New,
    /// A sound file that cannot be written: it lies on a read-only disk, or is another user's. What it holds is read, and
    /// nothing is written until it can be.
    ReadOnly,
    /// A file that could not be read. It was moved to this path, and an empty one was made.
    SetAside(PathBuf),
}

impl fmt::Display for Opened {
    /// For the log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Opened::Existing => f.write_str("with what it held"),
            Opened::New => f.write_str("new and empty"),
            Opened::ReadOnly => f.write_str("for reading alone, it cannot be written"),
            Opened::SetAside(path) => write!(f, "new and empty, the unreadable one is now {}", path.display()),
        }
    }
}

/// A store in one file, for a gateway without Redis and for restarts without cold caches.
///
/// A `put` is readable at once and written to disk within about 150 ms, together with its neighbours: what a crash or
/// a power cut loses is at most that. [`Settle::settle`] has it written at once and waits for that, a few milliseconds.
/// One thread writes; reads run on tokio's blocking threads, but for keys that were never written, which are known in
/// memory (at most 8 MiB). When full, the values closest to their expiry go first; expired ones are removed a few at a
/// time.
///
/// A file that may be read and not written is opened for reading ([`Opened::ReadOnly`]). The file, and the directory if it
/// is made, are their owner's alone.
///
/// When a write fails (disk full, read-only), [`Store::trouble`] says so, reads go on, writes are [`StoreError::Refused`], and the disk is tried
/// again every second. When the file turns out to be damaged, calls are [`StoreError::Unavailable`] for the moment it
/// takes to set it aside, under its name with `.broken-` and a time appended, and to begin a new one; the last three
/// such files are kept. A value that no longer matches its checksum is `Ok(None)`. A program built with
/// `panic = "abort"` loses the protection from damage that makes redb panic.
///
/// The file belongs to one process. [`EmbeddedStore::close`](Store::close) syncs what it has written; merely dropping
/// the store does so too, but does not wait for it.
pub struct EmbeddedStore {
    shared: Arc<Shared>,
    /// Held by an addition to counters, which reads before it writes.
    adding: tokio::sync::Mutex<()>,
}

impl EmbeddedStore {
    /// Opens the file at `path`, making it and its directory where they are missing. `max_bytes` bounds keys and
    /// values together; the file may be up to about twice as large, and does not shrink.
    ///
    /// Blocks while the file is read and repaired, usually milliseconds.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], with a hint, when another process has the file open, or when it, or its directory,
    /// cannot be made or written. A damaged file is no error, see [`Opened::SetAside`].
    pub fn open(path: impl AsRef<Path>, clock: Clock, max_bytes: u64) -> Result<(EmbeddedStore, Opened), StoreError> {
        EmbeddedStore::open_within(path, clock, max_bytes, MOST_MEMORY)
    }

    /// As [`EmbeddedStore::open`], with at most this many bytes of memory for pages of the file, and as many for what
    /// waits for the disk; never more than 64 MiB each, and never less than 1 MiB. A single value may be larger than
    /// that.
    ///
    /// # Errors
    ///
    /// As [`EmbeddedStore::open`].
    pub fn open_within(
        path: impl AsRef<Path>,
        clock: Clock,
        max_bytes: u64,
        memory: u64,
    ) -> Result<(EmbeddedStore, Opened), StoreError> {
        let path = path.as_ref();
        let bounds = Bounds { file: max_bytes, memory: memory.clamp(LEAST_MEMORY, MOST_MEMORY) };
        let (database, opened) = file::open_or_set_aside(path, &clock, bounds)?;
        if let Opened::SetAside(to) = &opened {
            tracing::warn!(path = %path.display(), set_aside = %to.display(), "the cache file is damaged, starting empty");
        }
        if opened == Opened::ReadOnly {
            tracing::warn!(path = %path.display(), "the cache file cannot be written: what it holds is served, and nothing new outlives this process");
        }
        let keys = match opened {
            Opened::New | Opened::SetAside(_) => Keys::none(),
            Opened::Existing | Opened::ReadOnly => Keys::unread(),
        };
        let shared = Shared::new(path.to_owned(), clock, bounds, database, keys);
        writer::start(&shared)?;
        Ok((EmbeddedStore { shared, adding: tokio::sync::Mutex::default() }, opened))
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let shared = Arc::clone(&self.shared);
        tokio::task::spawn_blocking(move || work(&shared))
            .await
            .unwrap_or_else(|error| Err(StoreError::Unavailable(format!("the read was cut short: {error}"))))
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Store for EmbeddedStore {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        let now = self.shared.now();
        if let Some(known) = self.shared.known(key, now) {
            return Ok(known);
        }
        let key = key.to_owned();
        self.blocking(move |shared| shared.read(|database| file::get(database, &key, now))).await
    }

    async fn get_by(&self, key: &str, deadline: Instant) -> Result<Option<Bytes>, StoreError> {
        timeout_at(deadline, self.get(key)).await.unwrap_or(Err(StoreError::Timeout))
    }

    async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Bytes>>, StoreError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let now = self.shared.now();
        let known: Vec<Option<Option<Bytes>>> = keys.iter().map(|key| self.shared.known(key, now)).collect();
        if known.iter().all(Option::is_some) {
            return Ok(known.into_iter().flatten().collect());
        }
        let keys = keys.to_vec();
        self.blocking(move |shared| shared.read(|database| file::get_many(database, &keys, known, now))).await
    }

    async fn put(&self, key: &str, value: Bytes, ttl: Duration) -> Result<(), StoreError> {
        let row = Row { value, expires: self.shared.now().plus(ttl.max(Duration::from_millis(1))) };
        let deadline = Instant::now() + WAIT_FOR_ROOM;
        loop {
            let mut room = std::pin::pin!(self.shared.room.notified());
            // Listens before it looks, so that room made in between is not missed.
            room.as_mut().enable();
            if self.shared.put(key, &row)? {
                return Ok(());
            }
            timeout_at(deadline, room).await.map_err(|_| StoreError::Busy)?;
        }
    }

    async fn remove(&self, keys: &[String]) -> Result<u64, StoreError> {
        if keys.is_empty() {
            return Ok(0);
        }
        let (keys, now) = (keys.to_vec(), self.shared.now());
        // The blocking thread outlives a dropped call, and must not remove what a later call puts.
        let dropped = SetOnDrop::default();
        let given_up = Arc::clone(&dropped.0);
        self.blocking(move |shared| shared.remove(&keys, now, &given_up)).await
    }

    async fn list(&self, prefix: &str, cursor: Option<Cursor>, limit: usize) -> Result<Page, StoreError> {
        let (prefix, now) = (prefix.to_owned(), self.shared.now());
        self.blocking(move |shared| shared.list(&prefix, cursor, limit.max(1), now)).await
    }

    /// # Errors
    ///
    /// [`StoreError::Refused`] while the disk takes no writes, besides what keeps the file from being read.
    async fn probe(&self) -> Result<Usage, StoreError> {
        let usage = self.blocking(Shared::usage).await?;
        self.trouble().map_or(Ok(usage), Err)
    }

    fn trouble(&self) -> Option<StoreError> {
        self.shared.write_trouble().map(StoreError::Refused)
    }

    fn largest_value(&self) -> Option<u64> {
        Some(self.shared.bounds.file)
    }

    async fn add(&self, addition: &Addition) -> Result<Counters, StoreError> {
        let _alone = self.adding.lock().await;
        counters::add_alone(self, addition).await
    }

    /// The file is one process's alone.
    async fn now(&self) -> Result<Option<Timestamp>, StoreError> {
        Ok(None)
    }

    async fn update_fields(&self, update: &FieldUpdate) -> Result<Fields, StoreError> {
        let _alone = self.adding.lock().await;
        fields::update_alone(self, update).await
    }

    async fn remove_if(&self, removals: &[(String, Version)]) -> Result<u64, StoreError> {
        let _alone = self.adding.lock().await;
        swap::remove_alone(self, removals).await
    }

    async fn swap(&self, swap: &Swap) -> Result<bool, StoreError> {
        let _alone = self.adding.lock().await;
        swap::swap_alone(self, swap).await
    }

    fn commands(&self) -> Option<u64> {
        None
    }

    /// The file is one process's alone.
    fn log(&self) -> Option<&dyn Log> {
        None
    }

    fn watch(&self) -> Option<&dyn Watch> {
        None
    }

    fn settling(&self) -> Option<&dyn Settle> {
        Some(self)
    }

    /// Syncs the writes and releases the file.
    ///
    /// # Errors
    ///
    /// [`StoreError::Refused`] when the last writes did not reach the disk.
    async fn close(&self) -> Result<(), StoreError> {
        self.shared.begin_close();
        _ = self.shared.closed.subscribe().wait_for(|closed| *closed).await;
        self.shared.write_trouble().map_or(Ok(()), |why| Err(StoreError::Refused(why)))
    }
}

#[async_trait]
impl Settle for EmbeddedStore {
    async fn settle(&self) -> Result<(), StoreError> {
        // On a thread that may block: a test's paused clock must not run on while the disk is written.
        self.blocking(Shared::settle).await
    }
}

/// Tells the rest of a call that its caller is gone.
#[derive(Default)]
struct SetOnDrop(Arc<AtomicBool>);

impl Drop for SetOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        self.shared.begin_close();
    }
}

impl fmt::Display for EmbeddedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "embedded:{}", self.shared.path().display())
    }
}

impl fmt::Debug for EmbeddedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedStore").field("path", &self.shared.path()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    /// More than a page of keys.
    const COUNT: usize = 20_000;

    fn opened(folder: &tempfile::TempDir) -> EmbeddedStore {
        EmbeddedStore::open(folder.path().join("cache.redb"), Clock::system(), 64 << 20).expect("it opens").0
    }

    fn key(number: usize) -> String {
        format!("key:{number}")
    }

    #[tokio::test]
    async fn a_key_that_was_never_written_is_known_without_the_file_also_after_a_start() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = opened(&folder);
        let denies = |store: &EmbeddedStore, key: &str| store.shared.known(key, store.shared.now()) == Some(None);
        assert!(denies(&store, "never written"), "of a new file at once");
        for number in 0..COUNT {
            store.put(&key(number), Bytes::from_static(b"1"), HOUR).await.expect("there is room");
        }
        store.close().await.expect("closing succeeds");
        let store = opened(&folder);
        let holds_all = async || {
            for number in (0..COUNT).step_by(100) {
                assert_eq!(store.get(&key(number)).await, Ok(Some("1".into())), "{number}");
            }
            assert_eq!(store.get("never written").await, Ok(None));
        };
        holds_all().await;
        store.put("written meanwhile", Bytes::from_static(b"1"), HOUR).await.expect("there is room");
        let began = Instant::now();
        while !denies(&store, "never written") {
            assert!(began.elapsed() < Duration::from_secs(20), "the keys are not read");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        holds_all().await;
        assert!((0..COUNT).all(|number| !denies(&store, &key(number))) && !denies(&store, "written meanwhile"));
        let asked = ["never written", "written meanwhile", "key:7"].map(str::to_owned);
        assert_eq!(store.get_many(&asked).await, Ok(vec![None, Some("1".into()), Some("1".into())]));
        store.close().await.expect("closing succeeds");
        assert!(store.get("never written").await.is_err(), "a closed store knows nothing");
    }
}
