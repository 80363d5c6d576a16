//! The command line as a user meets it.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use lastgood_testing::{RedisCluster, RedisSentinels, RedisServer};

mod messages;
mod regions;

const VERBS: [&str; 18] = [
    "serve",
    "demo",
    "sim",
    "check",
    "init",
    "stats",
    "get",
    "keys",
    "explain",
    "expire",
    "remove",
    "clear",
    "flush",
    "warm",
    "migrate",
    "credentials",
    "config",
    "completions",
];

/// The program in an empty directory, with an environment of its own.
struct Desk {
    directory: tempfile::TempDir,
}

impl Desk {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("a temporary directory") }
    }

    fn with_file(text: &str) -> Self {
        let desk = Self::new();
        std::fs::write(desk.path().join("lastgood.toml"), text).expect("a writable directory");
        desk
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lastgood"));
        command.args(arguments).current_dir(self.path()).env_clear().env("HOME", self.path());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the program starts")
    }
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", stdout(output)))
}

fn row<'a>(rows: &'a serde_json::Value, key: &str) -> &'a serde_json::Value {
    let rows = rows.as_array().expect("a list of rows");
    rows.iter().find(|row| row["key"] == key).unwrap_or_else(|| panic!("{key} is listed"))
}

#[test]
fn wrong_usage_exits_with_2() {
    let desk = Desk::new();
    for arguments in [
        &["no-such-verb"][..],
        &[],
        &["serve", "--no-such-flag"],
        &["completions", "no-such-shell"],
        &["demo", "--for", "soon"],
        &["demo", "--bots", "0"],
        &["demo", "--listen", "0.0.0.0:0"],
        &["config", "--set", "preset"],
        &["config", "--set", "prest=trading"],
        &["config", "--config", "missing.toml"],
        &["serve", "--listen", "nowhere"],
        &["serve", "--listen", "0.0.0.0:0"],
    ] {
        let output = desk.run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stderr(&output));
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn every_verb_has_help_with_examples() {
    let desk = Desk::new();
    for verb in VERBS {
        let output = desk.run(&[verb, "--help"]);
        assert_eq!(output.status.code(), Some(0), "{verb}");
        let help = stdout(&output);
        assert!(help.contains("Examples:") && help.contains(&format!("lastgood {verb}")), "{help}");
    }
    let help = stdout(&desk.run(&["--help"]));
    assert!(VERBS.iter().all(|verb| help.contains(verb)), "{help}");
    assert!(stdout(&desk.run(&["--version"])).starts_with("lastgood "));
}

#[test]
fn config_shows_every_key_with_its_origin_and_no_secret() {
    let desk = Desk::with_file("namespace = \"mine\"\n[admin]\ntoken = \"hunter2-hunter2-hunter2\"\n");
    let output = desk
        .command(&["config", "--json", "--preset", "dashboard", "--set", "regions.depth.fresh_for=1s"])
        .env("REDIS_URL", "redis://u:hunter2@127.0.0.1:1/2")
        .output()
        .expect("the program starts");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let rows = json(&output);
    for (key, value, origin) in [
        ("namespace", "mine", "lastgood.toml:1"),
        ("admin.token", "***", "lastgood.toml:3"),
        ("store", "redis://***@127.0.0.1:1/2", "env REDIS_URL"),
        ("preset", "dashboard", "flag --preset"),
        ("listen", "127.0.0.1:8090", "default"),
        ("regions.depth.fresh_for", "1s", "flag --set"),
    ] {
        assert_eq!(row(&rows, key)["value"], value, "{key}");
        assert_eq!(row(&rows, key)["origin"], origin, "{key}");
    }
    assert!(!stdout(&output).contains("hunter2"));
    let table = stdout(&desk.run(&["config"]));
    assert!(table.contains("namespace") && table.contains("lastgood.toml:1"), "{table}");
    assert!(!table.contains("hunter2"), "{table}");
}

#[test]
fn the_file_is_named_by_flag_or_variable_or_lies_here() {
    let desk = Desk::with_file("namespace = \"here\"\n");
    std::fs::write(desk.path().join("a.toml"), "namespace = \"a\"").expect("a writable directory");
    std::fs::write(desk.path().join("b.toml"), "namespace = \"b\"").expect("a writable directory");
    let namespace = |arguments: &[&str], variable: Option<&str>| {
        let mut command = desk.command(arguments);
        if let Some(path) = variable {
            command.env("LASTGOOD_CONFIG", path);
        }
        let output = command.output().expect("the program starts");
        let rows = json(&output);
        let found = row(&rows, "namespace");
        format!("{} {}", found["value"], found["origin"]).replace('"', "")
    };
    assert_eq!(namespace(&["config", "--json"], None), "here lastgood.toml:1");
    assert_eq!(namespace(&["config", "--json"], Some("b.toml")), "b b.toml:1");
    assert_eq!(namespace(&["config", "--json", "--config", "a.toml"], Some("b.toml")), "a a.toml:1");
    assert_eq!(namespace(&["--config", "a.toml", "config", "--json"], None), "a a.toml:1");
}

#[test]
fn a_wrong_file_stops_every_verb_that_reads_it_and_says_where() {
    let desk = Desk::with_file("\nstore_budgt = \"25ms\"\npreset = \"tradng\"\n");
    for verb in ["serve", "config", "check"] {
        let output = desk.run(&[verb]);
        assert_eq!(output.status.code(), Some(1), "{verb}");
        let text = format!("{}{}", stdout(&output), stderr(&output));
        for part in ["lastgood.toml:2", "did you mean `store_budget`?", "lastgood.toml:3", "did you mean `trading`?"] {
            assert!(text.contains(part), "{verb}: {text}");
        }
    }
}

#[test]
fn a_token_that_the_file_takes_from_a_variable_is_not_the_reference_itself() {
    let desk = Desk::with_file("[admin]\ntoken = \"env:GATE\"\n");
    let token = "hunter2-hunter2-hunter2";
    let mut serve = desk.command(&["serve", "--listen", "127.0.0.1:0", "--store", "memory:"]);
    let mut serve = serve.env("GATE", token).stderr(Stdio::piped()).spawn().expect("the program starts");
    let said = announced(&mut serve);
    let address = said.split("listen=").nth(1).and_then(|rest| rest.split_whitespace().next()).expect("an address");
    let address = address.trim_matches('"').to_owned();
    // Its clients read the same file; they, too, have the variable or name the missing one.
    let stats = |given: Option<&str>, gate: Option<&str>| {
        let mut command = desk.command(&["stats", "--url", &address]);
        given.map(|given| command.args(["--token", given]));
        gate.map(|gate| command.env("GATE", gate));
        let output = command.output().expect("the program starts");
        (output.status.code(), format!("{}{}", stdout(&output), stderr(&output)))
    };
    for (given, gate) in [(Some("env:GATE"), None), (None, Some("env:GATE")), (None, Some("another-token-there"))] {
        let (code, text) = stats(given, gate);
        assert!(code == Some(1) && !text.contains("hit rate"), "{text}");
    }
    assert_eq!((stats(None, Some(token)).0, stats(Some(token), None).0), (Some(0), Some(0)));
    let (code, text) = stats(None, None);
    assert!(code == Some(1) && text.contains("lastgood.toml:2") && text.contains("\"GATE\" is not set"), "{text}");
    assert!(stop(&mut serve).success());
    let shown = desk.command(&["config", "--json"]).env("GATE", token).output().expect("the program starts");
    assert_eq!(row(&json(&shown), "admin.token")["value"], "***");
    assert!(!format!("{said}{}{}", stdout(&shown), stderr(&shown)).contains("hunter2"));
}

#[test]
fn completions_are_printed_for_every_shell() {
    let desk = Desk::new();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let output = desk.run(&["completions", shell]);
        assert_eq!(output.status.code(), Some(0), "{shell}");
        assert!(stdout(&output).contains("lastgood"), "{shell}");
    }
}

