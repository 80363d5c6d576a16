//! `lastgood config`: the configuration in force.

use std::path::Path;

use comfy_table::{Table, presets};
use lastgood_settings::render_effective;

use crate::output::{Failure, say, say_json};
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
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["KEY", "VALUE", "ORIGIN"]);
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
    say(table.trim_fmt());
    Ok(())
}
