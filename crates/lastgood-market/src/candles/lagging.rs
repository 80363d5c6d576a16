//! For which series the exchange gives ends that are older than what it gave before.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// So long an older end is refused; an exchange that stays behind is believed after it. In ms.
const REFUSED_FOR: u64 = 60_000;
/// More series than lag at a time.
const MOST: usize = 4_096;

/// Since when the exchange has given an older end of a series, for those of which it did last.
#[derive(Default)]
pub(super) struct Lagging(Mutex<HashMap<Box<str>, u64>>);

impl Lagging {
    fn table(&self) -> MutexGuard<'_, HashMap<Box<str>, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the end that the exchange gave at `now` is older than the kept one, and says whether to refuse it.
    pub(super) fn refuses(&self, series: &str, now: u64) -> bool {
        let mut table = self.table();
        if table.len() >= MOST && !table.contains_key(series) {
            table.retain(|_, since| now.saturating_sub(*since) < REFUSED_FOR);
            if table.len() >= MOST {
                table.clear();
            }
        }
        let since = *table.entry(series.into()).or_insert(now);
        now.saturating_sub(since) < REFUSED_FOR
    }

    /// Notes that the exchange gave an end that is to be believed.
    pub(super) fn ended(&self, series: &str) {
        self.table().remove(series);
    }
}

impl fmt::Debug for Lagging {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lagging({})", self.table().len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_end_is_refused_for_a_minute_from_the_first_on() {
        let lagging = Lagging::default();
        assert!(lagging.refuses("a", 1_000) && lagging.refuses("a", 60_999) && lagging.refuses("b", 61_000));
        assert!(!lagging.refuses("a", 61_000));
        lagging.ended("a");
        assert!(lagging.refuses("a", 61_000));
        for number in 0..10_000 {
            lagging.refuses(&number.to_string(), 70_000);
        }
        assert!(lagging.table().len() <= MOST);
    }
}
