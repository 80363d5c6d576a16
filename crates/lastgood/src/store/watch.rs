//! What a server tells by itself of what anybody did to single keys.

use std::collections::HashSet;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::StoreError;

/// The most keys that may wait to be looked at, and the most bytes of them. Beyond it everything counts as changed.
const MOST_KEYS: usize = 10_000;
const MOST_BYTES: usize = 1 << 20;

/// A server that tells of each key that anybody changes, removes or lets go, this process included. It is a hint: what it
/// says of a key has to be looked up.
#[async_trait]
pub trait Watch: Send + Sync {
    /// Has the server tell of all keys that begin with `prefix`, until the answer is dropped. Where it does not, for want of
    /// the ability or the right, nothing is told.
    fn watch(&self, prefix: &str) -> Watched;

    /// The last four bytes of what the store holds under each key, as a little-endian number: entries end in their checksum.
    /// `None` for what is not there, or is no entry.
    async fn checksums(&self, keys: &[String]) -> Result<Vec<Option<u32>>, StoreError>;
}

/// What was noticed since the last look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Noticed {
    /// Keys that changed, in no promised order.
    pub keys: Vec<String>,
    /// Everything may have changed: the server was emptied, or more keys changed than could wait.
    pub everything: bool,
    /// The server, or one of several, was emptied by command.
    pub emptied: bool,
    /// Some changes went by untold: the server, or one of several, tells only from now on.
    pub gap: bool,
}

/// Receives what a server tells. It stops telling when this is dropped.
#[derive(Debug)]
pub struct Watched {
    notices: Arc<Notices>,
    task: Option<AbortHandle>,
}

impl Watched {
    /// Of a server that tells nothing.
    pub(crate) fn nothing() -> Watched {
        Watched { notices: Arc::default(), task: None }
    }

    /// Of what `task` puts into `notices`.
    pub(crate) fn by(notices: Arc<Notices>, task: AbortHandle) -> Watched {
        Watched { notices, task: Some(task) }
    }

    /// What was noticed, as soon as something was.
    pub async fn next(&self) -> Noticed {
        loop {
            let news = self.notices.news.notified();
            if let Some(noticed) = self.notices.take() {
                return noticed;
            }
            news.await;
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// What waits to be looked at; bounded.
#[derive(Debug, Default)]
pub(crate) struct Notices {
    waiting: Mutex<Waiting>,
    news: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    keys: HashSet<String>,
    bytes: usize,
    everything: bool,
    emptied: bool,
    gap: bool,
}

impl Notices {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// These keys changed.
    pub(crate) fn keys(&self, keys: impl Iterator<Item = String>) {
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
    pub(crate) fn emptied(&self) {
        let mut waiting = self.waiting();
        *waiting = Waiting { everything: true, emptied: true, gap: waiting.gap, ..Waiting::default() };
        drop(waiting);
        self.news.notify_one();
    }

    /// Changes may have gone by untold until now.
    pub(crate) fn gap(&self) {
        self.waiting().gap = true;
        self.news.notify_one();
    }

    fn take(&self) -> Option<Noticed> {
        let Waiting { keys, everything, emptied, gap, .. } = mem::take(&mut *self.waiting());
        let is_news = everything || gap || !keys.is_empty();
        is_news.then(|| Noticed { keys: keys.into_iter().collect(), everything, emptied, gap })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_told_waits_once_and_more_than_can_wait_is_everything() {
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
