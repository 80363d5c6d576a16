//! `lastgood flush`: removes everything.

use std::path::Path;

use serde_json::json;

use crate::client::ClientArguments;
use crate::invalidation::{confirmed, post};
use crate::output::Failure;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  lastgood flush --dry-run        how many keys there are
  lastgood flush --yes            every key of every region, in memory and in the store

Nothing is left to stand in for an exchange that fails: lastgood expire keeps that.

Exit code 1 if the store was not reached: it lists the changes made, those waiting for the store, and unknowns.")]
pub(crate) struct Arguments {
    #[command(flatten)]
    client: ClientArguments,
    /// Do it without asking
    #[arg(long)]
    yes: bool,
    /// Change nothing; say how many keys there are
    #[arg(long)]
    dry_run: bool,
    /// Print JSON: {matched, removed, expired, dry_run}, and {pending, store, detail} where the store does not have it
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(arguments: Arguments, file: Option<&Path>) -> Result<(), Failure> {
    let Arguments { client, yes, dry_run, json: as_json } = arguments;
    let (client, path) = (client.client(file)?, "/api/cache/flush");
    confirmed(yes || dry_run, "every key", client.post(path, &json!({ "dry_run": true }))).await?;
    post(&client, path, &json!({ "confirm": !dry_run, "dry_run": dry_run }), as_json).await
}
