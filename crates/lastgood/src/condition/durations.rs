//! How long loads take, however they end.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::metrics::LATENCY_BOUNDS_MS;

/// How long the loads of a host or a source took since the start, those that failed included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadDurations {
    /// All of them together.
    pub time: Duration,
    /// How many took up to each of [`LATENCY_BOUNDS_MS`] and longer than the one before; the last is the rest.
    pub buckets: [u64; LATENCY_BOUNDS_MS.len() + 1],
}

impl LoadDurations {
    /// How many loads there were.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// These and others.
    #[must_use]
    pub fn and(mut self, others: LoadDurations) -> LoadDurations {
        self.time += others.time;
        self.buckets.iter_mut().zip(others.buckets).for_each(|(bucket, more)| *bucket += more);
        self
    }
}

/// The counters behind [`LoadDurations`].
#[derive(Default)]
pub(super) struct Durations {
    micros: AtomicU64,
    buckets: [AtomicU64; LATENCY_BOUNDS_MS.len() + 1],
}

impl Durations {
    pub(super) fn add(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = LATENCY_BOUNDS_MS.iter().position(|bound| micros <= bound * 1_000);
        self.buckets[bucket.unwrap_or(LATENCY_BOUNDS_MS.len())].fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> LoadDurations {
        let mut read = LoadDurations {
            time: Duration::from_micros(self.micros.load(Ordering::Relaxed)),
            ..LoadDurations::default()
        };
        read.buckets.iter_mut().zip(&self.buckets).for_each(|(bucket, count)| *bucket = count.load(Ordering::Relaxed));
        read
    }
}
