//! How a gateway is run: without an exchange, over TLS, on a unix socket, with its log and what it reloads.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lastgood_testing::Authority;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{Exchange, Running, Sink, eventually, get, settings_of};

const TICKER: &str = "/api/v3/ticker/price?symbol=BTCUSDT";

#[tokio::test]
async fn a_gateway_without_an_exchange_has_no_paths_of_it_and_is_well() {
    let data = tempfile::tempdir().unwrap();
    let mut settings = settings_of("binance = \"off\"\nstore = \"memory:\"", &[]).unwrap();
    settings.data_dir = data.path().to_owned();
    let gateway = Running::serve(&settings, data).await;
    for path in [TICKER, "/fapi/v1/klines?symbol=BTCUSDT&interval=1m", "/eapi/v1/time", "/v1/symbols/spot"] {
        let refused = get(gateway.url(path)).await;
        assert_eq!(refused.status, 404, "{path}");
        assert!(refused.text().contains("has no exchange"), "{path}: {}", refused.text());
    }
    let health = get(gateway.url("/health")).await.json();
    assert_eq!((&health["status"], &health["upstreams"]), (&Value::from("ok"), &serde_json::json!([])), "{health}");
    let metrics = get(gateway.url("/metrics")).await;
    assert!(!metrics.text().contains("venue="), "{}", metrics.text());
    let mut put = crate::support::client().put(gateway.url("/v1/kv/kv/a"));
    put = put.body("1");
    assert_eq!(put.send().await.unwrap().status().as_u16(), 201);
    assert_eq!(get(gateway.url("/v1/kv/kv/a")).await.text(), "1");
}

#[test]
fn check_finds_nothing_wrong_without_an_exchange() {
    let data = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_lastgood"));
    command.args([
        "check",
        "--json",
        "--store",
        "memory:",
        "--listen",
        "127.0.0.1:0",
        "--set",
        "binance=off",
        "--data-dir",
    ]);
    let output = command.arg(data.path()).env_clear().current_dir(data.path()).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &report["ok"]), (Some(0), &Value::from(true)), "{report}");
    let asked =
        report["checks"].as_array().unwrap().iter().filter(|check| check["target"].as_str().unwrap().contains("://"));
    assert_eq!(asked.count(), 0, "{report}");
}

#[tokio::test]
async fn tls_is_spoken_with_the_certificate_that_is_named() {
    let (authority, exchange) = (Authority::new(), Exchange::start().await);
    let (certificate, key) = authority.issue("gateway", "DNS:localhost,IP:127.0.0.1");
    let gateway =
        Running::start(&exchange.url(), &[("tls.certificate", certificate.as_str()), ("tls.key", key.as_str())]).await;
    let url = gateway.url(TICKER).replace("http://", "https://");
    let answer = trusting(&authority.certificate()).get(&url).send().await.expect("an answer over TLS");
    assert_eq!((answer.status().as_u16(), answer.headers()["x-cache"].to_str().unwrap()), (200, "MISS"));
    let others = Authority::new();
    assert!(
        trusting(&others.certificate()).get(&url).send().await.is_err(),
        "another authority's word counts for nothing"
    );
    // Plain HTTP gets no answer.
    assert!(crate::support::client().get(gateway.url(TICKER)).send().await.is_err());
}

#[tokio::test]
async fn hundreds_of_clients_that_come_at_the_same_moment_are_all_connected() {
    // Nothing is accepted yet: they wait in the kernel, as they do while a gateway is busy with the first of them.
    let listener = lastgood_gateway::listen(([127, 0, 0, 1], 0).into()).expect("a free port");
    let address = listener.local_addr().expect("its port");
    let clients = (0..400).map(|_| tokio::net::TcpStream::connect(address));
    let connected = tokio::time::timeout(Duration::from_secs(10), futures_util::future::try_join_all(clients)).await;
    assert_eq!(connected.expect("none waits for a second try").expect("none is refused").len(), 400);
}

