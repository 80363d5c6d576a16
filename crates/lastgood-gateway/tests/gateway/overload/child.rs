//! The real program as a child process, under limits of its own.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

/// Names an optimised program to test in place of this build's.
const PROGRAM: &str = "LASTGOOD_PROGRAM";

fn program() -> std::ffi::OsString {
    std::env::var_os(PROGRAM).unwrap_or_else(|| env!("CARGO_BIN_EXE_lastgood").into())
}

pub(super) fn is_optimised() -> bool {
    !cfg!(debug_assertions) || std::env::var_os(PROGRAM).is_some()
}

/// A running `lastgood serve`; ends when it is dropped.
pub(super) struct Serving {
    child: Child,
    pub(super) address: SocketAddr,
    log: std::sync::Arc<std::sync::Mutex<String>>,
    _data: tempfile::TempDir,
}

impl Serving {
    /// Starts it before the exchange at `upstream`, with the limit on open files that `ulimit` sets for `open_files`.
    pub(super) fn start(upstream: &str, open_files: &str, store: &str, more: &[(&str, &str)]) -> Serving {
        Serving::of_file(upstream, open_files, store, more, "")
    }

    /// The same with a configuration file of this text.
    pub(super) fn of_file(upstream: &str, open_files: &str, store: &str, more: &[(&str, &str)], file: &str) -> Serving {
        let data = tempfile::tempdir().expect("a folder");
        std::fs::write(data.path().join("lastgood.toml"), file).expect("a file");
        let mut command = Command::new("sh");
        // The limit is set before the program is there, as an operator would.
        command.args(["-c", &format!("ulimit {open_files} && exec \"$0\" \"$@\"")]);
        command.arg(program()).args(["serve", "--listen", "127.0.0.1:0", "--store", store]);
        command.arg("--data-dir").arg(data.path());
        let exchange = ["binance.spot_url", "binance.futures_url", "binance.coin_url"].map(|key| (key, upstream));
        for (key, value) in exchange.iter().chain(more) {
            command.args(["--set", &format!("{key}={value}")]);
        }
        command.env_clear().env("HOME", data.path()).env("PATH", "/usr/bin:/bin").current_dir(data.path());
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().expect("sh exists");
        let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let log = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
        let address = loop {
            let Some(line) = lines.next() else { panic!("it does not listen: {}", log.lock().unwrap()) };
            let line = line.expect("text");
            let address = line.split("listen=").nth(1).and_then(|rest| rest.split("http://").nth(1));
            let address = address.and_then(|rest| rest.split(['"', ' ']).next()?.parse().ok());
            log.lock().unwrap().push_str(&format!("{line}\n"));
            if let Some(address) = address {
                break address;
            }
        };
        let sink = std::sync::Arc::clone(&log);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                sink.lock().unwrap().push_str(&format!("{line}\n"));
            }
        });
        Serving { child, address, log, _data: data }
    }

    pub(super) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// What the process takes of the machine's memory, in bytes.
    pub(super) fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("Linux");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a process that runs");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number") * 1_024
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
