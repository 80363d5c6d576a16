//! `lastgood credentials` as its user meets it, and what the gateway lets out of it.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use secrecy::SecretString;

use crate::support::{Exchange, Running, Sink, get};

const MASTER: &str = "8f2b7d1c6e5a4938271605f4e3d2c1b0a99887766554433221100ffeeddccbba";
const OTHER: &str = "1f2b7d1c6e5a4938271605f4e3d2c1b0a99887766554433221100ffeeddccbba";
const API_KEY: &str = "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A";
const SECRET: &str = "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j";
const PEM: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END PRIVATE KEY-----\n";

/// The program in an empty directory, which is its data directory as well.
struct Desk(tempfile::TempDir);

impl Desk {
    fn new() -> Self {
        Desk(tempfile::tempdir().unwrap())
    }

    /// With one credential, `main`.
    fn with_one() -> Self {
        let desk = Desk::new();
        let added = desk.run(MASTER, &["add", "main", "--environment", "testnet"], &format!("{API_KEY}\n{SECRET}\n"));
        assert_eq!(code(&added), 0, "{}", text(&added));
        desk
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("credentials")
    }

    /// Runs `lastgood credentials`.
    fn run(&self, master: &str, arguments: &[&str], input: &str) -> Output {
        self.command(master, &[&["credentials"], arguments].concat(), input)
    }

    /// Runs `lastgood` and sees to it that no secret comes out of it.
    fn command(&self, master: &str, arguments: &[&str], input: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lastgood"));
        command.args(arguments).current_dir(self.0.path()).env_clear();
        command.env("LASTGOOD_DATA_DIR", self.0.path()).env("LASTGOOD_MASTER_KEY", master);
        command.env("LASTGOOD_LOG", "trace");
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        // It may end before it reads.
        let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
        let output = child.wait_with_output().expect("it ends");
        for secret in [API_KEY, SECRET, MASTER, OTHER, "MC4CAQAwBQYDK2Vw"] {
            assert!(!text(&output).contains(secret), "{arguments:?} lets a secret out: {}", text(&output));
        }
        output
    }

    fn names(&self, master: &str) -> Vec<String> {
        let output = self.run(master, &["list", "--json"], "");
        assert_eq!(code(&output), 0, "{}", text(&output));
        let rows: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
        rows.iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect()
    }
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or(-1)
}

/// Everything that was printed.
fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

#[test]
fn added_credentials_are_listed_without_their_secrets() {
    let desk = Desk::with_one();
    let pem = format!("{API_KEY}\n{PEM}");
    let added = desk.run(MASTER, &["add", "f1", "--venue", "futures", "--algorithm", "ed25519", "--json"], &pem);
    assert_eq!(code(&added), 0, "{}", text(&added));
    let output = desk.run(MASTER, &["list", "--json"], "");
    let rows: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(rows[0]["name"], "main");
    assert_eq!((&rows[0]["venue"], &rows[0]["environment"]), (&"spot".into(), &"testnet".into()));
    assert_eq!((&rows[0]["algorithm"], &rows[0]["api_key_begins"]), (&"hmac-sha256".into(), &"vmPU".into()));
    assert_eq!((&rows[1]["venue"], &rows[1]["algorithm"]), (&"futures".into(), &"ed25519".into()));
    assert!(rows[1]["added_at"].as_str().unwrap().ends_with('Z'));
    let table = text(&desk.run(MASTER, &["list"], ""));
    assert!(table.contains("main") && table.contains("testnet") && table.contains("vmPU…"), "{table}");
    let file = std::fs::read_to_string(desk.file()).unwrap();
    for secret in [API_KEY, SECRET, MASTER, "vmPU", "MC4CAQAwBQYDK2Vw"] {
        assert!(!file.contains(secret), "{file}");
    }
}

#[test]
fn what_goes_wrong_says_so_with_its_hint_and_code() {
    let desk = Desk::with_one();
    let before = std::fs::read(desk.file()).unwrap();
    let input = format!("{API_KEY}\n{SECRET}\n");
    for (master, arguments, input, expected, says) in [
        ("", &["list"][..], "", 1, "openssl rand -hex 32"),
        ("", &["add", "x"], &input, 1, "openssl rand -hex 32"),
        ("too short", &["list"], "", 1, "openssl rand -hex 32"),
        (OTHER, &["list"], "", 1, "the master key does not fit"),
        (OTHER, &["add", "x"], &input, 1, "the master key does not fit"),
        (OTHER, &["rotate"], MASTER, 1, "the master key does not fit"),
        (MASTER, &["add", "main"], &input, 1, "already"),
        (MASTER, &["add", "x"], "", 1, "no API key was given"),
        (MASTER, &["add", "x"], API_KEY, 1, "no secret was given"),
        (MASTER, &["add", "x", "--algorithm", "ed25519"], &input, 1, "PKCS#8"),
        (MASTER, &["add", "two words"], &input, 2, "two words"),
        (MASTER, &["add", "x", "--venue", "moon"], &input, 2, "spot"),
        (MASTER, &["add"], &input, 2, "NAME"),
        (MASTER, &[], "", 2, "Usage"),
        (MASTER, &["remove", "unknown"], "", 1, "no credential named"),
        (MASTER, &["rotate"], "short", 1, "passphrase"),
    ] {
        let output = desk.run(master, arguments, input);
        assert_eq!(code(&output), expected, "{arguments:?}: {}", text(&output));
        assert!(text(&output).contains(says), "{arguments:?}: {}", text(&output));
        assert_eq!(std::fs::read(desk.file()).unwrap(), before, "{arguments:?}");
    }
    std::fs::write(desk.file(), &before[..before.len() / 2]).unwrap();
    let damaged = desk.run(MASTER, &["list"], "");
    assert_eq!(code(&damaged), 1);
    assert!(text(&damaged).contains("damaged") && text(&damaged).contains("backup"), "{}", text(&damaged));
}

