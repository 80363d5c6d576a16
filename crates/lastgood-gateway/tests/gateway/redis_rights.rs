//! A Redis whose user may not do everything, and what lies in it after a gateway did all that it does.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use lastgood_sim::{Fault, FaultKind, SimConfig};
use lastgood_testing::{Authority, RedisCluster, RedisSentinels, RedisServer};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{Exchange, Running, client, eventually, get, half_past, read};

/// The line of the page on Redis that makes the user, as words.
fn documented() -> Vec<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/redis.md");
    let page = std::fs::read_to_string(page).unwrap();
    let line = page.lines().find(|line| line.starts_with("ACL SETUSER lastgood ")).expect("the line is there");
    line.split(' ').map(str::to_owned).collect()
}

/// Makes the user of the page on a server, but with these words more and without those that do not pass.
fn make_user(server: &RedisServer, more: &[&str], passes: impl Fn(&str) -> bool) {
    assert_eq!(server.command(&["ACL", "DELUSER", "lastgood"]).chars().next(), Some(':'));
    let words = documented();
    let words = words.iter().map(String::as_str).filter(|word| passes(word)).chain(more.iter().copied());
    let answer = server.command(&words.collect::<Vec<_>>());
    assert!(answer.starts_with("+OK"), "{answer}");
}

fn as_user(url: &str) -> String {
    url.replacen("://", "://lastgood:PASSWORD@", 1)
}

/// What `lastgood check` finds about a store.
fn checked(store: &str) -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_lastgood"));
    command.args(["check", "--json", "--listen", "127.0.0.1:0", "--store", store]).current_dir(folder.path());
    command.env_clear().env("HOME", folder.path());
    for name in ["BINANCE_SPOT_URL", "BINANCE_FUTURES_URL", "BINANCE_COIN_URL", "FEAR_GREED_URL"] {
        command.env(format!("LASTGOOD_{name}"), format!("http://{closed}"));
    }
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!text.contains("PASSWORD"), "{text}");
    let report: Value =
        serde_json::from_str(&text).unwrap_or_else(|why| panic!("{why}: {}", String::from_utf8_lossy(&output.stderr)));
    let checks = report["checks"].as_array().unwrap();
    checks.iter().filter(|check| matches!(check["what"].as_str(), Some("store" | "configuration"))).cloned().collect()
}

fn is_well(findings: &[Value]) -> bool {
    findings.iter().all(|finding| finding["verdict"] == "ok")
}

/// Whether one of the findings has this verdict and these parts.
#[track_caller]
fn says(findings: &[Value], verdict: &str, detail: &str, hint: &str) {
    let has = |finding: &Value, key: &str, part: &str| finding[key].as_str().is_some_and(|text| text.contains(part));
    let found = findings
        .iter()
        .any(|finding| finding["verdict"] == verdict && has(finding, "detail", detail) && has(finding, "hint", hint));
    assert!(found, "{verdict}, {detail}, {hint}: {findings:#?}");
}

#[test]
fn check_finds_nothing_wrong_with_the_documented_user_and_names_each_command_that_is_taken_from_it() {
    let server = RedisServer::start();
    make_user(&server, &[], |_| true);
    let findings = checked(&as_user(&server.url()));
    assert!(is_well(&findings), "{findings:#?}");
    assert_eq!(server.command(&["DBSIZE"]).trim(), ":0", "a check leaves nothing behind");
    let words = documented();
    let commands: Vec<&String> = words.iter().filter(|word| word.starts_with('+')).collect();
    assert!(commands.len() > 15, "{commands:?}");
    for command in commands {
        make_user(&server, &[], |word| word != command);
        let verdict = match command.as_str() {
            "+info" | "+dbsize" | "+hgetall" | "+hincrby" | "+hsetnx" | "+client|tracking" => "note",
            _ => "failed",
        };
        let name = command[1..].split('|').next().unwrap_or_default().to_ascii_uppercase();
        let detail = format!("no {name}, without which ");
        let findings = checked(&as_user(&server.url()));
        says(&findings, verdict, &detail, &format!("ACL SETUSER USER {command}"));
        assert_eq!(findings.iter().filter(|finding| finding["verdict"] != "ok").count(), 1, "{findings:#?}");
        let keys = server.command(&["KEYS", "*"]);
        for key in keys.lines().filter(|line| !line.starts_with(['*', '$'])) {
            let ttl = server.command(&["PTTL", key]);
            assert!(!ttl.starts_with(":-1"), "{command}: {key} is left without a time to live");
        }
    }
}

