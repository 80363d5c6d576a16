//! What `expire`, `remove`, `clear` and `flush` have in common.

use std::future::Future;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use comfy_table::{Table, presets};
use serde_json::{Value, json};

use crate::client::Client;
use crate::explain::time;
use crate::output::{Failure, complain, say, say_json};
use crate::words::counted;

/// How often progress is printed.
const SAY_EVERY: Duration = Duration::from_secs(2);

/// Which keys are meant.
#[derive(Clone, Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Selection {
    /// One key, written region:name as `lastgood keys` lists it
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// All that is about a symbol
    #[arg(long, value_name = "SYMBOL")]
    symbol: Option<String>,
    /// All whose region:name matches, with *, ? and [..]
    #[arg(long, value_name = "PATTERN")]
    pattern: Option<String>,
    /// All that have this tag
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,
    /// All of a region
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
}

/// Whether there is somebody to ask.
pub(crate) fn asks() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

impl Selection {
    /// What it takes in words, if that is whole regions or more.
    pub(crate) fn if_wide(&self) -> Option<String> {
        if let Some(region) = &self.region {
            return Some(format!("every key of the region {region}"));
        }
        let pattern = self.pattern.as_ref()?;
        let names_something = |part: &str| part.chars().any(|c| !matches!(c, '*' | '?' | ':'));
        // `klines:*` names a region alone, `*BTCUSDT*` keys of every region.
        let is_wide = match pattern.split_once(':') {
            Some((_, name)) => !names_something(name),
            None => !names_something(pattern),
        };
        is_wide.then(|| format!("every key that matches {pattern}"))
    }

    /// What the gateway is to be sent.
    pub(crate) fn body(self, hard: bool, dry_run: bool) -> Value {
        let mut body = json!({ "hard": hard, "dry_run": dry_run });
        let Selection { key, symbol, pattern, tag, region } = self;
        for (name, value) in [("key", key), ("symbol", symbol), ("pattern", pattern), ("tag", tag), ("region", region)]
        {
            if let Some(value) = value {
                body[name] = value.into();
            }
        }
        body
    }
}

/// Has the gateway do it, and prints what came of it.
pub(crate) async fn post(client: &Client, path: &str, body: &Value, as_json: bool) -> Result<(), Failure> {
    let done = {
        let mut work = std::pin::pin!(client.post(path, body));
        let mut waited = Duration::ZERO;
        loop {
            tokio::select! {
                done = &mut work => break done?,
                () = tokio::time::sleep(SAY_EVERY) => {
                    waited += SAY_EVERY;
                    complain(&format!("the gateway goes through its keys, {} s so far", waited.as_secs()));
                }
            }
        }
    };
    if as_json {
        say_json(&done)?;
    } else {
        print(&done);
    }
    match (done["detail"].as_str(), done["store"]["reason"].is_string()) {
        (Some(detail), true) => Err(Failure::failed(detail)),
        (Some(detail), false) => {
            complain(detail);
            Ok(())
        }
        (None, _) => Ok(()),
    }
}

fn print(done: &Value) {
    let mut header = vec!["MATCHED"];
    let mut row = vec![done["matched"].to_string()];
    for (name, title) in [("removed", "REMOVED"), ("expired", "EXPIRED")] {
        if let Some(count) = done[name].as_u64() {
            header.push(title);
            row.push(count.to_string());
        }
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header).add_row(row);
    say(table.trim_fmt());
    for series in done["candles"].as_array().into_iter().flatten() {
        let (name, count) = (series["series"].as_str().unwrap_or_default(), series["candles"].as_u64().unwrap_or(0));
        let (from, to) = (time(series["from"].as_u64()), time(series["to"].as_u64()));
        say(format!("{name}  {count} candles from {from} to {to}"));
    }
    if done["dry_run"] == true {
        say("nothing was changed: it was a dry run");
    }
}

/// Refuses what cannot be taken back, unless it is confirmed: with `--yes`, or by the answer to a question on a terminal,
/// which says how many keys `count`, a dry run, finds.
pub(crate) async fn confirmed(
    yes: bool,
    what: &str,
    count: impl Future<Output = Result<Value, Failure>>,
) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    let warning = format!("this removes {what}, last good answers included");
    if !asks() {
        return Err(Failure::usage(format!("{warning}\n    help: add --yes to do it, or --dry-run to count")));
    }
    // A store that is away does not prevent it; if it cannot be reached at all, the end says so.
    let number = match count.await.ok().and_then(|answer| answer["matched"].as_u64()) {
        Some(keys) => counted(keys, "key"),
        None => "they cannot be counted now".to_owned(),
    };
    let question = format!("{warning} ({number}). Go on? [y/N] ");
    let answer = tokio::task::spawn_blocking(move || -> io::Result<String> {
        io::stderr().write_all(question.as_bytes())?;
        let mut answer = String::new();
        io::stdin().read_line(&mut answer)?;
        Ok(answer)
    });
    match answer.await {
        Ok(Ok(answer)) if matches!(answer.trim().to_lowercase().as_str(), "y" | "yes") => Ok(()),
        _ => Err(Failure::failed("nothing was removed: it was not confirmed")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_regions_are_wide_and_the_keys_of_a_symbol_are_not() {
        let wide = |pattern: &str| {
            let pattern = Some(pattern.to_owned());
            Selection { key: None, symbol: None, pattern, tag: None, region: None }.if_wide().is_some()
        };
        assert!(["*", "**", "*:*", "klines:*", "?*", "k*:*"].map(wide).into_iter().all(|is_wide| is_wide));
        assert!(["*BTCUSDT*", "klines:*BTC*", "depth:spot/*"].map(wide).into_iter().all(|is_wide| !is_wide));
    }
}
