//! The log of a database at Upstash, which answers at once: it is looked at now and then.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::UpstashStore;
use super::reply::Binary;
use crate::store::stream::{self, Entry};
use crate::store::{Position, StoreError, Tail};

/// How often it is looked at. Not more often, because requests are billed: this makes some 17,000 a day.
const EVERY: Duration = Duration::from_secs(5);

type Received = (Binary, Vec<Binary>);

fn entry((id, fields): Received) -> Entry {
    (id.0, fields.into_iter().map(|field| field.0).collect())
}

impl UpstashStore {
    pub(super) async fn append_record(&self, name: &str, record: &[u8]) -> Result<(), StoreError> {
        let words: Option<Vec<String>> =
            stream::append(name.as_bytes(), record).into_iter().map(|word| String::from_utf8(word).ok()).collect();
        let words = words.ok_or_else(|| StoreError::Refused("a record must be text".to_owned()))?;
        self.tell::<u64>("/", self.encode(&words)?, &[name.to_owned()]).await.map(drop)
    }

    pub(super) async fn log_end(&self, name: &str) -> Result<Option<Position>, StoreError> {
        let newest: Vec<Received> = self.ask(&["XREVRANGE", name, "+", "-", "COUNT", "1"]).await?;
        Ok(newest.first().map(|(id, _)| stream::position(&id.0)))
    }

    pub(super) async fn read_log(
        &self,
        name: &str,
        after: Option<&Position>,
        wait: Duration,
    ) -> Result<Tail, StoreError> {
        let deadline = Instant::now() + wait;
        loop {
            let next_look = Instant::now() + EVERY;
            // One small request where nothing is new.
            let end = self.log_end(name).await?;
            let unchanged = end.as_ref() == after;
            if !unchanged {
                return self.tail(name, after, end.as_ref()).await;
            }
            if next_look > deadline {
                sleep_until(deadline).await;
                return Ok(stream::nothing(end.as_ref(), after));
            }
            sleep_until(next_look).await;
        }
    }

    async fn tail(&self, name: &str, after: Option<&Position>, end: Option<&Position>) -> Result<Tail, StoreError> {
        let count = stream::PAGE.to_string();
        let read = ["XREAD", "COUNT", &count, "STREAMS", name, stream::after(after)];
        let answer: Option<Vec<(Binary, Vec<Received>)>> = self.ask(&read).await?;
        let entries = answer.into_iter().flatten().next().map(|(_, entries)| entries).unwrap_or_default();
        let entries: Vec<Entry> = entries.into_iter().map(entry).collect();
        Ok(stream::page(&entries, after).unwrap_or_else(|| stream::nothing(end, after)))
    }
}
