//! Whose turn it is to warm, among nodes that share a store.
//!
//! The turn is a key of the store that one node puts where nothing is, and only its holder changes. It ends with the key's time to
//! live, so that no clock but the store's has a part in it. Without the store's help each node warms its own memory.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::time::{sleep, timeout};

use crate::store::{Store, StoreError, Swap, Version};
use crate::{Clock, Timestamp};

/// How long a turn lasts without another word of its holder.
const TERM: Duration = Duration::from_secs(30);
/// How often a holder says so.
pub const RENEW_AFTER: Duration = Duration::from_secs(10);
/// The longest that one call of the store may take.
const STORE_PATIENCE: Duration = Duration::from_millis(500);
/// A store that is not there yet is asked so often before each node goes its own way.
pub const TRIES: usize = 4;
/// How soon another's turn is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// The shortest wait for a round that another has finished.
const AGAIN_AT_THE_EARLIEST: Duration = Duration::from_secs(1);

/// The turn to warm one thing, as one node sees it.
pub struct Lease {
    store: Arc<dyn Store>,
    key: String,
    finished_key: String,
    holder: String,
    /// When the turn was last written, and as what; none while it is not ours.
    written: Mutex<Option<(Timestamp, Bytes)>>,
}

/// Whose turn it is.
pub enum Turn {
    /// Ours, until it is given up or not renewed.
    Ours,
    /// Another's, or done already; to be looked at again after this.
    Theirs(Duration),
}

/// Who holds the turn since when, or who finished a round that began when, by its own clock.
#[derive(Serialize, Deserialize)]
struct Note {
    holder: String,
    /// Milliseconds since the epoch.
    at: u64,
}

impl Lease {
    /// The turn to warm what `what` names: nodes that keep other things warm have turns of their own.
    pub fn new(store: Arc<dyn Store>, namespace: &str, what: &str) -> Lease {
        let prefix = format!("{namespace}:warm:v1:{what}");
        let holder = format!("{:016x}", RandomState::new().hash_one(std::process::id()));
        let (key, finished_key) = (format!("{prefix}:turn"), format!("{prefix}:finished"));
        Lease { store, key, finished_key, holder, written: Mutex::default() }
    }

    /// Takes the turn, unless another has it or finished a round that began less than `pause` ago.
    /// A store that does not say is asked `tries` times.
    pub async fn take(&self, clock: &Clock, pause: Duration, tries: usize) -> Turn {
        for _ in 0..tries {
            match self.try_to_take(clock, pause).await {
                Ok(turn) => return turn,
                Err(why) => tracing::debug!(%why, "the store does not say whose turn it is to warm"),
            }
            if tries > 1 {
                sleep(STORE_PATIENCE / 2).await;
            }
        }
        Turn::Ours
    }

    async fn try_to_take(&self, clock: &Clock, pause: Duration) -> Result<Turn, StoreError> {
        let now = clock.now();
        // While it is there, the next round is not due; when it is, its writer's clock tells about.
        if let Some(note) = self.read(&self.finished_key).await?.filter(|note| note.holder != self.holder) {
            let left = Timestamp::from_millis(note.at).plus(pause).since(now);
            return Ok(Turn::Theirs(left.clamp(AGAIN_AT_THE_EARLIEST, pause.max(AGAIN_AT_THE_EARLIEST))));
        }
        let ours = self.written().map(|(_, note)| note);
        if self.swap(clock, ours.as_ref()).await? {
            return Ok(Turn::Ours);
        }
        // It may have ended, and had no holder since.
        let is_ours = ours.is_some() && self.swap(clock, None).await?;
        Ok(if is_ours { Turn::Ours } else { Turn::Theirs(LOOK_AGAIN) })
    }

