//! Servers of a cluster that fail, or are not there.

use super::*;

#[tokio::test]
async fn a_killed_server_takes_only_its_own_keys_with_it_at_once_and_leaves_the_breaker_closed() {
    let mut cluster = started().await;
    let store = guard(&cluster.url());
    until_whole(&*store, &cluster).await;
    let (lost, kept) = (key_on(&cluster, 0), [key_on(&cluster, 1), key_on(&cluster, 2)]);
    cluster.servers()[0].kill();
    until(async || store.inner().get(&lost).await, is_partly_unavailable).await;
    until(async || store.state(), |state| *state == BreakerState::Closed).await;
    let start = Instant::now();
    for _ in 0..200 {
        assert!(is_partly_unavailable(&store.get(&lost).await));
    }
    assert!(start.elapsed() < SLACK, "two hundred calls took {:?}", start.elapsed());
    assert!(is_partly_unavailable(&store.put(&lost, "value".into(), HOUR).await));
    assert!(is_partly_unavailable(&store.get_many(&[kept[0].clone(), lost.clone()]).await), "no absence is made up");
    assert!(is_partly_unavailable(&store.remove(&[kept[0].clone(), lost.clone()]).await));
    assert_eq!(store.state(), BreakerState::Closed);
    assert_eq!(store.get_many(&[kept[1].clone()]).await, Ok(vec![Some("value".into())]));
    assert_eq!(store.probe().await.map(|usage| usage.keys), Ok(None), "their number is unknown");
    cluster.servers()[0].restart();
    until(async || store.put(&lost, "value".into(), HOUR).await, Result::is_ok).await;
}

#[tokio::test]
async fn a_stopped_server_costs_a_budget_for_about_a_second_and_then_only_its_own_keys() {
    let mut cluster = started().await;
    let store = guard(&cluster.url());
    until_whole(&*store, &cluster).await;
    let (lost, kept) = (key_on(&cluster, 0), key_on(&cluster, 1));
    cluster.servers()[0].stop();
    let asked = async || {
        let start = Instant::now();
        let answer = timeout(PATIENCE, store.get(&lost)).await.expect("no call hangs");
        assert!(start.elapsed() <= Guard::default().budget + SLACK, "{answer:?} took {:?}", start.elapsed());
        answer
    };
    let noticed = until(asked, is_partly_unavailable).await;
    println!("noticed after {noticed:?}");
    until(async || store.get(&kept).await, Result::is_ok).await;
    for _ in 0..50 {
        assert!(is_partly_unavailable(&store.get(&lost).await));
        assert!(store.get(&kept).await.is_ok());
    }
    assert_eq!(store.state(), BreakerState::Closed);
    cluster.servers()[0].cont();
    until(async || store.get(&lost).await, |answer| *answer == Ok(Some("value".into()))).await;
}

#[tokio::test]
async fn a_cluster_without_any_server_is_unavailable_and_opens_the_breaker() {
    let mut cluster = started().await;
    let store = guard(&cluster.url());
    until_whole(&*store, &cluster).await;
    cluster.servers().iter_mut().for_each(RedisServer::kill);
    until(async || store.inner().get("key").await, is_unavailable).await;
    assert_cheap(&store).await;
    cluster.servers().iter_mut().for_each(RedisServer::restart);
    until_put(&*store).await;
}

#[tokio::test]
async fn a_replica_takes_the_place_of_its_killed_primary() {
    let mut cluster = aside(RedisCluster::start_with_replicas).await;
    let store = guard(&cluster.url());
    until_whole(&*store, &cluster).await;
    let keys: Vec<String> = (0..PRIMARIES).map(|server| key_on(&cluster, server)).collect();
    cluster.servers()[0].kill();
    let took = until(async || store.put(&keys[0], "after".into(), HOUR).await, Result::is_ok).await;
    println!("written to the replica {took:?} after the kill");
    assert_eq!(store.get_many(&keys).await, Ok(vec![Some("after".into()), Some("value".into()), Some("value".into())]));
    // The server comes back as a replica, which redirects every call.
    cluster.servers()[0].restart();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(store.get(&keys[0]).await, Ok(Some("after".into())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_absent_at_boot_is_attached_when_it_starts() {
    let mut cluster = RedisCluster::prepare();
    let store = guard(&cluster.url());
    assert_cheap(&store).await;
    let cluster = aside(move || {
        cluster.start_all();
        cluster
    });
    let _cluster = cluster.await;
    until_put(&*store).await;
    until_read(&*store).await;
}
