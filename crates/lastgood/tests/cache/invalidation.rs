//! No load from before an invalidation is ever served after it, from any tier. One that an expiry overtook stands in when
//! the source fails, because its callers were answered with it: an older one must not.

use std::sync::Arc;
use std::time::Duration;

use lastgood::store::{MemoryStore, Store, StoreError};
use lastgood::testing::{Fault, FaultyStore};
use lastgood::{Cache, Clock, Freshness, LoadError, Loaded, Mode, Policy, Reason, Region, Selector, WasThere};
use tokio::task::JoinHandle;
use tokio::time::advance;

use crate::support::{
    LateStore, MINUTE, SECOND, Source, Stored, a_minute, good, loaded, over, patiently_over, peeked, region, settle,
    summary, text,
};

mod under_way;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Invalidation {
    Expire,
    Remove,
    Clear,
    ClearAll,
    Put,
    Bulk(Swath, Mode),
}

/// What a bulk invalidation is about.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Swath {
    Key,
    Tag,
    Region,
    Matching,
}

impl Swath {
    const ALL: [Swath; 4] = [Swath::Key, Swath::Tag, Swath::Region, Swath::Matching];

    fn selector(self) -> Selector {
        match self {
            Swath::Key => Selector::Key { region: "prices".to_owned(), name: "BTCUSDT".to_owned() },
            Swath::Tag => Selector::Tag("bitcoin".to_owned()),
            Swath::Region => Selector::Region("prices".to_owned()),
            Swath::Matching => {
                Selector::Matching(Arc::new(|region, name| region == "prices" && name.starts_with("BTC")))
            }
        }
    }
}

impl Invalidation {
    const SIMPLE: [Invalidation; 5] =
        [Invalidation::Expire, Invalidation::Remove, Invalidation::Clear, Invalidation::ClearAll, Invalidation::Put];

    fn all() -> impl Iterator<Item = Invalidation> {
        let bulk = Swath::ALL
            .into_iter()
            .flat_map(|swath| [Mode::Expire, Mode::Remove].map(|mode| Invalidation::Bulk(swath, mode)));
        Invalidation::SIMPLE.into_iter().chain(bulk)
    }

    fn expires(self) -> bool {
        matches!(self, Invalidation::Expire | Invalidation::Bulk(_, Mode::Expire))
    }

    async fn run(self, cache: &Cache, prices: &Region) {
        match self {
            Invalidation::Expire => _ = prices.expire("BTCUSDT").await,
            Invalidation::Remove => _ = prices.remove("BTCUSDT").await,
            Invalidation::Clear => _ = prices.clear().await,
            Invalidation::ClearAll => _ = cache.clear().await,
            Invalidation::Put => prices.put("BTCUSDT", loaded("put")).await,
            Invalidation::Bulk(swath, mode) => {
                cache.invalidate(&swath.selector(), Some(mode)).await.expect("a bulk invalidation never fails");
                // What began within the millisecond of a mark may have begun before it.
                advance(Duration::from_millis(1)).await;
            }
        }
    }
}

/// How the load that the invalidation overtakes came to be.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Load {
    Foreground,
    RefreshBehind,
    SoftTimedOut,
    Batch,
}

impl Load {
    const ALL: [Load; 4] = [Load::Foreground, Load::RefreshBehind, Load::SoftTimedOut, Load::Batch];

    fn policy(self) -> Policy {
        if self == Load::RefreshBehind { a_minute().stale_while_revalidate(10 * MINUTE) } else { a_minute() }
    }

    /// Begins a load that reads `v1` and pauses. Where the kind needs an answer from before, that is `v0`.
    async fn begin(self, source: &Source, prices: &Region) -> JoinHandle<()> {
        if matches!(self, Load::RefreshBehind | Load::SoftTimedOut) {
            source.set("v0");
            source.read(prices, "BTCUSDT").await.expect("it loads");
            advance(MINUTE).await;
        }
        source.set("v1");
        source.pause();
        let before = source.loads();
        let reader = tokio::spawn({
            let (source, prices) = (source.clone(), prices.clone());
            async move {
                if self == Load::Batch {
                    let load = move |names: Vec<String>| async move {
                        let answer = source.load().await.map_err(LoadError::into_error);
                        Ok(names.into_iter().map(|name| (name, answer.clone())).collect())
                    };
                    prices.get_or_load_many(&["BTCUSDT", "ETHUSDT"], load).await;
                } else {
                    let _ = source.read(&prices, "BTCUSDT").await;
                }
            }
        });
        settle().await;
        if self == Load::SoftTimedOut {
            advance(SECOND).await;
            settle().await;
            assert!(reader.is_finished(), "the soft timeout has served the last good answer");
        }
        assert_eq!(source.loads(), before + 1, "the load is under way");
        reader
    }
}

fn body(answer: Result<lastgood::Answer, lastgood::Error>) -> Option<String> {
    answer.ok().as_ref().map(text)
}

