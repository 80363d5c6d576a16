//! What the store holds of a key, and how far this process may believe it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::clock::Timestamp;
use crate::entry::{Entry, Freshness, decode};
use crate::flight::{LONGEST, LeaderGuard, Origin};
use crate::region::Region;
use crate::seen::{Seen, Stored};
use crate::store::{Ahead, StoreError};
use crate::verification::Standing;
use crate::write_behind::APART;

impl Region {
    /// What the store holds, if this process may believe it. Never an error: a failing store is a miss.
    pub(crate) async fn read_store(&self, name: &str) -> Stored {
        self.try_read_store(name).await.unwrap_or_else(|why| {
            tracing::trace!(key = self.store_key(name), %why, "read from the store failed");
            Stored::default()
        })
    }

    /// As [`Region::read_store`], with what keeps the store from answering.
    pub(crate) async fn try_read_store(&self, name: &str) -> Result<Stored, StoreError> {
        Ok(self.try_read_store_timed(name).await?.0)
    }

    /// The same, and when the store said it.
    pub(crate) async fn try_read_store_timed(&self, name: &str) -> Result<(Stored, Instant), StoreError> {
        let asked = self.cache.clock.moment();
        let (stored, heard) = self.ask_store_from(name, asked).await?;
        if stored.entry.is_some() {
            self.shared.counters.found_in_store(heard - asked.0);
        }
        Ok((stored, heard))
    }

    /// As [`Region::try_read_store`], uncounted.
    pub(crate) async fn ask_store(&self, name: &str) -> Result<Stored, StoreError> {
        Ok(self.ask_store_from(name, self.cache.clock.moment()).await?.0)
    }

    /// As [`Region::ask_store`], for a caller who looked at the clock just now. The clock is looked at no oftener than has to be:
    /// that costs as much as the checksum.
    async fn ask_store_from(
        &self,
        name: &str,
        mut asked: (Instant, Timestamp),
    ) -> Result<(Stored, Instant), StoreError> {
        let Some(tier) = &self.cache.store else {
            return Ok((Stored::default(), asked.0));
        };
        let (key, deadline) = (self.store_key(name), asked.0 + tier.store.budget().min(LONGEST));
        if !(tier.behind.is_readable(&key) && self.cache.verification.is_listening()) {
            let mut removed_at = None;
            if !tier.behind.readable(&key, deadline).await {
                removed_at = tier.behind.removal_owed_at(&key);
                if removed_at.is_none() && !tier.behind.may_read(&key) {
                    return Ok((Stored { entry: self.waiting(&key), ..Stored::default() }, Instant::now()));
                }
            }
            if let Some(at) = removed_at {
                return Ok((self.put_since(&key, at, deadline).await.unwrap_or_default(), Instant::now()));
            }
            self.cache.verification.listens(deadline).await;
            asked = self.cache.clock.moment();
        }
        let (ahead, (bytes, mut heard)) = tier.store.ahead_and_get(&key, asked, deadline).await?;
        let seen = Seen::of(bytes.as_ref());
        let (Some(bytes), Seen::Value(_)) = (bytes, &seen) else {
            return Ok((Stored { seen, ahead, ..Stored::default() }, heard));
        };
        let (now, policy) = (self.cache.clock.at(heard), &self.shared.policy);
        let mut stored = [self.believe(&key, &bytes, ahead, asked.1, now)];
        let is_unreadable = stored[0].is_none() && decode(&bytes, &key, self.shared.schema).is_err();
        if stored[0].as_ref().is_some_and(|entry| !entry.tags().is_empty()) {
            // That it is not known whether it was invalidated does not say that there is nothing.
            if !self.cache.tags.apply(&tier.store, &mut stored, deadline, now, policy).await {
                return Err(StoreError::Timeout);
            }
            heard = Instant::now();
        }
        let [entry] = stored;
        Ok((Stored { entry, seen, ahead, is_unreadable, unknown: None }, heard))
    }

    /// What another process has put since a removal from `removed_at` that the store is still to be given.
    async fn put_since(&self, key: &str, removed_at: Timestamp, deadline: Instant) -> Result<Stored, StoreError> {
        let Some(tier) = &self.cache.store else { return Ok(Stored::default()) };
        let asked = self.cache.clock.moment();
        let (ahead, (bytes, _)) = tier.store.ahead_and_get(key, asked, deadline).await?;
        let until = ahead.present(removed_at).plus(ahead.at_most_wrong_by * 2);
        let is_later = |entry: &Entry| !entry.was_loaded() && entry.fetch_started_at > until;
        let (now, policy) = (self.cache.clock.now(), &self.shared.policy);
        let mut stored = [bytes.and_then(|bytes| self.believe(key, &bytes, ahead, asked.1, now)).filter(is_later)];
        if !self.cache.tags.apply(&tier.store, &mut stored, deadline, now, policy).await {
            return Err(StoreError::Timeout);
        }
        let [entry] = stored;
        Ok(Stored { entry, ..Stored::default() })
    }

    /// What the store will hold under `key`, which it is not to be believed about yet: memory may have given it up.
    pub(crate) fn waiting(&self, key: &str) -> Option<Entry> {
        let (tier, now) = (self.cache.store.as_ref()?, self.cache.clock.now());
        // What memory has of it was judged already, and another process may have put something later.
        if self.held(key.strip_prefix(&self.shared.prefix)?).is_some() {
            return None;
        }
        let waiting = tier.behind.waiting(key).flatten().filter(|entry| entry.freshness(now) != Freshness::Gone)?;
        Some(waiting.copied())
    }

