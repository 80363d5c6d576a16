//! Invalidating by tag, by region and by pattern: in memory, in the store, and in the store of those who come later.

use std::sync::Arc;
use std::time::Duration;

use lastgood::store::StoreError;
use lastgood::testing::Fault;
use lastgood::{Cache, Invalidated, Loaded, Mode, Reason, Region, Selector, WasThere};
use tokio::time::advance;

use crate::support::{HOUR, MINUTE, SECOND, Source, Stored, a_minute, good, loaded, peeked, region, settle, summary};

mod large;

const MILLISECOND: Duration = Duration::from_millis(1);

fn tagged(body: &str, tags: &[&str]) -> Loaded {
    Loaded { tags: tags.iter().map(ToString::to_string).collect(), ..loaded(body) }
}

/// Two stocks of one tag and one of another, in both tiers.
async fn stocks(stored: &Stored) -> Region {
    let prices = region(&stored.cache, a_minute());
    prices.put("AAPL", tagged("1", &["tech", "symbol:AAPL"])).await;
    prices.put("MSFT", tagged("2", &["tech"])).await;
    prices.put("XOM", tagged("3", &["oil"])).await;
    stored.flush().await;
    advance(MILLISECOND).await;
    prices
}

fn tag(name: &str) -> Selector {
    Selector::Tag(name.to_owned())
}

fn matching(needle: &'static str) -> Selector {
    Selector::Matching(Arc::new(move |_, name| name.contains(needle)))
}

async fn invalidated(cache: &Cache, selector: &Selector, mode: Option<Mode>) -> (u64, u64) {
    let Invalidated { matched, changed, unreached } =
        cache.invalidate(selector, mode).await.expect("the store answers");
    assert_eq!(unreached, None, "{selector:?}");
    (matched, changed)
}

#[tokio::test(start_paused = true)]
async fn a_tag_is_removed_everywhere_even_where_only_the_store_holds_it() {
    let stored = Stored::new();
    stocks(&stored).await;
    // Nothing of it is in this memory.
    let other = stored.restarted();
    let prices = region(&other, a_minute());
    assert_eq!(invalidated(&other, &tag("tech"), Some(Mode::Remove)).await, (0, 0), "memory holds none");
    assert!(other.sync(MINUTE).await);
    let source = Source::answering("new");
    for name in ["AAPL", "MSFT"] {
        assert_eq!(summary(source.read(&prices, name).await), good("new", "MISS"), "{name}");
    }
    assert_eq!(summary(source.read(&prices, "XOM").await), good("3", "HIT"));
}

#[tokio::test(start_paused = true)]
async fn a_removed_tag_stays_removed_for_a_program_that_starts_later() {
    let stored = Stored::new();
    let prices = stocks(&stored).await;
    // As another process may do: what was loaded before comes to the store after.
    let raw = stored.keys().await.into_iter().find(|key| key.ends_with(":AAPL")).expect("it is stored");
    use lastgood::store::Store as _;
    let before = stored.memory.get(&raw).await.expect("it answers").expect("it is there");
    assert_eq!(invalidated(&stored.cache, &tag("tech"), Some(Mode::Remove)).await, (2, 2));
    assert_eq!((peeked(&prices, "AAPL"), peeked(&prices, "XOM")), (None, Some("3".to_owned())));
    stored.flush().await;
    stored.memory.put(&raw, before, MINUTE).await.expect("it answers");
    let later = region(&stored.restarted(), a_minute());
    let source = Source::failing(Reason::Unreachable);
    assert_eq!(summary(source.read(&later, "AAPL").await), Err(Reason::Unreachable));
    assert_eq!(summary(source.read(&later, "XOM").await), good("3", "HIT"));
    // Later loads are believed.
    source.answer(Ok(loaded("new")));
    source.tag("tech");
    advance(MINUTE).await;
    assert_eq!(summary(source.read(&later, "AAPL").await), good("new", "MISS"));
    settle().await;
    assert_eq!(summary(source.read(&region(&stored.restarted(), a_minute()), "AAPL").await), good("new", "HIT"));
}

