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
    /// Calls under `/sapi` and `/wapi`, by the minute: they lie on spot's hosts and are counted by themselves.
    Sapi,
}

impl Bucket {
    /// Every bucket, in the order of their discriminants.
    pub const ALL: [Bucket; 5] = [Bucket::Weight, Bucket::Funding, Bucket::Statistics, Bucket::Raw, Bucket::Sapi];

    /// The word for labels and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Bucket::Weight => "weight",
            Bucket::Funding => "funding",
            Bucket::Statistics => "statistics",
            Bucket::Raw => "raw-requests",
            Bucket::Sapi => "sapi",
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
            Bucket::Sapi => (12_000, 60_000),
        }
    }

    /// Where a call of `path` counts besides its weight, whether the path is in the endpoint table or not.
    pub fn of_path(path: &str) -> Bucket {
        let mut segments = path.split('/').skip(1);
        match (segments.next(), segments.next(), segments.next()) {
            (Some("sapi" | "wapi"), ..) => Bucket::Sapi,
            (Some("futures"), Some("data"), _) => Bucket::Statistics,
            (Some("fapi" | "dapi"), _, Some("fundingRate" | "fundingInfo")) => Bucket::Funding,
            _ => Bucket::Weight,
        }
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
