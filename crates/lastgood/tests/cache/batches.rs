//! Many keys in one call.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use lastgood::{Answer, Error, LoadError, LoadedMany, Policy, Reason, Region};
use tokio::sync::watch;
use tokio::time::advance;

use crate::support::{MINUTE, Source, Stored, a_minute, good, loaded, memory_only, peeked, region, settle, summary};

/// A source of many values, each its key followed by the version, that remembers what it was asked for.
#[derive(Clone)]
struct BatchSource {
    asked: Arc<Mutex<Vec<Vec<String>>>>,
    version: Arc<AtomicU64>,
    open: watch::Sender<bool>,
}

impl BatchSource {
    fn new() -> Self {
        BatchSource { asked: Arc::default(), version: Arc::new(AtomicU64::new(1)), open: watch::Sender::new(true) }
    }

    fn asked(&self) -> Vec<Vec<String>> {
        self.asked.lock().expect("no test panics with this lock").clone()
    }

    /// Keys that contain `bad` fail, keys that contain `unknown` are left out.
    async fn load(self, names: Vec<String>) -> Result<LoadedMany, LoadError> {
        self.asked.lock().expect("no test panics with this lock").push(names.clone());
        let version = self.version.load(Ordering::SeqCst);
        self.open.subscribe().wait_for(|open| *open).await.expect("the source outlives its loads");
        let answer = |name: String| {
            let answer = if name.contains("bad") {
                Err(Error::new(Reason::Upstream, format!("{name} fails")))
            } else {
                Ok(loaded(&format!("{name}:{version}")))
            };
            (name, answer)
        };
        Ok(names.into_iter().filter(|name| !name.contains("unknown")).map(answer).collect())
    }

    async fn read(&self, region: &Region, names: &[&str]) -> Vec<Result<Answer, Error>> {
        let source = self.clone();
        region.get_or_load_many(names, |names| source.load(names)).await
    }

    async fn summary(&self, region: &Region, names: &[&str]) -> Vec<Result<(String, &'static str), Reason>> {
        self.read(region, names).await.into_iter().map(summary).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn three_failing_keys_of_a_hundred_fail_singly() {
    let stored = Stored::new();
    let prices = region(&stored.cache, a_minute());
    let source = BatchSource::new();
    let names: Vec<String> =
        (0..100).map(|number| if number % 40 == 7 { format!("bad{number}") } else { number.to_string() }).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let answers = source.read(&prices, &names).await;
    for (name, answer) in names.iter().zip(&answers) {
        match answer {
            Ok(answer) => assert_eq!(answer.body(), format!("{name}:1").as_bytes()),
            Err(error) => assert_eq!(error.message, format!("{name} fails")),
        }
    }
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 97);
    assert_eq!((source.asked().len(), source.asked()[0].len(), stored.faulty.reads()), (1, 100, 1));
    stored.flush().await;
    assert_eq!(stored.keys().await.len(), 97);
    assert_eq!(stored.cache.status().loads, 0);

    let again = source.read(&prices, &names).await;
    assert_eq!(again.iter().filter(|answer| answer.is_ok()).count(), 97);
    assert_eq!(source.asked().len(), 1, "neither the good ones nor the failed are asked for again");
}

#[tokio::test(start_paused = true)]
async fn only_what_no_tier_holds_is_asked_for() {
    let stored = Stored::new();
    let before = region(&stored.restarted(), a_minute());
    before.put("stored", loaded("stored:0")).await;
    while stored.keys().await.is_empty() {
        settle().await;
    }
    let prices = region(&stored.cache, a_minute());
    prices.put("memory", loaded("memory:0")).await;
    stored.flush().await;
    let source = BatchSource::new();
    let answers = source.summary(&prices, &["new", "memory", "stored", "unknown"]).await;
    let expected = [good("new:1", "MISS"), good("memory:0", "HIT"), good("stored:0", "HIT"), Err(Reason::NotFound)];
    assert_eq!(answers, expected);
    assert_eq!(source.asked(), [["new", "unknown"]]);
    assert_eq!(stored.faulty.reads(), 1);
}

#[tokio::test(start_paused = true)]
async fn overlapping_batches_and_single_reads_share_their_loads() {
    let cache = memory_only();
    let prices = region(&cache, a_minute());
    let source = BatchSource::new();
    source.open.send_replace(false);
    let batch = |names: &'static [&'static str]| {
        let (source, prices) = (source.clone(), prices.clone());
        tokio::spawn(async move { source.summary(&prices, names).await })
    };
    let first = batch(&["a", "b", "c"]);
    settle().await;
    let second = batch(&["b", "c", "d"]);
    settle().await;
    let single = {
        let prices = prices.clone();
        tokio::spawn(async move { summary(Source::answering("never asked").read(&prices, "d").await) })
    };
    settle().await;
    assert_eq!(cache.status().loads, 4);
    source.open.send_replace(true);
    let answers = (first.await.expect("no panic"), second.await.expect("no panic"), single.await.expect("no panic"));
    assert_eq!(answers.0, [good("a:1", "MISS"), good("b:1", "MISS"), good("c:1", "MISS")]);
    assert_eq!(answers.1, [good("b:1", "JOINED"), good("c:1", "JOINED"), good("d:1", "MISS")]);
    assert_eq!(answers.2, good("d:1", "JOINED"));
    assert_eq!(source.asked(), [vec!["a", "b", "c"], vec!["d"]]);
}

