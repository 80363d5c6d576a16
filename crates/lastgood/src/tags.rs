//! Tags: names under which entries of any region are invalidated together.
//!
//! What memory holds is changed at once. What the store holds is not looked for: a mark says when the tag was
//! invalidated, and an entry that the store gives is judged by the marks of its tags. So the price is the same for ten
//! entries and for a million, and what another process writes meanwhile is judged as well.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::{Instant, timeout_at};

use crate::clock::Timestamp;
use crate::entry::{Entry, Loaded, decode_any_version};
use crate::invalidation::Mode;
use crate::policy::{FOREVER_TTL, Policy, Times};
use crate::store::{Ahead, GuardedStore, Store, StoreError};
use crate::write_behind::{Change, Fill, Form, WriteBehind};

/// Longer ones, or more of them on one entry, keep it out of the store: it could not be invalidated there.
pub(crate) const LONGEST: usize = 256;
const MOST: usize = 16;
/// Tags whose marks this process remembers; beyond it, it distrusts what the store holds from before instead.
const REMEMBERED: usize = 8_192;
/// No region can have this name, so no entry lies among the marks.
pub(crate) const REGION: &str = "@tags";
const SCHEMA: u32 = 1;

/// When a tag was last invalidated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Marks {
    removed_at: Timestamp,
    expired_at: Timestamp,
}

impl Marks {
    fn of(&self, mode: Mode) -> Timestamp {
        match mode {
            Mode::Expire => self.expired_at,
            Mode::Remove => self.removed_at,
        }
    }

    fn add(&mut self, mode: Mode, at: Timestamp) {
        let mark = match mode {
            Mode::Expire => &mut self.expired_at,
            Mode::Remove => &mut self.removed_at,
        };
        *mark = at.max(*mark);
    }

    /// The same by the clock as it tells the time now, and as late as another process may call it.
    fn present(self, ahead: Ahead) -> Marks {
        let latest = |at: Timestamp| match at > Timestamp::EPOCH {
            true => ahead.present(at).plus(ahead.at_most_wrong_by * 2),
            false => at,
        };
        Marks { removed_at: latest(self.removed_at), expired_at: latest(self.expired_at) }
    }

    fn and(self, other: Marks) -> Marks {
        let Marks { removed_at, expired_at } = other;
        Marks { removed_at: self.removed_at.max(removed_at), expired_at: self.expired_at.max(expired_at) }
    }
}

/// The marks of one cache.
pub(crate) struct Tags {
    /// What the keys of marks begin with in the store.
    prefix: String,
    /// Those that this process made: the store may not have them yet.
    made: Mutex<HashMap<String, Marks>>,
    /// Those that other processes published: the store may lose the newest of what it took.
    heard: Mutex<HashMap<String, Marks>>,
    /// When any tag was invalidated last, as far as this process knows.
    marked_at: AtomicU64,
}

/// What a mark's key says without what all marks' keys begin with: the mode and the tag.
pub(crate) fn mark_of(key: &str) -> Option<(Mode, &str)> {
    let (kind, tag) = key.split_once(':')?;
    [Mode::Expire, Mode::Remove].into_iter().find(|mode| mode.word() == kind).map(|mode| (mode, tag))
}

/// Whether the tags of an entry let it lie in the store.
pub(crate) fn are_storable(tags: &[String]) -> bool {
    tags.len() <= MOST && tags.iter().all(|tag| tag.len() <= LONGEST)
}

impl Tags {
    pub(crate) fn new(namespace: &str) -> Tags {
        let (made, heard) = (Mutex::default(), Mutex::default());
        Tags { prefix: format!("{namespace}:{REGION}:"), made, heard, marked_at: AtomicU64::new(0) }
    }

    fn made(&self) -> MutexGuard<'_, HashMap<String, Marks>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn heard(&self) -> MutexGuard<'_, HashMap<String, Marks>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn key(&self, mode: Mode, tag: &str) -> String {
        [&self.prefix, mode.word(), ":", tag].concat()
    }

    /// When any tag was invalidated last: what was being loaded then may have been loaded before.
    pub(crate) fn marked_at(&self) -> Timestamp {
        Timestamp::from_millis(self.marked_at.load(Ordering::Relaxed))
    }

    /// Notes that a tag was invalidated, here or by another process.
    pub(crate) fn note_mark(&self, at: Timestamp) {
        self.marked_at.fetch_max(at.as_millis(), Ordering::Relaxed);
    }

    /// Remembers a mark that another process made, so that it stays known here if the store loses it.
    pub(crate) fn remember_heard(&self, tag: &str, mode: Mode, at: Timestamp) {
        let mut heard = self.heard();
        // The store has them all, unless it failed lately.
        if heard.len() >= REMEMBERED && !heard.contains_key(tag) {
            heard.clear();
        }
        heard.entry(tag.to_owned()).or_default().add(mode, at);
    }