#[test]
fn check_says_what_cannot_be_reached_and_how_to_fix_it() {
    let desk = Desk::new();
    // No server listens on a port that was just given back.
    let closed = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
    let url = format!("http://{closed}");
    let output = desk
        .command(&["check", "--json", "--listen", "127.0.0.1:0", "--store", "memory:"])
        .env("LASTGOOD_BINANCE_SPOT_URL", &url)
        .env("LASTGOOD_BINANCE_FUTURES_URL", &url)
        .env("LASTGOOD_BINANCE_COIN_URL", &url)
        .env("LASTGOOD_FEAR_GREED_URL", &url)
        .output()
        .expect("the program starts");
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let report = json(&output);
    assert_eq!(report["ok"], false);
    let checks = report["checks"].as_array().expect("a list of checks");
    let check = |what: &str| checks.iter().find(|check| check["what"] == what).unwrap_or_else(|| panic!("{what}"));
    assert_eq!(check("configuration")["verdict"], "ok");
    assert_eq!(check("store")["verdict"], "ok");
    assert_eq!(check("data_dir")["verdict"], "ok");
    for what in ["spot", "futures", "coin", "fear_greed"] {
        assert_eq!(check(what)["verdict"], "failed", "{what}");
        assert!(check(what)["hint"].as_str().is_some_and(|hint| !hint.is_empty()), "{what}");
    }
    assert_eq!(std::fs::read_dir(desk.path()).expect("a directory").count(), 0, "a check leaves nothing behind");
}

