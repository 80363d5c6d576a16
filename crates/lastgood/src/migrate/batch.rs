//! One batch of keys: read, compared with the target, written and read back.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;

use super::patience::Patience;
use super::{Counts, Migration, Side, Stopped};
use crate::clock::Timestamp;
use crate::entry::{Stamp, Unreadable, stamp, under_key};
use crate::policy::FOREVER_TTL;
use crate::store::{Store, StoreError, Swap, Version};
use crate::tags;

/// How often a key is tried that others change at the same time.
const TRIES: usize = 4;

/// What became of a batch.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) counts: Counts,
    /// Keys of the target that failed, with the reasons.
    pub(super) failures: Vec<(String, String)>,
    pub(super) bytes_read: u64,
}

/// An entry to be copied.
struct Candidate {
    /// Its key at the target.
    key: String,
    bytes: Bytes,
    stamp: Stamp,
}

/// The decision about a candidate.
#[derive(Debug)]
enum Verdict {
    Write,
    Present,
    Newer,
    Occupied,
}

/// What was done with it.
enum Done {
    Written,
    Left(Verdict),
    Expired,
    Failed(String),
}

impl Batch {
    pub(super) async fn copy(of: &Migration, patience: &Patience<'_>, keys: &[String]) -> Result<Batch, Stopped> {
        let mut batch = Batch::default();
        let values = patience.wait_for(Side::Source, || of.from.get_many(keys)).await?;
        let candidates = batch.candidates(of, keys, values);
        let target = Target { store: &*of.to, patience, of };
        let held = target.get_many(&candidates).await?;
        if of.dry_run {
            for (one, held) in candidates.iter().zip(held) {
                match one.verdict(held.as_deref()) {
                    Verdict::Write => batch.count_copied(one),
                    left => batch.count_left(&left),
                }
            }
            return Ok(batch);
        }
        let writes = candidates.iter().zip(held).map(|(one, held)| target.write(one, held));
        let mut written = Vec::new();
        for (one, done) in candidates.iter().zip(join_all(writes).await) {
            match done? {
                Done::Written => written.push(one),
                Done::Left(verdict) => batch.count_left(&verdict),
                Done::Expired => batch.counts.expired += 1,
                Done::Failed(why) => batch.fail(one, why),
            }
        }
        batch.verify(&target, &written).await?;
        Ok(batch)
    }

    /// The entries among the values; the others are counted.
    fn candidates(&mut self, of: &Migration, keys: &[String], values: Vec<Option<Bytes>>) -> Vec<Candidate> {
        let now = of.clock.now();
        let mut candidates = Vec::with_capacity(keys.len());
        for (key, value) in keys.iter().zip(values) {
            self.counts.read += 1;
            let Some(bytes) = value else {
                self.counts.expired += 1;
                continue;
            };
            self.bytes_read += bytes.len() as u64;
            match stamp(&bytes, key, is_mark(of, key)) {
                Ok(stamp) if stamp.keep_until <= now => self.counts.expired += 1,
                Ok(stamp) => {
                    let to = of.target_key(key);
                    let bytes = if to == *key { bytes } else { under_key(bytes, &to) };
                    candidates.push(Candidate { key: to, bytes, stamp });
                }
                Err(Unreadable::Outdated) => self.counts.outdated += 1,
                Err(_) => self.counts.unreadable += 1,
            }
        }
        candidates
    }

    fn count_left(&mut self, verdict: &Verdict) {
        match verdict {
            Verdict::Newer => self.counts.newer += 1,
            Verdict::Occupied => self.counts.occupied += 1,
            Verdict::Present | Verdict::Write => self.counts.present += 1,
        }
    }

    fn count_copied(&mut self, one: &Candidate) {
        self.counts.copied += 1;
        self.counts.bytes += one.bytes.len() as u64;
    }

    fn fail(&mut self, one: &Candidate, why: String) {
        self.counts.failed += 1;
        self.failures.push((one.key.clone(), why));
    }

