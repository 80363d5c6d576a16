//! Gateways on one Redis load each key one at a time, and one that is killed, stopped or cut off over a load is replaced.

use std::time::Duration;

use lastgood_testing::{Chaos, ChaosProxy, RedisServer};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::process::Process;
use crate::support::{Exchange, Running, eventually, get};

const BOOK: &str = "/api/v3/ticker/24hr?symbol=BTCUSDT";
const CANDLES: &str = "/api/v3/klines?symbol=BTCUSDT&interval=1h&limit=300";

async fn hears(url: &str) {
    eventually("it hears the others", async || get(format!("{url}/health")).await.json()["cache"]["log"] == "heard")
        .await;
}

/// How often the exchange was asked for a path.
fn asked(exchange: &Exchange, path: &str) -> usize {
    exchange.sim.counters().log.iter().filter(|request| request.path == path).count()
}

#[tokio::test]
async fn a_thousand_cold_requests_at_two_gateways_are_one_call_of_the_exchange() {
    let (redis, exchange) = (RedisServer::start(), Exchange::start().await);
    let (url, mut gateways) = (redis.url(), Vec::new());
    for _ in 0..2 {
        let flags = [("store", url.as_str()), ("store_budget", "1s"), ("regions.ticker_24hr.fresh_for", "10m")];
        let gateway = Running::start(&exchange.url(), &flags).await;
        hears(&gateway.url("")).await;
        gateways.push(gateway);
    }
    for (target, path) in [(BOOK, "/api/v3/ticker/24hr"), (CANDLES, "/api/v3/klines")] {
        exchange.fault(json!({"kind": "latency", "ms": 400, "path_prefix": path}));
        let mut readers = JoinSet::new();
        for number in 0..1_000 {
            let url = gateways[number % 2].url(target);
            readers.spawn(async move {
                let got = get(url).await;
                (got.status, got.text().to_owned())
            });
        }
        let answers = readers.join_all().await;
        assert_eq!(asked(&exchange, path), 1, "{path}");
        assert!(answers.iter().all(|answer| answer.0 == 200 && *answer == answers[0]), "{path}");
    }
}

/// What becomes of a gateway over a load.
enum Out {
    Killed,
    Stopped,
    /// Nothing passes between it and Redis, and what it sends meanwhile arrives later.
    CutOff,
}

/// One gateway loads and is taken out of it; another answers in time, and what the first brings is written nowhere.
async fn is_replaced(out: Out) {
    let (redis, exchange) = (RedisServer::start(), Exchange::start().await);
    let (data, more) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let between = ChaosProxy::start(format!("127.0.0.1:{}", redis.port())).await;
    let (one, other) = (
        Process::start(data.path(), &format!("redis://{}", between.address()), &exchange.url()),
        Process::start(more.path(), &redis.url(), &exchange.url()),
    );
    for gateway in [&one, &other] {
        gateway.is_attached().await;
        hears(&gateway.url).await;
    }
    exchange.fault(json!({"kind": "latency", "ms": 1_500, "times": 1, "path_prefix": "/api/v3/ticker/24hr"}));
    let lost = {
        let url = format!("{}{BOOK}", one.url);
        tokio::spawn(async move { reqwest::get(url).await.map(|answer| answer.status().as_u16()) })
    };
    eventually("the first asks", async || asked(&exchange, "/api/v3/ticker/24hr") == 1).await;
    let mut first = Some(one);
    match out {
        Out::Killed => first.take().expect("it runs").kill(),
        Out::Stopped => first.as_ref().expect("it runs").signal("STOP"),
        Out::CutOff => between.set(Chaos::BlackHole),
    }
    let began = Instant::now();
    let mut readers = JoinSet::new();
    for _ in 0..50 {
        let url = format!("{}{BOOK}", other.url);
        readers.spawn(async move { get(url).await.status });
    }
    assert!(readers.join_all().await.into_iter().all(|status| status == 200));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(asked(&exchange, "/api/v3/ticker/24hr"), 2, "one other, and once");
    let value = || {
        redis.command(&["EVAL", "return redis.sha1hex(redis.call('GET', redis.call('KEYS', '*ticker_24hr*')[1]))", "0"])
    };
    eventually("it is stored", async || value().len() > 40).await;
    let before = value();
    if let Some(first) = first {
        first.signal("CONT");
        assert_eq!(lost.await.expect("no panic").expect("it answers"), 200, "whom it kept waiting it answers");
        between.set(Chaos::Pass);
        first.is_attached().await;
        hears(&first.url).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(value(), before, "what it brought late is not written");
    }
}

#[tokio::test]
async fn a_gateway_that_is_killed_over_a_load_is_replaced_by_one_other() {
    is_replaced(Out::Killed).await;
}

#[tokio::test]
async fn a_gateway_that_is_stopped_over_a_load_is_replaced_and_writes_nothing_when_it_goes_on() {
    is_replaced(Out::Stopped).await;
}

#[tokio::test]
async fn a_gateway_that_is_cut_off_over_a_load_is_replaced_and_writes_nothing_when_it_is_back() {
    is_replaced(Out::CutOff).await;
}
