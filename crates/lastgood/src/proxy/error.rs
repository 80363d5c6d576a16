//! Why a variable names no proxy.

use std::error::Error;
use std::fmt;

/// A variable that names no proxy that can be used. Never repeats its value, which may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyError {
    /// The variable.
    pub variable: &'static str,
    /// The problem with its value, as what follows the value's name in a sentence.
    pub problem: &'static str,
}

impl ProxyError {
    /// How to write the value.
    pub const HINT: &str = "write it as http://proxy.example:3128, http://user:password@proxy.example:3128 or \
        socks5://127.0.0.1:1080";
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}; {}", self.variable, self.problem, ProxyError::HINT)
    }
}

impl Error for ProxyError {}
