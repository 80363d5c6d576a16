//! The file: its tables, its rows, and what to do when it is damaged.

use std::fmt;
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use redb::{
    Builder, Database, DatabaseError, ReadOnlyDatabase, ReadTransaction, ReadableDatabase, ReadableTable,
    ReadableTableMetadata, TableDefinition, TransactionError,
};

use self::tables::Tables;
use super::overlay::Write;
use super::{Bounds, LEAST_MEMORY, Opened};
use crate::clock::{Clock, Timestamp};
use crate::private;
use crate::store::StoreError;

mod tables;

/// Key to checksum, expiry and value. The names carry the version of the layout.
const VALUES: TableDefinition<&str, &[u8]> = TableDefinition::new("values.v1");
/// Key to expiry and cost, so that listing and sweeping read no values.
const INDEX: TableDefinition<&str, (u64, u64)> = TableDefinition::new("index.v1");
/// Expiry and key, soonest first.
const QUEUE: TableDefinition<(u64, &str), ()> = TableDefinition::new("queue.v1");
/// One row: the summed cost of all rows.
const TOTALS: TableDefinition<&str, u64> = TableDefinition::new("totals.v1");
const BYTES: &str = "bytes";

/// Checksum and expiry before each value.
const HEADER: usize = 4 + 8;
/// How many damaged files are kept.
const KEEP_ASIDE: usize = 3;

/// The file, open.
pub(super) enum Handle {
    /// For reading and writing.
    Writable(Database),
    /// For reading alone: the disk is read-only, or the file is another user's.
    ReadOnly(ReadOnlyDatabase),
}

impl Handle {
    fn begin_read(&self) -> Result<ReadTransaction, TransactionError> {
        match self {
            Handle::Writable(database) => database.begin_read(),
            Handle::ReadOnly(database) => database.begin_read(),
        }
    }

    pub(super) fn is_read_only(&self) -> bool {
        matches!(self, Handle::ReadOnly(_))
    }
}

/// The error for writes to a file that is open for reading alone.
pub(super) const READ_ONLY: &str = "the file cannot be written";

/// Whether a file may be written now.
pub(super) fn is_writable(path: &Path) -> bool {
    std::fs::OpenOptions::new().write(true).open(path).is_ok()
}

/// What keeps the file from being used.
#[derive(Clone, Debug)]
pub(crate) enum Trouble {
    /// Its content is damaged; only a new file helps.
    Damaged(String),
    /// The disk failed; opening the file again may help.
    Failed(String),
}

impl Trouble {
    pub(super) fn why(&self) -> &str {
        match self {
            Trouble::Damaged(why) | Trouble::Failed(why) => why,
        }
    }

    pub(super) fn of_panic() -> Self {
        Trouble::Damaged("reading it panicked".to_owned())
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.why())
    }
}

impl std::error::Error for Trouble {}

impl From<redb::Error> for Trouble {
    fn from(error: redb::Error) -> Self {
        let why = error.to_string();
        match error {
            redb::Error::Io(io) if !matches!(io.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof) => {
                Trouble::Failed(why)
            }
            redb::Error::PreviousIo | redb::Error::DatabaseClosed | redb::Error::TransactionPoisoned => {
                Trouble::Failed(why)
            }
            _ => Trouble::Damaged(why),
        }
    }
}

/// Opens the file, or moves it out of the way and begins a new one if it cannot be read.
pub(super) fn open_or_set_aside(path: &Path, clock: &Clock, bounds: Bounds) -> Result<(Handle, Opened), StoreError> {
    let unavailable = |why: String| StoreError::Unavailable(format!("cannot open {}: {why}", path.display()));
    if let Some(directory) = path.parent() {
        private::create_directory(directory)
            .map_err(|error| unavailable(format!("{error}; choose another directory")))?;
    }
    let is_new = std::fs::metadata(path).map_or(true, |file| file.len() == 0);
    match open(path, bounds) {
        Ok(handle) => {
            let opened = match handle.is_read_only() {
                true => Opened::ReadOnly,
                false if is_new => Opened::New,
                false => Opened::Existing,
            };
            Ok((handle, opened))
        }
        Err(Refusal::InUse) => Err(unavailable(
            "another process has it open; stop that one, or give this one a data directory of its own".to_owned(),
        )),
        Err(Refusal::Trouble(Trouble::Failed(why))) => {
            Err(unavailable(format!("{why}; see that the disk has room and that the file may be written")))
        }
        Err(Refusal::Trouble(Trouble::Damaged(why))) => {
            tracing::warn!(path = %path.display(), why, "the cache file cannot be read");
            let aside = set_aside(path, clock).map_err(|error| unavailable(format!("{why}, and {error}")))?;
            match open(path, bounds) {
                Ok(database) => Ok((database, Opened::SetAside(aside))),
                Err(_) => Err(unavailable(format!("{why}, and no new file could be made"))),
            }
        }
    }
}

