//! Candles as numbers, read and brought.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lastgood::store::MemoryStore;
use lastgood::{Cache, Clock, Outcome, Reason, Timestamp};
use lastgood_market::candles::{Bar, BarFault, Candles, Series};
use lastgood_market::{Identities, Preset, RegionName, Venue};
use rust_decimal::Decimal;

use crate::ledger::{Ledger, MINUTE};

/// Candles over a store, of an exchange that is away unless told otherwise.
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

fn bar(minute: u64, close: i64) -> Bar {
    let amount = |value: i64| Decimal::new(value, 2);
    Bar {
        open_time: Timestamp::from_millis(minute * MINUTE),
        close_time: Timestamp::from_millis(minute * MINUTE + MINUTE - 1),
        open: amount(100),
        high: amount(200),
        low: amount(50),
        close: amount(close),
        volume: amount(1_000),
        quote_volume: amount(1_500),
        trades: 7,
        taker_volume: amount(500),
        taker_quote_volume: amount(750),
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
async fn bars_that_are_brought_are_given_back_and_outlive_a_restart() {
    let mut desk = Desk::new();
    let now = desk.minute();
    let brought: Vec<Bar> = (0..400).map(|back| bar(now - back, 60 + back as i64 % 100)).collect();
    assert_eq!(desk.candles.set_bars(&desk.series(), &brought).await.taken, 400);
    for _ in 0..2 {
        let read = desk.candles.get_bars(&desk.series(), 300).await.unwrap().bars;
        let expected: Vec<Bar> = brought.iter().take(300).rev().cloned().collect();
        assert_eq!(read, expected);
        assert!(desk.cache.flush(Duration::from_secs(60)).await);
        (desk.cache, desk.candles) = over(&desk.clock, &desk.store, &desk.ledger);
    }
    // A tick of the same candle, and the one that follows.
    desk.candles.set_bars(&desk.series(), &[bar(now, 199)]).await;
    tokio::time::advance(Duration::from_millis(MINUTE)).await;
    desk.candles.set_bars(&desk.series(), &[bar(now + 1, 150)]).await;
    let newest = desk.candles.get_bars(&desk.series(), 3).await.unwrap().bars;
    assert_eq!(closes(&newest), ["0.61", "1.99", "1.50"]);
    desk.candles.invalidate(&desk.series()).await;
    assert_eq!(desk.candles.get_bars(&desk.series(), 3).await.unwrap_err().reason, Reason::Unreachable);
}

#[tokio::test(start_paused = true)]
async fn invalid_bars_are_refused_one_by_one() {
    let desk = Desk::new();
    let now = desk.minute();
    let sound = bar(now - 9, 100);
    let bars = [
        Bar { high: Decimal::ONE, close: Decimal::TWO, ..sound.clone() },
        Bar { volume: Decimal::NEGATIVE_ONE, ..sound.clone() },
        Bar { close_time: Timestamp::EPOCH, ..sound.clone() },
        Bar { close_time: Timestamp::from_millis((now + 5) * MINUTE), ..sound.clone() },
        bar(now + 2, 100),
        sound.clone(),
    ];
    let set = desk.candles.set_bars(&desk.series(), &bars).await;
    let contradict = BarFault::TimesContradict;
    assert_eq!(set.taken, 1);
    assert_eq!(
        set.refused,
        [
            (0, BarFault::PricesContradict),
            (1, BarFault::Negative),
            (2, contradict),
            (3, contradict),
            (4, BarFault::NotYet)
        ]
    );
    assert_eq!(desk.candles.get_bars(&desk.series(), 10).await.unwrap().bars, [sound]);
}

#[tokio::test(start_paused = true)]
async fn fewer_bars_than_asked_for_are_given_when_nobody_has_more() {
    let desk = Desk::new();
    let now = desk.minute();
    // With a hole between them: what is known is given, and says what it is.
    desk.candles.set_bars(&desk.series(), &[bar(now - 20, 80), bar(now - 19, 81), bar(now, 82)]).await;
    let read = desk.candles.get_bars(&desk.series(), 10).await.unwrap();
    assert_eq!(closes(&read.bars), ["0.80", "0.81", "0.82"]);
    assert_eq!(read.outcome, Outcome::LastGood(Reason::Unreachable));
    // The same where the newest is the first of its block.
    let begin = now / 256 * 256;
    let desk = Desk::new();
    desk.candles.set_bars(&desk.series(), &[bar(begin - 20, 80), bar(begin - 19, 81), bar(begin, 82)]).await;
    let read = desk.candles.get_bars(&desk.series(), 10).await.unwrap();
    assert_eq!(closes(&read.bars), ["0.80", "0.81", "0.82"]);
    tokio::time::advance(Duration::from_secs(90)).await;
    let later = desk.candles.get_bars(&desk.series(), 10).await.unwrap();
    assert_eq!((closes(&later.bars), later.age), (closes(&read.bars), Duration::from_secs(90)));
    assert!(Series::of_symbol(&Identities::public(), Venue::Spot, "", "1m").is_err());
    assert!(Series::of_symbol(&Identities::public(), Venue::Futures, "BTCUSDT", "1s").is_err());
}
