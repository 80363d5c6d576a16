//! `lastgood clear`: removes all about a symbol, a region, or everything.

use std::path::Path;

use serde_json::json;

use crate::client::{ClientArguments, segment};
use crate::invalidation::{confirmed, post};
use crate::output::Failure;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  lastgood clear --symbol BTCUSDT             its candles, its prices, all tagged symbol:BTCUSDT
  lastgood clear --region klines --yes        a whole region
  lastgood clear --all --dry-run              how many keys there are
  lastgood clear --all --yes                  everything

Lists of all symbols are expired, not removed: they hold the other symbols, too.

Exit code 1 if the store was not reached: it lists the changes made, those waiting for the store, and unknowns.")]
pub(crate) struct Arguments {
    #[command(flatten)]
    client: ClientArguments,
    #[command(flatten)]
    what: What,
    /// Do it without asking
    #[arg(long)]
    yes: bool,
    /// Change nothing; say how many keys are meant
    #[arg(long)]
    dry_run: bool,
    /// Print JSON: {matched, removed, expired, dry_run}, and {pending, store, detail} where the store does not have it
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct What {
    /// All about this symbol
    #[arg(long, value_name = "SYMBOL")]
    symbol: Option<String>,
    /// All of this region
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    /// Everything
    #[arg(long)]
    all: bool,
}

pub(crate) async fn run(arguments: Arguments, file: Option<&Path>) -> Result<(), Failure> {
    let Arguments { client, what, yes, dry_run, json: as_json } = arguments;
    let client = client.client(file)?;
    let (path, body) = match what {
        What { symbol: Some(symbol), .. } => {
            (format!("/api/cache/clear/{}", segment(&symbol)), json!({ "dry_run": dry_run }))
        }
        What { region: Some(region), .. } => {
            let path = "/api/cache/invalidate";
            let body = |dry_run| json!({ "region": region, "hard": true, "dry_run": dry_run });
            let what = format!("every key of the region {region}");
            confirmed(yes || dry_run, &what, client.post(path, &body(true))).await?;
            (path.to_owned(), body(dry_run))
        }
        What { .. } => {
            let path = "/api/cache/flush";
            confirmed(yes || dry_run, "every key", client.post(path, &json!({ "dry_run": true }))).await?;
            (path.to_owned(), json!({ "confirm": !dry_run, "dry_run": dry_run }))
        }
    };
    post(&client, &path, &body, as_json).await
}
