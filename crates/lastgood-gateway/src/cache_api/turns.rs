//! Whose turn it is to change many keys.

use tokio::sync::{Mutex, MutexGuard, Semaphore, SemaphorePermit};

/// Sweeps that may wait for the one under way.
const MOST_WAITING: usize = 8;

/// Whose turn it is to change many keys: one at a time, and not many waiting.
pub(crate) struct Turns {
    places: Semaphore,
    turn: Mutex<()>,
}

/// A turn, and its place among those that wait; both end when it is dropped.
pub(super) struct Turn<'a> {
    _turn: MutexGuard<'a, ()>,
    _place: SemaphorePermit<'a>,
}

impl Default for Turns {
    fn default() -> Turns {
        Turns { places: Semaphore::new(MOST_WAITING), turn: Mutex::new(()) }
    }
}

impl Turns {
    /// Waits for the turn; `None` where too many wait already.
    pub(super) async fn enter(&self) -> Option<Turn<'_>> {
        let place = self.places.try_acquire().ok()?;
        Some(Turn { _turn: self.turn.lock().await, _place: place })
    }
}
