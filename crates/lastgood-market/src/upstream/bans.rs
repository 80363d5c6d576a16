//! What outlives this process of the exchange's pauses and bans: a file in the data directory, and one key of the store
//! where that is shared with others.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lastgood::store::{Store, StoreError};
use lastgood::{Reason, Timestamp, private};
use serde::{Deserialize, Serialize};

use crate::budget::Stop;

/// The file in the data directory.
const FILE: &str = "bans.json";
/// The longest that one call of the store may take.
const STORE_PATIENCE: Duration = Duration::from_millis(500);

/// Stops by the budget's name.
pub(super) type Stops = BTreeMap<String, Stop>;

/// Where stops are remembered.
pub struct BanMemory {
    /// None: the file is forgone, and what no store remembers ends with the process.
    file: Option<PathBuf>,
    shared: Option<(Arc<dyn Store>, String)>,
}

/// A stop as it is written.
#[derive(Serialize, Deserialize)]
struct Written {
    reason: String,
    /// Milliseconds since the epoch.
    until: u64,
}

impl BanMemory {
    /// A memory in `folder`, and under one key of `shared` if there is such a store.
    pub fn new(folder: PathBuf, shared: Option<Arc<dyn Store>>, namespace: &str) -> Self {
        BanMemory { file: Some(folder.join(FILE)), ..BanMemory::without_file(shared, namespace) }
    }

    /// A memory under one key of `shared`, if there is such a store, and in no file.
    pub fn without_file(shared: Option<Arc<dyn Store>>, namespace: &str) -> Self {
        let shared = shared.map(|store| (store, format!("{namespace}:bans:v1:all")));
        BanMemory { file: None, shared }
    }

    pub(super) fn is_shared(&self) -> bool {
        self.shared.is_some()
    }

    /// What the file holds; nothing if it cannot be read.
    pub(super) async fn in_file(&self) -> Stops {
        let Some(file) = self.file.clone() else { return Stops::new() };
        let path = file.display().to_string();
        match tokio::task::spawn_blocking(move || std::fs::read(file)).await {
            Ok(Ok(bytes)) => parse(&bytes),
            Ok(Err(why)) if why.kind() == io::ErrorKind::NotFound => Stops::new(),
            Ok(Err(why)) => {
                tracing::warn!(path, %why, "the memory of bans cannot be read");
                Stops::new()
            }
            Err(_) => Stops::new(),
        }
    }

    /// What the store holds; nothing without one. Its clock is `ahead` ms ahead of this process's.
    pub(super) async fn in_store(&self, ahead: i64) -> Result<Stops, StoreError> {
        let Some((store, key)) = &self.shared else { return Ok(Stops::new()) };
        let held = tokio::time::timeout(STORE_PATIENCE, store.get(key)).await.map_err(|_| StoreError::Timeout)??;
        Ok(shifted(held.map(|bytes| parse(&bytes)).unwrap_or_default(), ahead.saturating_neg()))
    }

    /// Writes `stops` into the file, besides what it holds of other exchanges.
    pub(super) async fn write_file(&self, stops: &Stops, now: Timestamp) {
        let Some(file) = self.file.clone() else { return };
        let path = file.display().to_string();
        let all = render(merged(self.in_file().await, stops, now));
        let written = tokio::task::spawn_blocking(move || {
            if let Some(folder) = file.parent() {
                private::create_directory(folder)?;
            }
            private::replace(&file, &all)
        });
        if let Err(why) = written.await.unwrap_or_else(|why| Err(io::Error::other(why))) {
            tracing::warn!(path, %why, "a ban could not be written down; a restart would forget it");
        }
    }

    /// Writes `stops` into the store, along with what others wrote there.
    pub(super) async fn write_store(&self, stops: &Stops, now: Timestamp, ahead: i64) -> Result<(), StoreError> {
        let Some((store, key)) = &self.shared else { return Ok(()) };
        let all = merged(self.in_store(ahead).await?, stops, now);
        let ttl = all.values().map(|stop| stop.until.since(now)).max().unwrap_or_default();
        if ttl.is_zero() {
            return Ok(());
        }
        let put = store.put(key, Bytes::from(render(shifted(all, ahead))), ttl);
        tokio::time::timeout(STORE_PATIENCE, put).await.map_err(|_| StoreError::Timeout)?
    }
}

/// The same stops by a clock that is `by` ms ahead.
fn shifted(stops: Stops, by: i64) -> Stops {
    let shift =
        |stop: Stop| Stop { until: Timestamp::from_millis(stop.until.as_millis().saturating_add_signed(by)), ..stop };
    stops.into_iter().map(|(name, stop)| (name, shift(stop))).collect()
}

/// All stops that are still in force, the longer of each name.
fn merged(mut held: Stops, stops: &Stops, now: Timestamp) -> Stops {
    for (name, stop) in stops {
        let longest = held.entry(name.clone()).or_insert(*stop);
        if longest.until < stop.until {
            *longest = *stop;
        }
    }
    held.retain(|_, stop| stop.until > now);
    held
}

/// What cannot be read is nothing: it may be another version's.
fn parse(bytes: &[u8]) -> Stops {
    let written: BTreeMap<String, Written> = serde_json::from_slice(bytes).unwrap_or_default();
    let stop = |(name, Written { reason, until })| {
        let known = [Reason::Banned, Reason::Firewall].into_iter().find(|known| known.as_str() == reason);
        let reason = known.unwrap_or(Reason::RateLimited);
        (name, Stop { reason, until: Timestamp::from_millis(until) })
    };
    written.into_iter().map(stop).collect()
}

fn render(stops: Stops) -> Vec<u8> {
    let written = |(name, stop): (String, Stop)| {
        (name, Written { reason: stop.reason.as_str().to_owned(), until: stop.until.as_millis() })
    };
    let written: BTreeMap<_, _> = stops.into_iter().map(written).collect();
    serde_json::to_vec(&written).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stop(reason: Reason, until: u64) -> Stop {
        Stop { reason, until: Timestamp::from_millis(until) }
    }

    #[tokio::test]
    async fn written_rows_are_read_and_outdated_ones_are_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let memory = BanMemory::new(folder.path().join("new"), None, "lastgood");
        assert!(memory.in_file().await.is_empty());
        let now = Timestamp::from_millis(1_000);
        let spot = Stops::from([("spot@x".to_owned(), stop(Reason::Banned, 5_000))]);
        memory.write_file(&spot, now).await;
        let coin = Stops::from([("coin@x".to_owned(), stop(Reason::RateLimited, 9_000))]);
        memory.write_file(&coin, now).await;
        let both: Stops = spot.into_iter().chain(coin.clone()).collect();
        assert_eq!(memory.in_file().await, both);
        memory.write_file(&coin, Timestamp::from_millis(6_000)).await;
        assert_eq!(memory.in_file().await, coin);
        std::fs::write(folder.path().join("new").join(FILE), "garbage").unwrap();
        assert!(memory.in_file().await.is_empty());
    }
}
