//! `lastgood stats`: how the cache does.

use std::path::Path;
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use serde_json::Value;

use crate::client::ClientArguments;
use crate::explain;
use crate::output::{Failure, say, say_json};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  lastgood stats                     by region, those that were asked or hold anything
  lastgood stats --all               every region
  lastgood stats --watch 5s          again and again
  lastgood stats --json | jq '.regions.klines.hit_rate'

The hit rate is the part of the answers that nobody waited for. Hit times are taken of one hit in 256.
The line TOTAL is of all gateways that share the store, and a few seconds old; the line SINCE also of those that are
gone. The line STORE has what the store was sent, and what a day of it costs where commands are billed (store_price).")]
pub(crate) struct Arguments {
    #[command(flatten)]
    client: ClientArguments,
    /// Also regions that nobody has asked
    #[arg(long)]
    all: bool,
    /// Print it again after each pause, such as 5s, until interrupted
    #[arg(long, value_name = "PAUSE", value_parser = lastgood_gateway::config::parse_duration)]
    watch: Option<Duration>,
    /// Print JSON: {hits, misses, hit_rate, …, cluster, store, regions}
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(arguments: Arguments, file: Option<&Path>) -> Result<(), Failure> {
    let Arguments { client, all, watch, json: as_json } = arguments;
    let client = client.client(file)?;
    loop {
        let stats = client.get("/api/cache/stats").await?;
        match as_json {
            true => say_json(&stats)?,
            false => print(&stats, all),
        }
        match watch {
            Some(pause) => tokio::time::sleep(pause.max(Duration::from_millis(100))).await,
            None => return Ok(()),
        }
    }
}

const HEADER: [&str; 13] = [
    "REGION",
    "HIT RATE",
    "MEMORY",
    "STORE",
    "STALE",
    "LAST GOOD",
    "MISSES",
    "ERRORS",
    "REFUSED",
    "LOAD ms",
    "HIT us",
    "KEYS",
    "BYTES",
];

fn print(stats: &Value, all: bool) {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(HEADER);
    for (name, region) in stats["regions"].as_object().into_iter().flatten() {
        if all || is_in_use(region) {
            let hits = &region["hits"];
            table.add_row([
                name.clone(),
                percent(&region["hit_rate"]),
                hits["memory"].to_string(),
                hits["store"].to_string(),
                region["stale"].to_string(),
                region["last_good"].to_string(),
                region["misses"].to_string(),
                region["errors"].to_string(),
                region["refused"].to_string(),
                number(&region["load_latency_ms"]),
                number(&region["hit_latency_us"]),
                region["keys"].to_string(),
                region["memory_bytes"].to_string(),
            ]);
        }
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    say(table.trim_fmt());
    let total = &stats["cluster"];
    say(format!(
        "TOTAL  hit rate {} of {} gateway(s): {} hits, {} stale, {} last good, {} misses, {} errors",
        percent(&total["hit_rate"]),
        total["nodes"],
        total["hits"],
        total["stale"],
        total["last_good"],
        total["misses"],
        total["errors"],
    ));
    let lifetime = &total["lifetime"];
    if lifetime.is_object() {
        say(format!(
            "SINCE {}  hit rate {} of all gateways ever: {} hits, {} stale, {} last good, {} misses, {} errors",
            explain::time(lifetime["since"].as_u64()),
            percent(&lifetime["hit_rate"]),
            lifetime["hits"],
            lifetime["stale"],
            lifetime["last_good"],
            lifetime["misses"],
            lifetime["errors"],
        ));
    }
    let store = &stats["store"];
    if store.is_object() {
        let cost = store["cost_per_day_usd"].as_f64().map(|cost| format!(", {cost:.4} USD")).unwrap_or_default();
        say(format!(
            "STORE  {} commands by this gateway, {} a day{cost}",
            store["commands"], store["commands_per_day"]
        ));
    }
}

fn is_in_use(region: &Value) -> bool {
    let counts = ["misses", "stale", "last_good", "errors", "refused", "keys"].map(|name| &region[name]);
    let hits = ["memory", "store"].map(|tier| &region["hits"][tier]);
    counts.into_iter().chain(hits).any(|count| count.as_u64() > Some(0))
}

fn percent(rate: &Value) -> String {
    format!("{:.1} %", rate.as_f64().unwrap_or_default() * 100.0)
}

fn number(value: &Value) -> String {
    value.as_f64().map_or_else(|| "-".to_owned(), |value| format!("{value:.1}"))
}
