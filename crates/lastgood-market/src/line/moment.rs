//! What moment of the exchange an answer shows.

use std::time::Duration;

use lastgood::{Answer, Region, Timestamp};

use crate::cut::{self, Cut, Index};
use crate::region::RegionName;
use crate::source::Source;
use crate::venue::{Endpoint, Venue};

/// How long an answer's own word for its moment is believed over the time at which it was loaded. Replicas of an
/// exchange lag by seconds; one that starts again, as testnets do each month, counts from the beginning and must be
/// believed in the end.
const BELIEVED: Duration = Duration::from_secs(30);

/// What moment an answer shows: by its own word, where it has one, and by when it was loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    stated: Option<u64>,
    loaded: Timestamp,
}

impl Moment {
    /// The moment of an answer's part that was asked for.
    pub(super) fn of(answer: &Answer, source: &Source, index: Option<&Index>) -> Moment {
        let stated = Stated::of(source.endpoint).and_then(|stated| stated.read(answer.body(), &source.cut, index));
        Moment { stated, loaded: answer.source_time() }
    }

    /// Whether it is later than another moment of the same question.
    pub(super) fn is_after(&self, other: &Moment) -> bool {
        let apart = self.loaded.since(other.loaded).max(other.loaded.since(self.loaded));
        match (self.stated, other.stated) {
            (Some(one), Some(other)) if one != other && apart < BELIEVED => one > other,
            _ => self.loaded > other.loaded,
        }
    }
}

/// Whether `body` states an earlier moment than what is kept under the key of `source`; or none, where that states one.
pub(super) fn goes_back(region: &Region, source: &Source, body: &[u8]) -> bool {
    let Some(stated) = Stated::of(source.endpoint) else { return false };
    region.peek(&source.key).is_some_and(|kept| stated.whole(body) < stated.whole(kept.body()))
}

/// Whether `body`, which the exchange has just given, states an earlier moment than what is kept under the key of
/// `source`, and that was loaded so shortly ago that the exchange must be behind itself.
pub fn is_outdated(region: &Region, source: &Source, body: &[u8]) -> bool {
    goes_back(region, source, body) && region.peek(&source.key).is_some_and(|kept| kept.age() < BELIEVED)
}

/// Where answers of an endpoint state their moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stated {
    /// In a field of the object, or of each row.
    Field(&'static [u8]),
    /// In a field of the last row: rows are in order.
    LastRow(&'static [u8]),
}

impl Stated {
    fn of(endpoint: &Endpoint) -> Option<Stated> {
        match endpoint.region {
            RegionName::Depth => Some(Stated::Field(b"lastUpdateId")),
            RegionName::Trades => Some(Stated::LastRow(b"id")),
            RegionName::AggTrades => Some(Stated::LastRow(b"a")),
            RegionName::Ticker24hr | RegionName::TickerWindow | RegionName::AvgPrice => {
                Some(Stated::Field(b"closeTime"))
            }
            RegionName::OpenInterest | RegionName::PremiumIndex => Some(Stated::Field(b"time")),
            // Spot's are without any time.
            RegionName::TickerPrice | RegionName::BookTicker if endpoint.venue != Venue::Spot => {
                Some(Stated::Field(b"time"))
            }
            _ => None,
        }
    }

    fn read(self, body: &[u8], cut: &Cut, index: Option<&Index>) -> Option<u64> {
        let row = |symbol: &str| self.whole(&body[index?.row(symbol)?]);
        match cut {
            Cut::Row(symbol) => row(symbol),
            Cut::Rows(symbols) => symbols.iter().filter_map(|symbol| row(symbol)).max(),
            Cut::Whole | Cut::Levels(_) | Cut::Last(_) => self.whole(body),
            Cut::Symbols(_) => None,
        }
    }

    fn whole(self, body: &[u8]) -> Option<u64> {
        let is_list = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
        match self {
            Stated::Field(name) if is_list => cut::largest(body, name),
            Stated::Field(name) => cut::number(body, name),
            Stated::LastRow(name) => cut::last_number(body, name),
        }
    }
}
