//! What the callers and the writer thread share.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use tokio::sync::{Notify, watch};

use super::Bounds;
use super::file::{self, Handle, READ_ONLY, Trouble};
use super::keys::Keys;
use super::overlay::{Overlay, Row};
use crate::clock::{Clock, Timestamp};
use crate::store::{Cursor, Page, StoreError, Usage};

/// How long a reader waits for a file that is being opened again, which usually takes milliseconds.
const OPEN_AGAIN_WITHIN: Duration = Duration::from_millis(500);

/// The same trouble is logged at most once in this time.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// Pending writes that a page of keys looks at, as a multiple of the keys that it may have: what waits for the disk may be
/// much, and each page would look through all of it.
const PENDING_LOOKED_AT: usize = 4;

/// How long somebody waits for a commit, which usually takes milliseconds: of much at once, seconds.
const WRITTEN_WITHIN: Duration = Duration::from_secs(10);

pub(super) struct Shared {
    path: PathBuf,
    pub(super) clock: Clock,
    pub(super) bounds: Bounds,
    /// `None` while it is opened again, and at the end.
    pub(super) database: ArcSwapOption<Handle>,
    state: Mutex<State>,
    /// Wakes the writer.
    pub(super) work: Condvar,
    /// Wakes readers that wait for the file to be opened again.
    back: Condvar,
    /// Wakes those who wait for a commit, which has ended.
    pub(super) written: Condvar,
    /// Notified when writes went to disk.
    pub(super) room: Notify,
    pub(super) closed: watch::Sender<bool>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) overlay: Overlay,
    /// Those of the file and of the overlay.
    pub(super) keys: Keys,
    pub(super) closing: bool,
    /// Somebody waits until all of it is on disk: no more is gathered.
    pub(super) is_awaited: bool,
    /// The last commit failed.
    pub(super) write_trouble: Option<String>,
    /// The database is to be opened again, or begun again; the old one, until its last reader is gone.
    pub(super) trouble: Option<(Trouble, Option<Arc<Handle>>)>,
    /// The trouble logged last, and when: the disk is tried each second.
    pub(super) logged: Option<(String, Timestamp)>,
    /// Mending the last trouble did not work and will be tried again.
    pub(super) hopeless: bool,
}

