//! The gateway's disk: full, read-only, and private.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command};

use lastgood_testing::Disk;

use crate::process::listening;
use crate::support::{Running, Sink, client, eventually, get, read};

fn rights(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// What `/health` says of the store, and what the metric does.
async fn trouble_of(url: &str) -> (String, Option<String>, bool) {
    let health = get(format!("{url}/health")).await.json();
    let metrics = get(format!("{url}/metrics")).await;
    let is_in_trouble = metrics.text().lines().any(|line| line == "lastgood_store_in_trouble 1");
    let trouble = health["cache"]["store_trouble"].as_str().map(str::to_owned);
    (health["cache"]["status"].as_str().unwrap().to_owned(), trouble, is_in_trouble)
}

async fn put(url: &str, key: &str, value: Vec<u8>) -> u16 {
    let target = format!("{url}/v1/kv/kv/{key}?fresh_for=1h");
    read(client().put(target).body(value).send().await.unwrap()).await.status
}

/// A gateway in a process of its own that can write no file beyond a size.
struct Limited(Child);

impl Limited {
    fn start(data: &Path) -> (Limited, String) {
        let shell = r#"trap "" XFSZ; ulimit -S -f 8000; exec "$0" "$@""#;
        let mut command = Command::new("sh");
        command
            .args(["-c", shell, env!("CARGO_BIN_EXE_lastgood"), "serve", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(data);
        let (child, url) = listening(command.env_clear().env("LASTGOOD_BINANCE_SPOT_URL", "http://127.0.0.1:9"));
        (Limited(child), url)
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_full_disk_shows_in_health_and_in_a_metric_until_there_is_room_again() {
    let data = tempfile::tempdir().unwrap();
    let (gateway, url) = Limited::start(&data.path().join("data"));
    assert_eq!(trouble_of(&url).await, ("ok".to_owned(), None, false));
    assert_eq!(put(&url, "early", b"value".to_vec()).await, 201);
    let filled = async || {
        for key in 1..=20u64 {
            // What cannot be packed.
            let mut state = key.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let mut noise = || {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 32) as u8
            };
            let value = (0..400_000).map(|_| noise()).collect();
            assert!(matches!(put(&url, &key.to_string(), value).await, 201 | 202 | 204));
        }
        trouble_of(&url).await.2
    };
    eventually("the disk is full", filled).await;
    let (status, trouble, _) = trouble_of(&url).await;
    assert_eq!(status, "degraded");
    assert!(trouble.is_some_and(|why| why.contains("refused")));
    // Everybody is answered all the same.
    assert_eq!(get(format!("{url}/v1/kv/kv/early")).await.text(), "value");
    let freed = Command::new("prlimit").args(["--pid", &gateway.0.id().to_string(), "--fsize=unlimited"]).status();
    assert!(freed.is_ok_and(|status| status.success()), "this test needs `prlimit` (Debian: util-linux)");
    eventually("there is room", async || trouble_of(&url).await == ("ok".to_owned(), None, false)).await;
}

#[tokio::test]
async fn what_lies_on_a_read_only_disk_is_served_and_health_says_that_nothing_new_is_kept() {
    let disk = Disk::new("32m");
    let data = disk.path().join("data");
    let more = [("store", "embedded:"), ("data_dir", data.to_str().unwrap())];
    let gateway = Running::start("http://127.0.0.1:9", &more).await;
    assert_eq!(put(&gateway.url(""), "early", b"value".to_vec()).await, 201);
    gateway.stop().await;
    disk.set_read_only(true);
    let log = Sink::of_the_log("info");
    let gateway = Running::start("http://127.0.0.1:9", &more).await;
    assert_eq!(get(gateway.url("/v1/kv/kv/early")).await.text(), "value");
    let (status, trouble, is_in_trouble) = trouble_of(&gateway.url("")).await;
    assert_eq!((status.as_str(), is_in_trouble), ("degraded", true));
    assert!(trouble.is_some_and(|why| why.contains("cannot be written")));
    assert!(log.text().contains("the cache file cannot be written"), "{}", log.text());
    // Memory keeps new values, and says that the disk does not.
    assert_eq!(put(&gateway.url(""), "new", b"value".to_vec()).await, 202);
    assert_eq!(get(gateway.url("/v1/kv/kv/new")).await.text(), "value");
    disk.set_read_only(false);
    eventually("it is written", async || trouble_of(&gateway.url("")).await == ("ok".to_owned(), None, false)).await;
    gateway.stop().await;
}

#[tokio::test]
async fn the_data_directory_and_its_files_are_their_owner_s_alone() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let more = [("store", "embedded:"), ("data_dir", data.to_str().unwrap())];
    Running::start("http://127.0.0.1:9", &more).await.stop().await;
    let files = || std::fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().path());
    assert!(files().count() >= 2, "{:?}", files().collect::<Vec<_>>());
    let are_tight = || rights(&data) == 0o700 && files().all(|file| rights(&file) == 0o600);
    assert!(are_tight(), "{:?}", files().map(|file| (rights(&file), file)).collect::<Vec<_>>());
    // One of an older version.
    std::fs::write(data.join("bans.json"), "{}").unwrap();
    for (path, mode) in files().map(|file| (file, 0o644)).chain([(data.clone(), 0o755)]) {
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    }
    let log = Sink::of_the_log("info");
    Running::start("http://127.0.0.1:9", &more).await.stop().await;
    assert!(are_tight(), "{:?}", files().map(|file| (rights(&file), file)).collect::<Vec<_>>());
    assert_eq!(log.text().matches("others could read the data directory").count(), 1, "{}", log.text());
    Running::start("http://127.0.0.1:9", &more).await.stop().await;
    assert_eq!(log.text().matches("others could read the data directory").count(), 1);
}

/// A gateway that begins while its file cannot be used: it serves, and says of nothing that it is kept.
async fn keeps_nothing_and_says_so(gateway: &Running, why: &str) {
    let health = get(gateway.url("/health")).await.json();
    assert_eq!((&health["status"], &health["cache"]["state"]), (&"degraded".into(), &"failing".into()), "{health}");
    assert!(health["reasons"].to_string().contains(why), "{health}");
    assert!(trouble_of(&gateway.url("")).await.2);
    let send = async |method: reqwest::Method, target: &str, body: &'static str| {
        read(client().request(method, gateway.url(target)).body(body).send().await.unwrap()).await
    };
    for round in 0..10 {
        let key = format!("/v1/kv/kv/new{round}");
        let stored = send(reqwest::Method::PUT, &format!("{key}?fresh_for=1h"), "value").await;
        assert_eq!((stored.status, &stored.json()["store"]["on_disk"]), (202, &false.into()), "{}", stored.text());
        assert_eq!(get(gateway.url(&key)).await.text(), "value");
        let removed = send(reqwest::Method::DELETE, &format!("/v1/kv/kv/old{round}"), "").await;
        assert_eq!(removed.status, 202, "{}", removed.text());
        let invalidated = send(reqwest::Method::POST, "/api/cache/invalidate", r#"{"key":"kv:old","hard":true}"#).await;
        assert_eq!(invalidated.status, 202, "{}", invalidated.text());
    }
    let metrics = get(gateway.url("/metrics")).await;
    let metrics = metrics.text();
    assert!(metrics.lines().any(|line| line == "lastgood_degraded 1"), "{metrics}");
    let is_failing = |line: &str| line.starts_with("lastgood_failing{") && line.contains(r#"kind="store""#);
    assert!(metrics.lines().any(is_failing), "{metrics}");
}

#[tokio::test]
async fn a_data_directory_in_use_by_another_gateway_is_said_and_taken_over_when_that_ends() {
    let folder = tempfile::tempdir().unwrap();
    let more = [("store", "embedded:"), ("data_dir", folder.path().to_str().unwrap())];
    let first = Running::start("http://127.0.0.1:9", &more).await;
    assert_eq!(put(&first.url(""), "early", b"value".to_vec()).await, 201);
    let second = Running::start("http://127.0.0.1:9", &more).await;
    keeps_nothing_and_says_so(&second, "another process has it open").await;
    first.stop().await;
    eventually("it is opened", async || trouble_of(&second.url("")).await == ("ok".to_owned(), None, false)).await;
    assert_eq!(get(second.url("/v1/kv/kv/early")).await.text(), "value");
    assert_ne!(put(&second.url(""), "late", b"value".to_vec()).await, 202);
    let unconfirmed = async || get(second.url("/health")).await.json()["cache"]["unconfirmed_removals"].clone();
    eventually("it has all that waited", async || unconfirmed().await == 0).await;
    second.stop().await;
    let third = Running::start("http://127.0.0.1:9", &more).await;
    for kept in ["early", "late", "new3"] {
        assert_eq!(get(third.url(&format!("/v1/kv/kv/{kept}"))).await.text(), "value", "{kept}");
    }
    third.stop().await;
}

#[tokio::test]
async fn a_file_that_cannot_be_made_is_said_and_the_gateway_serves() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "no directory").unwrap();
    let taken = folder.path().join("taken");
    std::fs::create_dir_all(taken.join("lastgood.redb")).unwrap();
    for data in [file.join("data"), taken] {
        let more = [("store", "embedded:"), ("data_dir", data.to_str().unwrap())];
        let gateway = Running::start("http://127.0.0.1:9", &more).await;
        keeps_nothing_and_says_so(&gateway, "cannot open").await;
        gateway.stop().await;
    }
}

/// A gateway without an exchange whose store lies on a disk.
async fn with_store_on(disk: &Disk) -> Running {
    let data = disk.path().join("data");
    Running::start("http://127.0.0.1:9", &[("store", "embedded:"), ("data_dir", data.to_str().unwrap())]).await
}

/// Bytes that cannot be packed.
fn noise(seed: u64, count: usize) -> Vec<u8> {
    let mut state = (seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    std::iter::repeat_with(byte).take(count).collect()
}

#[tokio::test]
async fn what_was_confirmed_on_a_disk_that_fills_up_is_so_after_a_restart() {
    let disk = Disk::new("8m");
    if !disk.is_small() {
        return;
    }
    let gateway = with_store_on(&disk).await;
    let send = async |method: reqwest::Method, target: String, body: Vec<u8>| {
        read(client().request(method, gateway.url(&target)).body(body).send().await.unwrap()).await.status
    };
    for key in 0..20 {
        assert_eq!(put(&gateway.url(""), &format!("old{key}"), noise(key, 20_000)).await, 201);
    }
    let ballast = disk.path().join("ballast");
    assert!(std::fs::write(&ballast, vec![1; 8 << 20]).is_err(), "the disk is small");
    let mut kept = Vec::new();
    for key in 0..20 {
        let removed = match key % 2 {
            0 => send(reqwest::Method::DELETE, format!("/v1/kv/kv/old{key}"), Vec::new()).await,
            _ => {
                let body = format!(r#"{{"key":"kv:old{key}","hard":true}}"#);
                send(reqwest::Method::POST, "/api/cache/invalidate".to_owned(), body.into()).await
            }
        };
        let stored = put(&gateway.url(""), &format!("new{key}"), noise(key, 100_000)).await;
        assert!(matches!(removed, 200 | 204 | 202) && matches!(stored, 201 | 202), "{removed} {stored}");
        assert_eq!(get(gateway.url(&format!("/v1/kv/kv/old{key}"))).await.status, 404);
        kept.push((key, removed != 202, stored == 201));
    }
    let health = get(gateway.url("/health")).await.json();
    assert_eq!(health["status"], "degraded", "{health}");
    assert!(health["cache"]["unconfirmed_removals"].as_u64().is_some_and(|some| some > 0), "{health}");
    gateway.stop().await;
    std::fs::remove_file(&ballast).unwrap();
    let gateway = with_store_on(&disk).await;
    for (key, removed, stored) in kept {
        let status = async |name: &str| get(gateway.url(&format!("/v1/kv/kv/{name}{key}"))).await.status;
        assert!(!removed || status("old").await == 404, "old{key} was removed");
        assert!(!stored || status("new").await == 200, "new{key} was stored");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn of_more_values_than_a_disk_has_room_for_those_that_were_confirmed_are_kept() {
    let disk = Disk::new("8m");
    if !disk.is_small() {
        return;
    }
    let gateway = with_store_on(&disk).await;
    let mut confirmed = Vec::new();
    for key in 1..=40 {
        if put(&gateway.url(""), &key.to_string(), noise(key, 400_000)).await == 201 {
            confirmed.push(key);
        }
    }
    assert!((1..40).contains(&confirmed.len()), "{confirmed:?}");
    gateway.stop().await;
    let gateway = with_store_on(&disk).await;
    for key in confirmed {
        assert_eq!(get(gateway.url(&format!("/v1/kv/kv/{key}"))).await.status, 200, "{key}");
    }
    gateway.stop().await;
}
