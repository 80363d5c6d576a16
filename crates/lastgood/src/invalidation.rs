//! What an invalidation is about, and how far it goes.

use std::sync::Arc;

use crate::clock::Timestamp;

/// How far an invalidation goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The next read asks the source; the last good answer stands in if it fails.
    Expire,
    /// Gone from every tier, the last good answer included.
    Remove,
}

impl Mode {
    /// The word in the keys of marks.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Mode::Expire => "expired",
            Mode::Remove => "removed",
        }
    }
}

/// Says whether a key is meant, by the names of its region and itself.
pub type Matches = Arc<dyn Fn(&str, &str) -> bool + Send + Sync>;

/// Understands the text of a [`Selector::Text`](crate::Selector::Text).
pub type Selectors = Arc<dyn Fn(&str) -> Option<Matches> + Send + Sync>;

/// A bulk invalidation that the store is still to be given, as it was asked for at `at`: what was loaded or put since stays.
pub(crate) struct OwedBulk {
    /// What the keys begin with.
    pub(crate) prefix: String,
    pub(crate) matches: Matches,
    /// The text that `matches` was made of; `None` where there is none, so that it cannot be written down.
    pub(crate) selector: Option<String>,
    pub(crate) mode: Mode,
    pub(crate) at: Timestamp,
}