#[test]
fn check_says_when_keys_or_writes_are_refused_and_when_a_command_is_renamed() {
    let server = RedisServer::start();
    let at = as_user(&server.url());
    make_user(&server, &["~other:*"], |word| !word.starts_with('~'));
    says(&checked(&at), "failed", "the user may not use the keys lastgood:* with GET, MGET", "~lastgood:*");
    make_user(&server, &["%R~lastgood:*"], |word| !word.starts_with('~'));
    let findings = checked(&at);
    says(&findings, "failed", "SET", "~lastgood:*");
    assert!(!findings.iter().any(|finding| finding["detail"].as_str().unwrap().contains("GET,")), "{findings:#?}");
    make_user(&server, &[], |_| true);
    says(&checked(&format!("{}/3", at.trim_end_matches("/0"))), "failed", "'select'", "ACL SETUSER USER +COMMAND");
    server.command(&["CONFIG", "SET", "maxmemory", "1"]);
    says(&checked(&at), "failed", "takes no writes, only reads (OOM", "allkeys-lru");
    server.command(&["CONFIG", "SET", "maxmemory", "0"]);
    server.command(&["REPLICAOF", "127.0.0.1", "1"]);
    says(&checked(&at), "failed", "takes no writes, only reads (READONLY", "name the primary");
    let renamed = RedisServer::start_with(&["--rename-command", "EVAL", ""]);
    says(&checked(&renamed.url()), "failed", "no EVAL, without which", "rename-command");
}

#[test]
fn check_finds_nothing_wrong_with_the_documented_users_of_sentinels_and_of_a_cluster() {
    let (mut sentinels, mut cluster) = (RedisSentinels::start(), RedisCluster::start());
    for server in sentinels.servers() {
        make_user(server, &["+role"], |_| true);
    }
    for server in cluster.servers() {
        make_user(server, &["+cluster|slots", "+asking"], |_| true);
    }
    for store in [as_user(&sentinels.url()), as_user(&cluster.url())] {
        let findings = checked(&store);
        assert!(is_well(&findings), "{findings:#?}");
    }
    make_user(&sentinels.servers()[0], &[], |_| true);
    says(&checked(&as_user(&sentinels.url())), "note", "no ROLE, without which a primary that was replaced", "+role");
    // One server of three is enough.
    make_user(&cluster.servers()[2], &["+cluster|slots"], |_| true);
    says(&checked(&as_user(&cluster.url())), "failed", "no ASKING, without which keys of a slot", "+asking");
    for server in cluster.servers() {
        make_user(server, &["+asking"], |_| true);
    }
    says(&checked(&as_user(&cluster.url())), "failed", "NOPERM", "docs/redis.md");
}

