//! Reads that are sent together: each gets its own answer, whatever becomes of the others.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use lastgood::store::{RedisStore, Store, StoreError};
use lastgood_testing::{Chaos, ChaosProxy, RedisServer};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::{HOUR, PATIENCE, SLACK, is_unavailable, open, until, until_put, until_read};

/// More than go in one command.
const READERS: usize = 500;

async fn filled(server: &RedisServer) -> Arc<RedisStore> {
    let store = Arc::new(open(&server.url()));
    until_put(&*store).await;
    for number in 0..READERS {
        store.put(&number.to_string(), Bytes::from(format!("value {number}")), HOUR).await.expect("stored");
    }
    store
}

type Answers = Vec<Result<Option<Bytes>, StoreError>>;

async fn read_all(store: &Arc<RedisStore>) -> Answers {
    join_all((0..READERS).map(|number| {
        let store = Arc::clone(store);
        async move { store.get(&number.to_string()).await }
    }))
    .await
}

#[tokio::test]
async fn many_readers_at_once_each_get_their_own_value_in_few_commands() {
    let server = RedisServer::start();
    let store = filled(&server).await;
    for number in (0..READERS).step_by(7) {
        store.remove(&[number.to_string()]).await.expect("removed");
    }
    server.command(&["DEL", "3"]);
    server.command(&["LPUSH", "3", "a list"]);
    let before = store.commands().expect("they are counted");
    for (number, answer) in read_all(&store).await.into_iter().enumerate() {
        let is_there = !number.is_multiple_of(7) && number != 3;
        assert_eq!(answer, Ok(is_there.then(|| Bytes::from(format!("value {number}")))), "{number}");
    }
    let commands = store.commands().expect("they are counted") - before;
    assert!(commands < READERS as u64 / 10, "{commands} commands");
}

#[tokio::test]
async fn long_values_are_asked_for_one_by_one() {
    let server = RedisServer::start();
    let store = filled(&server).await;
    let long = Bytes::from(vec![b'x'; 100_000]);
    for number in 0..READERS {
        store.put(&number.to_string(), long.clone(), HOUR).await.expect("stored");
    }
    read_all(&store).await;
    let before = store.commands().expect("they are counted");
    assert!(
        read_all(&store).await.iter().all(|answer| answer.as_ref().is_ok_and(|value| value.as_ref() == Some(&long)))
    );
    assert_eq!(store.commands().expect("they are counted") - before, READERS as u64);
}

#[tokio::test]
async fn readers_that_give_up_take_nothing_from_the_others() {
    let server = RedisServer::start();
    let store = filled(&server).await;
    for _ in 0..50 {
        let readers = (0..READERS).map(|number| {
            let store = Arc::clone(&store);
            // Some give up before they were asked for, some while they are.
            let patience = if number % 3 == 0 { Duration::from_micros(number as u64) } else { PATIENCE };
            async move { (number, timeout(patience, async { store.get(&number.to_string()).await }).await) }
        });
        for (number, answer) in join_all(readers).await {
            match answer {
                Ok(answer) => assert_eq!(answer, Ok(Some(Bytes::from(format!("value {number}"))))),
                Err(_) => assert_eq!(number % 3, 0, "{number} was not answered"),
            }
        }
    }
}

#[tokio::test]
async fn readers_that_are_never_polled_again_hold_up_the_others_no_longer_than_they_would_have_waited() {
    let server = RedisServer::start();
    let store = filled(&server).await;
    let soon = Instant::now() + Duration::from_millis(20);
    let mut begun: Vec<_> = ["1", "2"].map(|key| store.get_by(key, soon)).into();
    for read in &mut begun {
        assert!(poll_fn(|context| Poll::Ready(read.as_mut().poll(context))).await.is_pending());
    }
    sleep_until(soon + Duration::from_millis(1)).await;
    let answer = store.get_by("3", Instant::now() + PATIENCE).await;
    assert_eq!(answer, Ok(Some(Bytes::from("value 3"))));
    drop(begun);
    assert!(read_all(&store).await.iter().all(Result::is_ok));
}

#[tokio::test]
async fn readers_of_a_connection_that_breaks_get_an_error_and_those_of_the_next_wait_for_none_of_them() {
    let mut server = RedisServer::start();
    let store = filled(&server).await;
    server.stop();
    let readers = (0..READERS).map(|number| {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.get(&number.to_string()).await })
    });
    let readers: Vec<_> = readers.collect();
    sleep(Duration::from_millis(50)).await;
    server.kill();
    for reader in readers {
        let answer = timeout(PATIENCE, reader).await.expect("no call hangs").expect("it does not panic");
        assert!(is_unavailable(&answer), "{answer:?}");
    }
    server.restart();
    until_put(&*store).await;
    until_read(&*store).await;
    let answers = timeout(Duration::from_secs(1) + SLACK, read_all(&store)).await.expect("no reader waits");
    assert!(answers.iter().all(|answer| *answer == Ok(None)), "the server has forgotten them");
}