impl Shared {
    pub(super) fn new(path: PathBuf, clock: Clock, bounds: Bounds, database: Handle, keys: Keys) -> Arc<Self> {
        Arc::new(Shared {
            path,
            clock,
            bounds,
            state: Mutex::new(State {
                keys,
                write_trouble: database.is_read_only().then(|| READ_ONLY.to_owned()),
                ..State::default()
            }),
            database: ArcSwapOption::from_pointee(database),
            work: Condvar::new(),
            back: Condvar::new(),
            written: Condvar::new(),
            room: Notify::new(),
            closed: watch::Sender::new(false),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that holds it can leave it half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write_trouble(&self) -> Option<String> {
        self.state().write_trouble.clone()
    }

    pub(super) fn begin_close(&self) {
        self.state().closing = true;
        self.work.notify_all();
        self.back.notify_all();
    }

    /// What `key` holds, where that is known without the file: a write of it is pending, or there never was one.
    pub(super) fn known(&self, key: &str, now: Timestamp) -> Option<Option<Bytes>> {
        let state = self.state();
        match state.overlay.get(key) {
            Some(write) => Some(write.row.as_ref().and_then(|row| row.live(now).cloned())),
            None => (!state.closing && state.keys.lack(key)).then_some(None),
        }
    }

    /// Reads from the file. A failure takes it out of use until the writer has seen to it. Blocks, and while the file
    /// is being opened again, for up to half a second.
    pub(super) fn read<T>(&self, work: impl FnOnce(&Handle) -> Result<T, redb::Error>) -> Result<T, StoreError> {
        let Some(database) = self.database.load_full().or_else(|| self.wait_until_back()) else {
            return Err(self.unavailable());
        };
        file::contained(|| work(&database)).map_err(|trouble| {
            drop(database);
            let error = StoreError::Unavailable(format!("{}: {}", self.path.display(), trouble.why()));
            self.report(trouble);
            error
        })
    }

    fn wait_until_back(&self) -> Option<Arc<Handle>> {
        let away = |state: &mut State| self.database.load().is_none() && !state.hopeless && !state.closing;
        drop(self.back.wait_timeout_while(self.state(), OPEN_AGAIN_WITHIN, away));
        self.database.load_full()
    }

    /// Ends a time of trouble, for better or worse.
    pub(super) fn repaired(&self, repaired: Result<Handle, Trouble>) {
        let mut state = self.state();
        state.hopeless = repaired.is_err();
        match repaired {
            Ok(database) => {
                if database.is_read_only() {
                    state.write_trouble = Some(READ_ONLY.to_owned());
                }
                self.database.store(Some(Arc::new(database)));
                // Another process may have had the file meanwhile.
                state.keys = Keys::unread();
            }
            Err(trouble) => _ = state.trouble.get_or_insert((trouble, None)),
        }
        drop(state);
        self.back.notify_all();
    }

    pub(super) fn report(&self, trouble: Trouble) {
        let mut state = self.state();
        let now = self.now();
        let is_news =
            state.logged.as_ref().is_none_or(|(why, at)| why != trouble.why() || now.since(*at) >= TELL_EVERY);
        if state.is_refused_write(&trouble) {
            // Its writers hear of it, and one of them logs it.
            tracing::debug!(path = %self.path.display(), why = trouble.why(), "the cache file takes no writes");
        } else if is_news {
            state.logged = Some((trouble.why().to_owned(), now));
            tracing::warn!(path = %self.path.display(), why = trouble.why(), "the cache file gives trouble");
        }
        // The worse of two stands.
        if !matches!(state.trouble, Some((Trouble::Damaged(_), _))) {
            let old = state.trouble.take().and_then(|(_, old)| old);
            state.trouble = Some((trouble, old.or(self.database.swap(None))));
        }
        drop(state);
        self.work.notify_all();
    }

    fn unavailable(&self) -> StoreError {
        let state = self.state();
        let why = match &state.trouble {
            Some((trouble, _)) => trouble.why(),
            None if state.closing => "the store was closed",
            None => "it is taking long to open again",
        };
        StoreError::Unavailable(format!("{}: {why}", self.path.display()))
    }

    /// Takes a write if there is room for it.
    pub(super) fn put(&self, key: &str, row: &Row) -> Result<bool, StoreError> {
        let cost = Overlay::cost(key, Some(row));
        if cost > self.bounds.file {
            return Err(StoreError::Refused(format!("{cost} bytes do not fit into {}", self.bounds.file)));
        }
        let mut state = self.state();
        state.check_writable()?;
        // A single write may exceed the bound: it has to go through some time.
        if !state.overlay.is_empty() && state.overlay.bytes() + cost > self.bounds.memory {
            return Ok(false);
        }
        let before = state.overlay.bytes();
        state.overlay.insert(key, Some(row.clone()));
        state.keys.insert(key);
        let (now, enough) = (state.overlay.bytes(), self.bounds.enough());
        drop(state);
        // With others that wait already, the writer looks by itself once their time is over: none of them has to wake it.
        if before == 0 || (before < enough && now >= enough) {
            self.work.notify_all();
        }
        Ok(true)
    }

    /// Waits until all that was taken so far is on disk, and has the writer begin with it. Blocks, for ten seconds at most.
    pub(super) fn settle(&self) -> Result<(), StoreError> {
        let number = self.state().overlay.last_number();
        let waits = |state: &mut State| {
            let waits = !state.overlay.is_written_to(number) && state.check_writable().is_ok();
            if waits && !std::mem::replace(&mut state.is_awaited, true) {
                self.work.notify_all();
            }
            waits
        };
        let waited = self.written.wait_timeout_while(self.state(), WRITTEN_WITHIN, waits);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        match state.overlay.is_written_to(number) {
            true => Ok(()),
            false => state.check_writable().and(Err(StoreError::Timeout)),
        }
    }

    /// Removes the keys unless `given_up` is set by the time it would.
    pub(super) fn remove(&self, keys: &[String], now: Timestamp, given_up: &AtomicBool) -> Result<u64, StoreError> {
        let (mut state, there) = loop {
            let settled = self.state().overlay.settled();
            let there = self.read(|database| file::are_there(database, keys, now))?;
            let state = self.state();
            // What was pending when we read may be on disk by now; then it is in neither view.
            if state.overlay.settled() == settled {
                break (state, there);
            }
        };
        if given_up.load(Ordering::Acquire) {
            return Ok(0);
        }
        let mut removed = 0;
        for (key, there) in keys.iter().zip(there) {
            let was_there = match state.overlay.insert(key, None) {
                Some(pending) => pending.row.is_some_and(|row| row.live(now).is_some()),
                None => there,
            };
            removed += u64::from(was_there);
        }
        let writable = state.check_writable();
        drop(state);
        self.work.notify_all();
        // Gone for readers of this process either way, but a restart would bring it back.
        writable.map(|()| removed)
    }

    pub(super) fn list(
        &self,
        prefix: &str,
        cursor: Option<Cursor>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Page, StoreError> {
        let after = cursor.map(|Cursor(after)| after);
        // Before the file, so that what goes from here to there is seen at least once.
        let most_pending = limit.saturating_mul(PENDING_LOOKED_AT);
        let (pending, pending_end) = self.state().overlay.range(prefix, after.as_deref(), most_pending);
        let (mut keys, end) = self.read(|database| file::keys(database, prefix, after.as_deref(), limit, now))?;
        // The page ends where the first of the two looks ended.
        let end = match (end, pending_end.map(|end| end.to_string())) {
            (Some(end), Some(pending_end)) => Some(end.min(pending_end)),
            (end, pending_end) => end.or(pending_end),
        };
        let within = |key: &str| end.as_deref().is_none_or(|end| key <= end);
        keys.retain(|key| within(key) && pending.binary_search_by(|write| (*write.key).cmp(key)).is_err());
        let live = pending.iter().filter(|write| write.row.as_ref().is_some_and(|row| row.live(now).is_some()));
        keys.extend(live.filter(|write| within(&write.key)).map(|write| write.key.to_string()));
        keys.sort_unstable();
        let next = if keys.len() > limit {
            keys.truncate(limit);
            keys.last().cloned()
        } else {
            end
        };
        Ok(Page { keys, next: next.map(Cursor) })
    }

    pub(super) fn usage(&self) -> Result<Usage, StoreError> {
        let (keys, bytes) = self.read(file::usage)?;
        let file_bytes = std::fs::metadata(&self.path).ok().map(|file| file.len());
        let state = self.state();
        Ok(Usage {
            keys: Some(keys + state.overlay.len() as u64),
            bytes: Some(bytes + state.overlay.bytes()),
            limit: Some(self.bounds.file),
            file_bytes,
            ..Usage::default()
        })
    }
}

impl State {
    /// Whether `trouble` is no more than a disk that takes no writes.
    fn is_refused_write(&self, trouble: &Trouble) -> bool {
        matches!(trouble, Trouble::Failed(why) if self.write_trouble.as_ref() == Some(why))
    }

    fn check_writable(&self) -> Result<(), StoreError> {
        if self.closing {
            return Err(StoreError::Unavailable("the store was closed".to_owned()));
        }
        self.write_trouble.clone().map_or(Ok(()), |why| Err(StoreError::Refused(why)))
    }
}
