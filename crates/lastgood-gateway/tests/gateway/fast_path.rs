//! The fast path answers as the slow path does, and its answers are counted, timed and logged alike. A request with a body takes
//! the slow path, and is no other request for it.

use std::collections::BTreeMap;

use lastgood_gateway::Traffic;
use lastgood_sim::ClockMode;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::routes::api::{Api, Reply};
use crate::support::{Exchange, Running, Sink, half_past};

const TARGETS: &[&str] = &[
    "/api/v3/ticker/price?symbol=BTCUSDT",
    "/api/v3/ticker/price?symbol=ETHUSDT",
    "/api/v3/ticker/price?symbols=[%22ETHUSDT%22,%22BTCUSDT%22]",
    "/api/v3/ticker/price",
    "/api/v3/ticker/24hr?symbol=BTCUSDT",
    "/api/v3/ticker/bookTicker?symbol=ETHUSDT",
    "/api/v3/exchangeInfo",
    "/api/v3/exchangeInfo?symbol=BTCUSDT",
    "/api/v3/exchangeInfo?symbols=[%22ETHUSDT%22,%22BTCUSDT%22]",
    "/api/v3/depth?symbol=BTCUSDT&limit=100",
    "/api/v3/depth?symbol=BTCUSDT&limit=7",
    "/api/v3/depth?symbol=BTCUSDT&limit=1000",
    "/api/v3/trades?symbol=BTCUSDT&limit=9",
    "/api/v3/avgPrice?symbol=BTCUSDT",
    "/api/v3/klines?symbol=BTCUSDT&interval=1h",
    "/api/v3/klines?symbol=BTCUSDT&interval=1h&limit=1000",
    "/api/v3/klines?symbol=BTCUSDT&interval=1h&limit=1",
    "/api/v3/klines?symbol=BTCUSDT&interval=1h&limit=3&endTime=1700000000000",
    "/api/v3/klines?symbol=ETHUSDT&interval=1d&startTime=1690000000000&limit=400",
    "/api/v3/uiKlines?symbol=ETHUSDT&interval=15m&limit=300",
    "/api/v3/klines?symbol=NONE&interval=1h",
    "/api/v3/ping",
    "/api/v3/time",
    "/fapi/v1/klines?symbol=BTCUSDT&interval=1h&limit=500",
    "/fapi/v1/premiumIndex?symbol=BTCUSDT",
    "/fapi/v1/exchangeInfo",
    "/dapi/v1/ticker/price?symbol=BTCUSD_PERP",
    VALUE,
    LONG_VALUE,
    "/v1/kv/kv/absent",
    "/v1/kv/kv/a/b",
    "/v1/kv/kv/",
    "/v1/kv/kv",
    "/v1/kv//a",
    "/v1/kv/klines/a",
    "/v1/kv/none/a",
];
const VALUE: &str = "/v1/kv/kv/a";
const LONG_VALUE: &str = "/v1/kv/kv/long%20one";

/// What requests say besides their target; `ETAG` stands for the tag that the answer had last.
const SAID: &[&[&str]] = &[
    &[],
    &["accept-encoding: gzip"],
    &["accept-encoding: gzip, deflate, br", "accept: */*", "user-agent: x"],
    &["accept-encoding: gzip;q=0"],
    &["accept-encoding: br, zstd"],
    &["accept-encoding: br", "accept-encoding: gzip"],
    &["if-none-match: ETAG"],
    &["if-none-match: ETAG", "accept-encoding: gzip"],
    &["if-none-match: W/ETAG"],
    &["if-none-match: \"other\", ETAG"],
    &["if-none-match: \"other\"", "if-none-match: ETAG"],
    &["if-none-match: *", "accept-encoding: gzip"],
    &["if-none-match: \"other\""],
    &["if-match: \"other\"", "if-modified-since: Sat, 29 Oct 2039 19:43:31 GMT"],
    &["cache-control: no-cache", "pragma: no-cache"],
    &["range: bytes=0-9"],
    &["cookie: a=b", "cookie: c=d"],
    &["authorization: Bearer x", "x-mbx-apikey: y", "x-lastgood-user: z"],
    &["authorization: Bearer the-right-admin-token", "origin: https://evil.example"],
    &["x-mbx-time-unit: MICROSECOND"],
    &["x-mbx-sbe: 1:0"],
    &["origin: https://app.example"],
    &["origin: https://evil.example", "sec-fetch-site: cross-site"],
    &["host: evil.example"],
    &["host: localhost", "host: localhost"],
    &["x-forwarded-for: 10.0.0.1", "via: 1.1 x"],
    &["expect: 100-continue"],
    &["connection: close, te", "te: trailers"],
];

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
const TOKEN: &str = "authorization: Bearer the-right-admin-token";
const SLOWLY: &str = "content-length: 1\r\n\r\nx";

async fn started(more: &[(&str, &str)]) -> (Exchange, Running) {
    let exchange = Exchange::start().await;
    exchange.sim.set_clock(ClockMode::Frozen(half_past()));
    let gateway = Running::start(&exchange.url(), &[&LASTING, more].concat()).await;
    put(&gateway, VALUE, "a value").await;
    put(&gateway, LONG_VALUE, &"a long value ".repeat(1_000)).await;
    (exchange, gateway)
}

