//! `lastgood expire`: ends the freshness of keys.

use std::path::Path;

use crate::client::ClientArguments;
use crate::invalidation::{Selection, post};
use crate::output::Failure;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  lastgood expire --symbol BTCUSDT                 ask the exchange again about a symbol, candles included
  lastgood expire --key klines:spot/api/v3/klines:BTCUSDT:1h     one series of candles, all of it
  lastgood expire --region ticker_price            a whole region
  lastgood expire --pattern \"klines:*:1h:tail\"     by pattern: * any text, ? any character, [..] one of some
  lastgood expire --tag pipeline --dry-run         how many keys have a tag in memory

The next read asks the source, and the last good answer stands in if the source fails.
To remove that, too: lastgood remove, or --hard.

Exit code 1 if the store was not reached: it lists the changes made, those waiting for the store, and unknowns.")]
pub(crate) struct Arguments {
    #[command(flatten)]
    client: ClientArguments,
    #[command(flatten)]
    selection: Selection,
    /// Remove them, as `lastgood remove` does
    #[arg(long)]
    hard: bool,
    /// Change nothing; say how many keys are meant
    #[arg(long)]
    dry_run: bool,
    /// Print JSON: {matched, expired or removed, dry_run}, and {pending, store, detail} where the store does not have it
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(arguments: Arguments, file: Option<&Path>) -> Result<(), Failure> {
    let Arguments { client, selection, hard, dry_run, json } = arguments;
    let body = selection.body(hard, dry_run);
    post(&client.client(file)?, "/api/cache/invalidate", &body, json).await
}
