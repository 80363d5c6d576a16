//! Loads that bring several keys, removal by prefix, and values that go to the store seldom.

use std::sync::Arc;
use std::time::Duration;

use lastgood::testing::{Fault, FaultyStore};
use lastgood::{
    Cache, Clock, Composed, Error, Filled, LoadError, Loaded, Memoised, Outcome, Persist, Reason, Siblings, Tier,
};
use tokio::sync::Notify;

use crate::support::{
    LateStore, MINUTE, SECOND, Stored, a_minute, loaded, memory_only, over, patiently_over, peeked, region, settle,
    text,
};

fn filled(entries: &[(&str, &str)]) -> Filled {
    let siblings: Siblings = entries.iter().map(|(name, body)| ((*name).to_owned(), loaded(body))).collect();
    siblings.into()
}

async fn never<T>(why: &str) -> Result<T, LoadError> {
    panic!("{why}")
}

#[tokio::test(start_paused = true)]
async fn what_one_load_brings_for_several_keys_is_there_for_each() {
    let prices = region(&memory_only(), a_minute());
    let brought = prices.composite().fill("all", || async { Ok(filled(&[("a", "1"), ("b", "2")])) }).await;
    assert!(brought.unwrap());
    assert_eq!((peeked(&prices, "a"), peeked(&prices, "b")), (Some("1".to_owned()), Some("2".to_owned())));
    assert_eq!(peeked(&prices, "all"), None, "the name of the load holds nothing");
}

