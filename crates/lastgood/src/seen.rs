//! What the store said of a key.

use bytes::Bytes;

use crate::entry::Entry;
use crate::lease::Claim;
use crate::store::{Ahead, Ends, StoreError};

/// What the store holds under a key: as this process may believe it, and as a load has to replace it.
#[derive(Default)]
pub(crate) struct Stored {
    pub(crate) entry: Option<Entry>,
    pub(crate) seen: Seen,
    pub(crate) ahead: Ahead,
    /// Whether there is something that is no entry, or cannot be read.
    pub(crate) is_unreadable: bool,
    /// Why it is unknown whether the store holds an entry.
    pub(crate) unknown: Option<StoreError>,
}

/// What the store said that a key holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Seen {
    /// It was not asked, or did not answer.
    #[default]
    Unread,
    Nothing,
    /// The claim of a load.
    Claimed(Claim),
    /// Bytes of this version, readable or not.
    Value(Ends),
}

impl Stored {
    /// What was seen, without the entry.
    pub(crate) fn unread(&self) -> Stored {
        Stored { seen: self.seen.clone(), ahead: self.ahead, ..Stored::default() }
    }
}

impl Seen {
    pub(crate) fn of(bytes: Option<&Bytes>) -> Seen {
        let Some(bytes) = bytes else { return Seen::Nothing };
        Claim::decode(bytes).map_or_else(|| Seen::Value(Ends::of(bytes)), Seen::Claimed)
    }
}