#[tokio::test]
async fn a_client_that_never_ends_its_handshake_is_closed() {
    let authority = Authority::new();
    let (certificate, key) = authority.issue("gateway", "IP:127.0.0.1");
    let flags =
        [("tls.certificate", certificate.as_str()), ("tls.key", key.as_str()), ("limits.header_timeout", "200ms")];
    let gateway = Running::start("http://127.0.0.1:9", &flags).await;
    let mut silent = tokio::net::TcpStream::connect(gateway.address).await.unwrap();
    let mut nothing = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(5), silent.read_to_end(&mut nothing)).await;
    assert!(read.is_ok(), "it is still open");
}

/// A client that trusts one authority alone.
fn trusting(certificate: &str) -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let pem = std::fs::read(certificate).unwrap();
    let authority = reqwest::Certificate::from_pem(&pem).unwrap();
    reqwest::Client::builder().tls_certs_only([authority]).build().unwrap()
}

#[tokio::test]
async fn a_unix_socket_answers_like_the_port_and_is_gone_afterwards() {
    let (folder, exchange) = (tempfile::tempdir().unwrap(), Exchange::start().await);
    let path = folder.path().join("lastgood.sock");
    let name = path.display().to_string();
    let gateway = Running::start(&exchange.url(), &[("unix_socket", &name)]).await;
    eventually("the socket is there", async || path.exists()).await;
    assert_eq!(get(gateway.url(TICKER)).await.status, 200);
    let answer = ask_socket(&path, &TICKER.replace("BTC", "ETH")).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("ETHUSDT"), "{answer}");
    // The cache's inside is open to this machine, as it is at the port.
    assert!(ask_socket(&path, "/api/cache/stats").await.starts_with("HTTP/1.1 200 "));
    gateway.stop().await;
    assert!(!path.exists());
    // What a killed gateway leaves behind is no obstacle.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let again = Running::start(&exchange.url(), &[("unix_socket", &name)]).await;
    eventually("it listens again", async || tokio::net::UnixStream::connect(&path).await.is_ok()).await;
    again.stop().await;
}

async fn ask_socket(path: &Path, target: &str) -> String {
    let mut stream = tokio::net::UnixStream::connect(path).await.unwrap();
    let request = format!("GET {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn pages_of_listed_origins_may_read_public_answers_and_never_the_inside() {
    let exchange = Exchange::start().await;
    let gateway =
        Running::start(&exchange.url(), &[("cors.origins", "https://app.example,http://localhost:3000")]).await;
    let from = async |origin: &'static str, path: &str, method: reqwest::Method| {
        let request = crate::support::client().request(method, gateway.url(path)).header("origin", origin);
        let request = request.header("access-control-request-method", "GET");
        crate::support::read(request.send().await.unwrap()).await
    };
    let get_from = async |origin, path| from(origin, path, reqwest::Method::GET).await;
    let answer = get_from("https://app.example", TICKER).await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, "https://app.example"));
    assert!(answer.header("access-control-expose-headers").contains("X-Cache"));
    let hit = get_from("http://localhost:3000", TICKER).await;
    assert_eq!((hit.cache(), hit.header("access-control-allow-origin")), ("HIT", "http://localhost:3000"));
    let other = get_from("https://evil.example", TICKER).await;
    assert_eq!((other.status, other.header("access-control-allow-origin")), (200, ""));
    let varies = other.headers.get_all("vary").iter().any(|value| value == "Origin");
    assert!(varies, "{:?}", other.headers);
    let before = exchange.asked();
    let preflight = from("https://app.example", "/api/v3/order", reqwest::Method::OPTIONS).await;
    assert_eq!((preflight.status, preflight.header("access-control-allow-origin")), (204, "https://app.example"));
    assert!(preflight.header("access-control-allow-methods").contains("DELETE"));
    assert_eq!(exchange.asked(), before, "the exchange is not asked");
    for path in ["/api/cache/stats", "/v1/kv/kv/a", "/page/live"] {
        let refused = get_from("https://app.example", path).await;
        assert_eq!((refused.status, refused.header("access-control-allow-origin")), (403, ""), "{path}");
    }
    let without = Running::start(&exchange.url(), &[]).await;
    let request = crate::support::client().get(without.url(TICKER)).header("origin", "https://app.example");
    assert!(!request.send().await.unwrap().headers().contains_key("access-control-allow-origin"));
}

