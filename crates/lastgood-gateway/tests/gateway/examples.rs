//! The examples under `examples/`: their own configuration files, on real parts.

use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;

use lastgood_settings::{ConfigFile, FlagValue, Settings, Sources, resolve};
use lastgood_testing::RedisServer;
use serde_json::Value;
use tokio::process::Command;

use crate::support::{Got, Running, client, eventually, get, read};

mod signals;
mod stock_api;
mod tradebot;
mod vibeapp;

/// The state of the Redis that an example is given. In none of them may a client notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RedisIs {
    Up,
    /// No server listens.
    Down,
    /// It takes connections, and answers nothing.
    Stopped,
}

impl RedisIs {
    const ALL: [RedisIs; 3] = [RedisIs::Up, RedisIs::Down, RedisIs::Stopped];

    fn server(self) -> RedisServer {
        match self {
            RedisIs::Down => RedisServer::prepare(&[]),
            RedisIs::Up => RedisServer::start(),
            RedisIs::Stopped => {
                let server = RedisServer::start();
                server.stop();
                server
            }
        }
    }
}

/// A path in the example's folder.
fn path(example: &str, name: &str) -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the repository");
    root.join("examples").join(example).join(name)
}

/// What the example's `lastgood.toml` says, with the environment that its `run` gives, and more flags.
fn settings(example: &str, env: &[(&str, &str)], flags: &[(&str, &str)]) -> Settings {
    settings_of(example, None, env, flags)
}

/// The same, of another text than the file's.
fn settings_of(example: &str, text: Option<&str>, env: &[(&str, &str)], flags: &[(&str, &str)]) -> Settings {
    let file = path(example, "lastgood.toml");
    let text = text.map_or_else(|| std::fs::read_to_string(&file).expect("the example's configuration"), str::to_owned);
    let flag = |(key, value): &(&str, &str)| FlagValue {
        flag: "--set".to_owned(),
        key: (*key).to_owned(),
        value: (*value).to_owned(),
    };
    let sources = Sources {
        file: Some(ConfigFile { path: file.display().to_string(), text }),
        env: &|name| env.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()),
        env_names: Vec::new(),
        flags: flags.iter().map(flag).collect(),
    };
    resolve(&sources).unwrap_or_else(|problems| panic!("{problems}")).settings
}

/// A good answer.
async fn read_ok(gateway: &Running, target: &str) -> Got {
    let got = get(gateway.url(target)).await;
    assert_eq!(got.status, 200, "{target}: {}", got.text());
    got
}

/// For how many seconds an answer is fresh yet, as its `Cache-Status` has it.
fn ttl(got: &Got) -> u64 {
    number_after(got.header("cache-status"), "ttl=") as u64
}

/// What a request to the Cache API that changes something answers: that it is done, or, with Redis away, what waits.
async fn admin(gateway: &Running, target: &str, body: Value) -> Value {
    let request = client().post(gateway.url(target)).body(body.to_string());
    let got = read(request.send().await.expect("an answer")).await;
    let answer = got.json();
    let expected = if answer["pending"] == true && answer["store"]["reached"] == false { 202 } else { 200 };
    assert_eq!(got.status, expected, "{target}: {answer}");
    answer
}

/// Runs the example's own command to its end, with the program under test.
async fn run_once(example: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(path(example, "run"));
    command.arg("--once").args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    command.env("LASTGOOD_BIN", env!("CARGO_BIN_EXE_lastgood")).env("PYTHONDONTWRITEBYTECODE", "1");
    let ended = tokio::time::timeout(Duration::from_secs(150), command.output());
    ended.await.expect("the example ends").expect("the example starts")
}

/// The number behind the only place that says `word`.
fn number_after(text: &str, word: &str) -> f64 {
    let (_, rest) = text.split_once(word).unwrap_or_else(|| panic!("no {word:?} in {text}"));
    let digits: String = rest.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    digits.parse().unwrap_or_else(|why| panic!("{why} behind {word:?}: {text}"))
}

/// Each example with a `run`, and what makes that quick.
const RUNS: [(&str, &[&str]); 5] = [
    ("tradebot", &[]),
    ("signals", &["--signals", "2000"]),
    ("stock-api", &["--size", "small"]),
    ("vibeapp", &["--size", "small"]),
    ("iftb", &[]),
];

/// Every promise of the example's run is held with Redis in this state.
async fn holds_its_promises(example: &str, redis: &str) {
    let (_, quick) = RUNS.iter().find(|(name, _)| *name == example).expect("an example with a run");
    let arguments = [*quick, &["--redis", redis]].concat();
    let ended = run_once(example, &arguments).await;
    let (out, err) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    assert!(ended.status.success(), "{example} {redis}: {out}{err}");
    let last = out.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let held = number_after(last, &format!("{example}: ")) as u64;
    assert!(held > 0 && last.ends_with(&format!("{held} of {held} promises held")), "{example} {redis}: {out}");
    assert!(!out.contains("BROKEN"), "{out}");
}

