//! Whose turn it is to warm, among nodes that share a store.
//!
//! A store knows no compare-and-set. Who wants the turn writes its name, waits a little and goes on only if the name is
//! still there. Two nodes may rarely both go on: that costs weight and harms nothing. Without the store's help each node
//! warms its own memory.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use lastgood::store::{Store, StoreError};
use lastgood::{Clock, Timestamp};
use lastgood_market::RegionName;
use serde::{Deserialize, Serialize};
use tokio::time::{sleep, timeout};

use super::set::Set;

/// How long a turn lasts without another word of its holder.
const TERM: Duration = Duration::from_secs(30);
/// How often a holder says so.
pub(super) const RENEW_AFTER: Duration = Duration::from_secs(10);
/// How long others have to write their names, too.
const SETTLE: Duration = Duration::from_millis(50);
/// The longest that one call of the store may take.
const STORE_PATIENCE: Duration = Duration::from_millis(500);
/// A store that is not there yet is asked so often before each node goes its own way.
const TRIES: usize = 4;
/// How soon another's turn is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

pub(super) struct Lease {
    store: Arc<dyn Store>,
    key: String,
    finished_key: String,
    holder: String,
    /// When the turn was last written, in ms; zero while it is not ours.
    written_at: AtomicU64,
}

pub(super) enum Turn {
    Ours,
    /// Another's, or done already; to be looked at again after this.
    Theirs(Duration),
}

/// Who holds the turn and until when, or who finished a round that began when.
#[derive(Serialize, Deserialize)]
struct Note {
    holder: String,
    /// Milliseconds since the epoch.
    at: u64,
}

impl Lease {
    pub(super) fn new(store: Arc<dyn Store>, namespace: &str, set: &Set, regions: &[RegionName]) -> Lease {
        // Nodes that keep other things warm have turns of their own.
        let prefix = format!("{namespace}:warm:v1:{:016x}", set.fingerprint(regions));
        let holder = format!("{:016x}", RandomState::new().hash_one(std::process::id()));
        let (key, finished_key) = (format!("{prefix}:turn"), format!("{prefix}:finished"));
        Lease { store, key, finished_key, holder, written_at: AtomicU64::new(0) }
    }

    /// Takes the turn, unless another has it or finished a round that began less than `pause` ago.
    pub(super) async fn take(&self, clock: &Clock, pause: Duration) -> Turn {
        for _ in 0..TRIES {
            match self.try_to_take(clock, pause).await {
                Ok(turn) => return turn,
                Err(why) => tracing::debug!(%why, "the store does not say whose turn it is to warm"),
            }
            sleep(STORE_PATIENCE / 2).await;
        }
        Turn::Ours
    }

    async fn try_to_take(&self, clock: &Clock, pause: Duration) -> Result<Turn, StoreError> {
        let now = clock.now();
        let finished = self.read(&self.finished_key).await?.filter(|note| note.holder != self.holder);
        let next = finished.map(|note| Timestamp::from_millis(note.at).plus(pause));
        if let Some(next) = next.filter(|next| *next > now) {
            return Ok(Turn::Theirs(next.since(now)));
        }
        if let Some(until) = self.others(now).await? {
            return Ok(Turn::Theirs(until.since(now).min(LOOK_AGAIN)));
        }
        self.write(clock).await?;
        sleep(SETTLE + some_of(SETTLE * 2)).await;
        match self.others(clock.now()).await? {
            Some(until) => Ok(Turn::Theirs(until.since(now).min(LOOK_AGAIN))),
            None => Ok(Turn::Ours),
        }
    }

    /// Says that the turn is still ours, if that is due; says whether it is.
    pub(super) async fn renew(&self, clock: &Clock) -> bool {
        let written_at = Timestamp::from_millis(self.written_at.load(Ordering::Relaxed));
        if clock.now().since(written_at) < RENEW_AFTER {
            return true;
        }
        match self.others(clock.now()).await {
            Ok(Some(_)) => false,
            // A store that is gone, or takes nothing in, gives the turn to nobody else.
            Ok(None) => {
                if let Err(why) = self.write(clock).await {
                    tracing::debug!(%why, "other nodes do not learn whose turn it is to warm");
                }
                true
            }
            Err(_) => true,
        }
    }

