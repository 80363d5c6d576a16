//! The `lastgood` command.

mod check;
mod clear;
mod client;
mod completions;
mod config;
mod credentials;
mod demo;
mod expire;
mod explain;
mod flush;
mod get;
mod init;
mod invalidation;
mod keys;
mod migrate;
mod output;
mod reload;
mod remove;
mod serve;
mod settings;
mod shutdown;
mod sim;
mod stats;
mod warm;
mod words;

use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use output::Failure;

/// The market-data cache that stays up.
#[derive(Debug, Parser)]
#[command(
    name = "lastgood",
    version,
    arg_required_else_help = true,
    after_help = "\
Examples:
  lastgood demo                         see it work, offline
  lastgood serve                        the gateway on 127.0.0.1:8090
  lastgood init                         writes a small configuration that works
  lastgood check                        the problems, and how to fix them

Every verb that asks a gateway asks the one that --url or LASTGOOD_URL names, else the one that the configuration has \
listen: --config, LASTGOOD_CONFIG or ./lastgood.toml, and LASTGOOD_LISTEN over it.

Exit codes: 0 done, 1 failed or not done in the store, 2 wrong usage."
)]
struct Cli {
    /// Configuration file; without it LASTGOOD_CONFIG, else ./lastgood.toml if there is one
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the gateway
    Serve(serve::Arguments),
    /// Run a simulated exchange, the gateway and sample traffic, and show what happens
    Demo(demo::Arguments),
    /// Run the simulated exchange alone
    Sim(sim::Arguments),
    /// Validate the configuration and probe the store and the upstreams
    Check(check::Arguments),
    /// Write a small configuration that works
    Init(init::Arguments),
    /// Say how a running gateway does, by region
    Stats(stats::Arguments),
    /// Print what a running gateway keeps under a key
    Get(get::Arguments),
    /// List the keys that a running gateway keeps
    Keys(keys::Arguments),
    /// Say how old and how good a key is, and when it is loaded next
    Explain(explain::Arguments),
    /// End the freshness of keys: the next read asks the source, the last good answer stands in
    Expire(expire::Arguments),
    /// Remove keys, their last good answers included
    Remove(remove::Arguments),
    /// Remove all about a symbol, a region, or everything
    Clear(clear::Arguments),
    /// Remove everything
    Flush(flush::Arguments),
    /// Load the warm set now, on a running gateway
    Warm(warm::Arguments),
    /// Copy a cache from one store to another
    Migrate(migrate::Arguments),
    /// Keep exchange API keys, encrypted
    Credentials(credentials::Arguments),
    /// Print the configuration in force, every key with its origin
    Config(config::Arguments),
    /// Print the completion script of a shell
    Completions(completions::Arguments),
}

fn main() -> ExitCode {
    // Fails only if there is a provider already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let Cli { config: file, verb } = Cli::parse();
    let done = match verb {
        Verb::Config(arguments) => config::run(&arguments, file.as_deref()),
        Verb::Credentials(arguments) => credentials::run(arguments, file),
        Verb::Completions(arguments) => {
            settings::refuse_file("completions", file.as_deref()).and_then(|()| completions::run(&arguments))
        }
        Verb::Serve(arguments) => wait(serve::run(arguments, file)),
        Verb::Demo(arguments) => {
            settings::refuse_file("demo", file.as_deref()).and_then(|()| wait(demo::run(arguments)))
        }
        Verb::Sim(arguments) => settings::refuse_file("sim", file.as_deref()).and_then(|()| wait(sim::run(arguments))),
        Verb::Init(arguments) => wait(init::run(arguments, file)),
        Verb::Stats(arguments) => wait(stats::run(arguments, file.as_deref())),
        Verb::Get(arguments) => wait(get::run(arguments, file.as_deref())),
        Verb::Keys(arguments) => wait(keys::run(arguments, file.as_deref())),
        Verb::Explain(arguments) => wait(explain::run(arguments, file.as_deref())),
        Verb::Expire(arguments) => wait(expire::run(arguments, file.as_deref())),
        Verb::Remove(arguments) => wait(remove::run(arguments, file.as_deref())),
        Verb::Clear(arguments) => wait(clear::run(arguments, file.as_deref())),
        Verb::Flush(arguments) => wait(flush::run(arguments, file.as_deref())),
        Verb::Warm(arguments) => wait(warm::run(arguments, file.as_deref())),
        Verb::Migrate(arguments) => wait(migrate::run(arguments, file.as_deref())),
        Verb::Check(arguments) => wait(check::run(arguments, file)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// The runtime looks for new events after this many tasks. With tokio's 61, thousands of busy connections overflow a worker's queue of
/// 256, and those that are pushed aside wait for many turns of the others.
const TASKS_BEFORE_EVENTS: u32 = 512;

fn wait(verb: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    // The runtime is compiled for all verbs once.
    let verb: Pin<&mut dyn Future<Output = Result<(), Failure>>> = pin!(verb);
    tokio::runtime::Builder::new_multi_thread()
        .event_interval(TASKS_BEFORE_EVENTS)
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("failed to start the runtime: {error}")))?
        .block_on(verb)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
