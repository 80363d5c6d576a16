//! The metrics, and their users: the alerts and the dashboard under `ops/`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use lastgood_testing::RedisServer;
use serde_json::Value;

use crate::support::{Exchange, Running, Sink, eventually, get};

const TICKER: &str = "/api/v3/ticker/price?symbol=BTCUSDT";
const BOOK: &str = "/api/v3/ticker/bookTicker?symbol=BTCUSDT";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the repository")
}

fn ops(name: &str) -> (PathBuf, String) {
    let path = root().join("ops").join(name);
    let text = std::fs::read_to_string(&path).expect("a file of this repository");
    (path, text)
}

fn promtool(verb: &str, file: &Path) {
    let tool = root().join("target/test-tools/prometheus/usr/bin/promtool");
    let output = Command::new(tool).arg(verb).arg("rules").arg(file).output();
    let output = output.unwrap_or_else(|why| panic!("promtool: {why}; run tests/install-tools.sh"));
    let said = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
    assert!(output.status.success(), "promtool {verb} rules {}: {said}", file.display());
}

/// A metric, and the values that occur for each label.
type Exported = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

/// What a gateway with everything switched on exports.
async fn exported() -> Exported {
    let (redis, exchange) = (RedisServer::start(), Exchange::start().await);
    let flags = [
        ("store", redis.url()),
        ("warm.markets", "spot".to_owned()),
        ("regions.book_ticker.fresh_for", "1ms".to_owned()),
        ("regions.book_ticker.stale_while_revalidate", "0s".to_owned()),
    ];
    let flags: Vec<(&str, &str)> = flags.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let gateway = Running::start(&exchange.url(), &flags).await;
    get(gateway.url(TICKER)).await;
    get(gateway.url(BOOK)).await;
    eventually("a warming round ends", async || {
        get(gateway.url("/health")).await.json()["warming"]["rounds"].as_u64() > Some(0)
    })
    .await;
    // What one has stored, the other finds.
    eventually("the symbols are stored", async || redis.command(&["KEYS", "*exchange_info*"]).contains("spot")).await;
    let other = Running::start(&exchange.url(), &[("store", &redis.url())]).await;
    get(other.url("/api/v3/exchangeInfo")).await;
    exchange.fault(serde_json::json!({"kind": "status", "status": 500, "path_prefix": "/api/v3/ticker/bookTicker"}));
    eventually("last good", async || get(gateway.url(BOOK)).await.cache() == "LAST-GOOD").await;
    let mut exported = Exported::new();
    let metrics = [get(gateway.url("/metrics")).await, get(other.url("/metrics")).await];
    let samples = metrics.iter().flat_map(|metrics| metrics.text().lines()).filter(|line| !line.starts_with('#'));
    for series in samples.filter_map(|line| line.rsplit_once(' ')).map(|(series, _)| series) {
        let (name, matchers) = selectors(series).pop().unwrap_or_else(|| panic!("no series: {series}"));
        let labels = exported.entry(name).or_default();
        for (label, value) in matchers {
            labels.entry(label).or_default().insert(value);
        }
    }
    exported
}

/// What the names of metrics begin with.
const NAMESPACES: [&str; 2] = ["lastgood_", "process_"];

/// The metrics that a text names, with the labels and the values they are chosen by.
fn selectors(text: &str) -> Vec<(String, Vec<(String, String)>)> {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut found = Vec::new();
    for (at, _) in NAMESPACES.iter().flat_map(|namespace| text.match_indices(namespace)) {
        if text[..at].ends_with(|c: char| is_of_name(c) || c == '"') {
            continue;
        }
        let end = text[at..].find(|c| !is_of_name(c)).map_or(text.len(), |length| at + length);
        let matchers =
            text[end..].strip_prefix('{').and_then(|rest| rest.split_once('}')).map_or("", |(inner, _)| inner);
        let matcher = |part: &str| {
            let (label, value) = part.split_once('=')?;
            let value = value.trim_start_matches('~').trim().trim_matches('"');
            Some((label.trim().trim_end_matches('!').to_owned(), value.to_owned()))
        };
        found.push((text[at..end].to_owned(), matchers.split(',').filter_map(matcher).collect()));
    }
    found
}

/// Labels that Prometheus adds.
const ADDED: [&str; 2] = ["job", "instance"];
/// Labels whose every value is known.
const CLOSED: [&str; 4] = ["outcome", "state", "result", "priority"];

/// Every metric that is named exists, with those labels, and with those values where they are a closed list.
fn all_exist(text: &str, exported: &Exported, file: &str) {
    let selectors = selectors(text);
    assert!(!selectors.is_empty(), "{file} names no metric");
    for (name, matchers) in selectors {
        let labels = exported.get(&name).unwrap_or_else(|| panic!("{file}: {name} is not exported"));
        for (label, value) in matchers.iter().filter(|(label, _)| !ADDED.contains(&label.as_str())) {
            let values = labels.get(label).unwrap_or_else(|| panic!("{file}: {name} has no label {label}"));
            let is_known = |value: &str| !CLOSED.contains(&label.as_str()) || values.contains(value);
            assert!(value.split('|').all(is_known), "{file}: {name} has no {label} {value:?}: {values:?}");
        }
    }
}

