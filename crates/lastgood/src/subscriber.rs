//! The invalidation log: what the other processes on the store invalidate. Applying it changes memory alone,
//! for the store is changed already.
//!
//! Each process reads from its own place, so that one that was cut off goes on where it was. If what followed on that
//! place is gone, nothing that memory holds is served before it was revalidated. While the log cannot be read, memory is
//! believed for a bounded time.

use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::cache::Cache;
use crate::clock::Timestamp;
use crate::flight::Void;
use crate::invalidation::Mode;
use crate::memory::{Key, KeyRef};
use crate::publisher::{Kind, Record};
use crate::region::Region;
use crate::shared::Shared;
use crate::store::{Ahead, GuardedStore, Position, Store, StoreError, Tail, jittered};
use crate::tags;
use crate::verification::Pace;
use crate::write_behind::{APART, Change, Expiry, Removal, Removed};

/// The first wait after a read that failed, and the longest.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// Begins to listen to the other processes, if there is a runtime to do it in and anything to listen to.
pub(crate) fn listen_to_others(cache: &Arc<Shared>, pace: Pace) -> Option<JoinHandle<()>> {
    let store = Arc::clone(&cache.store.as_ref()?.store);
    store.log()?;
    let Ok(runtime) = tokio::runtime::Handle::try_current() else {
        cache.verification.not_yet();
        return None;
    };
    Some(runtime.spawn(listen(Arc::downgrade(cache), store, pace)))
}

async fn listen(cache: Weak<Shared>, store: Arc<GuardedStore>, pace: Pace) {
    let Some(log) = store.log() else { return };
    let Some((name, before)) = cache.upgrade().map(|cache| (cache.publisher.name.clone(), cache.heard_before())) else {
        return;
    };
    // Who takes up what an earlier process left must hear what others changed since.
    let mut place = before.map(|(position, read_at)| Place { position, wait: Duration::ZERO, read_at });
    let mut has_begun = false;
    let mut pause = RETRY.0;
    loop {
        let listened_at = place.as_ref().map_or(Timestamp::EPOCH, |place| place.read_at);
        let Some(read_at) = cache.upgrade().map(|cache| cache.clock.now()) else { return };
        let read = match &place {
            None => log.end(&name).await.map(|end| (end, None)),
            Some(Place { position, wait, .. }) => {
                let tail = log.read(&name, position.as_ref(), *wait).await;
                tail.map(|tail| (tail.end.clone(), Some(tail)))
            }
        };
        let Some(cache) = cache.upgrade() else { return };
        match read {
            Ok((position, tail)) => {
                if let Some(tail) = tail {
                    if !tail.records.is_empty() && store.assumed_ahead().is_none() {
                        // Their times are by the store's clock. Where that is not known, they say nothing.
                        drop(store.ahead().await);
                    }
                    cache.apply_all(tail, listened_at);
                }
                if !std::mem::replace(&mut has_begun, true) {
                    cache.verification.begins(cache.clock.now());
                }
                let wait = cache.heard_up_to(position.as_ref(), read_at, pace);
                (place, pause) = (Some(Place { position, wait, read_at }), RETRY.0);
                cache.publisher.publish_pending(&store).await;
                store.refine_clock().await;
            }
            Err(why) => {
                tracing::debug!(%why, "the invalidation log cannot be read");
                store.forget_clock();
                cache.heard_nothing(&why, log.is_away(), read_at);
                drop(cache);
                // The first read after one that failed tells at once whether it works.
                place.iter_mut().for_each(|place| place.wait = Duration::ZERO);
                sleep(jittered(pause)).await;
                // A server that is away is asked often enough to know that it still is.
                pause = (pause * 2).min(RETRY.1).min(pace.bound / 4);
            }
        }
    }
}

/// Where to read on, and how long to wait there.
struct Place {
    position: Option<Position>,
    wait: Duration,
    /// When the last read began: what comes now was appended after that.
    read_at: Timestamp,
}