enum Refusal {
    InUse,
    Trouble(Trouble),
}

fn open(path: &Path, bounds: Bounds) -> Result<Handle, Refusal> {
    // redb's default cache of 1 GiB would dwarf the cache itself.
    let cache_bytes = (bounds.file / 8).clamp(LEAST_MEMORY, bounds.memory) as usize;
    let trouble = |error: redb::Error| Refusal::Trouble(error.into());
    let refusal = |error| match error {
        DatabaseError::DatabaseAlreadyOpen => Refusal::InUse,
        // It cannot be read without being repaired, which is to say written.
        DatabaseError::RepairAborted => Refusal::Trouble(Trouble::Failed("it was not closed in order".to_owned())),
        other => trouble(other.into()),
    };
    let opened = catch_unwind(|| {
        let mut builder = Builder::new();
        builder.set_cache_size(cache_bytes);
        let file = match private::options().open(path) {
            Ok(file) => file,
            Err(why) if is_of_rights(&why) && std::fs::metadata(path).is_ok_and(|file| file.len() > 0) => {
                let database = builder.open_read_only(path).map_err(refusal)?;
                let handle = Handle::ReadOnly(database);
                has_all_tables(&handle)
                    .then_some(())
                    .ok_or_else(|| Refusal::Trouble(Trouble::Failed(why.to_string())))?;
                return Ok(handle);
            }
            Err(why) => return Err(trouble(redb::Error::Io(why))),
        };
        let handle = Handle::Writable(builder.create_file(file).map_err(refusal)?);
        make_tables(&handle).map_err(trouble)?;
        Ok(handle)
    });
    opened.unwrap_or_else(|_| Err(Refusal::Trouble(Trouble::of_panic())))
}

/// Whether a file that cannot be opened may still be read.
fn is_of_rights(why: &std::io::Error) -> bool {
    matches!(why.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem)
}

fn has_all_tables(handle: &Handle) -> bool {
    handle.begin_read().is_ok_and(|read| {
        read.open_table(VALUES).is_ok()
            && read.open_table(INDEX).is_ok()
            && read.open_table(QUEUE).is_ok()
            && read.open_table(TOTALS).is_ok()
    })
}

fn make_tables(handle: &Handle) -> Result<(), redb::Error> {
    // A disk that is full need not be written to when all is there.
    if let (false, Handle::Writable(database)) = (has_all_tables(handle), handle) {
        let write = database.begin_write()?;
        Tables::open(&write)?;
        write.commit()?;
    }
    Ok(())
}

/// Moves the file out of the way, and deletes the oldest of those moved before.
pub(super) fn set_aside(path: &Path, clock: &Clock) -> std::io::Result<PathBuf> {
    let prefix = format!("{}.broken-", path.file_name().unwrap_or_default().to_string_lossy());
    let mut millis = clock.now().as_millis();
    let mut aside = path.with_file_name(format!("{prefix}{millis}"));
    while aside.exists() {
        millis += 1;
        aside = path.with_file_name(format!("{prefix}{millis}"));
    }
    std::fs::rename(path, &aside)?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut kept: Vec<PathBuf> = std::fs::read_dir(directory)?
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
        .map(|entry| entry.path())
        .collect();
    kept.sort_unstable();
    for old in kept.iter().rev().skip(KEEP_ASIDE) {
        _ = std::fs::remove_file(old);
    }
    Ok(aside)
}

pub(super) fn get(database: &Handle, key: &str, now: Timestamp) -> Result<Option<Bytes>, redb::Error> {
    let values = database.begin_read()?.open_table(VALUES)?;
    read_row(&values, key, now)
}

