//! What the store is asked to do for each change.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, timeout};

use super::change::{Change, Expiry, Fill, Form, Held, Removal};
use super::sequence::{at_about, is_later};
use super::{Others, WriteBehind};
use crate::clock::Timestamp;
use crate::entry::{Entry, Retimed, decode, encode, started_at, with_times};
use crate::lease::Claim;
use crate::policy::FOREVER_TTL;
use crate::publisher::Kind;
use crate::store::{Ahead, Store, StoreError, Swap, Version};

const PAGE: usize = 500;
/// Bodies up to this many bytes, unless a slow method compresses them, are encoded without leaving the thread.
const ENCODED_IN_PLACE: usize = 64 << 10;

/// How long the end of the log is asked for, and how long a put waits until it is heard up to there.
const END_WITHIN: Duration = Duration::from_millis(100);
const HEARD_WITHIN: Duration = Duration::from_millis(500);
/// Who heard the others so lately has heard all.
const A_MOMENT_AGO: Duration = Duration::from_millis(50);
/// How often a change that the store holds something else for by then is tried again at once.
pub(super) const TRIES: usize = 4;
/// Values that are read at once, of a late removal or of a tag.
pub(super) const READ_TOGETHER: usize = 20;

/// A stored entry whose freshness is ended, as it is written: nothing where that ends it altogether.
pub(super) struct Ended {
    started_at: Timestamp,
    pub(super) to: Option<(Bytes, Duration)>,
}

impl WriteBehind {
    async fn apply(&self, key: &str, change: Change) -> Result<(), StoreError> {
        let ahead = self.store.ahead().await?;
        match change {
            Change::Remove(removal) if removal.is_late => {
                self.remove_older(&[key.to_owned()], removal.at, ahead).await.map(drop)
            }
            Change::Remove(removal) if self.store.log().is_some() => {
                match self.change_at_once(key, removal.at, None, ahead).await {
                    Err(StoreError::Late) => self.remove_older(&[key.to_owned()], removal.at, ahead).await.map(drop),
                    ended => ended,
                }
            }
            Change::Remove(_) => self.store.remove(&[key.to_owned()]).await.map(drop),
            Change::RemovePrefix(removal) => self.remove_prefix(&[key, ":"].concat(), removal, ahead).await,
            Change::Expire(expiry) => self.expire(key, &expiry, ahead).await,
            Change::Put(fill) => {
                let (started_at, replaces) = (fill.entry.fetch_started_at, fill.replaces);
                if !self.has_heard_all(&fill).await {
                    self.queue().untried.insert(key.to_owned());
                    return Err(StoreError::Unavailable(
                        "the invalidations of other processes were not heard yet".to_owned(),
                    ));
                }
                if fill.replaces && !self.is_still_owed(key) {
                    return Ok(());
                }
                let expiry = fill.expiry.clone();
                let ended = match fill.is_late {
                    true => self.put_over_older(key, fill.entry, fill.form, ahead).await,
                    false => self.put(key, &fill, ahead).await,
                };
                let ended = match expiry {
                    Some(expiry) if ended.is_ok() => self.expire(key, &expiry, ahead).await,
                    _ => ended,
                };
                self.nothing_older(key, ended, replaces, started_at, ahead).await
            }
            // Another process may have marked it later.
            Change::Mark(fill) => self.put_over_older(key, fill.entry, fill.form, ahead.at_the_latest()).await,
            Change::PutHeld(held) => {
                let ended = match held.entry.upgrade() {
                    Some(entry) => self.put_over_older(key, entry, held.form, ahead).await,
                    None => self.put_again(key, &held, ahead).await,
                };
                self.nothing_older(key, ended, true, held.fetch_started_at, ahead).await
            }
        }
    }

    /// Whether all was heard that the others have said until a moment ago: they may have removed the key of a put that the store did not
    /// take, which says nothing of that any more. Who never heard them, or may not, does not wait for it.
    async fn has_heard_all(&self, fill: &Fill) -> bool {
        let Some(log) = self.store.log() else { return true };
        let Some(failed_at) = fill.failed_at.filter(|_| fill.is_late) else { return true };
        let others = self.others.borrow().clone();
        let Some(last_read_at) = others.last_read_at else { return true };
        // Where many have much to tell, each put would wait for the next words of all.
        if others.is_refused || (last_read_at > failed_at && last_read_at.elapsed() < A_MOMENT_AGO) {
            return true;
        }
        let asked_at = Instant::now();
        // No caller bounds the time of this call.
        let Ok(Ok(end)) = timeout(END_WITHIN, log.end(&self.publisher.name)).await else { return false };
        let mut verification = self.others.subscribe();
        let has_heard = |others: &Others| others.position == end || others.last_read_at.is_some_and(|at| at > asked_at);
        timeout(HEARD_WITHIN, verification.wait_for(has_heard)).await.is_ok_and(|heard| heard.is_ok())
    }

