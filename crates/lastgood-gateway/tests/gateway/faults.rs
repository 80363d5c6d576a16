//! The exchange in each of its bad moods, and gone.

use std::time::Duration;

use crate::support::{Exchange, Got, Running, get};

const QUESTION: &str = "/api/v3/klines?symbol=BTCUSDT&interval=1h&limit=5";

/// Short freshness and patience, so that a real clock need not be waited for.
const QUICK: &[(&str, &str)] = &[
    ("regions.klines.fresh_for", "1ms"),
    ("regions.klines.soft_timeout", "100ms"),
    ("regions.klines.hard_timeout", "2s"),
];

/// Asks until an answer is of the wanted kind; the freshness of what was warmed ends within milliseconds.
async fn until(gateway: &Running, question: &str, wanted: &str) -> Got {
    let asking = async {
        loop {
            let got = get(gateway.url(question)).await;
            assert_eq!(got.status, 200, "{}", got.text());
            if got.cache() == wanted {
                return got;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), asking).await.unwrap_or_else(|_| panic!("never {wanted}"))
}

async fn keeps_its_last_good_answer(fault: serde_json::Value, reason: &str) {
    let exchange = Exchange::start().await;
    exchange.sim.set_clock(lastgood_sim::ClockMode::Frozen(crate::support::half_past()));
    let gateway = Running::start(&exchange.url(), QUICK).await;
    let good = get(gateway.url(QUESTION)).await;
    assert_eq!((good.status, good.cache()), (200, "MISS"));

    exchange.fault(fault.clone());
    let kept = until(&gateway, QUESTION, "LAST-GOOD").await;
    assert_eq!(kept.body, good.body, "{fault}");
    let status = kept.header("cache-status");
    assert!(status.starts_with("lastgood; hit; ttl=") && status.ends_with(&format!("last-good:{reason}")), "{status}");

    // A key without any kept answer is an error in the exchange's shape, and no proxy's page.
    let cold = get(gateway.url("/api/v3/klines?symbol=ETHUSDT&interval=1h&limit=5")).await;
    assert!(cold.status >= 400, "{fault}: {} {}", cold.status, cold.text());
    assert!(cold.json()["code"].as_i64().is_some_and(|code| code < 0), "{fault}: {}", cold.text());
}

macro_rules! faults {
    ($($name:ident: $reason:literal, $fault:tt;)*) => {$(
        #[tokio::test]
        async fn $name() {
            keeps_its_last_good_answer(serde_json::json!($fault), $reason).await;
        }
    )*};
}

faults! {
    a_500_leaves_the_last_good_answer: "upstream-error", {"kind": "status", "status": 500};
    a_503_leaves_the_last_good_answer: "upstream-error", {"kind": "status", "status": 503};
    a_page_of_the_firewall_leaves_the_last_good_answer: "firewall", {"kind": "html"};
    a_truncated_answer_leaves_the_last_good_answer: "malformed", {"kind": "truncated"};
    an_empty_answer_leaves_the_last_good_answer: "malformed", {"kind": "empty"};
    garbage_leaves_the_last_good_answer: "malformed", {"kind": "garbage"};
    a_wrong_content_type_leaves_the_last_good_answer: "malformed", {"kind": "wrong_content_type"};
    an_error_in_a_200_leaves_the_last_good_answer: "upstream-error", {"kind": "error_in_200"};
    a_reset_leaves_the_last_good_answer: "unreachable", {"kind": "reset"};
    a_429_leaves_the_last_good_answer: "rate-limited", {"kind": "rate_limited"};
    a_ban_in_spots_words_leaves_the_last_good_answer: "banned", {"kind": "banned_spot"};
    a_ban_in_the_futures_words_leaves_the_last_good_answer: "banned", {"kind": "banned_futures"};
    a_hang_leaves_the_last_good_answer: "slow", {"kind": "hang"};
    a_very_slow_exchange_leaves_the_last_good_answer: "slow", {"kind": "latency", "ms": 60_000};
}

#[tokio::test]
async fn a_gone_exchange_leaves_the_last_good_answer_and_is_found_again() {
    let mut exchange = Exchange::start().await;
    let gateway = Running::start(&exchange.url(), QUICK).await;
    let good = get(gateway.url(QUESTION)).await;
    assert_eq!(good.cache(), "MISS");
    exchange.stop().await;
    until(&gateway, QUESTION, "LAST-GOOD").await;
    let listener = tokio::net::TcpListener::bind(exchange.address).await.expect("the port is free again");
    let sim = exchange.sim.clone();
    tokio::spawn(async move { sim.serve(listener, std::future::pending()).await });
    until(&gateway, QUESTION, "MISS").await;
}

#[tokio::test]
async fn during_a_ban_no_public_question_reaches_the_exchange_and_signed_ones_pass() {
    let exchange = Exchange::start().await;
    let gateway = Running::start(&exchange.url(), QUICK).await;
    exchange.fault(serde_json::json!({"kind": "banned_spot", "times": 1}));
    let banned = get(gateway.url(QUESTION)).await;
    assert_eq!(banned.status, 418, "{}", banned.text());
    assert!(!banned.header("retry-after").is_empty());
    exchange.sim.reset_counters();
    for symbol in ["ETHUSDT", "BNBUSDT", "SOLUSDT"] {
        let refused = get(gateway.url(&format!("/api/v3/klines?symbol={symbol}&interval=1h"))).await;
        assert_eq!(refused.status, 418, "{}", refused.text());
        assert_eq!(refused.json()["code"], -1003);
        assert!(refused.text().contains("banned until"), "{}", refused.text());
    }
    assert_eq!(exchange.asked(), 0);
    let signed = get(gateway.url("/api/v3/account?timestamp=1&signature=abc")).await;
    assert_eq!(signed.cache(), "PASS");
    assert_eq!(exchange.asked(), 1);
    assert_eq!(get(gateway.url("/health")).await.json()["bans"][0]["venue"], "spot");
    // Another venue is another address's business.
    assert_eq!(get(gateway.url("/fapi/v1/klines?symbol=BTCUSDT&interval=1h")).await.status, 200);
}

#[tokio::test]
async fn a_429_stops_the_asking_before_it_becomes_a_ban() {
    let exchange = Exchange::start_with(lastgood_sim::SimConfig {
        seed: 7,
        symbols: 100,
        weight_limit_spot: 30,
        ..Default::default()
    })
    .await;
    let gateway = Running::start(&exchange.url(), &[]).await;
    let symbols = exchange.sim.symbols(lastgood_sim::Venue::Spot);
    for symbol in symbols.iter().cycle().take(300) {
        let got = get(gateway.url(&format!("/api/v3/klines?symbol={symbol}&interval=1h"))).await;
        assert!(matches!(got.status, 200 | 429), "{}: {}", got.status, got.text());
    }
    let statuses = exchange.sim.counters().statuses;
    assert_eq!(statuses.get(&418), None, "{statuses:?}");
    assert!(statuses.get(&429).copied().unwrap_or(0) <= 1, "{statuses:?}");
}

#[tokio::test]
async fn a_failing_exchange_is_not_hammered() {
    let exchange = Exchange::start().await;
    let gateway = Running::start(&exchange.url(), QUICK).await;
    get(gateway.url(QUESTION)).await;
    exchange.fault(serde_json::json!({"kind": "status", "status": 500}));
    until(&gateway, QUESTION, "LAST-GOOD").await;
    exchange.sim.reset_counters();
    for _ in 0..100 {
        assert_eq!(get(gateway.url(QUESTION)).await.cache(), "LAST-GOOD");
    }
    assert!(exchange.asked() <= 2, "{} calls", exchange.asked());
}
