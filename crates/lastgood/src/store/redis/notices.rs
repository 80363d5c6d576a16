//! Puts what a Redis tells where its readers look; bounded.

use std::sync::Arc;

use tokio::task::AbortHandle;

use crate::store::Watched;
use crate::store::watch::{Notices, Waiting};

/// The most keys that may wait to be looked at, and the most bytes of them. Beyond it everything counts as changed.
const MOST_KEYS: usize = 10_000;
const MOST_BYTES: usize = 1 << 20;

impl Watched {
    /// Of what `task` puts into `notices`.
    pub(super) fn by(notices: Arc<Notices>, task: AbortHandle) -> Watched {
        Watched { notices, task: Some(task) }
    }
}

impl Notices {
    /// These keys changed.
    pub(super) fn keys(&self, keys: impl Iterator<Item = String>) {
        let mut waiting = self.waiting();
        for key in keys {
            if waiting.everything {
                break;
            }
            if waiting.keys.len() >= MOST_KEYS || waiting.bytes + key.len() > MOST_BYTES {
                let (emptied, gap) = (waiting.emptied, waiting.gap);
                *waiting = Waiting { everything: true, emptied, gap, ..Waiting::default() };
                break;
            }
            let length = key.len();
            if waiting.keys.insert(key) {
                waiting.bytes += length;
            }
        }
        drop(waiting);
        self.news.notify_one();
    }

    /// The server was emptied.
    pub(super) fn emptied(&self) {
        let mut waiting = self.waiting();
        *waiting = Waiting { everything: true, emptied: true, gap: waiting.gap, ..Waiting::default() };
        drop(waiting);
        self.news.notify_one();
    }

    /// Changes may have gone by unpublished until now.
    pub(super) fn gap(&self) {
        self.waiting().gap = true;
        self.news.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Noticed;

    #[tokio::test]
    async fn a_record_waits_once_and_more_than_can_wait_is_everything() {
        let notices = Arc::new(Notices::default());
        let watched = Watched { notices: Arc::clone(&notices), task: None };
        notices.keys(["a", "b", "a"].map(str::to_owned).into_iter());
        let mut noticed = watched.next().await;
        noticed.keys.sort();
        assert_eq!(noticed, Noticed { keys: vec!["a".to_owned(), "b".to_owned()], ..Noticed::default() });
        notices.gap();
        notices.keys((0..=MOST_KEYS).map(|number| number.to_string()));
        assert_eq!(watched.next().await, Noticed { everything: true, gap: true, ..Noticed::default() });
        notices.keys(std::iter::once("x".repeat(MOST_BYTES + 1)));
        assert_eq!(watched.next().await, Noticed { everything: true, ..Noticed::default() });
        notices.keys(std::iter::once("a".to_owned()));
        assert_eq!(watched.next().await.keys, ["a"]);
        assert_eq!(notices.take(), None);
    }
}
