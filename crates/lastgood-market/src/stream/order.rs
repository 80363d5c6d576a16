//! Which messages of a stream are newer than the kept entry.

use std::collections::HashMap;
use std::time::Duration;

use lastgood::Timestamp;

/// How far ahead of the exchange's time a message may say it is: clocks differ a little, and the estimate of theirs is
/// precise to a second.
const AHEAD: Duration = Duration::from_secs(60);
/// How precisely the exchange's clock is known, and how long a message without a time may have been on its way.
const SLACK: Duration = Duration::from_secs(1);
/// How long a number counts without a higher one: an exchange that starts again counts from the beginning, and must be
/// believed in the end.
const BELIEVED: Duration = Duration::from_secs(30);

/// What a message says of its place among others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// The exchange's time of it, in ms; zero where it does not say.
    pub(crate) at: u64,
    /// The number of the update, where it has one.
    pub(crate) number: Option<u64>,
}

/// Why a message is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Misplaced {
    /// It is older than the kept entry, or the same again.
    Outdated,
    /// It says it is of a time that is still to come.
    Ahead,
}

/// What was last taken from each stream. It outlives connections: what comes late must not undo what came in time,
/// by stream or by REST.
#[derive(Debug, Default)]
pub(crate) struct Order(HashMap<String, (Stamp, Timestamp)>);

impl Order {
    /// Whether a message that came at `now` may replace the kept entry, which was loaded at `kept`. `offset` is how far
    /// the exchange's clock is ahead of ours, in ms.
    ///
    /// # Errors
    ///
    /// When it may not.
    pub(crate) fn check(
        &self,
        stream: &str,
        stamp: Stamp,
        kept: Option<Timestamp>,
        now: Timestamp,
        offset: i64,
    ) -> Result<(), Misplaced> {
        let theirs = |ours: Timestamp| ours.as_millis().saturating_add_signed(offset);
        if stamp.at > theirs(now.plus(AHEAD)) {
            return Err(Misplaced::Ahead);
        }
        let latest = self.0.get(stream);
        if let Some((before, taken)) = latest {
            let is_earlier = stamp.at < before.at;
            let goes_back = matches!((stamp.number, before.number), (Some(number), Some(before)) if number <= before);
            if is_earlier || (goes_back && now.since(*taken) < BELIEVED) {
                return Err(Misplaced::Outdated);
            }
        }
        // What was loaded since the last message was taken is as of then, or later.
        let loaded = kept.filter(|kept| latest.is_none_or(|(_, taken)| kept > taken));
        let shows = if stamp.at == 0 { theirs(now) } else { stamp.at.saturating_add(millis(SLACK)) };
        let needed = if stamp.at == 0 { SLACK } else { Duration::ZERO };
        match loaded {
            Some(loaded) if shows < theirs(loaded.plus(needed)) => Err(Misplaced::Outdated),
            _ => Ok(()),
        }
    }

    /// Notes that a message was taken at `now`.
    pub(crate) fn took(&mut self, stream: &str, stamp: Stamp, now: Timestamp) {
        match self.0.get_mut(stream) {
            Some(latest) => *latest = (stamp, now),
            None => drop(self.0.insert(stream.to_owned(), (stamp, now))),
        }
    }

    /// When a message of the stream was taken last.
    pub(crate) fn taken_at(&self, stream: &str) -> Option<Timestamp> {
        self.0.get(stream).map(|(_, taken)| *taken)
    }

    /// Forgets the streams that are not `wanted` any more.
    pub(crate) fn keep(&mut self, wanted: impl Fn(&str) -> bool) {
        self.0.retain(|stream, _| wanted(stream));
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_772_600_767_250;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn stamp(at: u64, number: Option<u64>) -> Stamp {
        Stamp { at, number }
    }

    #[test]
    fn an_earlier_or_lower_counted_message_is_outdated() {
        let mut order = Order::default();
        let check = |order: &Order, stamp, now| order.check("x@ticker", stamp, None, at(now), 0);
        assert_eq!(check(&order, stamp(NOW, None), NOW), Ok(()));
        order.took("x@ticker", stamp(NOW, Some(10)), at(NOW));
        assert_eq!(check(&order, stamp(NOW - 1, Some(11)), NOW + 5), Err(Misplaced::Outdated));
        for number in [9, 10] {
            assert_eq!(check(&order, stamp(NOW, Some(number)), NOW + 5), Err(Misplaced::Outdated));
        }
        assert_eq!(check(&order, stamp(NOW + 1, Some(11)), NOW + 5), Ok(()));
        // It starts again: believed once nothing newer came for a while.
        assert_eq!(check(&order, stamp(NOW + 29_000, Some(1)), NOW + 29_000), Err(Misplaced::Outdated));
        assert_eq!(check(&order, stamp(NOW + 30_000, Some(1)), NOW + 30_000), Ok(()));
        // A time that has passed never comes again.
        assert_eq!(check(&order, stamp(NOW - 1, None), NOW + 86_400_000), Err(Misplaced::Outdated));
        order.keep(|_| false);
        assert_eq!(check(&order, stamp(NOW - 1, None), NOW), Ok(()));
    }

    #[test]
    fn later_loads_are_not_replaced_by_older_answers() {
        let mut order = Order::default();
        order.took("x", stamp(NOW, None), at(NOW + 50));
        let check = |stamp, kept, now| order.check("x", stamp, Some(at(kept)), at(now), 0);
        assert_eq!(check(stamp(NOW + 1, None), NOW + 50, NOW + 60), Ok(()), "the kept one is the stream's own");
        assert_eq!(check(stamp(NOW + 1, None), NOW + 5_000, NOW + 5_010), Err(Misplaced::Outdated));
        assert_eq!(check(stamp(NOW + 4_500, None), NOW + 5_000, NOW + 5_010), Ok(()));
        let unstamped = |kept, now| Order::default().check("x", stamp(0, Some(7)), Some(at(kept)), at(now), 0);
        assert_eq!(unstamped(NOW, NOW + 900), Err(Misplaced::Outdated), "it may have been on its way for so long");
        assert_eq!(unstamped(NOW, NOW + 1_000), Ok(()));
    }

    #[test]
    fn the_exchange_s_clock_is_what_counts() {
        let order = Order::default();
        let check = |stamp, offset| order.check("x", stamp, Some(at(NOW)), at(NOW + 100), offset);
        assert_eq!(check(stamp(NOW + 61_000, None), 0), Err(Misplaced::Ahead));
        assert_eq!(check(stamp(u64::MAX, None), 0), Err(Misplaced::Ahead));
        assert_eq!(check(stamp(NOW + 3_600_000, None), 3_600_000), Ok(()));
        assert_eq!(check(stamp(NOW - 3_600_000, None), -3_600_000), Ok(()));
        assert_eq!(check(stamp(NOW - 3_600_000, None), 0), Err(Misplaced::Outdated));
    }
}
