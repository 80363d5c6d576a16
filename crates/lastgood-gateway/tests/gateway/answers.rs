//! Answers that are well-formed and are none: the last good one is served, and nothing of them is kept.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::{Request, StatusCode};
use tokio::net::TcpListener;

use crate::support::{Exchange, Running, Sink, client, get, read};

/// An exchange with a scripted answer for each path.
struct Liar {
    url: String,
    replies: Arc<Mutex<HashMap<String, Bytes>>>,
}

impl Liar {
    async fn start() -> Liar {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let replies = Arc::new(Mutex::new(HashMap::<String, Bytes>::new()));
        let scripted = Arc::clone(&replies);
        let answer = move |request: Request<Body>| {
            let reply = scripted.lock().unwrap().get(request.uri().path()).cloned();
            let status = if reply.is_some() { StatusCode::OK } else { StatusCode::INTERNAL_SERVER_ERROR };
            let response = Response::builder().status(status).header("content-type", "application/json");
            async move { response.body(Body::from(reply.unwrap_or_default())).unwrap() }
        };
        tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(answer)).await });
        Liar { url, replies }
    }

    fn answers(&self, question: &str, body: impl Into<Bytes>) {
        let path = question.split('?').next().unwrap().to_owned();
        self.replies.lock().unwrap().insert(path, body.into());
    }
}

/// Questions of every kind of shape, with their regions.
const QUESTIONS: &[(&str, &str)] = &[
    ("/api/v3/avgPrice?symbol=BTCUSDT", "avg_price"),
    ("/api/v3/ticker/price?symbol=BTCUSDT", "ticker_price"),
    ("/api/v3/ticker/24hr?symbol=BTCUSDT", "ticker_24hr"),
    ("/api/v3/depth?symbol=BTCUSDT&limit=100", "depth"),
    ("/api/v3/trades?symbol=BTCUSDT&limit=10", "trades"),
    ("/api/v3/exchangeInfo", "exchange_info"),
    ("/api/v3/referencePrice?symbol=BTCUSDT", "avg_price"),
    ("/sapi/v1/system/status", "system_status"),
    ("/fapi/v1/openInterest?symbol=BTCUSDT", "open_interest"),
    ("/fapi/v1/premiumIndex?symbol=BTCUSDT", "premium_index"),
    ("/fapi/v1/fundingRate?symbol=BTCUSDT&limit=5", "funding_rate"),
    ("/fapi/v1/symbolAdlRisk", "other"),
    ("/dapi/v1/ticker/price?symbol=BTCUSD_PERP", "ticker_price"),
];

#[tokio::test]
async fn an_invalid_answer_leaves_the_last_good_one_and_is_never_kept() {
    let exchange = Exchange::start().await;
    for bad in [
        &b"{}"[..],
        b"[{}]",
        b"[]",
        br#"{"Note":"Thank you for using our API. Our call frequency is 5 a minute."}"#,
        b"{\"symbol\":\"\xff\xfe\",\"price\":\"1\"}",
        br#"{"symbol":"BTCUSDT","price":"NaN","openInterest":"NaN"}"#,
    ] {
        let liar = Liar::start().await;
        let mut fleeting: Vec<(String, &str)> = Vec::new();
        for (_, region) in QUESTIONS {
            let keys = [
                (format!("regions.{region}.fresh_for"), "1ms"),
                (format!("regions.{region}.stale_while_revalidate"), "0s"),
            ];
            fleeting.extend(
                keys.into_iter().filter(|(key, _)| !fleeting.iter().any(|(known, _)| known == key)).collect::<Vec<_>>(),
            );
        }
        let fleeting: Vec<(&str, &str)> = fleeting.iter().map(|(key, value)| (key.as_str(), *value)).collect();
        let gateway = Running::start(&liar.url, &fleeting).await;
        for (question, _) in QUESTIONS {
            // A funding history may be empty.
            if bad == b"[]" && question.contains("limit=") {
                continue;
            }
            // The gateway asks for the ticker of all symbols where that costs little more.
            let asked = match *question {
                "/api/v3/ticker/price?symbol=BTCUSDT" => "/api/v3/ticker/price",
                other => other,
            };
            liar.answers(question, get(exchange.url() + asked).await.body);
            let good = get(gateway.url(question)).await;
            assert_eq!((good.status, good.cache()), (200, "MISS"), "{question}: {}", good.text());
            liar.answers(question, bad);
            tokio::time::sleep(std::time::Duration::from_millis(3)).await;
            for _ in 0..2 {
                let kept = get(gateway.url(question)).await;
                let shown = String::from_utf8_lossy(bad);
                assert_eq!(
                    (kept.status, kept.cache(), &kept.body),
                    (200, "LAST-GOOD", &good.body),
                    "{question} {shown}"
                );
                assert!(
                    kept.header("cache-status").ends_with("last-good:malformed"),
                    "{}",
                    kept.header("cache-status")
                );
            }
        }
        // A key without any kept answer is an error, and no proxy's page.
        liar.answers("/api/v3/avgPrice", bad);
        let cold = get(gateway.url("/api/v3/avgPrice?symbol=ETHUSDT")).await;
        assert_eq!(cold.status, 503, "{}", cold.text());
        assert!(cold.json()["code"].as_i64().is_some_and(|code| code < 0) && !cold.text().contains("Thank you"));
    }
}

