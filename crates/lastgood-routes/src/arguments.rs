//! What a request gives for the parameters of a route.

use std::fmt;

/// The parameters of a request to a route: checked, defaulted, in the order of their declaration.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Arguments(pub Vec<(String, Argument)>);

/// The value of a parameter.
#[derive(Clone, Debug, PartialEq)]
pub enum Argument {
    /// Text.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// A number with decimals.
    Decimal(rust_decimal::Decimal),
    /// True or false.
    Boolean(bool),
    /// A day, as `2025-01-31`.
    Date(jiff::civil::Date),
    /// Declared without a default, and not given.
    Absent,
}

impl Arguments {
    /// The value of a parameter.
    pub fn get(&self, name: &str) -> Option<&Argument> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }
}

impl fmt::Display for Argument {
    /// Its one form, as keys, paths and queries have it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Argument::Text(text) => f.write_str(text),
            Argument::Integer(number) => number.fmt(f),
            Argument::Decimal(number) => number.normalize().fmt(f),
            Argument::Boolean(truth) => truth.fmt(f),
            Argument::Date(day) => day.fmt(f),
            Argument::Absent => Ok(()),
        }
    }
}
