//! A call that wants to be made: what it costs, and how urgent it is.

use crate::venue::Bucket;

/// Who comes first when there is not enough for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Priority {
    /// There is nothing to serve instead: whatever is not reserved may be used.
    Demand,
    /// An older answer is served meanwhile: spread over the window, keys that many ask for first.
    Refresh,
    /// No reader has asked yet: half of what a refresh may use.
    Warm,
}

impl Priority {
    /// Every priority, in the order of their discriminants.
    pub const ALL: [Priority; 3] = [Priority::Demand, Priority::Refresh, Priority::Warm];

    /// That of a load for a reader, by whether an older answer can stand in.
    pub const fn of_load(has_kept: bool) -> Priority {
        if has_kept { Priority::Refresh } else { Priority::Demand }
    }

    /// The word for labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Priority::Demand => "demand",
            Priority::Refresh => "refresh",
            Priority::Warm => "warm",
        }
    }
}

/// A call that somebody wants to make.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    /// Where it counts, besides its weight and the raw requests.
    pub bucket: Bucket,
    /// Its request weight.
    pub weight: u32,
    /// Who wants it.
    pub priority: Priority,
    /// How often its key was asked for since it was last loaded; see [`Frequency`].
    pub frequency: u32,
}

/// What a call costs in each bucket.
pub(super) fn costs(ask: Ask) -> [(Bucket, u32); 5] {
    Bucket::ALL.map(|bucket| match bucket {
        Bucket::Weight => (bucket, ask.weight),
        Bucket::Raw => (bucket, 1),
        own => (own, u32::from(own == ask.bucket)),
    })
}
