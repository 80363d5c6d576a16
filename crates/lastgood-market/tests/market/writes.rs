//! What candles cost a store in writes.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use lastgood::store::{Cursor, MemoryStore, Page, Store, StoreError, Usage};
use lastgood::{Cache, Clock};
use lastgood_market::candles::Candles;
use lastgood_market::{Identities, Plan, Preset, RegionName, Request, Venue, plan};

use crate::ledger::{Ledger, MINUTE};

/// A store that counts its writes: blocks of settled candles, and ends of series.
#[derive(Debug)]
struct Counting {
    inner: MemoryStore,
    blocks: AtomicU64,
    tails: AtomicU64,
}

#[async_trait]
impl Store for Counting {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        self.inner.get(key).await
    }

    async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Bytes>>, StoreError> {
        self.inner.get_many(keys).await
    }

    async fn put(&self, key: &str, value: Bytes, ttl: Duration) -> Result<(), StoreError> {
        let written = if key.ends_with(":tail") { &self.tails } else { &self.blocks };
        written.fetch_add(1, Ordering::SeqCst);
        self.inner.put(key, value, ttl).await
    }

    async fn remove(&self, keys: &[String]) -> Result<u64, StoreError> {
        self.inner.remove(keys).await
    }

    async fn list(&self, prefix: &str, cursor: Option<Cursor>, limit: usize) -> Result<Page, StoreError> {
        self.inner.list(prefix, cursor, limit).await
    }

    async fn probe(&self) -> Result<Usage, StoreError> {
        self.inner.probe().await
    }
}

impl fmt::Display for Counting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Counting({})", self.inner)
    }
}

#[tokio::test(start_paused = true)]
async fn an_hour_of_polling_writes_closed_candles_and_a_throttled_end() {
    const SYMBOLS: u64 = 50;
    const INTERVALS: [(&str, u64); 4] = [("1m", 60), ("5m", 12), ("15m", 4), ("1h", 1)];
    const POLLS_EVERY: u64 = 5;
    let clock = Clock::paused_with_tokio();
    let inner = MemoryStore::new(clock.clone(), 256 << 20);
    let store = Arc::new(Counting { inner, blocks: AtomicU64::new(0), tails: AtomicU64::new(0) });
    let ledger = Ledger::new(clock.clone(), clock.now().as_millis() - 60 * 24 * MINUTE, false);
    let counting = Arc::clone(&store);
    let cache = Cache::builder().store(counting).clock(clock.clone()).memory_limit(1 << 30).build().unwrap();
    let region = cache.region("klines", RegionName::Klines.policy(Preset::Trading)).unwrap();
    let exchange = Arc::clone(&ledger);
    let candles = Candles::new(region, true, clock.clone(), exchange);
    let questions: Vec<_> = (0..SYMBOLS)
        .flat_map(|symbol| INTERVALS.map(|(interval, _)| format!("symbol=S{symbol}&interval={interval}&limit=20")))
        .map(|query| {
            match plan(
                &Identities::public(),
                Venue::Spot,
                Request { is_get: true, path: "/api/v3/klines", query: &query, ..Request::default() },
            ) {
                Plan::Candles(question) => question,
                other => panic!("{other:?}"),
            }
        })
        .collect();
    for _ in 0..3_600 / POLLS_EVERY {
        for question in &questions {
            candles.answer(question).await.unwrap();
        }
        tokio::time::advance(Duration::from_secs(POLLS_EVERY)).await;
        // As fast as they come: nothing waits to be replaced by something newer.
        assert!(cache.sync(Duration::from_secs(1)).await);
    }
    let closed: u64 = INTERVALS.iter().map(|(_, an_hour)| an_hour * SYMBOLS).sum();
    let (blocks, tails) = (store.blocks.load(Ordering::SeqCst), store.tails.load(Ordering::SeqCst));
    let series = questions.len() as u64;
    // Besides one for each candle: the two blocks that a list begins in, each once more when an independent answer has
    // confirmed all of it, so that a restart need not load it again, and a block that begins within the hour.
    assert!(blocks <= closed + 5 * series, "{blocks} writes of blocks for {closed} closed candles");
    // Every second poll at most, where each would be one.
    let ticks = series * 3_600 / POLLS_EVERY;
    assert!(tails <= series * (3_600 / 10 + 1) && tails < ticks * 2 / 3, "{tails} writes of ends for {ticks} ticks");
    println!("{closed} closed candles: {blocks} writes of blocks; {ticks} ticks: {tails} writes of ends");
}