impl Shared {
    /// How far an earlier process heard the others, where it left changes.
    fn heard_before(&self) -> Option<(Option<Position>, Timestamp)> {
        self.heard_before.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// A read that began at `read_at` had all that others published up to `position`. Says how long the next one waits.
    fn heard_up_to(&self, position: Option<&Position>, read_at: Timestamp, pace: Pace) -> Duration {
        if let Some(tier) = &self.store {
            tier.behind.heard(position, read_at);
        }
        let now = self.clock.now();
        let is_recent = self.verification.heard(read_at, now, now.plus(pace.silent_after()));
        // Where it is not, the next answer is not waited for.
        if is_recent { pace.wait } else { Duration::ZERO }
    }

    /// A read that began at `read_at` failed: from now on memory is believed for a bounded time.
    fn heard_nothing(&self, why: &StoreError, is_away: bool, read_at: Timestamp) {
        self.verification.not_yet();
        if let (StoreError::Refused(_), Some(tier)) = (why, &self.store) {
            tier.behind.others.send_modify(|others| others.is_refused = true);
        }
        match is_away {
            true => self.verification.away(read_at, self.clock.now()),
            false => self.verification.cut_off(self.clock.now()),
        }
    }

    /// Another process changed what the store holds for some keys.
    fn changed_elsewhere(&self, is_meant: impl Fn(&str) -> bool) {
        if let Some(tier) = &self.store {
            tier.behind.changed_elsewhere(is_meant);
        }
    }

    /// Until when loads are voided by a removal at another process, as far as the clocks tell: a load that began after
    /// the removal is not affected.
    fn removed_until(&self, removed: Removed) -> Timestamp {
        let exactly = removed.asked_at.map(|at| at.plus(removed.ahead.at_most_wrong_by * 2 + APART));
        let now = self.clock.now();
        exactly.map_or(now, |until| until.min(now))
    }

    /// What an invalidation at another process means for loads under way.
    fn void(&self, mode: Mode, removed: Removed) -> Void {
        match mode {
            Mode::Expire => Void::Superseded,
            Mode::Remove => Void::Removed(self.removed_until(removed)),
        }
    }

    /// Applies the records appended to the log after `since`.
    fn apply_all(self: &Arc<Self>, tail: Tail, since: Timestamp) {
        let cache = Cache { shared: Arc::clone(self) };
        if !tail.is_complete {
            tracing::warn!("invalidations by other processes were missed: memory is revalidated as it is used");
            cache.doubt_everything();
        }
        for bytes in &tail.records {
            match Record::decode(bytes) {
                Some(records) => {
                    let of_others = records.iter().filter(|record| record.node != self.publisher.node);
                    of_others.for_each(|record| cache.apply(record, since));
                }
                None => cache.doubt_everything(),
            }
        }
    }
}

impl Cache {
    fn doubt_everything(&self) {
        if let Some(tier) = &self.shared.store {
            tier.behind.contest_all();
        }
        // Before the flights are detached: no later read may take what memory holds for verified.
        self.shared.verification.missed(self.shared.clock.now());
        self.shared.changed_elsewhere(|_| true);
        self.shared.flights.invalidate_where(&Void::Superseded, |_| true);
    }

    fn apply(&self, record: &Record, since: Timestamp) {
        let since = self.when_removed(record, since);
        let mode = match record.kind {
            Kind::Everything => return self.doubt_everything(),
            Kind::Changed => Mode::Expire,
            Kind::Removed | Kind::Cleared => Mode::Remove,
            Kind::ExpiredWhere => return self.apply_selector(&record.key, Mode::Expire, since),
            Kind::RemovedWhere => return self.apply_selector(&record.key, Mode::Remove, since),
        };
        match Subject::of(record) {
            Some(Subject::Tag { mode, tag }) => self.apply_tag(mode, tag, since),
            Some(Subject::Key { region, schema, name }) => {
                let Some(region) = self.region_named(region) else { return };
                if record.kind == Kind::Cleared {
                    region.apply_prefix(name, schema, since);
                } else {
                    region.apply(name, schema, mode, since);
                }
            }
            None => {}
        }
    }

