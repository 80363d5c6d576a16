//! A small map of texts that several processes keep together, each in fields of its own.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use super::{Store, StoreError};
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