#[test]
fn check_names_the_problem_with_tls() {
    let authority = Authority::new();
    let arguments = authority.redis_arguments("DNS:localhost");
    let server = RedisServer::start_with_tls(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    let (port, ca, parameters) = (server.announced_port(), authority.certificate(), authority.redis_parameters());
    let findings = checked(&format!("rediss://localhost:{port}?{parameters}"));
    assert!(is_well(&findings), "{findings:#?}");
    let stranger = Authority::new();
    let (cert, key) = stranger.issue("client", "DNS:client");
    for (store, detail, hint) in [
        (format!("rediss://localhost:{port}?ca={ca}"), "", "add ?cert=FILE&key=FILE"),
        (format!("rediss://localhost:{port}?ca={ca}&cert={cert}&key={key}"), "", "tls-ca-cert-file"),
        (format!("rediss://localhost:{port}?ca={}", stranger.certificate()), "UnknownIssuer", "ca=FILE"),
        (format!("rediss://127.0.0.1:{port}?{parameters}"), "not valid for name", "in the server's certificate"),
        (format!("rediss://localhost:{}?{parameters}", server.port()), "", "does not speak TLS"),
        (format!("redis://localhost:{port}"), "", "write rediss://"),
        (format!("rediss+cluster://localhost:{port}?{parameters}"), "no member of a cluster", "single server"),
        (format!("rediss+sentinel://localhost:{port}/main?{parameters}"), "is no Sentinel", "single server"),
        (format!("rediss://localhost:{port}?cert={cert}"), "cert= needs", "[?ca=FILE][&cert=FILE&key=FILE]"),
        (format!("redis+cluster://localhost:{port}?ca={ca}"), "ca= is for TLS", "redis+cluster://"),
    ] {
        says(&checked(&store), "failed", detail, hint);
    }
}

/// All the ways in which a gateway writes to its store.
async fn use_everything(exchange: &Exchange, gateway: &Running) {
    for target in [
        "/api/v3/exchangeInfo",
        "/api/v3/klines?symbol=BTCUSDT&interval=1h&limit=1500",
        "/api/v3/klines?symbol=NOSUCH&interval=1h",
        "/api/v3/ticker/price?symbol=ETHUSDT",
        "/api/v3/ticker/24hr",
        "/api/v3/depth?symbol=BTCUSDT&limit=100",
        "/api/v3/trades?symbol=BTCUSDT",
        "/fapi/v1/klines?symbol=BTCUSDT&interval=1d&limit=5",
        "/fapi/v1/fundingRate?symbol=BTCUSDT",
        "/fapi/v1/premiumIndex?symbol=BTCUSDT",
        "/v1/symbols/spot",
    ] {
        get(gateway.url(target)).await;
    }
    let now = half_past() - 3_600_000 - 1_800_000;
    let bars = format!(r#"[[{now},"1","2","0.5","1.5","10",{},"15",3,"5","7"]]"#, now + 3_599_999);
    for (method, target, body) in [
        (Method::PUT, "/v1/kv/kv/a", "1"),
        (Method::PUT, "/v1/kv/kv/b?tags=pipeline&ttl=1h&fresh_for=1m", "2"),
        (Method::PUT, "/v1/kv/kv/c?tags=pipeline", "3"),
        (Method::PUT, "/v1/kv/routes/d?tags=other", "4"),
        (Method::DELETE, "/v1/kv/kv/a", ""),
        (Method::POST, "/v1/llm/sentiment?claim=10s", r#"{"input": 2}"#),
        (Method::PUT, "/v1/llm/sentiment", r#"{"input": 1, "analysis": {"mood": "calm"}}"#),
        (Method::PUT, "/v1/bars/MINE/1h", &bars),
    ] {
        let got = read(client().request(method, gateway.url(target)).body(body.to_owned()).send().await.unwrap()).await;
        assert!(got.status < 500, "{target}: {}", got.text());
    }
    // So that there is something in the store to expire and to remove.
    assert!(gateway.gateway.cache().sync(Duration::from_secs(5)).await);
    for body in [
        json!({"tag": "pipeline"}),
        json!({"tag": "other", "hard": true}),
        json!({"region": "depth"}),
        json!({"pattern": "ticker_price:*"}),
        json!({"region": "ticker_24hr", "hard": true}),
    ] {
        let sent = client().post(gateway.url("/api/cache/invalidate")).body(body.to_string()).send().await;
        let got = read(sent.unwrap()).await;
        assert_eq!(got.status, 200, "{body}: {}", got.text());
    }
    for target in ["/api/cache/clear/ETHUSDT", "/api/cache/warm"] {
        let got = read(client().post(gateway.url(target)).body("{}").send().await.unwrap()).await;
        assert!(got.status < 500, "{target}: {}", got.text());
    }
    exchange.fault(json!({"kind": "banned_futures", "times": 1, "path_prefix": "/fapi"}));
    get(gateway.url("/fapi/v1/ticker/price?symbol=ETHUSDT")).await;
    assert!(gateway.gateway.cache().sync(Duration::from_secs(5)).await);
}

/// Every key and its time to live in milliseconds, as they are at one moment.
fn keys(server: &RedisServer) -> Vec<(String, i64)> {
    const SCRIPT: &str = "local lines = {} for _, key in ipairs(redis.call('KEYS', '*')) do \
        lines[#lines + 1] = redis.call('PTTL', key) .. ' ' .. key end return table.concat(lines, '\\n')";
    let reply = server.command(&["EVAL", SCRIPT, "0"]);
    let lines = reply.lines().filter_map(|line| line.split_once(' '));
    lines.filter_map(|(ttl, key)| Some((key.to_owned(), ttl.parse().ok()?))).collect()
}

/// Looks at the keys again and again until it is stopped, and gives the names of all that it saw. It fails when one of
/// them has no time to live.
struct Watch {
    ends: Arc<AtomicBool>,
    seen: Arc<Mutex<BTreeSet<String>>>,
    looks: JoinHandle<()>,
}

impl Watch {
    fn start(redis: &Arc<RedisServer>) -> Watch {
        let (redis, ends) = (Arc::clone(redis), Arc::<AtomicBool>::default());
        let seen = Arc::<Mutex<BTreeSet<String>>>::default();
        let (stops, notes) = (Arc::clone(&ends), Arc::clone(&seen));
        let looks = std::thread::spawn(move || {
            while !stops.load(Ordering::Relaxed) {
                for (key, ttl) in keys(&redis) {
                    assert!(key.starts_with("lastgood:"), "{key}");
                    assert!(ttl >= 0, "{key} has no time to live");
                    notes.lock().unwrap().insert(key);
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        Watch { ends, seen, looks }
    }

    fn has_seen(&self, part: &str) -> bool {
        self.seen.lock().unwrap().iter().any(|key| key.contains(part))
    }

    fn end(self) -> BTreeSet<String> {
        self.ends.store(true, Ordering::Relaxed);
        self.looks.join().expect("every key has a time to live");
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_key_has_a_time_to_live_and_the_documented_user_may_do_all_that_a_gateway_does() {
    let redis = Arc::new(RedisServer::start());
    make_user(&redis, &[], |_| true);
    let watch = Watch::start(&redis);
    let config = SimConfig { seed: 7, symbols: 100, ..SimConfig::default() };
    let exchange = Exchange::start_with(config).await;
    exchange.sim.set_clock(lastgood_sim::ClockMode::Frozen(half_past()));
    let url = as_user(&redis.url());
    let flags = [("store", url.as_str()), ("warm.markets", "spot"), ("warm.symbols", "BTCUSDT"), ("warm.every", "1d")];
    // A turn to warm lasts as long as its round, which is too short for the watch on a busy machine: the round ends when the
    // turn was seen.
    exchange.sim.fault(Fault { kind: FaultKind::Hang, path_prefix: String::new(), times: None });
    let (one, two) = (Running::start(&exchange.url(), &flags).await, Running::start(&exchange.url(), &flags).await);
    eventually("a gateway has the turn to warm", async || watch.has_seen(":turn")).await;
    exchange.sim.clear_faults();
    eventually("attached", async || {
        one.gateway.cache().probe_store().await.is_some_and(|probe| probe.is_ok())
            && two.gateway.cache().probe_store().await.is_some_and(|probe| probe.is_ok())
    })
    .await;
    use_everything(&exchange, &one).await;
    use_everything(&exchange, &two).await;
    // Nodes and counters tell of themselves every ten seconds.
    eventually("the last kinds are written", async || {
        let keys = keys(&redis);
        ["nodes:v1", "{counters}:v1:writer", ":finished"]
            .iter()
            .all(|kind| keys.iter().any(|(key, _)| key.contains(kind)))
    })
    .await;
    let seen = watch.end();
    for kind in [
        "@log",
        "@budget",
        "@tags:expired",
        "@tags:removed",
        "{counters}:v1:writer",
        "nodes",
        "warm:v1",
        ":turn",
        "bans",
        "klines",
        "exchange_info",
        "symbols",
        "depth",
        "ticker_24hr",
        "funding_rate",
        "kv",
        "llm",
        "bars",
    ] {
        assert!(seen.iter().any(|key| key.contains(kind)), "no key of {kind}: {seen:#?}");
    }
    // Entries of what was refused: none.
    let refused = redis.command(&["ACL", "LOG"]);
    assert_eq!(refused.trim(), "*0", "the user lacks something");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_is_degraded_within_two_seconds_of_the_loss_of_a_clusters_server_and_ok_after_its_return() {
    let mut redis = tokio::task::spawn_blocking(RedisCluster::start).await.unwrap();
    let exchange = Exchange::start().await;
    let gateway = Running::start(&exchange.url(), &[("store", &redis.url())]).await;
    let health = async || get(gateway.url("/health")).await.json();
    eventually("it is well", async || health().await["status"] == "ok").await;
    redis.servers()[1].kill();
    let killed = Instant::now();
    while health().await["status"] != "degraded" {
        assert!(killed.elapsed() < Duration::from_secs(2), "{}", health().await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let answer = health().await;
    let port = redis.servers()[1].port().to_string();
    assert!(answer["reasons"].to_string().contains(&port), "{answer}");
    assert!(answer["cache"]["store_trouble"].to_string().contains(&port), "{answer}");
    redis.servers()[1].restart();
    eventually("it is well again", async || health().await["status"] == "ok").await;
}
