//! Stock prices over objects in a bucket, each feature with Redis up, down and stopped.

mod answers;
mod buckets;

use std::process::Stdio;

use lastgood_testing::RedisServer;
use serde_json::{Value, json};
use tokio::process::Command;

use super::{RedisIs, admin, eventually, number_after, path, read_ok, run_once, settings_of, ttl};
use crate::support::{Running, client, get};

const LATEST: &str = "/v1/stocks/BYYF/latest";
const RECENT: &str = "/v1/stocks/BYYF/recent";
const LIST: &str = "/v1/stocks";
const INFO: &str = "/v1/stocks/BYYF/info";
/// The stocks that the example keeps warm, and those that it does not.
const POPULAR: [&str; 10] = ["AAPL", "MSFT", "NVDA", "AMZN", "GOOGL", "META", "TSLA", "BRK.B", "JPM", "V"];
const OTHERS: [&str; 4] = ["AAAA", "BYYF", "CWXL", "DUWR"];
const DAYS: usize = 60;
/// Answers that the example loads ahead: two of each popular stock, and the list.
const WARMED: u64 = 2 * POPULAR.len() as u64 + 1;

/// A folder of objects and a Redis.
struct Scene {
    folder: tempfile::TempDir,
    redis: RedisServer,
}

impl Scene {
    async fn with(redis: RedisIs) -> Scene {
        let scene = Scene { folder: tempfile::tempdir().unwrap(), redis: redis.server() };
        scene.make(&["--stocks", "14", "--days", &DAYS.to_string()]).await;
        scene
    }

    /// Runs the example's own script on the folder.
    async fn make(&self, arguments: &[&str]) {
        make(&self.folder.path().display().to_string(), arguments).await;
    }

    fn object(&self, symbol: &str) -> Value {
        let path = self.folder.path().join(format!("stock-data/daily/{symbol}.json"));
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    }

    async fn gateway(&self, env: &[(&str, &str)]) -> Running {
        let bucket = format!("file:{}", self.folder.path().display());
        serve(None, &bucket, &self.redis, env).await
    }
}

async fn make(place: &str, arguments: &[&str]) {
    let mut script = Command::new(path("stock-api", "objects.py"));
    let done = script.arg(place).args(arguments).stdin(Stdio::null()).status().await.expect("python3");
    assert!(done.success());
}

/// A gateway on the example's file, or another, that has loaded what it keeps warm.
async fn serve(file: Option<&str>, bucket: &str, redis: &RedisServer, env: &[(&str, &str)]) -> Running {
    let data = tempfile::tempdir().unwrap();
    let (redis, data_dir) = (redis.url(), data.path().display().to_string());
    let own = [("STOCK_BUCKET", bucket), ("REDIS_URL", &redis), ("LASTGOOD_DATA_DIR", &data_dir)];
    let env: Vec<(&str, &str)> = own.into_iter().chain(env.iter().copied()).collect();
    let gateway = Running::serve(&settings_of("stock-api", file, &env, &[]), data).await;
    if !env.iter().any(|(_, value)| *value == "false") {
        eventually("the popular symbols are warm", async || count(&gateway, "keys").await >= WARMED).await;
    }
    gateway
}

/// A number of the statistics, over the regions of stocks.
async fn count(gateway: &Running, name: &str) -> u64 {
    let stats = get(gateway.url("/api/cache/stats")).await.json();
    let regions = stats["regions"].as_object().unwrap();
    regions.iter().filter(|(region, _)| region.starts_with("stock_")).map(|(_, of)| of[name].as_u64().unwrap()).sum()
}

#[tokio::test]
async fn the_latest_price_is_kept_for_five_minutes() {
    for redis in RedisIs::ALL {
        let scene = Scene::with(redis).await;
        let gateway = scene.gateway(&[]).await;
        let (first, second) = (read_ok(&gateway, LATEST).await, read_ok(&gateway, LATEST).await);
        assert_eq!((first.cache(), second.cache()), ("MISS", "HIT"), "Redis {redis:?}");
        assert!((255..=300).contains(&ttl(&second)), "{}", second.header("cache-status"));
        assert_eq!(second.text(), latest_of(&scene.object("BYYF")), "Redis {redis:?}");
    }
}

