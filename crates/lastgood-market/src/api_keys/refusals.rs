//! Which API keys the exchange refused, so that they are not tried again with each list.

use std::time::Duration;

use quick_cache::sync::Cache;
use tokio::time::Instant;

use super::{ApiKey, KeyId, Keys};
use crate::symbols::Link;
use crate::venue::Venue;

/// A key that was refused is tried again after this, doubled with each refusal in a row.
const FIRST: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(3_600);
/// More refused keys than this are not remembered.
const MOST: usize = 20_000;

/// The keys that were refused.
pub(crate) struct Refusals(Cache<KeyId, Refusal>);

#[derive(Clone, Copy)]
struct Refusal {
    until: Instant,
    in_a_row: u32,
}

impl Refusals {
    pub(crate) fn new() -> Refusals {
        Refusals(Cache::new(MOST))
    }

    /// Whether a key was refused a while ago.
    pub(crate) fn is_refused(&self, key: &ApiKey) -> bool {
        self.0.get(key.id()).is_some_and(|refusal| refusal.until > Instant::now())
    }

    /// The keys without those that were refused a while ago.
    pub(crate) fn without_refused(&self, keys: &Keys) -> Keys {
        let usable = |key: &ApiKey| !self.is_refused(key);
        Keys {
            user: keys.user.clone(),
            testnet: keys.testnet.clone().filter(usable),
            mainnet: keys.mainnet.clone().filter(usable),
        }
    }

    /// Remembers that a key was refused; each key is logged once.
    pub(crate) fn note(&self, key: &ApiKey, keys: &Keys, venue: Venue, link: Link) {
        let earlier = self.0.get(key.id());
        let in_a_row = earlier.map_or(0, |earlier| earlier.in_a_row.saturating_add(1));
        let pause = (FIRST * 2u32.saturating_pow(in_a_row.min(16))).min(LONGEST);
        self.0.insert(*key.id(), Refusal { until: Instant::now() + pause, in_a_row });
        if earlier.is_none() {
            let user = keys.user.as_ref().map_or("the gateway's own", |user| user.as_str());
            tracing::warn!(user, market = %venue, %link, "the exchange refuses this API key: going on without it");
        }
    }

    /// Forgets the refusals of a key that was accepted.
    pub(crate) fn forget(&self, key: &ApiKey) {
        self.0.remove(key.id());
    }
}

#[cfg(test)]
mod tests {
    use crate::credentials::Environment;
    use secrecy::SecretString;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_refused_key_is_left_alone_for_longer_and_longer_and_no_other_is() {
        let key = |text: &str| ApiKey::new(&SecretString::from(text), Venue::Spot, Environment::Testnet).unwrap();
        let (bad, good) = (key("bad"), key("good"));
        let keys = Keys { testnet: Some(bad.clone()), mainnet: Some(good), ..Keys::default() };
        let refusals = Refusals::new();
        assert_eq!(refusals.without_refused(&keys).there(), [true, true]);
        for pause in [60, 120, 240, 480, 960, 1_920, 3_600, 3_600] {
            refusals.note(&bad, &keys, Venue::Spot, Link::Testnet);
            tokio::time::advance(Duration::from_secs(pause - 1)).await;
            assert_eq!(refusals.without_refused(&keys).there(), [false, true], "{pause}");
            tokio::time::advance(Duration::from_secs(1)).await;
            assert_eq!(refusals.without_refused(&keys).there(), [true, true], "{pause}");
        }
        refusals.note(&bad, &keys, Venue::Spot, Link::Testnet);
        refusals.forget(&bad);
        assert_eq!(refusals.without_refused(&keys).there(), [true, true]);
    }
}
