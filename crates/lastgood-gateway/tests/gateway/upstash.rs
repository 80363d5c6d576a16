//! A Redis behind Upstash's REST protocol, behind the gateway. No client ever sees an error from it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use lastgood_settings::StoreSetting;
use lastgood_testing::{Canned, Chaos, ChaosProxy, RedisServer, UpstashFront};

use crate::redis::{answers_everything, health, question};
use crate::support::{Exchange, Running, Sink, eventually, get, half_past, settings_of};

pub(crate) const TOKEN: &str = "AX-the-secret_token==";

async fn over(exchange: &Exchange, store: &str, more: &[(&str, &str)]) -> Running {
    let flags = [("store", store), ("store_token", TOKEN), ("regions.klines.fresh_for", "5m")];
    Running::start(&exchange.url(), &[&flags[..], more].concat()).await
}

async fn is_used_again(gateway: &Running) {
    eventually("the breaker closes", async || health(gateway).await["breaker"] == "closed").await;
}

#[tokio::test]
async fn two_gateways_share_what_either_loaded_and_show_the_token_nowhere() {
    let log = Sink::of_the_log("trace");
    let redis = RedisServer::start();
    let front = UpstashFront::start(&redis, TOKEN).await;
    let exchange = Exchange::start().await;
    exchange.sim.set_clock(lastgood_sim::ClockMode::Frozen(half_past()));
    // Who shares is the subject here, not how fast a busy machine is.
    let patient = [("store_budget", "5s")];
    let first = over(&exchange, &front.url(), &patient).await;
    let loaded = get(first.url(&question("BTCUSDT", 10))).await;
    assert!(first.gateway.cache().sync(Duration::from_secs(5)).await);
    let second = over(&exchange, &front.url(), &patient).await;
    let found = get(second.url(&question("BTCUSDT", 10))).await;
    assert_eq!((found.cache(), &found.body), ("HIT", &loaded.body));
    assert!(found.header("cache-status").contains("detail=store"), "{}", found.header("cache-status"));
    assert_eq!(exchange.asked(), 1);
    let reply = redis.command(&["KEYS", "*"]);
    let keys: Vec<&str> = reply.lines().filter(|line| !line.starts_with(['*', '$'])).collect();
    assert!(!keys.is_empty());
    for key in keys {
        let ttl = redis.command(&["PTTL", key]);
        assert!(ttl.starts_with(':') && ttl != ":-1\r\n", "{key} has no time to live");
    }
    eventually("each knows of the other", async || {
        let reply = redis.command(&["KEYS", "*:nodes:*"]);
        reply.starts_with("*2")
    })
    .await;
    let shown = health(&second).await["cache"].clone();
    assert_eq!(shown["store"], front.url().as_str(), "{shown}");
    assert!(shown["memory_used"].is_u64() || shown["memory_used"].is_string(), "{shown}");
    let mut printed = String::new();
    for path in ["/health", "/metrics", "/api/cache/status", "/api/cache/stats"] {
        printed.push_str(get(second.url(path)).await.text());
    }
    first.stop().await;
    second.stop().await;
    printed.push_str(&log.text());
    assert!(!log.text().is_empty(), "there is a log");
    assert!(!printed.contains(TOKEN) && !printed.contains("AX-the-secret"), "the token is shown");
}

#[tokio::test]
async fn a_broken_way_to_the_database_costs_no_error() {
    let redis = RedisServer::start();
    let front = UpstashFront::start(&redis, TOKEN).await;
    let exchange = Exchange::start().await;
    let proxy = ChaosProxy::start(front.address().to_string()).await;
    // The breaker closes by an answer within the budget, which a busy machine needs more of.
    let patient = [("store_budget", "150ms")];
    let gateway = over(&exchange, &format!("http://127.0.0.1:{}", proxy.port()), &patient).await;
    answers_everything(&gateway, 0).await;
    for (round, chaos) in [Chaos::Refuse, Chaos::BlackHole, Chaos::Reset].into_iter().enumerate() {
        proxy.set(chaos);
        answers_everything(&gateway, 1 + round).await;
        answers_everything(&gateway, 11 + round).await;
        assert_eq!(health(&gateway).await["status"], "degraded", "{chaos:?}");
        proxy.set(Chaos::Pass);
        is_used_again(&gateway).await;
    }
    answers_everything(&gateway, 40).await;
    assert!(gateway.gateway.cache().sync(Duration::from_secs(5)).await);
    assert_ne!(redis.command(&["DBSIZE"]), ":0\r\n", "it is written to again");
}

