//! `lastgood config`: the configuration in force.

use std::path::Path;

use comfy_table::{ContentArrangement, Table, presets};
use lastgood_settings::{Row, render_effective};

use crate::output::{Failure, is_terminal, say, say_json, size};
use crate::settings::SettingsArguments;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  lastgood config
  lastgood config --json
  REDIS_URL=redis://localhost lastgood config --set regions.klines.fresh_for=2s

Secrets are masked. Flags win over the environment, the environment over the file.")]
pub(crate) struct Arguments {
    #[command(flatten)]
    settings: SettingsArguments,
    /// Print JSON: a list of {key, value, origin}
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments, file: Option<&Path>) -> Result<(), Failure> {
    let rows = render_effective(&arguments.settings.load(file)?);
    if arguments.json {
        return say_json(&rows);
    }
    say(shown(rows, is_terminal().then(|| size().width)));
    Ok(())
}

/// The rows as a table, whose values are broken to fit a terminal of this width. In a file or a pipe they stay whole.
fn shown(rows: Vec<Row>, width: Option<usize>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["KEY", "VALUE", "ORIGIN"]);
    if let Some(width) = width {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(u16::try_from(width).unwrap_or(u16::MAX));
    }
    for row in rows {
        let value = match row.value.as_str() {
            "" => "-".to_owned(),
            // The commas of a pattern are its own.
            value if row.key.starts_with("parameters.") => value.to_owned(),
            // A policy is wider than a terminal.
            _ => row.value.replace(", ", ",").replace(',', ",\n").replace("; soft_timeout", ";\nsoft_timeout"),
        };
        table.add_row([row.key, value, row.origin]);
    }
    table.trim_fmt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_value_is_broken_for_a_terminal_and_stays_whole_in_a_file() {
        let value = "https://prices.example/".repeat(8);
        let rows =
            || vec![Row { key: "apis.prices.url".to_owned(), value: value.clone(), origin: "default".to_owned() }];
        let narrow = shown(rows(), Some(100));
        assert!(narrow.lines().count() > 2 && narrow.lines().all(|line| line.chars().count() <= 100), "{narrow}");
        assert!(shown(rows(), None).contains(&value));
    }
}
