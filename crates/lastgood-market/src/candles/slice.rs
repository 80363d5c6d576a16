//! What an answer about candles is made of, and for whom it is made.

use std::time::Duration;

use bytes::Bytes;
use lastgood::{Answer, Outcome, Timestamp};

use crate::budget::Priority;

/// An answer put together from known candles.
#[derive(Clone, Debug)]
pub struct Slice {
    /// The rows in runs that follow each other, each as the exchange wrote it, commas between its rows.
    pub runs: Vec<Bytes>,
    /// How the answer came about.
    pub outcome: Outcome,
    /// When it was given.
    pub given_at: Timestamp,
    /// How long ago the oldest of what it was put together from was loaded.
    pub age: Duration,
    /// The end of the series, where the answer reaches it: its age and freshness are the answer's. Settled candles
    /// stay as they are.
    pub tail: Option<Answer>,
    /// Whether it was given while the invalidations of other processes on the same store could not be heard.
    pub unverified: bool,
}

/// For whom something is loaded.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum For {
    Reader,
    /// Those who may come.
    Later,
}

impl For {
    pub(super) fn priority(self, has_kept: bool) -> Priority {
        match self {
            For::Reader => Priority::of_load(has_kept),
            For::Later => Priority::Warm,
        }
    }
}
