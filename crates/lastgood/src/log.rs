//! The invalidation log: what this process hears of the others that share its store. What is heard changes memory alone,
//! for the store is changed already.
//!
//! Each process reads from its own place, so that one that was cut off goes on where it was. If what followed on that
//! place is gone, nothing that memory holds is served before it was revalidated. While the log cannot be read, memory is
//! believed for a bounded time.

use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::cache::{Cache, Shared};
use crate::clock::Timestamp;
use crate::flight::Void;
use crate::memory::Key;
use crate::region::Region;
use crate::store::{Ahead, GuardedStore, Position, Store, StoreError, Tail, jittered};
use crate::tags::{self, Depth};
use crate::trust::Pace;
use crate::voice::{Kind, Record};
use crate::write_behind::{APART, Change, Expiry, Removal, Removed};

/// The first wait after a read that failed, and the longest.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// Begins to listen to the other processes, if there is a runtime to do it in and anything to listen to.
pub(crate) fn listen_to_others(cache: &Arc<Shared>, pace: Pace) -> Option<JoinHandle<()>> {
    let store = Arc::clone(&cache.store.as_ref()?.store);
    store.log()?;
    let Ok(runtime) = tokio::runtime::Handle::try_current() else {
        cache.hearing.not_yet();
        return None;
    };
    Some(runtime.spawn(listen(Arc::downgrade(cache), store, pace)))
}

