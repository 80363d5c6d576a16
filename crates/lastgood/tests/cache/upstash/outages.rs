//! Connections that fail, hang, or are given up.

use super::*;

#[tokio::test]
async fn a_refused_reset_or_cut_connection_is_unavailable_at_once_and_mends_itself() {
    let server = RedisServer::start();
    let front = UpstashFront::start(&server, TOKEN).await;
    let proxy = ChaosProxy::start(front.address().to_string()).await;
    let store = through(proxy.port());
    for chaos in [Chaos::Refuse, Chaos::Reset, Chaos::Truncate(40)] {
        assert_eq!(store.put("key", "value".into(), HOUR).await, Ok(()));
        proxy.set(chaos);
        for answer in every_answer(&store).await {
            assert!(answer.contains("Unavailable"), "{chaos:?}: {answer}");
        }
        let start = Instant::now();
        assert!(is_unavailable(&store.get("key").await));
        assert!(start.elapsed() < SLACK, "{chaos:?} took {:?}", start.elapsed());
        proxy.set(Chaos::Pass);
        until_answered(&store).await;
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_unavailable_and_no_shorter_value() {
    let server = RedisServer::start();
    let front = UpstashFront::start(&server, TOKEN).await;
    let proxy = ChaosProxy::start(front.address().to_string()).await;
    let store = through(proxy.port());
    assert_eq!(store.put("key", Bytes::from(vec![7; 100_000]), HOUR).await, Ok(()));
    proxy.set(Chaos::Truncate(1000));
    let cut = store.get("key").await.expect_err("cut").to_string();
    assert!(cut.contains("the answer broke off"), "{cut}");
}

#[tokio::test]
async fn a_server_that_never_answers_costs_the_budget_and_then_nothing() {
    let server = RedisServer::start();
    let front = UpstashFront::start(&server, TOKEN).await;
    let proxy = ChaosProxy::start(front.address().to_string()).await;
    let guarded = GuardedStore::new(Arc::new(through(proxy.port())), Guard::default());
    until_answered(&*guarded).await;
    proxy.set(Chaos::BlackHole);
    for _ in 0..10 {
        let start = Instant::now();
        let answer = timeout(PATIENCE, guarded.get("key")).await.expect("no call hangs");
        assert!(matches!(answer, Err(StoreError::Timeout | StoreError::BreakerOpen)), "{answer:?}");
        assert!(start.elapsed() <= Guard::default().budget + SLACK, "{:?}", start.elapsed());
    }
    assert_ne!(guarded.state(), BreakerState::Closed);
    proxy.set(Chaos::Pass);
    let back = until_answered(&*guarded).await;
    println!("in use again {back:?} after the black hole");
    assert!(back < Duration::from_secs(3), "{back:?}");
}

#[tokio::test]
async fn a_call_without_a_deadline_of_its_own_ends_after_five_seconds() {
    let server = RedisServer::start();
    let front = UpstashFront::start(&server, TOKEN).await;
    let proxy = ChaosProxy::start(front.address().to_string()).await;
    let store = through(proxy.port());
    proxy.set(Chaos::BlackHole);
    let start = Instant::now();
    let key = keys(&["key"]);
    let (get, put, list, probe, remove) = tokio::join!(
        store.get("key"),
        store.put("key", "value".into(), HOUR),
        store.list("", None, 10),
        store.probe(),
        store.remove(&key)
    );
    assert_eq!((get, put), (Err(StoreError::Timeout), Err(StoreError::Timeout)));
    assert_eq!((list, probe, remove), (Err(StoreError::Timeout), Err(StoreError::Timeout), Err(StoreError::Timeout)));
    assert!(start.elapsed() < Duration::from_secs(5) + SLACK, "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_connection_that_takes_longer_to_make_than_the_budget_is_there_for_the_next_caller() {
    let server = RedisServer::start();
    let front = UpstashFront::start(&server, TOKEN).await;
    let line = Line::start(front.address(), |_| Duration::from_millis(150)).await;
    let store = through(line.port());
    let budget = Duration::from_millis(50);
    assert!(timeout(budget, store.get("key")).await.is_err(), "the first is too late");
    sleep(Duration::from_millis(500)).await;
    assert_eq!(timeout(budget, store.get("key")).await, Ok(Ok(None)), "the second finds what the first made");
    assert_eq!(line.accepted(), 1);
}

#[tokio::test]
async fn a_write_that_its_caller_gave_up_never_takes_effect_after_the_next_of_its_key() {
    let server = RedisServer::start();
    let front = UpstashFront::start(&server, TOKEN).await;
    // The first request is on its way for long; a second would overtake it.
    let slow_first = |number| Duration::from_millis(if number == 0 { 1500 } else { 0 });
    let line = Line::start(front.address(), slow_first).await;
    let store = through(line.port());
    let given_up = timeout(Duration::from_millis(100), store.put("key", "value".into(), HOUR)).await;
    assert!(given_up.is_err(), "{given_up:?}");
    let others = ["a", "b", "c", "d"].map(|key| timeout(SLACK * 4, store.put(key, "value".into(), HOUR)));
    assert!(join_all(others).await.contains(&Ok(Ok(()))), "writes to other keys pass");
    assert_eq!(store.remove(&keys(&["key"])).await, Ok(1), "what was put before is removed");
    sleep(Duration::from_secs(1)).await;
    assert_eq!(store.get("key").await, Ok(None), "and does not come back");
}

#[tokio::test]
async fn connections_that_fell_silent_are_all_replaced_within_seconds() {
    let server = RedisServer::start();
    let front = UpstashFront::start(&server, TOKEN).await;
    let line = Line::start(front.address(), |_| Duration::from_millis(20)).await;
    let guarded = GuardedStore::new(Arc::new(through(line.port())), Guard { budget: SLACK, ..Guard::default() });
    join_all((0..48).map(|_| guarded.get("key"))).await;
    assert!(line.accepted() > 40, "{} connections", line.accepted());
    line.silence();
    assert!(guarded.get("key").await.is_err());
    let back = until_answered(&*guarded).await;
    println!("in use again {back:?} after the connections fell silent");
    assert!(back < Duration::from_secs(4), "{back:?}");
}