    /// Decodes what the store gave for `key` when it was asked, unless it is unreadable, of another key, too old `now`, or from
    /// before an invalidation.
    pub(crate) fn believe(
        &self,
        key: &str,
        bytes: &Bytes,
        ahead: Ahead,
        asked_at: Timestamp,
        now: Timestamp,
    ) -> Option<Entry> {
        let mut entry = match decode(bytes, key, self.shared.schema) {
            Ok(entry) => entry,
            Err(why) => {
                if let Some(count) = self.shared.counters.note_unreadable(now) {
                    tracing::warn!(region = self.name(), count, %why, "stored values cannot be read, and count as missing");
                }
                tracing::debug!(key, %why, "a stored value cannot be read");
                return None;
            }
        };
        entry.shift(-ahead.by);
        // The clock may have been set since.
        entry.taken_at = ahead.present(asked_at);
        entry.note_stored(bytes);
        let cleared_at = Timestamp::from_millis(self.shared.cleared_at.load(Ordering::Relaxed));
        let distrusted = self.cache.store.as_ref().map_or(Timestamp::EPOCH, |tier| tier.behind.distrust_before());
        let name = key.strip_prefix(&self.shared.prefix).unwrap_or_default();
        let (bulk_at, expired_by_bulk_at) = self.bulk_at(name);
        let is_before =
            |at: Timestamp, doubt| at > Timestamp::EPOCH && entry.fetch_started_at.plus(doubt) <= ahead.present(at);
        // A put of about the same time that the store holds after the clear came after it.
        let doubt = if entry.was_loaded() { Duration::ZERO } else { ahead.at_most_wrong_by * 2 + APART };
        let invalidated = is_before(distrusted.max(bulk_at), Duration::ZERO) || is_before(cleared_at, doubt);
        if let Some(tier) = &self.cache.store {
            entry = tier.behind.expired(key, entry, ahead);
        }
        let expired_at = Timestamp::from_millis(self.shared.expired_at.load(Ordering::Relaxed)).max(expired_by_bulk_at);
        let expired_at = ahead.present(expired_at);
        if entry.fetch_started_at <= expired_at {
            entry = entry.expired_at(expired_at, &self.shared.policy);
        }
        entry = self.unless_later_was_given(name, entry)?;
        (!invalidated && entry.freshness(now) != Freshness::Gone).then_some(entry)
    }

    /// Ends the flight if the store held a fresh entry; otherwise keeps what it held as last good and goes on.
    pub(crate) fn complete_with_stored(&self, leader: LeaderGuard, stored: Option<Entry>) -> Option<LeaderGuard> {
        let Some(mut entry) = stored.map(Arc::new) else {
            return Some(leader);
        };
        let key = leader.key().clone();
        let mut outdated = false;
        let is_current = leader.write(|| {
            // What memory holds may be younger: the store is written behind, or was not there.
            match self.held(&key.name).filter(|held| self.is_at_least_as_good(held, &entry)) {
                // It was in doubt only because the store was given something older.
                Some(held) if held.is_doubted() => entry = Arc::new(held.believed(entry.taken_at)),
                Some(_) => outdated = true,
                None => {}
            }
            if !outdated {
                self.cache.memory.insert(&key.borrowed(), Arc::clone(&entry));
            }
        });
        if !is_current {
            self.keep_voided(&leader, &entry);
        }
        if outdated {
            return Some(leader);
        }
        match entry.freshness(self.cache.clock.now()) {
            Freshness::Fresh => {
                leader.complete(Ok((entry, Origin::Store)));
                None
            }
            Freshness::Stale => {
                leader.release(Ok((entry, Origin::StaleStore)));
                Some(leader)
            }
            Freshness::Kept => {
                leader.keep(entry);
                Some(leader)
            }
            Freshness::Gone => Some(leader),
        }
    }

    /// Whether what memory holds need not give way to what the store holds.
    pub(crate) fn is_at_least_as_good(&self, held: &Entry, stored: &Entry) -> bool {
        // What was changed elsewhere is older than a put, whatever the clocks say; what may have been, only by its own
        // time, and so are two loads: the earlier one would take its readers back.
        let began_at = self.began_at(held);
        (!held.is_superseded() || (held.was_loaded() && stored.was_loaded()))
            && (began_at > stored.fetch_started_at
                || (began_at == stored.fetch_started_at && !self.may_have_missed(held)))
    }

    /// A time by this process's clock as that was when it read `read_at`, as it would read now: it may have been set
    /// since.
    pub(crate) fn present_of(&self, time: Timestamp, read_at: Timestamp) -> Timestamp {
        let ahead = self.cache.shared_tier().and_then(|tier| tier.store.assumed_ahead());
        ahead.map_or(time, |ahead| ahead.present_of(time, read_at))
    }

    /// When the load of what memory holds began, or its put, by the clock as it tells the time now.
    pub(crate) fn began_at(&self, held: &Entry) -> Timestamp {
        self.present_of(held.fetch_started_at, held.read_at())
    }

    /// Whether another process may have invalidated what memory holds.
    pub(crate) fn may_have_missed(&self, held: &Entry) -> bool {
        matches!(
            self.cache.verification.standing(held, self.cache.clock.now()),
            Standing::Unverified | Standing::Missed
        )
    }
}
