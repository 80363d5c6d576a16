//! What can be wrong with a configuration, and where it was written.

use std::collections::BTreeMap;
use std::fmt;

/// Where a setting came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// It is not set.
    Default,
    /// A line of the configuration file.
    File {
        /// The file as it was named.
        path: String,
        /// The line, counted from 1.
        line: usize,
        /// The variable that the line takes its value from.
        variable: Option<String>,
    },
    /// An environment variable.
    Env(String),
    /// A command-line flag, with its dashes.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => out.write_str("default"),
            Self::File { path, line, variable: None } => write!(out, "{path}:{line}"),
            Self::File { path, line, variable: Some(name) } => write!(out, "{path}:{line} (env {name})"),
            Self::Env(name) => write!(out, "env {name}"),
            Self::Flag(name) => write!(out, "flag {name}"),
        }
    }
}

/// Where each key that is set, or each thing that is declared, was written.
pub(crate) type Origins = BTreeMap<String, Origin>;

/// Why a value was refused, before anyone knows where it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub(crate) what: String,
    pub(crate) hint: Option<String>,
    /// Whether the value is written as a variable that is not set here.
    pub(crate) lacks_variable: bool,
}

impl Wrong {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), hint: None, lacks_variable: false }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says that it may be right where the variable is set.
    pub(crate) fn for_lack_of_a_variable(mut self) -> Self {
        self.lacks_variable = true;
        self
    }

    pub(crate) fn hint_if(mut self, hint: Option<String>) -> Self {
        self.hint = hint.or(self.hint);
        self
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.hint {
            Some(hint) => write!(out, "{}; {hint}", self.what),
            None => out.write_str(&self.what),
        }
    }
}

const LONGEST_KEY: usize = 120;
const LONGEST_MESSAGE: usize = 400;

/// One thing wrong: where, which key, what, and how to fix it.
///
/// Never holds the value of a secret key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where it was written; `None` when it concerns no single place.
    pub origin: Option<Origin>,
    /// The dotted key, when one is concerned.
    pub key: Option<String>,
    /// The problem.
    pub what: String,
    /// How to fix it.
    pub hint: Option<String>,
    /// Whether the value is written as a variable that is not set here: where it is set, nothing may be wrong.
    pub lacks_variable: bool,
}

impl Problem {
    pub(crate) fn new(origin: Option<Origin>, key: Option<&str>, wrong: Wrong) -> Self {
        // Keys and values come from whatever file was named; a message stays a few lines of plain text.
        let plain = |text: &str| -> String { text.escape_debug().take(LONGEST_KEY).collect() };
        let what = match wrong.what.char_indices().nth(LONGEST_MESSAGE) {
            Some((end, _)) => format!("{}…", &wrong.what[..end]),
            None => wrong.what,
        };
        Self { origin, key: key.map(plain), what, hint: wrong.hint, lacks_variable: wrong.lacks_variable }
    }

    /// The same on one line, for a log.
    #[must_use]
    pub fn on_one_line(&self) -> String {
        self.to_string().replace("\n    help: ", "; ")
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(origin) = &self.origin {
            write!(out, "{origin}: ")?;
        }
        if let Some(key) = &self.key {
            write!(out, "`{key}`: ")?;
        }
        out.write_str(&self.what)?;
        if let Some(hint) = &self.hint {
            write!(out, "\n    help: {hint}")?;
        }
        Ok(())
    }
}

/// Everything wrong with a configuration; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// Whether a flag of the command line is at fault, which makes it wrong usage.
    #[must_use]
    pub fn from_flags(&self) -> bool {
        self.0.iter().any(|problem| matches!(problem.origin, Some(Origin::Flag(_))))
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                out.write_str("\n")?;
            }
            write!(out, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
