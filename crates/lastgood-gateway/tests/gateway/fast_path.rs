//! The fast path answers as the slow path does, and its answers are counted, timed and logged alike. A request with a body takes
//! the slow path, and is no other request for it.

use std::collections::BTreeMap;

use lastgood_gateway::Traffic;
use lastgood_sim::ClockMode;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::json;

use crate::routes::api::{Api, Reply};
use crate::support::{Exchange, Running, Sink, half_past};

mod requests;
mod wire;

use self::requests::{LONG_VALUE, SAID, TARGETS, VALUE, said, written};
use self::wire::{change, get, put, round_trip, send};

/// All that is fresh stays so, and nothing is refreshed behind.
const LASTING: [(&str, &str); 10] = [
    ("regions.ticker_price.fresh_for", "1h"),
    ("regions.ticker_24hr.fresh_for", "1h"),
    ("regions.book_ticker.fresh_for", "1h"),
    ("regions.exchange_info.fresh_for", "1h"),
    ("regions.depth.fresh_for", "1h"),
    ("regions.trades.fresh_for", "1h"),
    ("regions.avg_price.fresh_for", "1h"),
    ("regions.klines.fresh_for", "1h"),
    ("regions.premium_index.fresh_for", "1h"),
    ("regions.kv.fresh_for", "1h"),
];
const SLOWLY: &str = "content-length: 1\r\n\r\nx";

async fn started(more: &[(&str, &str)]) -> (Exchange, Running) {
    let exchange = Exchange::start().await;
    exchange.sim.set_clock(ClockMode::Frozen(half_past()));
    let gateway = Running::start(&exchange.url(), &[&LASTING, more].concat()).await;
    put(&gateway, VALUE, "a value").await;
    put(&gateway, LONG_VALUE, &"a long value ".repeat(1_000)).await;
    (exchange, gateway)
}

#[derive(Clone, Debug)]
enum Step {
    Ask { target: usize, how: usize, said: usize, line: usize },
    Change(usize),
}

fn steps() -> impl Strategy<Value = Step> {
    let ask = (0..TARGETS.len(), 0usize..30, 0..SAID.len(), 0usize..16);
    prop_oneof![
        20 => ask.prop_map(|(target, how, said, line)| Step::Ask { target, how, said, line }),
        1 => (0usize..8).prop_map(Step::Change),
    ]
}

/// Asks for a target until its answer is remembered, then by both paths, and says whether that was a hit.
async fn compare(gateway: &Running, line: &str, of: &[&str]) -> bool {
    let first = round_trip(gateway, line, &said(of, "\"none\""), "\r\n").await;
    let fields = said(of, first.field("etag"));
    let again = round_trip(gateway, line, &fields, "\r\n").await;
    let is_own = ["/v1/kv", "/v1/stocks"].iter().any(|path| line.contains(path));
    if !again.is_hit() && !is_own {
        return false;
    }
    let both = async || {
        let fast = round_trip(gateway, line, &fields, "\r\n").await;
        (fast, round_trip(gateway, line, &fields, SLOWLY).await)
    };
    let (mut fast, mut slow) = both().await;
    let ((age, ttl), (age_then, ttl_then)) = (fast.take_moment(), slow.take_moment());
    if fast != slow {
        // The minute may have turned between them, and with it the weight that is used.
        (fast, slow) = both().await;
        let _ = fast.take_moment();
        let _ = slow.take_moment();
    }
    assert_eq!(fast, slow, "{line} {fields:?}");
    assert!((age..age + 5).contains(&age_then) && (ttl - 5..=ttl).contains(&ttl_then), "{line}: {age} {ttl}");
    again.is_hit()
}

