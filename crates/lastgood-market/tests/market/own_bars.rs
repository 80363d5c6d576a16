//! The bars that an application brings, and what it gets back.

use std::sync::Arc;
use std::time::Duration;

use lastgood::store::{MemoryStore, StoreError};
use lastgood::testing::{Fault, FaultyStore};
use lastgood::{Cache, Clock, Outcome, Reason, Tier, Timestamp, WasThere};
use lastgood_market::bars::{ApplicationBars, BarFault, BarSeries, MOST_BARS, Ohlcv, Range};
use lastgood_market::{Market, Preset, RegionName, Venue};
use lastgood_sim::{Sim, SimConfig};
use lastgood_testing::RedisServer;
use rust_decimal::Decimal;
use tokio::net::TcpListener;

const MINUTE: u64 = 60_000;

/// The bars of an application over a store that fails on command, which outlives them.
struct Desk {
    clock: Clock,
    store: Arc<FaultyStore>,
    cache: Cache,
    bars: ApplicationBars,
}

impl Desk {
    fn new() -> Desk {
        let clock = Clock::paused_with_tokio();
        let store = FaultyStore::new(Arc::new(MemoryStore::new(clock.clone(), 64 << 20)));
        Desk::over(clock, store)
    }

    fn over(clock: Clock, store: Arc<FaultyStore>) -> Desk {
        let cache = Cache::builder().store(store.clone()).clock(clock.clone()).build().unwrap();
        let region = cache.region("bars", RegionName::Bars.policy(Preset::Trading)).unwrap();
        Desk { bars: ApplicationBars::new(region, clock.clone()), clock, store, cache }
    }

    /// Another process on the same store, after this one.
    fn restarted(self) -> Desk {
        Desk::over(self.clock, self.store)
    }

    fn minute(&self) -> u64 {
        self.clock.now().as_millis() / MINUTE
    }

    async fn is_written(&self) {
        assert!(self.cache.sync(Duration::from_secs(60)).await);
    }

    fn fail(&self) {
        self.store.set(Fault::Fail(StoreError::Unavailable("away".to_owned())));
    }

    /// The store is back, and what waited for it has had time to be written.
    async fn heal(&self) {
        self.store.set(Fault::Pass);
        tokio::time::sleep(Duration::from_secs(60)).await;
        self.is_written().await;
    }

    async fn closes(&self) -> Vec<String> {
        let kept = self.bars.get_bars(&series(), MOST_BARS).await;
        kept.ok().flatten().map(|kept| closes(&kept.bars)).unwrap_or_default()
    }
}

fn series() -> BarSeries {
    BarSeries::new("my:BTC-PERP", "1m").unwrap()
}

fn bar(minute: u64, close: i64) -> Ohlcv {
    let amount = |value: i64| Decimal::new(value, 2);
    Ohlcv {
        open_time: Timestamp::from_millis(minute * MINUTE),
        open: amount(100),
        high: amount(200),
        low: amount(50),
        close: amount(close),
        volume: amount(1_000),
    }
}

fn closes(bars: &[Ohlcv]) -> Vec<String> {
    bars.iter().map(|bar| bar.close.to_string()).collect()
}

#[tokio::test(start_paused = true)]
async fn bars_come_back_as_they_were_brought_and_outlive_a_restart() {
    let mut desk = Desk::new();
    let now = desk.minute();
    let brought: Vec<Ohlcv> = (0..400).map(|back| bar(now - back, 60 + back as i64 % 100)).collect();
    assert_eq!(desk.bars.set_bars(&series(), &brought).await.stored, 400);
    for tier in [Tier::Memory, Tier::Store] {
        let read = desk.bars.get_bars(&series(), 300).await.unwrap().unwrap();
        let expected: Vec<Ohlcv> = brought.iter().take(300).rev().cloned().collect();
        assert_eq!((read.bars, read.outcome), (expected, Outcome::Hit(tier)));
        assert_eq!(desk.bars.latest_bar(&series()).await, Ok(Some(bar(now, 60))));
        desk.is_written().await;
        desk = desk.restarted();
    }
    // A tick of the same candle, and the one that follows.
    desk.bars.set_bars(&series(), &[bar(now, 199)]).await;
    tokio::time::advance(Duration::from_millis(MINUTE)).await;
    desk.bars.set_bars(&series(), &[bar(now + 1, 150)]).await;
    let newest = desk.bars.get_bars(&series(), 3).await.unwrap().unwrap().bars;
    assert_eq!(closes(&newest), ["0.61", "1.99", "1.50"]);
    assert_eq!(desk.bars.exists(&series()).await, Ok(true));
    assert_eq!(desk.bars.invalidate(&series()).await, WasThere::Yes);
    desk.is_written().await;
    let desk = desk.restarted();
    assert_eq!(desk.bars.exists(&series()).await, Ok(false));
    assert_eq!(desk.bars.invalidate(&series()).await, WasThere::No);
    assert_eq!(desk.bars.get_bars(&series(), 3).await, Ok(None));
    assert_eq!(desk.bars.latest_bar(&series()).await, Ok(None));
}

