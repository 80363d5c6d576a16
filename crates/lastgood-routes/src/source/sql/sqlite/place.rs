//! The file that a database's path leads to at the moment, and whether the write-ahead log next to it is that file's own.
//!
//! SQLite finds the log by its name. A log that was left behind when another file took the path over would be read as the
//! new file's, and bring the old rows back.

use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

/// What distinguishes a file from another that had its path before. An inode's number may be used again at once, so that the
/// time of its making is part of it where the file system has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
    made: Option<SystemTime>,
}

/// What a path leads to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) file: FileId,
    /// Whether the log next to the file was another file's.
    pub(super) has_foreign_log: bool,
}

/// The log next to a file.
#[derive(Clone, Copy)]
struct Log {
    id: FileId,
    is_empty: bool,
}

#[derive(Clone, Copy)]
struct Seen {
    file: FileId,
    log: Option<Log>,
    /// The log that was there when this file took the place of another.
    foreign: Option<FileId>,
}

/// The path of a database.
pub(super) struct Place {
    path: PathBuf,
    seen: Mutex<Option<Seen>>,
}

impl Place {
    pub(super) fn new(path: PathBuf) -> Arc<Place> {
        Arc::new(Place { path, seen: Mutex::default() })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What the path leads to now, links followed. A file system may take its time, so it is asked off this thread.
    pub(super) async fn look(self: &Arc<Self>) -> io::Result<Found> {
        let place = Arc::clone(self);
        tokio::task::spawn_blocking(move || place.look_now()).await.unwrap_or_else(|why| Err(io::Error::other(why)))
    }

    fn look_now(&self) -> io::Result<Found> {
        // One look at a time, so that each is compared with the one before it.
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let path = fs::canonicalize(&self.path)?;
        let metadata = fs::metadata(&path)?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
        }
        let mut log_path = path.into_os_string();
        log_path.push("-wal");
        let log_metadata = fs::metadata(log_path).ok();
        let log = log_metadata.as_ref().map(|log| Log { id: id(log), is_empty: log.len() == 0 });
        let file = id(&metadata);
        let foreign = match *seen {
            None => None,
            Some(before) if before.file == file => before.foreign,
            Some(before) => log
                .filter(|log| {
                    let had_pages = before.log.is_some_and(|known| known.id == log.id && !known.is_empty);
                    let is_older = log_metadata.as_ref().is_some_and(|log| changed_at(log) < changed_at(&metadata));
                    !log.is_empty && (had_pages || is_older)
                })
                .map(|log| log.id),
        };
        *seen = Some(Seen { file, log, foreign });
        Ok(Found { file, has_foreign_log: log.is_some_and(|log| !log.is_empty && foreign == Some(log.id)) })
    }
}

#[cfg(unix)]
fn id(metadata: &Metadata) -> FileId {
    use std::os::unix::fs::MetadataExt as _;
    FileId { device: metadata.dev(), inode: metadata.ino(), made: metadata.created().ok() }
}

#[cfg(not(unix))]
fn id(metadata: &Metadata) -> FileId {
    FileId { device: 0, inode: 0, made: metadata.created().ok() }
}

/// When the file was last written, renamed or made.
#[cfg(unix)]
fn changed_at(metadata: &Metadata) -> (i64, i64) {
    use std::os::unix::fs::MetadataExt as _;
    (metadata.ctime(), metadata.ctime_nsec())
}

#[cfg(not(unix))]
fn changed_at(metadata: &Metadata) -> Option<SystemTime> {
    metadata.modified().ok()
}
