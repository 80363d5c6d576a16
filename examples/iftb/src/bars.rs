//! The bot's own bars, and what memory drops.

use lastgood::{Outcome, Tier, WasThere};
use lastgood_example_iftb::{Times, builder, hours};
use lastgood_market::bars::{Ohlcv, OwnBars};
use lastgood_market::{Market, RegionName, Venue};
use rust_decimal::Decimal;
use std::time::Duration;

use crate::promises::Promises;
use crate::{Failure, SYMBOL};

/// What the original did with OHLCV: set, get, latest, exists, invalidate.
pub(crate) async fn show(market: &Market, promises: &mut Promises) -> Result<(), Failure> {
    println!("\nthe bot's own bars, under the exchange's own name {SYMBOL}");
    let (own, series) = (market.own_bars(), crate::series(SYMBOL)?);
    let mut bars = hours(100, 100);
    let wrong = Ohlcv { low: Decimal::NEGATIVE_ONE, ..bars[0].clone() };
    bars.push(wrong);
    let set = own.set_bars(&series, &bars).await;
    bars.pop();
    for (place, why) in &set.refused {
        println!("  bar {place} is refused: {why}");
    }
    promises.hold("of 101 bars the wrong one is refused", (set.stored, set.refused.len()) == (100, 1), set.stored);
    let read = own.get_bars(&series, 200).await?;
    let is_same = read.as_ref().is_some_and(|read| read.bars == bars);
    promises.hold("the others come back as they were", is_same, "others came back");
    let latest = own.latest_bar(&series).await?;
    promises.hold("the latest bar is the last that was put", latest.as_ref() == bars.last(), "it is another");
    let candles = market.get_bars(Venue::Spot, SYMBOL, "1h", 100).await?;
    let is_mixed = candles.bars.iter().any(|candle| candle.close == bars[0].close);
    promises.hold("none of them is served as the exchange's", !is_mixed, "the exchange's candles have one");
    let there = own.exists(&series).await?;
    let gone = own.invalidate(&series).await == WasThere::Yes && own.exists(&series).await != Ok(true);
    promises.hold("a series exists until it is invalidated", there && gone, format!("{there}, {gone}"));
    Ok(())
}

/// Far more than memory holds: what it drops comes from the store.
pub(crate) async fn evict(store: &str, promises: &mut Promises) -> Result<(), Failure> {
    const LIMIT: u64 = 1 << 20;
    const SERIES: i64 = 40;
    let market = builder(store, None, Times::BOT)?.memory_limit(LIMIT).build().await?;
    crate::until_the_store_answers(&market).await;
    for number in 0..SERIES {
        let set =
            market.own_bars().set_bars(&crate::series(&format!("many{number}"))?, &hours(1_000, 100 + number)).await;
        if set.stored != 1_000 {
            return Err(format!("only {} of 1000 bars are taken", set.stored).into());
        }
    }
    market.sync(Duration::from_secs(10)).await;
    let (mut whole, mut from_store) = (0, 0);
    for number in 0..SERIES {
        let Some(read) = read_patiently(&market, number).await? else { continue };
        whole += i32::from(read.bars == hours(1_000, 100 + number));
        from_store += i32::from(read.outcome == Outcome::Hit(Tier::Store));
    }
    let (held, keys) = (market.status().memory_bytes, market.stats(RegionName::Bars).keys);
    println!(
        "\n{SERIES} series of 1000 bars in a memory of 1 MiB: it holds {keys} of them in {} kB, and {from_store} came from the store",
        held / 1_000
    );
    promises.hold("memory keeps to its limit", held <= LIMIT, format!("{held} bytes"));
    promises.hold(
        "what it drops comes from the store, whole",
        whole == 40 && from_store > 0,
        format!("{whole} are whole"),
    );
    market.close(Duration::from_secs(5)).await;
    Ok(())
}

/// A read that outlasts a Redis that is slower than the store's budget for a moment, as on a busy machine.
async fn read_patiently(market: &Market, number: i64) -> Result<Option<OwnBars>, Failure> {
    let series = crate::series(&format!("many{number}"))?;
    for _ in 0..100 {
        if let Ok(Some(read)) = market.own_bars().get_bars(&series, 1_000).await {
            return Ok(Some(read));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(None)
}
