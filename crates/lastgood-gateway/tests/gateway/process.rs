//! A gateway in a process of its own, which can be killed and stopped.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use reqwest::Method;
use serde_json::Value;

use crate::support::{Got, STORE_BUDGET, client, eventually, get, read};

/// Starts a gateway; its process, and its URL once it listens.
pub(crate) fn listening(command: &mut Command) -> (Child, String) {
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("NO_COLOR", "1").stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    let mut lines = BufReader::new(child.stderr.take().expect("a pipe"));
    let mut announced = String::new();
    while !announced.contains("lastgood is listening") {
        assert!(lines.read_line(&mut announced).expect("a line") > 0, "{announced}");
    }
    std::thread::spawn(move || lines.lines().map_while(Result::ok).for_each(drop));
    let (_, said) = announced.split_once("lastgood is listening").expect("it says so");
    let (_, rest) = said.split_once("http://127.0.0.1:").expect("an address");
    let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
    (child, format!("http://127.0.0.1:{port}"))
}

/// A gateway in a process of its own.
pub(crate) struct Process {
    child: Child,
    pub(crate) url: String,
}

impl Process {
    pub(crate) fn start(data: &Path, redis: &str, upstream: &str) -> Process {
        Process::start_with(data, redis, upstream, &[])
    }

    /// With more arguments, such as `--set` and what it sets.
    pub(crate) fn start_with(data: &Path, redis: &str, upstream: &str, more: &[&str]) -> Process {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lastgood"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--store", redis, "--data-dir"]).arg(data).args(more);
        command.env_clear().env("LASTGOOD_BINANCE_SPOT_URL", upstream).env("LASTGOOD_STORE_BUDGET", STORE_BUDGET);
        let (child, url) = listening(&mut command);
        Process { child, url }
    }

    /// With SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("a child of ours");
        self.child.wait().expect("it ends");
    }

    /// As with SIGSTOP or SIGCONT.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "{name}");
    }

    pub(crate) async fn send(&self, method: Method, target: &str, body: &Value) -> Got {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = client().request(method, format!("{}{target}", self.url)).body(body);
        read(request.header("content-type", "application/json").send().await.expect("an answer")).await
    }

    pub(crate) async fn health(&self) -> Value {
        get(format!("{}/health", self.url)).await.json()
    }

    pub(crate) async fn is_attached(&self) {
        eventually("attached", async || self.health().await["status"] == "ok").await;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
