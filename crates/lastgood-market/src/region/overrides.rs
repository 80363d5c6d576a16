//! The configured policy of a region, in place of its preset's.

use std::time::Duration;

use lastgood::{Keep, Policy};

/// The configured policy of a region; `None` leaves the preset's value.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PolicyOverride {
    /// How long an answer is fresh. Of candles: how long a forming one is.
    pub fresh_for: Option<Duration>,
    /// How long after that it is served while being refreshed in the background.
    pub stale_while_revalidate: Option<Duration>,
    /// How long after its freshness it stays as the last good answer.
    pub stale_if_error: Option<Keep>,
    /// By which share of `fresh_for` its end is spread, 0 to 1.
    pub jitter: Option<f64>,
    /// How long "there is no such thing" is remembered.
    pub negative_for: Option<Duration>,
    /// After how long a load gives way to an older answer and goes on behind.
    pub soft_timeout: Option<Duration>,
    /// After how long a load is given up.
    pub hard_timeout: Option<Duration>,
    /// From which size on a stored value is compressed, in bytes.
    pub compress_over: Option<u64>,
}

impl PolicyOverride {
    /// `policy` with the configured values.
    #[must_use]
    pub fn on(&self, policy: Policy) -> Policy {
        let fresh_for = self.fresh_for.unwrap_or(policy.fresh_for);
        // A region configured to be fresh longer or shorter is stale in proportion, unless that is configured too.
        let stale_while_revalidate = match self.fresh_for {
            Some(_) if policy.stale_while_revalidate == policy.fresh_for => fresh_for,
            _ => policy.stale_while_revalidate,
        };
        Policy {
            fresh_for,
            stale_while_revalidate: self.stale_while_revalidate.unwrap_or(stale_while_revalidate),
            stale_if_error: self.stale_if_error.unwrap_or(policy.stale_if_error),
            jitter: self.jitter.unwrap_or(policy.jitter),
            negative_for: self.negative_for.unwrap_or(policy.negative_for),
            soft_timeout: self.soft_timeout.unwrap_or(policy.soft_timeout),
            hard_timeout: self.hard_timeout.unwrap_or(policy.hard_timeout),
            compress_over: self
                .compress_over
                .map_or(policy.compress_over, |size| usize::try_from(size).unwrap_or(usize::MAX)),
            max_loads: policy.max_loads,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Preset, RegionName};

    #[test]
    fn a_region_fresh_longer_is_stale_in_proportion_unless_that_is_configured_too() {
        let minute = Duration::from_secs(60);
        let longer = PolicyOverride { fresh_for: Some(minute), ..PolicyOverride::default() };
        let ticker = longer.on(RegionName::TickerPrice.policy(Preset::Trading));
        assert_eq!((ticker.fresh_for, ticker.stale_while_revalidate), (minute, minute));
        let candles = longer.on(RegionName::Klines.policy(Preset::Trading));
        assert_eq!((candles.fresh_for, candles.stale_while_revalidate), (minute, Duration::ZERO));
        let both = PolicyOverride { stale_while_revalidate: Some(Duration::from_secs(1)), ..longer };
        let ticker = both.on(RegionName::TickerPrice.policy(Preset::Trading));
        assert_eq!(ticker.stale_while_revalidate, Duration::from_secs(1));
        let untouched = || RegionName::Llm.policy(Preset::Dashboard);
        assert_eq!(PolicyOverride::default().on(untouched()), untouched());
    }
}
