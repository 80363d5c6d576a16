//! The order of writes to one key.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use tokio::sync::{Mutex, OwnedMutexGuard};

/// Keys that share a lane wait for each other for nothing; there are several times as many as writes under way.
const LANES: usize = 256;

/// Lets writes to different keys pass each other, and those to one key follow each other.
pub(super) struct Lanes {
    of: RandomState,
    lanes: Vec<Arc<Mutex<()>>>,
}

impl Lanes {
    pub(super) fn new() -> Lanes {
        Lanes { of: RandomState::new(), lanes: (0..LANES).map(|_| Arc::default()).collect() }
    }

    /// Waits until these keys are nobody else's.
    pub(super) async fn enter(&self, keys: &[String]) -> Vec<OwnedMutexGuard<()>> {
        let mut wanted: Vec<usize> = keys.iter().map(|key| self.of.hash_one(key) as usize % LANES).collect();
        // All take them in one order, so that no two wait for each other.
        wanted.sort_unstable();
        wanted.dedup();
        let mut entered = Vec::with_capacity(wanted.len());
        for lane in wanted {
            entered.push(Arc::clone(&self.lanes[lane]).lock_owned().await);
        }
        entered
    }
}
