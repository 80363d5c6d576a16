//! Which requests pass through, to which host, and the stated reason.

use std::sync::{Arc, Mutex};

use axum::body::{Body, to_bytes};
use axum::response::Response;
use http::Request;
use lastgood_settings::Settings;
use tokio::net::TcpListener;

use crate::support::{Exchange, Got, Running, client, get, read};

/// A host that tells what it was asked, byte for byte.
struct Echo {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Echo {
    async fn start(name: &'static str) -> Echo {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        let answer = move |request: Request<Body>| {
            let seen = Arc::clone(&seen);
            async move {
                let (head, body) = request.into_parts();
                let body = String::from_utf8(to_bytes(body, 1 << 20).await.unwrap().to_vec()).unwrap();
                let key = head.headers.get("x-mbx-apikey").map_or("", |key| key.to_str().unwrap()).to_owned();
                let said = format!("{} {} {key} {body}", head.method, head.uri);
                seen.lock().unwrap().push(said.clone());
                let response =
                    Response::builder().status(418 - 200).header("x-mbx-of", name).header("x-mbx-used-weight-1m", "7");
                response.body(Body::from(format!("{name}: {said}"))).unwrap()
            }
        };
        tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(answer)).await });
        Echo { url, asked }
    }

    fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

fn detail(got: &Got) -> &str {
    got.header("cache-status").strip_prefix("lastgood; fwd=bypass; detail=").unwrap_or(got.header("cache-status"))
}

#[tokio::test]
async fn options_and_portfolio_margin_pass_byte_for_byte_to_their_own_hosts() {
    let exchange = Exchange::start().await;
    let (options, portfolio) = (Echo::start("options").await, Echo::start("portfolio").await);
    let hosts = [("binance.options_url", options.url.as_str()), ("binance.portfolio_url", portfolio.url.as_str())];
    let gateway = Running::start(&exchange.url(), &hosts).await;
    let public = get(gateway.url("/eapi/v1/depth?symbol=BTC-200730-9000-C&x=%41%2c,[a]")).await;
    assert_eq!(public.text(), "options: GET /eapi/v1/depth?symbol=BTC-200730-9000-C&x=%41%2c,[a]  ");
    assert_eq!(
        (public.status, public.header("x-mbx-of"), public.header("x-mbx-used-weight-1m")),
        (218, "options", "7")
    );
    assert_eq!((public.cache(), detail(&public), public.header("cache-control")), ("PASS", "unlisted", "no-store"));
    let order = client()
        .post(gateway.url("/papi/v1/um/order?a=%2B&signature=ab"))
        .header("X-MBX-APIKEY", "k")
        .body("symbol=BTCUSDT&note=%41")
        .send();
    let order = read(order.await.unwrap()).await;
    assert_eq!(order.text(), "portfolio: POST /papi/v1/um/order?a=%2B&signature=ab k symbol=BTCUSDT&note=%41");
    assert_eq!(detail(&order), "private");
    assert_eq!(detail(&get(gateway.url("/papi/v1/um/account?timestamp=1")).await), "private");
    for _ in 0..2 {
        get(gateway.url("/eapi/v1/exchangeInfo")).await;
    }
    assert_eq!((options.asked(), portfolio.asked(), exchange.asked()), (3, 2, 0), "nothing is cached, nothing strays");
}

#[tokio::test]
async fn a_gateway_before_another_exchange_passes_nothing_to_the_real_ones_options_and_portfolio_margin() {
    let exchange = Exchange::start().await;
    let gateway = Running::start(&exchange.url(), &[]).await;
    for path in ["/eapi/v1/depth?symbol=X", "/papi/v1/um/account?signature=1"] {
        let got = get(gateway.url(path)).await;
        assert_eq!((got.status, got.json()["code"].as_i64()), (404, Some(-1000)), "{}", got.text());
        assert!(got.text().contains("binance."), "{}", got.text());
    }
    // With nothing configured they are the exchange's own.
    assert!(Settings::default().binance.options_url.is_empty());
    // Spot's oldest paths are spot's.
    let old = get(gateway.url("/wapi/v3/systemStatus.html")).await;
    let direct = get(exchange.url() + "/wapi/v3/systemStatus.html").await;
    assert_eq!((old.status, &old.body, old.cache()), (direct.status, &direct.body, "PASS"));
}

