//! The clauses on changes that take place only if a key holds the expected bytes.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;

use crate::clock::Timestamp;
use crate::entry::{Entry, Loaded, encode};
use crate::policy::Times;
use crate::store::{Store, StoreError, Swap, Version};

const LONG: Duration = Duration::from_secs(3600);

fn swap(key: &str, expected: Option<&[u8]>, to: Option<&[u8]>) -> Swap {
    Swap {
        key: format!("conformance:swap:{key}"),
        expected: expected.map(Version::of),
        to: to.map(|value| (Bytes::copy_from_slice(value), LONG)),
    }
}

/// Runs the clauses on [`Store::swap`] against `store`.
///
/// # Panics
///
/// When the store breaks a clause; the message says which.
pub async fn run_swap(store: &dyn Store) {
    an_expected_value_is_changed_and_no_other(store).await;
    values_that_differ_in_their_beginning_or_end_are_distinguished(store).await;
    of_many_that_expect_the_same_one_changes_it(store).await;
    a_batch_of_removals_takes_the_expected_and_leaves_the_rest(store).await;
}

/// Runs the clauses on changes that come too late against a store that processes share, without a guard.
///
/// # Panics
///
/// When the store breaks a clause; the message says which.
pub async fn run_late(store: &dyn Store) {
    let now = store.now().await.expect("it tells the time").expect("processes share it");
    let (past, future) = (now.shifted(-60_000), now.shifted(60_000));
    let change = |expected: Option<&[u8]>, to: Option<&[u8]>, by| {
        let change = swap("late", expected, to);
        Swap { expected: Some(Version::until(change.expected, by)), ..change }
    };
    let key = change(None, None, past).key;
    assert_eq!(store.swap(&change(None, Some(b"one"), past)).await, Err(StoreError::Late));
    assert_eq!(store.get(&key).await, Ok(None), "what comes too late is not made");
    assert_eq!(store.swap(&change(None, Some(b"one"), future)).await, Ok(true));
    assert_eq!(store.swap(&change(Some(b"one"), None, past)).await, Err(StoreError::Late));
    assert_eq!(store.swap(&change(Some(b"two"), None, future)).await, Ok(false), "another value is there");
    assert_eq!(store.swap(&change(None, None, future)).await, Ok(false), "something is there");
    let any = |by| vec![(key.clone(), Version::until(Some(Version::no_later_than(now)), by))];
    assert_eq!(store.remove_if(&any(past)).await, Err(StoreError::Late));
    assert_eq!(store.get(&key).await.expect("a read").as_deref(), Some(&b"one"[..]));
    assert_eq!(store.remove_if(&any(future)).await, Ok(1));
}

/// An entry of a load that began then, as far as a store looks at it.
fn entry_of(millis: u64) -> Bytes {
    let at = Timestamp::from_millis(millis);
    let times = Times { fresh_until: at, stale_until: at, keep_until: at };
    encode(&Entry::new(Loaded::default(), at, at, times), "key", 1, usize::MAX, 0).expect("it has a form")
}

async fn a_batch_of_removals_takes_the_expected_and_leaves_the_rest(store: &dyn Store) {
    let key = |name: &str| format!("conformance:remove_if:{name}{{b}}%\n");
    let values = [("older", entry_of(999)), ("same", entry_of(1_000)), ("later", entry_of(1_001))];
    let others = [("foreign", Bytes::from("no entry")), ("exact", Bytes::from("one")), ("other", Bytes::from("two"))];
    for (name, value) in values.iter().chain(&others) {
        store.put(&key(name), value.clone(), LONG).await.expect("a put");
    }
    let names = ["older", "same", "later", "foreign", "exact", "other", "absent"];
    let expected = |name| match name {
        "exact" | "other" => Version::of(b"one"),
        _ => Version::no_later_than(Timestamp::from_millis(1_000)),
    };
    let removals: Vec<_> = names.iter().map(|name| (key(name), expected(*name))).collect();
    assert_eq!(store.remove_if(&removals).await, Ok(4), "the older, the same, the foreign and the exact one");
    let keys = names.map(key);
    let left = store.get_many(&keys).await.expect("a read");
    let left: Vec<&str> = names.into_iter().zip(left).filter_map(|(name, held)| held.map(|_| name)).collect();
    assert_eq!(left, ["later", "other"]);
    assert_eq!(store.remove_if(&[]).await, Ok(0));
    store.remove(&keys).await.expect("a removal");
}

async fn an_expected_value_is_changed_and_no_other(store: &dyn Store) {
    let does = async |change: Swap| store.swap(&change).await.expect("a swap");
    let held = async || store.get("conformance:swap:a{b}%\n").await.expect("a read");
    let key = "a{b}%\n";
    assert!(!does(swap(key, Some(b"one"), Some(b"two"))).await, "nothing is there");
    assert!(!does(swap(key, Some(b"one"), None)).await, "nothing is there to remove");
    assert!(does(swap(key, None, Some(b"one"))).await, "nothing is there, as expected");
    assert!(!does(swap(key, None, Some(b"two"))).await, "something is there");
    assert_eq!(held().await.as_deref(), Some(&b"one"[..]));
    assert!(!does(swap(key, Some(b"two"), Some(b"three"))).await, "another value is there");
    let binary: Vec<u8> = (0..=255).cycle().take(5_000).collect();
    assert!(does(swap(key, Some(b"one"), Some(&binary))).await, "the value is the one that is expected");
    assert_eq!(held().await.as_deref(), Some(&binary[..]), "byte for byte");
    assert!(!does(swap(key, Some(b"one"), None)).await, "it was replaced");
    assert!(does(swap(key, Some(&binary), None)).await, "it is the one that is expected");
    assert_eq!(held().await, None);
    assert!(does(swap(key, None, None)).await, "nothing is there, as expected");
}

async fn values_that_differ_in_their_beginning_or_end_are_distinguished(store: &dyn Store) {
    let value: Vec<u8> = (0..200).collect();
    let change = swap("distinguished", None, Some(&value));
    assert!(store.swap(&change).await.expect("a swap"));
    for at in [0, 1, 25, 49, 196, 199] {
        let mut other = value.clone();
        other[at] ^= 1;
        let changed = store.swap(&swap("distinguished", Some(&other), Some(b"wrong"))).await.expect("a swap");
        assert!(!changed, "they differ at {at}");
    }
    assert!(store.swap(&swap("distinguished", Some(&value), None)).await.expect("a swap"));
}

async fn of_many_that_expect_the_same_one_changes_it(store: &dyn Store) {
    assert!(store.swap(&swap("race", None, Some(b"before"))).await.expect("a swap"));
    let changes: Vec<Swap> =
        (0..20).map(|number| swap("race", Some(b"before"), Some(format!("after {number}").as_bytes()))).collect();
    let swapped = join_all(changes.iter().map(|change| store.swap(change))).await;
    let winners: Vec<usize> =
        swapped.into_iter().enumerate().filter_map(|(at, swapped)| swapped.expect("a swap").then_some(at)).collect();
    assert_eq!(winners.len(), 1, "{winners:?}");
    let held = store.get("conformance:swap:race").await.expect("a read").expect("a value");
    assert_eq!(held, format!("after {}", winners[0]));
    assert!(store.swap(&swap("race", Some(&held), None)).await.expect("a swap"));
}
