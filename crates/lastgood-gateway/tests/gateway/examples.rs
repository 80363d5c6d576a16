//! The examples under `examples/`: their own configuration files, on real parts.

use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;

use lastgood::testing::RedisServer;
use lastgood_gateway::config::{ConfigFile, FlagValue, Settings, Sources, resolve};
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
    /// Nobody listens.
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

/// What a request to the Cache API that changes something answers.
async fn admin(gateway: &Running, target: &str, body: Value) -> Value {
    let request = client().post(gateway.url(target)).body(body.to_string());
    let got = read(request.send().await.expect("an answer")).await;
    assert_eq!(got.status, 200, "{target}: {}", got.text());
    got.json()
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
