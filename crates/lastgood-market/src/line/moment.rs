//! What moment of the exchange an answer shows, and whether one may follow another.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use lastgood::{Answer, Region, Timestamp};

use super::before;
use super::doubts::{Doubts, Said};
use crate::projection::{self, Index, Projection};
use crate::region::RegionName;
use crate::upstream_request::UpstreamRequest;
use crate::venue::{Endpoint, Venue};

/// How long a number is believed over the time at which it was loaded. Replicas of an exchange lag by seconds; one that
/// starts again, as testnets do each month, counts from the beginning and must be believed in the end.
const BELIEVED: Duration = Duration::from_secs(30);
/// How long a time that has passed, or a row of the past, is believed over an exchange that no longer says so, if one answer
/// gave it; what was said more often, longer.
const BELIEVED_ONCE: Duration = Duration::from_secs(120);
const BELIEVED_AT_MOST: Duration = Duration::from_secs(3_600);
/// Two answers agree on a lower number if they are this many times closer to each other than to the kept one. Those of
/// replicas that lag are not, unless they lag by the same.
const CLOSER_BY: u64 = 8;

/// What moment an answer shows: by its own word, where it has one, and by when it was loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    stated: Option<u64>,
    /// Whether the statement counts for longer, as a time that has passed does.
    is_lasting: bool,
    loaded: Timestamp,
    /// Until when no later load is believed over the statement.
    believed_until: Timestamp,
}

impl Moment {
    /// The moment of an answer's part that was asked for.
    pub(super) fn of(answer: &Answer, request: &UpstreamRequest, index: Option<&Index>) -> Moment {
        let stated = Stated::of(request).and_then(|stated| stated.read(answer.body(), &request.projection, index));
        Moment::stating(stated, answer, request)
    }

    /// The moment of all of an answer.
    fn of_whole(answer: &Answer, request: &UpstreamRequest) -> Moment {
        let stated = Stated::of(request).and_then(|stated| stated.whole(answer.body()));
        Moment::stating(stated, answer, request)
    }

    fn stating(stated: Option<u64>, answer: &Answer, request: &UpstreamRequest) -> Moment {
        let (loaded, newest_row) = (answer.source_time(), before::newest_row(answer, request));
        let is_lasting = is_lasting(request, stated, newest_row);
        let believed_until = if is_lasting { newest_row.plus(BELIEVED_ONCE) } else { loaded.plus(BELIEVED) };
        Moment { stated, is_lasting, loaded, believed_until }
    }

    /// Whether it is later than another moment of the same question.
    pub(super) fn is_after(&self, other: &Moment) -> bool {
        match (self.stated, other.stated) {
            (Some(one), Some(two)) if one > two && other.loaded < self.believed_until => true,
            (Some(one), Some(two)) if one < two && self.loaded < other.believed_until => false,
            _ => self.loaded > other.loaded,
        }
    }
}

/// Whether a stated moment is a time of the symbol that was asked for and no later than its load. A number starts again
/// with the exchange, an answer without a symbol may be another one's, and a time that is still to come is none.
fn is_lasting(request: &UpstreamRequest, stated: Option<u64>, loaded: Timestamp) -> bool {
    let is_time = !matches!(
        request.endpoint.region,
        RegionName::Depth | RegionName::Trades | RegionName::AggTrades | RegionName::AvgPrice
    );
    let latest = loaded.plus(BELIEVED).as_millis();
    is_time && stated.is_some_and(|stated| stated <= latest)
}

/// How a new answer goes back behind the kept one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Back {
    /// Its time is earlier, or rows of the past are missing in it. It is older, unless the exchange says so for this long.
    Certainly { kept: Said, said: Said, believed_for: Duration },
    /// Its number is lower, and the exchange may have started again.
    Numbered { kept: u64, given: u64 },
}