async fn both_paths_agree(more: &[(&str, &str)]) {
    let (exchange, gateway) = started(more).await;
    // The same value, by a URL that may be too long.
    put(&gateway, &format!("/v1/kv/kv/{}", "a".repeat(90)), "a value").await;
    let is_found = compare(&gateway, &format!("GET /v1/kv/kv/{} HTTP/1.1", "%61".repeat(90)), &[]).await;
    assert_eq!(is_found, !more.iter().any(|(key, _)| *key == "limits.max_url_bytes"));
    // Every set of headers, with an answer that memory holds. A slash in a key is written with a percent sign.
    put(&gateway, "/v1/kv/kv/a%2Fb", "a slash").await;
    for target in [TARGETS[0], TARGETS[15], VALUE, LONG_VALUE, "/v1/kv/kv/a%2Fb", "/v1/kv/kv/a/b"] {
        for said in SAID {
            compare(&gateway, &format!("GET {target} HTTP/1.1"), said).await;
        }
    }
    let steps = proptest::collection::vec(steps(), 600).new_tree(&mut TestRunner::deterministic());
    let (mut changes, mut hits, mut is_on) = (0, 0, true);
    for step in steps.expect("steps").current() {
        match step {
            Step::Ask { target, how, said, line } => {
                let target = written(TARGETS[target], how);
                let line = match line {
                    0 => format!("HEAD {target} HTTP/1.1"),
                    1 => format!("GET {target} HTTP/1.0"),
                    2 => format!("OPTIONS {target} HTTP/1.1"),
                    _ => format!("GET {target} HTTP/1.1"),
                };
                let is_hit = compare(&gateway, &line, SAID[said]).await;
                hits += u64::from(is_hit);
                assert!(is_on || !is_hit || line.contains("/ping") || line.contains("/time"), "switched off: {line}");
            }
            Step::Change(kind) => {
                changes += 1;
                exchange.sim.set_clock(ClockMode::Frozen(half_past() + changes * 1_000));
                match kind {
                    0 => change(&gateway, &json!({"symbol": "BTCUSDT"})).await,
                    1 => change(&gateway, &json!({"region": "ticker_price", "hard": true})).await,
                    2 => change(&gateway, &json!({"region": "klines"})).await,
                    3 => change(&gateway, &json!({"region": "exchange_info", "hard": true})).await,
                    4 => change(&gateway, &json!({"region": "klines", "hard": true})).await,
                    5 => change(&gateway, &json!({"region": "kv"})).await,
                    6 => put(&gateway, VALUE, &format!("value {changes}")).await,
                    _ => {
                        is_on = !is_on;
                        let verb = if is_on { "enable" } else { "disable" };
                        send(&gateway, &format!("POST /api/cache/{verb} HTTP/1.1"), "application/json", "").await;
                    }
                }
            }
        }
    }
    assert!(changes > 10 && hits > 100, "{changes} changes, {hits} hits");
}

#[tokio::test]
async fn both_paths_give_the_same_answer_to_every_request() {
    both_paths_agree(&[]).await;
}

#[tokio::test]
async fn both_paths_give_the_same_answer_where_other_origins_may_read_and_a_token_opens() {
    both_paths_agree(&[("cors.origins", "https://app.example"), ("admin.token", "the-right-admin-token")]).await;
}

#[tokio::test]
async fn both_paths_give_the_same_answer_where_every_origin_may_read_and_urls_are_short() {
    both_paths_agree(&[("cors.origins", "*"), ("limits.max_url_bytes", "256")]).await;
}

/// How many requests have ended so far, by class and status; but for those of health and metrics.
async fn ended(gateway: &Running) -> BTreeMap<String, u64> {
    let metrics = get(gateway, "/metrics", &[]).await;
    let text = String::from_utf8(metrics.body).unwrap();
    let counts = text.lines().filter(|line| line.starts_with("lastgood_request_duration_seconds_count{"));
    let count = |line: &str| line.rsplit_once(' ').map(|(labels, count)| (labels.to_owned(), count.parse().unwrap()));
    counts.filter(|line| !line.contains("health")).filter_map(count).collect()
}

/// The lines of the access log since this many bytes of it, without their times.
fn logged(log: &Sink, since: usize) -> Vec<String> {
    let text = log.text();
    let lines = text[since..].lines().filter(|line| line.contains("lastgood::access") && !line.contains("/metrics"));
    let untimed = |line: &str| line[line.find("lastgood::access")?..].split(" took_ms=").next().map(str::to_owned);
    lines.filter_map(untimed).collect()
}

