//! Outages of a real Redis with many processes, and changes that it never takes.

use std::sync::Arc;
use std::time::Duration;

use lastgood::store::{RedisOptions, RedisStore};
use lastgood::{Cache, Clock, Region};
use lastgood_testing::{Chaos, ChaosProxy, RedisServer, eventually};
use tokio::time::Instant;

use super::waiting;
use crate::support::{SECOND, a_minute, loaded, over, region};

const PROCESSES: usize = 50;
const CHANGES: usize = 40;
/// No more than a quarter of all connect, or are written, within this time.
const WINDOW: Duration = Duration::from_millis(50);

fn process(url: &str) -> (Cache, Region) {
    let store = RedisStore::connect(RedisOptions::parse(url).expect("a good URL"));
    let cache = over(Arc::new(store), &Clock::system());
    let prices = region(&cache, a_minute());
    (cache, prices)
}

fn number(server: &RedisServer, words: &[&str]) -> usize {
    let reply = server.command(words);
    reply.trim().trim_start_matches(':').parse().unwrap_or_else(|_| panic!("{words:?}: {reply:?}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_processes_come_back_to_a_redis_spread_out_and_lose_nothing() {
    let server = RedisServer::start();
    let proxy = ChaosProxy::start(format!("127.0.0.1:{}", server.port())).await;
    let processes: Vec<(Cache, Region)> = (0..PROCESSES).map(|_| process(&server.url_through(proxy.port()))).collect();
    for (cache, _) in &processes {
        eventually("attached", async || cache.probe_store().await.is_some_and(|probe| probe.is_ok())).await;
    }
    proxy.set(Chaos::Refuse);
    for (at, (cache, prices)) in processes.iter().enumerate() {
        for change in 0..CHANGES {
            prices.put(&format!("{at}-{change}"), loaded("v1")).await;
        }
        let left = cache.confirmed(SECOND).await.expect("Redis is away");
        assert_eq!((left.waiting, left.is_on_disk), (CHANGES, false));
    }
    assert_eq!(number(&server, &["DBSIZE"]), 0);
    // Long enough for each to have failed a few times.
    tokio::time::sleep(SECOND).await;
    let began = Instant::now();
    proxy.set(Chaos::Pass);
    // How many values there were, and when.
    let mut seen = Vec::new();
    while processes.iter().any(|(cache, _)| waiting(cache) > 0) {
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", seen.last());
        seen.push((Instant::now(), number(&server, &["DBSIZE"])));
        tokio::time::sleep(WINDOW).await;
    }
    let values = server.command(&["EVAL", "return #redis.call('KEYS', 'lastgood:prices:*')", "0"]);
    assert_eq!(values.trim().trim_start_matches(':'), (PROCESSES * CHANGES).to_string(), "nothing is lost");
    // Each has a connection for its calls, one for the log and one for what others do to keys.
    let connected = proxy.accepted_after(began);
    let after: Vec<Duration> = connected.iter().map(|at| *at - began).collect();
    assert!(connected.len() >= PROCESSES * 3, "{after:?}");
    let most = connected.iter().map(|from| connected.iter().filter(|at| (*from..*from + WINDOW).contains(at)).count());
    let (most, all) = (most.max().unwrap_or_default(), connected.len());
    assert!(most <= all / 4, "{most} of {all} connections within {WINDOW:?}: {after:?}");
    let (early, late) = (after[all / 10], after[all - 1 - all / 10]);
    assert!(late - early >= Duration::from_millis(350), "from {early:?} to {late:?}: {after:?}");
    assert!(after[PROCESSES * 3 - 1] < Duration::from_millis(1_500), "{after:?}");
    // On a busy machine the samples are further apart, and more is written between them.
    for pair in seen.windows(2) {
        let (windows, written) =
            ((pair[1].0 - pair[0].0).div_duration_f64(WINDOW), pair[1].1.saturating_sub(pair[0].1));
        let most = windows.max(1.0) * (PROCESSES * CHANGES / 4) as f64;
        assert!((written as f64) <= most, "{written} writes within {windows:.1} windows of {WINDOW:?}: {seen:?}");
    }
}

#[tokio::test]
async fn a_change_that_is_never_taken_keeps_no_other_waiting_and_is_not_tried_too_often() {
    let mut server = RedisServer::start();
    let (cache, prices) = process(&server.url());
    eventually("attached", async || cache.probe_store().await.is_some_and(|probe| probe.is_ok())).await;
    server.kill();
    for name in ["first", "odd", "last"].into_iter().map(str::to_owned).chain((0..300).map(|n| format!("other{n}"))) {
        prices.put(&name, loaded("v1")).await;
    }
    assert_eq!(cache.confirmed(SECOND).await.map(|left| left.waiting), Some(303));
    server.restart();
    // Every key but the odd one.
    let allowed =
        ["~lastgood:prices:v1:first", "~lastgood:prices:v1:last", "~lastgood:prices:v1:other*", "~lastgood:@*"];
    let words = [&["ACL", "SETUSER", "default", "resetkeys"][..], &allowed].concat();
    assert!(server.command(&words).starts_with("+OK"));
    eventually("all but one are written", async || waiting(&cache) == 1).await;
    assert!(prices.confirmed(&["odd"], SECOND).await.is_some());
    assert_eq!(prices.confirmed(&["first", "last", "other299"], SECOND).await, None);
    // What comes now is taken at once.
    prices.put("other300", loaded("v1")).await;
    assert_eq!(prices.confirmed(&["other300"], SECOND).await, None);
    let calls = |server: &RedisServer| {
        let stats = server.command(&["INFO", "commandstats"]);
        let line = stats.lines().find(|line| line.starts_with("cmdstat_get:")).unwrap_or_default().to_owned();
        line.split_once("rejected_calls=").map_or(0, |(_, rest)| {
            rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse::<u64>().unwrap_or(0)
        })
    };
    let before = calls(&server);
    tokio::time::sleep(3 * SECOND).await;
    assert!(calls(&server) - before <= 12, "{}", calls(&server) - before);
    assert!(server.command(&["ACL", "SETUSER", "default", "~*"]).starts_with("+OK"));
    eventually("that one, too", async || waiting(&cache) == 0).await;
}