#[tokio::test]
async fn readers_of_a_silent_connection_hold_up_none_of_the_next() {
    let server = RedisServer::start();
    let proxy = ChaosProxy::start(format!("127.0.0.1:{}", server.port())).await;
    drop(filled(&server).await);
    let store = Arc::new(open(&server.url_through(proxy.port())));
    until_read(&*store).await;
    let before = proxy.accepted();
    proxy.set(Chaos::BlackHole);
    // These wait as long as they are let; one gives up, so that the connection is looked at.
    let silent: Vec<_> = (0..READERS)
        .map(|number| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.get(&number.to_string()).await })
        })
        .collect();
    assert!(timeout(Duration::from_millis(20), store.get("key")).await.is_err());
    until(async || proxy.accepted(), |accepted| *accepted > before).await;
    proxy.set(Chaos::Pass);
    until_read(&*store).await;
    let answers = timeout(Duration::from_secs(1) + SLACK, read_all(&store)).await.expect("no reader waits");
    assert!(answers.iter().all(|answer| answer.as_ref().is_ok_and(Option::is_some)), "{answers:?}");
    for reader in silent {
        timeout(PATIENCE, reader).await.expect("no call hangs").expect("it does not panic").ok();
    }
}

#[test]
fn a_runtime_that_ends_takes_those_that_wait_along() {
    let server = RedisServer::start();
    let runtime =
        || tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("it starts");
    for _ in 0..20 {
        let runtime = runtime();
        let store = runtime.block_on(filled(&server));
        server.stop();
        for number in 0..READERS {
            let store = Arc::clone(&store);
            runtime.spawn(async move { store.get(&number.to_string()).await });
        }
        runtime.block_on(async { sleep(Duration::from_millis(5)).await });
        runtime.shutdown_background();
        server.cont();
    }
}

#[tokio::test]
async fn each_reader_of_a_silent_redis_waits_as_long_as_it_said_and_who_waits_longer_is_answered() {
    let server = RedisServer::start();
    let store = filled(&server).await;
    server.stop();
    let start = Instant::now();
    // In no order; some wait past the silence, and among those of a batch is one of each kind.
    let patience = |number: usize| Duration::from_millis([300, 100, 20_000, 200, 50][number % 5]);
    let readers = (0..READERS).map(|number| {
        let store = Arc::clone(&store);
        async move {
            let answer = store.get_by(&number.to_string(), start + patience(number)).await;
            (number, answer, start.elapsed())
        }
    });
    let readers = tokio::spawn(join_all(readers.collect::<Vec<_>>()));
    sleep(Duration::from_millis(400)).await;
    server.cont();
    for (number, answer, took) in timeout(PATIENCE, readers).await.expect("no call hangs").expect("it does not panic") {
        if number % 5 == 2 {
            assert_eq!(answer, Ok(Some(Bytes::from(format!("value {number}")))));
        } else {
            assert_eq!(answer, Err(StoreError::Timeout), "{number}");
            assert!(took >= patience(number) && took < patience(number) + SLACK, "{number} waited {took:?}");
        }
    }
}

#[tokio::test]
async fn a_reader_that_comes_to_those_who_were_all_given_up_has_its_time_over_as_well() {
    let server = RedisServer::start();
    let store = filled(&server).await;
    server.stop();
    let all_by = async |milliseconds: u64| {
        let by = Instant::now() + Duration::from_millis(milliseconds);
        let readers = (0..READERS).map(|number| {
            let store = Arc::clone(&store);
            // The first two ask alone, and give up while the others wait on.
            let by = if number < 2 { by - Duration::from_millis(milliseconds / 2) } else { by };
            async move { store.get_by(&number.to_string(), by).await }
        });
        let answers = timeout(PATIENCE, join_all(readers.collect::<Vec<_>>())).await.expect("no call hangs");
        assert!(Instant::now() < by + SLACK, "{milliseconds} ms took {:?}", by.elapsed());
        assert!(answers.iter().all(|answer| *answer == Err(StoreError::Timeout)), "{answers:?}");
    };
    // The first leave commands under way that no one waits for; the next come when those have no one to look after.
    for milliseconds in [40, 30, 60, 20] {
        all_by(milliseconds).await;
    }
    server.cont();
    until_read_again(&store).await;
}

/// Until the answers come that others waited for.
async fn until_read_again(store: &Arc<RedisStore>) {
    until(async || read_all(store).await, |answers| answers.iter().all(|answer| matches!(answer, Ok(Some(_))))).await;
}

#[tokio::test]
async fn readers_that_are_gone_before_it_is_their_turn_are_not_asked_for() {
    let server = RedisServer::start();
    let store = filled(&server).await;
    let found = || {
        let stats = server.command(&["INFO", "stats"]);
        let hits = stats.lines().find_map(|line| line.trim().strip_prefix("keyspace_hits:")).expect("it counts");
        hits.parse::<usize>().expect("a number")
    };
    let before = found();
    server.stop();
    assert!(timeout(Duration::from_millis(100), read_all(&store)).await.is_err(), "dropped");
    let by = Instant::now() + Duration::from_millis(100);
    for answer in join_all((0..READERS).map(|_| store.get_by("1", by))).await {
        assert_eq!(answer, Err(StoreError::Timeout));
    }
    server.cont();
    assert!(store.get("2").await.expect("it answers again").is_some());
    // Of the second ones two commands are sent, for whom the first left room.
    let asked = found() - before;
    assert!(asked <= 140, "{asked} keys were asked for");
}
