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
use tokio::time::{Instant, sleep};

pub(crate) use self::claim::Claim;
pub(crate) use self::ends::Ends;
use self::ends::Wait;
use crate::clock::Timestamp;
use crate::flight::after;
use crate::store::{GuardedStore, Store, StoreError, Swap, Version};

mod claim;
mod ends;

/// How long a claim stands that is not renewed: so long the death of its holder keeps the others waiting.
pub(crate) const TERM: Duration = Duration::from_secs(2);
const RENEWED_EVERY: Duration = Duration::from_millis(500);

/// The leases of one cache.
pub(crate) struct Leases {
    /// Whether loads of other processes are waited for. If not, writes are fenced all the same.
    pub(crate) are_on: bool,
    /// The prefix of the claims that have keys of their own.
    prefix: String,
    node: u64,
    next: AtomicU64,
    pub(crate) ends: Arc<Ends>,
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
    /// How often the store refused its claim.
    pub(crate) refused: usize,
}

impl Leases {
    pub(crate) fn new(namespace: &str, node: u64, are_on: bool) -> Leases {
        let (prefix, ends) = (format!("{namespace}:@claims:"), Arc::new(Ends::new(namespace)));
        Leases { are_on, prefix, node, next: AtomicU64::new(1), ends }
    }

    pub(crate) fn claim(&self, started_at: Timestamp) -> Claim {
        Claim { started_at, node: self.node, number: self.next.fetch_add(1, Ordering::Relaxed) }
    }

    /// Where the claim lies of a load that replaces a value. Short, whatever the key; two that share it share their loads'
    /// order, and nothing else.
    pub(crate) fn key_of(&self, key: &str, value: &Version) -> String {
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
    pub(crate) async fn wait(&mut self, ends: &Arc<Ends>, store: &Arc<GuardedStore>, key: &str) -> Next {
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
pub(crate) struct Parts {
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
    pub(crate) fn of(store: &Arc<GuardedStore>, leases: &Leases, key: String) -> Parts {
        Parts { store: Arc::clone(store), ends: Arc::clone(&leases.ends), key }
    }

    /// A lease without a claim: others load at the same time.
    pub(crate) fn unclaimed(self, fence: Option<Version>) -> Lease {
        Lease { parts: self, fence, claim: None, state: Mutex::new(State::Open), renewal: None }
    }

    /// The lease of a claim that was just made by `swap`.
    pub(crate) fn claimed(self, fence: Option<Version>, swap: Swap) -> Lease {
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
