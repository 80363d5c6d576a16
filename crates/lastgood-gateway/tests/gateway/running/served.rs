//! `lastgood serve` with a configuration file: what it reloads, and what it logs.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lastgood_testing::Authority;
use serde_json::Value;

use super::trusting;
use crate::support::{client, eventually};

/// A `lastgood serve` of a configuration file, and what it says.
struct Served {
    child: std::process::Child,
    said: Arc<Mutex<String>>,
}

impl Served {
    fn start(folder: &Path) -> Served {
        Served::of(folder, &["--config", "gate.toml"])
    }

    fn of(folder: &Path, more: &[&str]) -> Served {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lastgood"));
        command.arg("serve").args(more).current_dir(folder).env_clear().env("NO_COLOR", "1");
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let (lines, said) = (BufReader::new(child.stderr.take().unwrap()), Arc::new(Mutex::new(String::new())));
        let into = Arc::clone(&said);
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                into.lock().unwrap().push_str(&(line + "\n"));
            }
        });
        Served { child, said }
    }

    fn text(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    async fn says(&self, part: &str) {
        let wait = async {
            while !self.text().contains(part) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), wait).await.unwrap_or_else(|_| panic!("{part}: {}", self.text()));
    }

    /// The address that it listens on.
    fn address(&self, scheme: &str) -> String {
        let text = self.text();
        let (_, rest) = text.split_once(&format!("{scheme}://127.0.0.1:")).unwrap_or_else(|| panic!("{text}"));
        let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
        format!("{scheme}://127.0.0.1:{port}")
    }

    fn hang_up(&self) {
        let sent = Command::new("kill").args(["-HUP", &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn a_hangup_reloads_what_can_change_and_says_what_needs_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let (certificate, key) = authority.issue("first", "IP:127.0.0.1");
    let write = |token: &str, more: &str| {
        let file = format!(
            "listen = \"127.0.0.1:0\"\nstore = \"memory:\"\ndata_dir = \"data\"\nbinance = \"off\"\n{more}\n\
             [admin]\ntoken = \"{token}\"\n[tls]\ncertificate = \"{certificate}\"\nkey = \"{key}\"\n"
        );
        std::fs::write(folder.path().join("gate.toml"), file).unwrap();
    };
    write("the-first-admin-token", "");
    let gateway = Served::start(folder.path());
    gateway.says("lastgood is listening").await;
    let started = gateway.text();
    for part in [concat!("version=\"", env!("CARGO_PKG_VERSION"), "\""), "file=\"gate.toml\"", "https://127.0.0.1:"] {
        assert!(started.contains(part), "{part}: {started}");
    }
    let url = format!("{}/api/cache/stats", gateway.address("https"));
    let client = trusting(&authority.certificate());
    let status =
        async |token: &str| client.get(&url).bearer_auth(token).send().await.map(|answer| answer.status().as_u16());
    assert_eq!(status("the-first-admin-token").await.unwrap(), 200);

    // Another certificate in the same files, another token, and a key that only counts at the start.
    let other = Authority::new();
    let (new_certificate, new_key) = other.issue("second", "IP:127.0.0.1");
    std::fs::copy(new_certificate, &certificate).unwrap();
    std::fs::copy(new_key, &key).unwrap();
    write("the-other-admin-token", "namespace = \"other\"");
    gateway.hang_up();
    gateway.says("were reloaded").await;
    let text = gateway.text();
    assert!(text.contains("need a restart") && text.contains("namespace"), "{text}");
    assert!(text.contains("admin.token") && !text.contains("the-other-admin-token"), "{text}");
    // Connections that are open keep what they were shown.
    let client = trusting(&other.certificate());
    let status =
        async |token: &str| client.get(&url).bearer_auth(token).send().await.map(|answer| answer.status().as_u16());
    assert_eq!(status("the-other-admin-token").await.unwrap(), 200);
    assert_eq!(status("the-first-admin-token").await.unwrap(), 401);

    // A certificate that cannot be read leaves the one before in force, and the log does not call it reloaded. What needs a
    // restart still does.
    std::fs::write(&certificate, "no certificate").unwrap();
    let before = gateway.text().len();
    gateway.hang_up();
    gateway.says("only the rest was reloaded").await;
    let said = gateway.text()[before..].to_owned();
    assert!(said.contains("not reloaded; what was in force there still is") && said.contains("namespace"), "{said}");
    assert!(!said.contains("were reloaded"), "{said}");
    assert_eq!(status("the-other-admin-token").await.unwrap(), 200);

    // A key that was changed back does not.
    let (new_certificate, new_key) = other.issue("third", "IP:127.0.0.1");
    std::fs::copy(new_certificate, &certificate).unwrap();
    std::fs::copy(new_key, &key).unwrap();
    write("the-other-admin-token", "");
    let before = gateway.text().len();
    gateway.hang_up();
    eventually("it was reloaded", async || gateway.text()[before..].contains("were reloaded")).await;
    assert!(!gateway.text()[before..].contains("need a restart"), "{}", &gateway.text()[before..]);

    // A mistake changes nothing, and ends nothing.
    write("the-other-admin-token", "nonsense = 1");
    gateway.hang_up();
    gateway.says("nothing of it was reloaded").await;
    assert!(gateway.text().contains("unknown key"), "{}", gateway.text());
    assert_eq!(status("the-other-admin-token").await.unwrap(), 200);

    // A file that was cut short takes no token away, be it a good configuration or not.
    let whole = std::fs::read_to_string(folder.path().join("gate.toml")).unwrap().replace("nonsense = 1", "");
    let tls = whole.lines().filter(|line| !line.contains("token")).collect::<Vec<_>>().join("\n");
    for cut in
        [tls.clone(), format!("{tls}\n[[routes]]\npath = \"/v1/t\"\nsources = [{{ api = \"x\", path = \"/\" }}]\n")]
    {
        std::fs::write(folder.path().join("gate.toml"), cut).unwrap();
        let before = gateway.text().len();
        gateway.hang_up();
        let said = || gateway.text()[before..].contains("SIGHUP: ");
        eventually("it was looked at", async || said()).await;
        assert_eq!(status("no-token-at-all").await.unwrap(), 401, "{}", gateway.text());
        assert_eq!(status("the-other-admin-token").await.unwrap(), 200);
    }
}

#[tokio::test]
async fn a_configuration_file_that_is_gone_leaves_everything_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lastgood.toml");
    let text = "listen = \"127.0.0.1:0\"\nstore = \"memory:\"\ndata_dir = \"data\"\nbinance = \"off\"\n\
                [admin]\ntoken = \"the-first-admin-token\"\n";
    std::fs::write(&file, text).unwrap();
    let gateway = Served::of(folder.path(), &[]);
    gateway.says("lastgood is listening").await;
    std::fs::remove_file(&file).unwrap();
    gateway.hang_up();
    gateway.says("the configuration file is gone, so nothing of it was reloaded").await;
    let url = format!("{}/api/cache/stats", gateway.address("http"));
    let status =
        async |token: &str| client().get(&url).bearer_auth(token).send().await.map(|answer| answer.status().as_u16());
    assert_eq!(status("the-first-admin-token").await.unwrap(), 200);
    assert_eq!(status("the-other-admin-token").await.unwrap(), 401);
}

#[tokio::test]
async fn with_json_every_line_of_the_log_is_json_from_the_first_on() {
    let folder = tempfile::tempdir().unwrap();
    let file = "listen = \"127.0.0.1:0\"\nstore = \"memory:\"\ndata_dir = \"data\"\nbinance = \"off\"\n\
                [admin]\ntoken = \"short\"\n[log]\nformat = \"json\"\n";
    std::fs::write(folder.path().join("gate.toml"), file).unwrap();
    let gateway = Served::start(folder.path());
    gateway.says("lastgood is listening").await;
    let text = gateway.text();
    let lines: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|why| panic!("{why}: {line}"))).collect();
    let messages: Vec<&str> = lines.iter().filter_map(|line| line["fields"]["message"].as_str()).collect();
    assert!(messages.iter().any(|message| message.contains("can be guessed; make one with")), "{messages:?}");
}

#[test]
fn with_json_a_wrong_configuration_is_a_line_of_json_too() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("lastgood.toml"), "presett = \"trading\"\n[log]\nformat = \"json\"\n").unwrap();
    for (more, env) in
        [(&[][..], None), (&["--set", "log.format=json"][..], None), (&[][..], Some(("LASTGOOD_LOG_FORMAT", "json")))]
    {
        if !more.is_empty() || env.is_some() {
            std::fs::write(folder.path().join("lastgood.toml"), "presett = \"trading\"\n").unwrap();
        }
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_lastgood"));
        command.arg("serve").args(more).current_dir(folder.path()).env_clear().envs(env);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let text = String::from_utf8(output.stderr).unwrap();
        let line: Value = serde_json::from_str(&text).unwrap_or_else(|why| panic!("{why}: {text}"));
        assert!(line["fields"]["problem"].as_str().is_some_and(|problem| problem.contains("presett")), "{line}");
    }
}