    /// When a removal published after `since` was asked for, as far as is known, by the clock of this process.
    fn when_removed(&self, record: &Record, since: Timestamp) -> Removed {
        let ahead = self.shared.store.as_ref().and_then(|tier| tier.store.assumed_ahead());
        let asked_at = ahead.zip(record.at).map(|(ahead, at)| at.shifted(-ahead.by));
        Removed { since, asked_at, ahead: ahead.unwrap_or(Ahead::NONE) }
    }

    /// Another process expired or removed all that a selector names. Keys that only this one has are not named one by
    /// one.
    fn apply_selector(&self, selector: &str, mode: Mode, removed: Removed) {
        // What a later version says and this one does not understand may be anything.
        let Some(matches) = self.shared.matches(selector) else { return self.doubt_everything() };
        for region in self.regions() {
            let is_meant = |name: &str| matches(region.name(), name);
            let doomed = |key: &KeyRef<'_>| key.region == region.shared.id && is_meant(key.name);
            self.shared.changed_elsewhere(|key| key.strip_prefix(&region.shared.prefix).is_some_and(is_meant));
            self.shared.flights.invalidate_where(&self.shared.void(mode, removed), doomed);
            self.shared.backoffs.retain(|key, _| !doomed(&key.borrowed()));
            for key in self.shared.memory.keys_where(|key, _| doomed(key)) {
                region.change_in_memory(&key, mode, removed);
            }
            if let Some(tier) = &self.shared.store {
                let prefix = &region.shared.prefix;
                match mode {
                    Mode::Remove => tier.behind.take_back_where(prefix, removed, is_meant),
                    Mode::Expire => {
                        let expiry = region.expiry_elsewhere(removed);
                        tier.behind.changed_by_another_where(prefix, expiry.as_ref(), is_meant);
                    }
                }
            }
        }
    }

    fn apply_tag(&self, mode: Mode, tag: &str, removal: Removed) {
        let until = self.shared.removed_until(removal);
        self.shared.tags.note_mark(until);
        if let Some(at) = removal.asked_at {
            self.shared.tags.remember_heard(tag, mode, at);
        }
        self.shared.changed_elsewhere(|_| true);
        let void = match mode {
            Mode::Expire => Void::Superseded,
            Mode::Remove => Void::TagRemoved(tag.into(), until),
        };
        // What tags a load under way will bring is not known yet.
        self.shared.flights.invalidate_where(&void, |_| true);
        let tagged = self.shared.memory.keys_where(|_, entry| entry.has_tag(tag));
        let regions = self.regions();
        for key in tagged {
            if let Some(region) = regions.get(key.region as usize) {
                region.change_in_memory(&key, mode, removal);
            }
        }
        if let Some(tier) = &self.shared.store {
            let region_of = |key: &str| regions.iter().find(|region| key.starts_with(&region.shared.prefix));
            let removed = (mode == Mode::Remove).then_some(removal);
            tier.behind.changed_tag(tag, removed, |key| region_of(key)?.expiry_elsewhere(removal));
        }
    }
}

impl Region {
    /// Another process changed what the store holds for `name`.
    fn apply(&self, name: &str, schema: u32, mode: Mode, removed: Removed) {
        let key = self.store_key(name);
        // Before memory is changed: who changes the key here must not put back what another process replaced.
        self.cache.changed_elsewhere(|changed| changed == key);
        self.change_in_memory(&Key::new(self.shared.id, name), mode, removed);
        if let Some(tier) = &self.cache.store {
            match schema == self.shared.schema {
                // Where the store is to hold something else, that must not be taken for what was written here.
                true => match mode {
                    Mode::Remove => tier.behind.take_back(&key, removed),
                    Mode::Expire => tier.behind.changed_by_another(&key, self.expiry_elsewhere(removed).as_ref()),
                },
                // It knows nothing of the keys of this schema.
                false => {
                    tier.behind.enqueue(key, Change::Remove(Removal::at(self.cache.clock.now(), false)));
                }
            }
        }
    }

