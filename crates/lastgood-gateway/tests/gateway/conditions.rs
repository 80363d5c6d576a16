//! What the gateway says of itself: health, metrics and log tell of every fault that changes an answer, within two seconds,
//! and of nothing else.

use std::time::Duration;

use lastgood::condition::Condition;
use lastgood::{Clock, Error, Reason};
use lastgood_testing::RedisServer;
use serde_json::{Value, json};

use crate::support::{Exchange, Running, Sink, client, eventually, get};

mod refusing;
mod sources;
mod stores;

const PRICE: &str = "/api/v3/ticker/price?symbol=BTCUSDT";
const UNKNOWN: &str = "/api/v3/klines?symbol=DELISTED&interval=1h&limit=5";

/// Nothing stays fresh, and readers wait for the source a tenth of a second.
const IMPATIENT: &[(&str, &str)] = &[
    ("regions.ticker_price.fresh_for", "1ms"),
    ("regions.ticker_price.stale_while_revalidate", "0s"),
    ("regions.ticker_price.soft_timeout", "100ms"),
    ("regions.ticker_price.hard_timeout", "2s"),
];

async fn health(gateway: &Running) -> Value {
    get(gateway.url("/health")).await.json()
}

async fn metric(gateway: &Running, series: &str) -> Option<f64> {
    let metrics = get(gateway.url("/metrics")).await;
    let line = metrics.text().lines().find(|line| line.starts_with(series))?.to_owned();
    line.rsplit_once(' ')?.1.parse().ok()
}

fn spot(health: &Value) -> &Value {
    let upstreams = health["upstreams"].as_array().unwrap();
    upstreams.iter().find(|upstream| upstream["venue"] == "spot").unwrap()
}

/// The lines of the log that have `what`, but for the one on the test's own directory.
fn lines<'a>(log: &'a str, what: &str) -> Vec<&'a str> {
    log.lines().filter(|line| line.contains(what) && !line.contains("lastgood::private")).collect()
}

/// Asks until the last good answer stands in, then sees to it that everything says so within two seconds of it, and that
/// all is well again once the exchange is.
async fn is_reported(fault: Value, word: &str) {
    let log = Sink::of_the_log("info");
    let exchange = Exchange::start().await;
    let gateway = Running::start(&exchange.url(), IMPATIENT).await;
    assert_eq!(spot(&health(&gateway).await)["bases"][0]["state"], "unknown", "it was not asked");
    assert_eq!(get(gateway.url(PRICE)).await.cache(), "MISS");
    let before = health(&gateway).await;
    assert_eq!((&before["status"], &spot(&before)["state"]), (&json!("ok"), &json!("ok")), "{before}");
    assert_eq!(before["reasons"], json!([]));

    exchange.fault(fault.clone());
    eventually("the last good answer stands in", async || get(gateway.url(PRICE)).await.cache() == "LAST-GOOD").await;
    let served_at = tokio::time::Instant::now();
    let now = health(&gateway).await;
    assert_eq!(now["status"], "degraded", "{now}");
    assert_eq!(now["last_good"][0]["region"], "ticker_price", "{now}");
    assert!(now["reasons"].as_array().unwrap().iter().any(|why| why.as_str().unwrap().contains("serves last good")));
    eventually("the host is known to fail", async || {
        let host = spot(&health(&gateway).await)["bases"][0].clone();
        host["state"] == "unhealthy" && host["reason"].as_str().is_some_and(|why| why.contains(word))
    })
    .await;
    // A second is what a host may take; the rest is for a busy machine.
    let took = served_at.elapsed();
    assert!(took < Duration::from_secs(2), "{fault}: {took:?}");
    assert_eq!(metric(&gateway, "lastgood_degraded").await, Some(1.0));
    assert_eq!(metric(&gateway, "lastgood_failing{kind=\"host\"").await, Some(1.0), "{fault}");
    for _ in 0..50 {
        assert_eq!(get(gateway.url(PRICE)).await.status, 200);
    }
    let text = log.text();
    assert_eq!(lines(&text, "a host fails").len(), 1, "{fault}: {text}");
    assert!(lines(&text, "a host fails")[0].contains(word), "{fault}: {text}");
    let warnings = lines(&text, " WARN ");
    assert!(warnings.len() <= 2, "{fault}: one line for the host, one for a pause or a ban: {text}");
}

macro_rules! faults {
    ($($name:ident: $word:literal, $fault:tt;)*) => {$(
        #[tokio::test]
        async fn $name() {
            is_reported(json!($fault), $word).await;
        }
    )*};
}

