//! What the exchange counts, and how much of it it allows.

use std::fmt;

use super::Venue;

/// What an exchange counts separately.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bucket {
    /// Request weight, by the minute.
    Weight,
    /// Calls of `fundingRate` and `fundingInfo`, in five minutes.
    Funding,
    /// Calls under `/futures/data`, in five minutes.
    Statistics,
    /// Calls of any kind.
    Raw,
}

impl Bucket {
    /// Every bucket, in the order of their discriminants.
    pub const ALL: [Bucket; 4] = [Bucket::Weight, Bucket::Funding, Bucket::Statistics, Bucket::Raw];

    /// The word for labels and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Bucket::Weight => "weight",
            Bucket::Funding => "funding",
            Bucket::Statistics => "statistics",
            Bucket::Raw => "raw-requests",
        }
    }

    /// Limit and window in milliseconds until the exchange states its own.
    pub(crate) const fn usual(self, venue: Venue) -> (u32, u64) {
        match self {
            Bucket::Weight => (venue.default_weight_limit(), 60_000),
            Bucket::Funding => (500, 300_000),
            Bucket::Statistics => (1_000, 300_000),
            // Only spot publishes one. Elsewhere what the weight allows bounds it, as every call weighs something.
            Bucket::Raw => (300_000, 300_000),
        }
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
