//! Where only a proxy leads out.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lastgood_testing::{Port, RedisServer, UpstashFront};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use super::authority::Authority;
use super::upstash::Terminator;
use super::web::Moto;
use super::{Served, command};
use crate::support::{Exchange, get};
use crate::upstash::TOKEN;

/// A route over an API that only a proxy knows the way to.
const API: &str = "[apis.stocks]\nurl = \"https://outside.test\"\n[[routes]]\npath = \"/v1/api\"\nregion = \"routes\"\n\
    [[routes.sources]]\napi = \"stocks\"\npath = \"/daily/AAPL.json\"\n";
const PASSWORD: &str = "hunter2%21";
/// `me:hunter2!`
const AUTHORIZATION: &str = "Proxy-Authorization: Basic bWU6aHVudGVyMiE=";

/// A proxy to which every host is this machine.
struct Proxy {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// One that answers as `refusal` says, if it does, and else leads on; with `wants_user` only who tells its password.
    async fn start(refusal: Option<&'static str>, wants_user: bool) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, heads) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<String>>>::default());
        let kept = Arc::clone(&heads);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client, Arc::clone(&kept), refusal, wants_user));
            }
        });
        Proxy { address, heads }
    }

    fn url(&self) -> String {
        format!("http://me:{PASSWORD}@{}", self.address)
    }

    /// What was asked for, and how often.
    fn asked(&self) -> BTreeMap<String, usize> {
        let mut asked = BTreeMap::new();
        for head in self.heads.lock().unwrap().iter() {
            *asked.entry(head.lines().next().unwrap_or_default().to_owned()).or_default() += 1;
        }
        asked
    }
}

async fn serve(
    mut client: TcpStream,
    heads: Arc<Mutex<Vec<String>>>,
    refusal: Option<&'static str>,
    wants_user: bool,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    let head = String::from_utf8(head).expect("a head is text");
    heads.lock().unwrap().push(head.clone());
    let refusal =
        refusal.or((wants_user && !head.to_lowercase().contains(&AUTHORIZATION.to_lowercase())).then_some("407 Who?"));
    if let Some(refusal) = refusal {
        return client.write_all(format!("HTTP/1.1 {refusal}\r\nContent-Length: 0\r\n\r\n").as_bytes()).await;
    }
    let mut words = head.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let place = target.trim_start_matches("http://");
    let (place, path) = place.split_once('/').unwrap_or((place, ""));
    let port: u16 = place.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).expect("tests name ports");
    let mut server = TcpStream::connect(("127.0.0.1", port)).await?;
    if method == "CONNECT" {
        client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
    } else {
        let rest = head.split_once("\r\n").unwrap().1;
        let hidden = |line: &&str| !line.to_lowercase().starts_with("proxy-");
        let rest: Vec<&str> = rest.split("\r\n").filter(hidden).collect();
        server.write_all(format!("{method} /{path} HTTP/1.1\r\n{}", rest.join("\r\n")).as_bytes()).await?;
    }
    copy_bidirectional(&mut client, &mut server).await.map(drop)
}

/// An exchange behind TLS that only a proxy knows the way to, and the variables of a gateway before it.
struct Outside {
    exchange: Exchange,
    front: Terminator,
    authority: Authority,
}

impl Outside {
    async fn new() -> Outside {
        let exchange = Exchange::start().await;
        let authority = Authority::new();
        let address = exchange.url().trim_start_matches("http://").parse().unwrap();
        let front = Terminator::start(&authority, address);
        Outside { exchange, front, authority }
    }

    fn variables(&self, more: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
        let host = format!("outside.test:{}", self.front.port);
        let mut variables = vec![
            ("SSL_CERT_FILE", self.authority.certificate().to_str().unwrap().to_owned()),
            ("LASTGOOD_BINANCE_SPOT_URL", format!("https://{host}")),
            ("LASTGOOD_BINANCE_FUTURES_URL", format!("https://{host}")),
            ("LASTGOOD_BINANCE_COIN_URL", format!("https://{host}")),
            ("LASTGOOD_BINANCE_WS_URL", format!("wss://{host}")),
            ("LASTGOOD_FEAR_GREED_URL", format!("https://{host}")),
            ("LASTGOOD_LOG", "trace".to_owned()),
        ];
        variables.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
        variables
    }
}

