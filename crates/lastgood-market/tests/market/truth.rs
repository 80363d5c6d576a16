//! Whether answers are true: while the exchange is well, while it answers well-formed and wrong, and after it
//! is well again. The library's own planning and caching run over the simulated exchange, under paused time.
//!
//! Run one part: `LASTGOOD_SEED=17 cargo nextest run -p lastgood-market truth::model`. `LASTGOOD_SCHEDULES` sets how many
//! schedules are run, `LASTGOOD_LIES=holed,empty_list` the lies.

use std::time::Duration;

mod bench;
mod exchange;
mod judge;
mod model;
mod questions;
mod reader;
mod requests;
mod said_once;

/// How long one answer about a candle, or a gap between two of its rows, is believed. Then it is asked for
/// again by the next reader that needs it.
const CLAIM_BELIEVED: Duration = Duration::from_secs(120);
/// How long an answer older than the known one counts as a failure, while last good is served.
const REFUSED_FOR: Duration = Duration::from_secs(60);
/// The longest that a key is left alone after a load of it failed.
const BACKOFF: Duration = Duration::from_secs(30);
/// The longest that a candle that forms, a ticker or a book is fresh, and then stale while it is loaded again.
const FRESH_FOR: Duration = Duration::from_secs(10);
/// The same of lists of symbols.
const LISTS_FRESH_FOR: Duration = Duration::from_secs(60 + 600);
/// So long after the exchange is well again every question is answered as the exchange answers it.
const HEALED_WITHIN: Duration =
    Duration::from_secs(CLAIM_BELIEVED.as_secs() + REFUSED_FOR.as_secs() + BACKOFF.as_secs() + FRESH_FOR.as_secs());
/// The same of lists of symbols.
const LISTS_HEALED_WITHIN: Duration = Duration::from_secs(HEALED_WITHIN.as_secs() + LISTS_FRESH_FOR.as_secs());
/// The same of a group of questions.
fn healed_within(group: questions::Group) -> Duration {
    if let questions::Group::Statistics = group { LISTS_HEALED_WITHIN } else { HEALED_WITHIN }
}

/// Two answers that agree are independent, and confirm what they tell, if the second came so long after the first.
const INDEPENDENT_AFTER: Duration = CLAIM_BELIEVED;
/// How long anything but candles is kept, at least, for when the exchange fails.
const KEPT_FOR: Duration = Duration::from_secs(3_600);
/// How long the end of a series that forms a candle is fresh here.
const FORMING_FRESH_FOR: Duration = Duration::from_secs(2);

/// How old an answer may be while all is well, in ms: as long as it is fresh, and then stale while it is loaded again.
fn fresh_for(target: &str) -> u64 {
    let path = target.split('?').next().unwrap_or(target);
    match path {
        _ if judge::is_candles(target) => FORMING_FRESH_FOR.as_millis() as u64,
        _ if path.ends_with("/exchangeInfo") || path.ends_with("/fundingInfo") => LISTS_FRESH_FOR.as_millis() as u64,
        _ if path.starts_with("/futures/data/") => 120 * SECOND,
        _ => FRESH_FOR.as_millis() as u64,
    }
}

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
/// When tests begin: 2026-03-04 05:06:07.250 UTC, a Wednesday.
const BEGIN: u64 = 1_772_600_767_250;