#[test]
fn rotation_leaves_the_old_key_with_nothing() {
    let desk = Desk::with_one();
    let rotated = desk.run(MASTER, &["rotate", "--json"], &format!("{OTHER}\n"));
    assert_eq!(code(&rotated), 0, "{}", text(&rotated));
    assert_eq!(code(&desk.run(MASTER, &["list"], "")), 1);
    assert_eq!(desk.names(OTHER), ["main"]);
}

#[test]
fn a_write_that_was_killed_halfway_is_as_if_it_never_was() {
    let desk = Desk::with_one();
    std::fs::write(desk.file().with_extension("new"), "{\"format\": \"lastgood-").unwrap();
    assert_eq!(desk.names(MASTER), ["main"]);
    let added = desk.run(MASTER, &["add", "second"], &format!("{API_KEY}\n{SECRET}\n"));
    assert_eq!(code(&added), 0, "{}", text(&added));
    assert_eq!(desk.names(MASTER), ["main", "second"]);
}

#[test]
fn check_says_whether_the_credentials_open() {
    let desk = Desk::with_one();
    for (master, verdict, detail) in
        [(MASTER, "ok", "1 can be opened"), (OTHER, "failed", "does not fit"), ("", "failed", "no master key")]
    {
        // No upstream is asked: they all refuse.
        let nowhere = ["binance.spot_url", "binance.futures_url", "binance.coin_url", "fear_greed.url"]
            .map(|key| format!("{key}=http://127.0.0.1:1"));
        let mut arguments = vec!["check", "--json", "--store", "memory:"];
        arguments.extend(nowhere.iter().flat_map(|set| ["--set", set]));
        let output = desk.command(master, &arguments, "");
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let checks = report["checks"].as_array().unwrap();
        let found = checks.iter().find(|check| check["what"] == "credentials").unwrap();
        assert_eq!(found["verdict"], verdict, "{found}");
        assert!(found["detail"].as_str().unwrap().contains(detail), "{found}");
    }
}

#[test]
fn removing_needs_no_master_key() {
    let desk = Desk::with_one();
    let removed = desk.run("", &["remove", "main", "--json"], "");
    assert_eq!(code(&removed), 0, "{}", text(&removed));
    assert!(desk.names(MASTER).is_empty());
    assert!(text(&Desk::new().run("", &["list"], "")).contains("no credentials"));
}

#[test]
fn keys_of_users_are_added_listed_and_removed_by_user() {
    let desk = Desk::with_one();
    let input = format!("{API_KEY}\n{SECRET}\n");
    for arguments in [
        &["add", "main", "--user", "alice", "--environment", "testnet"][..],
        &["add", "main", "--user", "bob@example.org", "--market", "futures", "--json"],
    ] {
        let added = desk.run(MASTER, arguments, &input);
        assert_eq!(code(&added), 0, "{}", text(&added));
    }
    for (arguments, expected) in [
        (&["list", "--json"][..], &["-", "alice", "bob@example.org"][..]),
        (&["list", "--json", "--user", "alice"], &["alice"]),
        (&["list", "--json", "--user", "unknown"], &[]),
    ] {
        let output = desk.run(MASTER, arguments, "");
        let rows: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
        let users: Vec<_> = rows.iter().map(|row| row["user"].as_str().unwrap_or("-")).collect();
        assert_eq!(users, expected, "{arguments:?}");
    }
    let table = text(&desk.run(MASTER, &["list"], ""));
    assert!(table.contains("USER") && table.contains("bob@example.org"), "{table}");
    for (arguments, expected, says) in [
        (&["add", "main", "--user", "alice"][..], 1, "already"),
        (&["add", "x", "--user", "two words"], 2, "user ID"),
        (&["remove", "main", "--user", "unknown"], 1, "no credential named"),
        (&["remove", "main", "--user", "alice"], 0, "removed main"),
    ] {
        let output = desk.run(MASTER, arguments, &input);
        assert_eq!(code(&output), expected, "{arguments:?}: {}", text(&output));
        assert!(text(&output).contains(says), "{arguments:?}: {}", text(&output));
    }
    assert_eq!(desk.names(MASTER), ["main", "main"]);
}