#[test]
fn the_alerts_are_valid_and_do_as_their_tests_say() {
    let (rules, _) = ops("prometheus/alerts.yml");
    promtool("check", &rules);
    promtool("test", &ops("prometheus/alerts_test.yml").0);
}

#[test]
fn every_alert_has_a_test_that_fires_it() {
    let (_, rules) = ops("prometheus/alerts.yml");
    let (_, tests) = ops("prometheus/alerts_test.yml");
    let alerts: Vec<_> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() >= 6);
    for alert in alerts {
        let fires = format!("alertname: {alert}\n        exp_alerts:\n          - exp_labels:");
        assert!(tests.contains(&fires), "{alert}");
    }
}

#[tokio::test]
async fn every_metric_of_the_alerts_and_the_dashboard_is_exported() {
    let exported = exported().await;
    for file in ["prometheus/alerts.yml", "prometheus/alerts_test.yml"] {
        all_exist(&ops(file).1, &exported, file);
    }
    for expression in expressions() {
        all_exist(&expression, &exported, "grafana/lastgood.json");
    }
}

#[test]
fn every_expression_of_the_dashboard_is_valid() {
    // Prometheus knows no variables of Grafana's.
    let plain = |expression: String| {
        expression
            .replace("$__rate_interval", "5m")
            .replace("$job", ".*")
            .replace("$instance", ".*")
            .replace('\'', "''")
    };
    let rule = |(number, expression)| format!("      - {{ record: 'panel:{number}', expr: '{expression}' }}\n");
    let rules: String = expressions().into_iter().map(plain).enumerate().map(rule).collect();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dashboard.yml");
    std::fs::write(&file, format!("groups:\n  - name: dashboard\n    rules:\n{rules}")).unwrap();
    promtool("check", &file);
}

/// The expressions of the dashboard's panels.
fn expressions() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&ops("grafana/lastgood.json").1).expect("a dashboard");
    let panels = dashboard["panels"].as_array().expect("panels");
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let expressions: Vec<_> =
        targets.map(|target| target["expr"].as_str().expect("an expression").to_owned()).collect();
    assert!(expressions.len() > 20, "{expressions:?}");
    expressions
}

#[tokio::test]
async fn the_log_tells_the_hit_rate_once_for_each_interval_with_traffic() {
    let logged = Sink::of_the_log("info");
    let lines = || {
        logged.text().lines().filter(|line| line.contains("answered hit_rate=")).map(str::to_owned).collect::<Vec<_>>()
    };

    let exchange = Exchange::start().await;
    let flags = [("log.stats_every", "100ms"), ("regions.ticker_price.fresh_for", "10m")];
    let gateway = Running::start(&exchange.url(), &flags).await;
    let silent = Running::start(&exchange.url(), &[("log.stats_every", "0s")]).await;
    let asked = 20;
    for _ in 0..asked {
        get(gateway.url(TICKER)).await;
        get(silent.url(TICKER)).await;
    }
    let sum_of = |lines: &[String], field: &str| {
        let value = |line: &String| {
            let (_, rest) = line.split_once(&format!(" {field}=")).unwrap_or_else(|| panic!("{field}: {line}"));
            rest.split(' ').next().unwrap().parse::<u64>().unwrap()
        };
        lines.iter().map(value).sum::<u64>()
    };
    // All lines together tell each read once, and none is of the silent gateway's.
    eventually("all reads are logged", async || sum_of(&lines(), "hits") + sum_of(&lines(), "misses") >= asked).await;
    assert_eq!((sum_of(&lines(), "hits"), sum_of(&lines(), "misses")), (asked - 1, 1), "{:?}", lines());
    // Looking at the gateway is no traffic.
    let before = lines().len();
    let requests = gateway.traffic().requests;
    while gateway.traffic().requests < requests + 30 {
        get(gateway.url("/metrics")).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(lines().len(), before);
}

#[tokio::test]
async fn check_live_tells_a_gateway_that_answers_from_one_that_is_gone() {
    let mut exchange = Exchange::start().await;
    let gateway = Running::start(&exchange.url(), &[]).await;
    let live = async |url: String| {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_lastgood"));
        let output =
            command.args(["check", "--live"]).env("LASTGOOD_URL", url).output().await.expect("the program starts");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    assert_eq!(live(gateway.url("")).await, (Some(0), "ok".to_owned()));
    // A gateway whose exchange is gone lives on: restarting it would repair nothing.
    exchange.stop().await;
    assert_eq!(live(gateway.url("")).await.0, Some(0));
    let url = gateway.url("");
    gateway.stop().await;
    assert_eq!(live(url).await, (Some(1), String::new()));
}