#[tokio::test(start_paused = true)]
async fn a_load_from_before_an_invalidation_is_never_served_after_it() {
    for invalidation in Invalidation::all() {
        for load in Load::ALL {
            let case = format!("{invalidation:?} during {load:?}");
            let stored = Stored::new();
            let prices = region(&stored.cache, load.policy());
            let source = Source::answering("v0");
            source.tag("bitcoin");
            let reader = load.begin(&source, &prices).await;
            invalidation.run(&stored.cache, &prices).await;
            source.set("v2");
            source.resume();
            reader.await.expect("the reader does not panic");
            settle().await;
            stored.flush().await;

            let is_v1 = |held: &lastgood::Answer| text(held) == "v1";
            let held = prices.peek("BTCUSDT").filter(is_v1);
            assert_eq!(held.map(|held| held.freshness()), invalidation.expires().then_some(Freshness::Kept), "{case}");
            assert_eq!(stored.cache.status().loads, 0, "{case}");
            source.fail(Reason::Unreachable);
            let kept = match (invalidation, load) {
                (Invalidation::Put, _) => Some("put"),
                (kind, Load::RefreshBehind | Load::SoftTimedOut) if kind.expires() => Some("v0"),
                _ => None,
            };
            let again = region(&stored.restarted(), load.policy());
            let kept_here = if invalidation.expires() { Some("v1") } else { kept };
            for (region, kept) in [(&prices, kept_here), (&again, kept)] {
                assert_eq!(body(source.read(region, "BTCUSDT").await).as_deref(), kept, "{case}");
            }
            source.set("v2");
            advance(MINUTE).await;
            for region in [&prices, &again] {
                source.read(region, "BTCUSDT").await.expect("there is something to serve");
                settle().await;
                assert_eq!(body(source.read(region, "BTCUSDT").await).as_deref(), Some("v2"), "{case}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_read_after_an_invalidation_begins_a_load_of_its_own_at_once() {
    for invalidation in Invalidation::all().filter(|kind| *kind != Invalidation::Put) {
        for load in Load::ALL {
            let case = format!("{invalidation:?} during {load:?}");
            let stored = Stored::new();
            let prices = region(&stored.cache, load.policy());
            let slow = Source::answering("v0");
            slow.tag("bitcoin");
            let reader = load.begin(&slow, &prices).await;
            invalidation.run(&stored.cache, &prices).await;
            // Within a round trip to the store, other processes do not know what came first, and load again.
            advance(Duration::from_millis(5)).await;

            let source = Source::answering("v2");
            source.tag("bitcoin");
            assert_eq!(summary(source.read(&prices, "BTCUSDT").await), good("v2", "MISS"), "{case}");
            slow.resume();
            reader.await.expect("the reader does not panic");
            settle().await;
            stored.flush().await;
            assert_eq!(summary(source.read(&prices, "BTCUSDT").await), good("v2", "HIT"), "{case}");
            let again = region(&stored.restarted(), load.policy());
            assert_eq!(summary(source.read(&again, "BTCUSDT").await), good("v2", "HIT"), "{case}");
            assert_eq!(stored.cache.status().loads, 0, "{case}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_from_before_an_invalidation_is_forgotten_with_it() {
    // A failure has no tags.
    let is_by_tag = |kind: &Invalidation| matches!(kind, Invalidation::Bulk(Swath::Tag, _));
    for invalidation in Invalidation::all().filter(|kind| *kind != Invalidation::Put && !is_by_tag(kind)) {
        let stored = Stored::new();
        let prices = region(&stored.cache, a_minute());
        let source = Source::failing(Reason::NotFound);
        assert_eq!(summary(source.read(&prices, "BTCUSDT").await), Err(Reason::NotFound));
        invalidation.run(&stored.cache, &prices).await;
        source.set("v1");
        assert_eq!(summary(source.read(&prices, "BTCUSDT").await), good("v1", "MISS"), "{invalidation:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_an_invalidation_overtook_is_not_remembered() {
    let stored = Stored::new();
    let prices = region(&stored.cache, a_minute());
    let source = Source::failing(Reason::NotFound);
    source.pause();
    let reader = {
        let (source, prices) = (source.clone(), prices.clone());
        tokio::spawn(async move { summary(source.read(&prices, "BTCUSDT").await) })
    };
    settle().await;
    prices.remove("BTCUSDT").await;
    source.resume();
    assert_eq!(reader.await.expect("the reader does not panic"), Err(Reason::NotFound));
    source.set("v1");
    assert_eq!(summary(source.read(&prices, "BTCUSDT").await), good("v1", "MISS"));
}

#[tokio::test(start_paused = true)]
async fn a_put_answer_is_fresh_in_both_tiers() {
    let stored = Stored::new();
    let prices = region(&stored.cache, a_minute());
    prices.put("BTCUSDT", loaded("put")).await;
    stored.flush().await;
    let source = Source::answering("v1");
    assert_eq!(summary(source.read(&prices, "BTCUSDT").await), good("put", "HIT"));
    assert_eq!(summary(source.read(&region(&stored.restarted(), a_minute()), "BTCUSDT").await), good("put", "HIT"));
    assert_eq!(source.loads(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_expired_answer_is_loaded_again_and_still_stands_in_for_a_failing_source() {
    let stored = Stored::new();
    let prices = region(&stored.cache, a_minute().stale_while_revalidate(10 * MINUTE));
    let source = Source::answering("v1");
    source.read(&prices, "BTCUSDT").await.expect("it loads");
    assert_eq!(prices.expire("BTCUSDT").await, WasThere::Yes);
    assert_eq!(prices.expire("UNKNOWN").await, WasThere::No);
    stored.flush().await;
    source.fail(Reason::Upstream);
    let again = region(&stored.restarted(), a_minute());
    for region in [&prices, &again] {
        assert_eq!(summary(source.read(region, "BTCUSDT").await), good("v1", "LAST-GOOD"));
    }
    source.set("v2");
    advance(SECOND).await;
    for region in [&prices, &again] {
        assert_eq!(body(source.read(region, "BTCUSDT").await).as_deref(), Some("v2"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_removed_answer_is_gone_from_every_tier() {
    let stored = Stored::new();
    let prices = region(&stored.cache, a_minute());
    let source = Source::answering("v1");
    source.read(&prices, "BTCUSDT").await.expect("it loads");
    stored.flush().await;
    assert!(prices.remove("BTCUSDT").await);
    assert!(!prices.remove("BTCUSDT").await);
    stored.flush().await;
    assert!(stored.keys().await.is_empty());
    source.fail(Reason::Unreachable);
    assert_eq!(summary(source.read(&prices, "BTCUSDT").await), Err(Reason::Unreachable));
}

#[tokio::test(start_paused = true)]
async fn clearing_a_region_empties_it_alone() {
    let stored = Stored::new();
    let prices = region(&stored.cache, a_minute());
    let candles = stored.cache.region("candles", a_minute()).expect("the policy is sound");
    for number in 0..1_200 {
        prices.put(&number.to_string(), loaded("v1")).await;
    }
    candles.put("BTCUSDT", loaded("v1")).await;
    stored.flush().await;
    assert_eq!(prices.clear().await, 1_200);
    stored.flush().await;
    assert_eq!(stored.keys().await, ["lastgood:candles:v1:BTCUSDT"]);
    let source = Source::failing(Reason::Unreachable);
    assert_eq!(summary(source.read(&prices, "7").await), Err(Reason::Unreachable));
    assert_eq!(summary(source.read(&candles, "BTCUSDT").await), good("v1", "HIT"));
}

#[tokio::test(start_paused = true)]
async fn after_a_clear_a_failing_source_brings_nothing_back() {
    for store_is_down in [false, true] {
        let stored = Stored::new();
        let prices = region(&stored.cache, a_minute());
        let source = Source::answering("v1");
        for number in 0..50 {
            source.read(&prices, &number.to_string()).await.expect("it loads");
        }
        stored.flush().await;
        if store_is_down {
            stored.faulty.set(Fault::Fail(StoreError::Unavailable("injected".into())));
        }
        advance(SECOND).await;
        prices.clear().await;
        source.fail(Reason::Unreachable);
        for number in 0..50 {
            assert_eq!(summary(source.read(&prices, &number.to_string()).await), Err(Reason::Unreachable));
        }
        stored.faulty.heal();
        advance(10 * SECOND).await;
        for number in 0..50 {
            assert_eq!(summary(source.read(&prices, &number.to_string()).await), Err(Reason::Unreachable));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_clear_takes_away_what_was_still_on_its_way_to_the_store() {
    let stored = Stored::new();
    let prices = region(&stored.cache, a_minute());
    stored.faulty.set_writes(Fault::Hold);
    for number in 0..20 {
        prices.put(&number.to_string(), loaded("before")).await;
    }
    while stored.faulty.writes() < 4 {
        settle().await;
    }
    assert_eq!(stored.faulty.writes(), 4, "some are under way and the others wait");
    advance(SECOND / 2).await;
    prices.clear().await;
    // The empty name is a name like any other.
    for name in ["after", ""] {
        prices.put(name, loaded("after")).await;
    }
    stored.faulty.heal();
    stored.flush().await;
    let again = region(&stored.restarted(), a_minute());
    let source = Source::failing(Reason::Unreachable);
    for number in 0..20 {
        assert_eq!(summary(source.read(&again, &number.to_string()).await), Err(Reason::Unreachable), "key {number}");
    }
    for name in ["after", ""] {
        assert_eq!(summary(source.read(&prices, name).await), good("after", "HIT"));
    }
    assert_eq!(stored.cache.status().store.map(|store| store.unconfirmed_removals), Some(0));
}
