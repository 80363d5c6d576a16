//! The market for a Rust program: candles, tickers, funding, the fear & greed index and analyses in a few lines, with
//! budgets, bans, failover and the last good answer as the gateway has them.
//!
//! ```
//! # use lastgood_sim::{Sim, SimConfig};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! # let exchange = format!("http://{}", listener.local_addr()?);
//! # tokio::spawn(async move { Sim::new(SimConfig::default()).serve(listener, std::future::pending()).await });
//! use lastgood_market::{Market, Venue};
//!
//! let market = Market::builder().store("memory:")?.exchange(&exchange)?.namespace("bot").build().await?;
//! let hour = market.get_bars(Venue::Spot, "BTCUSDT", "1h", 100).await?;
//! let ticker = market.ticker(Venue::Spot, "BTCUSDT").await?;
//! println!("{} after {} bars ({}, {:?} old)", ticker.value.last_price, hour.bars.len(), ticker.outcome, ticker.age);
//! # assert_eq!(hour.bars.len(), 100);
//! # Ok(()) }
//! ```

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use lastgood::warm::Tally;
use lastgood::{Answer, CacheStatus, Error, Loaded, Reason, Region, RegionStats, TypedAnswer, Value};
use serde::de::DeserializeOwned;

use crate::bars::ApplicationBars;
use crate::candles::{Bar, Bars, Candles, Series};
use crate::engine::{Answered, Asked};
use crate::fear_greed::{self, Form};
use crate::line::{Keeper, Line};
use crate::projection::{self, Projection};
use crate::warm::{Filter, NoRound, Progress};
use crate::{Engine, Priority, RegionName, UpstreamRequest, Venue, symbols};

mod analyses;
mod builder;
mod health;
mod shelf;
mod sources;
mod types;

pub use self::analyses::{Analyses, Found};
pub use self::builder::{BuildError, MarketBuilder};
pub use self::health::{Health, StreamHealth, VenueHealth};
pub use self::types::{Funding, FundingRate, Symbol, Ticker};
pub use crate::trouble::Trouble;

use self::shelf::Shelf;
use self::types::Whole;

/// The market. Clones share everything.
#[derive(Clone)]
pub struct Market(Arc<Shared>);

struct Shared {
    engine: Engine,
    /// Why the store that was asked for is not used.
    no_store: Option<String>,
}

/// The confirmation that [`Market::clear`] wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirm {
    /// Everything that is kept in the namespace goes, the last good answers too.
    YesClearEverything,
}

/// What was cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cleared {
    /// Entries that memory held.
    pub from_memory: u64,
    /// Whether the store has done it. Where it has not yet, it will when it answers again, and what it still holds is
    /// not served meanwhile.
    pub store_done: bool,
}

/// How long a clearing waits for the store.
const CLEARED_WITHIN: Duration = Duration::from_secs(5);

impl Market {
    /// A builder for a market.
    pub fn builder() -> MarketBuilder {
        MarketBuilder::new()
    }

    /// The pairs that a venue trades, by name.
    ///
    /// # Errors
    ///
    /// The exchange's, where nothing is kept.
    pub async fn symbols(&self, venue: Venue) -> Result<TypedAnswer<Vec<Symbol>>, Error> {
        let path = match venue {
            Venue::Spot => "/api/v3/exchangeInfo",
            Venue::UsdM => "/fapi/v1/exchangeInfo",
            Venue::CoinM => "/dapi/v1/exchangeInfo",
        };
        let line = self.line(venue, path, "")?;
        let (request, key) = (Arc::clone(line.load()), format!("{}/by-name", self.identities().of(venue)));
        let region = self.region(RegionName::Symbols);
        let ask = || {
            let (market, request, name) = (Arc::clone(&self.0), Arc::clone(&request), key.clone());
            region.get_or_load(&key, move || async move {
                let loaded = market.load_symbols(&request, &name).await;
                Ok(market.engine.troubles.note(RegionName::Symbols, loaded)?)
            })
        };
        self.read(region, &key, ask, |rows| serde_json::from_slice(rows).ok()).await
    }

