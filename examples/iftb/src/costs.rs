//! What a read costs without a cache, at first and then, and how long it is fresh.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lastgood::{Error, Outcome};
use lastgood_example_iftb::{Input, Model, Times, analyse, data_layer};
use lastgood_market::{Market, RegionName, Venue};
use tokio::time::Instant;

use crate::promises::Promises;
use crate::{Failure, SYMBOL};

/// How often a read without a cache is measured.
const BARE_READS: usize = 5;

#[derive(Clone, Copy)]
enum Kind {
    Candles,
    Ticker,
    Funding,
    FearGreed,
    Analysis,
}

impl Kind {
    /// Each, with the seconds that the original kept it; of candles, those of the one that forms.
    const ALL: [(Kind, &str, RegionName, u64); 5] = [
        (Kind::Candles, "candles 1h x 100", RegionName::Klines, 2),
        (Kind::Ticker, "ticker", RegionName::Ticker24hr, 10),
        (Kind::Funding, "funding", RegionName::PremiumIndex, 60),
        (Kind::FearGreed, "fear & greed", RegionName::FearGreed, 300),
        (Kind::Analysis, "analysis", RegionName::Llm, 300),
    ];

    async fn read(self, market: &Market, model: &Arc<Model>) -> Result<Outcome, Error> {
        Ok(match self {
            Kind::Candles => market.get_bars(Venue::Spot, SYMBOL, "1h", 100).await?.outcome,
            Kind::Ticker => market.ticker(Venue::Spot, SYMBOL).await?.outcome,
            Kind::Funding => market.funding(Venue::UsdM, SYMBOL).await?.outcome,
            Kind::FearGreed => market.fear_greed(7).await?.outcome,
            Kind::Analysis => analyse(market, model, input("costs")).await?.outcome,
        })
    }
}

fn input(symbol: &str) -> Input {
    Input { symbol: symbol.to_owned(), closes: Vec::new(), funding_rate: None, fear_greed: None }
}

/// Prints the table. What was measured goes to `rows`, too, a line a kind.
pub(crate) async fn table(
    market: &Market,
    url: &str,
    model: &Arc<Model>,
    promises: &mut Promises,
    rows: Option<&Path>,
) -> Result<(), Failure> {
    let bare = data_layer("memory:", Some(url), Times::all(Duration::ZERO)).await?;
    println!("\n{:<18}{:>12}{:>21}{:>21}{:>10}", "", "without", "first read,", "second read,", "fresh");
    println!("{:<18}{:>12}{:>21}{:>21}{:>10}   served from", "", "a cache", "source asked", "source asked", "for");
    let (mut written, mut asked_again, mut wrong_times) = (String::new(), 0, Vec::new());
    for (kind, name, region, seconds) in Kind::ALL {
        let without = without_a_cache(kind, &bare, model).await?;
        let (first, asked_first, _) = measured(kind, market, region, model).await?;
        let (second, asked_second, outcome) = measured(kind, market, region, model).await?;
        let fresh_for = market.region(region).policy().fresh_for;
        println!(
            "{name:<18}{:>9.2} ms{:>12.2} ms, {asked_first:>3} x{:>12.1} us, {asked_second:>3} x{:>8} s   {}",
            millis(without),
            millis(first),
            second.as_secs_f64() * 1e6,
            fresh_for.as_secs(),
            outcome.to_string().to_lowercase()
        );
        written.push_str(&format!("{name}\t{}\t{}\t{}\n", millis(without), millis(first), millis(second)));
        asked_again += asked_second;
        if fresh_for != Duration::from_secs(seconds) {
            wrong_times.push(format!("{name} {fresh_for:?}"));
        }
    }
    promises.hold("the second read asks no source", asked_again == 0, format!("{asked_again} calls"));
    promises.hold(
        "ticker 10 s, funding 60 s, fear & greed 300 s and analysis 300 s are in force",
        wrong_times.is_empty(),
        wrong_times.join(", "),
    );
    if let Some(file) = rows {
        std::fs::write(file, written)?;
    }
    Ok(())
}

async fn without_a_cache(kind: Kind, market: &Market, model: &Arc<Model>) -> Result<Duration, Error> {
    // The first one connects.
    kind.read(market, model).await?;
    let mut times = Vec::with_capacity(BARE_READS);
    for _ in 0..BARE_READS {
        let began = Instant::now();
        kind.read(market, model).await?;
        times.push(began.elapsed());
    }
    times.sort_unstable();
    Ok(times[BARE_READS / 2])
}

async fn measured(
    kind: Kind,
    market: &Market,
    region: RegionName,
    model: &Arc<Model>,
) -> Result<(Duration, u64, Outcome), Error> {
    let asked = || market.stats(region).loads;
    let (before, began) = (asked(), Instant::now());
    let outcome = kind.read(market, model).await?;
    Ok((began.elapsed(), asked() - before, outcome))
}

/// Fifty callers of one analysis: the model is asked once.
pub(crate) async fn many_callers(market: &Market, model: &Arc<Model>, promises: &mut Promises) -> Result<(), Failure> {
    let before = model.calls.load(Ordering::Relaxed);
    let callers: Vec<_> = (0..50)
        .map(|_| {
            let (market, model) = (market.clone(), Arc::clone(model));
            tokio::spawn(async move { analyse(&market, &model, input("ETHUSDT")).await })
        })
        .collect();
    for caller in callers {
        caller.await??;
    }
    let asked = model.calls.load(Ordering::Relaxed) - before;
    println!();
    promises.hold("50 callers of one analysis ask the model once", asked == 1, format!("{asked} calls"));
    Ok(())
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
