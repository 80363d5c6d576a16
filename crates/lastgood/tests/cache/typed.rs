//! Regions of Rust values.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lastgood::{Error, Outcome, Reason, Tier};
use serde::{Deserialize, Serialize};
use tokio::time::advance;

use crate::support::{HOUR, MINUTE, SECOND, Stored, a_minute, loaded, memory_only, region};

static DECODED: AtomicU64 = AtomicU64::new(0);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "f64")]
struct Price(f64);

impl From<f64> for Price {
    fn from(price: f64) -> Self {
        DECODED.fetch_add(1, Ordering::SeqCst);
        Price(price)
    }
}

#[tokio::test(start_paused = true)]
async fn a_value_is_decoded_once_however_often_it_is_read() {
    let cache = memory_only();
    let prices = region(&cache, a_minute()).typed::<Price>();
    let first = prices.get_or_load("BTCUSDT", || async { Ok(Price(1.5)) }).await.expect("it loads");
    assert_eq!((first.outcome, &*first.value), (Outcome::Miss, &Price(1.5)));
    advance(SECOND).await;
    for _ in 0..100 {
        let hit = prices.get_or_load("BTCUSDT", || async { Ok(Price(2.5)) }).await.expect("it is there");
        assert_eq!((hit.outcome, hit.age), (Outcome::Hit(Tier::Memory), SECOND));
        assert!(Arc::ptr_eq(&hit.value, &first.value));
    }
    assert_eq!(DECODED.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_typed_value_survives_a_restart_and_an_outage() {
    let stored = Stored::new();
    let scores = region(&stored.cache, a_minute()).typed::<HashMap<String, u32>>();
    let week = HashMap::from([("ada".to_owned(), 3)]);
    scores.put("week-9", &week).await.expect("it has a JSON form");
    stored.flush().await;
    let again = region(&stored.restarted(), a_minute()).typed::<HashMap<String, u32>>();
    let failing = || async { Err(Error::new(Reason::Unreachable, "no route").into()) };
    let answer = again.get_or_load("week-9", failing).await.expect("the store has it");
    assert_eq!((answer.outcome, &*answer.value), (Outcome::Hit(Tier::Store), &week));
    advance(HOUR).await;
    let answer = again.get_or_load("week-9", failing).await.expect("it is kept");
    assert_eq!((answer.outcome, answer.age), (Outcome::LastGood(Reason::Unreachable), HOUR));
    assert_eq!(again.bytes().name(), "prices");
}

#[tokio::test(start_paused = true)]
async fn a_typed_value_is_read_without_a_loader() {
    let prices = region(&memory_only(), a_minute());
    assert!(prices.typed::<Vec<u32>>().get("week-9").await.unwrap().is_none());
    prices.put("week-9", loaded("[3, 1]")).await;
    advance(SECOND).await;
    let answer = prices.typed::<Vec<u32>>().get("week-9").await.unwrap().expect("it was put");
    assert_eq!((answer.outcome, answer.age, &*answer.value), (Outcome::Hit(Tier::Memory), SECOND, &vec![3, 1]));
    prices.put("week-9", loaded("[3,")).await;
    assert!(prices.typed::<Vec<u32>>().get("week-9").await.unwrap().is_none(), "a value that is no list is nothing");
}

#[tokio::test(start_paused = true)]
async fn the_loaders_error_comes_back_as_it_is() {
    let cache = memory_only();
    let scores = region(&cache, a_minute()).typed::<u32>();
    let error =
        scores.get_or_load("week-9", || async { Err(Error::new(Reason::NotFound, "no such week").into()) }).await;
    let error = error.expect_err("the loader fails");
    assert_eq!((error.reason, error.message.as_str()), (Reason::NotFound, "no such week"));
}

#[tokio::test(start_paused = true)]
async fn a_value_without_a_json_form_is_refused_and_the_last_good_one_stays() {
    let cache = memory_only();
    let odd = region(&cache, a_minute()).typed::<HashMap<Vec<u8>, u8>>();
    let no_json = || HashMap::from([(vec![1, 2], 3)]);
    let refused = odd.put("key", &no_json()).await.expect_err("a list is no JSON key");
    assert_eq!(refused.reason, Reason::Malformed);
    odd.put("key", &HashMap::new()).await.expect("an empty map has a JSON form");
    advance(MINUTE).await;
    let answer = odd.get_or_load("key", move || async move { Ok(no_json()) }).await.expect("it is kept");
    assert_eq!((answer.outcome, answer.value.len()), (Outcome::LastGood(Reason::Malformed), 0));
}

#[tokio::test(start_paused = true)]
async fn a_value_cached_in_another_form_is_loaded_again() {
    let stored = Stored::new();
    let prices = region(&stored.cache, a_minute());
    for body in ["\"text\"", "{", ""] {
        prices.put("BTCUSDT", loaded(body)).await;
        let typed = prices.typed::<u32>();
        for outcome in [Outcome::Miss, Outcome::Hit(Tier::Memory)] {
            let answer = typed.get_or_load("BTCUSDT", || async { Ok(7) }).await.expect("it loads");
            assert_eq!((*answer.value, answer.outcome), (7, outcome));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn two_types_of_one_region_do_not_take_each_others_decoded_value() {
    let cache = memory_only();
    let prices = region(&cache, a_minute());
    prices.put("BTCUSDT", loaded("7")).await;
    for _ in 0..2 {
        let whole = prices.typed::<u32>().get_or_load("BTCUSDT", || async { Ok(0) }).await.expect("it is there");
        let real = prices.typed::<f64>().get_or_load("BTCUSDT", || async { Ok(0.0) }).await.expect("it is there");
        assert_eq!((*whole.value, *real.value), (7, 7.0));
    }
}