#[test]
fn check_probes_a_redis_of_several_servers_and_says_the_hint() {
    let desk = Desk::new();
    let (sentinels, cluster, single) = (RedisSentinels::start(), RedisCluster::start(), RedisServer::start());
    let closed = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
    let upstream = format!("http://{closed}");
    for (store, verdict, part) in [
        (sentinels.url(), "ok", ""),
        (cluster.url(), "ok", ""),
        (sentinels.url().replace("/main", "/unknown"), "failed", "redis+sentinel://host:26379/SERVICE"),
        (format!("redis+cluster://u:hunter2@{closed}"), "failed", "start Redis"),
        (single.url().replace("redis://", "redis+cluster://"), "failed", "redis://host:port for a single server"),
    ] {
        let output = desk
            .command(&["check", "--json", "--listen", "127.0.0.1:0", "--store", &store])
            .env("LASTGOOD_BINANCE_SPOT_URL", &upstream)
            .env("LASTGOOD_BINANCE_FUTURES_URL", &upstream)
            .env("LASTGOOD_BINANCE_COIN_URL", &upstream)
            .env("LASTGOOD_FEAR_GREED_URL", &upstream)
            .output()
            .expect("the program starts");
        let text = format!("{}{}", stdout(&output), stderr(&output));
        assert!(!text.contains("hunter2"), "{text}");
        let report = json(&output);
        let checks = report["checks"].as_array().expect("a list of checks");
        let check = checks.iter().find(|check| check["what"] == "store").expect("the store is checked");
        assert_eq!(check["verdict"], verdict, "{check}");
        assert!(check["hint"].as_str().unwrap_or_default().contains(part), "{check}");
    }
}

#[test]
fn a_taken_port_is_reported_with_its_hint() {
    let desk = Desk::new();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("a bound listener").to_string();
    for arguments in [
        &["serve", "--store", "memory:", "--listen", &address][..],
        &["sim", "--listen", &address],
        &["demo", "--listen", &address],
    ] {
        let output = desk.run(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let text = stderr(&output);
        assert!(text.contains("another program listens there") && text.contains("--listen"), "{text}");
    }
}

#[test]
fn serve_says_where_it_listens_and_stops_when_asked() {
    let desk = Desk::new();
    let mut serve = desk
        .command(&["serve", "--listen", "127.0.0.1:0", "--store", "memory:"])
        .env("LASTGOOD_ADMIN_TOKEN", "hunter2-hunter2-hunter2")
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut lines = BufReader::new(serve.stderr.take().expect("a pipe"));
    let announced = until_announced(&mut lines);
    for part in ["http://127.0.0.1:", "memory:", "trading", "https://api.binance.com"] {
        assert!(announced.contains(part), "{announced}");
    }
    assert!(stop(&mut serve).success());
    let mut rest = String::new();
    lines.read_to_string(&mut rest).expect("text");
    assert!(!format!("{announced}{rest}").contains("hunter2"));
}

#[test]
fn the_demonstration_works_offline_and_serves_from_the_cache() {
    let desk = Desk::new();
    let output = desk.run(&["demo", "--for", "3s", "--bots", "40", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let summary = json(&output);
    assert!(summary["requests"].as_u64().is_some_and(|requests| requests > 50), "{summary}");
    assert_eq!(summary["failures_seen_by_bots"], 0, "{summary}");
    assert!(summary["weight_saved"].as_u64() > summary["weight_spent"].as_u64(), "{summary}");
    let shown = stdout(&desk.run(&["demo", "--for", "1500ms"]));
    assert!(shown.contains("curl") && shown.contains("hit rate"), "{shown}");
    assert!(!shown.contains('\x1b'), "a pipe is not drawn over: {shown}");
}

#[test]
fn the_demonstration_opens_its_page_if_it_is_asked_to_and_goes_on_where_there_is_no_browser() {
    let desk = Desk::new();
    let opener = desk.path().join("xdg-open");
    std::fs::write(&opener, "#!/bin/sh\necho \"$1\" > opened\n").expect("a writable directory");
    std::fs::set_permissions(&opener, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("ours");
    let run = |path: &str| {
        let mut command = desk.command(&["demo", "--for", "1500ms", "--bots", "1", "--open"]);
        command.env("PATH", path).output().expect("the program starts")
    };
    let output = run(&format!("{}:/usr/bin:/bin", desk.path().display()));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let opened = std::fs::read_to_string(desk.path().join("opened")).expect("the page was opened");
    assert!(stdout(&output).contains(&format!("page       {}/", opened.trim())), "{opened}: {}", stdout(&output));
    let without = run("/nowhere");
    assert_eq!(without.status.code(), Some(0), "{}", stderr(&without));
    assert!(stderr(&without).contains("the page is at http://127.0.0.1:"), "{}", stderr(&without));
}

/// What a gateway says until it listens. Its pipe stays open as long as it runs.
fn announced(serve: &mut std::process::Child) -> String {
    let mut lines = BufReader::new(serve.stderr.take().expect("a pipe"));
    let said = until_announced(&mut lines);
    serve.stderr = Some(lines.into_inner());
    said
}

fn until_announced(lines: &mut impl BufRead) -> String {
    let mut said = String::new();
    while !said.contains("lastgood is listening") {
        assert!(lines.read_line(&mut said).expect("a line") > 0, "{said}");
    }
    said
}

fn stop(child: &mut std::process::Child) -> std::process::ExitStatus {
    let killed = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().expect("kill exists");
    assert!(killed.success());
    for _ in 0..100 {
        if let Some(status) = child.try_wait().expect("a child of ours") {
            return status;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    child.kill().expect("a child of ours");
    panic!("it did not stop within 10 s");
}
