//! How far the exchange's word is believed: no answer, however wrong, stops a venue for longer or raises a limit higher
//! than is said here.
//!
//! The bounds follow what the exchange documents (LIMITS of its REST API): bans last from 2 minutes to 3 days, request
//! limits count by windows of 1 and 5 minutes, and `Retry-After` names the seconds until such a window or a ban ends.

use std::time::Duration;

use lastgood::Reason;

use crate::venue::Bucket;

/// The longest ban; the exchange's longest is three days. A ban that claims to last longer is not believed: the exchange
/// is asked again, with one request, after [`SHORTEST_BAN`], and after each such answer in a row twice as long, up to
/// [`LONGEST_DOUBT`].
pub const LONGEST_BAN: Duration = Duration::from_secs(3 * 86_400);
/// The exchange's shortest ban, and how long one lasts whose answer names no time.
pub(crate) const SHORTEST_BAN: Duration = Duration::from_secs(120);
/// The longest pause that is not a ban: the longest window of the exchange's request limits. A longer one is cut to
/// this, and then one request finds out.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// How long a pause lasts whose answer names no time: the window of the request weight.
pub(crate) const USUAL_PAUSE: Duration = Duration::from_secs(60);
/// The longest time between two requests that find out whether a ban of unbelievable length is over.
pub(crate) const LONGEST_DOUBT: Duration = Duration::from_secs(3_600);
/// A stated limit counts as no more than this many times the venue's usual one; the largest change that the exchange
/// ever made was fivefold (1,200 to 6,000). One that is above the usual is given up with the first refusal.
pub const MOST_TIMES: u64 = 10;
/// A stated limit may be as small as this part of the venue's usual one: with less, not even the exchangeInfo that
/// states it could be loaded again.
pub const LEAST_PART: u64 = 200;

/// The shortest pause: an exchange that says "in 0 seconds" is not asked again within the same breath.
const SHORTEST_STOP: Duration = Duration::from_secs(1);
/// Rounding up to whole seconds, and the time that an answer takes.
const SLACK: Duration = Duration::from_secs(60);
/// How often a wait is doubled at most.
const DOUBLINGS: u32 = 6;

/// The longest that a stop for this reason lasts.
pub const fn longest(reason: Reason) -> Duration {
    match reason {
        Reason::Banned => LONGEST_BAN,
        _ => LONGEST_PAUSE,
    }
}

/// How long a stop for this reason lasts whose answer names no time.
pub(crate) const fn usual(reason: Reason) -> Duration {
    match reason {
        Reason::Banned => SHORTEST_BAN,
        _ => USUAL_PAUSE,
    }
}

/// Whether a stop for this reason can be so long.
pub(crate) fn is_believable(reason: Reason, wait: Duration) -> bool {
    wait <= longest(reason) + SLACK
}

/// A wait within reason, and whether it is another one than was named. `in_a_row` counts the stops since the last good
/// answer: repeated ones are not followed by a request every second.
pub(crate) fn within(reason: Reason, named: Duration, in_a_row: u32) -> (Duration, bool) {
    let doublings = in_a_row.saturating_sub(1).min(DOUBLINGS);
    let shortest = SHORTEST_STOP * 2u32.pow(doublings);
    if is_believable(reason, named) {
        return (named.clamp(shortest, longest(reason).max(shortest)), false);
    }
    let wait = match reason {
        Reason::Banned => (SHORTEST_BAN * 2u32.pow(doublings)).min(LONGEST_DOUBT),
        _ => LONGEST_PAUSE,
    };
    (wait, true)
}

/// Which of the waits that an answer names is followed: the longest that can be true, else one that is not believed.
pub(crate) fn named(reason: Reason, waits: impl IntoIterator<Item = Option<Duration>>) -> Option<Duration> {
    let (believable, others): (Vec<_>, Vec<_>) =
        waits.into_iter().flatten().partition(|wait| is_believable(reason, *wait));
    believable.into_iter().max().or(others.into_iter().max())
}

/// How much of a stated limit of `limit` calls in `length` ms is believed, by what the exchange usually allows of the
/// bucket; `None` if it cannot be one.
pub(super) fn believed_limit(
    bucket: Bucket,
    (usual, usual_length): (u32, u64),
    limit: u64,
    length: u64,
) -> Option<u32> {
    let has_its_length = bucket != Bucket::Weight || length == usual_length;
    if length == 0 || length > 300_000 || !has_its_length {
        return None;
    }
    // The usual limit in a window of this length.
    let usual = u64::from(usual).checked_mul(length)? / usual_length;
    let believed = limit.min(usual.saturating_mul(MOST_TIMES));
    u32::try_from(believed).ok().filter(|_| limit.saturating_mul(LEAST_PART) >= usual.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_longest_believable_wait_of_an_answer_is_followed() {
        let named = |waits: [Option<u64>; 2]| {
            named(Reason::Banned, waits.map(|wait| wait.map(Duration::from_secs))).map(|wait| wait.as_secs())
        };
        assert_eq!(named([Some(5), Some(120)]), Some(120));
        assert_eq!(named([Some(u64::MAX), Some(120)]), Some(120), "nonsense in the header, and sense in the body");
        assert_eq!(named([Some(400_000), None]), Some(400_000));
        assert_eq!(named([None, None]), None);
    }

    #[test]
    fn waits_that_cannot_be_true_are_cut_and_double_from_one_to_the_next() {
        let nonsense = Duration::from_secs(99_999_999_999);
        assert_eq!(within(Reason::Banned, LONGEST_BAN, 1), (LONGEST_BAN, false));
        assert_eq!(within(Reason::Banned, nonsense, 1), (SHORTEST_BAN, true));
        assert_eq!(within(Reason::Banned, nonsense, 2), (SHORTEST_BAN * 2, true));
        assert_eq!(within(Reason::Banned, nonsense, u32::MAX), (LONGEST_DOUBT, true));
        assert_eq!(within(Reason::RateLimited, nonsense, 1), (LONGEST_PAUSE, true));
        assert_eq!(within(Reason::RateLimited, SECOND * 301, 1), (LONGEST_PAUSE, false), "rounded up");
        assert_eq!(within(Reason::RateLimited, Duration::ZERO, 1), (SECOND, false));
        assert_eq!(within(Reason::RateLimited, Duration::ZERO, 4), (SECOND * 8, false));
    }

    #[test]
    fn limits_are_plausible_near_what_the_exchange_usually_allows() {
        let weight = |limit, length| believed_limit(Bucket::Weight, (6_000, 60_000), limit, length);
        for limit in [30, 600, 1_200, 6_000, 60_000] {
            assert_eq!(weight(limit, 60_000), u32::try_from(limit).ok());
        }
        for limit in [0, 1, 29] {
            assert_eq!(weight(limit, 60_000), None, "{limit}");
        }
        for limit in [60_001, u64::from(u32::MAX), u64::MAX] {
            assert_eq!(weight(limit, 60_000), Some(60_000), "{limit}");
        }
        assert_eq!([1_000, 0, u64::MAX].map(|length| weight(6_000, length)), [None; 3]);
        let raw = |limit, length| believed_limit(Bucket::Raw, (300_000, 300_000), limit, length);
        assert_eq!((raw(61_000, 300_000), raw(6_000, 60_000)), (Some(61_000), Some(6_000)));
        assert_eq!((raw(1, 300_000), raw(u64::MAX, 300_000)), (None, Some(3_000_000)));
        assert_eq!(raw(300_000 * 288, 86_400_000), None, "a window of a day would stop for a day");
    }
}