/// An answer, its fields sorted, and what it says of the moment apart.
#[derive(Debug, PartialEq)]
struct Answered {
    status: String,
    fields: Vec<String>,
    body: Vec<u8>,
}

impl Answered {
    fn field(&self, name: &str) -> &str {
        let value = |field: &'_ String| field.strip_prefix(name).and_then(|rest| rest.strip_prefix(": ")).map(str::len);
        let found = self.fields.iter().find_map(|field| value(field).map(|length| &field[field.len() - length..]));
        found.unwrap_or_default()
    }

    fn is_hit(&self) -> bool {
        self.field("x-cache") == "HIT"
    }

    /// Takes out what another moment would say: how old it is, and how long it is fresh.
    fn take_moment(&mut self) -> (i64, i64) {
        let age = self.field("age").parse().unwrap_or_default();
        let parts: Vec<String> = self.field("cache-status").split("; ").map(str::to_owned).collect();
        let ttl = parts.iter().find_map(|part| part.strip_prefix("ttl=")?.parse().ok()).unwrap_or_default();
        let status: Vec<&str> = parts.iter().map(String::as_str).filter(|part| !part.starts_with("ttl=")).collect();
        let status = format!("cache-status: {}", status.join("; "));
        self.fields.retain(|field| !["age: ", "date: ", "cache-status: "].iter().any(|name| field.starts_with(name)));
        self.fields.push(status);
        (age, ttl)
    }
}

/// Sends a request as it is written, and reads its answer to the end of the connection.
async fn ask(gateway: &Running, line: &str, fields: &[String], end: &str) -> Answered {
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let host = format!("host: {}\r\n", gateway.address);
    let host = if fields.iter().any(|field| field.starts_with("host:")) { "" } else { &host };
    let named: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
    let close = if named.contains("connection:") { "" } else { "connection: close\r\n" };
    let request = format!("{line}\r\n{host}{named}{close}{end}");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let head = answer.windows(4).position(|end| end == b"\r\n\r\n").unwrap_or_else(|| panic!("no answer to {request}"));
    let text = String::from_utf8(answer[..head].to_vec()).unwrap();
    let mut lines = text.lines().map(str::to_owned);
    let status = lines.next().unwrap();
    let mut fields: Vec<String> = lines.collect();
    fields.sort();
    Answered { status, fields, body: answer[head + 4..].to_vec() }
}

async fn get(gateway: &Running, target: &str, fields: &[String]) -> Answered {
    ask(gateway, &format!("GET {target} HTTP/1.1"), fields, "\r\n").await
}

async fn send(gateway: &Running, line: &str, content_type: &str, body: &str) {
    let fields = [TOKEN.to_owned(), format!("content-type: {content_type}"), format!("content-length: {}", body.len())];
    let got = ask(gateway, line, &fields, &format!("\r\n{body}")).await;
    assert!(got.status.contains(" 20"), "{line}: {got:?}");
}

async fn put(gateway: &Running, target: &str, body: &str) {
    send(gateway, &format!("PUT {target} HTTP/1.1"), "text/plain", body).await;
}

async fn change(gateway: &Running, what: &Value) {
    send(gateway, "POST /api/cache/invalidate HTTP/1.1", "application/json", &what.to_string()).await;
}

fn said(of: &[&str], etag: &str) -> Vec<String> {
    of.iter().map(|field| field.replace("ETAG", etag)).collect()
}

/// The target, or one that means the same or nearly so.
fn written(target: &str, how: usize) -> String {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let fields: Vec<&str> = query.split('&').collect();
    match how {
        0 => format!("{path}?{query}&x=1"),
        1 => format!("{path}?{query}&{}", fields[0]),
        2 => {
            let (kept, last) = target.split_at(target.len() - 1);
            format!("{kept}%{:02X}", last.as_bytes()[0])
        }
        3 => format!("{path}?{}", fields.iter().rev().copied().collect::<Vec<_>>().join("&")),
        4 => format!("{path}/?{query}"),
        5 => format!("/{target}"),
        6 => format!("{path}?{}", query.to_lowercase()),
        7 => format!("{path}?{query}&"),
        8 => format!("http://localhost{target}"),
        9 => format!("{path}?&{query}"),
        _ => target.to_owned(),
    }
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
    let first = ask(gateway, line, &said(of, "\"none\""), "\r\n").await;
    let fields = said(of, first.field("etag"));
    let again = ask(gateway, line, &fields, "\r\n").await;
    let is_own = ["/v1/kv", "/v1/stocks"].iter().any(|path| line.contains(path));
    if !again.is_hit() && !is_own {
        return false;
    }
    let both = async || {
        let fast = ask(gateway, line, &fields, "\r\n").await;
        (fast, ask(gateway, line, &fields, SLOWLY).await)
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
                        let got = ask(&gateway, &format!("GET {target} HTTP/1.1"), &fields, end).await;
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
            assert!(ask(&gateway, "GET /v1/stocks/AAPL HTTP/1.1", &[], end).await.is_hit());
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