#[tokio::test]
async fn what_passes_says_its_true_reason() {
    let exchange = Exchange::start().await;
    exchange.sim.set_clock(lastgood_sim::ClockMode::Frozen(crate::support::half_past()));
    let gateway = Running::start(&exchange.url(), &[]).await;
    for (target, reason) in [
        ("/api/v3/account?timestamp=1&signature=ab", "private"),
        ("/api/v3/account", "private"),
        ("/api/v3/klines?symbol=BTCUSDT&interval=1m&signature=ab", "private"),
        ("/sapi/v1/capital/config/getall", "private"),
        ("/api/v3/time", "uncacheable"),
        ("/fapi/v1/historicalTrades?symbol=BTCUSDT", "needs-key"),
        ("/dapi/v1/historicalTrades?symbol=BTCUSD_PERP", "needs-key"),
        ("/sapi/v1/margin/allPairs", "needs-key"),
        ("/api/v1/klines?symbol=BTCUSDT&interval=1m", "unlisted"),
        ("/api/v1/ticker/24hr", "unlisted"),
        ("/api/v3/somethingNew?symbol=BTCUSDT", "unlisted"),
    ] {
        let (through, direct) = (get(gateway.url(target)).await, get(exchange.url() + target).await);
        assert_eq!((through.status, &through.body), (direct.status, &direct.body), "{target}");
        assert_eq!((through.cache(), detail(&through)), ("PASS", reason), "{target}");
        assert_eq!(through.header("cache-control"), "no-store", "{target}");
    }
    let order = read(client().post(gateway.url("/api/v3/order/test")).send().await.unwrap()).await;
    assert_eq!(detail(&order), "private");
}

#[tokio::test]
async fn data_for_those_with_a_key_is_never_shared() {
    let exchange = Exchange::start().await;
    let gateway = Running::start(&exchange.url(), &[]).await;
    let question = "/fapi/v1/historicalTrades?symbol=BTCUSDT&limit=5";
    let with = async |key: Option<&str>| {
        let request = client().get(gateway.url(question));
        let request = if let Some(key) = key { request.header("X-MBX-APIKEY", key) } else { request };
        read(request.send().await.unwrap()).await
    };
    let key = lastgood_sim::Sim::credentials()[0].key.clone();
    let mine = with(Some(&key)).await;
    assert_eq!((mine.status, mine.json().as_array().map(Vec::len)), (200, Some(5)), "{}", mine.text());
    // Neither one without a key nor one with a wrong key gets what the other got.
    for other in [None, Some("wrong")] {
        let refused = with(other).await;
        assert_eq!((refused.status, refused.cache()), (401, "PASS"), "{}", refused.text());
    }
    assert_eq!(exchange.asked(), 3);
    assert_eq!(gateway.gateway.cache().status().memory_bytes, 0);
    // It is market data: a ban stops it, unlike the requests of an account.
    exchange.fault(serde_json::json!({"kind": "banned_futures", "times": 1}));
    get(gateway.url("/fapi/v1/openInterest?symbol=BTCUSDT")).await;
    exchange.sim.reset_counters();
    assert_eq!(with(Some(&key)).await.status, 418);
    assert_eq!(exchange.asked(), 0);
}

#[tokio::test]
async fn answers_that_are_the_same_for_all_are_asked_for_once() {
    let exchange = Exchange::start().await;
    exchange.sim.set_clock(lastgood_sim::ClockMode::Frozen(crate::support::half_past()));
    let long: Vec<(String, &str)> = ["avg_price", "premium_index", "depth", "trades", "system_status", "futures_data"]
        .map(|region| (format!("regions.{region}.fresh_for"), "5m"))
        .to_vec();
    let long: Vec<(&str, &str)> = long.iter().map(|(key, value)| (key.as_str(), *value)).collect();
    let gateway = Running::start(&exchange.url(), &long).await;
    for question in [
        "/sapi/v1/system/status",
        "/api/v3/executionRules?symbol=BTCUSDT",
        "/api/v3/referencePrice?symbol=BTCUSDT",
        "/api/v3/referencePrice/calculation?symbol=BTCUSDT",
        "/api/v3/historicalBlockTrades?symbol=BTCUSDT&fromId=1&limit=5",
        "/fapi/v1/constituents?symbol=BTCUSDT",
        "/dapi/v1/constituents?symbol=BTCUSD",
        "/fapi/v1/indexInfo",
        "/fapi/v1/assetIndex",
        "/fapi/v1/assetIndex?symbol=BTCUSD",
        "/fapi/v1/insuranceBalance",
        "/fapi/v1/symbolAdlRisk?symbol=BTCUSDT",
        "/fapi/v1/tradingSchedule",
        "/futures/data/delivery-price?pair=BTCUSDT",
    ] {
        let direct = get(exchange.url() + question).await;
        let first = get(gateway.url(question)).await;
        assert_eq!((first.status, first.cache(), &first.body), (200, "MISS", &direct.body), "{question}");
        exchange.sim.reset_counters();
        let second = get(gateway.url(question)).await;
        assert_eq!((second.cache(), &second.body), ("HIT", &direct.body), "{question}");
        assert_eq!(exchange.asked(), 0, "{question}");
    }
    // What it refuses, it refuses in its own words.
    for question in ["/api/v3/historicalBlockTrades?symbol=BTCUSDT", "/fapi/v1/rpiDepth?symbol=BTCUSDT&limit=5"] {
        let (through, direct) = (get(gateway.url(question)).await, get(exchange.url() + question).await);
        assert_eq!((through.status, &through.body), (400, &direct.body), "{question}");
    }
}
