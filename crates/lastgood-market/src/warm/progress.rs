//! How warming goes.

use std::time::Duration;

use lastgood::Timestamp;
use lastgood::warm::Tally;

/// How warming goes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// Whether a round is under way.
    pub running: bool,
    /// Of the round under way, else of the last.
    pub round: Tally,
    /// Of all rounds.
    pub total: Tally,
    /// Rounds that ended.
    pub rounds: u64,
    /// When the last one ended.
    pub last_finished: Option<Timestamp>,
    /// How long it took.
    pub took: Duration,
}
