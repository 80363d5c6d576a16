//! A file with few rows, which are on disk once a call that writes them returns. For what must outlive the process before
//! anything is answered; [`EmbeddedStore`](super::EmbeddedStore) gathers its writes instead.

use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::file::{self, Handle, READ_ONLY, Trouble};
use super::overlay::{Row, Write};
use super::{Bounds, LEAST_MEMORY, Opened};
use crate::clock::{Clock, Timestamp};
use crate::store::StoreError;

/// Rows that are read at a time.
const PAGE: usize = 1_000;

/// The file, open. All calls block.
pub(crate) struct RowFile {
    path: PathBuf,
    handle: Handle,
    clock: Clock,
    max_bytes: u64,
    opened: Opened,
}

impl RowFile {
    /// Opens the file as [`EmbeddedStore::open`](super::EmbeddedStore::open) does.
    ///
    /// # Errors
    ///
    /// When another process has it open, or it cannot be made.
    pub(crate) fn open(path: &Path, clock: &Clock, max_bytes: u64) -> Result<RowFile, StoreError> {
        let bounds = Bounds { file: max_bytes, memory: LEAST_MEMORY };
        let (handle, opened) = file::open_or_set_aside(path, clock, bounds)?;
        Ok(RowFile { path: path.to_owned(), handle, clock: clock.clone(), max_bytes, opened })
    }

    /// Whether it held its rows when it was opened, and was neither missing nor damaged.
    pub(crate) fn was_there(&self) -> bool {
        self.opened == Opened::Existing
    }

    /// Where a damaged file was moved to when this one was opened in its place.
    pub(crate) fn set_aside(&self) -> Option<&Path> {
        match &self.opened {
            Opened::SetAside(to) => Some(to),
            Opened::Existing | Opened::New | Opened::ReadOnly => None,
        }
    }

    /// Why nothing can be written, where it is known beforehand.
    pub(crate) fn is_read_only(&self) -> bool {
        self.handle.is_read_only()
    }

    /// Every row. A damaged file is set aside.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub(crate) fn all(&self) -> Result<Vec<(String, Bytes)>, Trouble> {
        let (mut rows, mut after, now) = (Vec::new(), None::<String>, self.clock.now());
        loop {
            let read = file::contained(|| {
                let (names, next) = file::keys(&self.handle, "", after.as_deref(), PAGE, now)?;
                let pending = names.iter().map(|_| None).collect();
                let values = file::get_many(&self.handle, &names, pending, now)?;
                Ok((names, values, next))
            });
            let (names, values, next) = read.inspect_err(|trouble| self.set_aside_if_damaged(trouble))?;
            rows.extend(names.into_iter().zip(values).filter_map(|(name, value)| Some((name, value?))));
            after = next;
            if after.is_none() {
                return Ok(rows);
            }
        }
    }

    /// Writes rows that are kept until `expires`, and deletes those without a value. On disk when it returns. After an
    /// error the file has to be opened again.
    ///
    /// # Errors
    ///
    /// When the disk does not take it; then none of it is written.
    pub(crate) fn write(&self, rows: &[(String, Option<Bytes>)], expires: Timestamp) -> Result<(), Trouble> {
        let Handle::Writable(database) = &self.handle else { return Err(Trouble::Failed(READ_ONLY.to_owned())) };
        let row = |value: &Bytes| Row { value: value.clone(), expires };
        let batch: Vec<Write> = rows.iter().map(|(name, value)| Write::of(name, value.as_ref().map(row))).collect();
        file::contained(|| file::commit(database, &batch, self.clock.now(), self.max_bytes))
            .inspect_err(|trouble| self.set_aside_if_damaged(trouble))
    }

    fn set_aside_if_damaged(&self, trouble: &Trouble) {
        if matches!(trouble, Trouble::Damaged(_)) && file::set_aside(&self.path, &self.clock).is_err() {
            tracing::debug!(path = %self.path.display(), "the damaged file could not be moved");
        }
    }
}
