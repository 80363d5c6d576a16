//! Leases: one load of a key at a time among all processes that share a store, and no write of a load that something
//! overtook.
//!
//! A load that finds nothing in the store leaves a [`Claim`] under the key. Whatever invalidates the key takes the claim
//! away with it, in one step, and the load's answer is written only where the claim still lies ([`Store::swap`]). A load
//! that finds an entry which is no longer fresh leaves the entry, for others to serve meanwhile; its claim lies under a
//! key named after that entry, and its answer is written only where the entry still lies.
//!
//! A holder renews its claim. One that crashed, hangs or was paused does not, and another load takes its place; what it
//! brings after that is written nowhere. Loads that wait hear of the end by a log ([`Ends`]) and do not ask the store
//! meanwhile.
//!
//! Without a claim nothing is written: with the store away each process loads for itself, into memory.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};

pub(crate) use self::claim::Claim;
pub(crate) use self::ends::Ends;
use self::ends::Wait;
use crate::cache::Tier;
use crate::clock::Timestamp;
use crate::flight::after;
use crate::read::{Seen, Stored};
use crate::region::Region;
use crate::store::{Ahead, GuardedStore, Store, StoreError, Swap, Version};

mod claim;
mod ends;

/// How long a claim stands that is not renewed: so long the death of its holder keeps the others waiting.
const TERM: Duration = Duration::from_secs(2);
const RENEWED_EVERY: Duration = Duration::from_millis(500);
/// How often the store may refuse a claim although the key holds nothing that can be read: another program's value of
/// another type lies there.
const TRIES: usize = 3;

/// The leases of one cache.
pub(crate) struct Leases {
    /// Whether loads of other processes are waited for. If not, writes are fenced all the same.
    are_on: bool,
    /// What the keys of claims begin with that lie apart from what is loaded.
    prefix: String,
    node: u64,
    next: AtomicU64,
    ends: Arc<Ends>,
}

/// What a load may do with its answer.
#[derive(Clone)]
pub(crate) enum Right {
    /// Write it: no other process shares the store.
    Alone,
    /// Write it unless something overtook the load.
    Leased(Arc<Lease>),
    /// Keep it in memory. What the store holds by then may be later.
    Unfenced,
}

impl Right {
    pub(crate) fn lease(&self) -> Option<&Arc<Lease>> {
        match self {
            Right::Leased(lease) => Some(lease),
            Right::Alone | Right::Unfenced => None,
        }
    }
}

/// What comes next for a load that wants a lease.
pub(crate) enum Next {
    Load(Right),
    /// Another process's load has ended, or its claim has: the store is to be looked at once more.
    LookAgain,
}

/// A load's way to its lease.
pub(crate) struct Approach {
    began: Instant,
    /// Until when it may wait for others' loads; then it loads without a lease.
    deadline: Instant,
    wait: Option<Wait>,
    refused: usize,
}

impl Leases {
    pub(crate) fn new(namespace: &str, node: u64, are_on: bool) -> Leases {
        let (prefix, ends) = (format!("{namespace}:@claims:"), Arc::new(Ends::new(namespace)));
        Leases { are_on, prefix, node, next: AtomicU64::new(1), ends }
    }

    fn claim(&self, started_at: Timestamp) -> Claim {
        Claim { started_at, node: self.node, number: self.next.fetch_add(1, Ordering::Relaxed) }
    }

    /// Where the claim lies of a load that replaces a value. Short, whatever the key; two that share it share their loads'
    /// order, and nothing else.
    fn key_of(&self, key: &str, value: &Version) -> String {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one((key, value));
        format!("{}{hash:016x}", self.prefix)
    }
}

impl Approach {
    /// Waits for other processes' loads for at most `within`.
    pub(crate) fn waiting(within: Duration) -> Approach {
        Approach { began: Instant::now(), deadline: after(within), wait: None, refused: 0 }
    }

    /// Takes a lease only if no other process has it.
    pub(crate) fn at_once() -> Approach {
        Approach { began: Instant::now(), deadline: Instant::now(), wait: None, refused: 0 }
    }

    /// Whether it waited for another process's load.
    pub(crate) fn has_waited(&self) -> bool {
        self.wait.is_some()
    }

    /// What the wait has left of the time for a load.
    pub(crate) fn left(&self, hard_timeout: Duration) -> Duration {
        if self.has_waited() { hard_timeout.saturating_sub(self.began.elapsed()) } else { hard_timeout }
    }

    /// Waits until what the store holds is worth another look.
    async fn wait(&mut self, ends: &Arc<Ends>, store: &Arc<GuardedStore>, key: &str) -> Next {
        if Instant::now() >= self.deadline {
            return Next::Load(Right::Unfenced);
        }
        let until = self.deadline.min(after(TERM));
        match &mut self.wait {
            Some(wait) => wait.ended(until).await,
            // The load may have ended before its end could be heard.
            None => self.wait.insert(ends.wait_for(store, key)).is_heard(until).await,
        }
        Next::LookAgain
    }
}