#[tokio::test]
async fn a_database_that_answers_with_errors_costs_no_error() {
    let redis = RedisServer::start();
    let front = UpstashFront::start(&redis, TOKEN).await;
    let exchange = Exchange::start().await;
    let gateway = over(&exchange, &front.url(), &[]).await;
    answers_everything(&gateway, 0).await;
    let answers = [
        (401, "{\"error\":\"WRONGPASS invalid or missing auth token\"}"),
        (429, "{\"error\":\"ERR max requests limit exceeded\"}"),
        (500, "<html><h1>Internal Server Error</h1>"),
        (200, "<html><body>Sign in to this network</body></html>"),
        (200, "{\"result\":\"AAAA"),
    ];
    for (round, (status, body)) in answers.into_iter().enumerate() {
        front.answer_with(Some(Canned { status, headers: BTreeMap::new(), body: body.into() }));
        answers_everything(&gateway, 1 + round).await;
        answers_everything(&gateway, 11 + round).await;
        assert_eq!(health(&gateway).await["status"], "degraded", "{status} {body}");
        front.answer_with(None);
        is_used_again(&gateway).await;
    }
}

#[tokio::test]
async fn a_database_that_is_absent_at_the_start_is_attached_without_a_restart() {
    let redis = RedisServer::start();
    let front = UpstashFront::start(&redis, TOKEN).await;
    let proxy = ChaosProxy::start(front.address().to_string()).await;
    proxy.set(Chaos::Refuse);
    let exchange = Exchange::start().await;
    let gateway = over(&exchange, &format!("http://127.0.0.1:{}", proxy.port()), &[]).await;
    answers_everything(&gateway, 0).await;
    proxy.set(Chaos::Pass);
    eventually("attached", async || gateway.gateway.cache().probe_store().await.is_some_and(|probe| probe.is_ok()))
        .await;
    is_used_again(&gateway).await;
    answers_everything(&gateway, 1).await;
    assert!(gateway.gateway.cache().sync(Duration::from_secs(5)).await);
    assert_ne!(redis.command(&["DBSIZE"]), ":0\r\n");
}

#[test]
fn the_token_is_found_in_the_environment_and_its_absence_has_a_hint() {
    let url = ("UPSTASH_REDIS_REST_URL", "https://eu1-x.upstash.io");
    let settings = settings_of("", &[url, ("UPSTASH_REDIS_REST_TOKEN", TOKEN)]).unwrap();
    assert!(matches!(&settings.store, StoreSetting::Upstash(address) if address.to_string() == url.1));
    assert!(!format!("{settings:?}").contains(TOKEN));
    let problems = settings_of("", &[url]).unwrap_err().to_string();
    assert!(
        problems.contains("there is no token for it") && problems.contains("UPSTASH_REDIS_REST_TOKEN"),
        "{problems}"
    );
    for (store, part) in [
        ("http://eu1-x.upstash.io", "plain http:// is for loopback hosts"),
        ("https://default:AX-the-secret_token==@eu1-x.upstash.io", "holds a user or password"),
        ("https://eu1-x.upstash.io/?_token=AX-the-secret_token==", "has a path or query"),
    ] {
        let problems = settings_of("", &[("LASTGOOD_STORE_URL", store)]).unwrap_err().to_string();
        assert!(problems.contains(part) && !problems.contains(TOKEN), "{problems}");
    }
}

/// What `lastgood check` says of the store.
pub(crate) async fn checked(store: &str, token: &str, variables: &[(&str, &Path)]) -> serde_json::Value {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = "http://127.0.0.1:9";
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_lastgood"))
        .args(["check", "--json", "--listen", "127.0.0.1:0", "--store", store])
        .current_dir(folder.path())
        .env_clear()
        .env("HOME", folder.path())
        .env("UPSTASH_REDIS_REST_TOKEN", token)
        .env("LASTGOOD_STORE_BUDGET", "500ms")
        .envs(variables.iter().copied())
        .envs(["SPOT", "FUTURES", "COIN"].map(|venue| (format!("LASTGOOD_BINANCE_{venue}_URL"), nowhere)))
        .env("LASTGOOD_FEAR_GREED_URL", nowhere)
        .output()
        .await
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(!said.contains(token) && !String::from_utf8(output.stderr).unwrap().contains(token), "{said}");
    let report: serde_json::Value = serde_json::from_str(&said).unwrap_or_else(|why| panic!("{why}: {said}"));
    let checks = report["checks"].as_array().unwrap();
    checks.iter().find(|check| check["what"] == "store").unwrap().clone()
}

