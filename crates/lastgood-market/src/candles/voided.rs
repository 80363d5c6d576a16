//! Which series the exchange has changed the history of.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use lastgood::Timestamp;

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

/// So many are remembered by name.
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