/// The answers in `known`, and those of the file where there is none.
pub(super) fn get_many(
    database: &Handle,
    keys: &[String],
    known: Vec<Option<Option<Bytes>>>,
    now: Timestamp,
) -> Result<Vec<Option<Bytes>>, redb::Error> {
    let values = database.begin_read()?.open_table(VALUES)?;
    let answers = keys.iter().zip(known).map(|(key, known)| match known {
        Some(known) => Ok(known),
        None => read_row(&values, key, now),
    });
    answers.collect()
}

fn read_row(
    values: &impl ReadableTable<&'static str, &'static [u8]>,
    key: &str,
    now: Timestamp,
) -> Result<Option<Bytes>, redb::Error> {
    let Some(row) = values.get(key)? else { return Ok(None) };
    let bytes = row.value();
    let (Some(checksum), Some(expires), Some(value)) =
        (bytes.first_chunk::<4>(), bytes.get(4..HEADER), bytes.get(HEADER..))
    else {
        return Ok(None);
    };
    if u32::from_le_bytes(*checksum) != checksum_of(key, &bytes[4..]) {
        // Not a reason to give up the file: the next put of this key repairs it.
        tracing::warn!(key, "a cached value does not match its checksum, ignoring it");
        return Ok(None);
    }
    let expires = expires.try_into().map_or(0, u64::from_le_bytes);
    Ok((expires > now.as_millis()).then(|| Bytes::copy_from_slice(value)))
}

fn checksum_of(key: &str, rest: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key.as_bytes());
    hasher.update(rest);
    hasher.finalize()
}

/// For each key whether a live row is there.
pub(super) fn are_there(database: &Handle, keys: &[String], now: Timestamp) -> Result<Vec<bool>, redb::Error> {
    let index = database.begin_read()?.open_table(INDEX)?;
    let there = keys.iter().map(|key| Ok(index.get(&**key)?.is_some_and(|row| row.value().0 > now.as_millis())));
    there.collect()
}

/// Keys with `prefix` behind `after`, expired ones left out; at most `limit`, of at most ten times as many rows. The
/// second is the last key looked at when there may be more.
pub(super) fn keys(
    database: &Handle,
    prefix: &str,
    after: Option<&str>,
    limit: usize,
    now: Timestamp,
) -> Result<(Vec<String>, Option<String>), redb::Error> {
    let index = database.begin_read()?.open_table(INDEX)?;
    let mut keys = Vec::new();
    for (seen, row) in index.range(after.unwrap_or(prefix)..)?.enumerate() {
        let (key, row) = row?;
        let key = key.value();
        if Some(key) == after {
            continue;
        }
        if !key.starts_with(prefix) {
            break;
        }
        if row.value().0 > now.as_millis() {
            keys.push(key.to_owned());
        }
        if keys.len() >= limit || seen >= limit.saturating_mul(10) {
            return Ok((keys, Some(key.to_owned())));
        }
    }
    Ok((keys, None))
}

/// How many rows there are, and their bytes.
pub(super) fn usage(database: &Handle) -> Result<(u64, u64), redb::Error> {
    let read = database.begin_read()?;
    let bytes = read.open_table(TOTALS)?.get(BYTES)?.map_or(0, |bytes| bytes.value());
    Ok((read.open_table(INDEX)?.len()?, bytes))
}

/// Whether there are expired rows to remove.
pub(super) fn has_expired(database: &Handle, now: Timestamp) -> Result<bool, redb::Error> {
    let queue = database.begin_read()?.open_table(QUEUE)?;
    Ok(queue.first()?.is_some_and(|(row, _)| row.value().0 <= now.as_millis()))
}

/// Writes a batch, removes expired rows, and makes room, all in one transaction.
pub(super) fn commit(database: &Database, batch: &[Write], now: Timestamp, max_bytes: u64) -> Result<(), redb::Error> {
    let mut write = database.begin_write()?;
    // Costs a second sync a batch, and saves reading the whole file at the start after a crash.
    write.set_quick_repair(true);
    {
        let mut tables = Tables::open(&write)?;
        for change in batch {
            tables.apply(change, now)?;
        }
        tables.remove_expired(now, max_bytes)?;
        tables.totals.insert(BYTES, tables.bytes)?;
    }
    write.commit()?;
    Ok(())
}

/// Runs `work` so that neither an error nor a panic of redb goes further than this.
pub(super) fn contained<T>(work: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, Trouble> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(Trouble::from),
        Err(_) => Err(Trouble::of_panic()),
    }
}