    /// The pairs that a venue trades: first those that the builder calls popular, then by the volume of 24 hours, which is
    /// one more question to the exchange than [`Market::symbols`] takes. Spot and USD-M futures have such a list.
    ///
    /// # Errors
    ///
    /// The exchange's, where nothing is kept; [`Reason::NotFound`] for COIN-M.
    pub async fn popular_symbols(&self, venue: Venue) -> Result<TypedAnswer<Vec<Symbol>>, Error> {
        if venue == Venue::CoinM {
            return Err(Error::new(Reason::NotFound, "COIN-M has no list by volume; ask Market::symbols"));
        }
        let chain = &self.0.engine.symbols;
        let answer = chain.read(venue, None).await?;
        let value = answer.memoised(|value| serde_json::from_slice(&value.body).ok().map(Arc::new));
        let value: Arc<Vec<Symbol>> = value.ok_or_else(|| unreadable("the kept value"))?;
        Ok(TypedAnswer { value, outcome: answer.outcome(), age: answer.age() })
    }

    /// The newest `limit` candles of a symbol, oldest first; the last may still be forming.
    ///
    /// # Errors
    ///
    /// The exchange's, where nothing is kept; [`Reason::NotFound`] when the venue has no such interval.
    pub async fn get_bars(&self, venue: Venue, symbol: &str, interval: &str, limit: usize) -> Result<Bars, Error> {
        let series = Series::of_symbol(self.identities(), venue, symbol, interval)?;
        self.0.engine.upstreams.frequency.count(series.name());
        self.0.engine.candles.get_bars(&series, limit).await
    }

    /// The newest candle of a symbol, which may still be forming.
    ///
    /// # Errors
    ///
    /// As [`Market::get_bars`].
    pub async fn latest_bar(&self, venue: Venue, symbol: &str, interval: &str) -> Result<Option<Bar>, Error> {
        Ok(self.get_bars(venue, symbol, interval, 1).await?.bars.pop())
    }

    /// The 24 h statistics and last price of a symbol.
    ///
    /// # Errors
    ///
    /// The exchange's, where nothing is kept.
    pub async fn ticker(&self, venue: Venue, symbol: &str) -> Result<TypedAnswer<Ticker>, Error> {
        let path = match venue {
            Venue::Spot => "/api/v3/ticker/24hr",
            Venue::UsdM => "/fapi/v1/ticker/24hr",
            Venue::CoinM => "/dapi/v1/ticker/24hr",
        };
        self.one(venue, path, symbol, |ticker: &Ticker| ticker.symbol == symbol).await
    }

    /// The mark price of a contract, its last funding rate and the time of the next.
    ///
    /// # Errors
    ///
    /// The exchange's, where nothing is kept; [`Reason::NotFound`] on spot, which has no funding.
    pub async fn funding(&self, venue: Venue, symbol: &str) -> Result<TypedAnswer<Funding>, Error> {
        let path = match venue {
            Venue::Spot => return Err(no_funding()),
            Venue::UsdM => "/fapi/v1/premiumIndex",
            Venue::CoinM => "/dapi/v1/premiumIndex",
        };
        self.one(venue, path, symbol, |funding: &Funding| funding.symbol == symbol).await
    }

    /// The last `limit` funding rates of a contract, oldest first.
    ///
    /// # Errors
    ///
    /// As [`Market::funding`].
    pub async fn funding_rates(
        &self,
        venue: Venue,
        symbol: &str,
        limit: u32,
    ) -> Result<TypedAnswer<Vec<FundingRate>>, Error> {
        let path = match venue {
            Venue::Spot => return Err(no_funding()),
            Venue::UsdM => "/fapi/v1/fundingRate",
            Venue::CoinM => "/dapi/v1/fundingRate",
        };
        let line = self.line(venue, path, &format!("symbol={}&limit={}", encoded(symbol), limit.clamp(1, 1_000)))?;
        let of_symbol = |rates: &Vec<FundingRate>| rates.iter().all(|rate| rate.symbol == symbol);
        self.typed(&line, |body| serde_json::from_slice(body).ok(), of_symbol).await
    }