impl Back {
    /// How `body`, an answer of `request`, goes back behind the newest that is kept under any of the keys of the question.
    pub(super) fn of(
        region: &Region,
        request: &UpstreamRequest,
        line: &[Arc<UpstreamRequest>],
        body: &[u8],
    ) -> Option<Back> {
        let stated = Stated::of(request);
        if let (None, Some(kept)) = (stated, region.peek(&request.key).filter(|_| request.is_of_the_past())) {
            let believed_for = super::was_fresh_for(&kept).clamp(BELIEVED_ONCE, BELIEVED_AT_MOST);
            let (before, said) = (kept.body(), Said::rows(body));
            return lacks_rows(before, body).then(|| Back::Certainly { kept: Said::rows(before), said, believed_for });
        }
        let given = stated?.whole(body);
        let is_comparable = |other: &&Arc<UpstreamRequest>| other.key == request.key || !other.projection.needs_index();
        let kept = |other: &Arc<UpstreamRequest>| {
            region.peek(&other.key).map(|answer| (Moment::of_whole(&answer, other), answer))
        };
        let newer = |one: (Moment, Answer), two: (Moment, Answer)| if two.0.is_after(&one.0) { two } else { one };
        let (moment, answer) = line.iter().filter(is_comparable).filter_map(kept).reduce(newer)?;
        match (moment.stated?, given) {
            (kept, Some(given)) if given >= kept => None,
            (kept, Some(given)) if !moment.is_lasting && answer.age() >= BELIEVED => {
                Some(Back::Numbered { kept, given })
            }
            (kept, given) => {
                let (kept, said) = (Said::Moment(Some(kept)), Said::Moment(given));
                Some(Back::Certainly { kept, said, believed_for: BELIEVED_ONCE })
            }
        }
    }

    /// Whether it is believed, as an answer to the question of `key` that came next after `first`: that the kept answer is
    /// from before a new beginning, or was wrong.
    pub(super) fn is_believed(self, first: Back, doubts: &Doubts, key: &str) -> bool {
        match (first, self) {
            (Back::Numbered { kept, given: first }, Back::Numbered { given: second, .. }) => {
                second >= first && (second - first).saturating_mul(CLOSER_BY) <= kept - first
            }
            (_, Back::Certainly { kept, said, believed_for }) => doubts.are_old(key, kept, said, believed_for),
            _ => false,
        }
    }
}

/// Whether `given` has nothing but rows of `kept`, and not all of them. The past does not change, so that rows
/// that were answered once count more than an answer without them.
fn lacks_rows(kept: &[u8], given: &[u8]) -> bool {
    let (Some(kept), Some(given)) = (projection::rows(kept), projection::rows(given)) else { return false };
    let kept: HashSet<&[u8]> = kept.collect();
    let mut count = 0;
    let are_known = given.inspect(|_| count += 1).all(|row| kept.contains(row));
    are_known && count < kept.len()
}

/// Whether `body`, which the exchange has just given, states an earlier moment than the answer kept under the key of
/// `request`, and that was loaded so shortly ago, or states so certain a time, that the exchange must be behind itself.
pub(crate) fn is_outdated(region: &Region, request: &UpstreamRequest, body: &[u8]) -> bool {
    let own = [Arc::new(request.clone())];
    matches!(Back::of(region, request, &own, body), Some(Back::Certainly { .. }))
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
    /// Where answers of a request do; the last row of a page of the past says nothing of the present.
    fn of(request: &UpstreamRequest) -> Option<Stated> {
        if request.is_of_the_past() { None } else { Stated::of_endpoint(request.endpoint) }
    }

    fn of_endpoint(endpoint: &Endpoint) -> Option<Stated> {
        match endpoint.region {
            RegionName::Depth => Some(Stated::Field(b"lastUpdateId")),
            RegionName::Trades => Some(Stated::LastRow(b"id")),
            RegionName::AggTrades => Some(Stated::LastRow(b"a")),
            RegionName::FundingRate => Some(Stated::LastRow(b"fundingTime")),
            RegionName::FuturesData => Some(Stated::LastRow(b"timestamp")),
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

    fn read(self, body: &[u8], cut: &Projection, index: Option<&Index>) -> Option<u64> {
        let row = |symbol: &str| self.whole(&body[index?.row(symbol)?]);
        match cut {
            Projection::Row(symbol) => row(symbol),
            Projection::Rows(symbols) => symbols.iter().filter_map(|symbol| row(symbol)).max(),
            Projection::Whole | Projection::Levels(_) | Projection::Last(_) => self.whole(body),
            Projection::Symbols(_) => None,
        }
    }

    fn whole(self, body: &[u8]) -> Option<u64> {
        let is_list = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
        match self {
            Stated::Field(name) if is_list => projection::largest(body, name),
            Stated::Field(name) => projection::number(body, name),
            Stated::LastRow(name) => projection::last_number(body, name),
        }
    }
}