/// The latest price of an object as text, computed in whole cents.
fn latest_of(object: &Value) -> String {
    let points = object["data_points"].as_array().unwrap();
    let [.., before, last] = points.as_slice() else { panic!("{object}") };
    let cents = |point: &Value| (point["close"].as_f64().unwrap() * 100.0).round() as i64;
    let change = cents(last) - cents(before);
    // Hundredths of a percent, a half away from zero.
    let percent = (20_000 * change.abs() + cents(before)) / (2 * cents(before)) * change.signum();
    let number = |hundredths: i64| {
        let sign = if hundredths < 0 { "-" } else { "" };
        let text = format!("{sign}{}.{:02}", hundredths.abs() / 100, hundredths.abs() % 100);
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    let (date, volume) = (&last["date"], &last["volume"]);
    // The object writes two digits, and so does the copy.
    let close = format!("{}.{:02}", cents(last) / 100, cents(last) % 100);
    format!(
        r#"{{"date":{date},"close":{close},"volume":{volume},"change":{},"change_percent":{}}}"#,
        number(change),
        number(percent)
    )
}

#[tokio::test]
async fn a_value_with_a_true_end_is_gone_while_one_without_stays_as_the_last_good() {
    for redis in RedisIs::ALL {
        let scene = Scene::with(redis).await;
        let gateway = scene.gateway(&[]).await;
        let put = async |target: &str| {
            let got = client().put(gateway.url(target)).body("191.20").send().await.unwrap();
            let is_up = matches!(redis, RedisIs::Up);
            assert_eq!(got.status(), if is_up { 201 } else { 202 }, "{target}, Redis {redis:?}");
        };
        put("/v1/kv/stock_notes/quote?ttl=100ms").await;
        put("/v1/kv/stock_notes/note?fresh_for=100ms").await;
        let outcome = async |key: &str| {
            let got = get(gateway.url(&format!("/v1/kv/stock_notes/{key}"))).await;
            (got.status, got.cache().to_owned())
        };
        eventually("the quote is gone", async || outcome("quote").await == (404, "MISS".to_owned())).await;
        eventually("the note is old", async || outcome("note").await == (200, "LAST-GOOD".to_owned())).await;
        assert_eq!(outcome("quote").await.0, 404, "Redis {redis:?}");
    }
}

#[tokio::test]
async fn with_little_memory_it_gives_up_the_least_asked_keys_and_answers_everything() {
    let scene = Scene::with(RedisIs::Down).await;
    let gateway = scene.gateway(&[("LASTGOOD_MEMORY_LIMIT", "1MiB"), ("LASTGOOD_STORE_URL", "memory:")]).await;
    let mut asked = 0;
    for days in (DAYS / 2..=DAYS).rev() {
        for symbol in POPULAR.into_iter().chain(OTHERS) {
            asked += read_ok(&gateway, &format!("/v1/stocks/{symbol}/recent?days={days}")).await.body.len();
        }
    }
    let held = count(&gateway, "memory_bytes").await;
    assert!(asked > 2 << 20 && held <= 1 << 20 && held > 1 << 18, "{asked} bytes were asked for, {held} are held");
}

#[tokio::test]
async fn the_statistics_come_in_one_body_too() {
    for redis in [RedisIs::Up, RedisIs::Down] {
        let scene = Scene::with(redis).await;
        let gateway = scene.gateway(&[]).await;
        for _ in 0..5 {
            read_ok(&gateway, LATEST).await;
        }
        let stats = get(gateway.url("/cache/stats")).await.json();
        for field in ["enabled", "connected", "memory_used", "keys", "hits", "misses", "errors", "hit_rate"] {
            assert!(stats.get(field).is_some(), "{field} is not in {stats}");
        }
        assert!(stats["hits"].as_u64() >= Some(4) && stats["misses"].as_u64() >= Some(1), "Redis {redis:?}: {stats}");
    }
}

/// The symbols of the list.
fn symbols(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn clearing_a_symbol_reloads_its_routes_and_no_other() {
    for redis in RedisIs::ALL {
        let scene = Scene::with(redis).await;
        let gateway = scene.gateway(&[]).await;
        for cleared in ["AAPL", "BRK.B"] {
            let answer = admin(&gateway, &format!("/api/cache/clear/{cleared}"), json!({})).await;
            assert!(answer["removed"].as_u64() >= Some(2), "{cleared}: {answer}");
            for symbol in POPULAR {
                for route in ["latest", "recent"] {
                    let got = read_ok(&gateway, &format!("/v1/stocks/{symbol}/{route}")).await;
                    let expected = if symbol == cleared { "MISS" } else { "HIT" };
                    assert_eq!(got.cache(), expected, "{symbol} {route} after {cleared}, Redis {redis:?}");
                }
            }
            assert_eq!(read_ok(&gateway, LIST).await.cache(), "HIT");
        }
    }
}

#[tokio::test]
async fn a_cleared_symbol_is_read_again_from_its_object() {
    let scene = Scene::with(RedisIs::Up).await;
    let gateway = scene.gateway(&[]).await;
    let close = async |route: &str| -> f64 {
        let got = read_ok(&gateway, &format!("/v1/stocks/MSFT/{route}")).await.json();
        let last = got["data_points"].as_array().map_or(&got, |points| &points[points.len() - 1]);
        last["close"].as_f64().unwrap()
    };
    let before = close("latest").await;
    scene.make(&["--only", "MSFT", "--days", "60"]).await;
    assert_eq!(close("latest").await, before, "it is fresh for five minutes");
    admin(&gateway, "/api/cache/clear/MSFT", json!({})).await;
    for route in ["latest", "recent"] {
        assert!((close(route).await / before - 2.0).abs() < 0.01, "{route}");
    }
}

#[tokio::test]
async fn popular_symbols_are_warm_before_anyone_asks() {
    for redis in RedisIs::ALL {
        let scene = Scene::with(redis).await;
        let gateway = scene.gateway(&[]).await;
        for symbol in POPULAR {
            for route in ["latest", "recent"] {
                let got = read_ok(&gateway, &format!("/v1/stocks/{symbol}/{route}")).await;
                assert_eq!(got.cache(), "HIT", "{symbol} {route}, Redis {redis:?}");
            }
        }
        assert_eq!(count(&gateway, "misses").await, 0, "no reader waited; Redis {redis:?}");
    }
}

#[tokio::test]
async fn the_flag_turns_the_cache_off_and_on() {
    for redis in RedisIs::ALL {
        for flag in ["LASTGOOD_ENABLED", "CACHE_ENABLED", "REDIS_ENABLED"] {
            let scene = Scene::with(redis).await;
            let gateway = scene.gateway(&[(flag, "false")]).await;
            for _ in 0..2 {
                assert_eq!(read_ok(&gateway, LATEST).await.cache(), "PASS", "{flag}, Redis {redis:?}");
            }
            admin(&gateway, "/api/cache/enable", json!({})).await;
            assert_eq!(read_ok(&gateway, LATEST).await.cache(), "MISS");
            assert_eq!(read_ok(&gateway, LATEST).await.cache(), "HIT");
            admin(&gateway, "/api/cache/disable", json!({})).await;
            assert_eq!(read_ok(&gateway, LATEST).await.cache(), "PASS");
            assert_eq!(get(gateway.url("/api/cache/status")).await.json()["enabled"], false);
        }
    }
}

#[tokio::test]
async fn stats_tell_hits_misses_and_keys_of_each_region() {
    for redis in RedisIs::ALL {
        let scene = Scene::with(redis).await;
        let gateway = scene.gateway(&[]).await;
        for _ in 0..5 {
            read_ok(&gateway, LATEST).await;
        }
        let latest = get(gateway.url("/api/cache/stats")).await.json()["regions"]["stock_latest"].clone();
        assert_eq!((&latest["misses"], &latest["hits"]["memory"]), (&json!(1), &json!(4)), "{latest}");
        assert_eq!((&latest["hit_rate"], &latest["keys"]), (&json!(0.8), &json!(POPULAR.len() + 1)), "Redis {redis:?}");
        assert!(latest["last_refresh"].is_u64() && latest["memory_bytes"].as_u64() > Some(1_000), "{latest}");
    }
}

#[tokio::test]
async fn large_values_are_compressed_in_redis() {
    let scene = Scene::with(RedisIs::Up).await;
    let gateway = scene.gateway(&[("LASTGOOD_STORE_BUDGET", "1s")]).await;
    eventually("Redis is attached", async || scene_is_attached(&gateway).await).await;
    let body = read_ok(&gateway, &format!("{RECENT}?days=60")).await.body;
    let kept = async |name: &str| -> usize {
        assert!(gateway.gateway.cache().sync(std::time::Duration::from_secs(5)).await);
        let keys = scene.redis.command(&["KEYS", &format!("lastgood:stock_*{name}")]);
        let key = keys.lines().find(|line| line.starts_with("lastgood:")).unwrap_or_else(|| panic!("{name}: {keys}"));
        scene.redis.command(&["STRLEN", key]).trim().trim_start_matches(':').parse().unwrap()
    };
    let packed = kept("symbol=BYYF&days=60").await;
    assert!(packed * 2 < body.len(), "{} bytes are kept as {packed}", body.len());
    let small = read_ok(&gateway, LATEST).await.body;
    assert!(kept("symbol=BYYF").await > small.len(), "a small value stays as it is");
    // And another gateway reads it.
    let second = scene.gateway(&[("LASTGOOD_STORE_BUDGET", "1s")]).await;
    eventually("Redis is attached", async || scene_is_attached(&second).await).await;
    let got = read_ok(&second, &format!("{RECENT}?days=60")).await;
    assert_eq!((got.cache(), &got.body), ("HIT", &body));
    assert!(got.header("cache-status").contains("detail=store"), "{}", got.header("cache-status"));
}

async fn scene_is_attached(gateway: &Running) -> bool {
    let store = gateway.gateway.cache().probe_store().await.is_some_and(|probe| probe.is_ok());
    store && get(gateway.url("/health")).await.json()["breaker"] == "closed"
}

#[tokio::test]
async fn a_killed_redis_is_noticed_by_no_reader() {
    let mut scene = Scene::with(RedisIs::Up).await;
    let gateway = scene.gateway(&[]).await;
    for round in 0..3 {
        if round == 1 {
            scene.redis.kill();
        }
        for symbol in OTHERS {
            let expected = if round == 0 { "MISS" } else { "HIT" };
            let got = read_ok(&gateway, &format!("/v1/stocks/{symbol}/latest")).await;
            assert_eq!(got.cache(), expected, "{symbol} in round {round}");
            let got = read_ok(&gateway, &format!("/v1/stocks/{symbol}/recent?days={}", 10 + round)).await;
            assert_eq!(got.cache(), "MISS", "new questions are answered, too");
        }
    }
}

/// Ends the freshness of all that the example keeps.
async fn expire_all(gateway: &Running) {
    admin(gateway, "/api/cache/invalidate", json!({ "tag": "stocks" })).await;
}

#[tokio::test]
async fn a_folder_that_is_gone_is_an_outage_and_no_missing_stock() {
    let scene = Scene::with(RedisIs::Up).await;
    let bucket = scene.folder.path().join("mounted");
    std::fs::create_dir(&bucket).unwrap();
    std::fs::rename(scene.folder.path().join("stock-data"), bucket.join("stock-data")).unwrap();
    let gateway = serve(None, &format!("file:{}", bucket.display()), &scene.redis, &[]).await;
    let before = read_ok(&gateway, LATEST).await.body;
    expire_all(&gateway).await;
    std::fs::rename(&bucket, scene.folder.path().join("unmounted")).unwrap();
    let got = read_ok(&gateway, LATEST).await;
    assert_eq!((got.cache(), &got.body), ("LAST-GOOD", &before));
    assert_eq!(get(gateway.url("/v1/stocks/CWXL/latest")).await.status, 503);
}

#[tokio::test]
async fn the_example_runs_and_meets_what_it_promises() {
    for bucket in ["folder", "gcs"] {
        let ended = run_once("stock-api", &["--size", "small", "--bucket", bucket]).await;
        let (out, err) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
        assert!(ended.status.success() && !out.contains("BROKEN"), "{bucket}: {out}{err}");
        assert!(number_after(&out, "hit rate ") > 80.0, "{out}");
        assert!(number_after(&out, ", p99 ") < 100.0, "{out}");
    }
}
