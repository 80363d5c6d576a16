//! Events as they are written. Their numbers are those that requests are answered with at the same time.

use crate::Venue;
use crate::book::{Book, Side, update_id};
use crate::candles::Row;
use crate::funding::{Mark, mark};
use crate::market::{quotes, statistics, step};
use crate::symbols::Symbol;
use crate::tape::{AggTrade, Trade, agg_trade, trade, trade_id};

const DAY: u64 = 86_400_000;

/// An event without its time, so that changes can be recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    /// Spot's best offers have neither name nor time.
    name: Option<&'static str>,
    fields: String,
}

impl Event {
    pub(super) fn text(&self, at: u64) -> String {
        match self.name {
            Some(name) => format!(r#"{{"e":"{name}","E":{at},{}}}"#, self.fields),
            None => format!("{{{}}}", self.fields),
        }
    }
}

pub(super) fn candle(symbol: &Symbol, label: &str, row: &Row, is_closed: bool) -> Event {
    let name = &symbol.name;
    let first = trade_id(symbol, row.opened);
    let Row { opened, closed, open, high, low, close, volume, quote_volume, trades, bought, quote_bought } = row;
    let last = first + trades.saturating_sub(1);
    let fields = format!(
        r#""s":"{name}","k":{{"t":{opened},"T":{closed},"s":"{name}","i":"{label}","f":{first},"L":{last},"o":"{open}","c":"{close}","h":"{high}","l":"{low}","v":"{volume}","n":{trades},"x":{is_closed},"q":"{quote_volume}","V":"{bought}","Q":"{quote_bought}","B":"0"}}"#
    );
    Event { name: Some("kline"), fields }
}

pub(super) fn mini_ticker(symbol: &Symbol, now: u64) -> Event {
    let day = statistics(symbol, step(now).saturating_sub(DAY), now);
    let fields = format!(
        r#""s":"{}","c":"{}","o":"{}","h":"{}","l":"{}","v":"{}","q":"{}""#,
        symbol.name, day.last, day.open, day.high, day.low, day.volume, day.quote_volume
    );
    Event { name: Some("24hrMiniTicker"), fields }
}

pub(super) fn ticker(symbol: &Symbol, now: u64) -> Event {
    let day = statistics(symbol, step(now).saturating_sub(DAY), now);
    let of_spot = match symbol.venue {
        Venue::Spot => {
            let best = quotes(symbol, day.end);
            format!(
                r#""x":"{}","b":"{}","B":"{}","a":"{}","A":"{}","#,
                day.before, best.bid, best.bid_quantity, best.ask, best.ask_quantity
            )
        }
        Venue::UsdM | Venue::CoinM => String::new(),
    };
    let fields = format!(
        r#""s":"{}","p":"{}","P":"{}","w":"{}",{of_spot}"c":"{}","Q":"{}","o":"{}","h":"{}","l":"{}","v":"{}","q":"{}","O":{},"C":{},"F":{},"L":{},"n":{}"#,
        symbol.name,
        day.change,
        day.change_percent,
        day.average,
        day.last,
        day.last_quantity,
        day.open,
        day.high,
        day.low,
        day.volume,
        day.quote_volume,
        day.begin,
        day.end,
        day.first_id,
        day.last_id,
        day.count()
    );
    Event { name: Some("24hrTicker"), fields }
}

pub(super) fn book_ticker(symbol: &Symbol, now: u64) -> Event {
    let at = step(now);
    let best = quotes(symbol, at);
    let fields = format!(
        r#""u":{},"s":"{}","b":"{}","B":"{}","a":"{}","A":"{}""#,
        best.update_id, symbol.name, best.bid, best.bid_quantity, best.ask, best.ask_quantity
    );
    match symbol.venue {
        Venue::Spot => Event { name: None, fields },
        Venue::UsdM | Venue::CoinM => Event { name: Some("bookTicker"), fields: format!(r#"{fields},"T":{at}"#) },
    }
}

/// What changed in the book since an earlier one.
pub(super) fn diff(symbol: &Symbol, book: &Book<'_>, sent: u64) -> Event {
    let earlier = Book::after(symbol, sent);
    let sides = [Side::Bids, Side::Asks].map(|side| book.touched_levels(side, &earlier));
    book_update(symbol, book, sent, &sides)
}

/// The best levels of the book.
pub(super) fn partial_book(symbol: &Symbol, book: &Book<'_>, levels: usize, sent: u64) -> Event {
    let sides = [Side::Bids, Side::Asks].map(|side| book.levels(side, levels));
    match (symbol.venue, &sides) {
        (Venue::Spot, [bids, asks]) => {
            let fields = format!(r#""lastUpdateId":{},"bids":{bids},"asks":{asks}"#, book.id());
            Event { name: None, fields }
        }
        (Venue::UsdM | Venue::CoinM, sides) => book_update(symbol, book, sent, sides),
    }
}

/// An event that covers the updates after the one `sent`.
fn book_update(symbol: &Symbol, book: &Book<'_>, sent: u64, [bids, asks]: &[String; 2]) -> Event {
    let id = |update| update_id(symbol.venue, update);
    let (name, first, last) = (&symbol.name, id(sent + 1), book.id());
    let fields = match symbol.venue {
        Venue::Spot => format!(r#""s":"{name}","U":{first},"u":{last},"b":{bids},"a":{asks}"#),
        Venue::UsdM | Venue::CoinM => format!(
            r#""T":{},"s":"{name}","U":{first},"u":{last},"pu":{},"b":{bids},"a":{asks}"#,
            book.time(),
            id(sent)
        ),
    };
    Event { name: Some("depthUpdate"), fields }
}

pub(super) fn trade_event(symbol: &Symbol, id: u64) -> Event {
    let Trade { id, time, price, quantity, is_buyer_maker, .. } = trade(symbol, id);
    let name = &symbol.name;
    let fields = match symbol.venue {
        Venue::Spot => {
            format!(r#""s":"{name}","t":{id},"p":"{price}","q":"{quantity}","T":{time},"m":{is_buyer_maker},"M":true"#)
        }
        Venue::UsdM | Venue::CoinM => format!(
            r#""T":{time},"s":"{name}","t":{id},"p":"{price}","q":"{quantity}","X":"MARKET","m":{is_buyer_maker}"#
        ),
    };
    Event { name: Some("trade"), fields }
}

pub(super) fn agg_trade_event(symbol: &Symbol, id: u64) -> Event {
    let AggTrade { id, first, last, time, price, quantity, is_buyer_maker } = agg_trade(symbol, id);
    let of_spot = if symbol.venue == Venue::Spot { r#","M":true"# } else { "" };
    let fields = format!(
        r#""s":"{}","a":{id},"p":"{price}","q":"{quantity}","f":{first},"l":{last},"T":{time},"m":{is_buyer_maker}{of_spot}"#,
        symbol.name
    );
    Event { name: Some("aggTrade"), fields }
}

pub(super) fn mark_price(symbol: &Symbol, now: u64) -> Event {
    let Mark { mark, index, settlement, rate, next_funding, .. } = mark(symbol, now);
    let fields = format!(
        r#""s":"{}","p":"{mark}","i":"{index}","P":"{settlement}","r":"{rate}","T":{next_funding}"#,
        symbol.name
    );
    Event { name: Some("markPriceUpdate"), fields }
}
