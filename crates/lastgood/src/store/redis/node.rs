//! One server, or whatever takes its place, with the task that keeps a connection to it.

use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::RedisOptions;
use super::joined;
use super::link::{Fault, Link};
use super::supervisor::{Target, supervise};

/// A [`Link`] and its supervisor, which ends with it.
pub(super) struct Node {
    link: Arc<Link>,
    supervisor: JoinHandle<()>,
}

impl Node {
    /// Connects in the background. `options` name what it is connected to.
    pub(super) fn connect(options: RedisOptions, target: Target) -> Node {
        let link = Link::new(options);
        let supervisor = tokio::spawn(supervise(Arc::clone(&link), target));
        Node { link, supervisor }
    }

    pub(super) fn link(&self) -> Arc<Link> {
        Arc::clone(&self.link)
    }

    /// What a key holds, asked for together with others where many ask.
    pub(super) async fn get(&self, key: &str, deadline: Instant) -> Result<Option<Bytes>, Fault> {
        joined::get(&self.link, key, deadline).await
    }

    /// Hangs up for good.
    pub(super) fn close(&self) {
        self.supervisor.abort();
        self.link.hang_up("the store was closed");
        self.link.lead_to(None);
    }
}

impl Deref for Node {
    type Target = Link;

    fn deref(&self) -> &Link {
        &self.link
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.supervisor.abort();
    }
}
