//! Connections on which nothing comes back.

use super::*;

/// How an answer is given, once a cut is there: what must not be served, and when it was.
async fn watch_a_cut(chaos: Option<Chaos>) {
    let server = RedisServer::start();
    let proxy = ChaosProxy::start(format!("127.0.0.1:{}", server.port())).await;
    let (one, other) = (Process::start(&server.url()).await, Process::start(&server.url_through(proxy.port())).await);
    let source = Source::answering("v1");
    one.hold(&source, "BTCUSDT").await;
    other.hold(&source, "BTCUSDT").await;
    source.set("v2");
    match chaos {
        Some(chaos) => proxy.set(chaos),
        None => server.stop(),
    }
    let cut_at = Instant::now();
    if chaos.is_some() {
        one.prices.remove("BTCUSDT").await;
        assert!(one.cache.sync(MINUTE).await);
    }
    let labelled = within(Duration::from_millis(1_200), "it is labelled", async || {
        let held = other.prices.peek("BTCUSDT").expect("it is in memory");
        assert!(held.is_unverified() || cut_at.elapsed() < BOUND);
        held.is_unverified()
    })
    .await;
    // Never the removed one, fresh, past the bound.
    source.fail(Reason::Unreachable);
    sleep((BOUND + Duration::from_millis(50)).saturating_sub(cut_at.elapsed())).await;
    let read = source.read(&other.prices, "BTCUSDT").await.expect("the last good one stands in");
    assert!(read.is_unverified());
    assert_eq!(summary(Ok(read)), good("v1", "LAST-GOOD"), "{chaos:?}, labelled after {labelled:?}");
    source.set("v2");
    within(Duration::from_secs(3), "it is loaded", async || {
        summary(source.read(&other.prices, "BTCUSDT").await) == good("v2", "MISS")
    })
    .await;
    let held = source.read(&other.prices, "BTCUSDT").await.expect("it was just loaded");
    assert!(held.is_unverified());
    assert_eq!(summary(Ok(held)), good("v2", "HIT"), "what it loaded itself is believed as long");
    proxy.set(Chaos::Pass);
    if chaos.is_none() {
        server.cont();
    }
    within(Duration::from_secs(10), "it hears again", async || {
        other.cache.status().store.is_some_and(|store| store.hears_others == Some(true))
    })
    .await;
    let read = source.read(&other.prices, "BTCUSDT").await.expect("it is there, or loaded");
    assert_eq!((summary(Ok(read.clone())).expect("it reads").0, read.is_unverified()), ("v2".to_owned(), false));
}

#[tokio::test]
async fn a_black_hole_is_labelled_after_a_second_and_nothing_is_believed_for_longer_than_two() {
    watch_a_cut(Some(Chaos::BlackHole)).await;
}

#[tokio::test]
async fn a_stopped_redis_is_labelled_after_a_second_and_nothing_is_believed_for_longer_than_two() {
    watch_a_cut(None).await;
}

#[tokio::test]
async fn a_redis_that_takes_a_third_of_a_second_for_each_answer_does_not_count_as_silent() {
    let server = RedisServer::start();
    let proxy = ChaosProxy::start(format!("127.0.0.1:{}", server.port())).await;
    let process = Process::start(&server.url_through(proxy.port())).await;
    let source = Source::answering("v1");
    process.hold(&source, "BTCUSDT").await;
    proxy.set(Chaos::Delay(Duration::from_millis(150)));
    let until = Instant::now() + Duration::from_secs(4);
    while Instant::now() < until {
        let held = process.prices.peek("BTCUSDT").expect("it is in memory");
        assert!(!held.is_unverified());
        sleep(Duration::from_millis(10)).await;
    }
}
