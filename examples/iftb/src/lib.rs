//! The data layer of a trading bot: candles, ticker, funding, fear & greed and analyses by a language model, all of it
//! answered from memory, Redis or the exchange, and from what was good last when none of them answers.

#![expect(missing_docs, reason = "an example names things by what they are")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use lastgood::{Clock, Error, Reason, Timestamp, TypedAnswer};
use lastgood_market::bars::Ohlcv;
use lastgood_market::candles::Bars;
use lastgood_market::fear_greed::Reading;
use lastgood_market::market::{BuildError, Funding, MarketBuilder, Ticker};
use lastgood_market::{Market, RegionName, Venue};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

/// The data layer. All there is to say about it is where things are and how long they are fresh.
pub async fn data_layer(store: &str, exchange: Option<&str>, times: Times) -> Result<Market, BuildError> {
    builder(store, exchange, times)?.build().await
}

/// The same, yet to be built. `store` is for example `redis://:password@host:6379/5`: a database of the bot's own.
pub fn builder(store: &str, exchange: Option<&str>, times: Times) -> Result<MarketBuilder, BuildError> {
    let market = Market::builder()
        .store(store)?
        .namespace(NAMESPACE)
        .fresh_for(RegionName::Klines, times.forming_candle)
        .fresh_for(RegionName::Ticker24hr, times.ticker)
        .fresh_for(RegionName::PremiumIndex, times.funding)
        .fresh_for(RegionName::FearGreed, times.fear_greed)
        .fresh_for(RegionName::Llm, times.analysis)
        .fresh_for(RegionName::Bars, times.own_bars);
    match exchange {
        Some(url) => market.exchange(url),
        None => Ok(market),
    }
}

/// The prefix of its keys, which keeps them apart from other users of the database.
pub const NAMESPACE: &str = "iftb";

/// How long answers are fresh. Closed candles are not among them: they never change.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    pub forming_candle: Duration,
    pub ticker: Duration,
    pub funding: Duration,
    pub fear_greed: Duration,
    pub analysis: Duration,
    pub own_bars: Duration,
}

impl Times {
    /// The bot's own.
    pub const BOT: Times = Times {
        forming_candle: Duration::from_secs(2),
        ticker: Duration::from_secs(10),
        funding: Duration::from_secs(60),
        fear_greed: Duration::from_secs(300),
        analysis: Duration::from_secs(300),
        own_bars: Duration::from_secs(300),
    };

    /// All the same.
    pub const fn all(time: Duration) -> Times {
        Times { forming_candle: time, ticker: time, funding: time, fear_greed: time, analysis: time, own_bars: time }
    }
}

/// What the bot knows when it decides.
#[derive(Debug)]
pub struct Picture {
    pub bars: Bars,
    pub ticker: TypedAnswer<Ticker>,
    pub funding: TypedAnswer<Funding>,
    pub mood: TypedAnswer<Vec<Reading>>,
    pub analysis: TypedAnswer<Analysis>,
}

/// What a model makes of the market.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Analysis {
    pub sentiment: String,
    pub why: String,
}

/// What a model is shown. Equal inputs share an analysis, for all callers.
#[derive(Clone, Debug, Serialize)]
pub struct Input {
    pub symbol: String,
    pub closes: Vec<Decimal>,
    pub funding_rate: Option<Decimal>,
    pub fear_greed: Option<u8>,
}

/// One turn of the bot.
pub async fn look(market: &Market, model: &Arc<Model>, symbol: &str) -> Result<Picture, Error> {
    let bars = market.get_bars(Venue::Spot, symbol, "1h", 100).await?;
    let ticker = market.ticker(Venue::Spot, symbol).await?;
    let funding = market.funding(Venue::UsdM, symbol).await?;
    let mood = market.fear_greed(7).await?;
    let input = Input {
        symbol: symbol.to_owned(),
        // The forming candle would make each input a new one.
        closes: bars.bars.iter().rev().skip(1).take(24).map(|bar| bar.close).collect(),
        funding_rate: funding.value.last_funding_rate,
        fear_greed: mood.value.first().map(|reading| reading.value),
    };
    let analysis = analyse(market, model, input).await?;
    Ok(Picture { bars, ticker, funding, mood, analysis })
}

/// The analysis of an input, from the cache or the model.
pub async fn analyse(market: &Market, model: &Arc<Model>, input: Input) -> Result<TypedAnswer<Analysis>, Error> {
    let (model, shown) = (Arc::clone(model), input.clone());
    market.llm("sentiment")?.get_or_compute(&input, || async move { Ok(model.ask(&shown).await?) }).await
}

/// Stands in for a language model: slow, and paid by the call.
#[derive(Debug, Default)]
pub struct Model {
    /// What it was asked so far.
    pub calls: AtomicU64,
    /// Whether it fails.
    pub is_down: AtomicBool,
}

impl Model {
    async fn ask(&self, input: &Input) -> Result<Analysis, Error> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(300)).await;
        if self.is_down.load(Ordering::Relaxed) {
            return Err(Error::new(Reason::Upstream, "the model does not answer"));
        }
        let rises = input.closes.first() > input.closes.last();
        let sentiment = if rises { "bullish" } else { "bearish" };
        let why = format!("{} closes, fear & greed at {}", input.closes.len(), input.fear_greed.unwrap_or_default());
        Ok(Analysis { sentiment: sentiment.to_owned(), why })
    }
}

const HOUR: u64 = 3_600_000;

/// Bars of the last hours, the newest still forming; `close` tells those of one series from another's.
pub fn hours(count: u64, close: i64) -> Vec<Ohlcv> {
    let now = Clock::system().now().as_millis() / HOUR;
    let amount = |value: i64| Decimal::new(value, 2);
    let bar = |back: u64| Ohlcv {
        open_time: Timestamp::from_millis((now - back) * HOUR),
        open: amount(close),
        high: amount(close + 50),
        low: amount(close - 50),
        close: amount(close),
        volume: amount(1_000),
    };
    (0..count).rev().map(bar).collect()
}