impl Region {
    /// How a load of `name` goes on that found this in the store.
    pub(crate) async fn lease(&self, name: &str, stored: &Stored, approach: &mut Approach) -> Next {
        let Some(tier) = self.cache.shared_tier() else { return Next::Load(Right::Alone) };
        let (leases, key) = (&self.cache.leases, self.store_key(name));
        let fence = match &stored.seen {
            Seen::Unread => return Next::Load(Right::Unfenced),
            Seen::Nothing => None,
            Seen::Value(version) => Some(version.clone()),
            Seen::Claimed(claim) if self.is_overtaken(tier, &key, claim, stored.ahead) => {
                Some(Version::of(&claim.encode()))
            }
            Seen::Claimed(_) => return approach.wait(&leases.ends, &tier.store, &key).await,
        };
        let lease = Parts::of(tier, leases, key.clone());
        if !leases.are_on {
            return Next::Load(Right::Leased(Arc::new(lease.unclaimed(fence))));
        }
        let claim = leases.claim(stored.ahead.stored(self.cache.clock.now())).encode();
        // A value stays where it is, for others to serve.
        let (place, expected, fence) = match (&stored.seen, fence) {
            (Seen::Value(version), fence) => (leases.key_of(&key, version), None, fence),
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

    /// How long a load may wait for another process's: half of the hard timeout, because it may have to load itself in what
    /// is left of that.
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

/// The right to write what a load of one key brings, for as long as nothing overtakes it.
pub(crate) struct Lease {
    parts: Parts,
    /// What the key must hold when the answer is written.
    fence: Option<Version>,
    /// What renews the claim, and where that lies.
    claim: Option<Swap>,
    /// Held while the answer is being written, and while it is looked whether something overtook the load.
    state: Mutex<State>,
    renewal: Option<JoinHandle<()>>,
}

/// What a lease needs to end.
struct Parts {
    store: Arc<GuardedStore>,
    ends: Arc<Ends>,
    /// The key that is loaded.
    key: String,
}

/// What became of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It was not written yet.
    Open,
    /// The store has it.
    Written,
    /// The store has something later.
    Overtaken,
}

impl Lease {
    /// Whether it is of `key`; else of a load that brought `key` as well.
    pub(crate) fn is_of(&self, key: &str) -> bool {
        self.parts.key == key
    }

    /// Writes the answer, or nothing where it has no form for the store, unless something overtook the load.
    pub(crate) async fn write(&self, to: Option<(Bytes, Duration)>) -> Result<(), StoreError> {
        let mut state = self.state.lock().await;
        let swap = Swap { key: self.parts.key.clone(), expected: self.fence.clone(), to };
        *state = match self.parts.store.swap(&swap).await? {
            true => State::Written,
            false => {
                tracing::debug!(key = %swap.key, "something overtook the load: its answer is not written");
                State::Overtaken
            }
        };
        Ok(())
    }

    /// Whether nothing overtook the load so far, for what it brought besides its own key.
    pub(crate) async fn stands(&self) -> Result<bool, StoreError> {
        let state = self.state.lock().await;
        match (*state, &self.claim) {
            (State::Written, _) => Ok(true),
            (State::Overtaken, _) => Ok(false),
            (State::Open, Some(claim)) if claim.key == self.parts.key => self.parts.store.swap(claim).await,
            (State::Open, _) => {
                let held = self.parts.store.get(&self.parts.key).await?;
                Ok(held.as_deref().map(Version::of) == self.fence)
            }
        }
    }
}

impl Parts {
    fn of(tier: &Tier, leases: &Leases, key: String) -> Parts {
        Parts { store: Arc::clone(&tier.store), ends: Arc::clone(&leases.ends), key }
    }

    /// A lease without a claim: others load at the same time.
    fn unclaimed(self, fence: Option<Version>) -> Lease {
        Lease { parts: self, fence, claim: None, state: Mutex::new(State::Open), renewal: None }
    }

    /// The lease of a claim that was just made by `swap`.
    fn claimed(self, fence: Option<Version>, swap: Swap) -> Lease {
        let expected = swap.to.as_ref().map(|(claim, _)| Version::of(claim));
        let renewing = Swap { expected, ..swap };
        let renewal = tokio::spawn(renew(Arc::clone(&self.store), renewing.clone()));
        let state = Mutex::new(State::Open);
        Lease { parts: self, fence, claim: Some(renewing), state, renewal: Some(renewal) }
    }
}

impl Drop for Lease {
    /// Ends the lease, and says so to those who wait. If that fails, the claim runs out.
    fn drop(&mut self) {
        if let Some(renewal) = &self.renewal {
            renewal.abort();
        }
        let (Some(claim), Ok(runtime)) = (self.claim.take(), Handle::try_current()) else { return };
        let Parts { store, ends, key } = &mut self.parts;
        let (store, ends, key) = (Arc::clone(store), Arc::clone(ends), std::mem::take(key));
        // An answer takes the place of a claim under its key; and a claim of a value that is gone is of no use to anyone.
        let is_left = *self.state.get_mut() == State::Open;
        runtime.spawn(async move {
            if is_left {
                _ = store.swap(&Swap { to: None, ..claim }).await;
            }
            ends.publish(&store, &key).await;
        });
    }
}

/// Renews a claim while its load goes on.
async fn renew(store: Arc<GuardedStore>, claim: Swap) {
    loop {
        sleep(RENEWED_EVERY).await;
        if let Ok(false) = store.swap(&claim).await {
            return;
        }
    }
}
