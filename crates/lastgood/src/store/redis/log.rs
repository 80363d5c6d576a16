//! A log as a Redis Stream.
//!
//! Each entry names the one before it. So whoever reads on from an entry sees whether any between was trimmed, deleted or
//! lost with a failed server, whatever the clocks of server and readers say.

use std::sync::Arc;
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{Cmd, FromRedisValue, RedisError, cmd};
use bytes::Bytes;
use tokio::sync::Mutex;

use super::link::{Fault, Link};
use super::{reply, supervisor};
use crate::store::{KEPT_RECORDS, Position, StoreError, Tail};

/// Appends a record with the identifier of the entry before it: at most so many are kept, for so many milliseconds.
const APPEND: &str = "\
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
local before = last[1] and last[1][1] or '0-0'
redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', 'before', before, 'record', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1";

const KEPT_FOR: Duration = Duration::from_secs(7 * 24 * 3600);
/// How many entries one read brings.
const PAGE: usize = 1_000;
/// What an answer may take beyond the time it was asked to wait.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// Before the first entry of any stream.
const BEGINNING: &str = "0-0";

/// The connection on which the log is read: a command that waits keeps all others waiting behind it.
#[derive(Default)]
pub(super) struct Reader {
    connection: Mutex<Option<MultiplexedConnection>>,
}

/// A stream's entries as Redis answers them: identifiers, each with its fields and values.
type Entries = Vec<(String, Vec<Bytes>)>;

pub(super) fn append(name: &str, record: &Bytes) -> Cmd {
    let kept_for = KEPT_FOR.as_millis() as u64;
    cmd("EVAL").arg(APPEND).arg(1).arg(name).arg(KEPT_RECORDS).arg(&record[..]).arg(kept_for).take()
}

impl Reader {
    pub(super) async fn read(
        &self,
        link: &Arc<Link>,
        name: &str,
        after: Option<&Position>,
        wait: Duration,
    ) -> Result<Tail, StoreError> {
        let after = after.map_or(BEGINNING, |Position(id)| id);
        let mut read = cmd("XREAD").arg("COUNT").arg(PAGE).take();
        if !wait.is_zero() {
            read.arg("BLOCK").arg(wait.as_millis().max(1) as u64);
        }
        read.arg("STREAMS").arg(name).arg(after);
        let answer: Option<Vec<(String, Entries)>> = self.ask(link, &read, wait).await?;
        let entries = answer.into_iter().flatten().next().map(|(_, entries)| entries).unwrap_or_default();
        if let Some((last, _)) = entries.last() {
            let end = Some(Position(last.clone()));
            let is_complete = field(&entries[0].1, b"before").is_some_and(|before| before == after.as_bytes());
            let records = entries.iter().filter_map(|(_, fields)| field(fields, b"record").cloned()).collect();
            return Ok(Tail { records, end, is_complete });
        }
        // Nothing new; but is the place still part of the log? What came since the question is the next one's answer.
        let end = self.end(link, name).await?;
        let is_complete = order(end.as_ref().map_or(BEGINNING, |Position(id)| id)) >= order(after);
        let place = if is_complete { after } else { BEGINNING };
        let end = (place != BEGINNING).then(|| Position(place.to_owned()));
        Ok(Tail { records: Vec::new(), end, is_complete })
    }

    pub(super) async fn end(&self, link: &Arc<Link>, name: &str) -> Result<Option<Position>, StoreError> {
        let newest = cmd("XREVRANGE").arg(name).arg("+").arg("-").arg("COUNT").arg(1).take();
        let newest: Entries = self.ask(link, &newest, Duration::ZERO).await?;
        Ok(newest.into_iter().next().map(|(id, _)| Position(id)))
    }

    async fn ask<T: FromRedisValue>(&self, link: &Arc<Link>, command: &Cmd, wait: Duration) -> Result<T, StoreError> {
        let mut place = self.connection.lock().await;
        // Taken out until there is an answer: a connection whose reader gave up would answer the next one's question.
        let mut connection = match place.take() {
            Some(connection) => connection,
            None => supervisor::connect(link).await.map_err(|failure| StoreError::Unavailable(failure.why))?,
        };
        connection.set_response_timeout(wait + ANSWER_WITHIN);
        match command.query_async(&mut connection).await {
            Ok(answer) => {
                *place = Some(connection);
                Ok(answer)
            }
            Err(error) => Err(self.fault(link, error)),
        }
    }

    fn fault(&self, link: &Arc<Link>, error: RedisError) -> StoreError {
        match reply::read_error(&Fault::Redis(error)) {
            StoreError::Unavailable(why) => StoreError::Unavailable(link.options().redact(why)),
            other => other,
        }
    }
}

fn field<'a>(fields: &'a [Bytes], name: &[u8]) -> Option<&'a Bytes> {
    fields.chunks_exact(2).find(|pair| pair[0] == name).map(|pair| &pair[1])
}

/// An identifier's place in the order of its stream: milliseconds, then a number.
fn order(id: &str) -> (u64, u64) {
    let (millis, number) = id.split_once('-').unwrap_or((id, "0"));
    (millis.parse().unwrap_or(0), number.parse().unwrap_or(0))
}
