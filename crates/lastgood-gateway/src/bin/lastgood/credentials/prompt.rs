//! Reading secrets: from a pipe, or from a terminal that does not show them.

use std::io::{self, BufRead, BufReader, IsTerminal, Read, Stdin, Write};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::output::Failure;

/// No secret is longer.
const LONGEST: u64 = 64 << 10;
const END_OF_PEM: &str = "-----END PRIVATE KEY-----";

/// Reads one secret after the other from standard input.
pub(super) struct Reader {
    input: io::Take<BufReader<Stdin>>,
    terminal: bool,
}

impl Reader {
    pub(super) fn new() -> Self {
        let input = io::stdin();
        let terminal = input.is_terminal();
        Reader { input: BufReader::new(input).take(LONGEST), terminal }
    }

    /// The next line, without blanks around it.
    pub(super) fn line(&mut self, what: &str) -> Result<SecretString, Failure> {
        let quiet = self.prompt(what)?;
        let mut line = Zeroizing::new(String::with_capacity(1 << 10));
        self.read_line(what, &mut line)?;
        quiet.end();
        secret(what, &line)
    }

    /// As [`Reader::line`]; at a terminal it is asked for twice, because the user does not see the input.
    pub(super) fn new_line(&mut self, what: &str) -> Result<SecretString, Failure> {
        let first = self.line(what)?;
        if self.terminal && self.line(&format!("{what} again"))?.expose_secret() != first.expose_secret() {
            return Err(Failure::failed(format!("the two are not the same {what}\n    help: try again")));
        }
        Ok(first)
    }

    /// A private key in PEM: all lines up to the one that ends it.
    pub(super) fn pem(&mut self, what: &str) -> Result<SecretString, Failure> {
        let quiet = self.prompt(what)?;
        let mut pem = Zeroizing::new(String::with_capacity(4 << 10));
        while !pem.contains(END_OF_PEM) {
            if self.read_line(what, &mut pem)? == 0 {
                break;
            }
        }
        quiet.end();
        secret(what, &pem)
    }

    /// Everything that is piped in; at a terminal, a line.
    pub(super) fn all(&mut self, what: &str) -> Result<SecretString, Failure> {
        if self.terminal {
            return self.line(what);
        }
        let mut text = Zeroizing::new(String::with_capacity(4 << 10));
        let read = self.input.read_to_string(&mut text);
        read.map_err(|why| Failure::failed(format!("failed to read the {what}: {why}")))?;
        secret(what, &text)
    }

    fn read_line(&mut self, what: &str, line: &mut String) -> Result<usize, Failure> {
        self.input.read_line(line).map_err(|why| Failure::failed(format!("failed to read the {what}: {why}")))
    }

    /// Asks, at a terminal, and has it show nothing of the answer.
    fn prompt(&self, what: &str) -> Result<Quiet, Failure> {
        if !self.terminal {
            return Ok(Quiet(None));
        }
        let quiet = Quiet::begin().map_err(|why| {
            Failure::failed(format!("failed to keep the terminal from showing the {what}: {why}\n    help: pipe it in"))
        })?;
        let mut out = io::stderr().lock();
        let _ = write!(out, "{what} (not shown): ").and_then(|()| out.flush());
        Ok(quiet)
    }
}

fn secret(what: &str, text: &str) -> Result<SecretString, Failure> {
    match text.trim() {
        "" => Err(Failure::failed(format!(
            "no {what} was given\n    help: type it when asked, or pipe it in; see lastgood credentials add --help"
        ))),
        text => Ok(SecretString::from(text)),
    }
}

/// A terminal that hides the input, until this is dropped.
struct Quiet(Option<Termios>);

impl Quiet {
    fn begin() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        restore_on_interrupt(before.clone());
        tcsetattr(io::stdin(), OptionalActions::Flush, &silent)?;
        Ok(Quiet(Some(before)))
    }

    /// Ends it, and the line that the user's Enter did not.
    fn end(self) {
        if self.0.is_some() {
            let _ = writeln!(io::stderr().lock());
        }
    }
}

/// A user who gives up with Ctrl-C keeps a terminal that shows the input.
fn restore_on_interrupt(before: Termios) {
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        if runtime.and_then(|runtime| runtime.block_on(tokio::signal::ctrl_c())).is_ok() {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, &before);
            std::process::exit(130);
        }
    });
}

impl Drop for Quiet {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
        }
    }
}
