//! `lastgood warm`: loads the warm set now.

use std::path::Path;
use std::time::Duration;

use comfy_table::{Table, presets};
use serde_json::{Value, json};

use crate::client::{Client, ClientArguments};
use crate::output::{Failure, complain, say, say_json};

/// How often progress is printed.
const LOOK_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  lastgood warm                              all that warm.markets, the other keys of warm, and routes declare
  lastgood warm --symbol BTCUSDT             its candles, in each declared interval
  lastgood warm --symbol AAPL                what routes keep warm with AAPL as a parameter
  lastgood warm --region klines --dry-run    how much would be loaded, as far as memory tells
  lastgood warm --url http://cache:8090 --json

Fresh entries are skipped. Warming yields to readers: what the exchange's budget \
leaves no room for is refused, and is tried again by the next round of warm.every.

Exit code 1 if anything was refused or failed, or if nothing that is declared was meant.")]
pub(crate) struct Arguments {
    #[command(flatten)]
    client: ClientArguments,
    /// Only the candles of this symbol, declared or not, and what routes keep warm with it as a parameter
    #[arg(long, value_name = "SYMBOL")]
    symbol: Option<String>,
    /// Only what belongs to this region, such as symbols, exchange_info, ticker_24hr, klines or one of a route
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    /// Load nothing; say how much there is to load
    #[arg(long)]
    dry_run: bool,
    /// Print JSON: {matched, warmed, fresh, refused, failed, dry_run}, and {why} if anything was refused or failed, or nothing matched
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(arguments: Arguments, file: Option<&Path>) -> Result<(), Failure> {
    let Arguments { client, symbol, region, dry_run, json: as_json } = arguments;
    let client = client.client(file)?;
    let mut body = json!({ "dry_run": dry_run });
    for (name, value) in [("symbol", symbol), ("region", region)] {
        if let Some(value) = value {
            body[name] = value.into();
        }
    }
    let warmed = {
        let mut round = std::pin::pin!(client.post("/api/cache/warm", &body));
        let mut last_line = String::new();
        loop {
            tokio::select! {
                ended = &mut round => break ended?,
                () = tokio::time::sleep(LOOK_EVERY) => report(&client, &mut last_line).await,
            }
        }
    };
    if as_json {
        say_json(&warmed)?;
    } else {
        print(&warmed);
    }
    let count = |name: &str| warmed[name].as_u64().unwrap_or_default();
    let is_nothing = count("matched") == 0 && !dry_run;
    match count("refused") + count("failed") {
        0 if !is_nothing => Ok(()),
        _ => Err(Failure::silent()),
    }
}

/// Says on standard error how far the round is, if that is news.
async fn report(client: &Client, last_line: &mut String) {
    let Ok(health) = client.get("/health").await else { return };
    let warming = &health["warming"];
    let count = |name: &str| warming[name].as_u64().unwrap_or_default();
    let done = ["loaded", "fresh", "refused", "failed"].iter().map(|name| count(name)).sum::<u64>();
    let line = format!("{done} of {} done", count("of"));
    if warming["running"] == true && *last_line != line {
        complain(&line);
        *last_line = line;
    }
}

fn print(warmed: &Value) {
    let count = |name: &str| warmed[name].as_u64().unwrap_or_default();
    if count("matched") == 0 {
        let verb = if warmed["dry_run"] == true { "would be" } else { "was" };
        let why = warmed["why"].as_str().unwrap_or("nothing of it is declared");
        complain(&format!("nothing {verb} warmed: {why}"));
        return;
    }
    let loaded = if warmed["dry_run"] == true { "WOULD LOAD" } else { "LOADED" };
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["MATCHED", loaded, "FRESH ALREADY", "REFUSED", "FAILED"]);
    table.add_row(["matched", "warmed", "fresh", "refused", "failed"].map(|name| count(name).to_string()));
    say(table.trim_fmt());
    if let Some(why) = warmed["why"].as_str() {
        say(format!("not loaded: {why}"));
    }
}