    /// Whether a put that is being written is to be written again if it fails: not once it is known to be removed.
    fn is_still_owed(&self, key: &str) -> bool {
        self.queue().active.get(key).is_none_or(Option::is_some)
    }

    /// What the store does not take must at least leave nothing older behind. It waits until the store takes it.
    async fn nothing_older(
        &self,
        key: &str,
        ended: Result<(), StoreError>,
        replaces: bool,
        than: Timestamp,
        ahead: Ahead,
    ) -> Result<(), StoreError> {
        if replaces
            && matches!(ended, Err(StoreError::Refused(_)))
            && self.remove_older(&[key.to_owned()], than, ahead).await.is_ok_and(|has_removed| has_removed)
        {
            self.tell(Kind::Changed, &[(key, None)]).await;
        }
        ended
    }

    /// Ends the freshness of what the store holds, unless that was loaded later.
    async fn expire(&self, key: &str, expiry: &Expiry, ahead: Ahead) -> Result<(), StoreError> {
        let at = ahead.stored(expiry.at);
        for _ in 0..TRIES {
            let Some(bytes) = self.store.get(key).await? else { return Ok(()) };
            if let Some(claim) = Claim::decode(&bytes) {
                let expected = Some(Version::of(&bytes));
                if claim.started_at > at || self.store.swap(&Swap { key: key.to_owned(), expected, to: None }).await? {
                    return Ok(());
                }
                continue;
            }
            // Bytes that cannot be read are not served by this version, and may be another's.
            let Some(Ended { started_at, to }) = self.freshness_ended(&bytes, key, expiry, ahead) else {
                return Ok(());
            };
            if started_at > at {
                return Ok(());
            }
            if self.store.swap(&Swap { key: key.to_owned(), expected: Some(Version::of(&bytes)), to }).await? {
                return Ok(());
            }
        }
        Err(StoreError::Busy)
    }

    /// The entry in `bytes` without its freshness; `None` where they are none of this version.
    pub(super) fn freshness_ended(&self, bytes: &Bytes, key: &str, expiry: &Expiry, ahead: Ahead) -> Option<Ended> {
        let at = ahead.stored(expiry.at);
        let ended = with_times(bytes, key, expiry.schema, |times| times.ended(at, &expiry.policy));
        let Retimed { bytes, started_at, keep_until } = ended?;
        let ttl = self.ttl(keep_until.shifted(-ahead.by));
        Some(Ended { started_at, to: (!ttl.is_zero()).then_some((bytes, ttl)) })
    }

    /// Removes what was loaded or put at `than` at the latest. Says whether there was any.
    async fn remove_older(&self, keys: &[String], than: Timestamp, ahead: Ahead) -> Result<bool, StoreError> {
        let mut has_removed = false;
        for keys in keys.chunks(READ_TOGETHER) {
            let held = self.store.get_many(keys).await?;
            for (key, held) in keys.iter().zip(held) {
                has_removed |= self.remove_if_older(key, held, than, ahead).await?;
            }
        }
        Ok(has_removed)
    }

    /// The same for one key, which held this a moment ago. If it is not the same any more, another process may have expired what
    /// was there: that is as old as it was.
    async fn remove_if_older(
        &self,
        key: &str,
        mut held: Option<Bytes>,
        than: Timestamp,
        ahead: Ahead,
    ) -> Result<bool, StoreError> {
        for _ in 0..TRIES {
            let Some(bytes) = held.filter(|bytes| !is_later(bytes, than, ahead)) else { return Ok(false) };
            let swap = Swap { key: key.to_owned(), expected: Some(Version::of(&bytes)), to: None };
            if self.store.swap(&swap).await? {
                return Ok(true);
            }
            held = self.store.get(key).await?;
        }
        Err(StoreError::Busy)
    }