    /// Gives the turn up; `finished` is when the round began, if it came to its end.
    pub(super) async fn give_up(&self, finished: Option<Timestamp>, pause: Duration) {
        if let Some(began) = finished {
            let put = self.put(&self.finished_key, began, pause.max(Duration::from_millis(1)));
            if let Err(why) = put.await {
                tracing::debug!(%why, "other nodes do not learn of the round");
            }
        }
        if matches!(self.read(&self.key).await, Ok(Some(note)) if note.holder == self.holder) {
            let keys = [self.key.clone()];
            let removed = timeout(STORE_PATIENCE, self.store.remove(&keys)).await;
            if !matches!(removed, Ok(Ok(_))) {
                tracing::debug!(seconds = TERM.as_secs(), "the turn to warm ends by itself");
            }
        }
    }

    /// Until when the turn is another's.
    async fn others(&self, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        let note = self.read(&self.key).await?.filter(|note| note.holder != self.holder);
        Ok(note.map(|note| Timestamp::from_millis(note.at)).filter(|until| *until > now))
    }

    async fn write(&self, clock: &Clock) -> Result<(), StoreError> {
        let now = clock.now();
        self.put(&self.key, now.plus(TERM), TERM).await?;
        self.written_at.store(now.as_millis(), Ordering::Relaxed);
        Ok(())
    }

    async fn read(&self, key: &str) -> Result<Option<Note>, StoreError> {
        let held = timeout(STORE_PATIENCE, self.store.get(key)).await.map_err(|_| StoreError::Timeout)??;
        // What cannot be read is nobody's.
        Ok(held.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    async fn put(&self, key: &str, at: Timestamp, ttl: Duration) -> Result<(), StoreError> {
        let note = Note { holder: self.holder.clone(), at: at.as_millis() };
        let bytes = Bytes::from(serde_json::to_vec(&note).unwrap_or_default());
        timeout(STORE_PATIENCE, self.store.put(key, bytes, ttl)).await.map_err(|_| StoreError::Timeout)?
    }
}

/// A part of `wait`, another each time.
pub(super) fn some_of(wait: Duration) -> Duration {
    wait.mul_f64((RandomState::new().hash_one(0) >> 11) as f64 / (1u64 << 53) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;
    use lastgood::store::MemoryStore;
    use lastgood_market::Identities;

    const MINUTE: Duration = Duration::from_secs(60);

    fn leases(clock: &Clock) -> [Lease; 2] {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new(clock.clone(), 1 << 20));
        let set = Set::of(&Settings::default(), &Identities::public());
        [0, 1].map(|_| Lease::new(Arc::clone(&store), "lastgood", &set, &[]))
    }

    async fn is_ours(lease: &Lease, clock: &Clock) -> bool {
        matches!(lease.take(clock, MINUTE).await, Turn::Ours)
    }

    #[tokio::test(start_paused = true)]
    async fn one_has_the_turn_until_it_gives_it_up_or_says_nothing_more() {
        let clock = Clock::paused_with_tokio();
        let [first, second] = leases(&clock);
        assert!(is_ours(&first, &clock).await && !is_ours(&second, &clock).await);
        tokio::time::advance(TERM - RENEW_AFTER).await;
        assert!(first.renew(&clock).await);
        tokio::time::advance(TERM - RENEW_AFTER).await;
        assert!(!is_ours(&second, &clock).await, "it was renewed");
        first.give_up(None, MINUTE).await;
        assert!(is_ours(&second, &clock).await);
        tokio::time::advance(TERM).await;
        assert!(is_ours(&first, &clock).await, "the second says nothing more");
        assert!(!second.renew(&clock).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_round_that_another_finished_is_not_repeated_before_its_time() {
        let clock = Clock::paused_with_tokio();
        let [first, second] = leases(&clock);
        assert!(is_ours(&first, &clock).await);
        first.give_up(Some(clock.now()), MINUTE).await;
        assert!(!is_ours(&second, &clock).await);
        tokio::time::advance(MINUTE).await;
        assert!(is_ours(&second, &clock).await);
    }

    #[tokio::test(start_paused = true)]
    async fn of_two_who_want_the_turn_together_one_has_it() {
        let clock = Clock::paused_with_tokio();
        let [first, second] = leases(&clock);
        let (one, other) = tokio::join!(is_ours(&first, &clock), is_ours(&second, &clock));
        assert!(one != other, "{one} {other}");
    }
}
