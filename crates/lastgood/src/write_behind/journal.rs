//! What waits for the store, in a file: a change that was answered as pending outlives the process.
//!
//! The queue in memory decides; the file follows it. One row a key holds its owed change, under the name of the store,
//! so that no change of one store is ever written to another. A row is on disk before the change is answered as kept, and
//! goes once the store has it. While the store takes everything, the file is not written.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use crate::clock::{Clock, Timestamp};
use crate::policy::FOREVER_TTL;
use crate::store::RowFile;

mod error;
mod record;
mod restore;
mod rows;
mod save;

pub(crate) use self::error::JournalError;
pub(crate) use self::record::Record;
pub(crate) use self::restore::{BULK, DISTRUST, OwedBefore, Restored};
pub(super) use self::rows::Rows;

/// A disk in trouble is tried again at most once in so long.
const TRY_EVERY: Duration = Duration::from_secs(1);
/// What the changes of other stores may take in the file, as a multiple of what those of this one may.
const WITH_OTHERS: u64 = 2;

/// The file.
pub(crate) struct Journal {
    path: PathBuf,
    clock: Clock,
    /// What precedes the key of each row of this store and namespace: the store's name and a line break.
    owner: String,
    namespace: String,
    /// The most that the rows of this store may take.
    pub(super) most_bytes: u64,
    file: Mutex<File>,
    /// Held by the writer, so that newer rows are written later.
    pub(super) turn: tokio::sync::Mutex<()>,
    trouble: Mutex<Option<JournalError>>,
}

struct File {
    open: Option<RowFile>,
    /// Whether its rows were read: before that nothing is written, or they would be lost.
    is_read: bool,
    tried_at: Timestamp,
}

/// How a call that writes ended.
pub(super) enum Written {
    Yes,
    /// The file had to be replaced by an empty one: all rows have to be written again.
    Replaced,
    No(JournalError),
}

impl Journal {
    pub(crate) fn new(path: PathBuf, clock: Clock, store: &str, namespace: &str, most_bytes: u64) -> Journal {
        let file = File { open: None, is_read: false, tried_at: Timestamp::EPOCH };
        Journal {
            path,
            clock,
            owner: format!("{store}\n"),
            namespace: format!("{namespace}:"),
            most_bytes,
            file: Mutex::new(file),
            turn: tokio::sync::Mutex::default(),
            trouble: Mutex::default(),
        }
    }

    fn file(&self) -> MutexGuard<'_, File> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why what waits is not kept on disk.
    pub(crate) fn trouble(&self) -> Option<JournalError> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes whether the disk works; each change of that is logged.
    fn set_trouble(&self, why: Option<JournalError>) {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.path.display();
        match (&*trouble, &why) {
            (None, Some(why)) => {
                tracing::warn!(%path, %why, "changes that wait for the store are kept in memory alone: a restart would lose them");
            }
            (Some(_), None) => tracing::info!(%path, "changes that wait for the store are kept on disk again"),
            _ => {}
        }
        *trouble = why;
    }

    /// Opens the file and reads what earlier processes left there. Blocks.
    ///
    /// # Errors
    ///
    /// When that cannot be done now: another process has the file, or the disk is in trouble.
    pub(crate) fn read(&self) -> Result<Vec<(String, Record, Bytes)>, JournalError> {
        let read = self.open_and_read();
        let trouble = match &read {
            Ok((_, is_read_only)) => is_read_only.then(|| JournalError::ReadOnly(self.path.clone())),
            Err(why) => Some(why.clone()),
        };
        self.set_trouble(trouble);
        read.map(|(rows, _)| self.own_of(rows))
    }

    fn open_and_read(&self) -> Result<(Vec<(String, Bytes)>, bool), JournalError> {
        let mut file = self.file();
        let opened = RowFile::open(&self.path, &self.clock, self.most_bytes * (1 + WITH_OTHERS));
        let rows = opened.map_err(JournalError::Unopened)?;
        if let Some(to) = rows.set_aside() {
            tracing::info!(set_aside = %to.display(), "what waited for the store is lost with the damaged file");
        }
        let all = rows.all().map_err(JournalError::Rows)?;
        file.is_read = true;
        let is_read_only = rows.is_read_only();
        file.open = (!is_read_only).then_some(rows);
        Ok((all, is_read_only))
    }

    /// The rows of this store and namespace; the log hears of others.
    fn own_of(&self, rows: Vec<(String, Bytes)>) -> Vec<(String, Record, Bytes)> {
        let (mut own, mut others) = (Vec::new(), Vec::new());
        for (name, value) in rows {
            match name.strip_prefix(&self.owner) {
                Some(key) if key.starts_with(&self.namespace) => {
                    // What a later version wrote and this one does not understand stays where it is.
                    own.extend(Record::decode(&value).map(|(record, body)| (key.to_owned(), record, body)));
                }
                _ => others.push(name),
            }
        }
        let stores: std::collections::BTreeSet<&str> =
            others.iter().filter_map(|name| name.split('\n').next()).take(1_000).collect();
        if !stores.is_empty() {
            let stores = stores.into_iter().collect::<Vec<_>>().join(", ");
            tracing::warn!(
                changes = others.len(), stores, path = %self.path.display(),
                "changes wait for another store or namespace than the configured one: they stay on disk, and are made once \
                 that is configured again"
            );
        }
        own
    }

    /// Leaves the file to another process. From now on nothing is written.
    pub(super) fn close(&self) {
        let mut file = self.file();
        (file.open, file.is_read) = (None, false);
    }

    /// Writes rows, and deletes those without a value; on disk when it returns. Blocks.
    pub(super) fn write(&self, rows: &[(String, Option<Bytes>)]) -> Written {
        let written = self.try_write(rows);
        self.set_trouble(match &written {
            Written::No(why) => Some(why.clone()),
            Written::Yes | Written::Replaced => None,
        });
        written
    }

    fn try_write(&self, rows: &[(String, Option<Bytes>)]) -> Written {
        let (mut file, now) = (self.file(), self.clock.now());
        if file.open.is_none() {
            let before = self.trouble().unwrap_or(JournalError::Closed);
            if !file.is_read || now.since(file.tried_at) < TRY_EVERY {
                return Written::No(before);
            }
            file.tried_at = now;
            match RowFile::open(&self.path, &self.clock, self.most_bytes * (1 + WITH_OTHERS)) {
                Err(why) => return Written::No(JournalError::Unopened(why)),
                Ok(rows) if rows.is_read_only() => return Written::No(before),
                Ok(rows) => {
                    let was_there = rows.was_there();
                    file.open = Some(rows);
                    if !was_there {
                        return Written::Replaced;
                    }
                }
            }
        }
        let Some(open) = &file.open else { return Written::No(JournalError::Closed) };
        let named: Vec<_> = rows.iter().map(|(key, row)| ([&self.owner, &**key].concat(), row.clone())).collect();
        match open.write(&named, now.plus(FOREVER_TTL)) {
            Ok(()) => Written::Yes,
            Err(why) => {
                // It serves nothing after a failed write until it is opened again.
                (file.open, file.tried_at) = (None, now);
                Written::No(JournalError::Rows(why))
            }
        }
    }
}