    /// The newest `days` readings of the fear & greed index, newest first.
    ///
    /// # Errors
    ///
    /// The index's, where nothing is kept.
    pub async fn fear_greed(&self, days: u32) -> Result<TypedAnswer<Vec<fear_greed::Reading>>, Error> {
        let Some(index) = &self.0.engine.fear_greed else {
            return Err(Error::new(Reason::NotFound, "the fear & greed index has no host"));
        };
        let query = fear_greed::query(days);
        let ask = || index.answer(&query, Form::Json);
        self.read(index.region(), &index.key(&query), ask, fear_greed::readings).await
    }

    /// Analyses of a kind, such as `sentiment`, by what they are of. `T` is whatever the analysis is.
    ///
    /// # Errors
    ///
    /// [`Reason::NotFound`] when the kind is not 1 to 64 letters, digits, `_`, `-` or `.`.
    pub fn llm<T>(&self, kind: &str) -> Result<Analyses<T>, Error> {
        Analyses::new(kind, self.region(RegionName::Llm), &self.0.engine.troubles)
    }

    /// How it goes with what [`MarketBuilder::warm`] loads ahead of its readers.
    pub fn warmed(&self) -> Progress {
        self.0.engine.warmer.progress()
    }

    /// Loads what `only` takes of it now, and waits for that.
    ///
    /// # Errors
    ///
    /// When too many such rounds wait already.
    pub async fn warm_now(&self, only: Filter) -> Result<Tally, NoRound> {
        self.0.engine.warmer.round_now(only).await
    }

    /// How everything is doing. Asks the store alone.
    pub async fn health(&self) -> Health {
        Health::of(&self.0).await
    }

    /// Removes everything that is kept in this market's namespace, the last good answers too. What the exchange's pauses
    /// and bans are stays remembered.
    pub async fn clear(&self, confirm: Confirm) -> Cleared {
        let Confirm::YesClearEverything = confirm;
        let from_memory = self.0.engine.cache.clear().await;
        Cleared { from_memory, store_done: self.0.engine.cache.sync(CLEARED_WITHIN).await }
    }

    /// Waits until the queued changes are in the store, at most `within`. Says whether it is.
    pub async fn sync(&self, within: Duration) -> bool {
        self.0.engine.cache.sync(within).await
    }

    /// Writes the queued changes and closes the store: the last thing to do with a market.
    pub async fn close(&self, within: Duration) {
        self.0.engine.leave().await;
        self.0.engine.close(within).await;
    }

    /// How a region is doing.
    pub fn stats(&self, name: RegionName) -> RegionStats {
        let stats = self.0.engine.cache.stats().into_iter().find(|(region, _)| region == name.as_str());
        stats.map(|(_, stats)| stats).unwrap_or_default()
    }

    /// How the tiers are doing, as far as is known without asking.
    pub fn status(&self) -> CacheStatus {
        self.0.engine.cache.status()
    }

    /// A region, to be used as one of bytes.
    pub fn region(&self, name: RegionName) -> &Region {
        self.0.engine.region(name)
    }

    /// The program's own bars, which are kept apart from the exchange's: bars put here are never an answer of
    /// [`Market::get_bars`], nor the other way round. A gateway on the same store and namespace serves them at `/v1/bars`.
    pub fn own_bars(&self) -> &ApplicationBars {
        &self.0.engine.bars
    }

    /// The candles of every series.
    pub fn candles(&self) -> &Candles {
        &self.0.engine.candles
    }

