//! Why a source cannot be made of its settings.

use std::error::Error;
use std::fmt;

use lastgood::http_client::NoTls;

use super::object::error::ObjectError;
use super::sql::error::SqlError;

/// Why a source, or a request to it, cannot be made of its settings.
#[derive(Debug)]
pub(crate) enum SourceError {
    /// A database or a statement.
    Sql(SqlError),
    /// A bucket or an object.
    Object(ObjectError),
    /// An API that no connections can be made to.
    Client(NoTls),
    /// A path of an API that does not stay below the API's URL.
    Path(String),
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sql(why) => why.fmt(f),
            Self::Object(why) => why.fmt(f),
            Self::Client(why) => why.fmt(f),
            Self::Path(path) => write!(f, "{path} is no path below the URL of its API"),
        }
    }
}

impl Error for SourceError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Sql(why) => why.source(),
            Self::Object(why) => why.source(),
            Self::Client(why) => why.source(),
            Self::Path(_) => None,
        }
    }
}

impl From<SqlError> for SourceError {
    fn from(why: SqlError) -> Self {
        Self::Sql(why)
    }
}

impl From<ObjectError> for SourceError {
    fn from(why: ObjectError) -> Self {
        Self::Object(why)
    }
}

impl From<NoTls> for SourceError {
    fn from(why: NoTls) -> Self {
        Self::Client(why)
    }
}