async fn listen(cache: Weak<Shared>, store: Arc<GuardedStore>, pace: Pace) {
    let Some(log) = store.log() else { return };
    let Some((name, before)) = cache.upgrade().map(|cache| (cache.voice.name.clone(), cache.heard_before())) else {
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
                if tail.as_ref().is_some_and(|tail| !tail.records.is_empty()) && store.assumed_ahead().is_none() {
                    // Their times are by the store's clock. Where that is not known, they say nothing.
                    drop(store.ahead().await);
                }
                tail.into_iter().for_each(|tail| cache.heed_all(tail, listened_at));
                if !std::mem::replace(&mut has_begun, true) {
                    cache.hearing.begins(cache.clock.now());
                }
                if let Some(tier) = &cache.store {
                    tier.behind.heard(position.as_ref(), read_at);
                }
                let now = cache.clock.now();
                let is_recent = cache.hearing.heard(read_at, now, now.plus(pace.silent_after()));
                // Where it is not, the next answer is not waited for.
                let wait = if is_recent { pace.wait } else { Duration::ZERO };
                (place, pause) = (Some(Place { position, wait, read_at }), RETRY.0);
                cache.voice.speak(&store).await;
                store.refine_clock().await;
            }
            Err(why) => {
                tracing::debug!(%why, "the invalidation log cannot be read");
                store.forget_clock();
                cache.hearing.not_yet();
                if let (StoreError::Refused(_), Some(tier)) = (&why, &cache.store) {
                    tier.behind.others.send_modify(|others| others.is_refused = true);
                }
                match log.is_away() {
                    true => cache.hearing.away(read_at, cache.clock.now()),
                    false => cache.hearing.cut_off(cache.clock.now()),
                }
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

    /// Another process changed what the store holds for some keys.
    fn changed_elsewhere(&self, is_meant: impl Fn(&str) -> bool) {
        if let Some(tier) = &self.store {
            tier.behind.changed_elsewhere(is_meant);
        }
    }

    /// Until when what was loaded is taken away by a removal at another process, as far as the clocks tell: what is loaded
    /// after it was asked for has nothing to do with it.
    fn removed_until(&self, removed: Removed) -> Timestamp {
        let exactly = removed.asked_at.map(|at| at.plus(removed.ahead.at_most_wrong_by * 2 + APART));
        let now = self.clock.now();
        exactly.map_or(now, |until| until.min(now))
    }

    /// What an invalidation at another process means for loads under way.
    fn void(&self, depth: Depth, removed: Removed) -> Void {
        match depth {
            Depth::Expire => Void::Superseded,
            Depth::Remove => Void::Removed(self.removed_until(removed)),
        }
    }

    /// Heeds what was appended to the log after `since`.
    fn heed_all(self: &Arc<Self>, tail: Tail, since: Timestamp) {
        let cache = Cache { shared: Arc::clone(self) };
        if !tail.is_complete {
            tracing::warn!("invalidations by other processes were missed: memory is revalidated as it is used");
            cache.heed_everything();
        }
        for bytes in &tail.records {
            match Record::decode(bytes) {
                Some(records) => {
                    let of_others = records.iter().filter(|record| record.node != self.voice.node);
                    of_others.for_each(|record| cache.heed(record, since));
                }
                None => cache.heed_everything(),
            }
        }
    }
}

impl Cache {
    fn heed_everything(&self) {
        if let Some(tier) = &self.shared.store {
            tier.behind.contest_all();
        }
        // Before the flights are detached: no later read may take what memory holds for verified.
        self.shared.hearing.missed(self.shared.clock.now());
        self.shared.changed_elsewhere(|_| true);
        self.shared.flights.invalidate_where(&Void::Superseded, |_| true);
    }

    fn heed(&self, record: &Record, since: Timestamp) {
        let since = self.when_removed(record, since);
        let depth = match record.kind {
            Kind::Everything => return self.heed_everything(),
            Kind::Changed => Depth::Expire,
            Kind::Removed | Kind::Cleared => Depth::Remove,
            Kind::ExpiredWhere => return self.heed_selector(&record.key, Depth::Expire, since),
            Kind::RemovedWhere => return self.heed_selector(&record.key, Depth::Remove, since),
        };
        match Subject::of(record) {
            Some(Subject::Tag { depth, tag }) => self.heed_tag(depth, tag, since),
            Some(Subject::Key { region, schema, name }) => {
                let Some(region) = self.region_named(region) else { return };
                if record.kind == Kind::Cleared {
                    region.heed_prefix(name, schema, since);
                } else {
                    region.heed(name, schema, depth, since);
                }
            }
            None => {}
        }
    }

    /// What is known of when a removal was asked for that was told after `since`, by the clock of this process.
    fn when_removed(&self, record: &Record, since: Timestamp) -> Removed {
        let ahead = self.shared.store.as_ref().and_then(|tier| tier.store.assumed_ahead());
        let asked_at = ahead.zip(record.at).map(|(ahead, at)| at.shifted(-ahead.by));
        Removed { since, asked_at, ahead: ahead.unwrap_or(Ahead::NONE) }
    }

    /// Another process expired or removed all that a selector names. What only this one has is not told of one by one.
    fn heed_selector(&self, selector: &str, depth: Depth, removed: Removed) {
        // What a later version says and this one does not understand may be anything.
        let Some(matches) = self.shared.matches(selector) else { return self.heed_everything() };
        for region in self.regions() {
            let is_meant = |name: &str| matches(region.name(), name);
            let doomed = |key: &Key| key.region == region.shared.id && is_meant(&key.name);
            self.shared.changed_elsewhere(|key| key.strip_prefix(&region.shared.prefix).is_some_and(is_meant));
            self.shared.flights.invalidate_where(&self.shared.void(depth, removed), doomed);
            self.shared.setbacks.retain(|key, _| !doomed(key));
            for key in self.shared.memory.keys_where(|key, _| doomed(key)) {
                region.change_in_memory(&key, depth, removed);
            }
            if let Some(tier) = &self.shared.store {
                let prefix = &region.shared.prefix;
                match depth {
                    Depth::Remove => tier.behind.take_back_where(prefix, removed, is_meant),
                    Depth::Expire => {
                        let expiry = region.expiry_elsewhere(removed);
                        tier.behind.changed_by_another_where(prefix, expiry.as_ref(), is_meant);
                    }
                }
            }
        }
    }

    fn heed_tag(&self, depth: Depth, tag: &str, told: Removed) {
        let until = self.shared.removed_until(told);
        self.shared.tags.note_mark(until);
        if let Some(at) = told.asked_at {
            self.shared.tags.remember_heard(tag, depth, at);
        }
        self.shared.changed_elsewhere(|_| true);
        let void = match depth {
            Depth::Expire => Void::Superseded,
            Depth::Remove => Void::TagRemoved(tag.into(), until),
        };
        // What tags a load under way will bring is not known yet.
        self.shared.flights.invalidate_where(&void, |_| true);
        let tagged = self.shared.memory.keys_where(|_, entry| entry.tags.iter().any(|known| known == tag));
        let regions = self.regions();
        for key in tagged {
            if let Some(region) = regions.get(key.region as usize) {
                region.change_in_memory(&key, depth, told);
            }
        }
        if let Some(tier) = &self.shared.store {
            let region_of = |key: &str| regions.iter().find(|region| key.starts_with(&region.shared.prefix));
            let removed = (depth == Depth::Remove).then_some(told);
            tier.behind.changed_tag(tag, removed, |key| region_of(key)?.expiry_elsewhere(told));
        }
    }
}

impl Region {
    /// Another process changed what the store holds for `name`.
    fn heed(&self, name: &str, schema: u32, depth: Depth, removed: Removed) {
        let key = self.store_key(name);
        // Before memory is changed: who changes the key here must not put back what another process replaced.
        self.cache.changed_elsewhere(|changed| changed == key);
        self.change_in_memory(&Key::new(self.shared.id, name), depth, removed);
        if let Some(tier) = &self.cache.store {
            match schema == self.shared.schema {
                // Where the store is to hold something else, that must not be taken for what was written here.
                true => match depth {
                    Depth::Remove => tier.behind.take_back(&key, removed),
                    Depth::Expire => tier.behind.changed_by_another(&key, self.expiry_elsewhere(removed).as_ref()),
                },
                // It knows nothing of the keys of this schema.
                false => {
                    tier.behind.enqueue(key, Change::Remove(Removal::at(self.cache.clock.now(), false)));
                }
            }
        }
    }

    /// The expiry by another process that was told of, if it says when it was asked for.
    fn expiry_elsewhere(&self, told: Removed) -> Option<Expiry> {
        let (schema, policy) = (self.shared.schema, Arc::clone(&self.shared.policy));
        told.asked_at.map(|at| Expiry { at, schema, policy })
    }

    /// Another process removed all that begins with `prefix`.
    fn heed_prefix(&self, prefix: &str, schema: u32, removed: Removed) {
        let doomed = |key: &Key| key.region == self.shared.id && key.name.starts_with(prefix);
        let key = self.store_key(prefix);
        self.cache.changed_elsewhere(|changed| changed.starts_with(&key));
        self.cache.flights.invalidate_where(&self.cache.void(Depth::Remove, removed), doomed);
        for key in self.cache.memory.keys_where(|key, _| doomed(key)) {
            self.change_in_memory(&key, Depth::Remove, removed);
        }
        self.cache.setbacks.retain(|key, _| !doomed(key));
        if let Some(tier) = &self.cache.store {
            match schema == self.shared.schema {
                true => tier.behind.take_back_where(&self.store_key(prefix), removed, |_| true),
                false => tier.behind.clear(&self.store_key(prefix), false),
            }
        }
    }

    fn change_in_memory(&self, key: &Key, depth: Depth, removed: Removed) {
        let until = self.cache.removed_until(removed);
        self.cache.flights.invalidate(key, &self.cache.void(depth, removed), || {
            self.cache.setbacks.remove(key);
            match (depth, self.held(&key.name)) {
                (Depth::Remove, None) => {}
                // It was loaded after the removal, which is heard late. What was put then may be gone from the store.
                (Depth::Remove, Some(held)) if held.was_loaded() && self.began_at(&held) > until => {}
                (Depth::Remove, Some(held)) => {
                    // When it was asked for may not be known: then what the store holds now may be from after it.
                    self.note_given(key, &held, removed.asked_at.is_some());
                    self.cache.memory.remove(&self.key(&key.name));
                }
                (Depth::Expire, Some(held)) => self.cache.memory.insert(key.clone(), Arc::new(held.superseded())),
                (Depth::Expire, None) => {}
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
    Tag { depth: Depth, tag: &'a str },
}

impl Subject<'_> {
    fn of(record: &Record) -> Option<Subject<'_>> {
        let (region, rest) = record.key.split_once(':')?;
        if region == tags::REGION {
            let (depth, tag) = tags::mark_of(rest)?;
            return Some(Subject::Tag { depth, tag });
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
        assert_eq!(subject("@tags:expired:a:b"), r#"Some(Tag { depth: Expire, tag: "a:b" })"#);
        assert_eq!(subject("@tags:removed:a"), r#"Some(Tag { depth: Remove, tag: "a" })"#);
        for odd in ["", "prices", "prices:1:a", "prices:v:a", "prices:v1", "@tags:faded:a"] {
            assert_eq!(subject(odd), "None", "{odd}");
        }
    }
}