#[tokio::test(start_paused = true)]
async fn invalid_bars_are_refused_one_by_one() {
    let desk = Desk::new();
    let now = desk.minute();
    let sound = bar(now - 9, 100);
    let at = |millis| Ohlcv { open_time: Timestamp::from_millis(millis), ..sound.clone() };
    let bars = [
        Ohlcv { high: Decimal::ONE, close: Decimal::TWO, ..sound.clone() },
        Ohlcv { volume: Decimal::NEGATIVE_ONE, ..sound.clone() },
        Ohlcv { low: Decimal::ZERO, ..sound.clone() },
        at((now - 9) * MINUTE + 1),
        bar(now + 1, 100),
        sound.clone(),
        bar(now - 9, 101),
        sound.clone(),
    ];
    let set = desk.bars.set_bars(&series(), &bars).await;
    assert_eq!((set.stored, set.dropped), (1, 0));
    assert_eq!(
        set.refused,
        [
            (0, BarFault::High),
            (1, BarFault::NegativeVolume),
            (2, BarFault::NotPositive("low")),
            (3, BarFault::NotAligned((now - 9) * MINUTE)),
            (4, BarFault::NotYet),
            (6, BarFault::Contradicts(5)),
        ]
    );
    assert_eq!(desk.bars.get_bars(&series(), 10).await.unwrap().unwrap().bars, [sound]);
    let nothing = desk.bars.set_bars(&BarSeries::new("other", "1m").unwrap(), &bars[..1]).await;
    assert_eq!((nothing.stored, nothing.refused.len()), (0, 1));
    assert_eq!(desk.bars.exists(&BarSeries::new("other", "1m").unwrap()).await, Ok(false));
}

#[tokio::test(start_paused = true)]
async fn past_their_freshness_bars_are_the_last_good_ones_with_their_age() {
    let desk = Desk::new();
    desk.bars.set_bars(&series(), &[bar(desk.minute(), 100)]).await;
    tokio::time::advance(Duration::from_secs(301)).await;
    let read = desk.bars.get_bars(&series(), 1).await.unwrap().unwrap();
    assert_eq!((read.outcome, read.age), (Outcome::LastGood(Reason::Abandoned), Duration::from_secs(301)));
    // Weeks later and in another process, too.
    desk.is_written().await;
    let desk = desk.restarted();
    tokio::time::advance(Duration::from_secs(30 * 86_400)).await;
    assert_eq!(desk.closes().await, ["1.00"]);
}

#[tokio::test(start_paused = true)]
async fn a_series_keeps_its_newest_bars_and_says_what_it_dropped() {
    let desk = Desk::new();
    let (now, most) = (desk.minute(), MOST_BARS as u64);
    let all: Vec<Ohlcv> = (0..most).map(|back| bar(now - 10 - back, 100)).collect();
    assert_eq!(desk.bars.set_bars(&series(), &all).await.stored, MOST_BARS);
    let set = desk.bars.set_bars(&series(), &[bar(now, 101), bar(now - 1, 102), bar(now - 10 - most, 103)]).await;
    assert_eq!((set.stored, set.dropped), (2, 2));
    assert_eq!(set.refused, [(2, BarFault::TooOld)]);
    let kept = desk.bars.find(&series()).await.unwrap().unwrap();
    assert_eq!(kept.len(), MOST_BARS);
    let of_the_oldest = kept.in_range(&Range { start: Some(0), end: None, limit: 1 });
    assert!(of_the_oldest.starts_with(format!("[[{},", (now - 10 - (most - 3)) * MINUTE).as_bytes()));
}

#[tokio::test]
async fn writers_of_one_series_lose_nothing() {
    let desk = Desk::over(Clock::system(), {
        let inner = MemoryStore::new(Clock::system(), 64 << 20);
        FaultyStore::new(Arc::new(inner))
    });
    desk.store.set_reads(Fault::Delay(Duration::from_millis(1)));
    let now = desk.minute();
    let writers = (0..50).map(|back| {
        let bars = desk.bars.clone();
        tokio::spawn(async move { bars.set_bars(&series(), &[bar(now - back, 60 + back as i64)]).await.stored })
    });
    for writer in writers.collect::<Vec<_>>() {
        assert_eq!(writer.await.unwrap(), 1);
    }
    assert_eq!(desk.closes().await.len(), 50);
}

#[tokio::test(start_paused = true)]
async fn bars_put_while_the_store_is_away_reach_it_when_it_is_back() {
    let desk = Desk::new();
    let now = desk.minute();
    desk.bars.set_bars(&series(), &[bar(now - 2, 101)]).await;
    desk.is_written().await;
    desk.fail();
    desk.bars.set_bars(&series(), &[bar(now - 1, 102)]).await;
    assert_eq!(desk.closes().await, ["1.01", "1.02"]);
    desk.heal().await;
    let desk = desk.restarted();
    assert_eq!(desk.closes().await, ["1.01", "1.02"]);
}

