//! Which series the exchange has changed the history of.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use std::time::Duration;

use lastgood::Timestamp;

use super::Candles;
use super::keep::TAIL;
use super::series::Series;

/// Series whose kept candles were given up because the exchange gave a settled one otherwise than before.
#[derive(Default)]
pub struct Voided {
    count: AtomicU64,
    last: Mutex<VecDeque<VoidedSeries>>,
}

/// A series that was loaded again because the exchange had changed its history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VoidedSeries {
    /// What the keys of the series begin with.
    pub series: String,
    /// When it was noticed.
    pub at: Timestamp,
}

/// The most that are remembered by name.
const REMEMBERED: usize = 16;

impl Voided {
    pub(super) fn note(&self, series: &str, at: Timestamp) {
        self.count.fetch_add(1, Ordering::Relaxed);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.retain(|voided| voided.series != series);
        last.push_back(VoidedSeries { series: series.to_owned(), at });
        if last.len() > REMEMBERED {
            last.pop_front();
        }
    }

    /// How often that happened since the start.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// The series it happened to last, the oldest first; at most 16.
    pub fn last(&self) -> Vec<VoidedSeries> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

impl fmt::Debug for Voided {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Voided({})", self.count())
    }
}

/// More blocks than a series has.
const MOST_PARTS: usize = 100_000;

impl Candles {
    /// Stops believing the kept candles of a series: the exchange has changed it.
    pub(super) async fn void(&self, series: &Series, open: u64, is_of_the_end: bool) {
        tracing::warn!(
            series = series.name(),
            candle = open,
            "the exchange gives a settled candle otherwise than before, or no longer: what was kept of this series is \
             loaded again"
        );
        self.voided.note(series.name(), self.clock.now());
        self.expire(series.prefix(), is_of_the_end).await;
    }

    /// Ends the belief in all that the tiers keep of a series, which stands in where the exchange fails; but for its end,
    /// where that is just being replaced.
    async fn expire(&self, prefix: &str, but_for_the_end: bool) {
        let mut names = self.region.stored_names(prefix, MOST_PARTS).await.unwrap_or_default();
        let held = self.region.names(None, MOST_PARTS, Duration::ZERO, &|name| name.starts_with(prefix)).await;
        names.extend(held.names.into_iter().map(|(name, _)| name));
        names.sort_unstable();
        names.dedup();
        names.retain(|name| !(but_for_the_end && name[prefix.len()..] == *TAIL));
        for name in names {
            self.region.expire(&name).await;
        }
    }
}
