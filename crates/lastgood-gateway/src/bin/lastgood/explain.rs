//! `lastgood explain KEY`: how old and how good a key is, and when it is loaded next.

use std::path::Path;

use comfy_table::{Table, presets};
use serde_json::Value;

use crate::client::{ClientArguments, segment};
use crate::output::{Failure, say, say_json};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  lastgood explain \"ticker_price:spot/api/v3/ticker/price?\"
  lastgood explain \"klines:spot/api/v3/klines:BTCUSDT:1h:tail\"
  lastgood explain --json \"exchange_info:spot/api/v3/exchangeInfo?\"

fresh: served without asking. stale: served while a load refreshes it.
kept: served only when the source fails. Keys: lastgood keys.")]
pub(crate) struct Arguments {
    #[command(flatten)]
    client: ClientArguments,
    /// The key, written region:name
    #[arg(value_name = "KEY")]
    key: String,
    /// Print JSON, all times in milliseconds
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(arguments: Arguments, file: Option<&Path>) -> Result<(), Failure> {
    let Arguments { client, key, json: as_json } = arguments;
    let known = client.client(file)?.get(&format!("/api/cache/explain/{}", segment(&key))).await?;
    if as_json {
        return say_json(&known);
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    for (name, value) in known.as_object().into_iter().flatten() {
        match value {
            Value::Object(parts) => {
                parts.iter().for_each(|(part, value)| add(&mut table, &format!("{name}.{part}"), value))
            }
            value => add(&mut table, name, value),
        }
    }
    say(table.trim_fmt());
    Ok(())
}

/// What is not there is left out.
fn add(table: &mut Table, name: &str, value: &Value) {
    let shown = match value {
        Value::Null => return,
        Value::Array(items) if items.is_empty() => return,
        Value::Array(items) => items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    table.add_row([name.to_owned(), shown]);
}