#[tokio::test]
async fn each_request_is_a_line_of_the_log_if_it_is_wanted_and_no_query_is_in_it() {
    let logged = Sink::of_the_log("info");
    let exchange = Exchange::start().await;
    let silent = Running::start(&exchange.url(), &[]).await;
    get(silent.url("/api/v3/ticker/bookTicker?symbol=BTCUSDT")).await;
    let gateway = Running::start(&exchange.url(), &[("log.access", "true")]).await;
    get(gateway.url(&format!("{TICKER}&signature=hunter2"))).await;
    get(gateway.url(TICKER)).await;
    get(gateway.url("/nothing")).await;
    let text = logged.text();
    let lines: Vec<&str> = text.lines().filter(|line| line.contains("lastgood::access")).collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(!text.contains("hunter2") && !text.contains("bookTicker"), "{text}");
    for part in ["127.0.0.1", "method=GET", "path=\"/api/v3/ticker/price\"", "status=200", "took_ms="] {
        assert!(lines[1].contains(part), "{part}: {}", lines[1]);
    }
    assert!(lines[1].contains("cache=") && lines[2].contains("status=404"), "{lines:?}");
}

/// A `lastgood serve` of a configuration file, and what it says.
struct Served {
    child: std::process::Child,
    said: Arc<Mutex<String>>,
}

