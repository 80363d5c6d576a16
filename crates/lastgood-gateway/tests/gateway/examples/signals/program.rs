//! The program as the platform starts it: by its environment alone.

use lastgood_testing::Port;
use tokio::io::{AsyncBufReadExt, BufReader};

use super::*;

/// The program itself, with an environment of its own.
struct Program {
    url: String,
    log: std::path::PathBuf,
    _folder: tempfile::TempDir,
    _process: tokio::process::Child,
}

impl Program {
    async fn start(env: &BTreeMap<&'static str, String>) -> Program {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let out = std::fs::File::create(&log).unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_lastgood"))
            .arg("serve")
            .arg("--config")
            .arg(path("signals", "lastgood.toml"))
            .args(["--listen", "127.0.0.1:0"])
            .env_clear()
            .env("HOME", folder.path())
            .envs(env)
            .stdin(Stdio::null())
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .kill_on_drop(true)
            .spawn()
            .expect("it starts");
        let mut url = String::new();
        let listens = async || {
            assert!(process.try_wait().unwrap().is_none(), "{}", std::fs::read_to_string(&log).unwrap());
            let mut lines = BufReader::new(tokio::fs::File::open(&log).await.unwrap()).lines();
            while let Some(line) = lines.next_line().await.unwrap() {
                if let Some((_, rest)) = line.split_once("listen=") {
                    let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
                    url = rest[..end].trim_matches('"').to_owned();
                    return true;
                }
            }
            false
        };
        eventually("the program listens", listens).await;
        Program { url, log, _folder: folder, _process: process }
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    async fn get(&self, target: &str) -> Got {
        let got = get(format!("{}{target}", self.url)).await;
        assert_eq!(got.status, 200, "{target}: {}", got.text());
        got
    }
}

/// Redis as Upstash offers it: TLS alone, and a token as the password of the user `default`.
struct Upstash {
    _server: RedisServer,
    _port: Port,
    url: String,
    certificate: String,
    _folder: tempfile::TempDir,
}

const TOKEN: &str = "AX1sASQgZjNmN2ItNDQ3ZS00ZTk3Q-_Q1ZDk4YTk2==";

impl Upstash {
    fn start() -> Upstash {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name).display().to_string();
        let (key, certificate) = (file("key.pem"), file("certificate.pem"));
        let made = std::process::Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"])
            .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"])
            .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout", &key, "-out", &certificate])
            .output();
        assert!(made.is_ok_and(|made| made.status.success()), "this test needs `openssl` (Debian: openssl)");
        let port = Port::take();
        let server = RedisServer::start_with(&[
            "--tls-port",
            &port.number().to_string(),
            "--tls-cert-file",
            &certificate,
            "--tls-key-file",
            &key,
            "--tls-ca-cert-file",
            &certificate,
            "--tls-auth-clients",
            "no",
            "--requirepass",
            TOKEN,
        ]);
        Upstash {
            _server: server,
            url: format!("rediss://default:{TOKEN}@localhost:{}", port.number()),
            _port: port,
            certificate,
            _folder: folder,
        }
    }
}

#[tokio::test]
async fn upstash_is_found_from_redis_url_alone() {
    let platform = Platform::start().await;
    let upstash = Upstash::start();
    let mut env = platform.environment(Some(&upstash.url));
    env.insert("SSL_CERT_FILE", upstash.certificate.clone());
    let health = async |program: &Program| program.get("/health").await.json();

    let first = Program::start(&env).await;
    let store = health(&first).await["cache"]["store"].to_string();
    assert!(store.contains("rediss://localhost") && !store.contains(TOKEN), "{store}");
    // Another program finds there what the first has loaded; each question is asked once.
    let second = Program::start(&env).await;
    let mut limit = 1;
    eventually("it is found in the store", async || {
        let question = |limit: u32| format!("{LEADERBOARD}?limit={limit}");
        first.get(&question(limit + 1)).await;
        let found = second.get(&question(limit)).await;
        limit += 1;
        found.header("cache-status").contains("detail=store")
    })
    .await;

    // Without trust in its certificate it is never used, and no reader notices.
    env.remove("SSL_CERT_FILE");
    let third = Program::start(&env).await;
    assert_eq!(third.get(LEADERBOARD).await.cache(), "MISS");
    assert_eq!(third.get(LEADERBOARD).await.cache(), "HIT");
    for program in [&first, &second, &third] {
        assert!(!program.said().contains(TOKEN), "{}", program.said());
    }
}

async fn everything(gateway: &Running) -> Vec<(String, String, bytes::Bytes)> {
    let mut all = Vec::new();
    let timeframes =
        ["15m", "1h", "4h", "1d"].map(|one| format!("/api/v3/klines?symbol=BTCUSDT&interval={one}&limit=9"));
    let targets = declared().map(str::to_owned).chain(timeframes).chain([PRICE.to_owned()]);
    for target in targets {
        for _ in 0..2 {
            let got = ok(gateway, &target).await;
            all.push((target.clone(), got.cache().to_owned(), got.body));
        }
    }
    all
}

#[tokio::test]
async fn everything_works_unchanged_without_redis() {
    let platform = Platform::start().await;
    platform.exchange.sim.set_clock(lastgood_sim::ClockMode::Frozen(crate::support::half_past()));
    let mut redis = RedisServer::start();
    let with = platform.gateway(Some(&redis)).await;
    let expected = everything(&with).await;
    for without in [None, Some(RedisIs::Down), Some(RedisIs::Stopped)] {
        let (gateway, _redis) = platform.with_redis(without).await;
        assert_eq!(everything(&gateway).await, expected, "Redis {without:?}");
    }
    // It dies while it is in use: what was held is held, and what expires is loaded.
    redis.kill();
    let hits = |all: &[(String, String, bytes::Bytes)]| all.iter().filter(|(_, cache, _)| cache == "HIT").count();
    let after = everything(&with).await;
    assert!(hits(&after) > hits(&expected), "{after:?}");
    assert!(expected.iter().zip(&after).all(|(one, other)| one.2 == other.2));
    assert_eq!(expire(&with, "signals").await["matched"], 12);
    let loaded = ok(&with, LEADERBOARD).await;
    assert_eq!((loaded.status, loaded.header("age")), (200, "0"), "{}", loaded.header("cache-status"));
}
