//! The page in a real Chromium, driven by `tests/browser/page.mjs`.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use lastgood_gateway::Demonstration as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use super::{Switch, TOKEN};
use crate::clients::hint;
use crate::support::{Exchange, Running, client, get};

mod failures;
mod tried;

/// Lets a browser try something at a gateway.
async fn browser(what: &str, gateway: &Running) {
    browser_with(what, gateway.address, &[], Duration::from_secs(240)).await;
}

async fn browser_with(what: &str, gateway: SocketAddr, env: &[(&str, &str)], within: Duration) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/browser/page.mjs");
    let mut command = Command::new("node");
    command
        .arg(script.canonicalize().expect("the script"))
        .arg(what)
        .env("GATEWAY_URL", format!("http://{gateway}"))
        .env("TOKEN", TOKEN)
        .envs(env.iter().copied())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(within, command.output())
        .await
        .unwrap_or_else(|_| panic!("{what} does not end"))
        .unwrap_or_else(|why| panic!("{what}: {why}; run tests/install-tools.sh"));
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what}: {complained}{}", hint(&complained));
    // Figures, for who runs it with --no-capture.
    std::io::stdout().write_all(&output.stdout).expect("a place for them");
}

const ASKED: [&str; 8] = [
    "/api/v3/ticker/price?symbol=BTCUSDT",
    "/api/v3/klines?symbol=BTCUSDT&interval=1m&limit=500",
    "/api/v3/depth?symbol=ETHUSDT&limit=20",
    "/api/v3/ticker/24hr?symbol=SOLUSDT",
    "/fapi/v1/ticker/price?symbol=BTCUSDT",
    "/api/v3/klines?symbol=ETHUSDT&interval=1h&limit=200",
    "/fapi/v1/premiumIndex?symbol=BTCUSDT",
    "/api/v3/ticker/bookTicker?symbol=BTCUSDT",
];

/// Asks for prices, candles and books in turn, until it is dropped.
fn traffic(gateway: &Running) -> tokio::task::JoinSet<()> {
    let targets = ASKED.map(|target| gateway.url(target));
    let mut running = tokio::task::JoinSet::new();
    running.spawn(ask_in_turn(targets.to_vec()));
    running
}

