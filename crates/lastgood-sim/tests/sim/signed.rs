//! Accounts, orders and signatures.

use lastgood_sim::{Credential, Sim};
use serde_json::Value;

use crate::support::{Exchange, Got, NOW};

fn sign(payload: &[u8], secret: &str) -> String {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
    ring::hmac::sign(&key, payload).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Sends `query` and `body` signed by `who`, the signature at the query's end.
async fn signed(exchange: &Exchange, who: &Credential, method: &str, path: &str, query: &str, body: &str) -> Got {
    let signature = sign([query, body].concat().as_bytes(), &who.secret);
    let target = format!("{path}?{query}{}signature={signature}", if query.is_empty() { "" } else { "&" });
    exchange.send(method, &target, &[("X-MBX-APIKEY", &who.key)], body.as_bytes()).await.unwrap()
}

fn who(at: usize) -> Credential {
    Sim::credentials().remove(at)
}

#[tokio::test]
async fn a_signed_request_is_answered_and_accounts_differ() {
    let exchange = Exchange::start().await;
    for path in ["/api/v3/account", "/sapi/v1/capital/config/getall", "/fapi/v2/account", "/dapi/v1/balance"] {
        let mut answers = Vec::new();
        for at in 0..2 {
            let got = signed(&exchange, &who(at), "GET", path, &format!("timestamp={NOW}"), "").await;
            assert_eq!(got.status, 200, "{path}: {}", got.text());
            answers.push(got.json());
        }
        assert_ne!(answers[0], answers[1], "{path}");
    }
}

#[tokio::test]
async fn the_signature_is_over_the_bytes_as_they_were_sent() {
    let exchange = Exchange::start().await;
    let stamp = format!("timestamp={NOW}");
    for query in [
        format!("note=%41%2c,[a]&{stamp}"),
        format!("note=%41%2C,[a]&{stamp}"),
        format!("{stamp}&note=a+b%20c"),
        format!("{stamp}&note=%E5%B8%81"),
        format!("{stamp}&recvWindow=60000"),
    ] {
        let got = signed(&exchange, &who(0), "GET", "/api/v3/account", &query, "").await;
        assert_eq!(got.status, 200, "{query}: {}", got.text());
    }
    // The same parameters encoded in another way.
    let signature = sign(format!("note=%2c&{stamp}").as_bytes(), &who(0).secret);
    let target = format!("/api/v3/account?note=%2C&{stamp}&signature={signature}");
    let got = exchange.get_with(&target, &[("x-mbx-apikey", &who(0).key)]).await;
    assert_eq!(got.error(), (400, -1022));
}

#[tokio::test]
async fn parameters_may_be_in_the_body_or_in_both() {
    let exchange = Exchange::start().await;
    let order = "symbol=BTCUSDT&side=BUY&type=LIMIT&quantity=1&price=10000.00&newClientOrderId=a%2Bb";
    let stamp = format!("timestamp={NOW}");
    let split = signed(&exchange, &who(0), "POST", "/api/v3/order", &stamp, order).await;
    assert_eq!(split.status, 200, "{}", split.text());
    assert_eq!(split.json()["clientOrderId"], "a+b");

    let body = format!("{order}&{stamp}");
    let body = format!("{body}&signature={}", sign(body.as_bytes(), &who(0).secret));
    let headers = [("x-mbx-apikey", who(0).key)];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    let whole = exchange.send("POST", "/api/v3/order", &headers, body.as_bytes()).await.unwrap();
    assert_eq!(whole.status, 200, "{}", whole.text());
    let changed = body.replace("quantity=1", "quantity=2");
    let changed = exchange.send("POST", "/api/v3/order", &headers, changed.as_bytes()).await.unwrap();
    assert_eq!(changed.error(), (400, -1022));
}

#[tokio::test]
async fn bad_keys_times_and_signatures_get_their_codes() {
    let exchange = Exchange::start().await;
    let stamp = format!("timestamp={NOW}");
    let good = sign(stamp.as_bytes(), &who(0).secret);
    let key = who(0).key;
    for (query, key, error) in [
        (format!("{stamp}&signature={good}"), None, (401, -2014)),
        (format!("{stamp}&signature={good}"), Some(""), (401, -2014)),
        (format!("{stamp}&signature={good}"), Some("not a key!"), (401, -2014)),
        (format!("{stamp}&signature={good}"), Some("AAAABBBBCCCCDDDD"), (401, -2015)),
        (format!("{stamp}&signature={good}"), Some(who(1).key.as_str()), (400, -1022)),
        (format!("{stamp}&signature={}", &good[1..]), Some(&key), (400, -1022)),
        (format!("{stamp}&signature=zz{}", &good[2..]), Some(&key), (400, -1022)),
        (format!("{stamp}&signature=%E5%B8%81%E5"), Some(&key), (400, -1022)),
        (format!("{stamp}&signature={good}00"), Some(&key), (400, -1022)),
        (format!("{stamp}&x=1&signature={good}"), Some(&key), (400, -1022)),
        (stamp.clone(), Some(&key), (400, -1102)),
        (format!("{stamp}&signature="), Some(&key), (400, -1102)),
        (format!("signature={good}"), Some(&key), (400, -1102)),
        (format!("timestamp=abc&signature={good}"), Some(&key), (400, -1100)),
        (format!("timestamp={}&signature={good}", NOW + 1_001), Some(&key), (400, -1021)),
        (format!("timestamp={}&signature={good}", NOW - 5_001), Some(&key), (400, -1021)),
        (format!("timestamp={}&signature={good}", u64::MAX), Some(&key), (400, -1021)),
        (format!("timestamp=0&signature={good}"), Some(&key), (400, -1021)),
        (format!("timestamp={}&recvWindow=10&signature={good}", NOW - 11), Some(&key), (400, -1021)),
        (format!("{stamp}&recvWindow=60001&signature={good}"), Some(&key), (400, -1131)),
        (format!("{stamp}&{stamp}&signature={good}"), Some(&key), (400, -1101)),
    ] {
        let header = key.map(|key| ("x-mbx-apikey", key));
        let got = exchange.get_with(&format!("/api/v3/account?{query}"), header.as_slice()).await;
        assert_eq!(got.error(), error, "{query} {key:?}: {}", got.text());
    }
    let upper = format!("/api/v3/account?{stamp}&signature={}", good.to_uppercase());
    assert_eq!(exchange.get_with(&upper, &[("x-mbx-apikey", &key)]).await.status, 200, "hex in capitals");
}

#[tokio::test]
async fn a_time_within_the_window_is_taken_in_ms_and_in_us() {
    let exchange = Exchange::start().await;
    for query in [
        format!("timestamp={}", NOW - 5_000),
        format!("timestamp={}", NOW + 1_000),
        format!("timestamp={NOW}123"),
        format!("timestamp={}&recvWindow=60000", NOW - 60_000),
    ] {
        let got = signed(&exchange, &who(1), "GET", "/api/v3/account", &query, "").await;
        assert_eq!(got.status, 200, "{query}: {}", got.text());
    }
}

async fn place(exchange: &Exchange, at: usize, venue: &str, name: &str) -> Value {
    let query =
        format!("symbol=BTCUSDT&side=SELL&type=LIMIT&quantity=2.5&price=99.1&newClientOrderId={name}&timestamp={NOW}");
    let got = signed(exchange, &who(at), "POST", &format!("{venue}/order"), &query, "").await;
    assert_eq!(got.status, 200, "{}", got.text());
    got.json()
}

async fn open(exchange: &Exchange, at: usize, venue: &str) -> Vec<Value> {
    let path = format!("{venue}/openOrders");
    let got = signed(exchange, &who(at), "GET", &path, &format!("timestamp={NOW}"), "").await;
    got.json().as_array().unwrap().clone()
}

#[tokio::test]
async fn orders_echo_what_was_ordered_and_are_private() {
    let exchange = Exchange::start().await;
    let order = place(&exchange, 0, "/api/v3", "mine").await;
    for (field, value) in [
        ("symbol", "BTCUSDT"),
        ("side", "SELL"),
        ("type", "LIMIT"),
        ("origQty", "2.5"),
        ("price", "99.1"),
        ("status", "NEW"),
    ] {
        assert_eq!(order[field], value);
    }
    let number = order["orderId"].as_u64().unwrap();
    let ask = async |at: usize, method: &str, which: &str| {
        let query = format!("symbol=BTCUSDT&{which}&timestamp={NOW}");
        signed(&exchange, &who(at), method, "/api/v3/order", &query, "").await
    };
    assert_eq!(ask(0, "GET", &format!("orderId={number}")).await.json(), order);
    assert_eq!(ask(0, "GET", "origClientOrderId=mine").await.json(), order);
    assert_eq!(ask(1, "GET", &format!("orderId={number}")).await.error(), (400, -2013));
    assert_eq!(ask(1, "DELETE", &format!("orderId={number}")).await.error(), (400, -2013));
    assert_eq!(ask(0, "GET", "x=1").await.error(), (400, -1102));
    let unknown = format!("symbol=NOPE&side=BUY&type=MARKET&timestamp={NOW}");
    for path in ["/api/v3/order", "/fapi/v1/order", "/api/v3/order/test"] {
        assert_eq!(signed(&exchange, &who(0), "POST", path, &unknown, "").await.error(), (400, -1121), "{path}");
    }
    assert_eq!(open(&exchange, 0, "/api/v3").await, [order]);
    assert!(open(&exchange, 1, "/api/v3").await.is_empty());
    assert!(open(&exchange, 0, "/fapi/v1").await.is_empty(), "the futures' orders are others");
    assert_eq!(ask(0, "DELETE", &format!("orderId={number}")).await.json()["status"], "CANCELED");
    assert_eq!(ask(0, "DELETE", &format!("orderId={number}")).await.error(), (400, -2011));
    assert!(open(&exchange, 0, "/api/v3").await.is_empty());
}

#[tokio::test]
async fn order_numbers_stay_unique_when_old_orders_are_forgotten() {
    let exchange = Exchange::start().await;
    let mut numbers = std::collections::HashSet::new();
    for number in 0..1_010 {
        let order = place(&exchange, number % 2, "/api/v3", &format!("n{number}")).await;
        assert!(numbers.insert(order["orderId"].as_u64().unwrap()), "{number}");
    }
    let kept = open(&exchange, 0, "/api/v3").await.len() + open(&exchange, 1, "/api/v3").await.len();
    assert_eq!(kept, 1_000, "memory is bounded");
}

#[tokio::test]
async fn a_test_order_and_a_listen_key_leave_nothing_behind() {
    let exchange = Exchange::start().await;
    let query = format!("symbol=BTCUSDT&side=BUY&type=MARKET&quantity=1&timestamp={NOW}");
    let got = signed(&exchange, &who(0), "POST", "/api/v3/order/test", &query, "").await;
    assert_eq!(got.text(), "{}");
    assert!(open(&exchange, 0, "/api/v3").await.is_empty());
    let key = [("x-mbx-apikey", who(0).key)];
    let key = key.each_ref().map(|(name, value)| (*name, value.as_str()));
    let got = exchange.send("POST", "/api/v3/userDataStream", &key, b"").await.unwrap();
    assert!(got.json()["listenKey"].is_string(), "a key and no signature");
    let got = exchange.send("DELETE", "/api/v3/userDataStream?listenKey=x", &key, b"").await.unwrap();
    assert_eq!(got.text(), "{}");
    assert_eq!(exchange.post("/api/v3/userDataStream", "").await.error(), (401, -2014));
}

#[tokio::test]
async fn neither_log_nor_counters_hold_a_signature_or_a_key() {
    let exchange = Exchange::start().await;
    let stamp = format!("timestamp={NOW}");
    let signature = sign(stamp.as_bytes(), &who(0).secret);
    for query in [
        format!("{stamp}&signature={signature}"),
        format!("signature={signature}&{stamp}"),
        format!("{stamp}&%73ignature={signature}"),
        format!("{stamp}&Signature={signature}"),
        format!("listenKey={signature}"),
    ] {
        exchange.get_with(&format!("/api/v3/account?{query}"), &[("x-mbx-apikey", &who(0).key)]).await;
    }
    let reply = exchange.get("/_sim/counters").await;
    assert!(!reply.text().contains(&signature), "{}", reply.text());
    assert!(!reply.text().contains(&who(0).key) && !reply.text().contains(&who(0).secret));
    assert!(reply.text().contains("x-mbx-apikey") && reply.text().contains("signature=…"), "{}", reply.text());
    assert!(!format!("{:?}", exchange.sim.counters()).contains(&signature));
}

#[tokio::test]
async fn what_clients_ask_at_their_start_is_answered_to_those_with_a_key() {
    let exchange = Exchange::start().await;
    let key = who(0).key;
    let headers = [("x-mbx-apikey", key.as_str())];
    for (target, fields) in [
        ("/sapi/v1/margin/allPairs", "base id isBuyAllowed isMarginTrade isSellAllowed quote symbol"),
        ("/sapi/v1/margin/isolated/allPairs", "base isBuyAllowed isMarginTrade isSellAllowed quote symbol"),
    ] {
        let got = exchange.get_with(target, &headers).await;
        let rows = got.json();
        let keys: Vec<&str> = rows[0].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys.join(" "), fields, "{target}");
        assert_eq!(exchange.get(target).await.error(), (401, -2014), "{target}");
    }
    let stamp = format!("timestamp={NOW}");
    for (path, query, fields) in [
        ("/sapi/v1/asset/tradeFee", "", "makerCommission symbol takerCommission"),
        ("/sapi/v1/asset/tradeFee", "symbol=BTCUSDT&", "makerCommission symbol takerCommission"),
        (
            "/fapi/v1/accountConfig",
            "",
            "canDeposit canTrade canWithdraw dualSidePosition feeTier multiAssetsMargin tradeGroupId updateTime",
        ),
        ("/fapi/v1/commissionRate", "symbol=BTCUSDT&", "makerCommissionRate symbol takerCommissionRate"),
        ("/fapi/v1/leverageBracket", "", "brackets symbol"),
        ("/fapi/v1/leverageBracket", "symbol=BTCUSDT&", "brackets symbol"),
        ("/fapi/v1/symbolConfig", "", "isAutoAddMargin leverage marginType maxNotionalValue symbol"),
        ("/fapi/v1/positionSide/dual", "", "dualSidePosition"),
        ("/fapi/v1/multiAssetsMargin", "", "multiAssetsMargin"),
    ] {
        let got = signed(&exchange, &who(0), "GET", path, &format!("{query}{stamp}"), "").await;
        assert_eq!(got.status, 200, "{path}: {}", got.text());
        let reply = got.json();
        let row = reply.get(0).unwrap_or(&reply);
        let keys: Vec<&str> = row.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys.join(" "), fields, "{path}?{query}");
        assert_eq!(exchange.get_with(path, &headers).await.status, 400, "{path} is signed");
    }
}

#[tokio::test]
async fn every_market_has_a_key_for_an_accounts_own_stream() {
    let exchange = Exchange::start().await;
    let key = who(0).key;
    let headers = [("x-mbx-apikey", key.as_str())];
    for path in [
        "/api/v3/userDataStream",
        "/sapi/v1/userDataStream",
        "/sapi/v1/userDataStream/isolated",
        "/fapi/v1/listenKey",
        "/dapi/v1/listenKey",
    ] {
        let made = exchange.send("POST", path, &headers, b"").await.unwrap().json();
        let made = made["listenKey"].as_str().unwrap();
        for method in ["PUT", "DELETE"] {
            let got = exchange.send(method, &format!("{path}?listenKey={made}"), &headers, b"").await.unwrap();
            assert_eq!(got.status, 200, "{method} {path}: {}", got.text());
        }
        assert_eq!(exchange.post(path, "").await.error(), (401, -2014), "{path}");
    }
}
