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

/// What the exchange says in place of a kept answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// Another moment, or none.
    Moment(Option<u64>),
    /// Other rows of the past, by their hash.
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
    since: Instant,
    said: Said,
}

/// The contradicted keys of one exchange.
#[derive(Debug, Default)]
pub struct Doubts(Mutex<HashMap<String, Doubt>>);

impl Doubts {
    /// Takes note of what the exchange says in place of the answer kept under `key`; says whether it has said so for this long.
    pub(super) fn are_old(&self, key: &str, said: Said, age: Duration) -> bool {
        let (mut doubts, now) = (self.doubts(), Instant::now());
        if let Some(doubt) = doubts.get_mut(key).filter(|doubt| said.may_follow(doubt.said)) {
            doubt.said = said;
            return now.duration_since(doubt.since) >= age;
        }
        if doubts.len() >= MOST && !doubts.contains_key(key) {
            let oldest = doubts.iter().min_by_key(|(_, doubt)| doubt.since).map(|(key, _)| key.clone());
            oldest.and_then(|oldest| doubts.remove(&oldest));
        }
        doubts.insert(key.to_owned(), Doubt { since: now, said });
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
        let says = |moment| doubts.are_old("key", Said::Moment(moment), MINUTE);
        assert!(!says(Some(5)));
        tokio::time::advance(MINUTE).await;
        assert!(!says(Some(4)) && !says(Some(4)));
        tokio::time::advance(MINUTE).await;
        assert!(!says(None), "that it says nothing is new");
        tokio::time::advance(MINUTE).await;
        assert!(says(Some(4)) && says(None) == Said::Moment(None).may_follow(Said::Moment(Some(4))));
        doubts.end("key");
        assert!(!says(Some(6)));
    }

    #[test]
    fn of_many_keys_the_newest_are_remembered() {
        let doubts = Doubts::default();
        for key in 0..MOST + 10 {
            doubts.are_old(&key.to_string(), Said::rows(b"[]"), MINUTE);
        }
        assert_eq!(doubts.doubts().len(), MOST);
        assert!(doubts.are_old(&MOST.to_string(), Said::rows(b"[]"), Duration::ZERO));
        assert!(!doubts.are_old("0", Said::rows(b"[]"), Duration::ZERO));
    }
}
