//! Stores that fail during a migration.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_store_that_blinks_stops_nothing_and_what_was_missed_is_looked_for_again() {
    for side in [Side::Source, Side::Target] {
        let pair = Pair::with(2_000).await;
        let faulty = if side == Side::Source { &pair.from } else { &pair.to };
        // An unpaced copy is over before a store in memory can blink.
        let migration = Migration { rate: NonZeroU32::new(500), ..pair.migration() };
        let (sender, mut watched) = watch::channel(Progress::default());
        let blink = async {
            watched.wait_for(|now| now.counts.read > 100).await.expect("it runs");
            faulty.set(Fault::Fail(StoreError::Unavailable("connection reset".to_owned())));
            let shown = watched.wait_for(|now| now.trouble.is_some()).await.expect("it runs").trouble.clone();
            let expected = format!("the {side} does not answer: store unavailable: connection reset");
            assert_eq!(shown.as_deref(), Some(expected.as_str()));
            tokio::time::sleep(20 * SECOND).await;
            faulty.heal();
        };
        let (ended, ()) = tokio::join!(migration.run(&sender), blink);
        ended.expect("20 seconds are bridged");
        let progress = sender.borrow().clone();
        assert_eq!((progress.counts.read, progress.counts.copied), (2_000, 2_000), "{progress:?}");
        assert_eq!((progress.trouble, progress.counts.failed), (None, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_stays_away_ends_it_and_says_which() {
    let pair = Pair::with(10).await;
    pair.to.set(Fault::Fail(StoreError::Unavailable("connection refused".to_owned())));
    let (ended, _) = migrated(&pair.migration()).await;
    assert_eq!(ended.expect_err("it is away").to_string(), "the target: store unavailable: connection refused");
    pair.to.heal();
    assert_eq!(counts(&pair.migration()).await.copied, 10);
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_answer_was_lost_counts_once() {
    let pair = Pair::with(50).await;
    pair.to.set_writes(Fault::FailAfter(StoreError::Timeout));
    let migration = pair.migration();
    let heal = async {
        tokio::time::sleep(SECOND).await;
        pair.to.heal();
    };
    let (done, ()) = tokio::join!(counts(&migration), heal);
    assert_eq!((done.read, done.copied, done.present), (50, 50, 0), "{done:?}");
}

#[tokio::test]
async fn a_target_that_refuses_writes_fails_each_entry_and_soon_all_of_it() {
    let clock = Clock::system();
    let source = MemoryStore::new(clock.clone(), 64 << 20);
    let cache = over(Arc::new(source.clone()), &clock);
    let prices = region(&cache, kept());
    let server = RedisServer::start_with(&["--min-replicas-to-write", "1"]);
    let target = redis(&server.url()).await;
    for number in 0..5 {
        prices.put(&format!("key-{number}"), loaded("v")).await;
    }
    assert!(cache.sync(MINUTE).await);
    let (ended, progress) = migrated(&between(Arc::new(source.clone()), Arc::clone(&target), &clock)).await;
    ended.expect("the few are tried one by one");
    assert_eq!((progress.counts.failed, progress.counts.copied), (5, 0), "{progress:?}");
    assert!(progress.failures[0].contains("lastgood:prices:v1:key-0: NOREPLICAS"), "{:?}", progress.failures);

    for number in 5..5_000 {
        prices.put(&format!("key-{number}"), loaded("v")).await;
    }
    assert!(cache.sync(MINUTE).await);
    let (ended, progress) = migrated(&between(Arc::new(source.clone()), Arc::clone(&target), &clock)).await;
    let stopped = ended.expect_err("it takes nothing");
    assert_eq!(stopped.side, Side::Target);
    assert!(progress.counts.read < 200 && progress.failures.len() == 8, "{progress:?}");
    server.command(&["CONFIG", "SET", "min-replicas-to-write", "0"]);
    assert_eq!(counts(&between(Arc::new(source), target, &clock)).await.copied, 5_000);
}

#[tokio::test(start_paused = true)]
async fn what_the_target_did_not_keep_is_found_when_it_is_read_back() {
    let pair = Pair::with(200).await;
    let small = MemoryStore::new(pair.clock.clone(), 4 << 10);
    let (ended, progress) = migrated(&between(Arc::clone(&pair.from) as _, Arc::new(small), &pair.clock)).await;
    ended.expect("it answers");
    let counts = &progress.counts;
    assert_eq!(counts.copied + counts.failed, 200, "{counts:?}");
    assert!(counts.failed > 0 && progress.failures[0].contains("did not keep it"), "{progress:?}");
}
