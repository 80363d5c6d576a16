//! How warming goes.

use std::time::Duration;

use lastgood::Timestamp;

/// How many items came to what end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Items of the round, as far as it is known.
    pub(crate) of: u64,
    /// Loaded.
    pub(crate) loaded: u64,
    /// Fresh for long enough already.
    pub(crate) fresh: u64,
    /// Left out, because the exchange's budget was for others.
    pub(crate) refused: u64,
    /// Not answered by the exchange, or by a route's sources.
    pub(crate) failed: u64,
}

/// How many items came to one end.
type State = fn(&Tally) -> u64;

impl Tally {
    /// Both together.
    pub(crate) fn and(self, other: Tally) -> Tally {
        Tally {
            of: self.of + other.of,
            loaded: self.loaded + other.loaded,
            fresh: self.fresh + other.fresh,
            refused: self.refused + other.refused,
            failed: self.failed + other.failed,
        }
    }

    /// The states of an item, by their words for labels.
    pub(crate) const STATES: [(&'static str, State); 4] = [
        ("loaded", |tally| tally.loaded),
        ("fresh", |tally| tally.fresh),
        ("refused", |tally| tally.refused),
        ("failed", |tally| tally.failed),
    ];
}

/// How warming goes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Progress {
    /// Whether a round is under way.
    pub(crate) running: bool,
    /// Of the round under way, else of the last.
    pub(crate) round: Tally,
    /// Of all rounds.
    pub(crate) total: Tally,
    /// Rounds that ended.
    pub(crate) rounds: u64,
    /// When the last one ended.
    pub(crate) last_finished: Option<Timestamp>,
    /// How long it took.
    pub(crate) took: Duration,
}