faults! {
    a_451_shows_in_health_metrics_and_log: "451", {"kind": "status", "status": 451};
    a_500_shows_in_health_metrics_and_log: "500", {"kind": "status", "status": 500};
    garbage_shows_in_health_metrics_and_log: "malformed", {"kind": "garbage"};
    a_truncated_answer_shows_in_health_metrics_and_log: "malformed", {"kind": "truncated"};
    an_empty_answer_shows_in_health_metrics_and_log: "malformed", {"kind": "empty"};
    a_wrong_content_type_shows_in_health_metrics_and_log: "malformed", {"kind": "wrong_content_type"};
    an_error_in_a_200_shows_in_health_metrics_and_log: "upstream-error", {"kind": "error_in_200"};
    a_reset_shows_in_health_metrics_and_log: "unreachable", {"kind": "reset"};
    a_page_of_the_firewall_shows_in_health_metrics_and_log: "firewall", {"kind": "html"};
    a_429_shows_in_health_metrics_and_log: "rate-limited", {"kind": "rate_limited"};
    a_ban_shows_in_health_metrics_and_log: "banned", {"kind": "banned_spot"};
    a_hang_shows_in_health_metrics_and_log: "slow", {"kind": "hang"};
    a_very_slow_exchange_shows_in_health_metrics_and_log: "slow", {"kind": "latency", "ms": 60_000};
}

/// A gateway over these hosts of spot.
async fn over(hosts: &[String], flags: &[(&str, &str)]) -> Running {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = crate::support::settings(&hosts[0], flags);
    settings.data_dir = folder.path().to_owned();
    settings.binance.spot_url = hosts.iter().map(|host| lastgood_settings::BaseUrl::parse(host).unwrap()).collect();
    Running::serve(&settings, folder).await
}

#[tokio::test]
async fn hosts_on_one_machine_are_listed_with_their_ports_and_say_why_they_cannot_be_reached() {
    let log = Sink::of_the_log("info");
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    let exchange = Exchange::start().await;
    let well = exchange.url().replace("http://", "");
    let gateway = over(&[format!("http://{closed}"), exchange.url()], &[]).await;
    assert_eq!(get(gateway.url(PRICE)).await.status, 200);
    let now = health(&gateway).await;
    let hosts: Vec<&str> =
        spot(&now)["bases"].as_array().unwrap().iter().map(|one| one["host"].as_str().unwrap()).collect();
    assert_eq!(hosts, [closed.as_str(), well.as_str()], "{now}");
    let why = format!("{closed} cannot be reached: the connection is refused");
    let reason = spot(&now)["bases"][0]["reason"].as_str().unwrap_or_default();
    assert!(reason.ends_with(&why), "{now}");
    let failing =
        async |name: &str| metric(&gateway, &format!("lastgood_failing{{kind=\"host\",name=\"{name}\"}}")).await;
    assert_eq!((failing(&closed).await, failing(&well).await), (Some(1.0), Some(0.0)));
    let text = log.text();
    let fails = lines(&text, "a host fails");
    assert!(fails.len() == 1 && fails[0].contains(&why) && fails[0].contains("os error 111"), "{text}");
}

#[tokio::test]
async fn a_host_that_hangs_or_breaks_off_says_how_far_it_came() {
    let exchange = Exchange::start().await;
    let gateway = Running::start(&exchange.url(), IMPATIENT).await;
    for (fault, word) in [
        (json!({"kind": "hang"}), "while waiting for the answer's head"),
        (json!({"kind": "reset"}), "broke off before it answered: the connection was closed early"),
        (json!({"kind": "truncated"}), "the answer broke off: the connection was closed early"),
    ] {
        exchange.fault(fault.clone());
        eventually(word, async || {
            get(gateway.url(PRICE)).await;
            let now = health(&gateway).await;
            spot(&now)["bases"][0]["reason"].as_str().is_some_and(|why| why.contains(word))
        })
        .await;
        exchange.sim.clear_faults();
    }
}

