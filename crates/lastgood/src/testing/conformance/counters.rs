//! The contract of a store's counters.

use std::sync::Arc;

use futures_util::future::join_all;

use super::remove;
use crate::clock::Timestamp;
use crate::store::{Addition, Counters, Store};

const KEY: &str = "conformance:{counters}";

/// Checks [`Store::add`]. Its key begins with `conformance:`.
///
/// # Panics
///
/// When the store breaks the contract; the message says how.
pub async fn run_counters(store: Arc<dyn Store>) {
    remove(&*store, &[KEY]).await;
    let begun = Counters { since: Some(at(1)), ..Counters::default() };
    assert_eq!(add(&*store, "a", 1, &[]).await, begun, "reading begins a set that knows since when");
    assert_eq!(add(&*store, "a", 7, &[]).await, begun, "once");
    let first = add(&*store, "a", 1, &[("hits", 5), ("misses", 2), ("errors", 0)]).await;
    assert_eq!((count(&first, "hits"), count(&first, "misses"), count(&first, "errors")), (5, 2, 0));
    let again = add(&*store, "a", 1, &[("hits", 5), ("misses", 2)]).await;
    assert_eq!((count(&again, "hits"), again.since), (5, Some(at(1))), "a repeated addition takes effect once");
    let other = add(&*store, "b", 1, &[("hits", 100)]).await;
    assert_eq!((count(&other, "hits"), count(&other, "misses")), (105, 2), "another writer has numbers of its own");
    assert_eq!(add(&*store, "a", 9, &[]).await, other, "no counts read the set and use no number up");
    assert_eq!(count(&add(&*store, "a", 2, &[("hits", 1)]).await, "hits"), 106);
    many_add_at_once(&store).await;
    remove(&*store, &[KEY]).await;
}

async fn many_add_at_once(store: &Arc<dyn Store>) {
    let before = count(&add(&**store, "a", 9, &[]).await, "hits");
    let writers = (0..8).map(|writer| {
        let store = Arc::clone(store);
        tokio::spawn(async move {
            let writer = format!("many-{writer}");
            for number in 1..=20 {
                add(&*store, &writer, number, &[("hits", 3)]).await;
                add(&*store, &writer, number, &[("hits", 3)]).await;
            }
        })
    });
    for done in join_all(writers).await {
        done.expect("every addition succeeds");
    }
    let after = count(&add(&**store, "a", 9, &[]).await, "hits");
    assert_eq!(after - before, 8 * 20 * 3, "no addition is lost, and none counted twice");
}

fn at(number: u64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + number)
}

fn count(counters: &Counters, name: &str) -> u64 {
    counters.counts.get(name).copied().unwrap_or_default()
}

async fn add(store: &dyn Store, writer: &str, number: u64, counts: &[(&'static str, u64)]) -> Counters {
    let (key, writer, counts) = (KEY.to_owned(), writer.to_owned(), counts.to_vec());
    let addition = Addition { key, writer, number, counts, at: at(number) };
    store.add(&addition).await.expect("an addition succeeds")
}
