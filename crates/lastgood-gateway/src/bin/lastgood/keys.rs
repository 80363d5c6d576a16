//! `lastgood keys`: which keys there are.

use std::path::Path;

use comfy_table::{Table, presets};
use serde_json::Value;

use crate::client::ClientArguments;
use crate::output::{Failure, complain, say, say_json};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  lastgood keys
  lastgood keys --region klines --limit 20
  lastgood keys --pattern \"*BTCUSDT*\"
  lastgood keys --symbol BTCUSDT        those that a change by --symbol would match
  lastgood keys --tag symbol:BTCUSDT    those in memory with this tag
  lastgood keys --after \"klines:spot/api/v3/klines:BTCUSDT:1h:tail\"    the next page
  lastgood keys --json

Keys of memory and the store, in order. Pattern: * any text, ? any character, [..] one of some.")]
pub(crate) struct Arguments {
    #[command(flatten)]
    client: ClientArguments,
    /// Only those whose region:name matches
    #[arg(long, value_name = "PATTERN")]
    pattern: Option<String>,
    /// Only those of this region
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    /// Only those in memory with this tag
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,
    /// Only those about this symbol
    #[arg(long, value_name = "SYMBOL")]
    symbol: Option<String>,
    /// List at most this many
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    /// Only those after this key
    #[arg(long, value_name = "KEY")]
    after: Option<String>,
    /// Print JSON: {keys: [{key, region, tier}], next, complete}
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(arguments: Arguments, file: Option<&Path>) -> Result<(), Failure> {
    let Arguments { client, pattern, region, tag, symbol, limit, after, json: as_json } = arguments;
    let by_tag = tag.is_some();
    let mut parameters = vec![("limit", limit.to_string())];
    let optional = [("pattern", pattern), ("region", region), ("tag", tag), ("symbol", symbol), ("after", after)];
    parameters.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value?))));
    let listed = client.client(file)?.get_with("/api/cache/keys", &parameters).await?;
    if as_json {
        return say_json(&listed);
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["TIER", "KEY"]);
    for row in listed["keys"].as_array().map(Vec::as_slice).unwrap_or_default() {
        table.add_row([&row["tier"], &row["key"]].map(|cell| cell.as_str().unwrap_or_default().to_owned()));
    }
    say(table.trim_fmt());
    if let Value::String(next) = &listed["next"] {
        complain(&format!("there are more: --after {next:?}"));
    }
    if listed["complete"] == false {
        complain(match by_tag {
            true => {
                "the store does not list keys by tag: what only it holds is missing here, and expired or removed all the same"
            }
            false => "the store was not looked through to its end; what only it holds may be missing",
        });
    }
    Ok(())
}