    /// Says that the turn is still ours, if that is due; says whether it is.
    pub async fn renew(&self, clock: &Clock) -> bool {
        let Some((written_at, note)) = self.written() else {
            // The store was away when the turn was taken.
            return !matches!(self.swap(clock, None).await, Ok(false));
        };
        if clock.now().since(written_at) < RENEW_AFTER {
            return true;
        }
        match self.swap(clock, Some(&note)).await {
            Ok(true) => true,
            // Its time was up: another may have it.
            Ok(false) => matches!(self.swap(clock, None).await, Ok(true)),
            // A store that is gone, or takes nothing in, gives the turn to no other.
            Err(why) => {
                tracing::debug!(%why, "other nodes do not learn whose turn it is to warm");
                true
            }
        }
    }

    /// Runs `work` in our turn, and says that the turn is ours as often as that is due.
    pub async fn while_ours<T>(&self, clock: &Clock, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            if let Ok(done) = timeout(RENEW_AFTER, &mut work).await {
                return done;
            }
            self.renew(clock).await;
        }
    }

    /// Gives the turn up; `finished` is when the round began, if it came to its end.
    pub async fn give_up(&self, clock: &Clock, finished: Option<Timestamp>, pause: Duration) {
        if let Some(began) = finished {
            let left = began.plus(pause).since(clock.now()).max(Duration::from_millis(1));
            if let Err(why) = self.put(&self.finished_key, began, left).await {
                tracing::debug!(%why, "other nodes do not learn of the round");
            }
        }
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((_, note)) = written {
            let swap = Swap { key: self.key.clone(), expected: Some(Version::of(&note)), to: None };
            if !matches!(timeout(STORE_PATIENCE, self.store.swap(&swap)).await, Ok(Ok(_))) {
                tracing::debug!(seconds = TERM.as_secs(), "the turn to warm ends by itself");
            }
        }
    }

    fn written(&self) -> Option<(Timestamp, Bytes)> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts our name in the place of `expected`; of nothing if there is none.
    async fn swap(&self, clock: &Clock, expected: Option<&Bytes>) -> Result<bool, StoreError> {
        let now = clock.now();
        let note = self.note(now);
        let expected = expected.map(|note| Version::of(note));
        let swap = Swap { key: self.key.clone(), expected, to: Some((note.clone(), TERM)) };
        let swapped = timeout(STORE_PATIENCE, self.store.swap(&swap)).await.map_err(|_| StoreError::Timeout)??;
        let written = swapped.then_some((now, note));
        *self.written.lock().unwrap_or_else(PoisonError::into_inner) = written;
        Ok(swapped)
    }

    fn note(&self, at: Timestamp) -> Bytes {
        let note = Note { holder: self.holder.clone(), at: at.as_millis() };
        Bytes::from(serde_json::to_vec(&note).unwrap_or_default())
    }

    async fn read(&self, key: &str) -> Result<Option<Note>, StoreError> {
        let held = timeout(STORE_PATIENCE, self.store.get(key)).await.map_err(|_| StoreError::Timeout)??;
        // What cannot be read has no holder.
        Ok(held.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    async fn put(&self, key: &str, at: Timestamp, ttl: Duration) -> Result<(), StoreError> {
        timeout(STORE_PATIENCE, self.store.put(key, self.note(at), ttl)).await.map_err(|_| StoreError::Timeout)?
    }
}

/// A part of `wait`, another each time.
pub fn some_of(wait: Duration) -> Duration {
    wait.mul_f64((RandomState::new().hash_one(0) >> 11) as f64 / (1u64 << 53) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    const MINUTE: Duration = Duration::from_secs(60);

    fn leases(clock: &Clock) -> [Lease; 2] {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new(clock.clone(), 1 << 20));
        [0, 1].map(|_| Lease::new(Arc::clone(&store), "lastgood", "lists"))
    }

    async fn is_ours(lease: &Lease, clock: &Clock) -> bool {
        matches!(lease.take(clock, MINUTE, TRIES).await, Turn::Ours)
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
        first.give_up(&clock, None, MINUTE).await;
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
        first.give_up(&clock, Some(clock.now()), MINUTE).await;
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
