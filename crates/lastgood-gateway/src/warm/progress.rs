//! How warming goes.

use std::time::Duration;

use lastgood::Timestamp;
use lastgood::warm::Tally;

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
