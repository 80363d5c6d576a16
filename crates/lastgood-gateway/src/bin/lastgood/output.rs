//! What the verbs print, and how they fail.

use std::fmt::{self, Display, Formatter};
use std::io::{self, IsTerminal as _, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use lastgood_settings::Problems;
use lastgood_settings::redact::redact;
use rustix::termios::tcgetwinsize;
use serde::Serialize;

/// Why a verb did not do what it was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    code: u8,
}

impl Failure {
    /// It was asked rightly and did not succeed.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: 1 }
    }

    /// It was asked wrongly.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: 2 }
    }

    /// It has already said why.
    pub(crate) fn silent() -> Self {
        Self::failed("")
    }

    /// The same, once it was said elsewhere.
    pub(crate) fn silenced(self) -> Self {
        Self { message: String::new(), ..self }
    }

    pub(crate) fn report(&self) -> ExitCode {
        if !self.message.is_empty() {
            complain(&format!("error: {}", self.message));
        }
        ExitCode::from(self.code)
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        let message = match problems.0.len() {
            1 => problems.to_string(),
            many => format!("{many} things are wrong with the configuration\n{problems}"),
        };
        match problems.from_flags() {
            true => Self::usage(message),
            false => Self::failed(message),
        }
    }
}

/// Whether nothing more can be printed, because the reader has gone away.
static IS_UNREAD: AtomicBool = AtomicBool::new(false);

/// Prints a line. A reader that has gone away, as `head` does, is no failure.
pub(crate) fn say(line: impl Display) {
    note(writeln!(io::stdout().lock(), "{line}"));
}

fn note(printed: io::Result<()>) {
    if printed.is_err_and(|why| why.kind() == io::ErrorKind::BrokenPipe) {
        IS_UNREAD.store(true, Ordering::Relaxed);
    }
}

/// Whether the reader of the output has gone away, so that a verb that goes on and on may end.
pub(crate) fn is_unread() -> bool {
    IS_UNREAD.load(Ordering::Relaxed)
}

/// Whether standard output is a terminal that can be drawn over.
pub(crate) fn can_redraw() -> bool {
    let can_move = std::env::var_os("TERM").is_some_and(|name| !name.is_empty() && name != "dumb");
    io::stdout().is_terminal() && can_move
}

/// Whether standard output is a terminal.
pub(crate) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Columns and rows of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) width: usize,
    pub(crate) height: usize,
}

/// Of a terminal that does not say how large it is.
const USUAL: Size = Size { width: 80, height: 24 };

/// The size of the terminal that standard output is.
pub(crate) fn size() -> Size {
    let said = tcgetwinsize(io::stdout()).ok().filter(|said| said.ws_col > 0 && said.ws_row > 0);
    said.map_or(USUAL, |said| Size { width: usize::from(said.ws_col).max(20), height: usize::from(said.ws_row).max(2) })
}

/// Whether colours are wanted there as well.
pub(crate) fn can_colour() -> bool {
    can_redraw() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Prints bytes as they are.
pub(crate) fn say_bytes(bytes: &[u8]) {
    let mut out = io::stdout().lock();
    note(out.write_all(bytes).and_then(|()| out.flush()));
}

/// Prints a line for people next to the output, secrets masked.
pub(crate) fn complain(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", redact(line));
}

/// Prints a value as JSON for scripts.
pub(crate) fn say_json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Failure::failed(format!("failed to write JSON: {error}")))?;
    say(text);
    Ok(())
}