#[tokio::test]
async fn check_probes_the_database_and_says_when_it_is_too_far_away() {
    let redis = RedisServer::start();
    let front = UpstashFront::start(&redis, TOKEN).await;
    let proxy = ChaosProxy::start(front.address().to_string()).await;
    let url = format!("http://127.0.0.1:{}", proxy.port());
    let well = checked(&url, TOKEN, &[]).await;
    assert_eq!((&well["verdict"], &well["target"]), (&"ok".into(), &url.as_str().into()), "{well}");
    assert_eq!(well["detail"], "answers, 0 keys");
    proxy.set(Chaos::Delay(Duration::from_millis(300)));
    let slow = checked(&url, TOKEN, &[]).await;
    assert_eq!(slow["verdict"], "note", "{slow}");
    assert!(slow["detail"].as_str().unwrap().contains("too slowly for store_budget"), "{slow}");
    assert!(slow["hint"].as_str().unwrap().contains("LASTGOOD_STORE_BUDGET"), "{slow}");
    proxy.set(Chaos::Refuse);
    let gone = checked(&url, TOKEN, &[]).await;
    assert_eq!(gone["verdict"], "failed", "{gone}");
    let wrong = checked(&front.url(), "another-token", &[]).await;
    assert_eq!(wrong["verdict"], "failed", "{wrong}");
    assert!(wrong["hint"].as_str().unwrap().contains("set UPSTASH_REDIS_REST_TOKEN"), "{wrong}");
}

/// How long requests are counted.
const COUNTED_FOR: Duration = Duration::from_secs(20);

/// What a client asks over and over.
const ASKED: [&str; 8] = [
    "/api/v3/ticker/price?symbol=BTCUSDT",
    "/api/v3/ticker/price?symbol=ETHUSDT",
    "/api/v3/ticker/bookTicker?symbol=BTCUSDT",
    "/api/v3/ticker/24hr?symbol=BTCUSDT",
    "/api/v3/klines?symbol=BTCUSDT&interval=1m&limit=100",
    "/api/v3/klines?symbol=ETHUSDT&interval=1m&limit=100",
    "/fapi/v1/premiumIndex?symbol=BTCUSDT",
    "/api/v3/exchangeInfo",
];

/// Commands at Upstash in [`COUNTED_FOR`], and loads that the gateway made in it.
async fn commands_of_a_client(leases: &str) -> (u64, u64) {
    let redis = RedisServer::start();
    let front = UpstashFront::start(&redis, TOKEN).await;
    let exchange = Exchange::start().await;
    let flags = [("store", front.url()), ("store_token", TOKEN.into()), ("store_leases", leases.into())];
    let flags: Vec<(&str, &str)> = flags.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let gateway = Running::start(&exchange.url(), &flags).await;
    let counted = || (gateway.gateway.cache().store_commands().expect("they are counted"), exchange.asked());
    let poll = async |time: Duration| {
        let end = tokio::time::Instant::now() + time;
        while tokio::time::Instant::now() < end {
            for path in ASKED {
                assert_eq!(get(gateway.url(path)).await.status, 200, "{path}");
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    // What a start costs is no part of a day.
    poll(Duration::from_secs(3)).await;
    let before = counted();
    poll(COUNTED_FOR).await;
    let after = counted();
    (after.0 - before.0, after.1 - before.1)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_costs_no_more_than_two_commands_a_load_at_upstash() {
    let (off, on) = tokio::join!(commands_of_a_client("false"), commands_of_a_client("true"));
    let a_day = |count: u64| count as f64 * 86_400.0 / COUNTED_FOR.as_secs_f64();
    for (name, (commands, loads)) in [("off", off), ("on", on)] {
        let cost = a_day(commands) / 100_000.0 * 0.2;
        let (commands, loads) = (a_day(commands), a_day(loads));
        println!("leases {name}: {commands:.0} commands and {loads:.0} loads a day, {cost:.2} US dollars");
    }
    assert!(on.0 > off.0, "{off:?} without leases, {on:?} with them");
    // Their loads are not the same to the one, and writes are behind.
    let allowed = off.0 + 2 * on.1 + off.0 / 5;
    assert!(on.0 <= allowed, "{off:?} without leases, {on:?} with them: more than {allowed}");
}
