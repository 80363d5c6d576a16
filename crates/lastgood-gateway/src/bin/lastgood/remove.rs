//! `lastgood remove`: removes keys, last good answers included.

use std::path::Path;

use crate::client::ClientArguments;
use crate::invalidation::{Selection, asks, confirmed, post};
use crate::output::Failure;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  lastgood remove --key \"ticker_price:spot/api/v3/ticker/price?\"
  lastgood remove --symbol BTCUSDT --dry-run       how many keys are about a symbol
  lastgood remove --pattern \"depth:*\"
  lastgood remove --pattern \"*\" --yes              everything, without being asked
  lastgood remove --tag pipeline --json

To keep the last good answers for bad days: lastgood expire.

Exit code 1 if the store was not reached: it lists the changes made, those waiting for the store, and unknowns.")]
pub(crate) struct Arguments {
    #[command(flatten)]
    client: ClientArguments,
    #[command(flatten)]
    selection: Selection,
    /// Do it without asking. At a terminal a region, and a pattern that takes whole regions, are asked about
    #[arg(long)]
    yes: bool,
    /// Change nothing; say how many keys are meant
    #[arg(long)]
    dry_run: bool,
    /// Print JSON: {matched, removed, dry_run}, and {pending, store, detail} where the store does not have it
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(arguments: Arguments, file: Option<&Path>) -> Result<(), Failure> {
    let Arguments { client, selection, yes, dry_run, json } = arguments;
    let (client, path) = (client.client(file)?, "/api/cache/invalidate");
    if let Some(what) = selection.if_wide().filter(|_| !dry_run && asks()) {
        let counted = selection.clone().body(true, true);
        confirmed(yes, &what, client.post(path, &counted)).await?;
    }
    post(&client, path, &selection.body(true, dry_run), json).await
}
