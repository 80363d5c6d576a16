//! Exchange clients from PyPI and npm, unmodified, before the gateway.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use lastgood_gateway::Traffic;
use lastgood_settings::REGION_NAMES;
use lastgood_sim::ClockMode;
use serde::Deserialize;
use tokio::process::Command;

use crate::support::{Exchange, Running};

/// No answer of the gateway's may take a client longer, whatever the exchange does.
const PATIENCE_MS: u64 = 5_000;

/// What a client's script says of its run.
#[derive(Debug, Deserialize)]
struct Report {
    calls: u64,
    gateway_ms: std::collections::BTreeMap<String, u64>,
}

impl Report {
    fn slowest_ms(&self) -> u64 {
        self.gateway_ms.values().copied().max().expect("a call")
    }
}

/// A client's script of tests/clients, with the addresses of exchange and gateway.
pub(crate) fn script(name: &str, exchange: &Exchange, gateway: &Running) -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the repository");
    let tools = root.join("target/test-tools");
    let interpreter = if name.ends_with(".py") { tools.join("venv/bin/python") } else { PathBuf::from("node") };
    let mut command = Command::new(interpreter);
    command
        .arg(root.join("tests/clients").join(name))
        .env("SIM_URL", exchange.url())
        .env("GATEWAY_URL", format!("http://{}", gateway.address))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    for (of, package) in [("python_binance", "python-binance"), ("zstd", "zstd")] {
        if name.starts_with(of) {
            command.env("PYTHONPATH", tools.join(package));
        }
    }
    command
}

/// What to do about a script that failed, if its client is not installed.
pub(crate) fn hint(complained: &str) -> &'static str {
    let is_missing = ["ModuleNotFoundError", "MODULE_NOT_FOUND"].iter().any(|sign| complained.contains(sign));
    if is_missing { "\nrun tests/install-tools.sh" } else { "" }
}

/// Runs a client's script; `mode` is of tests/clients/compare.py.
async fn client(script: &str, mode: &str, exchange: &Exchange, gateway: &Running) -> Report {
    let mut command = self::script(script, exchange, gateway);
    command.arg(mode);
    let output = tokio::time::timeout(Duration::from_secs(120), command.output())
        .await
        .unwrap_or_else(|_| panic!("{script} {mode} does not end"))
        .unwrap_or_else(|why| panic!("{script}: {why}; run tests/install-tools.sh"));
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{script} {mode}: {said}{complained}{}", hint(&complained));
    serde_json::from_str(&said).unwrap_or_else(|why| panic!("{script} {mode}: {why}: {said}"))
}

/// An exchange whose clock stands, so that it gives the same answers twice, and a gateway before it with some keys
/// configured in every region.
///
/// Clients sign with their own clock, which may be a minute behind the exchange's and not ahead.
async fn still_exchange_and_gateway(keys: &[(&str, &str)]) -> (Exchange, Running) {
    let exchange = Exchange::start().await;
    exchange.sim.set_clock(ClockMode::Frozen(lastgood::Clock::system().now().as_millis() + 50_000));
    let mut flags = Vec::new();
    for region in REGION_NAMES {
        flags.extend(keys.iter().map(|(key, value)| (format!("regions.{region}.{key}"), *value)));
    }
    let flags: Vec<(&str, &str)> = flags.iter().map(|(key, value)| (key.as_str(), *value)).collect();
    let gateway = Running::start(&exchange.url(), &flags).await;
    (exchange, gateway)
}

/// What of the exchange's log is neither signed nor the time.
fn cacheable(exchange: &Exchange) -> Vec<String> {
    let log = exchange.sim.counters().log;
    let public = log.iter().filter(|request| !request.query.contains("signature=") && !request.path.ends_with("/time"));
    public.map(|request| format!("{} {}?{}", request.method, request.path, request.query)).collect()
}

/// The client gets from the gateway what it gets from the exchange, and the second time the exchange is asked nothing.
async fn gets_the_same_and_costs_nothing_the_second_time(script: &str) {
    let (exchange, gateway) = still_exchange_and_gateway(&[("fresh_for", "10m")]).await;
    let compared = client(script, "compare", &exchange, &gateway).await;
    exchange.sim.reset_counters();
    let again = client(script, "gateway", &exchange, &gateway).await;
    assert_eq!(again.calls, compared.calls);
    assert_eq!(cacheable(&exchange), Vec::<String>::new());
}

/// All that the client asked for before, it is given while the exchange hangs, before it gives up.
async fn is_served_while_the_exchange_hangs(script: &str) {
    let at_once_old = [("fresh_for", "1ms"), ("stale_while_revalidate", "1ms"), ("soft_timeout", "200ms")];
    let (exchange, gateway) = still_exchange_and_gateway(&at_once_old).await;
    client(script, "gateway", &exchange, &gateway).await;
    exchange.fault(serde_json::json!({"kind": "hang"}));
    let Traffic { last_good: before, .. } = gateway.traffic();
    let report = client(script, "last-good", &exchange, &gateway).await;
    assert!(report.slowest_ms() < PATIENCE_MS, "{report:?}");
    // One question of a client may be answered here (a ping) or cost several answers.
    let served = gateway.traffic().last_good - before;
    assert!(served >= report.calls / 2, "{served} last good answers: {report:?}");
}

/// As they are installed with a package for zstd, and with no header of our own.
#[tokio::test]
async fn clients_that_unpack_zstd_get_the_same_bytes_in_it() {
    let (exchange, gateway) = still_exchange_and_gateway(&[("fresh_for", "10m")]).await;
    let report = client("zstd_clients.py", "gateway", &exchange, &gateway).await;
    assert_eq!(report.calls, 20);
}

macro_rules! clients {
    ($($client:ident: $script:literal;)*) => {$(
        mod $client {
            #[tokio::test]
            async fn gets_the_same_and_costs_nothing_the_second_time() {
                super::gets_the_same_and_costs_nothing_the_second_time($script).await;
            }

            #[tokio::test]
            async fn is_served_while_the_exchange_hangs() {
                super::is_served_while_the_exchange_hangs($script).await;
            }
        }
    )*};
}

clients! {
    ccxt: "ccxt_client.py";
    python_binance: "python_binance_client.py";
    binance_connector: "binance_connector_client.py";
    binance_sdk_spot: "binance_sdk_spot_client.py";
    npm_binance_connector: "connector_client.mjs";
    npm_binance_api_node: "api_node_client.mjs";
    npm_binance: "binance_npm_client.mjs";
}
