//! What a server tells by itself of what anybody did to single keys.

use std::collections::HashSet;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::StoreError;

/// A server that tells of each key that anybody changes, removes or lets go, this process included. It is a hint: what it
/// says of a key has to be looked up.
#[async_trait]
pub trait Watch: Send + Sync {
    /// Has the server tell of all keys that begin with `prefix`, until the answer is dropped. Where it does not, for want of
    /// the ability or the right, nothing is reported.
    fn watch(&self, prefix: &str) -> Watched;

    /// The last four bytes of what the store holds under each key, as a little-endian number: entries end in their checksum.
    /// `None` for a key that is absent, or holds no entry.
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
    /// Some changes were not reported: the server, or one of several, reports only from now on.
    pub gap: bool,
}

/// Receives what a server tells. It stops telling when this is dropped.
#[derive(Debug)]
pub struct Watched {
    pub(super) notices: Arc<Notices>,
    pub(super) task: Option<AbortHandle>,
}

impl Watched {
    /// Of a server that tells nothing.
    pub(crate) fn nothing() -> Watched {
        Watched { notices: Arc::default(), task: None }
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

/// What waits to be looked at. What puts it there bounds it.
#[derive(Debug, Default)]
pub(crate) struct Notices {
    waiting: Mutex<Waiting>,
    pub(super) news: Notify,
}

/// What was noticed and not looked at yet.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    pub(super) keys: HashSet<String>,
    #[cfg_attr(not(feature = "redis"), expect(dead_code, reason = "only a Redis tells of keys"))]
    pub(super) bytes: usize,
    pub(super) everything: bool,
    pub(super) emptied: bool,
    pub(super) gap: bool,
}

impl Notices {
    pub(super) fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn take(&self) -> Option<Noticed> {
        let Waiting { keys, everything, emptied, gap, .. } = mem::take(&mut *self.waiting());
        let is_news = everything || gap || !keys.is_empty();
        is_news.then(|| Noticed { keys: keys.into_iter().collect(), everything, emptied, gap })
    }
}
