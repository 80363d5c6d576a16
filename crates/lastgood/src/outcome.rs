//! Where an answer came from. One enum feeds header, metric label and log field.

use std::fmt;

use crate::error::Reason;

/// The tier that held an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tier {
    /// This process's memory.
    Memory,
    /// The store below it.
    Store,
}

impl Tier {
    /// The word for headers, labels and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Tier::Memory => "memory",
            Tier::Store => "store",
        }
    }
}

/// How an answer came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Fresh, from a tier.
    Hit(Tier),
    /// Past its freshness but within `stale_while_revalidate`; a refresh runs behind.
    Stale,
    /// The last good answer, because the source gave none: the reason says why.
    LastGood(Reason),
    /// Loaded from the source for this read.
    Miss,
    /// Loaded from the source by a read that came before; this one waited for the same load.
    Joined,
    /// Not the cache's to answer.
    Bypass(BypassReason),
}

/// Why the cache was not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BypassReason {
    /// The cache is switched off.
    Disabled,
    /// A request of an account: signed, changing something, or about what an account has.
    Private,
    /// Public data that is given only to those who have an API key.
    NeedsKey,
    /// Public data that is never cached: the time, binary forms.
    Uncacheable,
    /// A path that is not known. It may be public.
    Unlisted,
}

impl BypassReason {
    /// The word for headers, labels and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            BypassReason::Disabled => "disabled",
            BypassReason::Private => "private",
            BypassReason::NeedsKey => "needs-key",
            BypassReason::Uncacheable => "uncacheable",
            BypassReason::Unlisted => "unlisted",
        }
    }
}

impl Outcome {
    /// The word of the `X-Cache` header.
    pub const fn as_x_cache(self) -> &'static str {
        match self {
            Outcome::Hit(_) => "HIT",
            Outcome::Stale => "STALE",
            Outcome::LastGood(_) => "LAST-GOOD",
            Outcome::Miss => "MISS",
            Outcome::Joined => "JOINED",
            Outcome::Bypass(_) => "PASS",
        }
    }

    /// What distinguishes this outcome among those with the same [`Outcome::as_x_cache`]; the `detail` of RFC 9211.
    pub const fn detail(self) -> Option<&'static str> {
        match self {
            Outcome::Hit(tier) => Some(tier.as_str()),
            Outcome::LastGood(reason) => Some(reason.as_str()),
            Outcome::Bypass(reason) => Some(reason.as_str()),
            Outcome::Stale | Outcome::Miss | Outcome::Joined => None,
        }
    }

    /// The tier that held a fresh answer.
    pub const fn tier(self) -> Option<Tier> {
        match self {
            Outcome::Hit(tier) => Some(tier),
            _ => None,
        }
    }

    /// Why the source gave none, where the last good answer stood in.
    pub const fn last_good_because(self) -> Option<Reason> {
        match self {
            Outcome::LastGood(reason) => Some(reason),
            _ => None,
        }
    }

    /// Whether the answer was served without waiting for the source.
    pub const fn is_hit(self) -> bool {
        matches!(self, Outcome::Hit(_) | Outcome::Stale)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_x_cache())?;
        match self.detail() {
            Some(detail) => write!(f, "({detail})"),
            None => Ok(()),
        }
    }
}
