//! Whose turn it is to change many keys.

use tokio::sync::{Semaphore, SemaphorePermit};

/// Sweeps under way at once: a small one need not wait for a large one.
const AT_ONCE: usize = 4;
/// Sweeps under way and waiting.
const MOST: usize = 12;

/// Whose turn it is to change many keys: a few at a time, and not many waiting.
pub(crate) struct Turns {
    places: Semaphore,
    turns: Semaphore,
}

/// A turn, and its place among those that wait; both end when it is dropped.
pub(crate) struct Turn<'a> {
    _turn: SemaphorePermit<'a>,
    _place: SemaphorePermit<'a>,
}

impl Default for Turns {
    fn default() -> Turns {
        Turns { places: Semaphore::new(MOST), turns: Semaphore::new(AT_ONCE) }
    }
}

impl Turns {
    /// Waits for the turn; `None` where too many wait already.
    pub(crate) async fn enter(&self) -> Option<Turn<'_>> {
        let place = self.places.try_acquire().ok()?;
        Some(Turn { _turn: self.turns.acquire().await.ok()?, _place: place })
    }
}