#[tokio::test]
async fn an_exchange_that_recovers_is_logged_once_and_health_is_ok_again() {
    let log = Sink::of_the_log("info");
    let exchange = Exchange::start().await;
    let gateway = Running::start(&exchange.url(), IMPATIENT).await;
    get(gateway.url(PRICE)).await;
    exchange.fault(json!({"kind": "garbage"}));
    eventually("it fails", async || get(gateway.url(PRICE)).await.cache() == "LAST-GOOD").await;
    exchange.sim.clear_faults();
    eventually("it is well again", async || {
        get(gateway.url(PRICE)).await;
        health(&gateway).await["status"] == "ok"
    })
    .await;
    let text = log.text();
    assert_eq!(lines(&text, "a host works again").len(), 1, "{text}");
    assert_eq!(metric(&gateway, "lastgood_degraded").await, Some(0.0));
    assert_eq!(metric(&gateway, "lastgood_failing{kind=\"host\"").await, Some(0.0));
}

#[tokio::test]
async fn a_request_that_is_passed_on_shows_a_451_and_an_answer_that_breaks_off_as_a_load_does() {
    for (fault, word) in [
        (json!({"kind": "status", "status": 451}), "answered 451"),
        (json!({"kind": "truncated"}), "broke off its answer"),
        (json!({"kind": "status", "status": 500}), "answered 500"),
    ] {
        let exchange = Exchange::start().await;
        let gateway = Running::start(&exchange.url(), &[]).await;
        for target in ["/api/v3/account?signature=1", "/api/v3/somethingNew", "/sapi/v1/somethingNew"] {
            let ask = async || client().get(gateway.url(target)).send().await.expect("a head").bytes().await;
            exchange.fault(fault.clone());
            let _ = ask().await;
            let now = health(&gateway).await;
            let reason = spot(&now)["bases"][0]["reason"].as_str().unwrap_or_default();
            assert!(now["status"] == "degraded" && reason.contains(word), "{target} {fault}: {now}");
            exchange.sim.clear_faults();
            let _ = ask().await;
            let now = health(&gateway).await;
            assert_eq!(now["status"], "ok", "{target} {fault}: {now}");
        }
    }
}

#[tokio::test]
async fn a_delisted_symbol_is_the_clients_mistake_and_no_failure() {
    let log = Sink::of_the_log("info");
    let exchange = Exchange::start().await;
    let gateway = Running::start(&exchange.url(), &[]).await;
    for _ in 0..20 {
        let refused = get(gateway.url(UNKNOWN)).await;
        assert_eq!((refused.status, refused.cache()), (400, "ERROR"), "{}", refused.text());
        assert_eq!(refused.json()["code"], -1121);
    }
    let now = health(&gateway).await;
    assert_eq!((&now["status"], &spot(&now)["bases"][0]["state"]), (&json!("ok"), &json!("healthy")), "{now}");
    let stats = get(gateway.url("/api/cache/stats")).await.json();
    let klines = &stats["regions"]["klines"];
    assert_eq!((&klines["errors"], &klines["refused"]), (&json!(0), &json!(20)), "{klines}");
    for (series, value) in [
        ("lastgood_load_failures_total{region=\"klines\"}", 0.0),
        ("lastgood_reads_total{region=\"klines\",outcome=\"error\"}", 0.0),
        ("lastgood_reads_total{region=\"klines\",outcome=\"refused\"}", 20.0),
        ("lastgood_degraded", 0.0),
    ] {
        assert_eq!(metric(&gateway, series).await, Some(value), "{series}");
    }
    assert!(metric(&gateway, "lastgood_loads_refused_total{region=\"klines\"}").await >= Some(1.0));
    assert!(lines(&log.text(), " WARN ").is_empty(), "{}", log.text());
}

#[tokio::test]
async fn an_error_is_never_a_hit_and_the_hit_rate_is_the_same_everywhere() {
    let log = Sink::of_the_log("info");
    let exchange = Exchange::start().await;
    let mut flags = IMPATIENT.to_vec();
    flags.extend([("log.stats_every", "700ms"), ("regions.klines.hard_timeout", "1s")]);
    let gateway = Running::start(&exchange.url(), &flags).await;
    get(gateway.url(PRICE)).await;
    // Fresh for an hour: hits.
    for _ in 0..6 {
        get(gateway.url("/api/v3/exchangeInfo")).await;
    }
    exchange.fault(json!({"kind": "status", "status": 500}));
    for _ in 0..3 {
        assert_eq!(get(gateway.url(PRICE)).await.cache(), "LAST-GOOD");
    }
    for _ in 0..2 {
        let failed = get(gateway.url("/api/v3/depth?symbol=BTCUSDT&limit=5")).await;
        assert_eq!((failed.status, failed.cache()), (500, "ERROR"), "{}", failed.text());
    }
    // 5 hits of 12 reads: 2 misses, 3 last good, 2 errors.
    let stats = get(gateway.url("/api/cache/stats")).await.json();
    let everywhere = [
        health(&gateway).await["cache"]["hit_rate"].clone(),
        stats["cluster"]["hit_rate"].clone(),
        stats["hit_rate"].clone(),
        get(gateway.url("/cache/stats")).await.json()["hit_rate"].clone(),
    ];
    for rate in &everywhere {
        assert!((rate.as_f64().unwrap() - 5.0 / 12.0).abs() < 0.001, "{everywhere:?} {stats}");
    }
    assert!((gateway.traffic().hit_rate() - 5.0 / 12.0).abs() < 0.001);
    assert_eq!(stats["last_good"], 3, "{stats}");
    // The log counts by period: its periods together are the same reads.
    let counted = |log: &str, field: &str| -> u64 {
        let of_line = |line: &str| line.split(&format!(" {field}=")).nth(1)?.split(' ').next()?.parse::<u64>().ok();
        lines(log, "answered").into_iter().filter_map(of_line).sum()
    };
    eventually("the log has counted all reads", async || {
        let text = log.text();
        (counted(&text, "hits"), counted(&text, "last_good"), counted(&text, "errors")) == (5, 3, 2)
    })
    .await;
}

