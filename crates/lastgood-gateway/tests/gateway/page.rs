//! The operator's page: what it is made of, what keeps it up to date, and who may see it.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use lastgood_gateway::Demonstration as _;
use tokio::time::Instant;

use crate::support::{Exchange, Got, Running, client, get, read};

mod browser;
mod demonstration;

use self::demonstration::Switch;

const TOKEN: &str = "a-long-enough-token";

/// The files that the page consists of, `/` included, found as a browser finds them: by what refers to them.
async fn files(gateway: &Running) -> Vec<(String, Got)> {
    let (mut wanted, mut seen, mut files) = (vec!["/".to_owned()], BTreeSet::new(), Vec::new());
    while let Some(path) = wanted.pop() {
        if seen.insert(path.clone()) {
            let got = get(gateway.url(&path)).await;
            let refers = got.text().split(['"', '\'']).filter(|part| {
                part.starts_with("/page/") && Path::new(part).extension().is_some_and(|ext| ext == "js" || ext == "css")
            });
            wanted.extend(refers.map(str::to_owned));
            files.push((path, got));
        }
    }
    files
}

async fn ask(gateway: &Running, method: Method, path: &str, headers: &[(&str, &str)]) -> reqwest::Response {
    let mut request = client().request(method, gateway.url(path));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap()
}

/// The next event of a stream, as JSON.
async fn event(stream: &mut reqwest::Response) -> serde_json::Value {
    let mut text = String::new();
    while !text.ends_with("\n\n") {
        let part = tokio::time::timeout(Duration::from_secs(10), stream.chunk()).await.expect("an event in time");
        text += std::str::from_utf8(&part.unwrap().expect("the stream goes on")).unwrap();
    }
    let event = text.trim_end().rsplit("\n\n").next().unwrap();
    serde_json::from_str(event.strip_prefix("data: ").expect("one line of data")).expect("JSON")
}

#[tokio::test]
async fn the_page_needs_nothing_but_a_few_small_files_of_its_own_under_a_strict_policy() {
    let exchange = Exchange::start().await;
    let gateway = Running::start(&exchange.url(), &[]).await;
    let files = files(&gateway).await;
    let sources = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/page/web")).unwrap().count();
    assert_eq!(files.len(), sources, "each file of the folder is reached from the page");
    let size: usize = files.iter().map(|(_, got)| got.body.len()).sum();
    assert!(size < 150_000, "{size} bytes");
    for (path, got) in &files {
        assert_eq!(got.status, 200, "{path}");
        let kind = match path.rsplit_once('.') {
            None => "text/html; charset=utf-8",
            Some((_, "css")) => "text/css; charset=utf-8",
            Some(_) => "text/javascript; charset=utf-8",
        };
        assert_eq!(got.header("content-type"), kind, "{path}");
        let policies: Vec<_> = got.headers.get_all("content-security-policy").iter().collect();
        assert_eq!(
            policies,
            ["default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
              base-uri 'none'; form-action 'none'; frame-ancestors 'none'"],
            "{path}"
        );
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
            ("cache-control", "no-cache"),
        ] {
            assert_eq!(got.header(name), value, "{path}");
        }
        let text = got.text();
        for not in
            ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function(", "localStorage"]
        {
            assert!(!text.contains(not), "{path} has {not}: values of applications are text");
        }
        assert!(!text.contains("http://") || path.ends_with("dom.js"), "{path} leads elsewhere");
        assert!(!text.contains("https://") && !text.contains("<style") && !text.contains("style="), "{path}");
        let again = read(ask(&gateway, Method::GET, path, &[("if-none-match", got.header("etag"))]).await).await;
        assert_eq!((again.status, again.body.len()), (304, 0), "{path}");
    }
    let html = files[0].1.text();
    assert!(html.contains("<html lang=\"en\">") && html.contains("<main") && html.contains("<nav aria-label"));
}

#[tokio::test]
async fn a_page_that_is_open_hears_each_second_what_health_and_stats_say() {
    let exchange = Exchange::start().await;
    let gateway = Running::start(&exchange.url(), &[]).await;
    let target = gateway.url("/api/v3/ticker/price?symbol=BTCUSDT");
    get(&target).await;
    let mut stream = ask(&gateway, Method::GET, "/page/live", &[]).await;
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    assert_eq!(stream.headers()["cache-control"], "no-store");
    let first = event(&mut stream).await;
    assert_eq!(first["stats"]["regions"]["ticker_price"]["misses"], 1);
    get(&target).await;
    exchange.fault(serde_json::json!({"kind": "status", "status": 500}));
    let changed = loop {
        let next = event(&mut stream).await;
        if next["stats"]["regions"]["ticker_price"]["hits"]["memory"] == 1 {
            break next;
        }
    };
    assert!(changed["at"].as_u64() > first["at"].as_u64());
    assert!(changed["totals"]["requests"].as_u64() > first["totals"]["requests"].as_u64());
    let health = get(gateway.url("/health")).await.json();
    let names = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&changed["health"]), names(&health), "it is the same as /health");
    let stats = get(gateway.url("/api/cache/stats")).await.json();
    assert_eq!(changed["stats"]["regions"]["ticker_price"]["hits"], stats["regions"]["ticker_price"]["hits"]);
}

