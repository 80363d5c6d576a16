//! What every kind of warming shares: whose turn it is among nodes on one store, and how a round went.

mod lease;

pub use self::lease::{Lease, RENEW_AFTER, TRIES, Turn, some_of};

/// How many items came to what end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Items of the round, as far as it is known.
    pub of: u64,
    /// Loaded.
    pub loaded: u64,
    /// Fresh for long enough already.
    pub fresh: u64,
    /// Left out, because what they need was for others.
    pub refused: u64,
    /// Not answered by their source.
    pub failed: u64,
}

/// How many items came to one end.
pub type State = fn(&Tally) -> u64;

impl Tally {
    /// Both together.
    pub fn and(self, other: Tally) -> Tally {
        Tally {
            of: self.of + other.of,
            loaded: self.loaded + other.loaded,
            fresh: self.fresh + other.fresh,
            refused: self.refused + other.refused,
            failed: self.failed + other.failed,
        }
    }

    /// The states of an item, by their words for labels.
    pub const STATES: [(&'static str, State); 4] = [
        ("loaded", |tally| tally.loaded),
        ("fresh", |tally| tally.fresh),
        ("refused", |tally| tally.refused),
        ("failed", |tally| tally.failed),
    ];
}
