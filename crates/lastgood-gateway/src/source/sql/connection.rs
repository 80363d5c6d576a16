//! A connection out of the pool, which goes back only if it is of use to the next.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sqlx::pool::PoolConnection;

/// A borrowed connection. Left before its end, by a deadline or by whoever waits giving up, it is closed and not given
/// back: an answer may still be under way on it.
pub(super) struct Borrowed<D: sqlx::Database> {
    connection: Option<PoolConnection<D>>,
    /// Set when the connection is closed, for what runs elsewhere on its behalf.
    left: Arc<AtomicBool>,
}

impl<D: sqlx::Database> Borrowed<D> {
    pub(super) fn new(connection: PoolConnection<D>) -> Self {
        Borrowed { connection: Some(connection), left: Arc::default() }
    }

    pub(super) fn left(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.left)
    }

    pub(super) fn get(&mut self) -> Result<&mut D::Connection, sqlx::Error> {
        self.connection.as_deref_mut().ok_or(sqlx::Error::PoolClosed)
    }

    pub(super) fn give_back(mut self) {
        drop(self.connection.take());
    }
}

impl<D: sqlx::Database> Drop for Borrowed<D> {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.left.store(true, Ordering::Relaxed);
            drop(connection.detach());
        }
    }
}