#[tokio::test]
async fn one_bad_list_of_all_symbols_takes_no_symbol_away() {
    let exchange = Exchange::start().await;
    let liar = Liar::start().await;
    let quick = [("regions.ticker_price.fresh_for", "1ms"), ("regions.ticker_price.stale_while_revalidate", "0s")];
    let gateway = Running::start(&liar.url, &quick).await;
    liar.answers("/api/v3/ticker/price", get(exchange.url() + "/api/v3/ticker/price").await.body);
    let symbols = &exchange.sim.symbols(lastgood_sim::Venue::Spot)[..20];
    let price = async |symbol: &String| get(gateway.url(&format!("/api/v3/ticker/price?symbol={symbol}"))).await;
    let mut good = Vec::new();
    for symbol in symbols {
        good.push(price(symbol).await.body);
    }
    liar.answers("/api/v3/ticker/price", "[{}]");
    tokio::time::sleep(std::time::Duration::from_millis(3)).await;
    for (symbol, good) in symbols.iter().zip(&good) {
        let kept = price(symbol).await;
        assert_eq!((kept.status, kept.cache(), &kept.body), (200, "LAST-GOOD", good), "{symbol}");
    }
}

#[tokio::test]
async fn a_403_of_the_firewall_is_reported_as_that_and_not_as_a_pause() {
    let sink = Sink::of_the_log("info");
    let exchange = Exchange::start().await;
    let quick = [("regions.avg_price.fresh_for", "1ms"), ("regions.avg_price.stale_while_revalidate", "0s")];
    let gateway = Running::start(&exchange.url(), &quick).await;
    let question = "/api/v3/avgPrice?symbol=BTCUSDT";
    let good = get(gateway.url(question)).await;
    exchange.fault(serde_json::json!({"kind": "html"}));
    tokio::time::sleep(std::time::Duration::from_millis(3)).await;
    for _ in 0..2 {
        let kept = get(gateway.url(question)).await;
        assert_eq!((kept.cache(), &kept.body), ("LAST-GOOD", &good.body));
        assert!(kept.header("cache-status").ends_with("last-good:firewall"), "{}", kept.header("cache-status"));
    }
    // Another question is not asked of a firewall that refuses, and gets the reason.
    exchange.sim.reset_counters();
    let cold = get(gateway.url("/api/v3/avgPrice?symbol=ETHUSDT")).await;
    assert_eq!((cold.status, exchange.asked()), (503, 0), "{}", cold.text());
    assert!(cold.text().contains("firewall") && !cold.text().contains("weight"), "{}", cold.text());
    assert!(cold.header("cache-status").ends_with("detail=firewall"), "{}", cold.header("cache-status"));
    let health = get(gateway.url("/health")).await.json();
    assert_eq!(health["bans"][0]["reason"], "firewall", "{health}");
    let metrics = get(gateway.url("/metrics")).await;
    let value = |name: &str| {
        let line = metrics.text().lines().find(|line| line.starts_with(name) && line.contains("spot")).unwrap_or("");
        line.rsplit(' ').next().unwrap_or("").to_owned()
    };
    assert_eq!(
        (value("lastgood_upstream_firewall_refusals").as_str(), value("lastgood_upstream_pauses").as_str()),
        ("1", "0")
    );
    let log = sink.text();
    assert!(log.contains("firewall refuses") && !log.contains("backing off"), "{log}");
}

#[tokio::test]
async fn what_the_client_has_already_is_not_sent_again_whole_cut_packed_or_plain() {
    let exchange = Exchange::start().await;
    let gateway = Running::start(&exchange.url(), &[]).await;
    for path in ["/api/v3/exchangeInfo", "/api/v3/ticker/24hr?symbol=BTCUSDT", "/api/v3/depth?symbol=BTCUSDT&limit=5"] {
        let mut tags = Vec::new();
        for coding in ["identity", "gzip", "zstd"] {
            let ask = |tag: String| {
                let request = client().get(gateway.url(path)).header("accept-encoding", coding);
                async { read(request.header("if-none-match", tag).send().await.unwrap()).await }
            };
            let first = ask("\"another\"".to_owned()).await;
            let tag = first.header("etag").to_owned();
            assert!(first.status == 200 && tag.len() > 2, "{path} {tag}");
            let again = ask(tag.clone()).await;
            assert_eq!(
                (again.status, again.body.len(), again.header("etag")),
                (304, 0, tag.as_str()),
                "{path} {coding}"
            );
            assert_eq!(again.header("vary"), "accept-encoding", "{path}");
            assert_ne!(again.cache(), "", "{path}: a 304 says where it comes from");
            tags.push(tag);
        }
        let are_same = [tags[0] == tags[1], tags[1] == tags[2], tags[0] == tags[2]];
        assert_eq!(are_same, [path.contains("symbol"); 3], "{path}: packed, it is another representation: {tags:?}");
    }
}
