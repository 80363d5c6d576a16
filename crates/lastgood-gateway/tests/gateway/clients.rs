//! Exchange clients from PyPI and npm, unmodified, before the gateway.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use lastgood_sim::ClockMode;
use tokio::process::Command;

use crate::support::{Exchange, Running};

/// Freshness longer than a test, so that nothing but the cache decides what is asked twice.
fn long_freshness() -> Vec<(String, &'static str)> {
    use lastgood_gateway::config::REGION_NAMES;
    REGION_NAMES.iter().map(|region| (format!("regions.{region}.fresh_for"), "10m")).collect()
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the repository")
}

/// Runs a client's script and gives back what it printed; `mode` is of tests/clients/compare.py.
async fn client(script: &str, mode: &str, exchange: &Exchange, gateway: &Running) -> Result<String, String> {
    let (root, tools) = (repository(), repository().join("target/test-tools"));
    let mut command = match script.ends_with(".py") {
        true => Command::new(tools.join("venv/bin/python")),
        false => Command::new("node"),
    };
    // Node looks for modules beside the script, so the scripts stand beside them.
    let folder = match script.ends_with(".py") {
        true => root.join("tests/clients"),
        false => beside_the_modules(&root, &tools),
    };
    command
        .arg(folder.join(script))
        .arg(mode)
        .env("SIM_URL", exchange.url())
        .env("GATEWAY_URL", format!("http://{}", gateway.address))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    if script.starts_with("python_binance") {
        command.env("PYTHONPATH", tools.join("python-binance"));
    }
    let output = command.output().await.map_err(|why| format!("{script}: {why}; run tests/install-tools.sh"))?;
    let printed = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if printed.contains("ModuleNotFoundError") || printed.contains("ERR_MODULE_NOT_FOUND") {
        return Err(format!("{printed}\nrun tests/install-tools.sh"));
    }
    output.status.success().then_some(printed.clone()).ok_or(printed)
}

fn beside_the_modules(root: &Path, tools: &Path) -> PathBuf {
    let folder = tools.join("node");
    for script in std::fs::read_dir(root.join("tests/clients")).expect("the scripts") {
        let script = script.expect("a script").path();
        if script.extension().is_some_and(|extension| extension == "mjs") {
            let name = script.file_name().expect("a name");
            // Several tests copy the same bytes at once; a rename shows each a whole file.
            let copy = folder.join(format!("{}.{}", name.display(), std::process::id()));
            std::fs::copy(&script, &copy).expect("a copy; run tests/install-tools.sh");
            std::fs::rename(copy, folder.join(name)).expect("a rename");
        }
    }
    folder
}

/// Where the exchange's clock stands: clients sign with their own, which may be a minute behind and not ahead.
fn a_little_ahead() -> u64 {
    lastgood::Clock::system().now().as_millis() + 50_000
}

/// What of the exchange's log is neither signed nor the time.
fn cacheable(exchange: &Exchange) -> Vec<String> {
    let log = exchange.sim.counters().log;
    let public = log.iter().filter(|request| !request.query.contains("signature=") && !request.path.ends_with("/time"));
    public.map(|request| format!("{} {}?{}", request.method, request.path, request.query)).collect()
}

/// The client gets from the gateway what it gets from the exchange, and the second time the exchange is asked nothing.
async fn works_and_costs_nothing_the_second_time(script: &str) {
    let exchange = Exchange::start().await;
    exchange.sim.set_clock(ClockMode::Frozen(a_little_ahead()));
    let regions = long_freshness();
    let regions: Vec<(&str, &str)> = regions.iter().map(|(key, value)| (key.as_str(), *value)).collect();
    let gateway = Running::start(&exchange.url(), &regions).await;
    client(script, "compare", &exchange, &gateway).await.unwrap_or_else(|printed| panic!("{printed}"));
    exchange.sim.reset_counters();
    client(script, "gateway", &exchange, &gateway).await.unwrap_or_else(|printed| panic!("{printed}"));
    assert_eq!(cacheable(&exchange), Vec::<String>::new());
}

macro_rules! clients {
    ($($name:ident: $script:literal;)*) => {$(
        #[tokio::test]
        async fn $name() {
            works_and_costs_nothing_the_second_time($script).await;
        }
    )*};
}

clients! {
    ccxt_gets_from_the_gateway_what_it_gets_from_the_exchange: "ccxt_client.py";
    python_binance_gets_from_the_gateway_what_it_gets_from_the_exchange: "python_binance_client.py";
    binance_connector_gets_from_the_gateway_what_it_gets_from_the_exchange: "binance_connector_client.py";
    binance_sdk_spot_gets_from_the_gateway_what_it_gets_from_the_exchange: "binance_sdk_spot_client.py";
    npm_connector_gets_from_the_gateway_what_it_gets_from_the_exchange: "connector_client.mjs";
    npm_binance_api_node_gets_from_the_gateway_what_it_gets_from_the_exchange: "api_node_client.mjs";
    npm_binance_gets_from_the_gateway_what_it_gets_from_the_exchange: "binance_npm_client.mjs";
}

#[tokio::test]
async fn a_client_that_gives_up_after_a_second_is_served_while_the_exchange_hangs() {
    let exchange = Exchange::start().await;
    exchange.sim.set_clock(ClockMode::Frozen(a_little_ahead()));
    let gateway = Running::start(&exchange.url(), &[]).await;
    client("binance_sdk_spot_client.py", "compare", &exchange, &gateway)
        .await
        .unwrap_or_else(|printed| panic!("{printed}"));
    for region in gateway.gateway.cache().regions() {
        for key in KEYS_OF_THE_SESSION {
            region.expire(key).await;
        }
    }
    exchange.fault(serde_json::json!({"kind": "hang"}));
    let served = client("binance_sdk_spot_client.py", "known", &exchange, &gateway).await;
    served.unwrap_or_else(|printed| panic!("{printed}"));
    assert!(gateway.totals().last_good > 0, "{:?}", gateway.totals());
}

/// What binance_sdk_spot_client.py asks for, as the cache knows it.
const KEYS_OF_THE_SESSION: [&str; 5] = [
    "spot/api/v3/exchangeInfo?",
    "spot/api/v3/klines?interval=1h&limit=100&symbol=BTCUSDT",
    "spot/api/v3/depth?symbol=BTCUSDT",
    "spot/api/v3/ticker/price?",
    "spot/api/v3/ticker/24hr?symbol=BTCUSDT",
];
