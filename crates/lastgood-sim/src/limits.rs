//! What the exchange counts against an address: weight a minute, buckets of their own, and bans for those who go on.

use std::collections::HashMap;

use crate::Venue;
use crate::params::ApiError;

/// Requests while limited before a ban.
const PATIENCE: u32 = 10;
const FIRST_BAN: u64 = 2 * 60_000;
const LONGEST_BAN: u64 = 3 * 86_400_000;

/// The buckets without weight count for five minutes.
const BUCKET_WINDOW: u64 = 5 * 60_000;

/// The counts of one venue.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    minute: u64,
    used: u32,
    asked_while_limited: u32,
    bans: u32,
    banned_until: u64,
    /// Requests in the buckets that have no weight, by bucket and window.
    buckets: HashMap<Bucket, (u64, u32)>,
}

/// A bucket of requests in five minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Bucket {
    Funding,
    Statistics,
}

impl Bucket {
    fn limit(self) -> u32 {
        match self {
            Bucket::Funding => 500,
            Bucket::Statistics => 1_000,
        }
    }
}

/// A refusal and how long it asks to wait, in seconds.
pub(crate) struct Refusal {
    pub(crate) error: ApiError,
    pub(crate) retry_after: u64,
}

impl Limits {
    /// Counts a request of `weight`, or refuses it.
    pub(crate) fn count(
        &mut self,
        venue: Venue,
        weight: u32,
        bucket: Option<Bucket>,
        limit: u32,
        now: u64,
    ) -> Result<(), Refusal> {
        if now < self.banned_until {
            return Err(banned(venue, self.banned_until, now));
        }
        let minute = now / 60_000;
        if self.minute != minute {
            (self.minute, self.used, self.asked_while_limited) = (minute, 0, 0);
        }
        let full = bucket.filter(|&bucket| {
            let window = now / BUCKET_WINDOW;
            let (at, count) = self.buckets.entry(bucket).or_default();
            if *at != window {
                (*at, *count) = (window, 0);
            }
            *count += 1;
            *count > bucket.limit()
        });
        self.used = self.used.saturating_add(weight);
        // What weighs nothing is held to its own bucket alone.
        if (self.used <= limit || weight == 0) && full.is_none() {
            return Ok(());
        }
        self.asked_while_limited += 1;
        if self.asked_while_limited > PATIENCE {
            let length = FIRST_BAN.saturating_mul(1 << self.bans.min(12)).min(LONGEST_BAN);
            self.bans += 1;
            self.banned_until = now + length;
            return Err(banned(venue, self.banned_until, now));
        }
        let (what, window) = match full {
            Some(bucket) => {
                (format!("Too many requests; current limit is {} requests per 5 MINUTE", bucket.limit()), BUCKET_WINDOW)
            }
            None => {
                (format!("Too much request weight used; current limit is {limit} request weight per 1 MINUTE"), 60_000)
            }
        };
        let msg = format!("{what}. Please use WebSocket Streams for live updates to avoid polling the API.");
        Err(Refusal { error: ApiError::new(429, -1003, msg), retry_after: (window - now % window).div_ceil(1_000) })
    }

    /// The weight used in the minute of `now`.
    pub(crate) fn used(&self, now: u64) -> u32 {
        if self.minute == now / 60_000 { self.used } else { 0 }
    }
}

/// The refusal of a banned address, in the venue's wording.
pub(crate) fn banned(venue: Venue, until: u64, now: u64) -> Refusal {
    let msg = match venue {
        Venue::Spot => format!(
            "Way too much request weight used; IP banned until {until}. Please use WebSocket Streams for live updates to avoid bans."
        ),
        _ => format!(
            "Way too many requests; IP(127.0.0.1) banned until {until}. Please use the websocket for live updates to avoid bans."
        ),
    };
    Refusal { error: ApiError::new(418, -1003, msg), retry_after: until.saturating_sub(now).div_ceil(1_000) }
}
