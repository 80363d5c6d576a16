//! `lastgood explain KEY`: how old and how good a key is, and when it is loaded next.

use std::path::Path;

use comfy_table::{Table, presets};
use lastgood::Clock;
use serde_json::Value;

mod sentences;

use self::sentences::sentences;

use crate::client::{ClientArguments, segment};
use crate::output::{Failure, say, say_json};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  lastgood explain \"ticker_price:spot/api/v3/ticker/price?\"
  lastgood explain \"klines:spot/api/v3/klines:BTCUSDT:1h\"     a series of candles, span by span
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
    say(known["key"].as_str().unwrap_or(&key));
    for sentence in sentences(&known, Clock::system().now().as_millis()) {
        say(format!("  {sentence}"));
    }
    let spans = known["candles"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !spans.is_empty() {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        spans.iter().for_each(|span| add_span(&mut table, span));
        say(table.trim_fmt());
    }
    Ok(())
}

/// A stretch of a series of candles, such as `2026-11-01 00:00 to 2026-11-28 12:04  38,645 candles, confirmed`.
fn add_span(table: &mut Table, span: &Value) {
    let to = span["to"].as_u64().map_or_else(|| "now".to_owned(), |to| time(Some(to)));
    let what = match span["candles"].as_u64() {
        Some(count) if count > 0 => format!("{count} {}", span["what"].as_str().unwrap_or_default()),
        _ => span["what"].as_str().unwrap_or_default().to_owned(),
    };
    let state = match (span["confirmed"].as_bool(), span["believed_until"].as_u64()) {
        (Some(true), None) => "confirmed".to_owned(),
        (Some(true), until) => format!("confirmed, asked for again after {}", time(until)),
        (_, Some(0)) => "not believed".to_owned(),
        (_, until) => format!("answered once, asked for again after {}", time(until)),
    };
    table.add_row(["candles".to_owned(), format!("{} to {to}  {what}, {state}", time(span["from"].as_u64()))]);
}

/// A time by UTC, to the second.
pub(crate) fn time(millis: Option<u64>) -> String {
    let at = millis
        .and_then(|millis| i64::try_from(millis).ok())
        .and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok());
    at.map_or_else(|| "-".to_owned(), |at| at.strftime("%Y-%m-%d %H:%M:%S").to_string())
}
