//! The exchange's limits, its bans and its hosts, as clients and the exchange see them.

use std::time::Duration;

use lastgood_sim::{SimConfig, Venue};
use lastgood_testing::RedisServer;
use tokio::time::Instant;

use crate::support::{Exchange, Got, Running, client, eventually, get, read};

const KLINES: &str = "/api/v3/klines?symbol=BTCUSDT&interval=1h&limit=5";

fn klines(symbol: &str) -> String {
    format!("/api/v3/klines?symbol={symbol}&interval=1h&limit=5")
}

async fn signed(gateway: &Running) -> Got {
    get(gateway.url("/api/v3/account?timestamp=1&signature=abc")).await
}

/// Readers who need thirty times what the exchange allows, for some seconds in which the exchange's minute turns at
/// another time than the gateway's. Ten whole minutes of it, by a paused clock, are in the budget's own tests.
#[tokio::test]
async fn under_scarcity_there_is_no_ban_every_reader_is_answered_and_hot_keys_are_freshest() {
    const HOT: usize = 3;
    let config = SimConfig { seed: 7, symbols: 100, weight_limit_spot: 600, ..SimConfig::default() };
    let exchange = Exchange::start_with(config).await;
    let quick = [("regions.avg_price.fresh_for", "200ms")];
    let gateway = Running::start(&exchange.url(), &quick).await;
    assert_eq!(get(gateway.url("/api/v3/exchangeInfo")).await.status, 200);
    let symbols: Vec<String> = exchange.sim.symbols(Venue::Spot).into_iter().take(30).collect();

    let started = Instant::now();
    let (mut ages, mut orders, mut turned) = ([Vec::new(), Vec::new()], Vec::new(), false);
    for round in 0.. {
        let into = started.elapsed();
        if into > Duration::from_secs(14) {
            break;
        }
        for (number, symbol) in symbols.iter().enumerate() {
            // The first few are asked for in each round, the others in one of eight.
            if round > 0 && number >= HOT && !(round + number).is_multiple_of(8) {
                continue;
            }
            let got = get(gateway.url(&format!("/api/v3/avgPrice?symbol={symbol}"))).await;
            assert_eq!(got.status, 200, "{}", got.text());
            if into > Duration::from_secs(7) {
                ages[usize::from(number >= HOT)].push(got.header("age").parse::<u64>().unwrap());
            }
        }
        if round % 20 == 0 {
            let order = client().post(gateway.url("/api/v3/order?timestamp=1&signature=abc")).send().await.unwrap();
            orders.push(order.status().as_u16());
        }
        if !turned && into > Duration::from_secs(5) {
            turned = true;
            exchange.sim.advance(60_000);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let statuses = exchange.sim.counters().statuses;
    assert_eq!((statuses.get(&418), statuses.get(&429)), (None, None), "{statuses:?}");
    assert!(orders.iter().all(|status| !matches!(status, 418 | 429)), "{orders:?}");
    let mean = ages.map(|ages| ages.iter().sum::<u64>() as f64 / ages.len() as f64);
    println!("mean age: hot {:.1} s, cold {:.1} s; exchange {statuses:?}", mean[0], mean[1]);
    assert!(mean[0] * 1.5 < mean[1], "{mean:?}");
    let metrics = get(gateway.url("/metrics")).await;
    let refusals = metrics.text().lines().find(|line| line.contains("budget_refused") && line.contains("refresh"));
    assert!(refusals.is_some_and(|line| !line.ends_with(" 0")), "{refusals:?}");
}

#[tokio::test]
async fn a_restart_obeys_the_ban_and_signed_calls_still_pass() {
    let exchange = Exchange::start().await;
    let data = tempfile::tempdir().unwrap();
    let folder = data.path().to_str().unwrap();
    for store in ["memory:", "embedded:"] {
        let more = [("data_dir", folder), ("store", store)];
        let gateway = Running::start(&exchange.url(), &more).await;
        if store == "memory:" {
            exchange.fault(serde_json::json!({"kind": "banned_spot", "times": 1}));
        }
        assert_eq!(get(gateway.url(KLINES)).await.status, 418);
        gateway.stop().await;

        exchange.sim.reset_counters();
        let gateway = Running::start(&exchange.url(), &more).await;
        for target in [KLINES, "/api/v3/ticker/price", "/api/v3/exchangeInfo", "/api/v3/time"] {
            let refused = get(gateway.url(target)).await;
            assert_eq!((refused.status, &refused.json()["code"]), (418, &(-1003).into()), "{target}");
            assert!(refused.header("retry-after").parse::<u64>().unwrap() > 60, "{:?}", refused.headers);
        }
        assert_eq!(exchange.asked(), 0, "{:?}", exchange.sim.counters().paths);
        assert_eq!(signed(&gateway).await.cache(), "PASS");
        assert_eq!(exchange.asked(), 1);
        let health = get(gateway.url("/health")).await.json();
        assert_eq!((&health["status"], &health["bans"][0]["reason"]), (&"degraded".into(), &"banned".into()));
        gateway.stop().await;
    }
}

#[tokio::test]
async fn a_ban_of_one_node_stops_the_others_through_the_store() {
    let redis = RedisServer::start();
    let exchange = Exchange::start().await;
    let url = redis.url();
    let more = [("store", url.as_str())];
    let (banned, other) = (Running::start(&exchange.url(), &more).await, Running::start(&exchange.url(), &more).await);
    assert_eq!(get(other.url(KLINES)).await.status, 200);
    exchange.fault(serde_json::json!({"kind": "banned_futures", "times": 1, "path_prefix": "/fapi"}));
    assert_eq!(get(banned.url("/fapi/v1/klines?symbol=BTCUSDT&interval=1h")).await.status, 418);
    let written = async || redis.command(&["EXISTS", "lastgood:bans:v1:all"]).trim() == ":1";
    let soon = tokio::time::timeout(Duration::from_secs(2), eventually("the ban is written", written));
    soon.await.expect("at once, and not with the next look");
    let obeys = async || get(other.url("/health")).await.json()["bans"][0]["venue"] == "futures";
    eventually("the other node obeys the ban", obeys).await;
    // A third, started now, has sent no request yet.
    exchange.sim.reset_counters();
    let third = Running::start(&exchange.url(), &more).await;
    assert_eq!(get(third.url("/fapi/v1/klines?symbol=BTCUSDT&interval=1h")).await.status, 418);
    assert_eq!(get(other.url("/fapi/v1/klines?symbol=BTCUSDT&interval=1h")).await.status, 418);
    assert_eq!(exchange.asked(), 0);
    assert_eq!(get(third.url(&klines("ETHUSDT"))).await.status, 200, "spot is not banned");
}

#[tokio::test]
async fn a_full_funding_bucket_leaves_the_other_endpoints_alone() {
    let window = || lastgood::Clock::system().now().as_millis() / 300_000;
    loop {
        let exchange = Exchange::start().await;
        let began_in = window();
        let gateway = Running::start(&exchange.url(), &[]).await;
        for limit in 1..=480 {
            let got = get(gateway.url(&format!("/fapi/v1/fundingRate?symbol=BTCUSDT&limit={limit}"))).await;
            assert!(matches!(got.status, 200 | 429), "{}", got.text());
        }
        let counters = exchange.sim.counters();
        // Another on the address, which knows nothing of that, learns it from the exchange, and pauses that bucket
        // alone.
        let gateway = Running::start(&exchange.url(), &[]).await;
        for limit in 1..=60 {
            get(gateway.url(&format!("/fapi/v1/fundingRate?symbol=ETHUSDT&limit={limit}"))).await;
        }
        if window() != began_in {
            continue; // The bucket was emptied meanwhile.
        }
        assert_eq!((counters.statuses.get(&429), counters.paths["/fapi/v1/fundingRate"]), (None, 460));
        assert_eq!(exchange.sim.counters().statuses.get(&429), Some(&1));
        let bans = get(gateway.url("/health")).await.json()["bans"].clone();
        assert_eq!((&bans[0]["bucket"], bans.as_array().unwrap().len()), (&"funding".into(), 1), "{bans}");
        assert_eq!(get(gateway.url("/fapi/v1/klines?symbol=BTCUSDT&interval=1h")).await.status, 200);
        return;
    }
}

#[tokio::test]
async fn a_burst_wider_than_the_bulkhead_waits_and_is_served() {
    let exchange = Exchange::start().await;
    exchange.fault(serde_json::json!({"kind": "latency", "ms": 50}));
    let gateway = Running::start(&exchange.url(), &[("upstream.max_concurrent", "8")]).await;
    let symbols = exchange.sim.symbols(Venue::Spot);
    let asking: Vec<_> = (0..150)
        .map(|number| {
            let url =
                gateway.url(&format!("/api/v3/klines?symbol={}&interval=1h&limit={number}", symbols[number % 50]));
            let sending = client().get(url).send();
            tokio::spawn(async move { read(sending.await.unwrap()).await.status })
        })
        .collect();
    for status in asking {
        assert!(matches!(status.await.unwrap(), 200 | 400));
    }
}

#[tokio::test]
async fn a_burst_on_an_address_whose_weight_others_have_used_does_not_become_a_ban() {
    let config = SimConfig { seed: 7, symbols: 100, weight_limit_spot: 60, ..SimConfig::default() };
    let exchange = Exchange::start_with(config).await;
    exchange.sim.set_clock(lastgood_sim::ClockMode::Frozen(crate::support::half_past()));
    for _ in 0..29 {
        assert_eq!(get(format!("{}/api/v3/avgPrice?symbol=BTCUSDT", exchange.url())).await.status, 200);
    }
    exchange.fault(serde_json::json!({"kind": "latency", "ms": 20}));
    let gateway = Running::start(&exchange.url(), &[]).await;
    let symbols = exchange.sim.symbols(Venue::Spot);
    let asking: Vec<_> = (0..60)
        .map(|number| {
            let sending = client().get(gateway.url(&klines(&symbols[number]))).send();
            tokio::spawn(async move { read(sending.await.unwrap()).await.status })
        })
        .collect();
    for status in asking {
        assert!(matches!(status.await.unwrap(), 200 | 429));
    }
    let statuses = exchange.sim.counters().statuses;
    assert_eq!((statuses.get(&418), statuses.contains_key(&429)), (None, true), "{statuses:?}");
    let health = get(gateway.url("/health")).await.json();
    assert_eq!(health["upstreams"][0]["budgets"][0]["buckets"][0]["limit"], 60, "the refusal names the limit");
}

fn both(first: &Exchange, second: &Exchange) -> String {
    format!("{},{}", first.url(), second.url())
}

#[tokio::test]
async fn with_the_first_base_gone_the_second_answers_and_the_first_is_found_again() {
    let (mut first, second) = (Exchange::start().await, Exchange::start().await);
    let gateway = Running::start(&both(&first, &second), &[]).await;
    assert_eq!(get(gateway.url(&klines("BTCUSDT"))).await.status, 200);
    assert_eq!((first.asked(), second.asked()), (1, 0));

    first.stop().await;
    for symbol in ["ETHUSDT", "BNBUSDT", "SOLUSDT"] {
        assert_eq!(get(gateway.url(&klines(symbol))).await.status, 200);
    }
    assert_eq!(signed(&gateway).await.cache(), "PASS", "signed calls go where they are answered");
    let health = get(gateway.url("/health")).await.json();
    let states = |health: &serde_json::Value| {
        health["upstreams"][0]["bases"].as_array().unwrap().iter().map(|base| base["state"].clone()).collect::<Vec<_>>()
    };
    assert_eq!((states(&health), &health["status"]), (vec!["unhealthy".into(), "healthy".into()], &"ok".into()));

    let listener = tokio::net::TcpListener::bind(first.address).await.expect("the port is free again");
    let sim = first.sim.clone();
    tokio::spawn(async move { sim.serve(listener, std::future::pending()).await });
    eventually("failback", async || states(&get(gateway.url("/health")).await.json())[0] == "healthy").await;
    let before = second.asked();
    assert_eq!(get(gateway.url(&klines("XRPUSDT"))).await.status, 200);
    assert_eq!(second.asked(), before);
    assert!(first.sim.counters().paths.contains_key("/api/v3/ping"));
}

#[tokio::test]
async fn a_base_that_answers_5xx_or_pages_or_hangs_is_passed_over_and_signed_calls_are_sent_once() {
    for fault in [
        serde_json::json!({"kind": "status", "status": 503}),
        serde_json::json!({"kind": "reset"}),
        serde_json::json!({"kind": "hang"}),
    ] {
        let (first, second) = (Exchange::start().await, Exchange::start().await);
        let gateway = Running::start(&both(&first, &second), &[]).await;
        first.fault(fault.clone());
        let got = get(gateway.url(KLINES)).await;
        assert_eq!((got.status, got.cache()), (200, "MISS"), "{fault}");
        assert_eq!((first.asked(), second.asked()), (1, 1), "{fault}");
        if fault["kind"] != "hang" {
            let order = read(client().post(gateway.url("/api/v3/order?signature=1")).send().await.unwrap()).await;
            assert!(order.status >= 500, "{fault}: {}", order.status);
            assert_eq!((first.sim.counters().paths["/api/v3/order"], second.asked()), (1, 1), "{fault}");
        }
    }
}

#[tokio::test]
async fn a_ban_on_one_base_counts_for_all_bases_of_the_exchange() {
    let (first, second) = (Exchange::start().await, Exchange::start().await);
    let gateway = Running::start(&both(&first, &second), &[]).await;
    first.fault(serde_json::json!({"kind": "banned_spot", "times": 1}));
    assert_eq!(get(gateway.url(KLINES)).await.status, 418);
    assert_eq!(get(gateway.url(&klines("ETHUSDT"))).await.status, 418);
    assert_eq!((first.asked(), second.asked()), (1, 0));
}

#[tokio::test]
async fn with_every_base_gone_health_says_so() {
    let mut exchange = Exchange::start().await;
    let gateway = Running::start(&exchange.url(), &[]).await;
    exchange.stop().await;
    assert_eq!(get(gateway.url(KLINES)).await.status, 503);
    let health = get(gateway.url("/health")).await.json();
    assert_eq!(health["status"], "degraded");
    let metrics = get(gateway.url("/metrics")).await;
    for (line, value) in [("lastgood_upstream_healthy{venue=\"spot\"", "0"), ("result=\"unreachable\"", "1")] {
        let line = metrics.text().lines().find(|found| found.contains(line));
        assert!(line.is_some_and(|line| line.ends_with(value)), "{line:?}");
    }
}
