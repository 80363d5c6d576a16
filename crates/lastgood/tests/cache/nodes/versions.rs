//! Programs of two wire versions on one store.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use lastgood::store::{Cursor, Log, Page, Store, StoreError, Swap, Usage, Version};
use lastgood::{Cache, Mode, Region, Selector};
use tokio::time::advance;

use super::{Node, Nodes, a_minute};
use crate::support::{HOUR, MINUTE, SECOND, Source, good, over, peeked, settle, summary};

/// A store as a program of another wire version sees it: what it writes is of that version, and of the entries that are
/// there it can read those of that version alone.
#[derive(Debug)]
struct OfAnotherVersion(Arc<dyn Store>);

/// Where the wire version is in an entry, and what makes one version of another.
const VERSION_AT: usize = 3;
const OTHER: u8 = 0b11;

fn translated(bytes: Bytes) -> Bytes {
    let mut bytes = bytes.to_vec();
    if bytes.starts_with(b"LGE") && bytes.len() > VERSION_AT {
        bytes[VERSION_AT] ^= OTHER;
    }
    bytes.into()
}

#[async_trait]
impl Store for OfAnotherVersion {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        Ok(self.0.get(key).await?.map(translated))
    }

    async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Bytes>>, StoreError> {
        Ok(self.0.get_many(keys).await?.into_iter().map(|held| held.map(translated)).collect())
    }

    async fn put(&self, key: &str, value: Bytes, ttl: Duration) -> Result<(), StoreError> {
        self.0.put(key, translated(value), ttl).await
    }

    async fn remove(&self, keys: &[String]) -> Result<u64, StoreError> {
        self.0.remove(keys).await
    }

    async fn list(&self, prefix: &str, cursor: Option<Cursor>, limit: usize) -> Result<Page, StoreError> {
        self.0.list(prefix, cursor, limit).await
    }

    async fn probe(&self) -> Result<Usage, StoreError> {
        self.0.probe().await
    }

    async fn swap(&self, swap: &Swap) -> Result<bool, StoreError> {
        let held = self.0.get(&swap.key).await?;
        if held.clone().map(translated).as_deref().map(Version::of) != swap.expected {
            return Ok(false);
        }
        let to = swap.to.clone().map(|(value, ttl)| (translated(value), ttl));
        self.0.swap(&Swap { key: swap.key.clone(), expected: held.as_deref().map(Version::of), to }).await
    }

    fn log(&self) -> Option<&dyn Log> {
        self.0.log()
    }
}

impl fmt::Display for OfAnotherVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "another version's {}", self.0)
    }
}

/// A program of this version and one of another, on one store.
async fn of_two_versions(nodes: &Nodes) -> (Node, Cache, Region) {
    let new = nodes.start().await;
    let old = over(Arc::new(OfAnotherVersion(Arc::new(nodes.store.clone()))), &nodes.clock);
    let prices =
        old.region("prices", a_minute().stale_if_error(lastgood::Keep::For(24 * HOUR))).expect("a sound policy");
    settle().await;
    (new, old, prices)
}

#[tokio::test(start_paused = true)]
async fn programs_of_two_wire_versions_load_once_each_in_a_period_of_freshness_and_come_to_rest() {
    let (nodes, source) = (Nodes::new(), Source::answering("v1"));
    let (new, old, of_old) = of_two_versions(&nodes).await;
    let rounds = 10;
    for round in 1..=rounds {
        // Read twice a second, for a period of freshness and a little.
        for _ in 0..124 {
            for answer in [new.read(&source, "BTCUSDT").await, summary(source.read(&of_old, "BTCUSDT").await)] {
                assert_eq!(answer.expect("none of them is in the other's way").0, "v1");
            }
            settle().await;
            advance(SECOND / 2).await;
        }
        assert!(new.cache.sync(MINUTE).await && old.sync(MINUTE).await);
        assert!(source.loads() <= 2 * (round + 1), "round {round}: {} loads", source.loads());
    }
    let (loads, writes) = (source.loads(), new.way.writes());
    for _ in 0..100 {
        settle().await;
    }
    assert_eq!((source.loads(), new.way.writes()), (loads, writes), "without readers nothing is loaded or written");
    assert!(writes <= 2 * rounds + 2, "{writes} writes");
}

#[tokio::test(start_paused = true)]
async fn programs_of_two_wire_versions_invalidate_for_each_other() {
    let (nodes, source) = (Nodes::new(), Source::answering("v1"));
    let (new, old, of_old) = of_two_versions(&nodes).await;
    let read_old = async || summary(source.read(&of_old, "BTCUSDT").await);
    new.read(&source, "BTCUSDT").await.expect("it loads");
    read_old().await.expect("it loads");
    assert!(new.cache.sync(MINUTE).await && old.sync(MINUTE).await);
    source.set("v2");
    of_old.remove("BTCUSDT").await;
    assert!(old.sync(MINUTE).await);
    settle().await;
    assert_eq!(peeked(&new.prices, "BTCUSDT"), None);
    assert_eq!(new.read(&source, "BTCUSDT").await, good("v2", "MISS"));
    assert_eq!(read_old().await, good("v2", "MISS"));
    source.set("v3");
    let all = Selector::Region("prices".to_owned());
    new.cache.invalidate(&all, Some(Mode::Remove)).await.expect("the store answers");
    new.flush().await;
    assert_eq!(read_old().await, good("v3", "MISS"));
    assert_eq!(new.read(&source, "BTCUSDT").await, good("v3", "MISS"));
}
