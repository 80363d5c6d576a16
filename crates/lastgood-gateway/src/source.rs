//! Where the answers of declared routes come from: databases, buckets and HTTP APIs that the configuration names.

pub(crate) mod compute;
pub(crate) mod object;
mod proxy;
pub(crate) mod selector;
pub(crate) mod sql;
mod tls;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use lastgood::Error;

pub(crate) mod http;

/// One declared question to one declared source: a statement with its pool, an object with its bucket, a path with its
/// API. Made when the gateway starts; asked by the load of a route, never by a caller's task.
#[async_trait]
pub(crate) trait Source: fmt::Debug + fmt::Display + Send + Sync {
    /// Asks, with arguments that were checked already. `held` is what the last good load brought: a source that can tell
    /// that nothing changed says so instead of sending it again.
    ///
    /// # Errors
    ///
    /// Why there is no answer. The message is for a client to read: it names no address, statement or secret.
    async fn load(&self, arguments: &Arguments, held: Option<&Held>) -> Result<Loaded, Error>;

    /// Whether the source is there and can do what is declared: the statement prepares, the bucket lists, the API
    /// answers. For `lastgood check`.
    ///
    /// # Errors
    ///
    /// What is wrong, and the mend; names no secret.
    async fn check(&self) -> Result<(), String>;
}

/// What a source brought.
#[derive(Debug)]
pub(crate) enum Loaded {
    /// An answer.
    Answer(Answer),
    /// What is held is still what the source has.
    Unchanged,
}

/// An answer of a source.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Whole and of the shape that is wanted.
    pub(crate) body: Bytes,
    /// For example `application/json`.
    pub(crate) content_type: String,
    /// What tells this version from others: an entity tag or a generation, opaque to all but the source.
    pub(crate) validator: Option<String>,
    /// How long it is fresh, where the source says so itself.
    pub(crate) fresh_for: Option<Duration>,
}

/// What is kept of an earlier answer.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) body: Bytes,
    pub(crate) validator: Option<String>,
}

/// The parameters of a request to a route: checked, defaulted, in the order of their declaration.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Arguments(pub(crate) Vec<(String, Argument)>);

/// The value of a parameter.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Argument {
    Text(String),
    Integer(i64),
    Decimal(rust_decimal::Decimal),
    Boolean(bool),
    /// A day, as `2025-01-31`.
    Date(jiff::civil::Date),
    /// Declared without a default, and not given.
    Absent,
}

impl Arguments {
    /// The value of a parameter.
    pub(crate) fn get(&self, name: &str) -> Option<&Argument> {
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
