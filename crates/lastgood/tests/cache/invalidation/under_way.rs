//! Invalidations that meet a read of the store, or each other, under way.

use super::*;

struct Late {
    late: Arc<LateStore>,
    faulty: Arc<FaultyStore>,
    memory: MemoryStore,
    clock: Clock,
    cache: Cache,
}

/// A cache whose store holds `v1` for BTCUSDT, has just been asked for it, and answers late.
async fn with_an_answer_under_way() -> Late {
    let clock = Clock::paused_with_tokio();
    let memory = MemoryStore::new(clock.clone(), 1 << 20);
    let before = over(Arc::new(memory.clone()), &clock);
    let tagged = Loaded { tags: vec!["bitcoin".to_owned()], ..loaded("v1") };
    region(&before, a_minute()).put("BTCUSDT", tagged).await;
    assert!(before.sync(MINUTE).await);
    advance(SECOND).await;
    let faulty = FaultyStore::new(Arc::new(memory.clone()));
    let late = LateStore::new(Arc::clone(&faulty) as _);
    late.hold_answers();
    let cache = patiently_over(Arc::clone(&late) as _, &clock);
    Late { late, faulty, memory, clock, cache }
}

#[tokio::test(start_paused = true)]
async fn what_the_store_said_before_an_invalidation_is_not_kept_after_it() {
    for invalidation in Invalidation::all() {
        let setup = with_an_answer_under_way().await;
        let prices = region(&setup.cache, a_minute());
        let source = Source::failing(Reason::Unreachable);
        let reader = {
            let (source, prices) = (source.clone(), prices.clone());
            tokio::spawn(async move { source.read(&prices, "BTCUSDT").await })
        };
        settle().await;
        assert_eq!(setup.faulty.reads(), 1);
        invalidation.run(&setup.cache, &prices).await;
        setup.late.let_answers_go();
        let _ = reader.await;
        if matches!(invalidation, Invalidation::Expire | Invalidation::Bulk(_, Mode::Expire)) {
            // It is the last good answer, and no more.
            let kept = summary(source.read(&prices, "BTCUSDT").await);
            let nothing = Err(Reason::Unreachable);
            assert!(kept == good("v1", "LAST-GOOD") || kept == nothing, "{invalidation:?}: {kept:?}");
            continue;
        }
        let expected = if invalidation == Invalidation::Put { Some("put") } else { None };
        assert_eq!(peeked(&prices, "BTCUSDT").as_deref(), expected, "{invalidation:?}");
        assert_eq!(body(source.read(&prices, "BTCUSDT").await).as_deref(), expected, "{invalidation:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_begun_after_a_removal_does_not_believe_what_the_store_said_before_it_was_done() {
    let setup = with_an_answer_under_way().await;
    let prices = region(&setup.cache, a_minute());
    setup.faulty.set_writes(Fault::Hold);
    prices.remove("BTCUSDT").await;
    settle().await;
    let batch = {
        let prices = prices.clone();
        let load =
            |names: Vec<String>| async move { Ok(names.into_iter().map(|name| (name, Ok(loaded("v2")))).collect()) };
        tokio::spawn(async move { prices.get_or_load_many(&["BTCUSDT"], load).await })
    };
    settle().await;
    setup.faulty.heal();
    assert!(setup.cache.sync(MINUTE).await, "the removal is done");
    setup.late.let_answers_go();
    let answers = batch.await.expect("the batch does not panic");
    assert_eq!(answers.into_iter().map(summary).collect::<Vec<_>>(), [good("v2", "MISS")]);
}

#[tokio::test(start_paused = true)]
async fn an_expiry_that_a_later_invalidation_overtook_undoes_nothing() {
    for overtaking in [Invalidation::Remove, Invalidation::Clear, Invalidation::Put] {
        let setup = with_an_answer_under_way().await;
        let prices = region(&setup.cache, a_minute());
        let expiry = {
            let prices = prices.clone();
            tokio::spawn(async move { prices.expire("BTCUSDT").await })
        };
        settle().await;
        assert_eq!(setup.faulty.reads(), 1, "the expiry asks the store what it has");
        overtaking.run(&setup.cache, &prices).await;
        assert!(setup.cache.sync(MINUTE).await);
        setup.late.let_answers_go();
        expiry.await.expect("the expiry does not panic");
        assert!(setup.cache.sync(MINUTE).await);
        let source = Source::failing(Reason::Unreachable);
        let again = region(&over(Arc::new(setup.memory.clone()), &setup.clock), a_minute());
        for region in [&prices, &again] {
            let expected = if overtaking == Invalidation::Put { Some("put") } else { None };
            assert_eq!(body(source.read(region, "BTCUSDT").await).as_deref(), expected, "{overtaking:?}");
        }
        assert_eq!(setup.cache.status().loads, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn an_expiry_that_a_reader_overtook_keeps_the_last_good_answer() {
    let setup = with_an_answer_under_way().await;
    let prices = region(&setup.cache, a_minute());
    let expiry = {
        let prices = prices.clone();
        tokio::spawn(async move { prices.expire("BTCUSDT").await })
    };
    settle().await;
    let source = Source::answering("v2");
    source.pause();
    let reader = {
        let (source, prices) = (source.clone(), prices.clone());
        tokio::spawn(async move { source.read(&prices, "BTCUSDT").await })
    };
    settle().await;
    setup.late.let_answers_go();
    settle().await;
    assert_eq!(expiry.await.expect("the expiry does not panic"), WasThere::Yes);
    source.resume();
    // What the store had, or what the source answered, as the two answers of the store came.
    let given = body(reader.await.expect("the reader does not panic")).expect("there is an answer");
    source.fail(Reason::Unreachable);
    let after = summary(source.read(&prices, "BTCUSDT").await);
    assert_eq!(after, good(&given, "LAST-GOOD"), "the reader was given that, and nothing older stands in for it");
}

#[tokio::test(start_paused = true)]
async fn more_removals_than_can_wait_make_the_whole_store_suspect() {
    let stored = Stored::new();
    let before = region(&stored.restarted(), a_minute());
    before.put("BTCUSDT", loaded("v1")).await;
    settle().await;
    while stored.keys().await.is_empty() {
        settle().await;
    }
    advance(SECOND).await;
    stored.faulty.set_writes(Fault::Hold);
    let prices = region(&stored.cache, a_minute());
    for number in 0..101_000 {
        prices.remove(&number.to_string()).await;
    }
    prices.remove("BTCUSDT").await;
    let status = stored.cache.status().store.expect("there is a store");
    assert!(status.unconfirmed_removals <= 100_004 && status.dropped_writes >= 900, "{status:?}");
    let source = Source::failing(Reason::Unreachable);
    assert_eq!(summary(source.read(&prices, "BTCUSDT").await), Err(Reason::Unreachable));
    assert_eq!(stored.memory.get("lastgood:prices:v1:BTCUSDT").await.map(|value| value.is_some()), Ok(true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn readers_and_invalidations_on_many_threads_never_see_time_run_backwards() {
    use std::sync::atomic::{AtomicU64, Ordering};
    let clock = Clock::system();
    let cache = over(Arc::new(MemoryStore::new(clock.clone(), 1 << 24)), &clock);
    let prices = region(&cache, a_minute());
    let truth = Arc::new(AtomicU64::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..2 {
        let (prices, truth) = (prices.clone(), Arc::clone(&truth));
        tasks.spawn(async move {
            for round in 0..2_000 {
                truth.fetch_add(1, Ordering::SeqCst);
                match (round + writer) % 4 {
                    0 => _ = prices.expire("BTCUSDT").await,
                    1 => _ = prices.clear().await,
                    _ => _ = prices.remove("BTCUSDT").await,
                }
                tokio::task::yield_now().await;
            }
        });
    }
    // An invalidation before a read begins is a floor under its answer.
    let floor = Arc::new(AtomicU64::new(0));
    for _ in 0..8 {
        let (prices, truth, floor) = (prices.clone(), Arc::clone(&truth), Arc::clone(&floor));
        tasks.spawn(async move {
            for _ in 0..2_000 {
                let known = floor.load(Ordering::SeqCst);
                let truth = Arc::clone(&truth);
                let load = || async move {
                    let seen = truth.load(Ordering::SeqCst);
                    tokio::task::yield_now().await;
                    Ok(Loaded::from(bytes::Bytes::from(seen.to_string())))
                };
                let answer = prices.get_or_load("BTCUSDT", load).await.expect("the source always answers");
                let seen: u64 = text(&answer).parse().expect("it is a number");
                assert!(seen >= known, "{seen} after an invalidation at {known}");
                tokio::task::yield_now().await;
            }
        });
    }
    tasks.spawn(async move {
        for _ in 0..2_000 {
            let now = truth.fetch_add(1, Ordering::SeqCst) + 1;
            prices.remove("BTCUSDT").await;
            floor.fetch_max(now, Ordering::SeqCst);
            tokio::task::yield_now().await;
        }
    });
    tasks.join_all().await;
    assert_eq!(cache.status().loads, 0);
}