    /// Writes an entry that memory has given up meanwhile: what the store holds, with the entry's times, if that is the same
    /// answer. Otherwise the answer is lost, and must at least leave nothing older behind.
    async fn put_again(&self, key: &str, held: &Held, ahead: Ahead) -> Result<(), StoreError> {
        let mut stored = self.store.get(key).await?.and_then(|bytes| decode(&bytes, key, held.form.schema).ok());
        // By the clock as it was when memory took in what it has given up.
        stored.iter_mut().for_each(|stored| {
            stored.shift(-ahead.by_at(held.written_at));
            stored.taken_at = held.written_at;
        });
        match stored.filter(|stored| held.is_of(stored)) {
            Some(mut stored) => {
                stored.times = held.times;
                self.put_over_older(key, Arc::new(stored), held.form, ahead).await
            }
            None => {
                self.remove_older(&[key.to_owned()], held.fetch_started_at, ahead).await?;
                self.lost();
                Ok(())
            }
        }
    }

    /// Writes an entry late: not where something is that was put later.
    async fn put_over_older(&self, key: &str, entry: Arc<Entry>, form: Form, ahead: Ahead) -> Result<(), StoreError> {
        let (started, ttl) = (entry.fetch_started_at, self.ttl_of(&entry, ahead));
        let to = self.encoded(key, entry, form, ahead).await.filter(|_| !ttl.is_zero()).map(|bytes| (bytes, ttl));
        for _ in 0..TRIES {
            let held = self.store.get(key).await?;
            // The load of a claim brings nothing that was put later.
            let is_newer = |bytes: &Bytes| started_at(bytes).is_some() && is_later(bytes, started, ahead);
            if held.as_ref().is_some_and(is_newer) {
                return Ok(());
            }
            let expected = Some(self.store.while_waited_for(held.as_deref().map(Version::of), ahead));
            if self.store.swap(&Swap { key: key.to_owned(), expected, to: to.clone() }).await? {
                return Ok(());
            }
        }
        Err(StoreError::Busy)
    }

    async fn put(&self, key: &str, fill: &Fill, ahead: Ahead) -> Result<(), StoreError> {
        let ttl = self.ttl_of(&fill.entry, ahead);
        let bytes = self.encoded(key, Arc::clone(&fill.entry), fill.form, ahead).await;
        let to = bytes.filter(|_| !ttl.is_zero()).map(|bytes| (bytes, ttl));
        match (fill.fence(), to) {
            (Some(lease), to) if lease.is_of(key) => lease.write(to).await,
            (Some(lease), _) if !lease.stands().await? => Ok(()),
            (_, to) if fill.replaces && self.store.log().is_some() => {
                match self.change_at_once(key, fill.entry.fetch_started_at, to, ahead).await {
                    Err(StoreError::Late) => self.put_over_older(key, Arc::clone(&fill.entry), fill.form, ahead).await,
                    ended => ended,
                }
            }
            (_, Some((bytes, ttl))) => self.store.put(key, bytes, ttl).await,
            (_, None) => self.store.remove(&[key.to_owned()]).await.map(drop),
        }
    }

    /// Removes keys, but for what came after the removal was asked for; see [`WriteBehind::change_at_once`].
    async fn remove_unless_later(&self, keys: &[(String, Timestamp)], ahead: Ahead) -> Result<(), StoreError> {
        if keys.is_empty() {
            return Ok(());
        }
        let removals: Vec<_> = keys.iter().map(|(key, at)| (key.clone(), self.no_later_than(*at, ahead))).collect();
        let names = || keys.iter().map(|(key, _)| key.clone()).collect::<Vec<String>>();
        if self.store.log().is_none() {
            return self.store.remove(&names()).await.map(drop);
        }
        match self.store.remove_if(&removals).await {
            // A user without scripts.
            Err(StoreError::Refused(_)) => self.store.remove(&names()).await.map(drop),
            ended => ended.map(drop),
        }
    }

    /// Makes a change that was asked for at `at`, unless the key holds what came after it by more than the clocks may differ:
    /// the store may run a command long after this process gave up waiting for it.
    ///
    /// The order in which changes arrive is the one in which they were asked for only as long as none is held up on its way.
    /// One that arrives later than the clocks may differ is not made: [`StoreError::Late`]. Its time must then be compared
    /// exactly with what the key holds.
    async fn change_at_once(
        &self,
        key: &str,
        at: Timestamp,
        to: Option<(Bytes, Duration)>,
        ahead: Ahead,
    ) -> Result<(), StoreError> {
        let limit = at_about(at, ahead);
        if ahead.stored(self.clock.now()) > limit {
            return Err(StoreError::Late);
        }
        let expected = Some(self.store.while_waited_for_by(Version::no_later_than(limit), limit, ahead));
        match self.store.swap(&Swap { key: key.to_owned(), expected, to: to.clone() }).await {
            // A user without scripts.
            Err(StoreError::Refused(_)) => match to {
                Some((bytes, ttl)) => self.store.put(key, bytes, ttl).await,
                None => self.store.remove(&[key.to_owned()]).await.map(drop),
            },
            ended => ended.map(drop),
        }
    }

