//! Loads that begin after the question.

use std::time::Duration;

use lastgood::{LoadError, Reason, Region};
use tokio::task::JoinHandle;
use tokio::time::advance;

use crate::support::{
    MINUTE, SECOND, Source, Stored, a_minute, good, loaded, memory_only, peeked, region, settle, summary,
};

type Summary = Result<(String, &'static str), Reason>;

fn reload(region: &Region, source: &Source) -> JoinHandle<Summary> {
    let (region, source) = (region.clone(), source.clone());
    tokio::spawn(async move { summary(region.reload("BTCUSDT", move || source.load()).await) })
}

#[tokio::test(start_paused = true)]
async fn a_fresh_entry_is_not_good_enough_for_a_reload_and_is_replaced_by_it() {
    let books = region(&memory_only(), a_minute());
    let source = Source::answering("v1");
    source.read(&books, "BTCUSDT").await.unwrap();
    source.set("v2");
    assert_eq!(summary(source.read(&books, "BTCUSDT").await), good("v1", "HIT"));
    assert_eq!(reload(&books, &source).await.unwrap(), good("v2", "MISS"));
    assert_eq!(summary(source.read(&books, "BTCUSDT").await), good("v2", "HIT"));
    assert_eq!(source.loads(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_load_under_way_is_not_joined_and_all_who_come_meanwhile_share_the_next() {
    let books = region(&memory_only(), a_minute());
    let source = Source::answering("before");
    source.pause();
    let reader = tokio::spawn({
        let (books, source) = (books.clone(), source.clone());
        async move { summary(source.read(&books, "BTCUSDT").await) }
    });
    settle().await;
    source.set("after");
    let those: Vec<_> = (0..20).map(|_| reload(&books, &source)).collect();
    settle().await;
    assert_eq!(source.loads(), 1, "one load at a time");
    source.resume();
    assert_eq!(reader.await.unwrap(), good("before", "MISS"));
    let mut summary = Vec::new();
    for one in those {
        summary.push(one.await.unwrap().unwrap());
    }
    assert!(summary.iter().all(|(body, _)| body == "after"), "{summary:?}");
    assert_eq!(summary.iter().filter(|(_, x_cache)| *x_cache == "MISS").count(), 1, "{summary:?}");
    assert_eq!((source.loads(), peeked(&books, "BTCUSDT")), (2, Some("after".to_owned())));
}

#[tokio::test(start_paused = true)]
async fn under_a_steady_stream_of_questions_each_gets_a_load_of_its_own_time() {
    let books = region(&memory_only(), a_minute());
    let source = Source::answering("0");
    source.pause();
    let mut waiting = vec![reload(&books, &source)];
    settle().await;
    for round in 1..=10 {
        source.set(&round.to_string());
        waiting.extend((0..5).map(|_| reload(&books, &source)));
        settle().await;
        source.resume();
        settle().await;
        source.pause();
        settle().await;
    }
    source.resume();
    for (index, one) in waiting.into_iter().enumerate() {
        let (body, _) = one.await.unwrap().unwrap();
        let round = index.div_ceil(5);
        assert!(body.parse::<usize>().unwrap() >= round, "question of round {round} was answered with {body}");
    }
    assert!(source.loads() <= 21, "{} loads", source.loads());
}

#[tokio::test(start_paused = true)]
async fn readers_meanwhile_are_served_fresh_entries_and_share_the_load_where_there_is_none() {
    let books = region(&memory_only(), a_minute());
    let source = Source::answering("v1");
    source.pause();
    let one = reload(&books, &source);
    settle().await;
    let reader = tokio::spawn({
        let (books, source) = (books.clone(), source.clone());
        async move { summary(source.read(&books, "BTCUSDT").await) }
    });
    settle().await;
    source.resume();
    assert_eq!((one.await.unwrap(), reader.await.unwrap()), (good("v1", "MISS"), good("v1", "JOINED")));
    source.pause();
    let two = reload(&books, &source);
    settle().await;
    assert_eq!(summary(source.read(&books, "BTCUSDT").await), good("v1", "HIT"));
    source.resume();
    two.await.unwrap().unwrap();
    assert_eq!(source.loads(), 2);
}

#[tokio::test(start_paused = true)]
async fn when_the_source_fails_the_last_good_answer_says_so_and_the_source_is_left_alone() {
    let books = region(&memory_only(), a_minute());
    let source = Source::answering("v1");
    source.read(&books, "BTCUSDT").await.unwrap();
    source.fail(Reason::Upstream);
    assert_eq!(reload(&books, &source).await.unwrap(), good("v1", "LAST-GOOD"));
    let loads = source.loads();
    assert_eq!(reload(&books, &source).await.unwrap(), good("v1", "LAST-GOOD"), "it is remembered");
    assert_eq!(source.loads(), loads);
    advance(MINUTE).await;
    source.fail(Reason::NotFound);
    assert_eq!(reload(&books, &source).await.unwrap(), Err(Reason::NotFound), "a verdict is an answer");
    let never = region(&memory_only(), a_minute());
    source.fail(Reason::Upstream);
    assert_eq!(reload(&never, &source).await.unwrap(), Err(Reason::Upstream));
}

#[tokio::test(start_paused = true)]
async fn what_only_the_store_holds_stands_in_and_is_never_taken_for_an_answer() {
    let stored = Stored::new();
    let books = region(&stored.cache, a_minute());
    let source = Source::answering("stored");
    source.read(&books, "BTCUSDT").await.unwrap();
    stored.flush().await;
    let restarted = region(&stored.restarted(), a_minute());
    source.fail(Reason::Unreachable);
    assert_eq!(reload(&restarted, &source).await.unwrap(), good("stored", "LAST-GOOD"));
    let restarted = region(&stored.restarted(), a_minute());
    source.set("loaded");
    assert_eq!(reload(&restarted, &source).await.unwrap(), good("loaded", "MISS"));
}

#[tokio::test(start_paused = true)]
async fn a_load_from_before_an_invalidation_is_not_waited_into_the_cache() {
    let books = region(&memory_only(), a_minute());
    let source = Source::answering("old");
    source.pause();
    let reader = tokio::spawn({
        let (books, source) = (books.clone(), source.clone());
        async move { summary(source.read(&books, "BTCUSDT").await) }
    });
    settle().await;
    let asked = reload(&books, &source);
    settle().await;
    books.remove("BTCUSDT").await;
    source.set("new");
    source.resume();
    assert_eq!(asked.await.unwrap(), good("new", "MISS"));
    reader.await.unwrap().unwrap();
    assert_eq!(peeked(&books, "BTCUSDT"), Some("new".to_owned()), "its load began after the removal");

    // And one that is removed while it is loaded is not written.
    source.pause();
    let asked = reload(&books, &source);
    settle().await;
    books.remove("BTCUSDT").await;
    source.resume();
    assert_eq!(asked.await.unwrap(), good("new", "MISS"));
    assert_eq!(peeked(&books, "BTCUSDT"), None);
}

#[tokio::test(start_paused = true)]
async fn a_load_that_hangs_or_panics_strands_no_waiter_for_the_next() {
    let books = region(&memory_only(), lastgood::Policy { hard_timeout: SECOND, ..a_minute() });
    let hangs = || std::future::pending::<Result<lastgood::Loaded, LoadError>>();
    let hanging = tokio::spawn({
        let books = books.clone();
        async move { books.get_or_load("BTCUSDT", hangs).await.map(|_| ()) }
    });
    settle().await;
    let source = Source::answering("v1");
    let begun = tokio::time::Instant::now();
    let asked = reload(&books, &source).await.unwrap();
    assert!(begun.elapsed() < 3 * SECOND, "{:?}", begun.elapsed());
    // What failed a moment ago is not repeated at once.
    assert_eq!(asked, Err(Reason::TimedOut));
    assert!(hanging.await.unwrap().is_err());
    advance(SECOND).await;
    assert_eq!(reload(&books, &source).await.unwrap(), good("v1", "MISS"));
    let panicked = books.reload("BTCUSDT", || async { panic!("a bug of the loader's") }).await.unwrap();
    assert_eq!(panicked.outcome().as_x_cache(), "LAST-GOOD");
}

#[tokio::test(start_paused = true)]
async fn a_reader_who_leaves_takes_nothing_from_those_who_wait_for_the_same_load() {
    let books = region(&memory_only(), a_minute());
    let source = Source::answering("v1");
    source.pause();
    let first = reload(&books, &source);
    settle().await;
    let (leader, other) = (reload(&books, &source), reload(&books, &source));
    settle().await;
    leader.abort();
    first.abort();
    source.resume();
    assert!(matches!(other.await.unwrap(), Ok((body, _)) if body == "v1"));
    assert_eq!(source.loads(), 2);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(summary(books.reload("BTCUSDT", || async { Ok(loaded("v2")) }).await), good("v2", "MISS"));
}
