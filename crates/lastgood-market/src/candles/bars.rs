//! Candles as numbers, for Rust callers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lastgood::{Answer, Error, Outcome, Reason, Timestamp};
use rust_decimal::Decimal;
use serde::Deserialize;

use super::Candles;
use super::block::Tail;
use super::keep::TAIL;
use super::resolve::Known;
use super::rows::Rows;
use super::series::{Question, Series};
use super::spans::Belief;
use crate::identity::Identities;
use crate::query::Params;
use crate::upstream_request::UpstreamRequest;
use crate::venue::{Venue, endpoint};

/// A candle as numbers. Amounts are exact: what the exchange wrote, not what a float makes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bar {
    /// When it opens.
    pub open_time: Timestamp,
    /// When it closes: the last millisecond that belongs to it.
    pub close_time: Timestamp,
    /// The first price.
    pub open: Decimal,
    /// The highest price.
    pub high: Decimal,
    /// The lowest price.
    pub low: Decimal,
    /// The last price.
    pub close: Decimal,
    /// The amount traded, in the base asset.
    pub volume: Decimal,
    /// The amount traded, in the quote asset.
    pub quote_volume: Decimal,
    /// How many trades there were.
    pub trades: u64,
    /// Of the volume, what takers bought.
    pub taker_volume: Decimal,
    /// Of the quote volume, what takers bought for.
    pub taker_quote_volume: Decimal,
}

/// How many blocks that are not known are passed over in search of older candles.
const MOST_ABSENT: usize = 8;

/// Bars, and how they came about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bars {
    /// Oldest first.
    pub bars: Vec<Bar>,
    /// How current they are.
    pub outcome: Outcome,
    /// How long ago the newest of them was loaded, which alone may change: closed candles stay as they are.
    pub age: Duration,
}

/// Amounts are strings on the wire, and some callers' own are numbers.
#[derive(Deserialize)]
struct Row(
    u64,
    Decimal,
    Decimal,
    Decimal,
    Decimal,
    Decimal,
    u64,
    Decimal,
    u64,
    Decimal,
    Decimal,
    #[serde(default)] serde::de::IgnoredAny,
);

impl Bar {
    fn of_row(row: &[u8]) -> Option<Bar> {
        let Row(opens, open, high, low, close, volume, closes, quote_volume, trades, taker, taker_quote, _) =
            serde_json::from_slice(row).ok()?;
        let time = |time| Timestamp::from_millis(crate::upstream_request::to_millis(time));
        let (taker_volume, taker_quote_volume) = (taker, taker_quote);
        let (open_time, close_time) = (time(opens), time(closes));
        Some(Bar {
            open_time,
            close_time,
            open,
            high,
            low,
            close,
            volume,
            quote_volume,
            trades,
            taker_volume,
            taker_quote_volume,
        })
    }
}

impl Series {
    /// The series of a symbol's traded candles, such as `BTCUSDT` and `15m` on spot.
    ///
    /// # Errors
    ///
    /// [`Reason::NotFound`] when the venue has no such interval, or the symbol is empty or longer than 64 bytes.
    pub fn of_symbol(
        identities: &Identities,
        venue: Venue,
        symbol: &str,
        interval: &str,
    ) -> Result<Arc<Series>, Error> {
        Ok(Arc::clone(&newest(identities.of(venue), venue, symbol, interval, 1)?.series))
    }

    fn newest(self: &Arc<Series>, limit: usize) -> Arc<Question> {
        let limit = limit.clamp(1, self.most());
        let fetch = super::series::Fetch { limit, ..Default::default() };
        let direct = Arc::new(self.request(fetch));
        Arc::new(Question { series: Arc::clone(self), start: None, end: None, limit, direct })
    }
}

fn newest(exchange: &str, venue: Venue, symbol: &str, interval: &str, limit: usize) -> Result<Arc<Question>, Error> {
    let path = match venue {
        Venue::Spot => "/api/v3/klines",
        Venue::UsdM => "/fapi/v1/klines",
        Venue::CoinM => "/dapi/v1/klines",
    };
    let none = || Error::new(Reason::NotFound, format!("there is no series {symbol} {interval} on {venue}"));
    let endpoint = endpoint(venue, path).ok_or_else(none)?;
    let mut params = Params::default();
    for (name, value) in [("symbol", symbol), ("interval", interval), ("limit", &limit.to_string())] {
        params.set(name, Some(value.to_owned()));
    }
    let direct = UpstreamRequest::direct(exchange, endpoint, &params, false);
    Question::of(exchange, endpoint, &params, direct, false).map(Arc::new).ok_or_else(none)
}

impl Candles {
    /// The newest `limit` bars of a series, oldest first; at most as many as the exchange gives at once. Where the
    /// exchange gives none, as many as are known.
    ///
    /// # Errors
    ///
    /// The exchange's, where nothing is known.
    pub async fn get_bars(&self, series: &Arc<Series>, limit: usize) -> Result<Bars, Error> {
        let question = series.newest(limit);
        let (runs, outcome, age) = match self.answer(&question).await {
            Ok(slice) => (slice.runs, slice.outcome, slice.tail.as_ref().map_or(slice.age, Answer::age)),
            Err(error) => match self.known_rows(series, question.limit).await {
                (known, _) if known.is_empty() => return Err(error),
                (known, age) => (known, Outcome::LastGood(error.reason), age),
            },
        };
        let mut bars = Vec::with_capacity(question.limit);
        for rows in runs.iter().filter_map(Rows::of_text) {
            bars.extend((0..rows.count()).filter_map(|row| Bar::of_row(rows.text(row, row + 1))));
        }
        Ok(Bars { bars, outcome, age })
    }

    /// The newest bar of a series, which may still be forming.
    ///
    /// # Errors
    ///
    /// As [`Candles::get_bars`].
    pub async fn latest_bar(&self, series: &Arc<Series>) -> Result<Option<Bar>, Error> {
        Ok(self.get_bars(series, 1).await?.bars.pop())
    }

    /// The end of a series as any tier has it, however old.
    async fn kept_tail(&self, series: &Series) -> Option<(Arc<Tail>, Duration)> {
        let key = series.key(TAIL);
        if let Some(held) = self.region.peek(&key) {
            return Some((Tail::of(&held)?, held.age()));
        }
        let stored = self.region.stored(&[key]).await;
        let stored = stored.into_iter().flatten().flatten().next()?;
        Some((Tail::of(&stored)?, stored.age()))
    }

    /// The newest rows that are known, whatever lies between them, and how long ago the newest was loaded.
    async fn known_rows(&self, series: &Series, limit: usize) -> (Vec<Bytes>, Duration) {
        let Some((tail, age)) = self.kept_tail(series).await else {
            return Default::default();
        };
        let mut left = limit;
        let mut runs = Vec::new();
        let mut take = |rows: &Rows, to: usize| {
            let from = to.saturating_sub(left);
            left -= to - from;
            if to > from {
                runs.push(rows.slice(from, to));
            }
            left > 0
        };
        let mut index = series.block_at(tail.from);
        let mut more = take(&tail.rows, tail.rows.count());
        let view = self.view(series, Belief::All);
        // The tail may be the first to open in its block, and a hole may be wider than a block.
        let mut absent = 0;
        while more && absent < MOST_ABSENT {
            match view.block(index) {
                Some(block) => more = take(&block.rows, block.rows.before(tail.from)),
                None => absent += 1,
            }
            let Some(before) = index.checked_sub(1) else { break };
            index = before;
        }
        runs.reverse();
        (runs, age)
    }
}
