//! `lastgood completions`: the completion script of a shell.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::Cli;
use crate::output::{Failure, say};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  lastgood completions bash > ~/.local/share/bash-completion/completions/lastgood
  lastgood completions zsh > ~/.zfunc/_lastgood
  lastgood completions fish > ~/.config/fish/completions/lastgood.fish")]
pub(crate) struct Arguments {
    /// The shell
    shell: Shell,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "lastgood", &mut script);
    say(String::from_utf8_lossy(&script).trim_end());
    Ok(())
}