#[tokio::test(start_paused = true)]
async fn an_expired_tag_leaves_the_last_good_answers() {
    let stored = Stored::new();
    let prices = stocks(&stored).await;
    let other = stored.restarted();
    let cold = region(&other, a_minute());
    assert_eq!(invalidated(&stored.cache, &tag("tech"), None).await, (2, 0), "only counted");
    assert_eq!(invalidated(&stored.cache, &tag("tech"), Some(Mode::Expire)).await, (2, 2));
    stored.flush().await;
    let source = Source::failing(Reason::Unreachable);
    for region in [&prices, &cold] {
        let answer = summary(source.read(region, "MSFT").await);
        assert_eq!(answer, good("2", "LAST-GOOD"));
        assert_eq!(summary(source.read(region, "XOM").await), good("3", "HIT"));
    }
}

#[tokio::test(start_paused = true)]
async fn an_expiry_that_only_the_mark_tells_leaves_the_last_good_answer_too() {
    let stored = Stored::new();
    stocks(&stored).await;
    let other = stored.restarted();
    let prices = region(&other, a_minute());
    invalidated(&other, &tag("tech"), Some(Mode::Expire)).await;
    let source = Source::failing(Reason::Unreachable);
    assert_eq!(summary(source.read(&prices, "AAPL").await), good("1", "LAST-GOOD"));
    let unasked = Source::answering("new");
    advance(SECOND).await;
    assert_eq!(summary(unasked.read(&prices, "AAPL").await), good("new", "MISS"));
}

#[tokio::test(start_paused = true)]
async fn a_mark_that_the_store_refuses_counts_here_and_is_written_when_it_can_be() {
    let stored = Stored::new();
    stocks(&stored).await;
    stored.faulty.set_writes(Fault::Fail(StoreError::Refused("full".to_owned())));
    let prices = region_of(&stored.cache);
    prices.remove("nothing").await;
    invalidated(&stored.cache, &tag("oil"), Some(Mode::Remove)).await;
    settle().await;
    assert!(stored.cache.status().store.expect("there is one").unconfirmed_removals > 0);
    stored.faulty.heal();
    advance(10 * SECOND).await;
    settle().await;
    stored.flush().await;
    assert_eq!(stored.cache.status().store.expect("there is one").unconfirmed_removals, 0);
    let keys = stored.keys().await;
    assert!(keys.iter().any(|key| key.ends_with(":removed:oil")), "{keys:?}");
}

fn region_of(cache: &Cache) -> Region {
    cache.region_named("prices").expect("it is there")
}

#[tokio::test(start_paused = true)]
async fn entries_whose_marks_cannot_be_read_are_not_believed() {
    let stored = Stored::new();
    let prices = region(&stored.cache, a_minute());
    prices.put("tagged", tagged("1", &["tech"])).await;
    prices.put("plain", loaded("2")).await;
    stored.flush().await;
    use lastgood::store::Store as _;
    let garbled = bytes::Bytes::from_static(b"garbled");
    stored.memory.put("lastgood:@tags:expired:tech", garbled, MINUTE).await.expect("it answers");
    let cold = region(&stored.restarted(), a_minute());
    let source = Source::answering("new");
    assert_eq!(summary(source.read(&cold, "tagged").await), good("new", "MISS"));
    assert_eq!(summary(source.read(&cold, "plain").await), good("2", "HIT"));
}

#[tokio::test(start_paused = true)]
async fn entries_with_tags_beyond_bounds_stay_out_of_the_store() {
    let stored = Stored::new();
    let prices = region(&stored.cache, a_minute());
    prices.put("a", loaded("old")).await;
    stored.flush().await;
    let long = "x".repeat(257);
    prices.put("a", tagged("new", &[&long])).await;
    stored.flush().await;
    assert_eq!(peeked(&prices, "a").as_deref(), Some("new"));
    assert!(stored.keys().await.is_empty(), "neither the new one nor the old");
}

#[tokio::test(start_paused = true)]
async fn a_pattern_is_about_both_tiers_and_counts_each_key_once() {
    let stored = Stored::new();
    let prices = stocks(&stored).await;
    let other = stored.restarted();
    let cold = region(&other, a_minute());
    let source = Source::failing(Reason::Unreachable);
    assert_eq!(summary(source.read(&cold, "AAPL").await), good("1", "HIT"));
    for cache in [&stored.cache, &other] {
        assert_eq!(invalidated(cache, &matching("S"), None).await, (1, 0));
        assert_eq!(invalidated(cache, &matching("A"), None).await, (1, 0));
        assert_eq!(invalidated(cache, &Selector::Region("prices".to_owned()), None).await, (3, 0));
    }
    assert_eq!(invalidated(&other, &matching("M"), Some(Mode::Remove)).await, (2, 2));
    assert!(other.sync(MINUTE).await);
    let names: Vec<_> = stored.keys().await.into_iter().filter(|key| !key.contains('@')).collect();
    assert_eq!(names, ["lastgood:prices:v1:AAPL"]);
    settle().await;
    assert_eq!(
        invalidated(&stored.cache, &Selector::Region("prices".to_owned()), Some(Mode::Expire)).await,
        (1, 1),
        "it heard"
    );
    assert_eq!(summary(source.read(&prices, "AAPL").await), good("1", "LAST-GOOD"));
    assert_eq!(invalidated(&stored.cache, &Selector::Region("nowhere".to_owned()), Some(Mode::Remove)).await, (0, 0));
}

