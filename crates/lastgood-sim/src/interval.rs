//! Candle intervals: where each begins.

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
/// 1970-01-05 was the first Monday.
const MONDAY: u64 = 4 * DAY;

/// An interval of candles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interval {
    /// This many milliseconds, counted from the epoch plus an anchor.
    Fixed { length: u64, anchor: u64 },
    /// A calendar month.
    Month,
}

impl Interval {
    /// The interval of that name; names are case-sensitive: `1m` is a minute, `1M` a month.
    pub(crate) fn parse(name: &str) -> Option<Interval> {
        let fixed = |length| Some(Interval::Fixed { length, anchor: 0 });
        match name {
            "1s" => fixed(1_000),
            "1m" => fixed(MINUTE),
            "3m" => fixed(3 * MINUTE),
            "5m" => fixed(5 * MINUTE),
            "15m" => fixed(15 * MINUTE),
            "30m" => fixed(30 * MINUTE),
            "1h" => fixed(HOUR),
            "2h" => fixed(2 * HOUR),
            "4h" => fixed(4 * HOUR),
            "6h" => fixed(6 * HOUR),
            "8h" => fixed(8 * HOUR),
            "12h" => fixed(12 * HOUR),
            "1d" => fixed(DAY),
            "3d" => fixed(3 * DAY),
            "1w" => Some(Interval::Fixed { length: 7 * DAY, anchor: MONDAY }),
            "1M" => Some(Interval::Month),
            _ => None,
        }
    }

    /// Whether a time zone moves its begin: for days and longer.
    fn is_daily(self) -> bool {
        !matches!(self, Interval::Fixed { length, .. } if length < DAY)
    }

    /// The begin of the candle that holds `at`, with days beginning `zone` ms before UTC's.
    pub(crate) fn begin(self, at: u64, zone: i64) -> u64 {
        let zone = if self.is_daily() { zone } else { 0 };
        let local = at.saturating_add_signed(zone);
        let begin = match self {
            Interval::Fixed { length, anchor } if local >= anchor => local - (local - anchor) % length,
            Interval::Fixed { .. } => 0,
            Interval::Month => {
                let (year, month) = month_of(local);
                begin_of_month(year, month)
            }
        };
        begin.saturating_add_signed(-zone)
    }

    /// The begin of the candle after the one that begins at `begin`.
    pub(crate) fn next(self, begin: u64, zone: i64) -> u64 {
        match self {
            Interval::Fixed { length, .. } => begin + length,
            // No month is longer than 31 days, none shorter than 28.
            Interval::Month => self.begin(begin + 31 * DAY + 12 * HOUR, zone),
        }
    }

    /// The begin of the candle before.
    pub(crate) fn previous(self, begin: u64, zone: i64) -> Option<u64> {
        match self {
            Interval::Fixed { length, .. } => begin.checked_sub(length),
            Interval::Month => Some(self.begin(begin.checked_sub(DAY)?, zone)),
        }
    }

    /// Its usual length in ms.
    pub(crate) fn length(self) -> u64 {
        match self {
            Interval::Fixed { length, .. } => length,
            Interval::Month => 30 * DAY,
        }
    }
}

/// Year and month of a time (after Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days).
fn month_of(at: u64) -> (u64, u64) {
    let days = at / DAY + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month)
}

/// The first millisecond of a month; the inverse of [`month_of`].
fn begin_of_month(year: u64, month: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year / 400;
    let year_of_era = year % 400;
    let shifted = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted + 2) / 5;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    (era * 146_097 + day_of_era).saturating_sub(719_468) * DAY
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: u64 = 1_772_600_767_250; // 2026-03-04 05:06:07.250 UTC, a Wednesday

    #[test]
    fn candles_begin_where_the_calendar_says() {
        let begin = |name: &str| Interval::parse(name).unwrap().begin(AT, 0);
        assert_eq!(begin("1m"), 1_772_600_760_000);
        assert_eq!(begin("1d"), 1_772_582_400_000);
        assert_eq!(begin("1w"), 1_772_409_600_000); // Monday 2026-03-02
        assert_eq!(begin("1M"), 1_772_323_200_000); // 2026-03-01
        assert_eq!(Interval::Month.previous(begin("1M"), 0), Some(1_769_904_000_000)); // 2026-02-01
        assert_eq!(Interval::Month.next(begin("1M"), 0), 1_775_001_600_000); // 2026-04-01
    }

    #[test]
    fn a_time_zone_moves_days_and_not_hours() {
        let zone = 8 * HOUR as i64;
        assert_eq!(Interval::parse("1d").unwrap().begin(AT, zone), 1_772_553_600_000);
        assert_eq!(Interval::parse("1h").unwrap().begin(AT, zone), Interval::parse("1h").unwrap().begin(AT, 0));
    }
}
