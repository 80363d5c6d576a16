//! Candles as numbers.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lastgood::store::MemoryStore;
use lastgood::{Cache, Clock, Outcome, Reason};
use lastgood_market::candles::{Bar, Candles, Series};
use lastgood_market::{Identities, Preset, RegionName, Venue};

use crate::ledger::{Ledger, MINUTE};

/// Candles over a store, of an exchange that is away by default.
struct Desk {
    clock: Clock,
    store: MemoryStore,
    ledger: Arc<Ledger>,
    cache: Cache,
    candles: Candles,
}

fn over(clock: &Clock, store: &MemoryStore, ledger: &Arc<Ledger>) -> (Cache, Candles) {
    let cache = Cache::builder().store(Arc::new(store.clone())).clock(clock.clone()).build().unwrap();
    let region = cache.region("klines", RegionName::Klines.policy(Preset::Trading)).unwrap();
    let exchange = Arc::clone(ledger);
    (cache, Candles::new(region, true, clock.clone(), exchange))
}

impl Desk {
    fn new() -> Desk {
        let clock = Clock::paused_with_tokio();
        let ledger = Ledger::new(clock.clone(), clock.now().as_millis() - 600 * MINUTE, false);
        ledger.is_down.store(true, Ordering::SeqCst);
        let store = MemoryStore::new(clock.clone(), 64 << 20);
        let (cache, candles) = over(&clock, &store, &ledger);
        Desk { clock, store, ledger, cache, candles }
    }

    fn minute(&self) -> u64 {
        self.clock.now().as_millis() / MINUTE
    }

    fn series(&self) -> Arc<Series> {
        Series::of_symbol(&Identities::public(), Venue::Spot, "BTCUSDT", "1m").unwrap()
    }
}

fn closes(bars: &[Bar]) -> Vec<String> {
    bars.iter().map(|bar| bar.close.to_string()).collect()
}

#[tokio::test(start_paused = true)]
async fn bars_are_read_as_exact_numbers() {
    let desk = Desk::new();
    desk.ledger.is_down.store(false, Ordering::SeqCst);
    let read = desk.candles.get_bars(&desk.series(), 5).await.unwrap();
    assert_eq!((read.bars.len(), read.outcome), (5, Outcome::Miss));
    let bar = &read.bars[0];
    assert_eq!((bar.open.to_string(), bar.close.to_string(), bar.trades), ("1.00".into(), "1000.00".into(), 1_000));
    assert!(bar.close_time > bar.open_time);
    assert_eq!(desk.candles.latest_bar(&desk.series()).await.unwrap().as_ref(), read.bars.last());
}

#[tokio::test(start_paused = true)]
async fn fewer_bars_than_asked_for_are_given_when_there_are_no_more() {
    // Also where the newest is the first of its block.
    for minutes_into_block in [20, 0] {
        let desk = Desk::new();
        let to_begin = 256 - desk.minute() % 256 + minutes_into_block;
        tokio::time::advance(Duration::from_millis(to_begin * MINUTE)).await;
        desk.ledger.is_down.store(false, Ordering::SeqCst);
        let loaded = desk.candles.get_bars(&desk.series(), 12).await.unwrap();
        assert_eq!((loaded.bars.len(), loaded.outcome), (12, Outcome::Miss));
        desk.ledger.is_down.store(true, Ordering::SeqCst);
        tokio::time::advance(Duration::from_secs(90)).await;
        let read = desk.candles.get_bars(&desk.series(), 30).await.unwrap();
        assert_eq!(closes(&read.bars), closes(&loaded.bars));
        assert_eq!((read.outcome, read.age), (Outcome::LastGood(Reason::Unreachable), Duration::from_secs(90)));
    }
    assert!(Series::of_symbol(&Identities::public(), Venue::Spot, "", "1m").is_err());
    assert!(Series::of_symbol(&Identities::public(), Venue::UsdM, "BTCUSDT", "1s").is_err());
}

#[tokio::test(start_paused = true)]
async fn candles_are_gone_once_they_are_invalidated() {
    let mut desk = Desk::new();
    desk.ledger.is_down.store(false, Ordering::SeqCst);
    desk.candles.get_bars(&desk.series(), 300).await.unwrap();
    desk.ledger.is_down.store(true, Ordering::SeqCst);
    assert!(desk.cache.sync(Duration::from_secs(60)).await);
    (desk.cache, desk.candles) = over(&desk.clock, &desk.store, &desk.ledger);
    assert_eq!(desk.candles.get_bars(&desk.series(), 300).await.unwrap().bars.len(), 300);
    desk.candles.invalidate(&desk.series()).await;
    assert_eq!(desk.candles.get_bars(&desk.series(), 3).await.unwrap_err().reason, Reason::Unreachable);
}
