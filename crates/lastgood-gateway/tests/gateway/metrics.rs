//! What the metrics tell of a gateway and of those that it asks.

use crate::support::{Exchange, Running, eventually, get, settings_of};

const TICKER: &str = "/api/v3/ticker/price?symbol=BTCUSDT";

#[tokio::test]
async fn the_metrics_tell_the_program_the_process_and_how_requests_went() {
    let exchange = Exchange::start().await;
    let gateway = Running::start(&exchange.url(), &[]).await;
    get(gateway.url(TICKER)).await;
    get(gateway.url(TICKER)).await;
    get(gateway.url("/api/v3/ticker/price?symbol=NOPE")).await;
    get(gateway.url("/nothing")).await;
    let scraped = get(gateway.url("/metrics")).await;
    let text = scraped.text();
    let value = |series: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{series}: {text}")).parse::<f64>().unwrap()
    };
    assert_eq!(value(concat!("lastgood_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"}")), 1.0);
    assert!(value("process_resident_memory_bytes") > 1e6 && value("process_open_fds") >= 3.0);
    assert!(value("process_start_time_seconds") > 1.7e9 && value("process_cpu_seconds_total") >= 0.0);
    let requests = |class: &str, status: &str| {
        value(&format!("lastgood_request_duration_seconds_count{{class=\"{class}\",status=\"{status}\"}}"))
    };
    assert_eq!((requests("exchange", "2xx"), requests("exchange", "4xx"), requests("route", "4xx")), (2.0, 1.0, 1.0));
    // Every histogram ends with all of them.
    let histograms: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" histogram"))
        .filter(|name| text.contains(&format!("{name}_count{{")))
        .collect();
    assert!(histograms.len() >= 2, "{histograms:?}");
    for name in histograms {
        let counts = text.lines().filter(|line| line.starts_with(&format!("{name}_count{{"))).count();
        let infinite = |line: &&str| line.starts_with(&format!("{name}_bucket{{")) && line.contains("le=\"+Inf\"");
        assert_eq!(text.lines().filter(infinite).count(), counts, "{name}");
    }
    // What was never asked for has no series.
    assert!(!text.contains("region=\"funding_rate\"") && text.contains("region=\"ticker_price\""), "{text}");
    assert!(!text.contains("upstream_stopped_until_timestamp_seconds{"), "{text}");
}

#[tokio::test]
async fn the_metrics_say_how_long_each_host_and_source_that_was_asked_took() {
    let exchange = Exchange::start().await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("main.db"), "").unwrap();
    let url = format!("sqlite:{}", folder.path().join("main.db").display());
    let file = format!(
        "[databases.main]\nurl = \"{url}\"\n[databases.idle]\nurl = \"{url}\"\n\
         [[routes]]\npath = \"/v1/one\"\nsources = [{{ database = \"main\", sql = \"SELECT 1 AS one\" }}]\n"
    );
    let mut settings = settings_of(&file, &[]).unwrap();
    settings.data_dir = folder.path().to_owned();
    settings.store = lastgood_settings::StoreSetting::Memory;
    settings.binance = crate::support::settings(&exchange.url(), &[]).binance;
    settings.binance.futures_url = vec![lastgood_settings::BaseUrl::parse("http://idle.example:1").unwrap()];
    let gateway = Running::serve(&settings, folder).await;
    assert_eq!(get(gateway.url("/v1/one")).await.status, 200);
    get(gateway.url(TICKER)).await;
    exchange.fault(serde_json::json!({"kind": "latency", "ms": 120}));
    get(gateway.url("/api/v3/ticker/24hr?symbol=BTCUSDT")).await;
    let scraped = get(gateway.url("/metrics")).await;
    let text = scraped.text();
    let value = |series: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{series}: {text}")).parse::<f64>().unwrap()
    };
    let name = exchange.url().replace("http://", "");
    let count = |kind: &str, name: &str| {
        value(&format!("lastgood_source_duration_seconds_count{{kind=\"{kind}\",name=\"{name}\"}}"))
    };
    assert_eq!((count("host", &name), count("source", "database main")), (2.0, 1.0));
    let host = format!("kind=\"host\",name=\"{name}\"");
    let up_to = |bound: &str| value(&format!("lastgood_source_duration_seconds_bucket{{le=\"{bound}\",{host}}}"));
    assert_eq!((up_to("0.1"), up_to("+Inf")), (1.0, 2.0));
    let sum = value(&format!("lastgood_source_duration_seconds_sum{{{host}}}"));
    assert!((0.12..2.0).contains(&sum), "{sum}");
    let timed = text.lines().filter(|line| line.starts_with("lastgood_source_duration_seconds"));
    assert_eq!(timed.filter(|line| line.contains("idle")).count(), 0, "what was never asked has no series");
}

#[tokio::test]
async fn last_good_answers_are_reported_with_their_age_and_a_ban_with_its_end() {
    let exchange = Exchange::start().await;
    let flags = [("regions.ticker_price.fresh_for", "1ms"), ("regions.ticker_price.stale_while_revalidate", "0s")];
    let gateway = Running::start(&exchange.url(), &flags).await;
    get(gateway.url(TICKER)).await;
    exchange.fault(serde_json::json!({"kind": "banned_spot"}));
    eventually("last good", async || get(gateway.url(TICKER)).await.cache() == "LAST-GOOD").await;
    let scraped = get(gateway.url("/metrics")).await;
    let text = scraped.text();
    assert!(text.contains("lastgood_serving_last_good{region=\"ticker_price\",reason=\"banned\"} 1"), "{text}");
    assert!(text.contains("lastgood_oldest_last_good_seconds{region=\"ticker_price\"}"), "{text}");
    let until = text.lines().find(|line| line.starts_with("lastgood_upstream_stopped_until_timestamp_seconds{"));
    let until: f64 = until.and_then(|line| line.rsplit_once(' ')?.1.parse().ok()).unwrap_or_else(|| panic!("{text}"));
    let now = lastgood::Clock::system().now().as_millis() as f64 / 1e3;
    assert!(until > now && until < now + 300.0, "{until} {now}");
}
