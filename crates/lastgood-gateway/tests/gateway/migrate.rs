//! `lastgood migrate`, as its users meet it.

use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use lastgood::store::{RedisOptions, RedisStore};
use lastgood::{Cache, Loaded, Policy, Region, Value};
use lastgood_testing::{RedisCluster, RedisServer, UpstashFront};
use serde_json::Value as Json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::redis::question;
use crate::support::{Exchange, Running, eventually, get, half_past};
use crate::upstash::TOKEN;

const PRICE: &str = "/api/v3/ticker/price?symbol=BTCUSDT";

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lastgood"));
    command.arg("migrate").args(arguments).current_dir(folder).env_clear().env("HOME", folder);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

async fn run(arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    command(folder.path(), arguments).output().await.unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What a migration that succeeded counted.
async fn migrate(arguments: &[&str]) -> Json {
    let done = run(&[arguments, &["--json"]].concat()).await;
    assert_eq!(done.status.code(), Some(0), "{}{}", text(&done.stdout), text(&done.stderr));
    let report: Json = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!((&report["complete"], &report["failed"]), (&Json::Bool(true), &0.into()), "{report}");
    report
}

/// A cache on a Redis, with a region that keeps large values as they are.
async fn on(redis: &RedisServer) -> (Cache, Region) {
    let store = RedisStore::connect(RedisOptions::parse(&redis.url()).unwrap());
    let cache = Cache::builder().store(Arc::new(store)).build().unwrap();
    eventually("Redis answers", async || cache.probe_store().await.is_some_and(|probed| probed.is_ok())).await;
    let policy = Policy { compress_over: usize::MAX, ..Policy::fresh_for(Duration::from_secs(3600)) };
    let region = cache.region("prices", policy).unwrap();
    (cache, region)
}

async fn fill(redis: &RedisServer, keys: usize, body: &str) {
    let (cache, region) = on(redis).await;
    for number in 0..keys {
        region.put(&format!("key-{number:05}"), Loaded::from(Value::new(body.to_owned()))).await;
        if number % 500 == 499 {
            assert!(cache.sync(Duration::from_secs(60)).await);
        }
    }
    assert!(cache.sync(Duration::from_secs(60)).await);
}

#[tokio::test]
async fn a_gateway_serves_from_the_migrated_store_without_asking_its_source() {
    let exchange = Exchange::start().await;
    exchange.sim.set_clock(lastgood_sim::ClockMode::Frozen(half_past()));
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let data = folder.path().to_str().unwrap();
    let fresh =
        [("regions.klines.fresh_for", "10m"), ("regions.ticker_price.fresh_for", "10m"), ("store_budget", "5s")];
    let over = async |store: &str, more: &[(&'static str, &str)]| {
        Running::start(&exchange.url(), &[&[("store", store)], &fresh[..], more].concat()).await
    };
    let candles = question("BTCUSDT", 300);
    let first = over("embedded:", &[("data_dir", data)]).await;
    let expected = [get(first.url(&candles)).await.body, get(first.url(PRICE)).await.body];
    let put = crate::support::client().put(first.url("/v1/kv/kv/one")).body("my value").send().await.unwrap();
    assert!(put.status().is_success(), "{put:?}");
    first.stop().await;
    let asked = exchange.asked();
    assert!(asked > 0);

    let (redis, behind) = (RedisServer::start(), RedisServer::start());
    let front = UpstashFront::start(&behind, TOKEN).await;
    let cluster = RedisCluster::start();
    let file = format!("embedded:{}", other.path().join("copy.redb").display());
    let done = migrate(&["--from", "embedded:", "--data-dir", data, "--to", &redis.url()]).await;
    let copied = done["copied"].as_u64().unwrap();
    assert!(copied >= 3, "{done}");
    for (from, to) in [(redis.url(), file.clone()), (file.clone(), front.url()), (front.url(), cluster.url())] {
        let folder = tempfile::tempdir().unwrap();
        let mut step = command(folder.path(), &["--from", &from, "--to", &to, "--json"]);
        step.env("LASTGOOD_TOKEN_FROM", TOKEN).env("LASTGOOD_TOKEN_TO", TOKEN);
        let done = step.output().await.unwrap();
        let report: Json =
            serde_json::from_slice(&done.stdout).unwrap_or_else(|why| panic!("{why}: {}", text(&done.stderr)));
        assert_eq!((done.status.code(), &report["copied"]), (Some(0), &copied.into()), "{from} to {to}: {report}");
        assert!(!text(&done.stderr).contains(TOKEN) && !text(&done.stdout).contains(TOKEN));
    }

    for store in [redis.url(), file, front.url(), cluster.url()] {
        let gateway = over(&store, &[("store_token", TOKEN)]).await;
        let attached = async || gateway.gateway.cache().probe_store().await.is_some_and(|probed| probed.is_ok());
        eventually("the store is attached", attached).await;
        for (target, expected) in [candles.as_str(), PRICE].into_iter().zip(&expected) {
            let got = get(gateway.url(target)).await;
            assert_eq!((got.cache(), &got.body), ("HIT", expected), "{store} {target}");
            assert!(got.header("cache-status").contains("detail=store"), "{}", got.header("cache-status"));
        }
        assert_eq!(get(gateway.url("/v1/kv/kv/one")).await.text(), "my value", "{store}");
        gateway.stop().await;
    }
    assert_eq!(exchange.asked(), asked, "the exchange was asked for nothing");
}

#[tokio::test]
async fn wrong_usage_is_refused_with_a_hint_and_a_store_that_is_not_there_is_named() {
    let redis = RedisServer::start();
    let url = redis.url();
    let as_another = url.trim_end_matches("/0").replace("redis://", "redis://default:hunter2@");
    for (arguments, code, part) in [
        (["--from", "memory:", "--to", &url], 2, "memory: is the memory of one process"),
        (["--from", &url, "--to", "memory:"], 2, "flag --to"),
        (["--from", &url, "--to", &url], 2, "one store and one namespace"),
        (["--from", &url, "--to", &as_another], 2, "one store and one namespace"),
        (["--from", "embedded:x", "--to", "embedded:./x"], 2, "one store and one namespace"),
        (["--from", "rdis://u:hunter2@h", "--to", &url], 2, "did you mean `redis://`?"),
        (["--from", "https://x.upstash.io", "--to", &url], 2, "set UPSTASH_REDIS_REST_TOKEN"),
        (["--from", "embedded:none.redb", "--to", &url], 1, "there is no file none.redb"),
        (["--from", &url, "--to", "redis://u:hunter2@127.0.0.1:1"], 1, "the target, redis://***@127.0.0.1:1"),
    ] {
        let done = run(&arguments).await;
        let said = text(&done.stderr);
        assert_eq!(done.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(part), "{arguments:?}: {said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
    assert_eq!(run(&["--from", &url]).await.status.code(), Some(2));
    assert_eq!(run(&["--from", &url, "--to", "embedded:", "--rate", "0"]).await.status.code(), Some(2));
}

#[tokio::test]
async fn a_dry_run_makes_no_file() {
    let redis = RedisServer::start();
    fill(&redis, 3, "value").await;
    let folder = tempfile::tempdir().unwrap();
    let to = format!("embedded:{}", folder.path().join("data/new.redb").display());
    let report = migrate(&["--from", &redis.url(), "--to", &to, "--dry-run"]).await;
    assert_eq!((&report["copied"], &report["dry_run"]), (&3.into(), &Json::Bool(true)));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_running_gateways_file_and_a_damaged_one_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let redis = RedisServer::start();
    let file = folder.path().join("lastgood.redb");
    let from = format!("embedded:{}", file.display());
    let gateway = Running::start("http://127.0.0.1:9", &[("store", &from)]).await;
    let done = run(&["--from", &from, "--to", &redis.url()]).await;
    assert_eq!(done.status.code(), Some(1));
    assert!(text(&done.stderr).contains("another process"), "{}", text(&done.stderr));
    gateway.stop().await;
    std::fs::write(&file, "no database").unwrap();
    let done = run(&["--from", &from, "--to", &redis.url()]).await;
    assert_eq!(done.status.code(), Some(1));
    assert!(text(&done.stderr).contains("damaged"), "{}", text(&done.stderr));
}

#[tokio::test]
async fn it_can_be_interrupted_and_run_again_and_shows_how_far_it_is() {
    let (from, to) = (RedisServer::start(), RedisServer::start());
    fill(&from, 400, "value").await;
    let urls = [from.url(), to.url()];
    let [from_url, to_url] = &urls;
    let folder = tempfile::tempdir().unwrap();
    let mut child = command(folder.path(), &["--from", from_url, "--to", to_url, "--rate", "100"]).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let line = lines.next_line().await.unwrap().unwrap();
    assert!(line.contains("of about") && line.contains("keys read") && line.contains("copied"), "{line}");
    interrupt(&child).await;
    let done = child.wait_with_output().await.unwrap();
    let mut said = String::new();
    while let Some(line) = lines.next_line().await.unwrap() {
        said = format!("{said}{line}\n");
    }
    assert_eq!(done.status.code(), Some(1), "{said}");
    assert!(said.contains("interrupted; run the same command again"), "{said}");
    assert!(text(&done.stdout).contains("the last key was lastgood:prices:v1:key-"), "{}", text(&done.stdout));

    let missing = migrate(&["--from", from_url, "--to", to_url, "--dry-run"]).await;
    let (there, left) = (missing["already_there"].as_u64().unwrap(), missing["copied"].as_u64().unwrap());
    assert!(there > 0 && left > 0 && there + left == 400, "{missing}");
    let rest = migrate(&["--from", from_url, "--to", to_url]).await;
    assert_eq!((&rest["copied"], &rest["already_there"]), (&left.into(), &there.into()), "{rest}");
}

async fn interrupt(child: &Child) {
    let pid = child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().await.unwrap().success());
}

#[tokio::test]
async fn a_target_that_takes_no_writes_fails_it_and_the_source_keeps_everything() {
    let from = RedisServer::start();
    let to = RedisServer::start_with(&["--min-replicas-to-write", "1"]);
    fill(&from, 3, "value").await;
    let done = run(&["--from", &from.url(), "--to", &to.url()]).await;
    assert_eq!(done.status.code(), Some(1));
    let said = text(&done.stderr);
    assert!(said.contains("failed: lastgood:prices:v1:key-00000") && said.contains("NOREPLICAS"), "{said}");
    to.command(&["CONFIG", "SET", "min-replicas-to-write", "0"]);
    assert_eq!(migrate(&["--from", &from.url(), "--to", &to.url()]).await["copied"], 3);
}

#[tokio::test]
async fn twenty_thousand_keys_pass_through_bounded_memory_while_the_target_blinks() {
    let (from, mut to) = (RedisServer::start(), RedisServer::start());
    fill(&from, 20_000, &"0123456789abcdef".repeat(512)).await;
    let folder = tempfile::tempdir().unwrap();
    let urls = [from.url(), to.url()];
    let mut child = command(folder.path(), &["--from", &urls[0], "--to", &urls[1], "--json"]).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id().unwrap());
    let (mut out, mut peak, mut has_blinked) = (child.stdout.take().unwrap(), 0, false);
    let ended = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        let of = std::fs::read_to_string(&status).unwrap_or_default();
        let now = of.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
        peak = peak.max(now.unwrap_or(0_u64));
        if !has_blinked && to.command(&["DBSIZE"]).trim() != ":0" {
            to.kill();
            tokio::time::sleep(Duration::from_millis(300)).await;
            to.restart();
            has_blinked = true;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let mut report = String::new();
    out.read_to_string(&mut report).await.unwrap();
    let report: Json = serde_json::from_str(&report).unwrap();
    assert!(ended.success() && has_blinked, "{report}");
    assert_eq!((&report["read"], &report["copied"]), (&20_000.into(), &20_000.into()), "{report}");
    // The values alone are 160 MiB.
    assert!(peak > 0 && peak < 100 << 10, "{peak} KiB");
    // What the killed server had lost was copied again.
    assert_eq!(to.command(&["DBSIZE"]).trim(), ":20000");
}
