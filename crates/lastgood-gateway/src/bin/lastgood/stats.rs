//! `lastgood stats`: how the cache does.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::client::ClientArguments;
use crate::explain;
use crate::output::{Failure, Size, can_redraw, is_unread, say, say_bytes, say_json, size};
use crate::words::{bytes, count, within};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  lastgood stats                     by region, those that were asked or hold anything
  lastgood stats --all               every region
  lastgood stats --times             how long loads and hits take, too
  lastgood stats --watch 5s          again and again
  lastgood stats --json | jq '.regions.klines.hit_rate'

HIT % is the part of the answers that no reader waited for. Hit times are taken of one hit in 256.
The line TOTAL is of all gateways that share the store, and a few seconds old; the line SINCE also of those that are \
gone. The line STORE has what the store was sent, and what a day of it costs where commands are billed (store_price).")]
pub(crate) struct Arguments {
    #[command(flatten)]
    client: ClientArguments,
    /// Also regions that were never read
    #[arg(long)]
    all: bool,
    /// How long loads and hits take, too, by region
    #[arg(long)]
    times: bool,
    /// Print it again after each pause, such as 5s, until interrupted; a terminal is drawn over
    #[arg(long, value_name = "PAUSE", value_parser = lastgood_settings::parse_duration)]
    watch: Option<Duration>,
    /// Print JSON: {hits, misses, hit_rate, …, cluster, store, regions}
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(arguments: Arguments, file: Option<&Path>) -> Result<(), Failure> {
    let Arguments { client, all, times, watch, json: as_json } = arguments;
    let client = client.client(file)?;
    let redraws = watch.is_some() && can_redraw();
    loop {
        let stats = client.get("/api/cache/stats").await?;
        match as_json {
            true => say_json(&stats)?,
            false => print(&stats, all, times, redraws),
        }
        match watch {
            Some(pause) if !is_unread() => tokio::time::sleep(pause.max(Duration::from_millis(100))).await,
            _ => return Ok(()),
        }
    }
}

fn print(stats: &Value, all: bool, times: bool, redraws: bool) {
    let mut lines = lines(stats, all);
    if times {
        lines.push(String::new());
        lines.extend(latencies(stats));
    }
    // From the top, each line over the one before it, and nothing left below: no flicker, no scrolling.
    match redraws {
        true => say_bytes(redrawn(&lines, size()).as_bytes()),
        false => say(lines.join("\n")),
    }
}

/// As much of the lines as a terminal has room for: what was broken or scrolled would not be drawn over.
fn redrawn(lines: &[String], size: Size) -> String {
    let shown = lines.iter().take(size.height.saturating_sub(1)).map(|line| within(line, size.width));
    let shown: Vec<String> = shown.collect();
    format!("\x1b[H{}\x1b[K\n\x1b[J", shown.join("\x1b[K\n"))
}

/// A line of the table that 80 columns have room for: the region, and eight numbers.
fn row(region: &str, cells: [&str; 8]) -> String {
    let [rate, hits, stale, last_good, misses, errors, keys, size] = cells;
    format!(
        "{:<18}  {rate:>5}  {hits:>5}  {stale:>5}  {last_good:>8}  {misses:>6}  {errors:>6}  {keys:>5}  {size:>6}",
        within(region, 18)
    )
}

fn lines(stats: &Value, all: bool) -> Vec<String> {
    let number = |value: &Value| count(value.as_u64().unwrap_or_default());
    let mut lines = vec![row("REGION", ["HIT %", "HITS", "STALE", "LASTGOOD", "MISSES", "ERRORS", "KEYS", "BYTES"])];
    for (name, region) in stats["regions"].as_object().into_iter().flatten() {
        if all || is_in_use(region) {
            let hits = ["memory", "store"].map(|tier| region["hits"][tier].as_u64().unwrap_or_default());
            lines.push(row(
                name,
                [
                    &percent(&region["hit_rate"]),
                    &count(hits.iter().sum()),
                    &number(&region["stale"]),
                    &number(&region["last_good"]),
                    &number(&region["misses"]),
                    &number(&region["errors"]),
                    &number(&region["keys"]),
                    &bytes(region["memory_bytes"].as_u64().unwrap_or_default()),
                ],
            ));
        }
    }
    let sum = |counts: &Value| {
        format!(
            "{} hits, {} stale, {} last good, {} misses, {} errors",
            number(&counts["hits"]),
            number(&counts["stale"]),
            number(&counts["last_good"]),
            number(&counts["misses"]),
            number(&counts["errors"]),
        )
    };
    let total = &stats["cluster"];
    let gateways = match total["nodes"].as_u64() {
        Some(1) | None => "1 gateway".to_owned(),
        Some(many) => format!("{many} gateways"),
    };
    lines.push(format!("TOTAL  hit rate {} % of {gateways}", percent(&total["hit_rate"])));
    lines.push(format!("       {}", sum(total)));
    let lifetime = &total["lifetime"];
    if lifetime.is_object() {
        let since = explain::time(lifetime["since"].as_u64());
        lines.push(format!("SINCE {since}  hit rate {} % of all gateways ever", percent(&lifetime["hit_rate"])));
        lines.push(format!("       {}", sum(lifetime)));
    }
    let store = &stats["store"];
    if store.is_object() {
        let cost = store["cost_per_day_usd"].as_f64().map(|cost| format!(", {cost:.4} USD")).unwrap_or_default();
        let commands = number(&store["commands"]);
        lines.push(format!(
            "STORE  {commands} commands by this gateway, {} a day{cost}",
            number(&store["commands_per_day"])
        ));
    }
    lines
}

/// How long loads and hits take, by region: what the table has no room for.
fn latencies(stats: &Value) -> Vec<String> {
    let mut lines = vec![format!("{:<18}  {:>9}  {:>9}  {:>7}", "REGION", "LOAD ms", "HIT us", "REFUSED")];
    for (name, region) in stats["regions"].as_object().into_iter().flatten().filter(|(_, region)| is_in_use(region)) {
        let mean = |name: &str| region[name].as_f64().map_or_else(|| "-".to_owned(), |value| format!("{value:.1}"));
        lines.push(format!(
            "{:<18}  {:>9}  {:>9}  {:>7}",
            within(name, 18),
            mean("load_latency_ms"),
            mean("hit_latency_us"),
            count(region["refused"].as_u64().unwrap_or_default()),
        ));
    }
    lines
}

fn is_in_use(region: &Value) -> bool {
    let counts = ["misses", "stale", "last_good", "errors", "refused", "keys"].map(|name| &region[name]);
    let hits = ["memory", "store"].map(|tier| &region["hits"][tier]);
    counts.into_iter().chain(hits).any(|count| count.as_u64() > Some(0))
}

fn percent(rate: &Value) -> String {
    format!("{:.1}", rate.as_f64().unwrap_or_default() * 100.0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_small_terminal_has_no_room_for_is_left_out() {
        let lines = ["0123456789", "b", "c"].map(str::to_owned);
        let drawn = redrawn(&lines, Size { width: 5, height: 3 });
        assert_eq!(drawn, "\x1b[H0123…\x1b[K\nb\x1b[K\n\x1b[J");
    }

    #[test]
    fn the_table_fits_eighty_columns_however_much_there_is() {
        let many = u64::MAX;
        let region = json!({
            "hits": {"memory": many / 4, "store": many / 4}, "stale": many, "last_good": many, "misses": many,
            "errors": many, "refused": many, "keys": many, "memory_bytes": 1_u64 << 43, "hit_rate": 1.0,
            "load_latency_ms": 123_456.7, "hit_latency_us": 123_456.7,
        });
        let counts = json!({"nodes": 12_345, "hit_rate": 0.99, "hits": many, "stale": many, "last_good": many,
            "misses": many, "errors": many, "lifetime": {"since": 1_764_417_600_000_u64, "hit_rate": 1.0, "hits": many,
                "stale": many, "last_good": many, "misses": many, "errors": many}});
        let stats = json!({"regions": {"a_region_with_a_name_of_some_length": region}, "cluster": counts,
            "store": {"commands": many, "commands_per_day": many, "cost_per_day_usd": 12_345.678_9}});
        for line in lines(&stats, false).into_iter().chain(latencies(&stats)) {
            assert!(line.chars().count() <= 80, "{}: {line}", line.chars().count());
        }
    }
}
