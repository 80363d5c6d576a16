//! How a load of a region gets its lease, by what it found in the store.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout_at;

use crate::clock::Timestamp;
use crate::flight::after;
use crate::lease::{Approach, Claim, Next, Parts, Right, TERM};
use crate::region::Region;
use crate::seen::{Seen, Stored};
use crate::shared::Tier;
use crate::store::{Ahead, Store, StoreError, Swap, Version};

/// How often the store may refuse a claim although the key holds nothing that can be read: another program's value of
/// another type lies there.
const TRIES: usize = 3;

impl Region {
    /// How a load of `name` goes on that found this in the store.
    pub(crate) async fn lease(&self, name: &str, stored: &Stored, approach: &mut Approach) -> Next {
        let Some(tier) = self.cache.shared_tier() else { return Next::Load(Right::Alone) };
        let (leases, key) = (&self.cache.leases, self.store_key(name));
        let fence = match &stored.seen {
            Seen::Unread => return Next::Load(Right::Unfenced),
            Seen::Nothing => None,
            Seen::Value(ends) => Some(ends.version()),
            Seen::Claimed(claim) if self.is_overtaken(tier, &key, claim, stored.ahead) => {
                Some(Version::of(&claim.encode()))
            }
            Seen::Claimed(_) => return approach.wait(&leases.ends, &tier.store, &key).await,
        };
        let lease = Parts::of(&tier.store, leases, key.clone());
        if !leases.are_on {
            return Next::Load(Right::Leased(Arc::new(lease.unclaimed(fence))));
        }
        let claim = leases.claim(stored.ahead.stored(self.cache.clock.now())).encode();
        // A value stays where it is, for others to serve.
        let (place, expected, fence) = match (&stored.seen, fence) {
            (Seen::Value(ends), fence) => (leases.key_of(&key, &ends.version()), None, fence),
            (_, expected) => (key.clone(), expected, Some(Version::of(&claim))),
        };
        let mut swap = Swap { key: place, expected, to: Some((claim, TERM)) };
        let claimed = timeout_at(after(tier.store.budget()), self.claim(tier, &key, &mut swap, stored)).await;
        match claimed.unwrap_or(Err(StoreError::Timeout)) {
            Ok(true) => Next::Load(Right::Leased(Arc::new(lease.claimed(fence, swap)))),
            Ok(false) if stored.seen == Seen::Nothing && approach.refused >= TRIES => Next::Load(Right::Unfenced),
            Ok(false) if stored.seen == Seen::Nothing => {
                approach.refused += 1;
                Next::LookAgain
            }
            Ok(false) => approach.wait(&leases.ends, &tier.store, &key).await,
            Err(why) => {
                tier.behind.log_unclaimed(&key, &why);
                Next::Load(Right::Unfenced)
            }
        }
    }

    /// Has a claim put into its place, also where one lies that an invalidation has overtaken.
    async fn claim(&self, tier: &Tier, key: &str, swap: &mut Swap, stored: &Stored) -> Result<bool, StoreError> {
        if tier.store.swap(swap).await? {
            return Ok(true);
        }
        if !matches!(stored.seen, Seen::Value(_)) || self.cache.tags.marked_at() == Timestamp::EPOCH {
            return Ok(false);
        }
        let other = tier.store.get(&swap.key).await?.and_then(|bytes| Claim::decode(&bytes));
        match other.filter(|other| self.is_overtaken(tier, key, other, stored.ahead)) {
            Some(other) => {
                swap.expected = Some(Version::of(&other.encode()));
                tier.store.swap(swap).await
            }
            None => Ok(false),
        }
    }

    /// How long a load may wait for another process's: half of the hard timeout, because it may have to load itself in the
    /// rest of that.
    pub(crate) fn longest_wait(&self) -> Duration {
        let is_shared = self.cache.shared_tier().is_some();
        if is_shared && self.cache.leases.are_on { self.shared.policy.hard_timeout / 2 } else { Duration::ZERO }
    }

    /// What the store would say of a key that is taken for empty, without being asked.
    pub(crate) async fn presumed_empty(&self, name: &str) -> Stored {
        let Some(tier) = &self.cache.store else { return Stored::default() };
        let deadline = after(tier.store.budget());
        let is_readable = tier.behind.readable(&self.store_key(name), deadline).await;
        match timeout_at(deadline, tier.store.ahead()).await {
            Ok(Ok(ahead)) if is_readable => Stored { seen: Seen::Nothing, ahead, ..Stored::default() },
            _ => Stored::default(),
        }
    }

    /// Whether an invalidation came after a load had begun that the store does not know of yet, or not by its key.
    fn is_overtaken(&self, tier: &Tier, key: &str, claim: &Claim, ahead: Ahead) -> bool {
        let marked_at = self.cache.tags.marked_at();
        let at = tier.behind.expired_at(key).unwrap_or_default().max(marked_at);
        at > Timestamp::EPOCH && claim.started_at <= ahead.stored(at)
    }
}