#[tokio::test]
async fn the_fast_path_counts_times_and_logs_as_the_slow_path_does_and_sees_every_invalidation() {
    let log = Sink::of_the_log("info");
    let (_exchange, gateway) = started(&[("log.access", "true")]).await;
    for (target, region) in [
        (TARGETS[0], "ticker_price"),
        (TARGETS[7], "exchange_info"),
        (TARGETS[9], "depth"),
        (TARGETS[15], "klines"),
        (LONG_VALUE, "kv"),
    ] {
        for hard in [false, true] {
            if region == "kv" {
                put(&gateway, target, &"once more ".repeat(1_000)).await;
            }
            let conditions = [&["if-none-match: ETAG"][..], &["if-none-match: \"other\""]];
            for of in [&[][..], &["accept-encoding: gzip"]].into_iter().chain(conditions) {
                let etag = get(&gateway, target, &[]).await.field("etag").to_owned();
                let fields = said(of, &etag);
                let mut ways = Vec::new();
                for end in [SLOWLY, "\r\n"] {
                    for _ in 0..3 {
                        get(&gateway, target, &fields).await;
                    }
                    let (earlier, began, since) = (gateway.traffic(), ended(&gateway).await, log.text().len());
                    let mut statuses = Vec::new();
                    for _ in 0..5 {
                        let got = round_trip(&gateway, &format!("GET {target} HTTP/1.1"), &fields, end).await;
                        assert!(got.is_hit(), "{target}: {got:?}");
                        statuses.push(got.status);
                    }
                    let lines = logged(&log, since);
                    assert_eq!(lines.len(), 5, "{target}: {lines:?}");
                    let after = gateway.traffic();
                    let counted = |of: fn(&Traffic) -> u64| of(&after) - of(&earlier);
                    assert_eq!(counted(|of| of.misses + of.stale + of.joined), 0);
                    // One more asked for the metrics.
                    assert_eq!((counted(|of| of.requests), counted(|of| of.hits)), (6, 5), "{target}");
                    let mut now = ended(&gateway).await;
                    now.iter_mut().for_each(|(labels, count)| *count -= began.get(labels).copied().unwrap_or_default());
                    now.retain(|_, count| *count > 0);
                    assert_eq!(now.values().sum::<u64>(), 5, "{target}: {now:?}");
                    ways.push((counted(|of| of.weight_asked), now, lines, statuses));
                }
                assert_eq!(ways[0], ways[1], "{target} {fields:?}");
            }
            change(&gateway, &json!({"region": region, "hard": hard})).await;
            assert!(!get(&gateway, target, &[]).await.is_hit(), "{target}");
        }
    }
}

/// A route with a parameter, whose answers are fresh for an hour.
fn file(api: &Api) -> String {
    let url = api.url();
    format!(
        r#"
        [apis.quotes]
        url = "{url}"
        [regions.quotes]
        fresh_for = "1h"
        [[routes]]
        path = "/v1/stocks/{{symbol}}"
        region = "quotes"
        parameters.symbol = {{ type = "text", pattern = "[A-Z.]{{1,10}}", case = "upper" }}
        parameters.days = {{ type = "integer", min = 1, max = 365, default = 30 }}
        sources = [{{ api = "quotes", path = "/daily/{{symbol}}", query = {{ days = "{{days}}" }} }}]
        "#
    )
}

#[tokio::test]
async fn both_paths_give_the_same_answer_of_a_declared_route() {
    let api = Api::start().await;
    api.answers(Reply::json(json!({ "data": "a long answer ".repeat(300) })));
    let gateway = Running::of_file(&file(&api)).await;
    let targets =
        ["/v1/stocks/AAPL", "/v1/stocks/aapl?days=030", "/v1/stocks/A%41PL?days=31", "/v1/stocks/AAPL?days=0"];
    let mut hits = 0;
    for (number, target) in targets.iter().flat_map(|target| (0..11).map(|how| written(target, how))).enumerate() {
        for of in SAID.iter().skip(number % 4).step_by(4) {
            hits += u64::from(compare(&gateway, &format!("GET {target} HTTP/1.1"), of).await);
        }
    }
    assert!(hits > 100, "{hits} hits");
    for round in 0..3 {
        get(&gateway, "/v1/stocks/AAPL", &[]).await;
        let before = gateway.traffic();
        for end in [SLOWLY, "\r\n", "\r\n"] {
            assert!(round_trip(&gateway, "GET /v1/stocks/AAPL HTTP/1.1", &[], end).await.is_hit());
        }
        let after = gateway.traffic();
        assert_eq!((after.requests - before.requests, after.hits - before.hits), (3, 3));
        let asked = api.asked().len();
        change(&gateway, &json!({"region": "quotes", "hard": round == 0})).await;
        api.answers(Reply::json(json!({ "data": "another answer ".repeat(300 + round) })));
        let next = get(&gateway, "/v1/stocks/AAPL", &[]).await;
        assert!(!next.is_hit() && api.asked().len() == asked + 1, "{next:?}");
    }
}