#[tokio::test]
async fn the_age_of_the_oldest_answer_that_stands_in_is_given_by_region() {
    let exchange = Exchange::start().await;
    let brief = [("regions.avg_price.fresh_for", "1ms"), ("regions.avg_price.stale_while_revalidate", "0s")];
    let gateway = Running::start(&exchange.url(), &brief).await;
    let target = gateway.url("/api/v3/avgPrice?symbol=BTCUSDT");
    get(&target).await;
    let mut stream = ask(&gateway, Method::GET, "/page/live", &[]).await;
    assert_eq!(event(&mut stream).await["oldest"], serde_json::json!({}));
    exchange.fault(serde_json::json!({"kind": "status", "status": 500}));
    lastgood_testing::eventually("it stands in", async || get(&target).await.cache() == "LAST-GOOD").await;
    let oldest = loop {
        let next = event(&mut stream).await["oldest"].clone();
        if next["avg_price"].is_u64() {
            break next;
        }
    };
    assert_eq!(oldest.as_object().map(serde_json::Map::len), Some(1), "{oldest}");
}

#[tokio::test]
async fn streams_say_since_when_they_are_connected_and_why_they_are_not() {
    let exchange = Exchange::start().await;
    exchange.sim.set_clock(lastgood_sim::ClockMode::Live);
    let streams = exchange.url().replace("http://", "ws://");
    let gateway = Running::start(&exchange.url(), &[("binance.ws_url", &streams)]).await;
    let mut stream = ask(&gateway, Method::GET, "/page/live", &[]).await;
    let mut become_so = async |wanted: fn(&serde_json::Value) -> bool| loop {
        get(gateway.url("/api/v3/klines?symbol=BTCUSDT&interval=1m&limit=5")).await;
        let spot = event(&mut stream).await["streams"][0].clone();
        if wanted(&spot) {
            break spot;
        }
    };
    let connected = become_so(|spot| spot["connected"] == true).await;
    assert!(connected["since"].is_u64() && connected["reason"].is_null(), "{connected}");
    exchange.fault(serde_json::json!({"kind": "stream_refuse"}));
    exchange.fault(serde_json::json!({"kind": "stream_drop"}));
    let broken = become_so(|spot| spot["connected"] == false).await;
    assert!(broken["since"].as_u64() >= connected["since"].as_u64(), "{broken}");
    assert!(broken["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{broken}");
    exchange.sim.clear_faults();
    become_so(|spot| spot["connected"] == true && spot["reason"].is_null()).await;
}

#[tokio::test]
async fn what_warming_left_out_is_named_with_the_reason() {
    let mut exchange = Exchange::start().await;
    exchange.stop().await;
    let warm = [("warm.markets", "spot"), ("warm.tickers", "false")];
    let gateway = Running::start(&exchange.url(), &warm).await;
    let mut stream = ask(&gateway, Method::GET, "/page/live", &[]).await;
    let reason = loop {
        let next = event(&mut stream).await;
        if let Some(reason) = next["not_warmed"].as_str() {
            break reason.to_owned();
        }
    };
    assert!(reason.starts_with("symbols of spot: "), "{reason}");
    let asked = ask(&gateway, Method::POST, "/api/cache/warm", &[]).await;
    let answer = read(asked).await;
    assert_eq!(
        answer.json()["why"].as_str().map(|why| why.starts_with("symbols of spot: ")),
        Some(true),
        "{}",
        answer.text()
    );
}

#[tokio::test]
async fn the_other_gateways_on_the_store_are_named_with_what_they_published() {
    let redis = lastgood_testing::RedisServer::start();
    let exchange = Exchange::start().await;
    let url = redis.url();
    let one = Running::start(&exchange.url(), &[("store", &url)]).await;
    let written = async || redis.command(&["KEYS", "lastgood:nodes:*"]).contains("node:");
    lastgood_testing::eventually("the first has published its counters", written).await;
    let other = Running::start(&exchange.url(), &[("store", &url)]).await;
    let mut stream = ask(&other, Method::GET, "/page/live", &[]).await;
    let peers = loop {
        let next = event(&mut stream).await["peers"].clone();
        if next["peers"].as_array().is_some_and(|peers| !peers.is_empty()) {
            break next;
        }
    };
    let peer = &peers["peers"][0];
    assert_eq!((&peer["state"], &peer["version"]), (&"heard".into(), &env!("CARGO_PKG_VERSION").into()), "{peers}");
    assert!(peer["since"].is_u64() && peer["reads"].is_u64() && peer["hit_rate"].is_number(), "{peers}");
    let mut stream = ask(&one, Method::GET, "/page/live", &[]).await;
    assert_eq!(event(&mut stream).await["peers"]["own_name"], peer["name"], "it is known by the name that it shows");
    let alone = Running::start(&exchange.url(), &[]).await;
    let mut stream = ask(&alone, Method::GET, "/page/live", &[]).await;
    assert!(event(&mut stream).await.get("peers").is_none(), "a store of its own has no others");
}

#[tokio::test]
async fn spans_of_candles_say_by_whom_they_came_and_where_they_lie() {
    let data = tempfile::tempdir().unwrap();
    let exchange = Exchange::start().await;
    exchange.sim.set_clock(lastgood_sim::ClockMode::Live);
    let streams = exchange.url().replace("http://", "ws://");
    let flags =
        [("binance.ws_url", streams.as_str()), ("store", "embedded:"), ("data_dir", data.path().to_str().unwrap())];
    let gateway = Running::start(&exchange.url(), &flags).await;
    let target = "/api/v3/klines?symbol=BTCUSDT&interval=1m&limit=100";
    let spans = async |gateway: &Running| {
        let key = "klines:spot%2Fapi%2Fv3%2Fklines:BTCUSDT:1m";
        get(gateway.url(&format!("/api/cache/explain/{key}"))).await.json()["candles"].as_array().unwrap().clone()
    };
    assert_eq!(get(gateway.url(target)).await.status, 200);
    let of_the_exchange = spans(&gateway).await;
    assert!(of_the_exchange.iter().all(|span| span["origin"] == "exchange"), "{of_the_exchange:?}");
    lastgood_testing::eventually("a stream has brought the end", async || {
        get(gateway.url(target)).await;
        spans(&gateway).await.last().unwrap()["origin"] == "stream"
    })
    .await;
    let by_key = get(gateway.url("/api/cache/explain/klines:spot%2Fapi%2Fv3%2Fklines:BTCUSDT:1m:tail")).await.json();
    assert_eq!(by_key["origin"], "stream", "{by_key}");
    let ticker = "/api/v3/ticker/24hr?symbol=BTCUSDT";
    lastgood_testing::eventually("a stream has brought a ticker", async || {
        assert_eq!(get(gateway.url(ticker)).await.status, 200);
        let key = "ticker_24hr:spot%2Fapi%2Fv3%2Fticker%2F24hr%3Fsymbol=BTCUSDT";
        get(gateway.url(&format!("/api/cache/explain/{key}"))).await.json()["origin"] == "stream"
    })
    .await;
    assert!(gateway.gateway.cache().sync(Duration::from_secs(5)).await);
    assert!(spans(&gateway).await.iter().all(|span| span["tier"] == "both"));
    gateway.stop().await;
    let gateway = Running::start(&exchange.url(), &flags).await;
    let found = spans(&gateway).await;
    assert!(found.iter().all(|span| span["tier"] == "store"), "{found:?}");
    assert_eq!(found.last().unwrap()["origin"], serde_json::Value::Null, "who brought the end is not stored with it");
}

#[tokio::test]
async fn all_open_pages_get_the_same_events_and_their_number_is_limited() {
    let exchange = Exchange::start().await;
    let gateway = Running::start(&exchange.url(), &[]).await;
    let mut open = Vec::new();
    let refused = loop {
        let stream = ask(&gateway, Method::GET, "/page/live", &[]).await;
        match stream.status().as_u16() {
            200 => open.push(stream),
            _ => break stream,
        }
        assert!(open.len() <= 256, "bounded");
    };
    let refused = (refused.headers().get("retry-after").cloned(), read(refused).await);
    assert_eq!((refused.0.is_some(), refused.1.status), (true, 503), "{}", refused.1.text());
    assert_eq!(open.len(), 256);
    let mut two = open.split_off(254);
    let mut seen = [BTreeSet::new(), BTreeSet::new()];
    for _ in 0..3 {
        for (stream, seen) in two.iter_mut().zip(&mut seen) {
            seen.insert(event(stream).await["at"].as_u64().unwrap());
        }
    }
    assert!(seen[0].intersection(&seen[1]).count() >= 2, "computed once for both: {seen:?}");
    drop(open);
    let has_room = async || ask(&gateway, Method::GET, "/page/live", &[]).await.status() == 200;
    lastgood_testing::eventually("a place that was given back", async || has_room().await).await;
}

#[tokio::test]
async fn a_gateway_that_stops_does_not_wait_for_open_pages() {
    let exchange = Exchange::start().await;
    let gateway = Running::start(&exchange.url(), &[]).await;
    let mut stream = ask(&gateway, Method::GET, "/page/live", &[]).await;
    event(&mut stream).await;
    let began = Instant::now();
    gateway.stop().await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    while stream.chunk().await.unwrap().is_some() {}
}

#[tokio::test]
async fn another_site_sees_nothing_of_the_page_by_any_name_and_switches_nothing() {
    let exchange = Exchange::start().await;
    let gateway = Running::start(&exchange.url(), &[]).await;
    let switch = Arc::new(Switch::default());
    gateway.gateway.demonstrate(Arc::clone(&switch) as _);
    for (method, path) in [
        (Method::GET, "/"),
        (Method::GET, "/page/main.js"),
        (Method::GET, "/page/live"),
        (Method::GET, "/page/history"),
        (Method::GET, "/page/else"),
        (Method::POST, "/page/faults/fail"),
    ] {
        for foreign in [
            &[("host", "evil.example")][..],
            &[("host", "localhost.evil.example:8090")],
            &[("host", "192.168.0.7:8090")],
            &[("host", "evil.example"), ("sec-fetch-site", "same-origin"), ("origin", "http://evil.example")],
            &[("origin", "https://evil.example")],
            &[("origin", "http://127.0.0.1:3000")],
            &[("origin", "null")],
            &[("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "same-site")],
            &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")],
            &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors"), ("sec-fetch-dest", "script")],
        ] {
            let got = read(ask(&gateway, method.clone(), path, foreign).await).await;
            assert_eq!(got.status, 403, "{path} {foreign:?}");
            assert_eq!(got.header("access-control-allow-origin"), "", "{path}");
        }
    }
    assert_eq!(switch.in_force(), "none");
    // Somebody follows a link to the page.
    let link = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];
    assert_eq!(ask(&gateway, Method::GET, "/", &link).await.status(), 200);
    assert_eq!(ask(&gateway, Method::GET, "/page/live", &link).await.status(), 403, "only to the page itself");
    let by_name = [("host", "evil.example"), link[0], link[1], link[2]];
    assert_eq!(ask(&gateway, Method::GET, "/", &by_name).await.status(), 403, "and by no name that is not its own");
    let own = format!("http://{}", gateway.address);
    let same = [("origin", own.as_str()), ("sec-fetch-site", "same-origin")];
    assert_eq!(ask(&gateway, Method::POST, "/page/faults/fail", &same).await.status(), 204);
    assert_eq!(switch.in_force(), "fail");
}

#[tokio::test]
async fn with_a_token_the_page_loads_and_shows_nothing_until_it_is_sent_in_the_header() {
    let exchange = Exchange::start().await;
    let gateway = Running::start(&exchange.url(), &[("admin.token", TOKEN)]).await;
    assert_eq!(get(gateway.url("/")).await.status, 200);
    assert_eq!(get(gateway.url("/page/main.js")).await.status, 200);
    for path in
        ["/page/live".to_owned(), format!("/page/live?token={TOKEN}"), format!("/page/live?access_token={TOKEN}")]
    {
        assert_eq!(get(gateway.url(&path)).await.status, 401, "{path}");
    }
    let bearer = |token: &str| format!("Bearer {token}");
    let wrong = bearer("another-long-token");
    assert_eq!(ask(&gateway, Method::GET, "/page/live", &[("authorization", &wrong)]).await.status(), 401);
    let right = bearer(TOKEN);
    let mut stream = ask(&gateway, Method::GET, "/page/live", &[("authorization", &right)]).await;
    assert_eq!(event(&mut stream).await["health"]["status"], "ok");
}

#[tokio::test]
async fn what_a_proxy_passes_on_sees_the_page_only_with_the_token() {
    let exchange = Exchange::start().await;
    let gateway = Running::start(&exchange.url(), &[]).await;
    let proxied = ("x-forwarded-for", "203.0.113.9");
    assert_eq!(ask(&gateway, Method::GET, "/page/live", &[proxied]).await.status(), 403);
    let gateway = Running::start(&exchange.url(), &[("admin.token", TOKEN)]).await;
    let right = format!("Bearer {TOKEN}");
    assert_eq!(ask(&gateway, Method::GET, "/page/live", &[proxied, ("authorization", &right)]).await.status(), 200);
}

#[tokio::test]
async fn a_page_that_is_opened_shows_the_minutes_before() {
    let exchange = Exchange::start().await;
    let gateway = Running::start(&exchange.url(), &[("admin.token", TOKEN)]).await;
    assert_eq!(get(gateway.url("/page/history")).await.status, 401);
    let right = format!("Bearer {TOKEN}");
    let first = loop {
        let got = read(ask(&gateway, Method::GET, "/page/history", &[("authorization", &right)]).await).await;
        if let Some(first) = got.json().get(0) {
            break first.clone();
        }
    };
    assert!(first["at"].is_u64() && first["totals"]["requests"].is_u64(), "{first}");
}
