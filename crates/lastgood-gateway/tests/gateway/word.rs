//! What the exchange says of its limits and bans is followed within reason.

use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::response::Response;
use http::Request;
use lastgood_market::budget::bounds::{LONGEST_BAN, LONGEST_PAUSE};
use reqwest::Method;
use serde_json::json;
use tokio::net::TcpListener;

use crate::support::{Exchange, Got, Running, client, eventually, get, read};

const KEY: &str = "an-api-key";
const PRICE: &str = "/api/v3/avgPrice?symbol=BTCUSDT";
const METHODS: [&str; 8] = ["GET", "HEAD", "OPTIONS", "TRACE", "PATCH", "POST", "PUT", "DELETE"];

/// An answer before it is given: a status, headers and a body.
pub(crate) type Said = (u16, Vec<(&'static str, String)>, String);

/// A host that says what a test wants it to.
pub(crate) struct Stub {
    pub(crate) url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Stub {
    pub(crate) async fn start(answer: impl Fn(&str) -> Said + Clone + Send + Sync + 'static) -> Stub {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&asked);
        let serve = move |request: Request<Body>| {
            shared.lock().unwrap().push(format!("{} {}", request.method(), request.uri()));
            let (status, headers, body) = answer(request.uri().path());
            let mut response = Response::builder().status(status).header("content-type", "application/json");
            for (name, value) in headers {
                response = response.header(name, value);
            }
            let response = response.body(Body::from(body)).unwrap();
            async move { response }
        };
        tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(serve)).await });
        Stub { url, asked }
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

fn average(path: &str) -> Said {
    match path {
        "/api/v3/avgPrice" => (200, Vec::new(), r#"{"mins":5,"price":"9.35","closeTime":1700000000000}"#.to_owned()),
        _ => (404, Vec::new(), r#"{"code":-1000,"msg":"Path not found."}"#.to_owned()),
    }
}

async fn send(gateway: &Running, method: &str, target: &str, key: bool) -> Got {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let request = client().request(method, gateway.url(target));
    let request = if key { request.header("X-MBX-APIKEY", KEY) } else { request };
    read(request.send().await.expect("an answer")).await
}

async fn bans(gateway: &Running) -> Vec<serde_json::Value> {
    get(gateway.url("/health")).await.json()["bans"].as_array().unwrap().clone()
}

fn seconds_left(ban: &serde_json::Value) -> u64 {
    (ban["until"].as_u64().unwrap().saturating_sub(lastgood::Clock::system().now().as_millis())).div_ceil(1_000)
}

#[tokio::test]
async fn during_a_ban_only_signed_requests_reach_the_exchange_whatever_their_method_and_path() {
    let exchange = Exchange::start().await;
    let gateway = Running::start(&exchange.url(), &[]).await;
    exchange.fault(json!({"kind": "banned_spot", "times": 1}));
    assert_eq!(get(gateway.url(PRICE)).await.status, 418);
    exchange.sim.reset_counters();
    for target in [
        "/api/v3/klines?symbol=BTCUSDT&interval=1m",
        "/api/v3/exchangeInfo",
        "/api/v3/time",
        "/api/v1/klines?symbol=BTCUSDT&interval=1m",
        "/api/v3/somethingNew",
        "/api/v9/what?x=1",
        "/api/v3/account",
        "/sapi/v1/system/status",
        "/sapi/v1/margin/allPairs",
        "/sapi/v1/capital/config/getall",
        "/wapi/v3/systemStatus.html",
    ] {
        for method in METHODS {
            let got = send(&gateway, method, target, false).await;
            assert_eq!(got.status, 418, "{method} {target}: {got:?}");
            assert!(got.header("retry-after").parse::<u64>().is_ok_and(|wait| wait > 60), "{method} {target}");
        }
        // A key is sent with everything by some clients, and signs nothing.
        for method in ["GET", "HEAD", "OPTIONS"] {
            assert_eq!(send(&gateway, method, target, true).await.status, 418, "{method} {target}");
        }
    }
    assert_eq!(exchange.asked(), 0, "{:?}", exchange.sim.counters().paths);
    for (method, target, key) in [
        ("GET", "/api/v3/account?timestamp=1&signature=ab", false),
        ("DELETE", "/api/v3/openOrders?symbol=X&timestamp=1&signature=ab", true),
        ("POST", "/api/v3/order", true),
        ("PUT", "/api/v3/userDataStream?listenKey=x", true),
        ("GET", "/sapi/v1/capital/config/getall?signature=ab", true),
    ] {
        assert_eq!(send(&gateway, method, target, key).await.cache(), "PASS", "{method} {target}");
    }
    assert_eq!(exchange.asked(), 5, "{:?}", exchange.sim.counters().paths);
    // The other markets have hosts of their own.
    assert_eq!(get(gateway.url("/fapi/v1/klines?symbol=BTCUSDT&interval=1h")).await.status, 200);
    assert_eq!(send(&gateway, "GET", "/dapi/v1/somethingNew", false).await.cache(), "PASS");
}

#[tokio::test]
async fn a_ban_holds_with_the_cache_switched_off() {
    let exchange = Exchange::start().await;
    let gateway = Running::start(&exchange.url(), &[("enabled", "false")]).await;
    exchange.fault(json!({"kind": "banned_spot", "times": 1}));
    assert_eq!(get(gateway.url(PRICE)).await.status, 418);
    exchange.sim.reset_counters();
    for method in METHODS {
        assert_eq!(send(&gateway, method, PRICE, false).await.status, 418, "{method}");
    }
    assert_eq!(exchange.asked(), 0);
}

#[tokio::test]
async fn a_ban_of_a_part_that_only_passes_is_that_part_s_alone() {
    let banned = |_: &str| {
        let body = r#"{"code":-1003,"msg":"Way too many requests; banned."}"#.to_owned();
        (418, vec![("retry-after", "600".to_owned())], body)
    };
    let exchange = Exchange::start().await;
    let (options, portfolio) = (Stub::start(banned).await, Stub::start(average).await);
    let hosts = [("binance.options_url", options.url.as_str()), ("binance.portfolio_url", portfolio.url.as_str())];
    let gateway = Running::start(&exchange.url(), &hosts).await;
    assert_eq!(get(gateway.url("/eapi/v1/depth?symbol=X")).await.status, 418);
    for method in METHODS {
        let held = send(&gateway, method, "/eapi/v1/exchangeInfo", false).await;
        assert_eq!((held.status, options.asked()), (418, 1), "{method}");
    }
    send(&gateway, "POST", "/eapi/v1/order", true).await;
    send(&gateway, "GET", "/eapi/v1/account?signature=ab", true).await;
    assert_eq!(options.asked(), 3);
    send(&gateway, "GET", "/papi/v1/ping", false).await;
    assert_eq!(portfolio.asked(), 1);
    assert_eq!(get(gateway.url(PRICE)).await.status, 200);
}

#[tokio::test]
async fn a_pause_of_sapi_leaves_spot_s_market_data_alone_and_a_ban_does_not() {
    for (status, spot) in [(429, 200), (418, 418)] {
        let stub = Stub::start(move |path: &str| match path.starts_with("/sapi") {
            true => (status, vec![("retry-after", "40".to_owned())], r#"{"code":-1003,"msg":"Too many."}"#.to_owned()),
            false => average(path),
        })
        .await;
        let gateway = Running::start(&stub.url, &[]).await;
        assert_eq!(send(&gateway, "GET", "/sapi/v1/margin/allPairs", true).await.status, status);
        assert_eq!(send(&gateway, "GET", "/sapi/v1/margin/allAssets", true).await.status, status);
        assert_eq!(get(gateway.url("/sapi/v1/system/status")).await.status, status);
        assert_eq!(stub.asked(), 1, "{:?}", stub.asked);
        assert_eq!(get(gateway.url(PRICE)).await.status, spot);
    }
}

#[tokio::test]
async fn no_exchange_info_locks_the_exchange() {
    let symbols = r#"[{"symbol":"BTCUSDT","status":"TRADING","baseAsset":"BTC","quoteAsset":"USDT","baseAssetPrecision":8,"quoteAssetPrecision":8,"orderTypes":[],"icebergAllowed":true,"isSpotTradingAllowed":true,"isMarginTradingAllowed":true,"filters":[],"permissions":[]}]"#;
    for limit in ["1", "0", "-1", "5", "0.5", "18446744073709551616", "4294967295", "\"6000\"", "null"] {
        for kind in [
            "REQUEST_WEIGHT\",\"interval\":\"MINUTE\",\"intervalNum\":1",
            "RAW_REQUESTS\",\"interval\":\"DAY\",\"intervalNum\":1",
        ] {
            let info = format!(
                r#"{{"timezone":"UTC","serverTime":1,"rateLimits":[{{"rateLimitType":"{kind},"limit":{limit}}}],"exchangeFilters":[],"symbols":{symbols}}}"#
            );
            let stub = Stub::start(move |path: &str| match path {
                "/api/v3/exchangeInfo" => (200, Vec::new(), info.clone()),
                _ => average(path),
            })
            .await;
            let gateway = Running::start(&stub.url, &[("regions.avg_price.fresh_for", "1ms")]).await;
            get(gateway.url("/api/v3/exchangeInfo")).await;
            for number in 0..20 {
                let got = get(gateway.url(&format!("/api/v3/avgPrice?symbol=X{number}"))).await;
                assert_eq!(got.status, 200, "{limit}: {}", got.text());
            }
            let health = get(gateway.url("/health")).await.json();
            let limit_now = health["upstreams"][0]["budgets"][0]["buckets"][0]["limit"].as_u64().unwrap();
            assert!((6_000..=60_000).contains(&limit_now), "{limit}: {limit_now}");
        }
    }
}

#[tokio::test]
async fn a_nonsense_wait_stops_the_exchange_no_longer_than_a_real_one() {
    let far_future = "Fri, 31 Dec 9999 23:59:59 GMT";
    for (status, wait, message) in [
        (429, "345600", ""),
        (429, "99999999999999999999999999", ""),
        (429, far_future, ""),
        (429, "-5", ""),
        (418, "345600000", ""),
        (418, far_future, ""),
        (418, "soon", "banned until 9999999999999."),
        (418, "", "banned until 1."),
        (403, "99999999", ""),
        (503, "99999999", ""),
    ] {
        let body = json!({"code": -1003, "msg": format!("Way too much request weight used; IP {message}")}).to_string();
        let stub = Stub::start(move |_: &str| (status, vec![("retry-after", wait.to_owned())], body.clone())).await;
        for target in [PRICE, "/api/v3/somethingNew"] {
            let gateway = Running::start(&stub.url, &[]).await;
            let got = get(gateway.url(target)).await;
            for ban in bans(&gateway).await {
                let most = if status == 418 { LONGEST_BAN } else { LONGEST_PAUSE };
                assert!(seconds_left(&ban) <= most.as_secs(), "{status} {wait:?} {message:?}: {ban}");
                // None of these waits can be meant, so that the exchange is soon asked again.
                assert!(seconds_left(&ban) <= 600, "{status} {wait:?} {message:?}: {ban}");
            }
            let relayed = got.header("retry-after").parse::<u64>().unwrap_or(0);
            assert!(got.cache() == "PASS" || relayed <= 600, "{status} {wait:?}: {:?}", got.headers);
        }
    }
}

#[tokio::test]
async fn a_wait_that_can_be_meant_is_followed_to_the_second() {
    let now = lastgood::Clock::system().now().as_millis();
    let (day, two_days) = (now + 86_400_000, now + 2 * 86_400_000);
    for (status, wait, message, seconds) in [
        (429, "30", String::new(), 30),
        (429, "", String::new(), 60),
        (418, "", String::new(), 120),
        (418, "259200", String::new(), 259_200),
        (418, "", format!("banned until {day}. Please"), 86_400),
        (418, "5", format!("IP(1.2.3.4) banned until {two_days}."), 172_800),
    ] {
        let body = json!({"code": -1003, "msg": message}).to_string();
        let stub = Stub::start(move |_: &str| (status, vec![("retry-after", wait.to_owned())], body.clone())).await;
        let gateway = Running::start(&stub.url, &[]).await;
        get(gateway.url(PRICE)).await;
        let left = seconds_left(&bans(&gateway).await[0]);
        assert!((seconds - 5..=seconds + 1).contains(&left), "{left} of {seconds} after {status} {wait:?} {message}");
    }
}

#[tokio::test]
async fn a_count_of_used_weight_far_beyond_the_limit_stops_at_most_until_the_minute_ends() {
    let stub = Stub::start(|path: &str| {
        let (status, _, body) = average(path);
        (status, vec![("x-mbx-used-weight-1m", u32::MAX.to_string())], body)
    })
    .await;
    let gateway = Running::start(&stub.url, &[]).await;
    assert_eq!(get(gateway.url(PRICE)).await.status, 200);
    let refused = get(gateway.url("/api/v3/avgPrice?symbol=ETHUSDT")).await;
    if refused.status == 429 {
        let wait: u64 = refused.header("retry-after").parse().unwrap();
        assert!(wait <= 64, "{wait}");
    }
    assert_eq!(bans(&gateway).await.len(), 0);
}

#[tokio::test]
async fn a_remembered_ban_that_cannot_be_one_is_not_followed() {
    let exchange = Exchange::start().await;
    let data = tempfile::tempdir().unwrap();
    let name = format!("spot@{}", exchange.address);
    let written = json!({name: {"reason": "banned", "until": u64::MAX}}).to_string();
    std::fs::write(data.path().join("bans.json"), written).unwrap();
    let gateway = Running::start(&exchange.url(), &[("data_dir", data.path().to_str().unwrap())]).await;
    assert_eq!(get(gateway.url(PRICE)).await.status, 200);
}

#[tokio::test]
async fn after_a_pause_that_was_over_the_exchange_is_asked_again() {
    let refusing = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let shared = Arc::clone(&refusing);
    let stub = Stub::start(move |path: &str| match shared.load(std::sync::atomic::Ordering::Relaxed) {
        true => (429, vec![("retry-after", "1".to_owned())], r#"{"code":-1003,"msg":"Too many."}"#.to_owned()),
        false => average(path),
    })
    .await;
    let gateway = Running::start(&stub.url, &[]).await;
    assert_eq!(get(gateway.url(PRICE)).await.status, 429);
    refusing.store(false, std::sync::atomic::Ordering::Relaxed);
    eventually("it is asked again", async || get(gateway.url(PRICE)).await.status == 200).await;
    assert!(stub.asked() <= 3, "{:?}", stub.asked);
}
