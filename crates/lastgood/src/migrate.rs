//! Copies the entries of one store to another: byte for byte, with the rest of their time to live, and never over
//! an entry that began later.
//!
//! Nothing is remembered between runs. A repeated run reads both stores and skips entries that are there, so that it
//! goes on where another one stopped.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use self::batch::Batch;
use self::patience::Patience;
use crate::clock::Clock;
use crate::store::{Position, Store, StoreError};
use crate::tags;

mod batch;
mod patience;

/// Keys of one page of a listing.
const PAGE: usize = 500;
/// Keys of one batch: a value's size is known only once it is read.
const MOST_KEYS: usize = 64;
/// Keys of the first batch.
const FIRST_KEYS: usize = 8;
/// A batch with more bytes than this makes the next one smaller.
const MOST_BYTES: u64 = 4 << 20;
/// A batch with fewer bytes than this makes the next one larger.
const FEW_BYTES: u64 = 1 << 20;
/// After this many refusals without a success between them, the target takes nothing at all.
const REFUSED_IN_A_ROW: u64 = 32;
/// How often the source is gone through because a store was away meanwhile.
const WALKS: usize = 10;
/// Failures that are kept with their reasons.
const FAILURES: usize = 8;

/// A copy of what one store holds for one namespace.
#[derive(Clone, Debug)]
pub struct Migration {
    /// The source. Nothing in it is changed.
    pub from: Arc<dyn Store>,
    /// The target.
    pub to: Arc<dyn Store>,
    /// The namespace of the keys at the source.
    pub namespace: String,
    /// The namespace of the keys at the target.
    pub to_namespace: String,
    /// The most keys to read in a second; `None`: as fast as the stores answer.
    pub rate: Option<NonZeroU32>,
    /// Writes nothing, and counts what would be written.
    pub dry_run: bool,
    /// The time by which entries expire.
    pub clock: Clock,
}

/// What became of the keys that were read. Each is counted once, in `read` and in one of the others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Keys of the namespace that were read at the source.
    pub read: u64,
    /// Entries that were written, read back and found equal; in a dry run those that would be written.
    pub copied: u64,
    /// Entries that the target has already.
    pub present: u64,
    /// Entries of which the target has a later one.
    pub newer: u64,
    /// Entries whose time was up, or which were gone before they could be read.
    pub expired: u64,
    /// Entries of wire version 1. They do not say which key they are of, so that no program of this version serves them.
    pub outdated: u64,
    /// Values that are no entries, of a later version, damaged, or of another key. Their time to live is not known.
    pub unreadable: u64,
    /// Entries under whose key the target has something that this version cannot read; it was left alone.
    pub occupied: u64,
    /// Entries that could not be written, or were not there when they were read back.
    pub failed: u64,
    /// The size of the entries in `copied`.
    pub bytes: u64,
}

/// How far a migration has come.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Progress {
    /// What was done so far.
    pub counts: Counts,
    /// The last key of the source that was dealt with.
    pub last_key: Option<String>,
    /// Which store does not answer at the moment, and why; it is asked again.
    pub trouble: Option<String>,
    /// The first entries that failed, with the reason.
    pub failures: Vec<String>,
    /// How often the source's processes published a change while it was copied; `None` where that is not known. What was
    /// removed there in that time may have been copied before.
    pub changed_meanwhile: Option<u64>,
}

/// Why a migration ended early. What it copied until then stays.
#[derive(Clone, Debug)]
pub struct Stopped {
    /// Which store is the reason.
    pub side: Side,
    /// What it answered.
    pub error: StoreError,
}

/// One of the two stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Where entries are read.
    Source,
    /// Where they are written.
    Target,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Side::Source => "source",
            Side::Target => "target",
        })
    }
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the {}: {}", self.side, self.error)
    }
}

impl std::error::Error for Stopped {}

impl Migration {
    /// Copies, and reports to `progress` after each batch and whenever a store does not answer. It may be dropped at any
    /// time and run again.
    ///
    /// # Errors
    ///
    /// When a store does not answer for a minute, or the target refuses everything.
    pub async fn run(&self, progress: &watch::Sender<Progress>) -> Result<(), Stopped> {
        let patience = Patience::new(progress);
        let began_at = self.log_end().await;
        let mut walk = Walk { of: self, progress, patience, keys: FIRST_KEYS, next_at: Instant::now(), refused: 0 };
        // Marks first: an entry must not be found without the invalidation of its tag.
        walk.through(Part::Marks, Seen::First).await?;
        walk.through_entries().await?;
        walk.through(Part::Marks, Seen::Again).await?;
        let changed = match began_at {
            Some(place) => self.changes_since(place).await,
            None => None,
        };
        progress.send_modify(|now| now.changed_meanwhile = changed);
        Ok(())
    }

    /// Where the source's log ends; `None` where it cannot be read. That stops no copy.
    async fn log_end(&self) -> Option<Option<Position>> {
        self.from.log()?.end(&self.log_name()).await.ok()
    }

    /// How many records the source's log got since `place`.
    async fn changes_since(&self, mut place: Option<Position>) -> Option<u64> {
        let (log, name, mut changed) = (self.from.log()?, self.log_name(), 0);
        loop {
            let tail = log.read(&name, place.as_ref(), Duration::ZERO).await.ok()?;
            // Records that the log gave up were at least one.
            changed += tail.records.len() as u64 + u64::from(!tail.is_complete);
            if tail.records.is_empty() {
                return Some(changed);
            }
            place = tail.end;
        }
    }

