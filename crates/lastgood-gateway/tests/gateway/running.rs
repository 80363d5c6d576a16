//! How a gateway is run: without an exchange, over TLS, on a unix socket, for pages of other origins, with its log.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use lastgood_testing::Authority;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{Exchange, Running, Sink, eventually, get, settings_of};

mod served;

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
    // A command that does not know the authority says that, and not that nothing is there.
    let mut stats = tokio::process::Command::new(env!("CARGO_BIN_EXE_lastgood"));
    stats.args(["stats", "--url", url.trim_end_matches(TICKER)]).env_clear().kill_on_drop(true);
    let said = stats.output().await.unwrap();
    let said = String::from_utf8_lossy(&said.stderr);
    assert!(said.contains("its certificate is not one that is trusted") && said.contains("SSL_CERT_FILE"), "{said}");
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
