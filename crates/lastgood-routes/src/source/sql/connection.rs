//! A connection out of the pool, which goes back only if it is of use to the next.

use sqlx::pool::PoolConnection;

/// A borrowed connection. Left before its end, by a deadline or by a caller that gives up, it is closed and not given
/// back: an answer may still be under way on it.
pub(super) struct Borrowed<D: sqlx::Database> {
    connection: Option<PoolConnection<D>>,
}

impl<D: sqlx::Database> Borrowed<D> {
    pub(super) fn new(connection: PoolConnection<D>) -> Self {
        Borrowed { connection: Some(connection) }
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
            drop(connection.detach());
        }
    }
}
