//! Why a question is refused.

use std::error::Error;
use std::fmt;

/// So much of a refused value is shown.
const SHOWN: usize = 64;

/// A parameter that cannot be acted upon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Its name, shortened.
    pub parameter: String,
    /// What was given, shortened.
    pub value: String,
    /// What may be given.
    pub allowed: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the parameter {} is {:?}; allowed: {}", self.parameter, self.value, self.allowed)
    }
}

impl Error for Refusal {}

impl Refusal {
    /// The name and the value are the client's own texts.
    pub fn new(parameter: &str, value: &str, allowed: impl Into<String>) -> Refusal {
        let shown = |text: &str| text.chars().take(SHOWN).collect();
        Refusal { parameter: shown(parameter), value: shown(value), allowed: allowed.into() }
    }
}
