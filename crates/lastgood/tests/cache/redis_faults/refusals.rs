//! A Redis that answers, and says no.

use super::*;

#[tokio::test]
async fn a_wrong_password_is_unavailable_without_showing_it_and_attached_once_it_is_right() {
    let server = RedisServer::start_with(&["--requirepass", "right"]);
    let store = open(&server.url().replace("right", "s3cret"));
    let wrong = async || store.get("key").await.expect_err("not let in").to_string();
    until(wrong, |text| text.contains("WRONGPASS") || text.contains("Password authentication failed")).await;
    let shown = format!("{store} {store:?} {}", store.get("key").await.expect_err("not let in"));
    assert!(!shown.contains("s3cret"), "{shown}");
    server.command(&["CONFIG", "SET", "requirepass", "s3cret"]);
    until_put(&store).await;
}

#[tokio::test]
async fn a_missing_password_is_unavailable() {
    let server = RedisServer::start_with(&["--requirepass", "right"]);
    let store = open(&format!("redis://127.0.0.1:{}", server.port()));
    until(async || store.get("key").await, |answer| format!("{answer:?}").contains("NOAUTH")).await;
    assert!(is_unavailable(&store.get("key").await));
    let right = open(&server.url());
    until_put(&right).await;
}

#[tokio::test]
async fn an_account_that_may_only_read_reads_on_and_its_writes_are_refused() {
    let server = RedisServer::start();
    server.command(&["SET", "key", "value"]);
    server.command(&["ACL", "SETUSER", "reader", "on", ">p@ss", "~*", "+@read", "+ping", "-info", "-dbsize"]);
    let store = guard(&format!("redis://reader:p%40ss@127.0.0.1:{}/0", server.port()));
    until_read(&*store).await;
    for _ in 0..50 {
        let put = store.put("key", "other".into(), HOUR).await;
        assert!(is_refused(&put), "{put:?}");
    }
    until_read(&*store).await;
    until(async || store.probe().await, |usage| *usage == Ok(Default::default())).await;
    server.command(&["ACL", "SETUSER", "reader", "-@read"]);
    until(async || store.get("key").await, is_unavailable).await;
}

#[tokio::test]
async fn a_loading_redis_is_unavailable_until_it_has_loaded() {
    let delays = ["--key-load-delay", "1000", "--loading-process-events-interval-bytes", "1024"];
    let mut server = RedisServer::start_with(&delays);
    server.command(&["SET", "key", "value"]);
    server.command(&["DEBUG", "POPULATE", "1500"]);
    assert!(server.command(&["SAVE"]).starts_with("+OK"));
    server.restart_without_waiting();
    let store = open(&server.url());
    let loading = async || store.get("key").await;
    until(loading, |answer| is_unavailable(answer) && format!("{answer:?}").contains("LOADING")).await;
    assert!(is_unavailable(&store.probe().await), "nor does a probe call it well");
    until_read(&store).await;
}

#[tokio::test]
async fn a_busy_redis_is_unavailable_until_its_script_ends() {
    let server = RedisServer::start_with(&["--busy-reply-threshold", "20"]);
    let store = open(&server.url());
    until_put(&store).await;
    let server = Arc::new(server);
    let script = {
        let server = Arc::clone(&server);
        std::thread::spawn(move || server.command(&["EVAL", "while true do end", "0"]))
    };
    until(async || store.get("key").await, |answer| format!("{answer:?}").contains("BUSY")).await;
    assert!(is_unavailable(&store.get("key").await));
    server.command(&["SCRIPT", "KILL"]);
    until_read(&store).await;
    script.join().expect("the script was killed");
}

#[tokio::test]
async fn a_read_only_replica_refuses_writes_serves_reads_and_leaves_the_breaker_closed() {
    let server = RedisServer::start();
    let store = guard(&server.url());
    until_put(&*store).await;
    server.command(&["REPLICAOF", "127.0.0.1", "1"]);
    for _ in 0..50 {
        let put = store.put("key", "other".into(), HOUR).await;
        assert!(is_refused(&put), "{put:?}");
    }
    until_read(&*store).await;
    assert!(is_refused(&store.remove(&["key".into()]).await));
    server.command(&["CONFIG", "SET", "replica-serve-stale-data", "no"]);
    until(async || store.get("key").await, is_unavailable).await;
    server.command(&["REPLICAOF", "NO", "ONE"]);
    until_put(&*store).await;
}

#[tokio::test]
async fn a_full_redis_refuses_writes_serves_reads_and_leaves_the_breaker_closed() {
    let server = RedisServer::start_with(&["--maxmemory-policy", "noeviction"]);
    let store = guard(&server.url());
    until_put(&*store).await;
    server.command(&["CONFIG", "SET", "maxmemory", "1"]);
    for _ in 0..50 {
        let put = store.put("other", "value".into(), HOUR).await;
        assert!(is_refused(&put), "{put:?}");
    }
    until_read(&*store).await;
    server.command(&["CONFIG", "SET", "maxmemory", "0"]);
    assert_eq!(store.put("other", "value".into(), HOUR).await, Ok(()));
}

#[tokio::test]
async fn a_redis_that_cannot_save_refuses_writes_and_serves_reads() {
    let server = RedisServer::start();
    let store = guard(&server.url());
    until_put(&*store).await;
    server.command(&["CONFIG", "SET", "save", "3600 1"]);
    std::fs::remove_dir_all(server.directory()).expect("the directory can be removed");
    server.command(&["BGSAVE"]);
    until(async || store.put("key", "value".into(), HOUR).await, is_refused).await;
    until_read(&*store).await;
    server.command(&["CONFIG", "SET", "stop-writes-on-bgsave-error", "no"]);
    until_put(&*store).await;
}

#[tokio::test]
async fn a_value_of_another_type_is_no_value_and_a_put_replaces_it() {
    let server = RedisServer::start();
    let store = guard(&server.url());
    until_answered(&*store).await;
    let failures = store.counters().failures;
    server.command(&["RPUSH", "list", "a", "b"]);
    for _ in 0..50 {
        until(async || store.get("list").await, |answer| *answer == Ok(None)).await;
    }
    assert_eq!(store.get_many(&["list".into(), "list".into()]).await, Ok(vec![None, None]));
    assert_eq!(store.counters().failures, failures);
    assert_eq!(store.put("list", "value".into(), HOUR).await, Ok(()));
    until(async || store.get("list").await, |answer| *answer == Ok(Some("value".into()))).await;
}