    /// What a change that was asked for at `at` may replace, as far as the clocks tell.
    fn no_later_than(&self, at: Timestamp, ahead: Ahead) -> Version {
        self.store.while_waited_for(Some(Version::no_later_than(at_about(at, ahead))), ahead)
    }

    /// How long the store is to keep an entry.
    pub(super) fn ttl_of(&self, entry: &Entry, ahead: Ahead) -> Duration {
        self.ttl(ahead.present_of(entry.times.keep_until, entry.read_at()))
    }

    fn ttl(&self, keep_until: Timestamp) -> Duration {
        if keep_until == Timestamp::FOREVER { FOREVER_TTL } else { keep_until.since(self.clock.now()) }
    }

    /// The entry as bytes; `None` where it has no form that the store takes.
    pub(super) async fn encoded(&self, key: &str, entry: Arc<Entry>, form: Form, ahead: Ahead) -> Option<Bytes> {
        let length = entry.body.len();
        let is_slow = length > form.compress_over && !entry.packs_quickly();
        let stored_under = key.to_owned();
        let encode = move || {
            let ahead = ahead.by_at(entry.read_at());
            let bytes = encode(&entry, &stored_under, form.schema, form.compress_over, ahead)?;
            entry.note_stored(&bytes);
            Some(bytes)
        };
        // Packing a large body takes milliseconds, too long for a thread that others share.
        let encoded = match length > ENCODED_IN_PLACE || is_slow {
            true => tokio::task::spawn_blocking(encode).await.ok().flatten(),
            false => encode(),
        };
        let largest = self.store.largest_value().unwrap_or(u64::MAX);
        encoded.filter(|bytes| bytes.len() as u64 <= largest)
    }

    /// Makes some changes; says how each ended.
    pub(super) async fn apply_all(&self, mut changes: Vec<(String, Change)>) -> Vec<Result<(), StoreError>> {
        if changes.len() == 1 {
            let Some((key, change)) = changes.pop() else { return Vec::new() };
            return vec![self.apply(&key, change).await];
        }
        // The queue gives several at once of removals only.
        let at = |change: &Change| change.removal().map_or(Timestamp::EPOCH, |removal| removal.at);
        let removals: Vec<_> = changes
            .into_iter()
            .map(|(key, change)| {
                let at = at(&change);
                (key, at)
            })
            .collect();
        let ahead = match self.store.ahead().await {
            Ok(ahead) => ahead,
            Err(why) => return vec![Err(why); removals.len()],
        };
        match self.remove_unless_later(&removals, ahead).await {
            // Some of them lie where they can be reached.
            Err(StoreError::PartlyUnavailable(_)) => {
                let mut ended = Vec::with_capacity(removals.len());
                for removal in removals {
                    ended.push(self.remove_unless_later(&[removal], ahead).await);
                }
                ended
            }
            ended => vec![ended; removals.len()],
        }
    }

    /// Tells the other processes what the store has taken note of, and when it was asked for.
    pub(super) async fn tell(&self, kind: Kind, keys: &[(&str, Option<Timestamp>)]) {
        match kind {
            Kind::Cleared => {
                let prefixes: Vec<_> = keys.iter().map(|(key, at)| ([key, ":"].concat(), *at)).collect();
                self.publisher
                    .publish(&self.store, kind, prefixes.iter().map(|(prefix, at)| (prefix.as_str(), *at)))
                    .await;
            }
            _ => {
                self.publisher.publish(&self.store, kind, keys.iter().copied()).await;
            }
        }
    }

    async fn remove_prefix(&self, prefix: &str, removal: Removal, ahead: Ahead) -> Result<(), StoreError> {
        let mut cursor = None;
        loop {
            let page = self.store.list(prefix, cursor, PAGE).await?;
            match removal.is_late {
                true => drop(self.remove_older(&page.keys, removal.at, ahead).await?),
                false => {
                    let removals: Vec<_> = page.keys.into_iter().map(|key| (key, removal.at)).collect();
                    self.remove_unless_later(&removals, ahead).await?;
                }
            }
            cursor = page.next;
            if cursor.is_none() {
                return Ok(());
            }
        }
    }
}
