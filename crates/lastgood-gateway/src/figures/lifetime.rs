//! Counters in the store that all gateways add to, and that outlive them all.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lastgood::store::{Counters, StoreError};
use lastgood::{Cache, Timestamp};

use crate::fleet::Counts;

/// What the store has of all gateways that ever counted there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lasting {
    /// When the first of them began.
    pub(crate) since: Timestamp,
    pub(crate) counts: Counts,
}

/// This gateway's part in them.
pub(crate) struct Lifetime {
    writer: String,
    /// Held for the whole of an addition.
    sender: tokio::sync::Mutex<Sender>,
    confirmed: Mutex<Confirmed>,
}

struct Sender {
    /// The number of the next addition.
    number: u64,
    /// Sent and not confirmed. It is sent again as it was: it may have arrived.
    pending: Option<Counts>,
}

/// How often the rest is added before the gateway ends, if the store does not take it: for a second, since one that has just come back
/// is connected again within that.
const TRIES: usize = 20;
const AGAIN_AFTER: Duration = Duration::from_millis(50);

/// What the store has confirmed.
#[derive(Clone, Copy, Default)]
struct Confirmed {
    /// Of this gateway's counts.
    own: Counts,
    all: Option<Lasting>,
}

impl Lifetime {
    pub(super) fn new(writer: &str) -> Lifetime {
        let sender = Sender { number: 1, pending: None };
        Lifetime { writer: writer.to_owned(), sender: tokio::sync::Mutex::new(sender), confirmed: Mutex::default() }
    }

    fn confirmed(&self) -> Confirmed {
        *self.confirmed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The counters of all gateways, with what this one has counted since it last added; `None` until the store answered.
    pub(crate) fn lasting(&self, own: Counts) -> Option<Lasting> {
        let Confirmed { own: confirmed, all } = self.confirmed();
        let mut lasting = all?;
        lasting.counts.add(own.since(confirmed));
        Some(lasting)
    }

    /// Adds what was counted since the last confirmed addition, and reads the sums; `None` without a store.
    pub(super) async fn add(&self, cache: &Cache) -> Option<Result<(), StoreError>> {
        let mut sender = self.sender.lock().await;
        let counted = Counts::of_cache(cache).since(self.confirmed().own);
        let batch = *sender.pending.get_or_insert(counted);
        if batch == Counts::default() {
            sender.pending = None;
        }
        let counters = match cache.add_to_counters(&self.writer, sender.number, batch.by_name().to_vec()).await? {
            Ok(counters) => counters,
            Err(why) => return Some(Err(why)),
        };
        if sender.pending.take().is_some() {
            sender.number += 1;
        }
        let mut confirmed = self.confirmed.lock().unwrap_or_else(PoisonError::into_inner);
        confirmed.own.add(batch);
        confirmed.all = lasting(&counters);
        Some(Ok(()))
    }

    /// Adds the rest before the gateway ends. A store that answers too late once, as in a busy moment, or is not connected again yet, is asked again: what it was
    /// given twice counts once. At most the store's deadline for [`TRIES`] writes, and the pauses between them.
    pub(crate) async fn finish(&self, cache: &Cache) {
        for _ in 0..TRIES {
            if Counts::of_cache(cache) == self.confirmed().own {
                return;
            }
            match self.add(cache).await {
                None => return,
                Some(Ok(())) => {}
                Some(Err(_)) => tokio::time::sleep(AGAIN_AFTER).await,
            }
        }
    }
}

fn lasting(counters: &Counters) -> Option<Lasting> {
    let counts = Counts::from_names(|name| counters.counts.get(name).copied().unwrap_or(0));
    Some(Lasting { since: counters.since?, counts })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use lastgood::store::MemoryStore;
    use lastgood::testing::{Fault, FaultyStore};
    use lastgood::{Clock, Loaded, Policy, Region};

    use super::*;

    struct Node {
        store: Arc<FaultyStore>,
        cache: Cache,
        region: Region,
        lifetime: Lifetime,
    }

    impl Node {
        fn new(store: &MemoryStore, clock: &Clock, name: &str) -> Node {
            let store = FaultyStore::new(Arc::new(store.clone()));
            let cache = Cache::builder().store(Arc::clone(&store) as _).clock(clock.clone()).build().unwrap();
            let region = cache.region("prices", Policy::fresh_for(Duration::from_secs(3_600))).unwrap();
            Node { store, cache, region, lifetime: Lifetime::new(name) }
        }

        async fn read(&self, key: &str) {
            let load = || async { Ok(Loaded::from(Bytes::from_static(b"1"))) };
            self.region.get_or_load(key, load).await.unwrap();
        }

        fn seen(&self) -> Option<(u64, u64)> {
            let lasting = self.lifetime.lasting(Counts::of_cache(&self.cache))?;
            Some((lasting.counts.hits, lasting.counts.misses))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_sums_of_all_gateways_outlive_them_and_a_lost_answer_counts_once() {
        let clock = Clock::paused_with_tokio();
        let store = MemoryStore::new(clock.clone(), 1 << 20);
        let one = Node::new(&store, &clock, "one");
        one.read("a").await;
        one.read("a").await;
        assert_eq!(one.seen(), None, "the store has not answered yet");
        one.lifetime.add(&one.cache).await.unwrap().unwrap();
        assert_eq!(one.seen(), Some((1, 1)));
        one.read("a").await;
        assert_eq!(one.seen(), Some((2, 1)), "its own at once");
        // It arrives, and its answer does not; meanwhile more is counted.
        one.store.set_writes(Fault::FailAfter(StoreError::Unavailable("gone".into())));
        one.lifetime.add(&one.cache).await.unwrap().unwrap_err();
        one.read("a").await;
        one.store.heal();
        tokio::time::advance(Duration::from_secs(5)).await;
        one.lifetime.add(&one.cache).await.unwrap().unwrap();
        assert_eq!(one.seen(), Some((3, 1)));
        one.lifetime.finish(&one.cache).await;
        drop(one);
        let two = Node::new(&store, &clock, "two");
        two.read("b").await;
        two.lifetime.add(&two.cache).await.unwrap().unwrap();
        assert_eq!(two.seen(), Some((3, 2)));
    }

    #[tokio::test(start_paused = true)]
    async fn counts_made_while_the_store_is_away_are_added_when_it_is_back() {
        let clock = Clock::paused_with_tokio();
        let store = MemoryStore::new(clock.clone(), 1 << 20);
        let node = Node::new(&store, &clock, "one");
        node.store.set_writes(Fault::Fail(StoreError::Unavailable("away".into())));
        for round in 0..3 {
            node.read("a").await;
            node.lifetime.add(&node.cache).await.unwrap().unwrap_err();
            assert_eq!(node.seen(), None, "round {round}");
        }
        node.store.heal();
        node.lifetime.finish(&node.cache).await;
        assert_eq!(node.seen(), Some((2, 1)));
        let later = Node::new(&store, &clock, "later");
        later.lifetime.add(&later.cache).await.unwrap().unwrap();
        assert_eq!(later.seen(), Some((2, 1)), "all of it is in the store");
    }
}