#[tokio::test(start_paused = true)]
async fn a_load_that_ends_after_one_that_asked_later_answers_with_the_later_answer() {
    let clock = Clock::paused_with_tokio();
    let cache = Cache::builder().clock(clock.clone()).build().unwrap();
    let prices = region(&cache, a_minute());
    let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let first = {
        let (prices, begun, go) = (prices.clone(), Arc::clone(&begun), Arc::clone(&go));
        tokio::spawn(async move {
            let load = move || async move {
                begun.notify_one();
                go.notified().await;
                Ok(loaded("asked first"))
            };
            prices.get_or_load("a", load).await
        })
    };
    begun.notified().await;
    tokio::time::advance(SECOND).await;
    let later = Loaded { as_of: Some(clock.now()), ..loaded("asked later") };
    let siblings: Siblings = vec![("a".to_owned(), later)];
    prices.composite().fill("all", || async move { Ok(Filled::from(siblings)) }).await.unwrap();
    go.notify_one();
    assert_eq!(text(&first.await.unwrap().unwrap()), "asked later");
    assert_eq!(peeked(&prices, "a").as_deref(), Some("asked later"));
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_of_the_time_at_which_its_source_was_asked_and_fresh_from_the_end_of_its_load() {
    let clock = Clock::paused_with_tokio();
    let cache = Cache::builder().clock(clock.clone()).build().unwrap();
    let prices = region(&cache, a_minute());
    let load = move || async move {
        tokio::time::advance(SECOND).await;
        let asked_at = Some(clock.now());
        tokio::time::advance(SECOND).await;
        Ok(Loaded { asked_at, ..loaded("1") })
    };
    let answer = prices.get_or_load("a", load).await.unwrap();
    assert_eq!((answer.age(), answer.fresh_for()), (SECOND, MINUTE));
}

#[tokio::test(start_paused = true)]
async fn who_comes_while_a_load_is_under_way_waits_for_it() {
    let prices = region(&memory_only(), a_minute());
    let go = Arc::new(Notify::new());
    let first = {
        let (prices, go) = (prices.clone(), Arc::clone(&go));
        tokio::spawn(async move {
            let load = move || async move {
                go.notified().await;
                Ok(filled(&[("a", "1")]))
            };
            prices.composite().fill("all", load).await
        })
    };
    tokio::task::yield_now().await;
    let second = {
        let prices = prices.clone();
        tokio::spawn(async move { prices.composite().fill("all", || async { Ok(filled(&[("a", "never")])) }).await })
    };
    tokio::task::yield_now().await;
    go.notify_one();
    assert_eq!((first.await.unwrap().unwrap(), second.await.unwrap().unwrap()), (true, false));
    assert_eq!(peeked(&prices, "a").as_deref(), Some("1"));
}

#[tokio::test(start_paused = true)]
async fn a_failed_load_of_several_keys_is_not_repeated_at_once() {
    let prices = region(&memory_only(), a_minute());
    let fail = || async { Err::<Filled, _>(Error::new(Reason::Upstream, "down").into()) };
    assert_eq!(prices.composite().fill("all", fail).await.unwrap_err().reason, Reason::Upstream);
    let again = prices.composite().fill("all", || never::<Filled>("asked again")).await.unwrap_err();
    assert_eq!((again.reason, again.remembered), (Reason::Upstream, true));
    tokio::time::advance(MINUTE).await;
    assert!(prices.composite().fill("all", || async { Ok(filled(&[])) }).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_guard_is_held_until_what_was_loaded_is_written() {
    struct Guard(lastgood::Region, Arc<std::sync::Mutex<Vec<Option<String>>>>);
    impl Drop for Guard {
        fn drop(&mut self) {
            self.1.lock().unwrap().push(peeked(&self.0, "sibling"));
        }
    }
    let prices = region(&memory_only(), a_minute());
    let seen = Arc::default();
    let guard = Guard(prices.clone(), Arc::clone(&seen));
    let siblings: Siblings = vec![("sibling".to_owned(), loaded("1"))];
    let load = move || async move { Ok(Composed { own: loaded("own"), siblings, guard }) };
    prices.composite().get_or_load("own", &[], load).await.unwrap();
    let guard = Guard(prices.clone(), Arc::clone(&seen));
    let siblings: Siblings = vec![("sibling".to_owned(), loaded("2"))];
    prices.composite().fill("all", move || async move { Ok(Filled { siblings, guard }) }).await.unwrap();
    assert_eq!(*seen.lock().unwrap(), [Some("1".to_owned()), Some("2".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn an_invalidation_of_the_prefix_keeps_a_late_load_from_being_written() {
    let stored = Stored::new();
    let prices = region(&stored.cache, a_minute());
    prices.put("btc:1", loaded("old")).await;
    prices.put("eth:1", loaded("other")).await;
    stored.flush().await;
    let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let late = {
        let (prices, begun, go) = (prices.clone(), Arc::clone(&begun), Arc::clone(&go));
        tokio::spawn(async move {
            let load = move || async move {
                begun.notify_one();
                go.notified().await;
                Ok(filled(&[("btc:1", "late"), ("btc:2", "late")]))
            };
            prices.composite().fill("btc:all", load).await
        })
    };
    begun.notified().await;
    assert_eq!(prices.remove_prefix("btc:").await, 1);
    go.notify_one();
    late.await.unwrap().unwrap();
    assert_eq!((peeked(&prices, "btc:1"), peeked(&prices, "btc:2")), (None, None));
    let removed = prices.stored(&["btc:1".to_owned()]).await;
    assert!(matches!(removed[..], [Ok(None)]), "not even before it is done");
    stored.flush().await;
    let both = prices.stored(&["btc:1".to_owned(), "eth:1".to_owned()]).await;
    assert!(matches!(both[0], Ok(None)));
    assert_eq!(both[1].as_ref().unwrap().as_ref().map(text).as_deref(), Some("other"));
    prices.put("btc:1", loaded("new")).await;
    stored.flush().await;
    assert!(matches!(prices.stored(&["btc:1".to_owned()]).await[0], Ok(Some(_))), "what comes after is believed again");
    assert_eq!(prices.remove_prefix("btc").await, 0, "a prefix ends with a colon");
}

#[tokio::test(start_paused = true)]
async fn what_changes_often_goes_to_the_store_seldom() {
    let stored = Stored::new();
    let prices = region(&stored.cache, a_minute());
    let seldom = |body: &str| Loaded { persist: Persist::Every(Duration::from_secs(5)), ..loaded(body) };
    for second in 0..12 {
        let tick = Filled::from(vec![("tick".to_owned(), seldom(&second.to_string()))]);
        prices.composite().fill("ticks", || async move { Ok(tick) }).await.unwrap();
        stored.flush().await;
        let in_store = prices.stored(&["tick".to_owned()]).await[0].as_ref().unwrap().as_ref().map(text);
        assert_eq!(in_store, Some((second / 5 * 5).to_string()), "at second {second}");
        assert_eq!(peeked(&prices, "tick"), Some(second.to_string()));
        tokio::time::advance(SECOND).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_store_has_already_is_not_written_again() {
    let stored = Stored::new();
    let prices = region(&stored.cache, a_minute());
    let here = Loaded { persist: Persist::Never, ..loaded("1") };
    let load = || async move { Ok(Filled::from(vec![("a".to_owned(), here)])) };
    prices.composite().fill("all", load).await.unwrap();
    stored.flush().await;
    assert_eq!(peeked(&prices, "a").as_deref(), Some("1"));
    assert!(matches!(prices.stored(&["a".to_owned()]).await[0], Ok(None)));
}

#[tokio::test(start_paused = true)]
async fn siblings_of_a_key_comes_in_the_same_round_trip_and_takes_the_place_of_nothing() {
    let stored = Stored::new();
    let prices = region(&stored.cache, a_minute());
    for (name, body) in [("end", "3"), ("one", "1"), ("two", "2")] {
        prices.put(name, loaded(body)).await;
    }
    stored.flush().await;
    let faulty = FaultyStore::new(Arc::new(stored.memory.clone()));
    let prices = region(&over(Arc::clone(&faulty) as _, &stored.clock), a_minute());
    let newer = Loaded { persist: Persist::Never, ..loaded("newer") };
    prices.composite().fill("all", || async { Ok(Filled::from(vec![("two".to_owned(), newer)])) }).await.unwrap();
    let siblings = ["one", "two", "none"].map(str::to_owned);
    let answer =
        prices.composite().get_or_load("end", &siblings, || never::<Composed>("the store has it")).await.unwrap();
    assert_eq!((text(&answer).as_str(), answer.outcome()), ("3", Outcome::Hit(Tier::Store)));
    assert_eq!(faulty.reads(), 1);
    let held = ["one", "two", "none"].map(|name| peeked(&prices, name));
    assert_eq!(held, [Some("1".to_owned()), Some("newer".to_owned()), None]);
    let again = prices.composite().get_or_load("end", &siblings, || never::<Composed>("memory has it")).await.unwrap();
    assert_eq!((again.outcome(), faulty.reads()), (Outcome::Hit(Tier::Memory), 1));
}

#[tokio::test(start_paused = true)]
async fn a_loader_knows_what_the_store_was_found_to_lack_and_takes_no_silence_for_it() {
    for is_silent in [false, true] {
        let stored = Stored::new();
        region(&stored.cache, a_minute()).put("one", loaded("1")).await;
        stored.flush().await;
        let faulty = FaultyStore::new(Arc::new(stored.memory.clone()));
        let prices = region(&over(Arc::clone(&faulty) as _, &stored.clock), a_minute());
        faulty.set_reads(if is_silent { Fault::Hang } else { Fault::Pass });
        let (siblings, asking) = (["one", "two"].map(str::to_owned), prices.clone());
        let load = move || async move { Ok(loaded(&asking.composite().absent("end").join(" ")).into()) };
        let absent = prices.composite().get_or_load("end", &siblings, load).await.unwrap();
        assert_eq!(text(&absent), if is_silent { "" } else { "two" });
        assert_eq!(prices.composite().absent("end"), Vec::<String>::new(), "the load has ended");
    }
}

#[tokio::test(start_paused = true)]
async fn siblings_of_a_key_is_not_kept_once_it_was_invalidated() {
    let stored = Stored::new();
    let prices = region(&stored.cache, a_minute());
    for name in ["btc:end", "btc:one"] {
        prices.put(name, loaded("old")).await;
    }
    stored.flush().await;
    let late = LateStore::new(Arc::new(stored.memory.clone()));
    let prices = region(&patiently_over(Arc::clone(&late) as _, &stored.clock), a_minute());
    late.hold_answers();
    let reading = {
        let prices = prices.clone();
        tokio::spawn(async move {
            let load = || async { Ok(loaded("new").into()) };
            prices.composite().get_or_load("btc:end", &["btc:one".to_owned()], load).await
        })
    };
    settle().await;
    prices.remove_prefix("btc:").await;
    late.let_answers_go();
    reading.await.unwrap().unwrap();
    assert_eq!((peeked(&prices, "btc:end"), peeked(&prices, "btc:one")), (None, None));
}

#[tokio::test(start_paused = true)]
async fn what_was_worked_out_of_a_value_before_it_is_kept_is_not_worked_out_again() {
    let prices = region(&memory_only(), a_minute());
    prices.put("a", Loaded { memoised: Memoised::new(7u32), ..loaded("1") }).await;
    let held = prices.peek("a").unwrap();
    assert_eq!(held.memoised(|_| -> u32 { panic!("it is known") }), 7);
    assert_eq!(held.memoised(|value| value.body.len()), 1, "another type is worked out");
}

#[tokio::test(start_paused = true)]
async fn the_names_that_the_store_holds_can_be_listed() {
    let stored = Stored::new();
    let prices = region(&stored.cache, a_minute());
    for name in ["node:a", "node:b", "other"] {
        prices.put(name, loaded("1")).await;
    }
    stored.flush().await;
    assert_eq!(prices.stored_names("node:", 10).await.unwrap(), ["node:a", "node:b"]);
    assert_eq!(prices.stored_names("", 10).await.unwrap().len(), 3);
    assert_eq!(prices.stored_names("", 2).await.unwrap().len(), 2);
    assert_eq!(region(&memory_only(), a_minute()).stored_names("", 10).await.unwrap(), Vec::<String>::new());
}