    /// Takes up a mark that an earlier process made and the store may not have.
    pub(crate) fn remember_key(&self, key: &str, at: Timestamp) {
        if let Some((mode, tag)) = key.strip_prefix(&self.prefix).and_then(mark_of) {
            self.made().entry(tag.to_owned()).or_default().add(mode, at);
        }
    }

    /// Marks a tag, here at once and in the store behind, until the store has it.
    pub(crate) fn mark(&self, behind: &Arc<WriteBehind>, tag: &str, mode: Mode, at: Timestamp) {
        self.note_mark(at);
        let mut made = self.made();
        if made.len() >= REMEMBERED && !made.contains_key(tag) {
            made.clear();
            behind.distrust(at);
        }
        made.entry(tag.to_owned()).or_default().add(mode, at);
        drop(made);
        let until = at.plus(FOREVER_TTL);
        let times = Times { fresh_until: until, stale_until: until, keep_until: until };
        let entry = Arc::new(Entry::new(Loaded::default(), at, at, times));
        let form = Form { schema: SCHEMA, compress_over: usize::MAX };
        let fill = Fill {
            entry,
            form,
            has_room: false,
            replaces: true,
            is_late: false,
            failed_at: None,
            expiry: None,
            lease: None,
        };
        behind.enqueue(self.key(mode, tag), Change::Mark(fill));
    }

    /// What the invalidations of their tags leave of entries that the store gave. Where the marks cannot be read before
    /// `deadline`, none that has tags; says whether they could.
    pub(crate) async fn apply(
        &self,
        store: &GuardedStore,
        stored: &mut [Option<Entry>],
        deadline: Instant,
        now: Timestamp,
        policy: &Policy,
    ) -> bool {
        let mut tags: Vec<&str> = stored.iter().flatten().flat_map(|entry| entry.tags()).map(String::as_str).collect();
        if tags.is_empty() {
            return true;
        }
        tags.sort_unstable();
        tags.dedup();
        let marks = self.read(store, tags, deadline).await;
        for place in stored {
            let Some(entry) = place.take_if(|entry| !entry.tags().is_empty()) else { continue };
            *place = marks.as_ref().and_then(|marks| {
                let of_entry = entry.tags().iter().filter_map(|tag| marks.get(tag));
                of_entry.fold(Marks::default(), |all, one| all.and(*one)).leave(entry, now, policy)
            });
        }
        marks.is_some()
    }

    /// The marks of each tag; `None` if the store does not tell before `deadline`.
    async fn read(&self, store: &GuardedStore, tags: Vec<&str>, deadline: Instant) -> Option<HashMap<String, Marks>> {
        let asked: Vec<(Mode, &str)> =
            tags.iter().flat_map(|tag| [(Mode::Expire, *tag), (Mode::Remove, *tag)]).collect();
        let keys: Vec<String> = asked.iter().map(|(mode, tag)| self.key(*mode, tag)).collect();
        let asking = async { Ok::<_, StoreError>((store.ahead().await?, store.get_many(&keys).await?)) };
        let (ahead, stored) = timeout_at(deadline, asking).await.ok()?.ok()?;
        let mut marks: HashMap<String, Marks> = HashMap::with_capacity(tags.len());
        for tag in tags {
            let made = self.made().get(tag).copied().unwrap_or_default();
            let heard = self.heard().get(tag).copied().unwrap_or_default();
            marks.insert(tag.to_owned(), made.and(heard).present(ahead));
        }
        for (((mode, tag), key), bytes) in asked.into_iter().zip(&keys).zip(stored) {
            let Some(bytes) = bytes else { continue };
            // A mark that cannot be read may say anything.
            let at = decode_any_version(&bytes, key, SCHEMA).map_or(Timestamp::FOREVER, |mark| mark.fetch_started_at);
            let (at, wrong_by) = (at.shifted(-ahead.by), ahead.at_most_wrong_by);
            let marks = marks.entry(tag.to_owned()).or_default();
            // What this process knows of already it knows better.
            if at > marks.of(mode) {
                marks.add(mode, at.plus(wrong_by));
            }
        }
        Some(marks)
    }
}

impl Marks {
    /// What an invalidation leaves of an entry.
    fn leave(self, entry: Entry, now: Timestamp, policy: &Policy) -> Option<Entry> {
        let began = entry.fetch_started_at;
        let before = |at: Timestamp| at > Timestamp::EPOCH && began <= at;
        if before(self.removed_at) {
            return None;
        }
        if !before(self.expired_at) {
            return Some(entry);
        }
        Some(entry.expired_at(self.expired_at.min(now), policy))
    }
}