/// Asks for these one after the other, over and over.
async fn ask_in_turn(targets: Vec<String>) {
    for target in targets.iter().cycle() {
        get(target).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn every_view_shows_light_dark_and_on_a_phone_without_an_error_or_a_serious_barrier() {
    let exchange = Exchange::start().await;
    exchange.sim.set_clock(lastgood_sim::ClockMode::Live);
    let warm =
        [("warm.markets", "spot"), ("warm.symbols", "BTCUSDT"), ("warm.intervals", "1h,1d"), ("store", "embedded:")];
    let gateway = Running::start(&exchange.url(), &warm).await;
    // The pictures are of a gateway as users have it.
    if std::env::var_os("PICTURES").is_none() {
        gateway.gateway.demonstrate(Arc::new(Switch::default()));
    }
    let _traffic = traffic(&gateway);
    browser("views", &gateway).await;
}

#[tokio::test]
async fn a_fault_of_the_exchange_is_switched_on_seen_and_switched_off_with_the_keyboard() {
    let exchange = Exchange::start().await;
    let gateway = Running::start(&exchange.url(), &[]).await;
    gateway.gateway.demonstrate(Arc::new(Switch::of(&exchange)));
    let _traffic = traffic(&gateway);
    browser("fault", &gateway).await;
}

#[tokio::test]
async fn candles_of_each_market_and_length_follow_each_other_without_gaps() {
    let exchange = Exchange::start().await;
    exchange.sim.set_clock(lastgood_sim::ClockMode::Live);
    let gateway = Running::start(&exchange.url(), &[]).await;
    browser("market", &gateway).await;
}

/// A route over a database that is not there.
const NOWHERE: &str = r#"
[databases.main]
url = "sqlite:/nowhere/at/all.db"

[[routes]]
path = "/v1/stocks"
sources = [{ database = "main", sql = "SELECT 1 AS one" }]
"#;

#[tokio::test]
async fn a_route_says_when_its_source_failed_last_and_why() {
    let gateway = Running::of_file(NOWHERE).await;
    assert_eq!(get(gateway.url("/v1/stocks")).await.status, 503);
    browser("routes", &gateway).await;
}

#[tokio::test]
async fn half_an_hour_of_events_leaves_each_view_as_large_as_it_was() {
    let exchange = Exchange::start().await;
    exchange.sim.set_clock(lastgood_sim::ClockMode::Live);
    let gateway = Running::start(&exchange.url(), &[]).await;
    get(gateway.url(ASKED[0])).await;
    browser_with("hurried", gateway.address, &[], Duration::from_secs(340)).await;
}

#[tokio::test]
#[ignore = "takes half an hour; make half-hour runs it"]
async fn half_an_hour_of_true_time_leaves_the_page_as_large_as_it_was() {
    let minutes = std::env::var("MINUTES").unwrap_or_else(|_| "30".to_owned());
    let exchange = Exchange::start().await;
    exchange.sim.set_clock(lastgood_sim::ClockMode::Live);
    let gateway = Running::start(&exchange.url(), &[]).await;
    let _traffic = traffic(&gateway);
    let within = Duration::from_secs(minutes.parse::<u64>().expect("minutes") * 60 + 240);
    browser_with("open", gateway.address, &[("MINUTES", &minutes)], within).await;
}

#[tokio::test]
async fn no_view_jumps_while_it_is_filled_and_kept_up_to_date_and_the_exchange_fails() {
    let exchange = Exchange::start().await;
    exchange.sim.set_clock(lastgood_sim::ClockMode::Live);
    let gateway = Running::start(&exchange.url(), &[]).await;
    gateway.gateway.demonstrate(Arc::new(Switch::of(&exchange)));
    let _traffic = traffic(&gateway);
    browser("still", &gateway).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures, and needs a machine with nothing else to do; make page-load runs it"]
async fn at_a_thousand_requests_a_second_the_page_is_updated_each_second_without_a_stutter() {
    let seconds = std::env::var("SECONDS").unwrap_or_else(|_| "10".to_owned());
    let exchange = Exchange::start().await;
    exchange.sim.set_clock(lastgood_sim::ClockMode::Live);
    let gateway = Running::start(&exchange.url(), &[]).await;
    let began = tokio::time::Instant::now();
    let _load = load(&gateway);
    browser_with("busy", gateway.address, &[("SECONDS", &seconds)], Duration::from_secs(240)).await;
    let rate = gateway.traffic().requests as f64 / began.elapsed().as_secs_f64();
    println!("{rate:.0} requests a second on average");
    assert!(rate > 900.0, "{rate} requests a second are not the load that was meant");
}

/// Connections that ask for a price, a thousand times a second together, until it is dropped.
fn load(gateway: &Running) -> tokio::task::JoinSet<()> {
    const CONNECTIONS: u64 = 20;
    let address = gateway.address;
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..CONNECTIONS {
        running.spawn(async move {
            let mut stream = tokio::net::TcpStream::connect(address).await.expect("a connection");
            let asked = format!("GET {} HTTP/1.1\r\nHost: {address}\r\n\r\n", ASKED[0]);
            // Late turns are made up for.
            let mut turns = tokio::time::interval(Duration::from_millis(CONNECTIONS));
            loop {
                turns.tick().await;
                stream.write_all(asked.as_bytes()).await.expect("it is taken");
                answered(&mut stream).await;
            }
        });
    }
    running
}

/// Reads an answer to its end.
async fn answered(stream: &mut tokio::net::TcpStream) {
    let (mut answer, mut part) = (Vec::new(), [0; 4096]);
    loop {
        let read = stream.read(&mut part).await.expect("an answer");
        assert!(read > 0, "the connection stays open");
        answer.extend_from_slice(&part[..read]);
        let text = String::from_utf8_lossy(&answer);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        if body.len() >= length.expect("a length") {
            return;
        }
    }
}

#[tokio::test]
async fn little_is_sent_until_the_page_is_first_seen() {
    let exchange = Exchange::start().await;
    let gateway = Running::start(&exchange.url(), &[]).await;
    browser("paint", &gateway).await;
}

#[tokio::test]
async fn a_key_of_a_hostile_name_and_value_is_text_and_is_expired_and_removed_once_confirmed() {
    let exchange = Exchange::start().await;
    let warm = [("warm.markets", "spot"), ("warm.symbols", "BTCUSDT"), ("warm.intervals", "1h")];
    let gateway = Running::start(&exchange.url(), &warm).await;
    let url = gateway.url("/v1/kv/kv/%3Cimg%20src=x%20onerror=alert(1)%3E");
    let put = client()
        .put(format!("{url}?tags=%3Cimg%3E"))
        .header("content-type", "text/html")
        .body("<script>alert(1)</script><img src=x>");
    assert_eq!(put.send().await.unwrap().status(), 201);
    browser("keys", &gateway).await;
    assert_eq!(get(&url).await.status, 404, "removed in the end");
}

#[tokio::test]
async fn the_page_asks_for_the_token_refuses_a_wrong_one_and_keeps_the_right_one_nowhere() {
    let exchange = Exchange::start().await;
    let gateway = Running::start(&exchange.url(), &[("admin.token", TOKEN)]).await;
    browser("token", &gateway).await;
}

#[tokio::test]
async fn a_page_of_somebody_else_in_the_same_browser_reads_nothing_and_changes_nothing() {
    let exchange = Exchange::start().await;
    let gateway = Running::start(&exchange.url(), &[]).await;
    let switch = Arc::new(Switch::default());
    gateway.gateway.demonstrate(Arc::clone(&switch) as _);
    browser("hostile", &gateway).await;
    assert_eq!(switch.in_force(), "none");
    assert_eq!(get(gateway.url("/api/cache/status")).await.json()["enabled"], true);
}
