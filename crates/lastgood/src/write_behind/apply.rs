//! What the store is asked to do for each change.

use std::sync::Arc;

use super::WriteBehind;
use super::queue::{Change, Form, Held};
use crate::clock::Timestamp;
use crate::entry::{Entry, decode, encode};
use crate::policy::FOREVER_TTL;
use crate::store::{Store, StoreError};
use crate::voice::Kind;

const PAGE: usize = 500;
/// Bodies up to this many bytes, unless a slow method compresses them, are encoded without leaving the thread.
const ENCODED_IN_PLACE: usize = 64 << 10;

impl WriteBehind {
    async fn apply(&self, key: &str, change: Change) -> Result<(), StoreError> {
        match change {
            Change::Remove { .. } => self.store.remove(&[key.to_owned()]).await.map(drop),
            Change::RemovePrefix { .. } => self.remove_prefix(&[key, ":"].concat()).await,
            Change::Put(fill) | Change::Mark(fill) => self.put(key, fill.entry, fill.form).await,
            Change::PutHeld(held) => match held.entry.upgrade() {
                Some(entry) => self.put(key, entry, held.form).await,
                None => self.put_again(key, &held).await,
            },
        }
    }

    /// Writes an entry that memory has given up meanwhile: what the store holds, with the entry's times, if that is the same
    /// answer. Otherwise the answer is lost, and must at least leave nothing older behind.
    async fn put_again(&self, key: &str, held: &Held) -> Result<(), StoreError> {
        let stored = self.store.get(key).await?.and_then(|bytes| decode(&bytes, key, held.form.schema).ok());
        match stored.filter(|stored| held.is_of(stored)) {
            Some(mut stored) => {
                stored.times = held.times;
                self.put(key, Arc::new(stored), held.form).await
            }
            None => {
                self.store.remove(&[key.to_owned()]).await?;
                self.lost();
                Ok(())
            }
        }
    }

    async fn put(&self, key: &str, entry: Arc<Entry>, form: Form) -> Result<(), StoreError> {
        let (now, keep_until) = (self.clock.now(), entry.times.keep_until);
        let ttl = if keep_until == Timestamp::FOREVER { FOREVER_TTL } else { keep_until.since(now) };
        let length = entry.value.body.len();
        let is_slow = length > form.compress_over && !entry.packs_quickly();
        let large = length > ENCODED_IN_PLACE || is_slow;
        let stored_under = key.to_owned();
        let encode = move || encode(&entry, &stored_under, form.schema, form.compress_over);
        // Packing a large body takes milliseconds, too long for a thread that others share.
        let bytes = match large {
            true => tokio::task::spawn_blocking(encode).await.ok().flatten(),
            false => encode(),
        };
        match bytes {
            Some(bytes) if !ttl.is_zero() => self.store.put(key, bytes, ttl).await,
            _ => self.store.remove(&[key.to_owned()]).await.map(drop),
        }
    }

    /// Makes some changes; says how each ended.
    pub(super) async fn apply_all(&self, mut changes: Vec<(String, Change)>) -> Vec<Result<(), StoreError>> {
        if changes.len() == 1 {
            let Some((key, change)) = changes.pop() else { return Vec::new() };
            return vec![self.apply(&key, change).await];
        }
        let keys: Vec<String> = changes.into_iter().map(|(key, _)| key).collect();
        match self.store.remove(&keys).await {
            // Some of them lie where they can be reached.
            Err(StoreError::PartlyUnavailable(_)) => {
                let mut ended = Vec::with_capacity(keys.len());
                for key in keys {
                    ended.push(self.store.remove(&[key]).await.map(drop));
                }
                ended
            }
            ended => vec![ended.map(drop); keys.len()],
        }
    }

    /// Tells the other processes what the store has taken note of.
    pub(super) async fn tell(&self, kind: Kind, keys: &[&str]) {
        match kind {
            Kind::Cleared => {
                let prefixes: Vec<String> = keys.iter().map(|key| [key, ":"].concat()).collect();
                self.voice.tell(&self.store, kind, prefixes.iter().map(String::as_str)).await;
            }
            Kind::Changed | Kind::Removed | Kind::Everything => {
                self.voice.tell(&self.store, kind, keys.iter().copied()).await;
            }
        }
    }

    async fn remove_prefix(&self, prefix: &str) -> Result<(), StoreError> {
        let mut cursor = None;
        loop {
            let page = self.store.list(prefix, cursor, PAGE).await?;
            if !page.keys.is_empty() {
                self.store.remove(&page.keys).await?;
            }
            cursor = page.next;
            if cursor.is_none() {
                return Ok(());
            }
        }
    }
}
