//! Which kept answers the exchange no longer agrees with, and since when.
//!
//! A kept answer may be the wrong one: a single answer with a later time of its own, or with a row too many, would be
//! believed over every true one after it. So what contradicts it is refused for a while only. Memory has this alone: after a
//! restart the while begins once more.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Keys that are remembered. Each was contradicted; where there are more, the one whose contradiction is oldest goes.
const MOST: usize = 4_096;

/// A kept answer, or what the exchange says in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// The moment that it states, if any.
    Moment(Option<u64>),
    /// Its rows of the past, by their hash.
    Rows(u64),
}

impl Said {
    pub(super) fn rows(body: &[u8]) -> Said {
        let mut hasher = DefaultHasher::new();
        body.hash(&mut hasher);
        Said::Rows(hasher.finish())
    }

    /// Whether it may be said after `earlier`, by an exchange that is right both times.
    pub(super) fn may_follow(self, earlier: Said) -> bool {
        match (self, earlier) {
            (Said::Moment(later), Said::Moment(earlier)) => later >= earlier,
            (later, earlier) => later == earlier,
        }
    }
}

#[derive(Debug)]
struct Doubt {
    kept: Said,
    since: Instant,
    said: Said,
}

/// The contradicted keys of one exchange.
#[derive(Debug, Default)]
pub struct Doubts(Mutex<HashMap<String, Doubt>>);

impl Doubts {
    /// Takes note of what the exchange says in place of the answer `kept` under `key`; says whether it has said so for this
    /// long.
    pub(super) fn are_old(&self, key: &str, kept: Said, said: Said, age: Duration) -> bool {
        let (mut doubts, now) = (self.doubts(), Instant::now());
        let is_same = |doubt: &&mut Doubt| doubt.kept == kept && said.may_follow(doubt.said);
        if let Some(doubt) = doubts.get_mut(key).filter(is_same) {
            doubt.said = said;
            return now.duration_since(doubt.since) >= age;
        }
        if doubts.len() >= MOST && !doubts.contains_key(key) {
            let oldest = doubts.iter().min_by_key(|(_, doubt)| doubt.since).map(|(key, _)| key.clone());
            oldest.and_then(|oldest| doubts.remove(&oldest));
        }
        doubts.insert(key.to_owned(), Doubt { kept, since: now, said });
        false
    }

    /// The exchange agrees with the answer kept under `key`.
    pub(super) fn end(&self, key: &str) {
        self.doubts().remove(key);
    }

    fn doubts(&self) -> MutexGuard<'_, HashMap<String, Doubt>> {
        // Nothing that holds it can leave it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn what_goes_back_behind_itself_begins_a_new_while() {
        let doubts = Doubts::default();
        let kept = Said::Moment(Some(9));
        let says = |moment| doubts.are_old("key", kept, Said::Moment(moment), MINUTE);
        assert!(!says(Some(5)));
        tokio::time::advance(MINUTE).await;
        assert!(!says(Some(4)) && !says(Some(4)));
        tokio::time::advance(MINUTE).await;
        assert!(!says(None), "that it says nothing is new");
        tokio::time::advance(MINUTE).await;
        assert!(says(Some(4)));
        let newer = Said::Moment(Some(10));
        assert!(!doubts.are_old("key", newer, Said::Moment(Some(4)), MINUTE), "another answer is kept by now");
        tokio::time::advance(MINUTE).await;
        assert!(doubts.are_old("key", newer, Said::Moment(Some(4)), MINUTE));
        doubts.end("key");
        assert!(!doubts.are_old("key", newer, Said::Moment(Some(6)), MINUTE));
    }

    #[test]
    fn of_many_keys_the_newest_are_remembered() {
        let (doubts, kept) = (Doubts::default(), Said::rows(b"[1]"));
        for key in 0..MOST + 10 {
            doubts.are_old(&key.to_string(), kept, Said::rows(b"[]"), MINUTE);
        }
        assert_eq!(doubts.doubts().len(), MOST);
        assert!(doubts.are_old(&MOST.to_string(), kept, Said::rows(b"[]"), Duration::ZERO));
        assert!(!doubts.are_old("0", kept, Said::rows(b"[]"), Duration::ZERO));
    }
}
