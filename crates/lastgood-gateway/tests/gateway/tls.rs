//! Sources behind TLS: whose certificates are trusted, and the errors when they are not.

mod authority;
mod databases;
mod proxies;
mod upstash;
mod web;

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tempfile::TempDir;

/// The program in a folder with this configuration file, with these variables and an exchange that is nowhere.
fn command(verb: &str, folder: &Path, file: &str, variables: &[(&str, String)]) -> Command {
    std::fs::write(folder.join("lastgood.toml"), file).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_lastgood"));
    command.args([verb, "--listen", "127.0.0.1:0", "--store", "memory:"]).current_dir(folder);
    command.env_clear().env("HOME", folder);
    for name in ["BINANCE_SPOT_URL", "BINANCE_FUTURES_URL", "BINANCE_COIN_URL", "FEAR_GREED_URL"] {
        command.env(format!("LASTGOOD_{name}"), "http://127.0.0.1:9");
    }
    command.envs(variables.iter().map(|(name, value)| (name, value)));
    command
}

/// A gateway in a process of its own: which certificates are trusted is read from its environment.
struct Served {
    process: Child,
    url: String,
    log: Arc<Mutex<String>>,
    _folder: TempDir,
}

impl Served {
    fn start(file: &str, variables: &[(&str, String)]) -> Served {
        let folder = tempfile::tempdir().unwrap();
        let mut process =
            command("serve", folder.path(), file, variables).stderr(Stdio::piped()).spawn().expect("it starts");
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let announced = lines.by_ref().map_while(Result::ok).find(|line| line.contains("http://127.0.0.1:"));
        let announced = announced.expect("it says where it listens");
        // Its log goes on.
        let log = Arc::<Mutex<String>>::default();
        let kept = Arc::clone(&log);
        std::thread::spawn(move || {
            lines.map_while(Result::ok).for_each(|line| *kept.lock().unwrap() += &(line + "\n"))
        });
        let start = announced.find("http://127.0.0.1:").unwrap();
        let port: String = announced[start + 17..].chars().take_while(char::is_ascii_digit).collect();
        Served { process, url: format!("http://127.0.0.1:{port}"), log, _folder: folder }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

/// What `lastgood check` says of the source of each route, `/v1/NAME`.
fn checked(file: &str, variables: &[(&str, String)]) -> impl Fn(&str) -> Value + use<> {
    let folder = tempfile::tempdir().unwrap();
    let mut command = command("check", folder.path(), file, variables);
    command.arg("--json");
    let output = command.output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|why| panic!("{why}: {}", String::from_utf8_lossy(&output.stderr)));
    move |name| {
        let checks = report["checks"].as_array().unwrap().iter();
        let route = format!("(/v1/{name})");
        let mut of_route = checks.filter(|check| check["target"].as_str().is_some_and(|text| text.contains(&route)));
        of_route.next().unwrap_or_else(|| panic!("{route} in {report}")).clone()
    }
}

/// A check that failed, for this reason and with this hint.
fn refused(check: &Value, wrong: &str, hint: &str) {
    let has = |key: &str, part: &str| check[key].as_str().is_some_and(|text| text.contains(part));
    assert!(check["verdict"] == "failed" && has("detail", wrong) && has("hint", hint), "{wrong}, {hint}: {check}");
}
