//! A small map of texts that several processes keep together, each in fields of its own.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use super::{Store, StoreError, dialect};
use crate::clock::Timestamp;

/// A change of a map of fields under one key, which answers with all of the map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldUpdate {
    /// The key of the map.
    pub key: String,
    /// A field and its text. `None`: the map is only read.
    pub set: Option<(String, String)>,
    /// How long the map is kept after a field was set.
    pub ttl: Duration,
    /// Fields to remove, such as those of processes that have ended.
    pub remove: Vec<String>,
}

/// What such a map holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields {
    /// The time by the store's clock; `None` where one process has the store to itself, or may not ask.
    pub now: Option<Timestamp>,
    /// Every field with its text.
    pub texts: BTreeMap<String, String>,
}

impl FieldUpdate {
    /// The words of the command that updates the map in Redis. It answers the server's time (seconds and microseconds,
    /// empty where the account may not ask), then names and texts in turn.
    pub(super) fn command(&self) -> Vec<String> {
        const SCRIPT: &str = "\
            if ARGV[1] ~= '' then \
            redis.call('HSET', KEYS[1], ARGV[2], ARGV[3]) redis.call('PEXPIRE', KEYS[1], ARGV[1]) end \
            for i = 4, #ARGV do redis.call('HDEL', KEYS[1], ARGV[i]) end \
            local all = redis.call('HGETALL', KEYS[1]) \
            local time = redis.pcall('TIME') \
            if time.err then time = {'', ''} end \
            table.insert(all, 1, time[2]) table.insert(all, 1, time[1]) \
            return all";
        let words = ["EVAL", SCRIPT, "1", &self.key].map(str::to_owned);
        let (ttl, name, text) = match &self.set {
            Some((name, text)) => (dialect::ttl_millis(self.ttl).to_string(), name.clone(), text.clone()),
            None => Default::default(),
        };
        words.into_iter().chain([ttl, name, text]).chain(self.remove.iter().cloned()).collect()
    }
}

impl Fields {
    /// Reads what the command answers. Texts that are not UTF-8 are another program's.
    pub(super) fn of_reply(reply: &[Bytes]) -> Result<Fields, StoreError> {
        let Some((time, pairs)) = reply.split_at_checked(2) else {
            return Err(StoreError::Corrupt("the reply to an update of fields is too short".to_owned()));
        };
        let text = |bytes: &Bytes| std::str::from_utf8(bytes).map(str::to_owned).ok();
        let texts = pairs.chunks_exact(2).filter_map(|pair| Some((text(&pair[0])?, text(&pair[1])?))).collect();
        Ok(Fields { now: dialect::time(time).ok(), texts })
    }
}

/// Updates the map where no other process does at the same time: reads it, and writes it as one value.
pub(super) async fn update_alone<S: Store + ?Sized>(store: &S, update: &FieldUpdate) -> Result<Fields, StoreError> {
    let held = store.get(&update.key).await?;
    // What cannot be read is another version's, and begins again.
    let mut texts: BTreeMap<String, String> =
        held.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    texts.retain(|name, _| !update.remove.contains(name));
    if let Some((name, text)) = &update.set {
        texts.insert(name.clone(), text.clone());
        let map = serde_json::to_vec(&texts).map_err(|why| StoreError::Corrupt(why.to_string()))?;
        store.put(&update.key, Bytes::from(map), update.ttl).await?;
    }
    Ok(Fields { now: None, texts })
}