#[tokio::test(start_paused = true)]
async fn what_a_silent_store_may_hold_of_a_pattern_is_not_believed_any_more() {
    let stored = Stored::new();
    stocks(&stored).await;
    let faulty = lastgood::testing::FaultyStore::new(Arc::new(stored.memory.clone()));
    let cache = crate::support::over(Arc::clone(&faulty) as _, &stored.clock);
    let prices = region(&cache, a_minute());
    faulty.set_writes(Fault::Fail(StoreError::Unavailable("gone".to_owned())));
    assert!(cache.invalidate(&matching("AAPL"), None).await.is_err(), "a count that cannot be made is no count");
    let done = cache.invalidate(&matching("AAPL"), Some(Mode::Remove)).await.expect("it is done in memory");
    let gone = Some(StoreError::Unavailable("gone".to_owned()));
    assert_eq!(done, Invalidated { matched: 0, changed: 0, unreached: gone });
    faulty.heal();
    advance(MINUTE / 2).await;
    let source = Source::answering("new");
    assert_eq!(summary(source.read(&prices, "AAPL").await), good("new", "MISS"));
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_store_that_is_away_is_counted_with_the_reason_and_done_when_it_is_back() {
    let stored = Stored::new();
    stocks(&stored).await;
    let faulty = lastgood::testing::FaultyStore::new(Arc::new(stored.memory.clone()));
    let cache = crate::support::over(Arc::clone(&faulty) as _, &stored.clock);
    let prices = region(&cache, a_minute());
    assert_eq!(cache.confirmed(MINUTE).await, None);
    let gone = StoreError::Unavailable("gone".to_owned());
    faulty.set_reads(Fault::Fail(gone.clone()));
    faulty.set_writes(Fault::Fail(gone.clone()));
    let key = Selector::Key { region: "prices".to_owned(), name: "AAPL".to_owned() };
    assert_eq!(cache.invalidate(&key, None).await, Err(gone.clone()), "whether it is there is not known");
    let scopes = [(key, Some(gone.clone())), (tag("oil"), None), (matching("AAPL"), Some(gone.clone()))];
    for (selector, unreached) in scopes {
        let done = cache.invalidate(&selector, Some(Mode::Remove)).await.expect("it is done in memory");
        assert_eq!((done.matched, done.unreached), (0, unreached), "{selector:?}");
    }
    let waits = cache.confirmed(MINUTE).await.expect("the store is away");
    assert_eq!((waits.waiting, waits.why), (3, Some(gone.clone())), "the key, the mark of the tag and the search");
    faulty.heal();
    assert_eq!(cache.confirmed(MINUTE).await.map(|waits| waits.why), Some(Some(gone)), "it is not asked yet");
    advance(MINUTE / 2).await;
    settle().await;
    assert_eq!(cache.confirmed(MINUTE).await, None);
    assert!(!stored.keys().await.contains(&"lastgood:prices:v1:AAPL".to_owned()));
    assert!(stored.keys().await.contains(&"lastgood:prices:v1:MSFT".to_owned()));
    // A whole region is removed by prefix, though its keys could not be listed.
    faulty.set_writes(Fault::Fail(StoreError::Unavailable("gone".to_owned())));
    let region = Selector::Region("prices".to_owned());
    assert!(cache.invalidate(&region, Some(Mode::Remove)).await.expect("it is done in memory").unreached.is_some());
    faulty.heal();
    advance(MINUTE / 2).await;
    settle().await;
    assert_eq!(cache.confirmed(MINUTE).await, None);
    let left = stored.keys().await.into_iter().filter(|key| key.contains("prices")).collect::<Vec<_>>();
    assert_eq!(left, Vec::<String>::new());
    assert!(prices.peek("MSFT").is_none());
}
