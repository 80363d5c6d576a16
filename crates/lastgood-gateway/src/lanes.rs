//! Whose turn it is to write which value.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use tokio::sync::{Mutex, MutexGuard};

const LANES: usize = 256;

/// Writers of one key take turns, so that a condition still holds when its write comes. Keys may share a lane.
pub(crate) struct Lanes {
    lanes: Vec<Mutex<()>>,
    hash: RandomState,
}

impl Default for Lanes {
    fn default() -> Self {
        Lanes { lanes: (0..LANES).map(|_| Mutex::default()).collect(), hash: RandomState::new() }
    }
}

impl Lanes {
    pub(crate) async fn enter(&self, region: &str, key: &str) -> MutexGuard<'_, ()> {
        let lane = self.hash.hash_one((region, key)) % LANES as u64;
        self.lanes[lane as usize].lock().await
    }
}
