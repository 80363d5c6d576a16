//! The contract of [`Store`] as a suite that every store must pass.
//!
//! ```
//! # use lastgood::clock::Clock;
//! # use lastgood::store::MemoryStore;
//! # use lastgood::testing::conformance::{self, Capabilities};
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() {
//! let store = MemoryStore::new(Clock::paused_with_tokio(), 64 << 20);
//! conformance::run(&store, Capabilities::default(), tokio::time::advance).await;
//! # }
//! ```

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::join_all;
use tokio::time::Instant;

use crate::store::{Cursor, MAX_KEY_BYTES, Page, Store};

mod counters;
mod fields;
mod log;
mod swap;

pub use self::counters::run_counters;
pub use self::fields::run_fields;
pub use self::log::{run_log, run_long_log};
pub use self::swap::{run_late, run_swap};

const LONG: Duration = Duration::from_secs(3600);

/// What a store is asked to do in the suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// The longest value to store and read back, in bytes. Defaults to 10 MB, because an exchange's symbol list
    /// comes close.
    pub longest_value: usize,
    /// How many keys to list. Defaults to 5,000, because that takes several pages everywhere.
    pub keys_to_list: usize,
}

impl Default for Capabilities {
    fn default() -> Self {
        Capabilities { longest_value: 10_000_000, keys_to_list: 5_000 }
    }
}

/// Runs every clause against `store`. Its keys begin with `conformance:`; others are left alone.
///
/// `pass_time` lets the given time pass for the store: `tokio::time::advance` for one whose clock follows a paused
/// tokio, `tokio::time::sleep` for one with a clock of its own.
///
/// # Panics
///
/// When the store breaks a clause; the message says which.
pub async fn run<P, F>(store: &dyn Store, capabilities: Capabilities, pass_time: P)
where
    P: Fn(Duration) -> F,
    F: Future<Output = ()>,
{
    absence_is_no_error(store).await;
    a_value_is_read_back_byte_for_byte(store).await;
    a_put_replaces_value_and_time_to_live(store, &pass_time).await;
    a_value_is_gone_once_its_time_to_live_has_passed(store, &pass_time).await;
    the_shortest_and_the_longest_time_to_live_are_taken(store, &pass_time).await;
    any_text_is_a_key(store).await;
    a_large_value_is_read_back_whole(store, capabilities.longest_value).await;
    many_values_come_in_the_order_of_their_keys_duplicates_included(store).await;
    no_keys_are_no_error(store).await;
    a_removed_value_is_gone_and_counted_once(store).await;
    concurrent_puts_never_mix(store).await;
    concurrent_calls_get_their_own_answers(store).await;
    a_dropped_call_has_happened_or_not_and_disturbs_no_other(store).await;
    a_listing_gives_every_key_with_the_prefix_and_no_other(store, capabilities.keys_to_list).await;
    a_listing_goes_on_page_by_page_to_its_end(store).await;
    a_listing_takes_its_prefix_literally(store).await;
    a_listing_survives_keys_that_come_and_go(store).await;
    an_expired_key_is_not_listed(store, &pass_time).await;
    a_probe_says_something_plausible(store).await;
    assert!(!store.to_string().is_empty(), "a store has a name");
}

async fn absence_is_no_error(store: &dyn Store) {
    assert_eq!(store.get("conformance:absent").await, Ok(None), "an absent value is Ok(None)");
}

async fn a_value_is_read_back_byte_for_byte(store: &dyn Store) {
    let every_byte: Vec<u8> = (0..=255).collect();
    for value in [&every_byte[..], b"", b"\0", b"\r\n", b"$-1\r\n"] {
        put(store, "conformance:bytes", value).await;
        assert_eq!(get(store, "conformance:bytes").await.as_deref(), Some(value), "the bytes are the ones put");
        let in_time = store.get_by("conformance:bytes", Instant::now() + LONG).await;
        assert_eq!(in_time.expect("a read succeeds").as_deref(), Some(value), "a reader who has time gets them, too");
    }
    remove(store, &["conformance:bytes"]).await;
}

async fn a_put_replaces_value_and_time_to_live<F: Future<Output = ()>>(
    store: &dyn Store,
    pass_time: &impl Fn(Duration) -> F,
) {
    let key = "conformance:replaced";
    store.put(key, "first".into(), Duration::from_millis(300)).await.expect("a put succeeds");
    put(store, key, b"second").await;
    pass_time(Duration::from_millis(600)).await;
    assert_eq!(get(store, key).await.as_deref(), Some(&b"second"[..]), "the later put's time to live holds");
    store.put(key, "third".into(), Duration::from_millis(100)).await.expect("a put succeeds");
    assert!(gone_within(store, key, Duration::from_millis(100), pass_time).await, "also when it is the shorter one");
}

