//! The log of a database at Upstash, which answers at once: it is looked at now and then.

use std::time::Duration;

use async_trait::async_trait;

use super::UpstashStore;
use super::reply::Binary;
use crate::store::dialect::stream::{self, Entry, PolledStream};
use crate::store::{Position, StoreError};

/// How often it is looked at. Not more often, because requests are billed: this makes some 17,000 a day.
pub(super) const EVERY: Duration = Duration::from_secs(5);

type Received = (Binary, Vec<Binary>);

impl UpstashStore {
    pub(super) async fn append_record(&self, name: &str, record: &[u8]) -> Result<(), StoreError> {
        let words: Option<Vec<String>> =
            stream::append(name.as_bytes(), record).into_iter().map(|word| String::from_utf8(word).ok()).collect();
        let words = words.ok_or_else(|| StoreError::Refused("a record must be text".to_owned()))?;
        self.send_write::<u64>("/", self.encode(&words)?, &[name.to_owned()]).await.map(drop)
    }
}

#[async_trait]
impl PolledStream for UpstashStore {
    async fn newest(&self, name: &str) -> Result<Option<Position>, StoreError> {
        let newest: Vec<Received> = self.send_read(&["XREVRANGE", name, "+", "-", "COUNT", "1"]).await?;
        Ok(newest.first().map(|(id, _)| stream::position(&id.0)))
    }

    async fn entries(&self, name: &str, after: &str) -> Result<Vec<Entry>, StoreError> {
        let count = stream::PAGE.to_string();
        let read = ["XREAD", "COUNT", &count, "STREAMS", name, after];
        let answer: Option<Vec<(Binary, Vec<Received>)>> = self.send_read(&read).await?;
        let entries = answer.into_iter().flatten().next().map(|(_, entries)| entries).unwrap_or_default();
        let plain = |(id, fields): Received| (id.0, fields.into_iter().map(|field| field.0).collect());
        Ok(entries.into_iter().map(plain).collect())
    }
}