#[tokio::test(start_paused = true)]
async fn a_restart_while_the_store_is_away_costs_no_bar() {
    let desk = Desk::new();
    let now = desk.minute();
    desk.bars.set_bars(&series(), &[bar(now - 3, 101), bar(now - 2, 102)]).await;
    desk.is_written().await;
    desk.fail();
    let desk = desk.restarted();
    assert_eq!(desk.closes().await, [""; 0], "they are unknown now");
    assert!(desk.bars.find(&series()).await.is_err(), "which is not to say that there are none");
    desk.bars.set_bars(&series(), &[bar(now - 2, 103), bar(now - 1, 104)]).await;
    desk.bars.set_bars(&series(), &[bar(now, 105)]).await;
    assert_eq!(desk.closes().await, ["1.03", "1.04", "1.05"], "those of this process are known");
    desk.heal().await;
    let all = ["1.01", "1.03", "1.04", "1.05"];
    assert_eq!(desk.closes().await, all, "and the later ones stand");
    desk.is_written().await;
    let desk = desk.restarted();
    assert_eq!(desk.closes().await, all);
    assert_eq!(desk.bars.invalidate(&series()).await, WasThere::Yes);
    desk.is_written().await;
    assert_eq!(desk.restarted().closes().await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn bars_put_right_after_everything_was_cleared_stay() {
    let desk = Desk::new();
    let now = desk.minute();
    desk.bars.set_bars(&series(), &[bar(now - 2, 101)]).await;
    desk.is_written().await;
    desk.store.set(Fault::Delay(Duration::from_millis(5)));
    desk.cache.clear().await;
    desk.bars.set_bars(&series(), &[bar(now, 102)]).await;
    desk.is_written().await;
    desk.store.set(Fault::Pass);
    assert_eq!(desk.closes().await, ["1.02"]);
    assert_eq!(desk.restarted().closes().await, ["1.02"]);
}

#[tokio::test]
async fn an_applications_bars_are_never_the_exchanges_nor_the_other_way_round() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let sim = Sim::new(SimConfig { symbols: 20, ..SimConfig::default() });
    tokio::spawn(async move { sim.serve(listener, std::future::pending()).await });
    let (redis, folder) = (RedisServer::start(), tempfile::tempdir().unwrap());
    let embedded = format!("embedded:{}", folder.path().join("bars.redb").display());
    for store in ["memory:", &embedded, &redis.url()] {
        let market = async || {
            let built = Market::builder().store(store).unwrap().exchange(&url).unwrap().build().await.unwrap();
            built.sync(Duration::from_secs(5)).await;
            built
        };
        let series = BarSeries::new("BTCUSDT", "1m").unwrap();
        let mut open = market().await;
        let minute = Clock::system().now().as_millis() / MINUTE;
        let own = [bar(minute - 1, 101), bar(minute, 102)];
        assert_eq!(open.own_bars().set_bars(&series, &own).await.stored, 2);
        for _ in 0..2 {
            let exchange = open.get_bars(Venue::Spot, "BTCUSDT", "1m", 5).await.unwrap();
            assert_eq!(exchange.bars.len(), 5);
            assert!(exchange.bars.iter().all(|bar| bar.high > Decimal::TWO), "{store}: the exchange's own");
            assert_ne!(open.latest_bar(Venue::Spot, "BTCUSDT", "1m").await.unwrap().unwrap().close, own[1].close);
            let kept = open.own_bars().get_bars(&series, 5).await.unwrap().unwrap();
            assert_eq!(kept.bars, own, "{store}: the application's own");
            if store == "memory:" {
                break;
            }
            assert!(open.sync(Duration::from_secs(10)).await);
            open.close(Duration::from_secs(5)).await;
            drop(open);
            open = market().await;
        }
        let absent = BarSeries::new("ETHUSDT", "1m").unwrap();
        open.get_bars(Venue::Spot, "ETHUSDT", "1m", 5).await.unwrap();
        let mut exists = open.own_bars().exists(&absent).await;
        while exists.is_err() {
            // A busy machine.
            exists = open.own_bars().exists(&absent).await;
        }
        assert_eq!(exists, Ok(false), "{store}: the exchange's are not the application's");
    }
}

#[test]
fn names_and_intervals_of_series_are_bounded() {
    for name in ["BTCUSDT", "my:BTC-PERP", "BRK.B", "币安人生USDT", &"x".repeat(64)] {
        assert!(BarSeries::new(name, "1M").is_ok(), "{name}");
    }
    for name in ["", ":", "a:", ".a", "a..b", "a/b", "a b", "a*", "a\0", "a%", &"x".repeat(65)] {
        assert_eq!(BarSeries::new(name, "1m").unwrap_err().reason, Reason::NotFound, "{name}");
    }
    for interval in ["", "2m", "1H", "60", "1m ", "15 m"] {
        assert_eq!(BarSeries::new("BTCUSDT", interval).unwrap_err().reason, Reason::NotFound, "{interval}");
    }
}