    /// The published expiry by another process, if it says when it was asked for.
    fn expiry_elsewhere(&self, removal: Removed) -> Option<Expiry> {
        let (schema, policy) = (self.shared.schema, Arc::clone(&self.shared.policy));
        removal.asked_at.map(|at| Expiry { at, schema, policy })
    }

    /// Another process removed all that begins with `prefix`.
    fn apply_prefix(&self, prefix: &str, schema: u32, removed: Removed) {
        let doomed = |key: &KeyRef<'_>| key.region == self.shared.id && key.name.starts_with(prefix);
        let key = self.store_key(prefix);
        self.cache.changed_elsewhere(|changed| changed.starts_with(&key));
        self.cache.flights.invalidate_where(&self.cache.void(Mode::Remove, removed), doomed);
        for key in self.cache.memory.keys_where(|key, _| doomed(key)) {
            self.change_in_memory(&key, Mode::Remove, removed);
        }
        self.cache.backoffs.retain(|key, _| !doomed(&key.borrowed()));
        if let Some(tier) = &self.cache.store {
            match schema == self.shared.schema {
                true => tier.behind.take_back_where(&self.store_key(prefix), removed, |_| true),
                false => tier.behind.clear(&self.store_key(prefix), false),
            }
        }
    }

    fn change_in_memory(&self, key: &Key, mode: Mode, removed: Removed) {
        let until = self.cache.removed_until(removed);
        self.cache.flights.invalidate(key, &self.cache.void(mode, removed), || {
            self.cache.backoffs.remove(key);
            match (mode, self.held(&key.name)) {
                (Mode::Remove, None) => {}
                // It was loaded after the removal, which is heard late. What was put then may be gone from the store.
                (Mode::Remove, Some(held)) if held.was_loaded() && self.began_at(&held) > until => {}
                (Mode::Remove, Some(held)) => {
                    // When it was asked for may not be known: then what the store holds now may be from after it.
                    self.note_given(key, &held, removed.asked_at.is_some());
                    self.cache.memory.remove(&self.key(&key.name));
                }
                (Mode::Expire, Some(held)) => self.cache.memory.insert(&key.borrowed(), Arc::new(held.superseded())),
                (Mode::Expire, None) => {}
            }
        });
    }
}

/// What a record is about.
#[derive(Debug, PartialEq, Eq)]
enum Subject<'a> {
    /// A key of a region, or what the keys of a region begin with.
    Key { region: &'a str, schema: u32, name: &'a str },
    /// All that has a tag.
    Tag { mode: Mode, tag: &'a str },
}

impl Subject<'_> {
    fn of(record: &Record) -> Option<Subject<'_>> {
        let (region, rest) = record.key.split_once(':')?;
        if region == tags::REGION {
            let (mode, tag) = tags::mark_of(rest)?;
            return Some(Subject::Tag { mode, tag });
        }
        let (schema, name) = rest.strip_prefix('v')?.split_once(':')?;
        Some(Subject::Key { region, schema: schema.parse().ok()?, name })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_says_what_it_is_about() {
        let subject = |key: &str| {
            let record = Record { kind: Kind::Changed, node: String::new(), key: key.to_owned(), at: None };
            format!("{:?}", Subject::of(&record))
        };
        assert_eq!(subject("prices:v12:a:b"), r#"Some(Key { region: "prices", schema: 12, name: "a:b" })"#);
        assert_eq!(subject("prices:v1:"), r#"Some(Key { region: "prices", schema: 1, name: "" })"#);
        assert_eq!(subject("@tags:expired:a:b"), r#"Some(Tag { mode: Expire, tag: "a:b" })"#);
        assert_eq!(subject("@tags:removed:a"), r#"Some(Tag { mode: Remove, tag: "a" })"#);
        for odd in ["", "prices", "prices:1:a", "prices:v:a", "prices:v1", "@tags:faded:a"] {
            assert_eq!(subject(odd), "None", "{odd}");
        }
    }
}