async fn a_value_is_gone_once_its_time_to_live_has_passed<F: Future<Output = ()>>(
    store: &dyn Store,
    pass_time: &impl Fn(Duration) -> F,
) {
    let keys = ["conformance:short".to_owned(), "conformance:long".to_owned()];
    put(store, &keys[1], b"long").await;
    store.put(&keys[0], "short".into(), Duration::from_millis(200)).await.expect("a put succeeds");
    assert!(gone_within(store, &keys[0], Duration::from_millis(200), pass_time).await, "a value ends with its ttl");
    let values = store.get_many(&keys).await.expect("get_many succeeds");
    assert_eq!(values, [None, Some("long".into())], "get_many sees the same end, and only there");
    assert_eq!(store.remove(&keys).await, Ok(1), "what has expired is not there to be removed");
}

async fn the_shortest_and_the_longest_time_to_live_are_taken<F: Future<Output = ()>>(
    store: &dyn Store,
    pass_time: &impl Fn(Duration) -> F,
) {
    let key = "conformance:extreme";
    for ttl in [Duration::from_secs(u64::from(u32::MAX)), Duration::MAX] {
        store.put(key, "long".into(), ttl).await.expect("a very long ttl is taken");
        assert_eq!(get(store, key).await.as_deref(), Some(&b"long"[..]), "and the value is there");
    }
    for ttl in [Duration::from_millis(1), Duration::from_micros(1), Duration::ZERO] {
        store.put(key, "short".into(), ttl).await.expect("a very short ttl is taken");
        assert!(gone_within(store, key, Duration::from_millis(1), pass_time).await, "and the value goes");
    }
}

async fn any_text_is_a_key(store: &dyn Store) {
    let longest = format!("conformance:text:{}", "k".repeat(MAX_KEY_BYTES - 17));
    let texts =
        ["*", "?", "[a-z]", "\\", "\\*", "é", "e\u{301}", "比特币", "🚀", " ", "\r\n", "\0", "{tag}", "%s", "\u{7f}"];
    let mut keys: Vec<String> = texts.iter().map(|text| format!("conformance:text:{text}")).collect();
    keys.push(longest);
    for (index, key) in keys.iter().enumerate() {
        put(store, key, index.to_string().as_bytes()).await;
    }
    for (index, key) in keys.iter().enumerate() {
        let value = get(store, key).await;
        assert_eq!(value.as_deref(), Some(index.to_string().as_bytes()), "{key:?} is a key of its own");
    }
    let listed = list(store, "conformance:text:", 1000).await;
    keys.sort_unstable();
    assert_eq!(listed, keys, "a listing gives keys back as they were put");
    assert_eq!(store.remove(&keys).await, Ok(keys.len() as u64), "and all can be removed");
}

async fn a_large_value_is_read_back_whole(store: &dyn Store, length: usize) {
    let value: Bytes = (0..length).map(|index| (index % 251) as u8).collect();
    put(store, "conformance:large", &value).await;
    let read = get(store, "conformance:large").await;
    assert!(read.as_ref() == Some(&value), "{length} bytes come back whole");
    remove(store, &["conformance:large"]).await;
}

async fn many_values_come_in_the_order_of_their_keys_duplicates_included(store: &dyn Store) {
    put(store, "conformance:many:a", b"a").await;
    put(store, "conformance:many:b", b"b").await;
    let keys = ["b", "missing", "a", "b", "a", "missing"].map(|name| format!("conformance:many:{name}"));
    let values = store.get_many(&keys).await.expect("get_many succeeds");
    let [a, b] = ["a", "b"].map(|value| Some(Bytes::from(value)));
    assert_eq!(values, [b.clone(), None, a.clone(), b, a, None], "one answer a key, in order");
    remove(store, &["conformance:many:a", "conformance:many:b"]).await;
}

async fn no_keys_are_no_error(store: &dyn Store) {
    assert_eq!(store.get_many(&[]).await, Ok(vec![]), "get_many of nothing is nothing");
    assert_eq!(store.remove(&[]).await, Ok(0), "remove of nothing removes nothing");
}

async fn a_removed_value_is_gone_and_counted_once(store: &dyn Store) {
    put(store, "conformance:removed:a", b"a").await;
    put(store, "conformance:removed:b", b"b").await;
    let keys = ["a", "missing", "a", "b"].map(|name| format!("conformance:removed:{name}"));
    assert_eq!(store.remove(&keys).await, Ok(2), "remove counts what was there, once");
    assert_eq!(get(store, &keys[0]).await, None, "a removed value is gone");
    assert_eq!(store.remove(&keys).await, Ok(0), "removing it again is no error");
    put(store, &keys[0], b"again").await;
    assert_eq!(get(store, &keys[0]).await.as_deref(), Some(&b"again"[..]), "and it can come back");
    remove(store, &["conformance:removed:a"]).await;
}