macro_rules! promises {
    ($($name:ident: $example:literal;)*) => {
        $(
            #[tokio::test]
            async fn $name() {
                // Up is what the example's own test of its run shows.
                for redis in ["frozen", "stopped", "absent", "returning"] {
                    holds_its_promises($example, redis).await;
                }
            }
        )*
    };
}

// Those of signals and iftb are with their other tests.
promises! {
    the_run_command_shows_all_that_tradebot_promises_whatever_becomes_of_redis: "tradebot";
    the_run_command_shows_all_that_stock_api_promises_whatever_becomes_of_redis: "stock-api";
    the_run_command_shows_all_that_vibeapp_promises_whatever_becomes_of_redis: "vibeapp";
}

/// What a run prints and how it ends, with nothing of the developer's environment but `more`.
fn run(example: &str, arguments: &[&str], more: &[(&str, &str)]) -> Output {
    let mut command = std::process::Command::new(path(example, "run"));
    command.args(arguments).env_clear().env("PATH", "/usr/bin:/bin").env("PYTHONDONTWRITEBYTECODE", "1");
    command.envs(more.iter().copied()).stdin(Stdio::null()).output().expect("the example starts")
}

#[test]
fn every_run_says_what_it_takes_where_nothing_is_built_or_installed() {
    for (example, _) in RUNS {
        let said = run(example, &["--help"], &[]);
        let text = String::from_utf8_lossy(&said.stdout);
        assert!(said.status.success(), "{example}: {}", String::from_utf8_lossy(&said.stderr));
        for word in ["--once", "--redis", "returning", "LASTGOOD_BIN"] {
            assert!(text.contains(word), "{example}: {word} is not in {text}");
        }
        let wrong = run(example, &["--what"], &[]);
        assert_eq!(wrong.status.code(), Some(2), "{example}");
    }
}

#[test]
fn a_program_that_is_not_lastgood_is_one_clear_line() {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    let unrunnable = file.path().display().to_string();
    for (example, _) in RUNS {
        for wrong in ["/nowhere/lastgood", "/bin/true", "/tmp", unrunnable.as_str()] {
            let ended = run(example, &["--once"], &[("LASTGOOD_BIN", wrong)]);
            let (out, err) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
            assert_eq!((ended.status.code(), err.lines().count()), (Some(1), 1), "{example} {wrong}: {out}{err}");
            assert!(
                err.starts_with(example) && err.contains(&format!("LASTGOOD_BIN={wrong}")),
                "{example} {wrong}: {err}"
            );
        }
    }
}

/// The tests that the tables of a page name.
pub(crate) fn named_tests(readme: &str) -> Vec<String> {
    let rows = readme.lines().filter(|line| line.starts_with('|'));
    let words = rows.flat_map(|row| row.split('`').skip(1).step_by(2));
    let sound = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    words.filter(|word| word.matches('_').count() >= 3 && word.bytes().all(sound)).map(str::to_owned).collect()
}

/// All the text of the tests there are.
pub(crate) fn test_sources(folder: &std::path::Path, into: &mut String) {
    for entry in std::fs::read_dir(folder).expect("a folder of this repository").flatten() {
        let path = entry.path();
        if path.is_dir() {
            test_sources(&path, into);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            into.push_str(&std::fs::read_to_string(&path).unwrap_or_default());
        }
    }
}

#[test]
fn every_test_that_the_tables_of_features_name_is_there() {
    let mut sources = String::new();
    let root = path("", "");
    let crates = ["lastgood-gateway", "lastgood-settings", "lastgood-market", "lastgood"];
    for folder in crates.map(|name| format!("../crates/{name}")).into_iter().chain(["iftb".to_owned()]) {
        test_sources(&root.join(folder), &mut sources);
    }
    let overview = named_tests(&std::fs::read_to_string(path("", "README.md")).expect("the overview"));
    for example in ["", "tradebot", "signals", "stock-api", "vibeapp", "iftb"] {
        let readme = std::fs::read_to_string(path(example, "README.md")).expect("its README");
        let tests = named_tests(&readme);
        assert!(tests.len() >= 5, "{example}: a table of features names the tests that show them: {tests:?}");
        for test in tests {
            assert!(
                sources.contains(&format!("fn {test}(")) || sources.contains(&format!("{test}: \"")),
                "{example}: {test}"
            );
            assert!(overview.contains(&test), "examples/README.md does not name {example}'s {test}");
        }
    }
}