#[tokio::test]
async fn a_dead_redis_shows_before_anybody_needs_it_and_so_does_its_return() {
    let log = Sink::of_the_log("info");
    let (mut redis, exchange) = (RedisServer::start(), Exchange::start().await);
    let gateway = Running::start(&exchange.url(), &[("store", &redis.url())]).await;
    eventually("attached", async || health(&gateway).await["cache"]["status"] == "ok").await;
    redis.kill();
    eventually("it is noticed without a request", async || {
        let now = health(&gateway).await;
        now["status"] == "degraded" && now["cache"]["state"] == "failing" && now["cache"]["reason"].is_string()
    })
    .await;
    eventually("it is logged", async || lines(&log.text(), "a store fails").len() == 1).await;
    assert_eq!(metric(&gateway, "lastgood_failing{kind=\"store\"").await, Some(1.0));
    redis.restart();
    eventually("well again", async || health(&gateway).await["status"] == "ok").await;
    eventually("it is logged", async || lines(&log.text(), "a store works again").len() == 1).await;
    let text = log.text();
    assert_eq!(lines(&text, " WARN ").len(), 1, "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_fault_that_lasts_is_logged_once_a_minute_with_a_count() {
    let log = Sink::of_the_log("info");
    let condition = Condition::new("host", "api.example", Clock::paused_with_tokio());
    for _ in 0..600 {
        condition.failed("/price", &Error::new(Reason::Unreachable, "api.example cannot be reached"));
        tokio::time::advance(Duration::from_millis(500)).await;
    }
    condition.succeeded("/price");
    let text = log.text();
    let (began, lasts) = (lines(&text, "a host fails"), lines(&text, "a host still fails"));
    assert_eq!((began.len(), lasts.len(), text.lines().count()), (1, 4, 6), "{text}");
    for (minute, line) in (1..).zip(lasts) {
        let wanted = format!("failures={} seconds={}", minute * 120 + 1, minute * 60);
        assert!(line.contains(&wanted) && line.contains("api.example cannot be reached"), "{wanted}: {line}");
    }
    assert!(lines(&text, "a host works again")[0].contains("failures=600 seconds=300"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn what_changes_too_often_for_a_line_each_is_logged_as_it_is_in_the_end() {
    let log = Sink::of_the_log("info");
    let condition = Condition::new("host", "api.example", Clock::paused_with_tokio());
    let down = || Error::new(Reason::Unreachable, "api.example cannot be reached");
    let changes = || log.text().lines().filter(|line| line.contains("a host")).map(str::to_owned).collect::<Vec<_>>();
    // Each minute it fails and recovers a hundred times, and stays as it is at the end.
    for (minute, ends_well) in [true, false, true, false].into_iter().enumerate() {
        let before = changes().len();
        for _ in 0..100 {
            condition.failed("/price", &down());
            condition.succeeded("/price");
        }
        for _ in 0..120 {
            match ends_well {
                true => condition.succeeded("/price"),
                false => condition.failed("/price", &down()),
            }
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        let (said, word) = (changes(), if ends_well { "works again" } else { "fails" });
        assert!((1..=7).contains(&(said.len() - before)), "{minute}: {said:#?}");
        let last = said.iter().rev().find(|line| !line.contains("still fails")).unwrap();
        assert!(last.contains(word), "{minute}: {said:#?}");
    }
}
