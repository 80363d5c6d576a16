//! Claims in the store that several gateways share: a key with a time to live for each.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lastgood::Clock;
use lastgood::store::{GuardedStore, Store, StoreError, Swap, Version};

/// The claims of all gateways on a store.
pub(crate) struct SharedClaims {
    store: Arc<GuardedStore>,
    prefix: String,
    clock: Clock,
}

/// A claim as the store holds it, in text: the token, until when it lasts by the clock of the gateway that took it, and for
/// how long it was taken, both in milliseconds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Note {
    pub(crate) token: String,
    until: u64,
    lease: u64,
}

impl Note {
    fn encode(&self) -> Bytes {
        format!("{} {} {}", self.token, self.until, self.lease).into()
    }

    fn decode(bytes: &[u8]) -> Option<Note> {
        let mut words = std::str::from_utf8(bytes).ok()?.split(' ');
        let (token, until, lease) = (words.next()?, words.next()?, words.next()?);
        Some(Note { token: token.to_owned(), until: until.parse().ok()?, lease: lease.parse().ok()? })
    }

    /// How long it lasts at most: clocks may differ, so never longer than it was taken for.
    fn left(&self, now: u64) -> Duration {
        Duration::from_millis(self.until.saturating_sub(now).min(self.lease))
    }
}

/// Who holds a claim, and how long at most.
#[derive(Debug)]
pub(crate) struct Holder {
    pub(crate) token: String,
    pub(crate) left: Duration,
}

impl SharedClaims {
    pub(crate) fn new(store: Arc<GuardedStore>, namespace: &str, clock: Clock) -> SharedClaims {
        SharedClaims { store, prefix: format!("{namespace}:@claims:v1:"), clock }
    }

    fn key(&self, key: &str) -> String {
        [&self.prefix, key].concat()
    }

    /// Takes the claim unless another has it; says whether.
    pub(crate) async fn take(&self, key: &str, token: &str, lease: Duration) -> Result<bool, StoreError> {
        let until = self.clock.now().plus(lease).as_millis();
        let lease_ms = u64::try_from(lease.as_millis()).unwrap_or(u64::MAX);
        let note = Note { token: token.to_owned(), until, lease: lease_ms };
        let swap = Swap { key: self.key(key), expected: None, to: Some((note.encode(), lease)) };
        self.store.swap(&swap).await
    }

    pub(crate) async fn holder(&self, key: &str) -> Result<Option<Holder>, StoreError> {
        let Some(bytes) = self.store.get(&self.key(key)).await? else { return Ok(None) };
        let now = self.clock.now().as_millis();
        let holder = |note: Note| Holder { left: note.left(now), token: note.token };
        // What cannot be read is of a later version, and held by another all the same.
        Ok(Some(Note::decode(&bytes).map_or(Holder { token: String::new(), left: Duration::from_secs(1) }, holder)))
    }

    /// Gives the claim up if it is held with this token; says whether it was.
    pub(crate) async fn give_up(&self, key: &str, token: &str) -> Result<bool, StoreError> {
        let Some(bytes) = self.store.get(&self.key(key)).await? else { return Ok(false) };
        if Note::decode(&bytes).is_none_or(|note| note.token != token) {
            return Ok(false);
        }
        self.store.swap(&Swap { key: self.key(key), expected: Some(Version::of(&bytes)), to: None }).await
    }

    /// Ends the claim of any client.
    pub(crate) async fn end(&self, key: &str) -> Result<(), StoreError> {
        self.store.remove(&[self.key(key)]).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_lasts_no_longer_than_it_was_taken_for_whatever_the_clocks_say() {
        let note = Note { token: "00ff".to_owned(), until: 61_000, lease: 60_000 };
        assert_eq!(Note::decode(&note.encode()), Some(note));
        let note = Note { token: "00ff".to_owned(), until: 61_000, lease: 60_000 };
        assert_eq!(note.left(31_000), Duration::from_secs(30));
        assert_eq!(note.left(0), Duration::from_secs(60));
        assert_eq!(note.left(900_000), Duration::ZERO);
        for odd in [&b""[..], b"token", b"token 1", b"token x 1", b"\xff 1 1"] {
            assert_eq!(Note::decode(odd), None, "{odd:?}");
        }
    }
}