    async fn one<T, C>(&self, venue: Venue, path: &str, symbol: &str, fits: C) -> Result<TypedAnswer<T>, Error>
    where
        T: DeserializeOwned + Send + Sync + 'static,
        C: Fn(&T) -> bool,
    {
        let line = self.line(venue, path, &format!("symbol={}", encoded(symbol)))?;
        self.typed(&line, |body| serde_json::from_slice::<Whole<T>>(body).ok()?.one(), fits).await
    }

    /// The answer to a question, read. One that cannot be read is another version's: it is loaded again.
    async fn typed<T, C>(&self, line: &Line, parse: fn(&[u8]) -> Option<T>, fits: C) -> Result<TypedAnswer<T>, Error>
    where
        T: Send + Sync + 'static,
        C: Fn(&T) -> bool,
    {
        let shelf = Shelf { market: &self.0, parse };
        for is_last in [false, true] {
            let (answer, request) = match self.0.engine.ask(Asked::Entry(line), &shelf).await? {
                Answered::Entry(answered) => (answered.answer, answered.request),
                Answered::Candles(_) => return Err(unreadable("the kept value")),
            };
            let value = match &request.projection {
                Projection::Whole => answer.memoised(|value| parse(&value.body).map(Arc::new)),
                cut => {
                    let part = shelf.with_index(&answer, |index| projection::project(answer.body(), cut, index));
                    part.and_then(|part| parse(&part)).map(Arc::new)
                }
            };
            match value {
                Some(value) if fits(&value) => {
                    return Ok(TypedAnswer { value, outcome: answer.outcome(), age: answer.age() });
                }
                Some(_) => return Err(Error::new(Reason::Malformed, "the exchange's answer is of another symbol")),
                None if is_last => {}
                None => drop(self.region(request.region()).remove(&request.key).await),
            }
        }
        Err(unreadable("the kept value"))
    }

    /// What `ask` gives of `key`, read. What it holds that cannot be read is another version's: it is loaded again.
    async fn read<T, A>(
        &self,
        region: &Region,
        key: &str,
        ask: impl Fn() -> A,
        parse: fn(&[u8]) -> Option<T>,
    ) -> Result<TypedAnswer<T>, Error>
    where
        T: Send + Sync + 'static,
        A: Future<Output = Result<Answer, Error>>,
    {
        for is_last in [false, true] {
            let answer = ask().await?;
            let value: Option<Arc<T>> = answer.memoised(|value| parse(&value.body).map(Arc::new));
            match value {
                Some(value) => return Ok(TypedAnswer { value, outcome: answer.outcome(), age: answer.age() }),
                None if is_last => {}
                None => {
                    region.remove(key).await;
                }
            }
        }
        Err(unreadable("the kept value"))
    }
}

impl Shared {
    async fn load_symbols(&self, request: &UpstreamRequest, key: &str) -> Result<Loaded, Error> {
        let has_kept = self.engine.region(RegionName::Symbols).peek(key).is_some();
        let info = self.engine.loader.load(request, Priority::of_load(has_kept)).await?.value.body;
        // Megabytes: not among the tasks that answer readers.
        let prepared = tokio::task::spawn_blocking(move || symbols::prepare(&info, None, &[])).await;
        match prepared {
            Ok(Ok(prepared)) => Ok(Value::new(prepared.rows).with_meta("application/json").into()),
            Ok(Err(why)) => Err(Error::new(Reason::Malformed, why.to_string())),
            Err(_) => Err(unreadable("the exchange's answer")),
        }
    }
}

impl fmt::Debug for Market {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Market").field("cache", &self.0.engine.cache).finish_non_exhaustive()
    }
}

fn encoded(text: &str) -> impl fmt::Display + '_ {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC)
}

fn no_funding() -> Error {
    Error::new(Reason::NotFound, "spot has no funding; ask Venue::UsdM or Venue::CoinM")
}

fn unreadable(what: &str) -> Error {
    Error::new(Reason::Malformed, format!("{what} is not of the form that was expected"))
}
