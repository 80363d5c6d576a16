//! How many bulk changes run at once.

use tokio::sync::{Semaphore, SemaphorePermit};

/// Bulk changes under way at once: a small one need not wait for a large one.
const AT_ONCE: usize = 4;
/// Bulk changes under way and waiting.
const MOST: usize = 12;

/// Lets a few bulk changes run at a time, and not many wait.
pub(crate) struct BulkLimit {
    places: Semaphore,
    running: Semaphore,
}

/// A running change, and its place among those that wait; both end when it is dropped.
pub(crate) struct BulkPermit<'a> {
    _running: SemaphorePermit<'a>,
    _place: SemaphorePermit<'a>,
}

impl Default for BulkLimit {
    fn default() -> BulkLimit {
        BulkLimit { places: Semaphore::new(MOST), running: Semaphore::new(AT_ONCE) }
    }
}

impl BulkLimit {
    /// Waits until a change may run; `None` where too many wait already.
    pub(crate) async fn enter(&self) -> Option<BulkPermit<'_>> {
        let place = self.places.try_acquire().ok()?;
        Some(BulkPermit { _running: self.running.acquire().await.ok()?, _place: place })
    }
}
