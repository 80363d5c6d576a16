//! Connections to PostgreSQL, out of its pool or made outside of it.

use std::future::pending;
use std::pin::pin;

use sqlx::pool::PoolConnection;
use sqlx::postgres::PgConnection;
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::time::sleep;

use super::{GRACE, Postgres, failure, notice};

impl Postgres {
    /// A connection of the pool, or why there is none: where a server refuses connections, the pool alone tries until its time is over,
    /// and then says no more than that.
    pub(super) async fn acquire(&self) -> Result<PoolConnection<sqlx::Postgres>, sqlx::Error> {
        let mut pooled = pin!(self.acquire_pooled());
        let refused = tokio::select! {
            biased;
            acquired = &mut pooled => return acquired,
            refused = self.refusal() => refused,
        };
        if matches!(refused, sqlx::Error::Io(_)) {
            return Err(refused);
        }
        // A server that starts or is full may have room before the time is over.
        pooled.await.map_err(|why| if matches!(why, sqlx::Error::PoolTimedOut) { refused } else { why })
    }

    async fn acquire_pooled(&self) -> Result<PoolConnection<sqlx::Postgres>, sqlx::Error> {
        match self.pool.acquire().await {
            Err(why) if failure::refuses_options(&why) => {
                self.share();
                self.pool.acquire().await
            }
            other => other,
        }
    }

    /// Why no connection can be made, once the pool has needed longer than one takes; never, where one can.
    async fn refusal(&self) -> sqlx::Error {
        sleep(GRACE).await;
        match self.connect().await {
            Err(why) => why,
            Ok(connection) => {
                _ = connection.close().await;
                pending().await
            }
        }
    }

    /// A connection outside of the pool, which hides why there is none.
    pub(super) async fn connect(&self) -> Result<PgConnection, sqlx::Error> {
        let mut connection = match self.own.connect().await {
            Err(why) if failure::refuses_options(&why) => {
                self.share();
                return self.plain.connect().await;
            }
            other => other?,
        };
        notice(&self.sessions, &mut connection).await?;
        Ok(connection)
    }
}
