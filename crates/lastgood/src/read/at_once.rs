//! What most hits are: an entry of memory that is plainly fresh, for which the clock need not be asked.

use std::future::Future;
use std::sync::Arc;

use super::Judgement;
use crate::clock::Clock;
use crate::entry::Entry;
use crate::error::Error;
use crate::region::{Answer, Composed, Region};

impl Region {
    /// What memory holds for `name`, and if it is plainly fresh, the time in milliseconds. Nothing where the cache is switched
    /// off.
    #[inline(always)]
    pub(crate) fn at_once(&self, name: &str) -> (Option<Arc<Entry>>, Option<u64>) {
        let held = if self.is_enabled() { self.held(name) } else { None };
        // A tuple, since the parts of it stay in registers.
        let fresh_at = held.as_ref().and_then(|entry| self.plainly_fresh(entry));
        (held, fresh_at)
    }

    /// When an entry is fresh and verified, and stays so for longer than [`Clock::lately`] may be behind. Any other is judged by
    /// the clock itself.
    #[inline(always)]
    fn plainly_fresh(&self, entry: &Entry) -> Option<u64> {
        let at = self.cache.clock.lately()?;
        let now_at_most = at + Clock::BEHIND;
        let is_fresh = now_at_most < entry.times.fresh_until.number();
        (is_fresh && self.cache.verification.is_verified(entry, now_at_most)).then_some(at)
    }

    /// As [`Region::read`], of what memory was found to hold and is not plainly fresh.
    pub(crate) async fn read_held<F, L, G>(
        &self,
        name: &str,
        held: Option<Arc<Entry>>,
        siblings: &[String],
        load: F,
    ) -> Result<Answer, Error>
    where
        F: FnOnce() -> L + Send + 'static,
        L: Future<Output = Result<Composed<G>, Error>> + Send + 'static,
        G: Send + 'static,
    {
        match self.judge_held(name, held) {
            Judgement::Serve(answer) if self.is_enabled() => Ok(answer),
            // Boxed, so that a hit's future is small.
            judgement => Box::pin(self.read_judged(name, judgement, siblings, load)).await,
        }
    }
}

#[cfg(all(test, feature = "testing", target_os = "linux"))]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;
    use crate::{Cache, Freshness, Loaded, Outcome, Policy, Tier};

    const FRESH_FOR: Duration = Duration::from_secs(3_600);
    const NAME: &str = "BTCUSDT";

    /// A clock that runs: only then is a hit given at once.
    async fn filled() -> (Cache, Region) {
        let cache = Cache::builder().build().expect("a cache");
        let region = cache.region("prices", Policy::fresh_for(FRESH_FOR)).expect("a region");
        region.put(NAME, Loaded::from(Bytes::from_static(b"1")).fresh_for(FRESH_FOR)).await;
        (cache, region)
    }

    /// Whether the entry is given at once, where the clock need not be looked after just then.
    fn is_given(region: &Region) -> bool {
        (0..1_000).any(|_| {
            let _ = region.cache.clock.now();
            region.at_once(NAME).1.is_some()
        })
    }

    #[tokio::test]
    async fn a_fresh_entry_is_given_at_once_until_shortly_before_its_end() {
        let (_cache, region) = filled().await;
        assert!(is_given(&region));
        let answer = region.get(NAME).await.expect("it is in memory").expect("it was put");
        assert_eq!((answer.outcome(), answer.freshness()), (Outcome::Hit(Tier::Memory), Freshness::Fresh));
        assert!(answer.given_at() <= region.cache.clock.now());

        region.cache.clock.jump(FRESH_FOR / 2);
        assert!(is_given(&region));
        let answer = region.get(NAME).await.expect("it is in memory").expect("it was put");
        assert!(answer.age() >= FRESH_FOR / 2 - Duration::from_millis(Clock::BEHIND), "{:?}", answer.age());

        region.cache.clock.jump(FRESH_FOR / 2 - Duration::from_millis(Clock::BEHIND));
        assert!(!is_given(&region), "from here on the clock says whether it is fresh");
        region.cache.clock.jump(Duration::from_millis(Clock::BEHIND));
        let load = || async { Ok(Loaded::from(Bytes::from_static(b"2"))) };
        let answer = region.get_or_load(NAME, load).await.expect("it is loaded");
        assert_eq!((answer.outcome(), &answer.body()[..]), (Outcome::Miss, &b"2"[..]));
    }

    #[tokio::test]
    async fn what_may_not_be_served_is_not_given_at_once() {
        let (cache, region) = filled().await;
        cache.set_enabled(false);
        assert!(!is_given(&region), "switched off");
        cache.set_enabled(true);
        assert!(is_given(&region));

        region.expire(NAME).await;
        assert!(!is_given(&region), "expired");
        region.put(NAME, Loaded::from(Bytes::from_static(b"3"))).await;
        assert!(is_given(&region));

        region.cache.verification.cut_off(region.cache.clock.now());
        assert!(!is_given(&region), "invalidations may be missed");

        let (_cache, region) = filled().await;
        region.cache.verification.missed(region.cache.clock.now());
        assert!(!is_given(&region), "one was missed");

        let (_cache, region) = filled().await;
        region.remove(NAME).await;
        assert!(!is_given(&region), "removed");
    }

    #[tokio::test]
    async fn a_hit_given_at_once_is_counted_as_any_other() {
        let (cache, region) = filled().await;
        for _ in 0..500 {
            region.get(NAME).await.expect("it is in memory").expect("it was put");
            let load = || async { Ok(Loaded::from(Bytes::from_static(b"2"))) };
            assert_eq!(region.get_or_load(NAME, load).await.expect("a hit").outcome(), Outcome::Hit(Tier::Memory));
        }
        let stats = cache.stats();
        let (_, counted) = stats.iter().find(|(name, _)| *name == "prices").expect("the region");
        assert_eq!((counted.hits_memory, counted.misses), (1_000, 0));
        assert!((2..=5).contains(&counted.memory_hits.times), "one in 256 is timed: {:?}", counted.memory_hits);
    }
}
