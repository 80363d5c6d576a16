//! Signed requests are the client's and the exchange's alone; nothing a client sends chooses an upstream.

use ring::hmac;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Exchange, Got, Running, Sink, client, get, read};

fn sign(secret: &str, payload: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    hmac::sign(&key, payload.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn now() -> u64 {
    lastgood::Clock::system().now().as_millis()
}

async fn account(gateway: &Running, key: &str, secret: &str) -> Got {
    // Characters that any re-encoding would change stand in the signed text.
    let payload = format!("note=%41%2c,[a]&recvWindow=60000&timestamp={}", now());
    let url = gateway.url(&format!("/api/v3/account?{payload}&signature={}", sign(secret, &payload)));
    read(client().get(url).header("X-MBX-APIKEY", key).send().await.expect("an answer")).await
}

#[tokio::test]
async fn two_keys_never_see_each_others_answers() {
    let exchange = Exchange::start().await;
    let gateway = Running::start(&exchange.url(), &[]).await;
    let accounts = lastgood_sim::Sim::credentials();
    let (one, two) = (&accounts[0], &accounts[1]);
    for _ in 0..3 {
        let first = account(&gateway, &one.key, &one.secret).await;
        let second = account(&gateway, &two.key, &two.secret).await;
        assert_eq!((first.status, second.status), (200, 200), "{} {}", first.text(), second.text());
        assert_ne!(first.json()["uid"], second.json()["uid"]);
        for got in [first, second] {
            assert_eq!((got.cache(), got.header("cache-control")), ("PASS", "no-store"));
        }
    }
    assert_eq!(exchange.asked(), 6);
    assert_eq!(gateway.gateway.cache().status().memory_bytes, 0);
}

#[tokio::test]
async fn an_order_passes_once_with_its_body_untouched() {
    let exchange = Exchange::start().await;
    let gateway = Running::start(&exchange.url(), &[]).await;
    let who = &lastgood_sim::Sim::credentials()[0];
    let payload = format!(
        "symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=10000.00&newClientOrderId=a%2Bb&recvWindow=60000&timestamp={}",
        now()
    );
    let body = format!("{payload}&signature={}", sign(&who.secret, &payload));
    let sent = client()
        .post(gateway.url("/api/v3/order"))
        .header("X-MBX-APIKEY", &who.key)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(body)
        .send();
    let got = read(sent.await.unwrap()).await;
    assert_eq!((got.status, got.cache()), (200, "PASS"), "{}", got.text());
    assert_eq!(got.json()["clientOrderId"], "a+b");
    assert_eq!(exchange.asked(), 1);
}

#[tokio::test]
async fn an_order_whose_fate_is_unknown_says_so_and_is_not_sent_again() {
    let mut exchange = Exchange::start().await;
    let gateway = Running::start(&exchange.url(), &[]).await;
    exchange.fault(serde_json::json!({"kind": "reset"}));
    let order = || async { read(client().post(gateway.url("/api/v3/order?a=1")).send().await.unwrap()).await };
    let unknown = order().await;
    assert_eq!((unknown.status, unknown.json()["code"].as_i64()), (504, Some(-1007)), "{}", unknown.text());
    assert_eq!(exchange.asked(), 1);
    exchange.stop().await;
    let unsent = order().await;
    assert_eq!((unsent.status, unsent.json()["code"].as_i64()), (503, Some(-1001)), "{}", unsent.text());
}

#[tokio::test]
async fn a_trace_level_log_of_a_signed_session_holds_no_secret() {
    let sink = Sink::of_the_log("trace");
    let exchange = Exchange::start().await;
    let gateway = Running::start(&exchange.url(), &[]).await;
    let who = &lastgood_sim::Sim::credentials()[0];
    let got = account(&gateway, &who.key, &who.secret).await;
    assert_eq!(got.status, 200);
    get(gateway.url("/api/v3/klines?symbol=BTCUSDT&interval=1m")).await;
    exchange.fault(serde_json::json!({"kind": "reset"}));
    let failed = account(&gateway, &who.key, &who.secret).await;
    assert_eq!(failed.status, 504);
    let metrics = get(gateway.url("/metrics")).await;
    let health = get(gateway.url("/health")).await;

    let log = sink.text();
    assert!(log.contains("/api/v3/account"), "the session is in the log");
    let payload_signatures = log.split("signature=").skip(1).filter(|rest| !rest.starts_with("***")).count();
    assert_eq!(payload_signatures, 0, "a signature is in the log");
    for text in [log.as_str(), metrics.text(), health.text(), failed.text()] {
        assert!(!text.contains(&who.key), "the key is in {text}");
        assert!(!text.contains(&who.secret), "the secret is in {text}");
    }
}

#[tokio::test]
async fn a_key_in_a_market_question_lies_in_no_key_no_listing_and_no_log() {
    let sink = Sink::of_the_log("trace");
    let exchange = Exchange::start().await;
    let gateway = Running::start(&exchange.url(), &[("store", "embedded:")]).await;
    const SECRET: &str = "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A";
    for name in ["apiKey", "api_key", "API-KEY", "%61piKey", "X-MBX-APIKEY", "myApiKey", "secretKey", "access_token"] {
        for path in [
            "/api/v3/ticker/price?symbol=BTCUSDT",
            "/api/v3/klines?symbol=BTCUSDT&interval=1h",
            "/api/v3/depth?symbol=BTCUSDT",
            "/api/v3/exchangeInfo?symbol=BTCUSDT",
            "/fapi/v1/premiumIndex?symbol=BTCUSDT",
        ] {
            let got = get(gateway.url(&format!("{path}&{name}={SECRET}"))).await;
            assert_eq!(got.cache(), "PASS", "{path} {name}: {}", got.text());
        }
    }
    assert!(gateway.gateway.cache().sync(std::time::Duration::from_secs(5)).await);
    for target in ["/api/cache/keys?limit=1000", "/api/cache/stats", "/health", "/metrics"] {
        assert!(!get(gateway.url(target)).await.text().contains(SECRET), "{target}");
    }
    let log = sink.text();
    assert!(log.contains("/api/v3/depth") && !log.contains(SECRET), "{log}");
}

#[tokio::test]
async fn what_a_stranger_sends_begins_no_line_of_the_log_and_moves_no_cursor() {
    let sink = Sink::of_the_log("trace");
    let exchange = Exchange::start().await;
    let gateway = Running::start(&exchange.url(), &[]).await;
    let hostile = "x%0D%0AERROR%20forged%1B%5B2J%C2%9B1A%E2%80%A8%E2%80%AEy";
    for target in [
        format!("/v1/kv/kv/{hostile}"),
        format!("/v1/llm/{hostile}"),
        format!("/v1/bars/{hostile}/1h"),
        format!("/api/cache/explain/kv:{hostile}"),
        format!("/api/cache/key/kv:{hostile}"),
        format!("/api/cache/keys?pattern={hostile}*"),
        format!("/api/v3/klines?symbol={hostile}&interval=1h"),
        format!("/api/v3/{hostile}"),
        format!("/nothing/{hostile}"),
    ] {
        get(gateway.url(&target)).await;
        read(client().delete(gateway.url(&target)).send().await.unwrap()).await;
    }
    // A program may have put such a key.
    let region = gateway.gateway.cache().region_named("kv").unwrap();
    let name = percent_encoding::percent_decode_str(hostile).decode_utf8().unwrap().into_owned();
    region.put(&name, lastgood::Loaded { tags: vec![name.clone()], ..lastgood::Loaded::default() }).await;
    for body in [serde_json::json!({ "key": format!("kv:{name}") }), serde_json::json!({ "tag": name })] {
        let sent = client().post(gateway.url("/api/cache/invalidate")).body(body.to_string()).send();
        assert_eq!(read(sent.await.unwrap()).await.status, 200, "{body}");
    }
    let log = sink.text();
    assert!(log.contains("forged"), "the keys are in the log: {log}");
    for line in log.lines() {
        assert!(!line.trim_start().starts_with("ERROR forged"), "{line:?}");
        let moves = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{202e}');
        assert!(!line.contains(moves), "{line:?}");
    }
}

/// Writes a request as it stands and reads the answer's first line.
async fn raw(gateway: &Running, request: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(gateway.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn nothing_a_client_sends_chooses_an_upstream() {
    let exchange = Exchange::start().await;
    // A connection here was led astray.
    let trap = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let evil = trap.local_addr().unwrap();
    let gateway = Running::start(&exchange.url(), &[]).await;
    for target in [
        format!("http://{evil}/api/v3/account"),
        format!("http://{evil}/latest/meta-data"),
        format!("//{evil}/api/v3/account"),
        format!("/api/v3/../../{evil}/x"),
        "/api/%2e%2e/%2e%2e/etc/passwd".to_owned(),
        "/api/v3/%2e%2e%2f%2e%2e/x".to_owned(),
        format!("/api/v3/account?url=http://{evil}/"),
        format!("/api/@{evil}/x"),
        format!("/futures/{evil}"),
    ] {
        for host in [evil.to_string(), "169.254.169.254".to_owned()] {
            raw(
                &gateway,
                &format!(
                    "GET {target} HTTP/1.1\r\nHost: {host}\r\nX-Forwarded-Host: {evil}\r\nConnection: close\r\n\r\n"
                ),
            )
            .await;
        }
    }
    let trapped = tokio::time::timeout(std::time::Duration::from_millis(100), trap.accept()).await;
    assert!(trapped.is_err(), "a connection was made to {evil}");
    // A path that two programs read differently must reach no upstream.
    let ambiguous = |path: &str| path.contains("..") || path.to_ascii_lowercase().contains("%2e");
    let reached: Vec<_> = exchange.sim.counters().log.into_iter().map(|request| request.path).collect();
    assert!(!reached.iter().any(|path| ambiguous(path)), "{reached:?}");
}

#[tokio::test]
async fn a_redirect_is_an_answer_like_any_other() {
    let trap = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let evil = trap.local_addr().unwrap();
    let upstream = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = upstream.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = upstream.accept().await {
            let mut head = [0; 2048];
            let _ = stream.read(&mut head).await;
            let answer = format!(
                "HTTP/1.1 302 Found\r\nLocation: http://{evil}/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    let gateway = Running::start(&format!("http://{address}"), &[]).await;
    assert_eq!(get(gateway.url("/api/v3/account?signature=1")).await.status, 302, "passed as it is");
    assert_eq!(get(gateway.url("/api/v3/klines?symbol=BTCUSDT&interval=1m")).await.status, 503, "no answer");
    assert!(tokio::time::timeout(std::time::Duration::from_millis(100), trap.accept()).await.is_err());
}
