//! The tables of the file, and how one transaction changes them.

use redb::{ReadableTable, StorageError, Table, WriteTransaction};

use super::{BYTES, HEADER, INDEX, QUEUE, TOTALS, VALUES, checksum_of};
use crate::clock::Timestamp;
use crate::store::embedded::overlay::{Overlay, Write};

/// How many expired rows one commit removes at most, so that a mass expiry does not hold up the writes.
const EXPIRED_AT_ONCE: usize = 1000;

pub(super) struct Tables<'a> {
    values: Table<'a, &'static str, &'static [u8]>,
    index: Table<'a, &'static str, (u64, u64)>,
    queue: Table<'a, (u64, &'static str), ()>,
    pub(super) totals: Table<'a, &'static str, u64>,
    pub(super) bytes: u64,
}

impl<'a> Tables<'a> {
    pub(super) fn open(write: &'a WriteTransaction) -> Result<Self, redb::Error> {
        let totals = write.open_table(TOTALS)?;
        let bytes = totals.get(BYTES)?.map_or(0, |bytes| bytes.value());
        Ok(Tables {
            values: write.open_table(VALUES)?,
            index: write.open_table(INDEX)?,
            queue: write.open_table(QUEUE)?,
            totals,
            bytes,
        })
    }

    pub(super) fn apply(&mut self, change: &Write, now: Timestamp) -> Result<(), StorageError> {
        let key = &*change.key;
        self.remove(key)?;
        let Some(row) = change.row.as_ref().filter(|row| row.expires > now) else { return Ok(()) };
        let expires = row.expires.as_millis();
        let cost = Overlay::cost(key, Some(row));
        let mut bytes = Vec::with_capacity(HEADER + row.value.len());
        bytes.extend([0; 4]);
        bytes.extend(expires.to_le_bytes());
        bytes.extend(&row.value);
        let checksum = checksum_of(key, &bytes[4..]);
        bytes[..4].copy_from_slice(&checksum.to_le_bytes());
        self.values.insert(key, &bytes[..])?;
        self.index.insert(key, (expires, cost))?;
        self.queue.insert((expires, key), ())?;
        self.bytes += cost;
        Ok(())
    }

    fn remove(&mut self, key: &str) -> Result<(), StorageError> {
        let Some((expires, cost)) = self.index.remove(key)?.map(|row| row.value()) else { return Ok(()) };
        self.queue.remove((expires, key))?;
        self.values.remove(key)?;
        self.bytes = self.bytes.saturating_sub(cost);
        Ok(())
    }

    /// Drops expired rows, a bounded number of them, then those closest to their expiry until the rest fits.
    pub(super) fn remove_expired(&mut self, now: Timestamp, max_bytes: u64) -> Result<(), StorageError> {
        let mut removed = 0;
        loop {
            let Some((expires, key)) = self.queue.first()?.map(|(row, _)| (row.value().0, row.value().1.to_owned()))
            else {
                return Ok(());
            };
            let is_expired = expires <= now.as_millis() && removed < EXPIRED_AT_ONCE;
            if !is_expired && self.bytes <= max_bytes {
                return Ok(());
            }
            self.remove(&key)?;
            removed += 1;
        }
    }
}
