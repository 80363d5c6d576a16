//! The events that a subscriber got last, and the new ones since.

use super::events::{self, Event};
use super::names::{Stream, What};
use super::route::Area;
use crate::book::{Book, update_at};
use crate::candles::{Row, Series, Wanted, candle};
use crate::catalogue::Catalogue;
use crate::interval::Interval;
use crate::price::price;
use crate::symbols::Symbol;
use crate::tape::{agg_trades_until, trades_until};
use crate::{Venue, market};

/// The futures tell the end of a candle so late, in ms.
const LATE: u64 = 2_000;
/// After a jump of the clock the ends of this many candles are sent, the newest.
const MOST_CLOSED: u64 = 1_000;
/// And this many trades.
const MOST_TRADES: u64 = 1_000;

/// A stream on a connection.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) name: String,
    /// None is silent.
    stream: Option<Stream>,
    looked: Option<u64>,
    sent: Sent,
}

#[derive(Debug)]
enum Sent {
    Nothing,
    Event(Event),
    /// The begin of the candle that is sent, and the last event.
    Candle(u64, Option<Event>),
    /// The prices of all symbols in their order.
    Prices(Vec<f64>),
    /// The last update of the book.
    Book(u64),
    /// The number of the first trade that was not sent.
    Trades(u64),
}

impl Subscription {
    pub(super) fn new(catalogue: &Catalogue, area: Area, name: String, now: u64) -> Self {
        let stream = Stream::find(catalogue, area, &name);
        let sent = stream.as_ref().map_or(Sent::Nothing, |stream| Sent::before(stream, catalogue, now));
        // The first difference comes at the end of the period, all others look at once.
        let looked = stream.as_ref().filter(|stream| matches!(stream.what, What::Diff { .. })).map(|_| now);
        Subscription { name, stream, looked, sent }
    }

    /// When it will look for changes.
    pub(super) fn next(&self) -> Option<u64> {
        let period = self.stream.as_ref()?.period();
        Some(self.looked.map_or(0, |looked| (looked / period + 1) * period))
    }

    /// The events since the last look, if it is time for one.
    pub(super) fn look(&mut self, catalogue: &Catalogue, now: u64, at_once: bool) -> Vec<String> {
        if !at_once && self.next().is_none_or(|next| next > now) {
            return Vec::new();
        }
        let Some(stream) = &self.stream else { return Vec::new() };
        self.looked = Some(now);
        match (&stream.what, &mut self.sent, stream.symbol(catalogue)) {
            (What::Candle { interval, label, zone }, Sent::Candle(begin, sent), Some(symbol)) => {
                let candles = Candles { symbol, label, wanted: wanted(*interval, *zone) };
                candles.look(begin, sent, now)
            }
            (What::Diff { period } | What::PartialBook { period, .. }, Sent::Book(sent), Some(symbol)) => {
                // A late tick sends what there was on time, so that all connections get the same.
                let at = if at_once { now } else { now / period * period };
                book(&stream.what, symbol, sent, at)
            }
            (What::Trade, Sent::Trades(next), Some(symbol)) => {
                let new = unsent(next, trades_until(symbol, now));
                new.map(|id| events::trade_event(symbol, id).text(now)).collect()
            }
            (What::AggTrade, Sent::Trades(next), Some(symbol)) => {
                let new = unsent(next, agg_trades_until(symbol, now));
                new.map(|id| events::agg_trade_event(symbol, id).text(now)).collect()
            }
            (What::AllMiniTickers, Sent::Prices(sent), _) => all_mini_tickers(catalogue, stream.venue, sent, now),
            (what, sent, Some(symbol)) => {
                let event = match what {
                    What::Ticker => events::ticker(symbol, now),
                    What::BookTicker => events::book_ticker(symbol, now),
                    What::MarkPrice { .. } => events::mark_price(symbol, now),
                    _ => events::mini_ticker(symbol, now),
                };
                if matches!(sent, Sent::Event(sent) if *sent == event) {
                    return Vec::new();
                }
                let text = event.text(now);
                *sent = Sent::Event(event);
                vec![text]
            }
            _ => Vec::new(),
        }
    }
}

