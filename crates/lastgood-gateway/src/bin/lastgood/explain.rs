//! `lastgood explain KEY`: how old and how good a key is, and when it is loaded next.

use std::path::Path;

use lastgood::Clock;
use serde_json::Value;

mod sentences;

use self::sentences::{by_whom, place, sentences};

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
    spans.iter().for_each(|one| say(format!("  {}", stretch(one))));
    Ok(())
}

/// A stretch of a series of candles, such as `2026-11-01 00:00:00 to 2026-11-28 12:04:59  38645 candles, confirmed, in memory,
/// from an answer of the exchange`.
fn stretch(span: &Value) -> String {
    let to = span["to"].as_u64().map_or_else(|| "now".to_owned(), |to| time(Some(to)));
    let what = match (span["what"].as_str().unwrap_or_default(), span["candles"].as_u64()) {
        ("forming", Some(count)) if count > 1 => format!("{count} candles, the last of them forming"),
        ("forming", _) => "1 candle, forming".to_owned(),
        (what, Some(1)) => format!("1 {}", what.trim_end_matches('s')),
        (what, Some(count)) if count > 0 => format!("{count} {what}"),
        (what, _) => what.to_owned(),
    };
    let state = match (span["confirmed"].as_bool(), span["believed_until"].as_u64()) {
        (Some(true), None) => "confirmed".to_owned(),
        (Some(true), until) => format!("confirmed, asked for again after {}", time(until)),
        (_, Some(0)) => "not believed".to_owned(),
        (_, until) => format!("answered once, asked for again after {}", time(until)),
    };
    let place = place(span).map(|place| format!(", {place}")).unwrap_or_default();
    format!("{} to {to}  {what}, {state}{place}{}", time(span["from"].as_u64()), by_whom(span))
}

/// A time by UTC, to the second.
pub(crate) fn time(millis: Option<u64>) -> String {
    let at = millis
        .and_then(|millis| i64::try_from(millis).ok())
        .and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok());
    at.map_or_else(|| "-".to_owned(), |at| at.strftime("%Y-%m-%d %H:%M:%S").to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn one_candle_is_one_candle() {
        let span = |candles: u64| json!({"from": 0, "to": 59_999, "what": "streamed candles", "candles": candles, "confirmed": true});
        assert_eq!(stretch(&span(1)), "1970-01-01 00:00:00 to 1970-01-01 00:00:59  1 streamed candle, confirmed");
        assert_eq!(stretch(&span(2)), "1970-01-01 00:00:00 to 1970-01-01 00:00:59  2 streamed candles, confirmed");
    }
}