#[tokio::test(start_paused = true)]
async fn duplicates_are_asked_for_once_and_answered_each() {
    let cache = memory_only();
    let prices = region(&cache, a_minute());
    for (enabled, outcome) in [(true, "MISS"), (false, "PASS")] {
        cache.set_enabled(enabled);
        let source = BatchSource::new();
        let answers = source.summary(&prices, &["a", "b", "a"]).await;
        assert_eq!(answers, [good("a:1", outcome), good("b:1", outcome), good("a:1", outcome)]);
        assert_eq!(source.asked(), [["a", "b"]]);
    }
}

#[tokio::test(start_paused = true)]
async fn an_empty_batch_sends_no_request() {
    let stored = Stored::new();
    let source = BatchSource::new();
    assert!(source.read(&region(&stored.cache, a_minute()), &[]).await.is_empty());
    assert_eq!((source.asked().len(), stored.faulty.reads()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_key_that_the_loader_leaves_out_is_not_found_and_remembered_so() {
    let cache = memory_only();
    let prices = region(&cache, a_minute());
    let source = BatchSource::new();
    assert_eq!(source.summary(&prices, &["unknown"]).await, [Err(Reason::NotFound)]);
    let single = Source::answering("v1");
    assert_eq!(summary(single.read(&prices, "unknown").await), Err(Reason::NotFound));
    assert_eq!(single.loads(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_fails_as_a_whole_fails_each_key_that_nothing_is_kept_for() {
    let cache = memory_only();
    let prices = region(&cache, a_minute());
    let source = BatchSource::new();
    source.read(&prices, &["kept"]).await;
    advance(MINUTE).await;
    let failing = |_| async { Err(Error::new(Reason::RateLimited, "429").into()) };
    let answers = prices.get_or_load_many(&["kept", "new"], failing).await;
    let answers: Vec<_> = answers.into_iter().map(summary).collect();
    assert_eq!(answers, [good("kept:1", "LAST-GOOD"), Err(Reason::RateLimited)]);
    assert_eq!(cache.status().loads, 0);
    assert_eq!(source.summary(&prices, &["kept"]).await, [good("kept:1", "LAST-GOOD")], "the failure is remembered");
    assert_eq!(source.asked().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_panicking_or_hanging_batch_loader_releases_every_key() {
    let cache = memory_only();
    let prices = region(&cache, a_minute());
    let panicking = |_| async { panic!("injected") };
    for answer in prices.get_or_load_many(&["a", "b"], panicking).await {
        assert_eq!(summary(answer), Err(Reason::Panicked));
    }
    advance(MINUTE).await;
    for answer in prices.get_or_load_many(&["a", "b"], |_| std::future::pending()).await {
        assert_eq!(summary(answer), Err(Reason::TimedOut));
    }
    advance(MINUTE).await;
    let source = BatchSource::new();
    assert_eq!(source.summary(&prices, &["a", "b"]).await, [good("a:1", "MISS"), good("b:1", "MISS")]);
    assert_eq!(cache.status().loads, 0);
}

#[tokio::test(start_paused = true)]
async fn stale_keys_of_a_batch_are_served_at_once_and_refreshed_by_one_load_behind() {
    let cache = memory_only();
    let prices = region(&cache, a_minute().stale_while_revalidate(MINUTE));
    let source = BatchSource::new();
    source.read(&prices, &["a", "b"]).await;
    advance(MINUTE).await;
    source.version.store(2, Ordering::SeqCst);
    source.open.send_replace(false);
    assert_eq!(source.summary(&prices, &["a", "b"]).await, [good("a:1", "STALE"), good("b:1", "STALE")]);
    settle().await;
    source.open.send_replace(true);
    settle().await;
    assert_eq!(source.summary(&prices, &["a", "b"]).await, [good("a:2", "HIT"), good("b:2", "HIT")]);
    assert_eq!(source.asked().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_invalidated_key_of_a_running_batch_is_not_kept_and_the_others_are() {
    let stored = Stored::new();
    let prices = region(&stored.cache, a_minute());
    let source = BatchSource::new();
    source.open.send_replace(false);
    let batch = {
        let (source, prices) = (source.clone(), prices.clone());
        tokio::spawn(async move { source.read(&prices, &["a", "b"]).await })
    };
    settle().await;
    prices.remove("a").await;
    source.open.send_replace(true);
    assert!(batch.await.expect("the batch does not panic").iter().all(Result::is_ok));
    stored.flush().await;
    assert_eq!((peeked(&prices, "a"), peeked(&prices, "b").as_deref()), (None, Some("b:1")));
    assert_eq!(stored.keys().await, ["lastgood:prices:v1:b"]);
    assert_eq!(stored.cache.stats().remove(0).1.dropped_fills, 1);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_batch_still_fills_the_cache() {
    let cache = memory_only();
    let prices = region(&cache, a_minute());
    let source = BatchSource::new();
    source.open.send_replace(false);
    let left = tokio::time::timeout(MINUTE / 60, source.read(&prices, &["a", "b"])).await;
    assert!(left.is_err());
    source.open.send_replace(true);
    settle().await;
    assert_eq!(source.summary(&prices, &["a", "b"]).await, [good("a:1", "HIT"), good("b:1", "HIT")]);
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_one_load_among_those_allowed() {
    let cache = memory_only();
    let prices = region(&cache, Policy { max_loads: 1, ..a_minute() });
    let source = BatchSource::new();
    source.open.send_replace(false);
    let batch = {
        let (source, prices) = (source.clone(), prices.clone());
        tokio::spawn(async move { source.read(&prices, &["a", "b", "c"]).await })
    };
    settle().await;
    assert_eq!(source.summary(&prices, &["d", "e"]).await, [Err(Reason::Overloaded), Err(Reason::Overloaded)]);
    source.open.send_replace(true);
    assert!(batch.await.expect("the batch does not panic").iter().all(Result::is_ok));
    assert_eq!(source.summary(&prices, &["d"]).await, [good("d:1", "MISS")]);
}
