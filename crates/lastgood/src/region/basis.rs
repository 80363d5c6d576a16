//! What an answer was chosen of or put together of. While memory holds the same, the answer is the same and need not be put
//! together again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use super::{Answer, Region};
use crate::clock::Timestamp;
use crate::entry::{Entry, Freshness};
use crate::outcome::{Outcome, Tier};

/// The keys of a region that were looked at for an answer, and what memory held under each. It keeps no entry in memory.
#[derive(Debug)]
pub struct Basis {
    region: Region,
    /// How many changes of memory had ended when the parts were last found there.
    found_after: AtomicU64,
    parts: Vec<Part>,
}

#[derive(Debug)]
struct Part {
    name: Box<str>,
    held: Option<Held>,
}

#[derive(Debug)]
struct Held {
    entry: Weak<Entry>,
    freshness: Freshness,
}

impl Basis {
    pub(super) fn of(region: &Region) -> Basis {
        let found_after = AtomicU64::new(region.cache.memory.changes());
        Basis { region: region.clone(), found_after, parts: Vec::new() }
    }

    /// What memory holds under `name`, as [`Region::peek`] gives it. It is noted, as the part of this number: the first is 0.
    pub fn peek(&mut self, name: &str) -> (usize, Option<Answer>) {
        let answer = self.region.peek(name);
        if let Some(noted) = self.parts.iter().position(|part| &*part.name == name) {
            return (noted, answer);
        }
        let held =
            answer.as_ref().map(|found| Held { entry: Arc::downgrade(&found.entry), freshness: found.freshness() });
        self.parts.push(Part { name: name.into(), held });
        (self.parts.len() - 1, answer)
    }

    /// Gives `found` each part that memory held, with its number, as [`Region::peek`] would give it now, and says when that
    /// is. `None` where anything else is held under any of the names, or is not as good as it was; or where the cache is
    /// switched off.
    pub fn again(&self, mut found: impl FnMut(usize, Answer)) -> Option<Timestamp> {
        let cache = &self.region.cache;
        let changes = cache.memory.changes();
        // Memory is looked into after each change only. Entries are evicted by changes alone, so that the next look says in
        // time that they are in use.
        let is_unchanged = self.found_after.load(Ordering::Relaxed) == changes;
        let at = cache.clock.now();
        if !self.region.is_enabled() {
            return None;
        }
        for (number, part) in self.parts.iter().enumerate() {
            let entry = match &part.held {
                None if is_unchanged => continue,
                None => match self.region.held(&part.name) {
                    Some(entry) if entry.freshness(at) != Freshness::Gone => return None,
                    _ => continue,
                },
                Some(held) if is_unchanged => held.entry.upgrade()?,
                Some(held) => self.region.held(&part.name).filter(|entry| Arc::as_ptr(entry) == held.entry.as_ptr())?,
            };
            let answer = self.region.answer(entry, Outcome::Hit(Tier::Memory), at);
            if part.held.as_ref().is_some_and(|held| held.freshness != answer.freshness()) {
                return None;
            }
            found(number, answer);
        }
        if !is_unchanged {
            self.found_after.store(changes, Ordering::Relaxed);
        }
        Some(at)
    }

    /// Whether both are of the same entries under the same names.
    pub fn is_same(&self, other: &Basis) -> bool {
        let held = |part: &Part| part.held.as_ref().map(|held| held.entry.as_ptr());
        self.parts.len() == other.parts.len()
            && self.parts.iter().zip(&other.parts).all(|(one, two)| one.name == two.name && held(one) == held(two))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use crate::clock::Clock;
    use crate::{Cache, Loaded, Policy};

    use super::*;

    const FRESH_FOR: Duration = Duration::from_secs(60);

    fn cache() -> (Cache, Region) {
        let cache = Cache::builder().clock(Clock::paused_with_tokio()).build().expect("a cache");
        let region = cache.region("prices", Policy::fresh_for(FRESH_FOR)).expect("a region");
        (cache, region)
    }

    fn loaded(text: &'static str) -> Loaded {
        Loaded::from(Bytes::from_static(text.as_bytes())).fresh_for(FRESH_FOR)
    }

    fn bodies(basis: &Basis) -> Option<Vec<Bytes>> {
        let mut bodies = Vec::new();
        basis.again(|_, answer| bodies.push(answer.body().clone())).map(|_| bodies)
    }

    async fn noted(region: &Region) -> Basis {
        region.put("there", loaded("1")).await;
        let mut basis = region.composite().basis();
        assert_eq!(basis.peek("there").1.map(|answer| answer.body().clone()), Some(Bytes::from_static(b"1")));
        assert!(basis.peek("not there").1.is_none());
        assert_eq!(basis.peek("there").0, 0, "noted once");
        assert_eq!(bodies(&basis), Some(vec![Bytes::from_static(b"1")]));
        basis
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_noted_is_found_again_whatever_happens_to_other_keys() {
        let (_cache, region) = cache();
        let basis = noted(&region).await;
        region.put("another", loaded("2")).await;
        tokio::time::advance(FRESH_FOR / 2).await;
        assert_eq!(bodies(&basis), Some(vec![Bytes::from_static(b"1")]));
        assert_eq!(bodies(&basis), Some(vec![Bytes::from_static(b"1")]), "nothing has changed since");
        let mut same = region.composite().basis();
        let _ = (same.peek("there"), same.peek("not there"));
        assert!(basis.is_same(&same));
        let _ = same.peek("another");
        assert!(!basis.is_same(&same));
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_found_again_once_anything_of_it_is_other_or_older() {
        let (cache, region) = cache();
        let basis = noted(&region).await;
        region.put("there", loaded("1")).await;
        assert_eq!(bodies(&basis), None, "the same text, put once more");

        let basis = noted(&region).await;
        region.put("not there", loaded("2")).await;
        assert_eq!(bodies(&basis), None, "what was not there is");
        region.remove("not there").await;

        let basis = noted(&region).await;
        region.expire("there").await;
        assert_eq!(bodies(&basis), None, "expired");

        let basis = noted(&region).await;
        region.remove("there").await;
        assert_eq!(bodies(&basis), None, "removed");

        let basis = noted(&region).await;
        cache.set_enabled(false);
        assert_eq!(bodies(&basis), None, "switched off");
        cache.set_enabled(true);
        assert!(bodies(&basis).is_some());
        tokio::time::advance(FRESH_FOR).await;
        assert_eq!(bodies(&basis), None, "no longer fresh");
    }
}
