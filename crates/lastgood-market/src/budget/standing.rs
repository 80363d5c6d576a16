//! How a budget stands, for those who look.

use std::time::Duration;

use super::Stop;
use crate::venue::Bucket;

/// How a bucket stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BucketStanding {
    /// Which.
    pub bucket: Bucket,
    /// What the exchange allows in a window.
    pub limit: u32,
    /// The part of it that is left to signed calls and to others on the address.
    pub reserve: u32,
    /// The window.
    pub window: Duration,
    /// Used in the current window, by the exchange's last word, what was asked since, and what the other gateways spent.
    pub used: u32,
    /// Sent from here in the current window.
    pub own: u32,
    /// Sent by the other gateways in it, as far as they have said so.
    pub others: u32,
    /// Spent since the start.
    pub spent: u64,
    /// Whether we back off from what counts in this bucket.
    pub stop: Option<Stop>,
}

/// How a budget stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Every bucket, in the order of [`Bucket::ALL`].
    pub buckets: [BucketStanding; 5],
    /// Calls sent since the start.
    pub calls: u64,
    /// Calls refused here since the start, in the order of [`Priority::ALL`].
    pub refused: [u64; 3],
    /// Pauses (429) that the exchange asked for since the start.
    pub pauses: u64,
    /// Bans (418) since the start.
    pub bans: u64,
    /// Refusals of the exchange's firewall (403) since the start.
    pub firewalled: u64,
    /// Whether we back off from the exchange as a whole.
    pub stop: Option<Stop>,
    /// How many gateways spend this budget together, this one included; `None` while the store does not say.
    pub gateways: Option<u32>,
}
