//! When a question about the end of a series was last passed on as it was asked.
//!
//! Where the exchange contradicts itself, or nothing can be put together, a reader is given what it says to the very question. That
//! answer is later than the end of the series that a tier may hold, and readers must not be taken back behind it.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lastgood::{Answer, Error, Outcome, Timestamp};

use super::keep::TAIL;
use super::rows::Rows;
use super::series::{Question, Series};
use super::{Candles, For};

/// An end of a series is asked for again long before that.
const REMEMBERED_FOR: u64 = 600_000;
/// More series than fail at a time.
const MOST: usize = 4_096;
/// How often an end is loaded that turns out to be older.
const TRIES: usize = 3;

/// For each series when that was, for those of which it was a while ago at most.
#[derive(Default)]
pub(super) struct Passed {
    /// When that was for any series, in ms: hits need not look further.
    newest: AtomicU64,
    at: Mutex<HashMap<Box<str>, PassedOn>>,
}

/// When a question was passed on, and the key that its answer lies under.
struct PassedOn {
    at: Timestamp,
    key: String,
}

impl Passed {
    fn table(&self) -> MutexGuard<'_, HashMap<Box<str>, PassedOn>> {
        self.at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, series: &str, key: &str, now: Timestamp) {
        let mut table = self.table();
        if table.len() >= MOST {
            let oldest = now.as_millis().saturating_sub(REMEMBERED_FOR);
            table.retain(|_, passed| passed.at.as_millis() >= oldest);
            if table.len() >= MOST {
                table.clear();
            }
        }
        table.insert(series.into(), PassedOn { at: now, key: key.to_owned() });
        self.newest.fetch_max(now.as_millis(), Ordering::Relaxed);
    }

    /// Whether that was after `began`, and not later than `now`: the clock may have been set back since.
    fn is_after(&self, series: &str, began: Timestamp, now: Timestamp) -> bool {
        let newest = self.newest.load(Ordering::Relaxed);
        newest > began.as_millis()
            && self.table().get(series).is_some_and(|passed| passed.at > began && passed.at <= now)
    }

    /// The key of the last answer to a question of the series that was passed on.
    fn key(&self, series: &str) -> Option<String> {
        let has_any = self.newest.load(Ordering::Relaxed) > 0;
        has_any.then(|| self.table().get(series).map(|passed| passed.key.clone())).flatten()
    }
}

impl Candles {
    /// Notes that a question is passed on as it was asked, if it is about the end of its series.
    pub(super) fn note_passed(&self, question: &Question) {
        let now = self.clock.now();
        if question.end.is_none_or(|end| end.saturating_add(question.series.length) >= self.now()) {
            self.passed.note(question.series.name(), &question.direct.key, now);
        }
    }

    /// Whether a question about the end was passed on after this end of the series was asked for.
    pub(super) fn is_passed(&self, series: &Series, tail: &Answer) -> bool {
        let now = self.clock.now();
        let age = u64::try_from(tail.age().as_millis()).unwrap_or(u64::MAX);
        let began = Timestamp::from_millis(now.as_millis().saturating_sub(age));
        self.passed.is_after(series.name(), began, now)
    }

    /// When the newest candle opens of the last answer that was passed on, as long as memory holds it.
    pub(super) fn passed_end(&self, series: &Series) -> Option<u64> {
        let answer = self.region.peek(&self.passed.key(series.name())?)?;
        Rows::of_answer(answer.body())?.last_open()
    }

    /// The end of the series, loaded after all that was passed on.
    pub(super) async fn load_later_tail(&self, question: &Arc<Question>, whom: For) -> Result<Answer, Error> {
        for _ in 1..TRIES {
            let tail = self.load_tail(question, whom).await?;
            if matches!(tail.outcome(), Outcome::LastGood(_)) || !self.is_passed(&question.series, &tail) {
                return Ok(tail);
            }
            self.region.expire(&question.series.key(TAIL)).await;
        }
        self.load_tail(question, whom).await
    }
}

impl fmt::Debug for Passed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Passed({})", self.table().len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_passed_on_counts_for_its_series_and_for_ends_from_before_it() {
        let passed = Passed::default();
        let at = Timestamp::from_millis;
        passed.note("a", "key", at(1_000));
        assert!(passed.is_after("a", at(999), at(1_000)) && !passed.is_after("a", at(1_000), at(1_001)));
        assert_eq!((passed.key("a").as_deref(), passed.key("b")), (Some("key"), None));
        assert!(!passed.is_after("b", at(1), at(2_000)), "of another series nothing is known");
        assert!(!passed.is_after("a", at(1), at(999)), "the clock was set back");
        for number in 0..10_000 {
            passed.note(&number.to_string(), "key", at(2_000));
        }
        assert!(passed.table().len() <= MOST);
    }
}
