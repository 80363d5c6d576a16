//! Streams by name: which there are, where they are delivered and how often.

use super::route::Area;
use crate::Venue;
use crate::catalogue::Catalogue;
use crate::interval::Interval;
use crate::symbols::Symbol;

/// A stream that is delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stream {
    pub(super) venue: Venue,
    /// None for the streams of all symbols.
    pub(super) symbol: Option<String>,
    pub(super) what: What,
}

/// What a stream is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    Candle {
        interval: Interval,
        /// The interval as it is written.
        label: String,
        zone: i64,
    },
    Ticker,
    MiniTicker,
    AllMiniTickers,
    BookTicker,
    /// What changed in the book.
    Diff {
        period: u64,
    },
    /// The top of the book.
    PartialBook {
        levels: usize,
        period: u64,
    },
    Trade,
    AggTrade,
    MarkPrice {
        /// Every second, and not every three.
        is_fast: bool,
    },
}

impl Stream {
    /// The stream of a name, if the area delivers it. About anything else it is silent, as the exchange is.
    pub(super) fn find(catalogue: &Catalogue, area: Area, name: &str) -> Option<Stream> {
        let venue = area.venue();
        let stream = match name.split_once('@')? {
            ("!miniTicker", "arr") => Stream { venue, symbol: None, what: What::AllMiniTickers },
            (symbol, what) => {
                let upper = symbol.to_uppercase();
                let is_lower = symbol.to_lowercase() == symbol;
                catalogue.get(venue, &upper).filter(|_| is_lower)?;
                Stream { venue, symbol: Some(upper), what: What::parse(venue, what)? }
            }
        };
        stream.what.is_delivered(area).then_some(stream)
    }

    pub(super) fn symbol<'a>(&self, catalogue: &'a Catalogue) -> Option<&'a Symbol> {
        catalogue.get(self.venue, self.symbol.as_ref()?)
    }

    /// How often it looks for changes, in ms.
    pub(super) fn period(&self) -> u64 {
        match (&self.what, self.venue) {
            (What::Candle { label, .. }, Venue::Spot) => {
                if label == "1s" {
                    1_000
                } else {
                    2_000
                }
            }
            (What::Candle { .. }, _) => 250,
            (What::BookTicker, _) => 500,
            (What::Diff { period } | What::PartialBook { period, .. }, _) => *period,
            (What::Trade | What::AggTrade, _) => 100,
            (What::MarkPrice { is_fast: false }, _) => 3_000,
            (What::Ticker | What::MiniTicker | What::AllMiniTickers | What::MarkPrice { is_fast: true }, _) => 1_000,
        }
    }
}

impl What {
    fn parse(venue: Venue, name: &str) -> Option<What> {
        let spot = venue == Venue::Spot;
        match name {
            "ticker" => Some(What::Ticker),
            "miniTicker" => Some(What::MiniTicker),
            "bookTicker" => Some(What::BookTicker),
            "trade" => Some(What::Trade),
            "aggTrade" => Some(What::AggTrade),
            "markPrice" if !spot => Some(What::MarkPrice { is_fast: false }),
            "markPrice@1s" if !spot => Some(What::MarkPrice { is_fast: true }),
            _ => What::candle(spot, name).or_else(|| What::book(spot, name)),
        }
    }

    fn candle(spot: bool, name: &str) -> Option<What> {
        let written = name.strip_prefix("kline_")?;
        let (label, zone) = match written.split_once('@') {
            Some((label, "+08:00")) if spot => (label, 8 * 3_600_000),
            Some(_) => return None,
            None => (written, 0),
        };
        let interval = Interval::parse(label).filter(|_| spot || label != "1s")?;
        Some(What::Candle { interval, label: label.to_owned(), zone })
    }

    fn book(spot: bool, name: &str) -> Option<What> {
        let (levels, speed) = match name.strip_prefix("depth")?.split_once('@') {
            Some((levels, speed)) => (levels, Some(speed)),
            None => (name.strip_prefix("depth")?, None),
        };
        let period = match (spot, speed) {
            (true, None | Some("1000ms")) => 1_000,
            (false, None | Some("250ms")) => 250,
            (false, Some("500ms")) => 500,
            (_, Some("100ms")) => 100,
            _ => return None,
        };
        match levels {
            "" => Some(What::Diff { period }),
            "5" | "10" | "20" => Some(What::PartialBook { levels: levels.parse().ok()?, period }),
            _ => None,
        }
    }

    /// What moves fastest is public on the futures, the rest is of the market.
    fn is_delivered(&self, area: Area) -> bool {
        let is_fast = matches!(self, What::BookTicker | What::Diff { .. } | What::PartialBook { .. } | What::Trade);
        match area {
            Area::Spot => true,
            Area::Public => is_fast,
            Area::Market => !is_fast,
            Area::Private => false,
        }
    }
}
