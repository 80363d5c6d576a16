//! Counters that outlive the processes that count.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use super::{Store, StoreError};
use crate::clock::Timestamp;

/// How long counters are kept after the last addition.
pub(super) const KEPT_FOR: Duration = Duration::from_secs(90 * 24 * 3600);

/// How long a repeated addition is recognised.
pub(super) const RECOGNISED_FOR: Duration = Duration::from_secs(7 * 24 * 3600);

/// The field with the time of the first addition, in milliseconds since the epoch.
const SINCE: &str = "since";

/// An addition to a set of counters. A writer repeats it, unchanged, until it is confirmed; it takes effect once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addition {
    /// The key of the set. It has a `{tag}`, so that a cluster keeps what belongs to the set on one server.
    pub key: String,
    /// Who adds; unique to a process.
    pub writer: String,
    /// The number of the addition, higher than that of the writer's last confirmed one.
    pub number: u64,
    /// By how much each counter grows. Nothing: the set is read, and begun if there is none.
    pub counts: Vec<(&'static str, u64)>,
    /// The time of the addition, noted as the beginning of a new set.
    pub at: Timestamp,
}

/// A set of counters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// When the first addition was made.
    pub since: Option<Timestamp>,
    /// Every counter by name.
    pub counts: BTreeMap<String, u64>,
}

impl Addition {
    /// The key under which the number of the writer's last addition lies.
    pub(super) fn writer_key(&self) -> String {
        format!("{}:writer:{}", self.key, self.writer)
    }
}

impl Counters {
    pub(super) fn of(mut counts: BTreeMap<String, u64>) -> Counters {
        let since = counts.remove(SINCE).map(Timestamp::from_millis);
        Counters { since, counts }
    }
}

/// Adds where no other process adds at the same time: reads, and writes what has grown.
pub(super) async fn add_alone<S: Store + ?Sized>(store: &S, addition: &Addition) -> Result<Counters, StoreError> {
    let keys = [addition.key.clone(), addition.writer_key()];
    let stored = store.get_many(&keys).await?;
    let read = |place: usize| stored.get(place).and_then(Option::as_ref);
    // What cannot be read is another version's, and begins again.
    let mut counts: BTreeMap<String, u64> =
        read(0).and_then(|bytes| serde_json::from_slice(bytes).ok()).unwrap_or_default();
    let last: u64 = read(1).and_then(|bytes| std::str::from_utf8(bytes).ok()?.parse().ok()).unwrap_or(0);
    let is_new = addition.number > last && addition.counts.iter().any(|(_, by)| *by > 0);
    if is_new {
        store.put(&keys[1], Bytes::from(addition.number.to_string()), RECOGNISED_FOR).await?;
        for (name, by) in &addition.counts {
            let counter = counts.entry((*name).to_owned()).or_default();
            *counter = counter.saturating_add(*by);
        }
    }
    if is_new || !counts.contains_key(SINCE) {
        counts.entry(SINCE.to_owned()).or_insert(addition.at.as_millis());
        let text = serde_json::to_vec(&counts).map_err(|why| StoreError::Corrupt(why.to_string()))?;
        store.put(&keys[0], Bytes::from(text), KEPT_FOR).await?;
    }
    Ok(Counters::of(counts))
}