fn check(variables: &[(&str, String)], file: &str) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let output = command("check", folder.path(), file, variables).arg("--json").output().unwrap();
    assert!(!String::from_utf8_lossy(&output.stdout).contains("hunter2"));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
}

fn finding<'a>(report: &'a Value, what: &str) -> &'a Value {
    let checks = report["checks"].as_array().unwrap();
    checks.iter().find(|check| check["what"] == what).unwrap_or_else(|| panic!("{what} in {report}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_exchange_its_streams_and_the_index_are_reached_by_the_proxy_of_the_environment() {
    let outside = Outside::new().await;
    let proxy = Proxy::start(None, true).await;
    for (name, value) in [
        ("HTTPS_PROXY", proxy.url()),
        ("https_proxy", proxy.url()),
        ("ALL_PROXY", proxy.url()),
        ("LASTGOOD_PROXY", proxy.url()),
    ] {
        let variables = outside.variables(&[(name, &value)]);
        let gateway = Served::start("", &variables);
        for target in ["/api/v3/ticker/price?symbol=BTCUSDT", "/fapi/v1/ping", "/v1/fear-greed"] {
            let got = get(format!("{}{target}", gateway.url)).await;
            assert_eq!(got.status, 200, "{name} {target}: {}", got.text());
        }
        if name == "HTTPS_PROXY" {
            let candles = format!("{}/api/v3/klines?symbol=BTCUSDT&interval=1m&limit=5", gateway.url);
            let streamed = async {
                while outside.exchange.sim.counters().streams.subscribed == 0 {
                    assert_eq!(get(&candles).await.status, 200);
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(20), streamed).await.expect("streams come by the proxy");
        }
        let log = gateway.log.lock().unwrap().clone();
        assert!(!log.contains("hunter2") && !log.contains("bWU6aHVudGVyMiE"), "{name}");
    }
    let line = format!("CONNECT outside.test:{} HTTP/1.1", outside.front.port);
    assert_eq!(proxy.asked().keys().collect::<Vec<_>>(), [&line], "tunnels alone: what goes through them is TLS");
    let report = check(&outside.variables(&[("HTTPS_PROXY", &proxy.url())]), "");
    for what in ["spot", "futures", "coin", "fear_greed"] {
        let found = finding(&report, what);
        assert_eq!(found["verdict"], "ok", "{found}");
        assert!(found["detail"].as_str().unwrap().ends_with(&format!("by proxy {}", proxy.address)), "{found}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_upstreams_go_through_a_tunnel_too_and_the_exchange_never_sees_the_proxys_password() {
    let outside = Outside::new().await;
    let port = outside.exchange.url().rsplit_once(':').unwrap().1.trim_end_matches('/').to_owned();
    let proxy = Proxy::start(None, true).await;
    let variables = outside.variables(&[
        ("LASTGOOD_BINANCE_SPOT_URL", &format!("http://outside.test:{port}")),
        ("HTTP_PROXY", &proxy.url()),
        // Not for this kind of URL.
        ("HTTPS_PROXY", "http://127.0.0.1:9"),
    ]);
    let gateway = Served::start("", &variables);
    let got = get(format!("{}/api/v3/ticker/price?symbol=BTCUSDT", gateway.url)).await;
    assert_eq!(got.status, 200, "{}", got.text());
    assert!(proxy.asked().keys().all(|line| line.starts_with("CONNECT outside.test:")), "{:?}", proxy.asked());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_an_api_and_a_store_over_rest_are_reached_by_the_proxy() {
    let outside = Outside::new().await;
    let proxy = Proxy::start(None, true).await;
    let moto = Moto::start(Some(&outside.authority)).await;
    let redis = RedisServer::start();
    let upstash = UpstashFront::start(&redis, TOKEN).await;
    let store = Terminator::start(&outside.authority, upstash.address());
    let variables = outside.variables(&[
        ("HTTPS_PROXY", &proxy.url()),
        ("UPSTASH_REDIS_REST_URL", &format!("https://outside.test:{}", store.port)),
        ("UPSTASH_REDIS_REST_TOKEN", TOKEN),
        ("LASTGOOD_STORE_BUDGET", "2s"),
    ]);
    let file = moto.file("outside.test");
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("lastgood.toml"), &file).unwrap();
    let mut checking = Command::new(env!("CARGO_BIN_EXE_lastgood"));
    checking.args(["check", "--json", "--listen", "127.0.0.1:0"]).current_dir(folder.path()).env_clear();
    checking.envs(variables.iter().map(|(name, value)| (name, value)));
    let report: Value = serde_json::from_slice(&checking.output().unwrap().stdout).unwrap();
    assert_eq!(finding(&report, "store")["verdict"], "ok", "{}", finding(&report, "store"));
    let gateway = Served::start(&file, &variables);
    for name in ["bucket", "api"] {
        let got = get(format!("{}/v1/{name}", gateway.url)).await;
        let log = gateway.log.lock().unwrap().clone();
        let lines: Vec<&str> = log.lines().filter(|line| line.contains("declared")).collect();
        assert_eq!(got.status, 200, "{name}: {} {lines:?}", got.text());
    }
    assert!(proxy.asked().keys().all(|line| line.starts_with("CONNECT ")), "{:?}", proxy.asked());
    assert_eq!(
        proxy.asked().len(),
        3,
        "the store, the bucket with its API, and the exchange for check: {:?}",
        proxy.asked()
    );
    assert!(!gateway.log.lock().unwrap().contains("hunter2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_does_not_lead_there_is_reported_as_the_proxys_failure_with_its_fix() {
    let outside = Outside::new().await;
    let no_user = Proxy::start(None, true).await;
    let nowhere = Port::take();
    let cases = [
        (format!("http://{}", no_user.address), "wants a user and a password", "user:password@"),
        (format!("http://me:hunter2wrong@{}", no_user.address), "refuses its user and password", "correct the user"),
        (Proxy::start(Some("403 Forbidden"), false).await.url(), "refuses to lead to outside.test", "allow CONNECT"),
        (
            Proxy::start(Some("502 Bad Gateway"), false).await.url(),
            "cannot reach outside.test",
            "ask the proxy's operator",
        ),
        (format!("http://127.0.0.1:{}", nowhere.number()), "cannot be used", "LASTGOOD_PROXY=off"),
    ];
    for (url, wrong, hint) in cases {
        let variables = outside.variables(&[("HTTPS_PROXY", &url)]);
        let report = check(&variables, API);
        for what in ["spot", "source"] {
            let found = finding(&report, what);
            let has = |key: &str, part: &str| found[key].as_str().is_some_and(|text| text.contains(part));
            assert!(found["verdict"] == "failed" && has("detail", wrong) && has("hint", hint), "{wrong}: {found}");
        }
        let gateway = Served::start(API, &variables);
        let got = get(format!("{}/v1/api", gateway.url)).await;
        assert_eq!(got.status, 503, "{}", got.text());
        assert!(got.text().contains("api stocks cannot be reached by the proxy"), "{wrong}: {}", got.text());
        assert!(!got.text().contains("outside") && !got.text().contains("127.0.0.1"), "{wrong}: {}", got.text());
        let got = get(format!("{}/api/v3/ticker/price?symbol=BTCUSDT", gateway.url)).await;
        assert!(got.status == 503 || got.status == 502, "{}", got.status);
        assert!(got.text().contains("the proxy"), "{wrong}: {}", got.text());
        assert!(!gateway.log.lock().unwrap().contains("hunter2"), "{wrong}");
    }
    assert_eq!(outside.exchange.asked(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_proxy_off_and_this_machine_are_reached_directly_and_check_says_so() {
    let outside = Outside::new().await;
    let proxy = Proxy::start(None, false).await;
    let url = proxy.url();
    let local = outside.exchange.url();
    let local = ("LASTGOOD_BINANCE_SPOT_URL", local.as_str());
    let report = check(&outside.variables(&[("ALL_PROXY", &url), local]), "");
    let found = finding(&report, "spot");
    assert!(found["verdict"] == "ok" && found["detail"].as_str().unwrap().ends_with(", direct"), "{found}");
    let asked = proxy.asked();
    assert_eq!(asked.len(), 1, "the other upstreams: {asked:?}");
    for (more, hint) in [
        (vec![("HTTPS_PROXY", url.as_str()), ("NO_PROXY", "outside.test")], "NO_PROXY"),
        (vec![("HTTPS_PROXY", &url), ("LASTGOOD_PROXY", "off")], "set HTTPS_PROXY or LASTGOOD_PROXY"),
        (vec![], "set HTTPS_PROXY or LASTGOOD_PROXY"),
    ] {
        let report = check(&outside.variables(&more), "");
        let found = finding(&report, "spot");
        // The name leads nowhere from here.
        assert!(found["verdict"] == "failed" && found["detail"].as_str().unwrap().ends_with(", direct"), "{found}");
        assert!(found["hint"].as_str().unwrap().contains(hint), "{found}");
    }
    assert_eq!(proxy.asked(), asked);
    let report = check(&outside.variables(&[("HTTPS_PROXY", "gopher://me:hunter2@x")]), "");
    let found = finding(&report, "configuration");
    assert!(found["verdict"] == "failed" && found.to_string().contains("HTTPS_PROXY"), "{found}");
}

/// A real tinyproxy, which ends with the test.
struct Tinyproxy {
    process: Child,
    port: Port,
    _folder: tempfile::TempDir,
}

impl Tinyproxy {
    fn start() -> Tinyproxy {
        let (folder, port) = (tempfile::tempdir().unwrap(), Port::take());
        let config = folder.path().join("tinyproxy.conf");
        let text =
            format!("Port {}\nListen 127.0.0.1\nTimeout 60\nMaxClients 50\nBasicAuth me hunter2\n", port.number());
        std::fs::write(&config, text).unwrap();
        let mut command = Command::new("tinyproxy");
        command.args(["-d", "-c"]).arg(&config).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().expect("tinyproxy runs; run tests/install-tools.sh");
        while std::net::TcpStream::connect(("127.0.0.1", port.number())).is_err() {
            std::thread::sleep(Duration::from_millis(20));
        }
        Tinyproxy { process, port, _folder: folder }
    }
}

impl Drop for Tinyproxy {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_proxy_leads_to_an_address_of_this_machine_that_is_not_loopback() {
    // A route to anywhere tells the machine's own address; nothing is sent.
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    let own = socket.connect("192.0.2.1:9").and_then(|()| socket.local_addr()).map(|address| address.ip());
    let Some(own) = own.ok().filter(|own| !own.is_loopback() && !own.is_unspecified()) else { return };
    let listener = TcpListener::bind((own, 0)).await.unwrap();
    let outside = Outside::new().await;
    let (address, exchange) = (listener.local_addr().unwrap(), outside.exchange.url());
    let exchange: SocketAddr = exchange.trim_start_matches("http://").parse().unwrap();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let mut far = TcpStream::connect(exchange).await.unwrap();
            tokio::spawn(async move { copy_bidirectional(&mut near, &mut far).await });
        }
    });
    let real = Tinyproxy::start();
    let spot = format!("http://{address}");
    for (password, is_ok) in [("hunter2", true), ("wrong", false)] {
        let proxy = format!("http://me:{password}@127.0.0.1:{}", real.port.number());
        let variables = outside.variables(&[("LASTGOOD_BINANCE_SPOT_URL", &spot), ("LASTGOOD_PROXY", &proxy)]);
        let report = check(&variables, "");
        let found = finding(&report, "spot");
        assert_eq!(found["verdict"] == "ok", is_ok, "{found}");
        assert!(is_ok || found["detail"].as_str().unwrap().contains("refuses its user and password"), "{found}");
        let gateway = Served::start("", &variables);
        let got = get(format!("{}/api/v3/ticker/price?symbol=BTCUSDT", gateway.url)).await;
        assert_eq!(got.status == 200, is_ok, "{}", got.text());
    }
}
