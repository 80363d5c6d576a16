//! The log over a connection of its own.

use std::sync::Arc;
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{Cmd, FromRedisValue, RedisError, cmd};
use bytes::Bytes;
use tokio::sync::Mutex;

use super::link::{Fault, Link};
use super::{reply, supervisor};
use crate::store::stream::{self, Entry};
use crate::store::{Position, StoreError, Tail};

/// What an answer may take beyond the time it was asked to wait.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// The connection on which the log is read: a command that waits keeps all others waiting behind it.
#[derive(Default)]
pub(super) struct Reader {
    connection: Mutex<Option<MultiplexedConnection>>,
}

pub(super) fn append(name: &str, record: &Bytes) -> Cmd {
    let mut command = Cmd::new();
    for word in stream::append(name.as_bytes(), record) {
        command.arg(word);
    }
    command
}

impl Reader {
    pub(super) async fn read(
        &self,
        link: &Arc<Link>,
        name: &str,
        after: Option<&Position>,
        wait: Duration,
    ) -> Result<Tail, StoreError> {
        let mut read = cmd("XREAD").arg("COUNT").arg(stream::PAGE).take();
        // To wait for no time is to wait for ever.
        if !wait.is_zero() {
            read.arg("BLOCK").arg(wait.as_millis().max(1) as u64);
        }
        read.arg("STREAMS").arg(name).arg(stream::after(after));
        let answer: Option<Vec<(Bytes, Vec<Entry>)>> = self.ask(link, &read, wait).await?;
        let entries = answer.into_iter().flatten().next().map(|(_, entries)| entries).unwrap_or_default();
        if let Some(tail) = stream::page(&entries, after) {
            return Ok(tail);
        }
        let end = self.end(link, name).await?;
        Ok(stream::nothing(end.as_ref(), after))
    }

    pub(super) async fn end(&self, link: &Arc<Link>, name: &str) -> Result<Option<Position>, StoreError> {
        let newest = cmd("XREVRANGE").arg(name).arg("+").arg("-").arg("COUNT").arg(1).take();
        let newest: Vec<Entry> = self.ask(link, &newest, Duration::ZERO).await?;
        Ok(newest.first().map(|(id, _)| stream::position(id)))
    }

    async fn ask<T: FromRedisValue>(&self, link: &Arc<Link>, command: &Cmd, wait: Duration) -> Result<T, StoreError> {
        let mut place = self.connection.lock().await;
        // Taken out until there is an answer: a connection whose reader gave up would answer the next one's question.
        let mut connection = match place.take() {
            Some(connection) => connection,
            None => supervisor::connect(link).await.map_err(|failure| StoreError::Unavailable(failure.why))?,
        };
        connection.set_response_timeout(wait + ANSWER_WITHIN);
        let answer = command.query_async(&mut connection).await.map_err(|error| fault(link, error))?;
        *place = Some(connection);
        Ok(answer)
    }
}

fn fault(link: &Link, error: RedisError) -> StoreError {
    match reply::read_error(&Fault::Redis(error)) {
        StoreError::Unavailable(why) => StoreError::Unavailable(link.options().redact(why)),
        other => other,
    }
}