async fn concurrent_puts_never_mix(store: &dyn Store) {
    const LENGTH: usize = 20_000;
    let key = "conformance:mixed";
    let whole = |value: &Bytes| value.len() == LENGTH && value.iter().all(|byte| *byte == value[0]);
    put(store, key, &[0; LENGTH]).await;
    let puts = (1..=16_u8).map(|byte| put(store, key, Bytes::from(vec![byte; LENGTH]).slice(..)).boxed());
    let gets = (0..16).map(|_| {
        async move {
            let value = get(store, key).await.expect("a value is there throughout");
            assert!(whole(&value), "a reader sees one put, whole");
        }
        .boxed()
    });
    join_all(puts.zip(gets).flat_map(|(put, get)| [put, get])).await;
    assert!(get(store, key).await.is_some_and(|value| whole(&value) && value[0] > 0), "one of the puts is the last");
    remove(store, &[key]).await;
}

async fn concurrent_calls_get_their_own_answers(store: &dyn Store) {
    let keys: Vec<String> = (0..64).map(|index| format!("conformance:own:{index}")).collect();
    join_all(keys.iter().map(|key| put(store, key, key.clone()))).await;
    join_all(keys.iter().map(|key| async move {
        assert_eq!(get(store, key).await.as_deref(), Some(key.as_bytes()), "each caller gets its own answer");
    }))
    .await;
    assert_eq!(store.remove(&keys).await, Ok(64), "all were there");
}

async fn a_dropped_call_has_happened_or_not_and_disturbs_no_other(store: &dyn Store) {
    let key = "conformance:dropped";
    put(store, key, b"old").await;
    for _ in 0..20 {
        // Polled once and dropped: the request may be on its way and its answer come back unread.
        _ = store.put(key, "new".into(), LONG).now_or_never();
        _ = store.get(key).now_or_never();
        _ = store.get_many(&[key.to_owned()]).now_or_never();
        _ = store.list("conformance:", None, 1).now_or_never();
        assert_eq!(get(store, "conformance:absent").await, None, "the next caller gets its own answer");
        let value = get(store, key).await;
        assert!(matches!(value.as_deref(), Some(b"old" | b"new")), "the old value or the new one: {value:?}");
    }
    _ = store.remove(&[key.to_owned()]).now_or_never();
    put(store, key, b"last").await;
    assert_eq!(get(store, key).await.as_deref(), Some(&b"last"[..]), "a put after a dropped remove holds");
    remove(store, &[key]).await;
}

async fn a_listing_gives_every_key_with_the_prefix_and_no_other(store: &dyn Store, count: usize) {
    let keys: Vec<String> = (0..count).map(|index| format!("conformance:list:{index}")).collect();
    let look_alikes = ["conformance:list", "conformance:list;", "conformance:List:1", "xconformance:list:1"];
    for chunk in keys.chunks(100) {
        join_all(chunk.iter().map(|key| put(store, key, b"value"))).await;
    }
    for key in look_alikes {
        put(store, key, b"look-alike").await;
    }
    let listed = list(store, "conformance:list:", 500).await;
    assert!(listed.iter().all(|key| key.starts_with("conformance:list:")), "only keys with the prefix");
    let mut in_order = keys.clone();
    in_order.sort_unstable();
    assert_eq!(listed, in_order, "and every one of them");
    assert_eq!(store.list("conformance:list:none", None, 10).await.map(|page| page.keys), Ok(vec![]), "or none");
    for chunk in keys.chunks(500) {
        assert_eq!(store.remove(chunk).await, Ok(chunk.len() as u64), "all listed keys were there");
    }
    remove(store, &look_alikes).await;
}

