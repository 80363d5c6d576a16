//! What the store holds with a tag.

use std::sync::Arc;

use bytes::Bytes;

use super::apply::{READ_TOGETHER, TRIES};
use super::sequence::is_later;
use super::{Change, Expiry, WriteBehind};
use crate::clock::Timestamp;
use crate::entry::decode;
use crate::invalidation::Mode;
use crate::policy::Policy;
use crate::store::{Ahead, Store, StoreError, Swap, Version};

/// A key whose value may have a tag.
pub(crate) struct Meant {
    pub(crate) key: String,
    pub(crate) schema: u32,
    pub(crate) policy: Arc<Policy>,
}

/// Whether what the store holds under a key has a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tagged {
    /// It has, or had until it was removed just now.
    Yes,
    /// It holds something else, whose load or put began then by the clock of this process.
    No { started_at: Timestamp },
    /// It holds nothing that could be read, or did not say.
    Unknown,
}

impl WriteBehind {
    /// When what waits or is being written under `key` was put, if that has the tag.
    pub(crate) fn tagged_put_at(&self, key: &str, tag: &str) -> Option<Timestamp> {
        let queue = self.queue();
        let under_way = queue.active.get(key).and_then(Option::as_ref);
        let mut changes = queue.waiting.get(key).into_iter().chain(under_way);
        changes.find(|change| change.has_tag(tag)).and_then(Change::started_at)
    }

    /// Says which of these the store holds with the tag. With a mode, expires or removes those, but for what came after `at`,
    /// exactly as they are: what another process puts meanwhile stays.
    pub(crate) async fn change_tagged(
        &self,
        meant: &[Meant],
        tag: &str,
        mode: Option<Mode>,
        at: Timestamp,
    ) -> Vec<Tagged> {
        let mut found = Vec::with_capacity(meant.len());
        for meant in meant.chunks(READ_TOGETHER) {
            let keys: Vec<String> = meant.iter().map(|meant| meant.key.clone()).collect();
            let read = async { Ok::<_, StoreError>((self.store.ahead().await?, self.store.get_many(&keys).await?)) };
            let Ok((ahead, held)) = read.await else {
                found.extend(meant.iter().map(|_| Tagged::Unknown));
                continue;
            };
            for (meant, held) in meant.iter().zip(held) {
                let change = self.change_if_tagged(meant, held, tag, mode.map(|mode| (mode, at)), ahead);
                found.push(change.await.unwrap_or(Tagged::Unknown));
            }
        }
        found
    }

    async fn change_if_tagged(
        &self,
        meant: &Meant,
        mut held: Option<Bytes>,
        tag: &str,
        mode: Option<(Mode, Timestamp)>,
        ahead: Ahead,
    ) -> Result<Tagged, StoreError> {
        let key = &meant.key;
        for _ in 0..TRIES {
            let Some(bytes) = held else { return Ok(Tagged::Unknown) };
            let Ok(entry) = decode(&bytes, key, meant.schema) else { return Ok(Tagged::Unknown) };
            if !entry.has_tag(tag) {
                return Ok(Tagged::No { started_at: entry.fetch_started_at.shifted(-ahead.by) });
            }
            let Some((mode, at)) = mode.filter(|(_, at)| !is_later(&bytes, *at, ahead)) else {
                return Ok(Tagged::Yes);
            };
            let to = match mode {
                Mode::Remove => None,
                Mode::Expire => {
                    let expiry = Expiry { at, schema: meant.schema, policy: Arc::clone(&meant.policy) };
                    let ended = self.freshness_ended(&bytes, key, &expiry, ahead);
                    let Some(ended) = ended else { return Ok(Tagged::Unknown) };
                    ended.to
                }
            };
            let swap = Swap { key: key.clone(), expected: Some(Version::of(&bytes)), to };
            if self.store.swap(&swap).await? {
                return Ok(Tagged::Yes);
            }
            held = self.store.get(key).await?;
        }
        Ok(Tagged::Yes)
    }
}