    /// Reads back what was written.
    async fn verify(&mut self, target: &Target<'_>, written: &[&Candidate]) -> Result<(), Stopped> {
        let keys: Vec<String> = written.iter().map(|one| one.key.clone()).collect();
        let held = target.read(&keys).await?;
        for (one, held) in written.iter().zip(held) {
            match held {
                Some(held) if held == one.bytes => self.count_copied(one),
                // A process that uses the target was faster.
                Some(held) if matches!(one.verdict(Some(&held)), Verdict::Newer | Verdict::Present) => {
                    self.count_copied(one);
                }
                Some(_) => self.fail(one, "the target holds something else than was written".to_owned()),
                None if one.ttl(target.of.clock.now()).is_zero() => self.counts.expired += 1,
                None => {
                    self.fail(one, "the target did not keep it: it is full and evicts, or it was removed".to_owned())
                }
            }
        }
        Ok(())
    }
}

/// Marks of tags are read in every version.
fn is_mark(of: &Migration, key: &str) -> bool {
    let name = key.strip_prefix(&of.namespace).and_then(|rest| rest.strip_prefix(':'));
    name.is_some_and(|name| name.starts_with(tags::REGION))
}

impl Candidate {
    fn verdict(&self, held: Option<&[u8]>) -> Verdict {
        let Some(held) = held else { return Verdict::Write };
        if held == self.bytes {
            return Verdict::Present;
        }
        match stamp(held, &self.key, true) {
            Ok(held) if held.started_at > self.stamp.started_at => Verdict::Newer,
            // The same answer; an expiry, which shortens its times, is kept.
            Ok(held) if held.started_at == self.stamp.started_at && held.fresh_until <= self.stamp.fresh_until => {
                Verdict::Present
            }
            Ok(_) => Verdict::Write,
            Err(_) => Verdict::Occupied,
        }
    }

    fn ttl(&self, now: Timestamp) -> Duration {
        match self.stamp.keep_until {
            Timestamp::FOREVER => FOREVER_TTL,
            until => until.since(now),
        }
    }
}

struct Target<'a> {
    store: &'a dyn Store,
    patience: &'a Patience<'a>,
    of: &'a Migration,
}

impl Target<'_> {
    async fn read(&self, keys: &[String]) -> Result<Vec<Option<Bytes>>, Stopped> {
        self.patience.wait_for(Side::Target, || self.store.get_many(keys)).await
    }

    async fn get_many(&self, candidates: &[Candidate]) -> Result<Vec<Option<Bytes>>, Stopped> {
        let keys: Vec<String> = candidates.iter().map(|one| one.key.clone()).collect();
        self.read(&keys).await
    }

    /// Writes an entry, unless what the target holds by then is newer.
    async fn write(&self, one: &Candidate, mut held: Option<Bytes>) -> Result<Done, Stopped> {
        for attempt in 0..TRIES {
            match one.verdict(held.as_deref()) {
                Verdict::Write => {}
                // An attempt whose answer was lost.
                Verdict::Present if attempt > 0 => return Ok(Done::Written),
                left => return Ok(Done::Left(left)),
            }
            let ttl = one.ttl(self.of.clock.now());
            if ttl.is_zero() {
                return Ok(Done::Expired);
            }
            let expected = held.as_deref().map(Version::of);
            let swap = Swap { key: one.key.clone(), expected, to: Some((one.bytes.clone(), ttl)) };
            match self.patience.wait_for(Side::Target, || self.store.swap(&swap)).await {
                Ok(true) => return Ok(Done::Written),
                Ok(false) => held = self.patience.wait_for(Side::Target, || self.store.get(&one.key)).await?,
                Err(Stopped { error: StoreError::Refused(why), .. }) => return Ok(Done::Failed(why)),
                Err(stopped) => return Err(stopped),
            }
        }
        // It looks empty and cannot be written: another program keeps something of another type there.
        Ok(Done::Left(Verdict::Occupied))
    }
}