async fn a_listing_goes_on_page_by_page_to_its_end(store: &dyn Store) {
    let keys = ["conformance:page:a", "conformance:page:b", "conformance:page:c"];
    for key in keys {
        put(store, key, b"value").await;
    }
    for limit in [1, 2, 3, 4] {
        let mut seen = HashSet::new();
        let mut cursor = None;
        for _ in 0..10_000 {
            let page = page(store, "conformance:page:", cursor, limit).await;
            seen.extend(page.keys);
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(cursor, None, "pages of {limit} come to an end");
        assert_eq!(seen, keys.map(String::from).into(), "and give all keys");
    }
    remove(store, &keys).await;
}

async fn a_listing_takes_its_prefix_literally(store: &dyn Store) {
    let prefixes = ["conformance:glob:*", "conformance:glob:?", "conformance:glob:[ab]", "conformance:glob:\\"];
    let others = ["conformance:glob:a", "conformance:glob:b", "conformance:glob:ab"];
    for key in prefixes.iter().chain(&others) {
        put(store, key, b"value").await;
    }
    for prefix in prefixes {
        assert_eq!(list(store, prefix, 10).await, [prefix], "{prefix} is a prefix, not a pattern");
    }
    remove(store, &prefixes).await;
    remove(store, &others).await;
}

async fn a_listing_survives_keys_that_come_and_go(store: &dyn Store) {
    let keys: Vec<String> = (0..300).map(|index| format!("conformance:moving:{index:03}")).collect();
    join_all(keys.iter().map(|key| put(store, key, b"value"))).await;
    let mut seen = HashSet::new();
    let mut cursor = None;
    for page_number in 0.. {
        let page = page(store, "conformance:moving:", cursor, 50).await;
        seen.extend(page.keys);
        if page_number == 0 {
            // Every third goes, also the one the cursor may stand on; others come before, between and after.
            let gone: Vec<String> = keys.iter().step_by(3).cloned().chain(seen.iter().cloned()).collect();
            store.remove(&gone).await.expect("remove succeeds");
            for name in ["", "111b", "999"] {
                put(store, &format!("conformance:moving:{name}"), b"new").await;
            }
        }
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    let stayed = keys.iter().enumerate().filter(|(index, _)| index % 3 != 0).map(|(_, key)| key);
    let missed: Vec<_> = stayed.filter(|key| !seen.contains(*key)).collect();
    assert!(missed.is_empty(), "keys that are there throughout are listed: {missed:?}");
    let left = list(store, "conformance:moving:", 1000).await;
    store.remove(&left).await.expect("remove succeeds");
}

async fn an_expired_key_is_not_listed<F: Future<Output = ()>>(store: &dyn Store, pass_time: &impl Fn(Duration) -> F) {
    store.put("conformance:expired:key", "x".into(), Duration::from_millis(50)).await.expect("a put succeeds");
    assert!(gone_within(store, "conformance:expired:key", Duration::from_millis(50), pass_time).await, "it expires");
    assert_eq!(list(store, "conformance:expired:", 10).await, [""; 0], "an expired key is not listed");
}

async fn a_probe_says_something_plausible(store: &dyn Store) {
    put(store, "conformance:probe", &[1; 10_000]).await;
    let usage = store.probe().await.expect("a probe succeeds");
    assert!(usage.keys.is_none_or(|keys| keys >= 1), "one key at least: {usage:?}");
    assert!(usage.bytes.is_none_or(|bytes| bytes >= 10_000), "and its bytes: {usage:?}");
    assert!(usage.limit.is_none_or(|limit| limit > 0), "no limit is none: {usage:?}");
    remove(store, &["conformance:probe"]).await;
}

async fn put(store: &dyn Store, key: &str, value: impl AsRef<[u8]>) {
    store.put(key, Bytes::copy_from_slice(value.as_ref()), LONG).await.expect("a put succeeds");
}

async fn get(store: &dyn Store, key: &str) -> Option<Bytes> {
    store.get(key).await.expect("a get succeeds")
}

async fn remove(store: &dyn Store, keys: &[&str]) {
    let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
    store.remove(&keys).await.expect("a remove succeeds");
}

async fn page(store: &dyn Store, prefix: &str, cursor: Option<Cursor>, limit: usize) -> Page {
    store.list(prefix, cursor, limit).await.expect("a listing succeeds")
}

/// Every key of a listing, page by page: in order, and once, because a store may well give a key twice. Redis does
/// where its table shrinks between two pages.
async fn list(store: &dyn Store, prefix: &str, limit: usize) -> Vec<String> {
    let first = page(store, prefix, None, limit).await;
    let (mut keys, mut next) = (first.keys, first.next);
    while let Some(cursor) = next {
        let page = page(store, prefix, Some(cursor), limit).await;
        keys.extend(page.keys);
        next = page.next;
    }
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// Lets `ttl` pass, then a little more at a time, for stores with a coarse clock of their own.
async fn gone_within<F: Future<Output = ()>>(
    store: &dyn Store,
    key: &str,
    ttl: Duration,
    pass_time: &impl Fn(Duration) -> F,
) -> bool {
    pass_time(ttl).await;
    for _ in 0..100 {
        if get(store, key).await.is_none() {
            return true;
        }
        pass_time(Duration::from_millis(5)).await;
    }
    false
}