impl Served {
    fn start(folder: &Path) -> Served {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lastgood"));
        command.args(["serve", "--config", "gate.toml"]).current_dir(folder).env_clear().env("NO_COLOR", "1");
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

    // A mistake changes nothing, and ends nothing.
    write("the-other-admin-token", "nonsense = 1");
    gateway.hang_up();
    gateway.says("nothing of it was reloaded").await;
    assert!(gateway.text().contains("unknown key"), "{}", gateway.text());
    assert_eq!(status("the-other-admin-token").await.unwrap(), 200);
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

#[tokio::test]
async fn the_metrics_tell_the_program_the_process_and_how_requests_went() {
    let exchange = Exchange::start().await;
    let gateway = Running::start(&exchange.url(), &[]).await;
    get(gateway.url(TICKER)).await;
    get(gateway.url(TICKER)).await;
    get(gateway.url("/api/v3/ticker/price?symbol=NOPE")).await;
    get(gateway.url("/nothing")).await;
    let scraped = get(gateway.url("/metrics")).await;
    let text = scraped.text();
    let value = |series: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{series}: {text}")).parse::<f64>().unwrap()
    };
    assert_eq!(value(concat!("lastgood_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"}")), 1.0);
    assert!(value("process_resident_memory_bytes") > 1e6 && value("process_open_fds") >= 3.0);
    assert!(value("process_start_time_seconds") > 1.7e9 && value("process_cpu_seconds_total") >= 0.0);
    let requests = |class: &str, status: &str| {
        value(&format!("lastgood_request_duration_seconds_count{{class=\"{class}\",status=\"{status}\"}}"))
    };
    assert_eq!((requests("exchange", "2xx"), requests("exchange", "4xx"), requests("route", "4xx")), (2.0, 1.0, 1.0));
    // Every histogram ends with all of them.
    let histograms: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" histogram"))
        .filter(|name| text.contains(&format!("{name}_count{{")))
        .collect();
    assert!(histograms.len() >= 2, "{histograms:?}");
    for name in histograms {
        let counts = text.lines().filter(|line| line.starts_with(&format!("{name}_count{{"))).count();
        let infinite = |line: &&str| line.starts_with(&format!("{name}_bucket{{")) && line.contains("le=\"+Inf\"");
        assert_eq!(text.lines().filter(infinite).count(), counts, "{name}");
    }
    // What was never asked for has no series.
    assert!(!text.contains("region=\"funding_rate\"") && text.contains("region=\"ticker_price\""), "{text}");
    assert!(!text.contains("upstream_stopped_until_timestamp_seconds{"), "{text}");
}

#[tokio::test]
async fn the_metrics_say_how_long_each_host_and_source_that_was_asked_took() {
    let exchange = Exchange::start().await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("main.db"), "").unwrap();
    let url = format!("sqlite:{}", folder.path().join("main.db").display());
    let file = format!(
        "[databases.main]\nurl = \"{url}\"\n[databases.idle]\nurl = \"{url}\"\n\
         [[routes]]\npath = \"/v1/one\"\nsources = [{{ database = \"main\", sql = \"SELECT 1 AS one\" }}]\n"
    );
    let mut settings = settings_of(&file, &[]).unwrap();
    settings.data_dir = folder.path().to_owned();
    settings.store = lastgood_settings::StoreSetting::Memory;
    settings.binance = crate::support::settings(&exchange.url(), &[]).binance;
    settings.binance.futures_url = vec![lastgood_settings::BaseUrl::parse("http://idle.example:1").unwrap()];
    let gateway = Running::serve(&settings, folder).await;
    assert_eq!(get(gateway.url("/v1/one")).await.status, 200);
    get(gateway.url(TICKER)).await;
    exchange.fault(serde_json::json!({"kind": "latency", "ms": 120}));
    get(gateway.url("/api/v3/ticker/24hr?symbol=BTCUSDT")).await;
    let scraped = get(gateway.url("/metrics")).await;
    let text = scraped.text();
    let value = |series: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{series}: {text}")).parse::<f64>().unwrap()
    };
    let count = |kind: &str, name: &str| {
        value(&format!("lastgood_source_duration_seconds_count{{kind=\"{kind}\",name=\"{name}\"}}"))
    };
    assert_eq!((count("host", "127.0.0.1"), count("source", "database main")), (2.0, 1.0));
    let host = "kind=\"host\",name=\"127.0.0.1\"";
    let up_to = |bound: &str| value(&format!("lastgood_source_duration_seconds_bucket{{le=\"{bound}\",{host}}}"));
    assert_eq!((up_to("0.1"), up_to("+Inf")), (1.0, 2.0));
    let sum = value(&format!("lastgood_source_duration_seconds_sum{{{host}}}"));
    assert!((0.12..2.0).contains(&sum), "{sum}");
    let timed = text.lines().filter(|line| line.starts_with("lastgood_source_duration_seconds"));
    assert_eq!(timed.filter(|line| line.contains("idle")).count(), 0, "what was never asked has no series");
}

#[tokio::test]
async fn last_good_answers_are_reported_with_their_age_and_a_ban_with_its_end() {
    let exchange = Exchange::start().await;
    let flags = [("regions.ticker_price.fresh_for", "1ms"), ("regions.ticker_price.stale_while_revalidate", "0s")];
    let gateway = Running::start(&exchange.url(), &flags).await;
    get(gateway.url(TICKER)).await;
    exchange.fault(serde_json::json!({"kind": "banned_spot"}));
    eventually("last good", async || get(gateway.url(TICKER)).await.cache() == "LAST-GOOD").await;
    let scraped = get(gateway.url("/metrics")).await;
    let text = scraped.text();
    assert!(text.contains("lastgood_serving_last_good{region=\"ticker_price\",reason=\"banned\"} 1"), "{text}");
    assert!(text.contains("lastgood_oldest_last_good_seconds{region=\"ticker_price\"}"), "{text}");
    let until = text.lines().find(|line| line.starts_with("lastgood_upstream_stopped_until_timestamp_seconds{"));
    let until: f64 = until.and_then(|line| line.rsplit_once(' ')?.1.parse().ok()).unwrap_or_else(|| panic!("{text}"));
    let now = lastgood::Clock::system().now().as_millis() as f64 / 1e3;
    assert!(until > now && until < now + 300.0, "{until} {now}");
}