#[test]
fn a_secret_of_a_user_is_sealed_as_one_line_that_opens_for_that_user() {
    use lastgood_market::credentials::{MasterKey, UserId, open_sealed};
    use secrecy::ExposeSecret as _;
    let desk = Desk::new();
    let master = MasterKey::parse(&SecretString::from(MASTER)).unwrap();
    let open = |id: &str, sealed: &str| open_sealed(&master, &UserId::parse(id).unwrap(), sealed);
    for input in [SECRET.to_owned(), format!("{SECRET}\n"), PEM.to_owned()] {
        let output = desk.run(MASTER, &["seal", "--user", "alice"], &input);
        assert_eq!(code(&output), 0, "{}", text(&output));
        let sealed = String::from_utf8(output.stdout).unwrap();
        assert_eq!(sealed.lines().count(), 1, "{sealed}");
        assert_eq!(open("alice", &sealed).unwrap().expose_secret(), input.trim());
        assert!(open("bob", &sealed).is_err());
    }
    let output = desk.run(MASTER, &["seal", "--user", "alice", "--json"], SECRET);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["user"], "alice");
    assert!(open("alice", json["sealed"].as_str().unwrap()).is_ok());
    for (master, arguments, input, expected, says) in [
        (MASTER, &["seal"][..], SECRET, 2, "--user"),
        (MASTER, &["seal", "--user", "a b"], SECRET, 2, "user ID"),
        (MASTER, &["seal", "--user", "alice"], "", 1, "no key or secret was given"),
        ("", &["seal", "--user", "alice"], SECRET, 1, "openssl rand -hex 32"),
    ] {
        let output = desk.run(master, arguments, input);
        assert_eq!(code(&output), expected, "{arguments:?}: {}", text(&output));
        assert!(text(&output).contains(says), "{arguments:?}: {}", text(&output));
    }
}

#[test]
fn check_asks_the_database_for_keys_of_users() {
    let desk = Desk::new();
    let file = |query: &str| {
        let text = format!(
            "[databases.main]\nurl = \"sqlite:{}\"\n[credentials.sql]\ndatabase = \"main\"\nquery = \"{query}\"\n",
            desk.0.path().join("users.db").display()
        );
        std::fs::write(desk.0.path().join("lastgood.toml"), text).unwrap();
        let nowhere = ["binance.spot_url", "binance.futures_url", "binance.coin_url", "fear_greed.url"]
            .map(|key| format!("{key}=http://127.0.0.1:1"));
        let mut arguments = vec!["check", "--json", "--store", "memory:"];
        arguments.extend(nowhere.iter().flat_map(|set| ["--set", set]));
        let report: serde_json::Value = serde_json::from_slice(&desk.command(MASTER, &arguments, "").stdout).unwrap();
        let checks = report["checks"].as_array().unwrap().clone();
        checks.into_iter().find(|check| check["target"].as_str().unwrap().contains("credentials.sql")).unwrap()
    };
    std::fs::write(desk.0.path().join("users.db"), "").unwrap();
    let without_table = file("SELECT api_key FROM user_keys WHERE user_id = :user AND environment = :environment");
    assert_eq!(without_table["verdict"], "failed", "{without_table}");
    let good = file("SELECT NULL AS api_key WHERE :user = :environment");
    assert_eq!(good["verdict"], "ok", "{good}");
}

#[tokio::test]
async fn a_gateway_with_credentials_logs_and_answers_nothing_of_them() {
    let sink = Sink::of_the_log("trace");
    let desk = Desk::with_one();
    let (exchange, testnet) = (Exchange::start().await, Exchange::start().await);
    let (directory, url) = (desk.0.path().display().to_string(), testnet.url());
    let flags = [("data_dir", directory.as_str()), ("master_key", MASTER), ("binance.testnet_spot_url", url.as_str())];
    let gateway = Running::start(&exchange.url(), &flags).await;
    testnet.fault(serde_json::json!({"kind": "reset", "times": 1}));
    let list = get(gateway.url("/v1/symbols/spot")).await;
    assert_eq!(list.json()["source"], "public", "{}", list.text());
    let (health, metrics) = (get(gateway.url("/health")).await, get(gateway.url("/metrics")).await);
    let log = sink.text();
    let tries = log.matches("no symbols from this link").count();
    assert_eq!(tries, 1, "a failed try is logged once: {log}");
    assert!(log.contains("broke off"), "with its reason");
    for said in [log.as_str(), list.text(), health.text(), metrics.text()] {
        for secret in [API_KEY, SECRET, MASTER] {
            assert!(!said.contains(secret), "{said}");
        }
    }
}
