//! The problems of a database, a statement or its answer, as they are declared.

use std::error::Error;
use std::fmt;

use super::{ParameterType, failure};

/// Why a database or a statement cannot be made of its settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SqlError {
    /// The URL is neither PostgreSQL's nor SQLite's.
    UnknownKind,
    /// The URL is PostgreSQL's, but cannot be read. It is not repeated: it may hold a password.
    PostgresUrl,
    /// A root certificate is given, but the mode of TLS would not check with it.
    UnusedRoot,
    /// The URL is SQLite's, but names no file.
    SqliteUrl,
    /// The statement has a fault.
    Statement {
        /// Which of the route's statements.
        which: Which,
        /// The problem with it.
        why: TemplateError,
    },
}

/// Which statement of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    /// The one that brings the rows.
    Rows,
    /// The one that counts all rows.
    Count,
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKind => {
                f.write_str("the URL is of no known kind; write postgres://user@host/database or sqlite:path")
            }
            Self::PostgresUrl => f.write_str(
                "the PostgreSQL URL cannot be read; write postgres://user:password@host:5432/database?sslmode=require, \
                 with special characters in the password as %XX",
            ),
            Self::UnusedRoot => {
                f.write_str("`sslrootcert` is given and would not be looked at; write sslmode=verify-full, too")
            }
            Self::SqliteUrl => f.write_str("a SQLite URL names a file, as in sqlite:data/prices.db"),
            Self::Statement { which: Which::Rows, .. } => f.write_str("the statement"),
            Self::Statement { which: Which::Count, .. } => f.write_str("the counting statement"),
        }
    }
}

impl Error for SqlError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Statement { why, .. } => Some(why),
            _ => None,
        }
    }
}

/// The problem with a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TemplateError {
    /// It has no word.
    Empty,
    /// It begins with a word that no reading statement begins with.
    DoesNotRead(String),
    /// Another statement follows.
    SeveralStatements,
    /// A parameter is none of the route's.
    Undeclared {
        /// The parameter, without its colon.
        name: String,
        /// The route's parameters.
        declared: Vec<String>,
    },
    /// A parameter is written as the driver's, beginning with this sign.
    Foreign(char),
    /// A comment does not end.
    Comment,
    /// A name that begins with a bracket does not end.
    Bracket,
    /// A text or a name in these quotes does not end.
    Quote(char),
    /// A text that begins with this tag, such as `$body$`, does not end.
    Dollar(String),
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("it is empty; write a SELECT"),
            Self::DoesNotRead(word) => write!(
                f,
                "it begins with `{word}`; only statements that read can be declared: SELECT, WITH, VALUES or TABLE"
            ),
            Self::SeveralStatements => f.write_str("it holds more than one statement; declare one route for each"),
            Self::Undeclared { name, declared } => {
                write!(f, "it uses `:{name}`, which is not declared (")?;
                match &declared[..] {
                    [] => f.write_str("the route declares no parameters")?,
                    _ => write!(f, "declared are {}", declared.join(", "))?,
                }
                f.write_str("); declare it, or write a blank behind the colon if it is no parameter")
            }
            Self::Foreign(sign) => {
                write!(f, "it uses the driver's own parameters ({sign}…); write parameters as `:name`")
            }
            Self::Comment => f.write_str("a comment does not end"),
            Self::Bracket => f.write_str("a name in brackets does not end"),
            Self::Quote(quote) => write!(f, "a text quoted with {quote} does not end"),
            Self::Dollar(tag) => write!(f, "what begins with {tag} does not end"),
        }
    }
}

impl Error for TemplateError {}

/// Why what a database answers, or wants, is not as declared.
#[derive(Debug)]
pub(crate) enum AnswerError {
    /// SQLite's file cannot be opened.
    File(std::io::Error),
    /// There is nothing to ask.
    NoStatement,
    /// The counting statement brings no count.
    NoCount,
    /// No column comes.
    NoColumns,
    /// Two columns have this name; a JSON object holds each name once.
    ColumnTwice(String),
    /// A column's values have no one form in JSON.
    NoForm {
        /// The column.
        column: String,
        /// The type of its values, as the database calls it.
        kind: String,
    },
    /// A column's value is bytes.
    Bytes(String),
    /// A value is not of its column's form.
    Value(&'static str),
    /// A parameter's values do not fit what the statement wants.
    Misfit {
        /// The parameter.
        name: String,
        /// How it is declared.
        declared: ParameterType,
        /// The type that the statement wants, as the database calls it.
        wanted: String,
    },
}

impl fmt::Display for AnswerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(why) => {
                write!(f, "its file cannot be opened: {why}; is the path right, and may this user read it?")
            }
            Self::NoStatement => f.write_str("there is no statement"),
            Self::NoCount => f.write_str("the counting statement does not answer one row with one whole number"),
            Self::NoColumns => f.write_str("it answers no columns"),
            Self::ColumnTwice(name) => write!(f, "two columns are named `{name}`; rename one with AS"),
            Self::NoForm { column, kind } => write!(
                f,
                "column `{column}` is of type {kind}, which has no one form in JSON; cast it, for example to text"
            ),
            Self::Bytes(column) => {
                write!(f, "column `{column}` holds bytes, which JSON has no form for; select hex(…) of it")
            }
            Self::Value(why) => f.write_str(why),
            Self::Misfit { name, declared, wanted } => write!(
                f,
                "parameter `{name}` is declared as {}, but the statement wants {wanted} there; declare it otherwise, \
                 or write a cast such as `:{name}::text::{wanted}`",
                declared.as_str()
            ),
        }
    }
}

impl Error for AnswerError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            // Displayed, it says what this says.
            Self::File(why) => why.source(),
            _ => None,
        }
    }
}

/// Why a database cannot do what a statement asks.
#[derive(Debug)]
pub(crate) enum StatementError {
    /// The database or its driver says so.
    Driver(sqlx::Error),
    /// What it would answer is not as declared.
    Declared(AnswerError),
    /// There is no connection for it.
    Refused(Box<lastgood::Error>),
    /// The database does not answer in time.
    Late,
    /// The pooler before the database does not answer in time.
    PoolerLate,
}

impl fmt::Display for StatementError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Driver(why) => f.write_str(&failure::of_check(why)),
            Self::Declared(why) => why.fmt(f),
            Self::Refused(why) => f.write_str(&why.message),
            Self::Late => f.write_str("it did not answer in time; is it running, and reachable from here?"),
            Self::PoolerLate => f.write_str(
                "the pooler did not answer in time; is the database behind it paused, or are all of its connections in \
                 use?",
            ),
        }
    }
}

impl Error for StatementError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            // Displayed, it says what these say.
            Self::Declared(why) => why.source(),
            Self::Refused(why) => why.source(),
            Self::Driver(_) | Self::Late | Self::PoolerLate => None,
        }
    }
}