    fn log_name(&self) -> String {
        format!("{}:@log", self.namespace)
    }

    /// The same key at the target.
    fn target_key(&self, key: &str) -> String {
        let rest = key.strip_prefix(&self.namespace).unwrap_or(key);
        [&self.to_namespace, rest].concat()
    }
}

/// What a walk copies.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// When tags were invalidated.
    Marks,
    Entries,
}

/// Whether keys are counted that were seen before.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    First,
    /// Only what was missed then is counted.
    Again,
}

/// One run through the source.
struct Walk<'a> {
    of: &'a Migration,
    progress: &'a watch::Sender<Progress>,
    patience: Patience<'a>,
    /// Keys of the next batch.
    keys: usize,
    /// When the next batch is due.
    next_at: Instant,
    /// Refusals since the last success.
    refused: u64,
}

impl Walk<'_> {
    /// Copies all entries. A server that was away may list its keys in another order, or have lost what it was given: the
    /// entries are then gone through once more, from the first.
    async fn through_entries(&mut self) -> Result<(), Stopped> {
        let before = self.progress.borrow().clone();
        self.through(Part::Entries, Seen::First).await?;
        for _ in 1..WALKS {
            if self.patience.was_away().is_none() {
                return Ok(());
            }
            let first = self.progress.borrow().counts.clone();
            self.progress.send_modify(|now| {
                now.failures.clone_from(&before.failures);
                now.counts = Counts { bytes: first.bytes, ..before.counts.clone() };
            });
            self.through(Part::Entries, Seen::First).await?;
            // An entry that is there now, and was not at first, was copied.
            self.progress.send_modify(|now| {
                let copied = now.counts.present.saturating_sub(first.present);
                now.counts.present -= copied;
                now.counts.copied += copied;
            });
        }
        self.patience.was_away().map_or(Ok(()), Err)
    }

    async fn through(&mut self, part: Part, seen: Seen) -> Result<(), Stopped> {
        let of = self.of;
        let prefix = match part {
            Part::Marks => format!("{}:{}:", of.namespace, tags::REGION),
            Part::Entries => format!("{}:", of.namespace),
        };
        // The log and the counters belong to the processes that use the source.
        let is_meant = |key: &String| {
            let name = key.strip_prefix(&prefix);
            name.is_some_and(|name| part == Part::Marks || !name.starts_with(['@', '{']))
        };
        let mut cursor = None;
        self.patience.forget();
        loop {
            let list = || of.from.list(&prefix, cursor.clone(), PAGE);
            let page = self.patience.wait_for(Side::Source, list).await?;
            let mut keys: Vec<String> = page.keys.into_iter().filter(is_meant).collect();
            // A store may give a key twice. In order, values of one region follow each other, which are alike in size.
            keys.sort_unstable();
            keys.dedup();
            self.page(&keys, seen).await?;
            cursor = page.next;
            if cursor.is_none() {
                return Ok(());
            }
        }
    }

    async fn page(&mut self, mut keys: &[String], seen: Seen) -> Result<(), Stopped> {
        while !keys.is_empty() {
            let (batch, rest) = keys.split_at(self.batch_size().min(keys.len()));
            self.pause(batch.len()).await;
            let copied = Batch::copy(self.of, &self.patience, batch).await?;
            self.resize(copied.bytes_read);
            self.note(&copied, batch.last(), seen);
            if self.refused >= REFUSED_IN_A_ROW {
                let why = copied.failures.into_iter().next().map(|(_, why)| why).unwrap_or_default();
                return Err(Stopped { side: Side::Target, error: StoreError::Refused(why) });
            }
            keys = rest;
        }
        Ok(())
    }

    fn batch_size(&self) -> usize {
        let a_quarter_second = self.of.rate.map_or(MOST_KEYS, |rate| rate.get() as usize / 4);
        self.keys.min(a_quarter_second.max(1))
    }

    async fn pause(&mut self, keys: usize) {
        let Some(rate) = self.of.rate else { return };
        sleep_until(self.next_at).await;
        self.next_at = self.next_at.max(Instant::now()) + Duration::from_secs(keys as u64) / rate.get();
    }

    fn resize(&mut self, bytes: u64) {
        if bytes > MOST_BYTES {
            self.keys = (self.keys as u64 * MOST_BYTES / bytes).max(1) as usize;
        } else if bytes < FEW_BYTES {
            self.keys = (self.keys * 2).min(MOST_KEYS);
        }
    }

    fn note(&mut self, batch: &Batch, last_key: Option<&String>, seen: Seen) {
        let done = &batch.counts;
        // A server that was away and came back empty refused nothing: the entries are gone through once more.
        let is_well = done.copied > 0 || self.patience.was_away().is_some();
        self.refused = if is_well { 0 } else { self.refused + done.failed };
        self.progress.send_modify(|now| {
            let all = &mut now.counts;
            all.copied += done.copied;
            all.failed += done.failed;
            all.bytes += done.bytes;
            match seen {
                Seen::Again => all.read += done.copied + done.failed,
                Seen::First => {
                    all.read += done.read;
                    all.present += done.present;
                    all.newer += done.newer;
                    all.expired += done.expired;
                    all.outdated += done.outdated;
                    all.unreadable += done.unreadable;
                    all.occupied += done.occupied;
                }
            }
            now.last_key = last_key.cloned();
            let room = FAILURES.saturating_sub(now.failures.len());
            now.failures.extend(batch.failures.iter().take(room).map(|(key, why)| format!("{key}: {why}")));
        });
    }
}