impl Sent {
    /// The state of a new subscriber.
    fn before(stream: &Stream, catalogue: &Catalogue, now: u64) -> Self {
        match (&stream.what, stream.symbol(catalogue)) {
            (What::Candle { interval, zone, .. }, _) => {
                Sent::Candle(sent_candle(*interval, *zone, stream.venue, now), None)
            }
            // As if it had been listening for a second: only some symbols changed in that.
            (What::AllMiniTickers, _) => Sent::Prices(prices(catalogue, stream.venue, now.saturating_sub(1_000))),
            // The first event is the same as for all others, of the whole period. It reaches back by one update more,
            // so that it covers a snapshot of the period's very begin.
            (What::Diff { period } | What::PartialBook { period, .. }, _) => {
                Sent::Book(update_at(now / period * period).saturating_sub(1))
            }
            (What::Trade, Some(symbol)) => Sent::Trades(trades_until(symbol, now)),
            (What::AggTrade, Some(symbol)) => Sent::Trades(agg_trades_until(symbol, now)),
            _ => Sent::Nothing,
        }
    }
}

/// The book after the updates that were not sent, or what changed in it by them.
fn book(what: &What, symbol: &Symbol, sent: &mut u64, at: u64) -> Vec<String> {
    let book = Book::at(symbol, at);
    let update = update_at(at);
    if update <= *sent {
        // At the end of no update, or the clock went back: subscribers will miss a number and begin again.
        *sent = update;
        return Vec::new();
    }
    let event = match what {
        What::PartialBook { levels, .. } => events::partial_book(symbol, &book, *levels, *sent),
        _ => events::diff(symbol, &book, *sent),
    };
    *sent = update;
    vec![event.text(at)]
}

/// The numbers of the trades up to `end` that were not sent, at most the newest.
fn unsent(next: &mut u64, end: u64) -> std::ops::Range<u64> {
    // The clock may have gone back.
    let begin = (*next).min(end).max(end.saturating_sub(MOST_TRADES));
    *next = end;
    begin..end
}

struct Candles<'a> {
    symbol: &'a Symbol,
    label: &'a str,
    wanted: Wanted,
}

impl Candles<'_> {
    /// The ends of the candles that closed, then the candle that forms.
    fn look(&self, begin: &mut u64, sent: &mut Option<Event>, now: u64) -> Vec<String> {
        let Wanted { interval, zone, .. } = self.wanted;
        let late = late(self.symbol.venue);
        let current = sent_candle(interval, zone, self.symbol.venue, now);
        let mut out = Vec::new();
        if *begin > current {
            // The clock went back.
            *begin = current;
        }
        let far = current.saturating_sub(interval.length().saturating_mul(MOST_CLOSED));
        if *begin < far {
            *begin = interval.begin(far, zone);
        }
        while *begin < current {
            let next = interval.next(*begin, zone);
            out.extend(self.row(*begin, now).map(|row| self.event(&row, true).text(next + late)));
            (*begin, *sent) = (next, None);
        }
        if let Some(row) = self.row(current, now) {
            let event = self.event(&row, false);
            if sent.as_ref() != Some(&event) {
                out.push(event.text(now));
                *sent = Some(event);
            }
        }
        out
    }

    fn row(&self, begin: u64, now: u64) -> Option<Row> {
        candle(self.symbol, &self.wanted, begin, now)
    }

    fn event(&self, row: &Row, is_closed: bool) -> Event {
        events::candle(self.symbol, self.label, row, is_closed)
    }
}

fn late(venue: Venue) -> u64 {
    if venue == Venue::Spot { 0 } else { LATE }
}

/// The begin of the candle that subscribers get: the one that forms, or the last as long as its end was not sent.
fn sent_candle(interval: Interval, zone: i64, venue: Venue, now: u64) -> u64 {
    interval.begin(now.saturating_sub(late(venue)), zone)
}

fn wanted(interval: Interval, zone: i64) -> Wanted {
    Wanted {
        interval,
        start: None,
        end: None,
        limit: 1,
        zone,
        from_end: false,
        micros: false,
        series: Series::Trades,
        tail_missing: false,
        revised: false,
    }
}

fn prices(catalogue: &Catalogue, venue: Venue, now: u64) -> Vec<f64> {
    catalogue.trading(venue).map(|symbol| price(symbol, market::step(now))).collect()
}

/// The statistics of all symbols whose price changed, in one event.
fn all_mini_tickers(catalogue: &Catalogue, venue: Venue, sent: &mut Vec<f64>, now: u64) -> Vec<String> {
    let current = prices(catalogue, venue, now);
    let changed = catalogue.trading(venue).zip(current.iter().zip(&*sent)).filter(|(_, (new, old))| new != old);
    let texts: Vec<String> = changed.map(|(symbol, _)| events::mini_ticker(symbol, now).text(now)).collect();
    *sent = current;
    if texts.is_empty() { Vec::new() } else { vec![format!("[{}]", texts.join(","))] }
}
