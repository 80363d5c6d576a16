//! Why a declared route, or a source of it, cannot be made of its settings.

use std::error::Error;
use std::fmt;

use lastgood::http_client::NoTls;

use crate::source::error::SourceError;
use crate::source::object::error::ObjectError;
use crate::source::sql::error::SqlError;

/// Why the declared routes cannot be served. Displayed, it says which declaration is at fault, and its source why:
/// [`lastgood::error_chain`] says both.
#[derive(Debug)]
pub struct RouteError(RouteFault);

impl fmt::Display for RouteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for RouteError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

impl From<RouteFault> for RouteError {
    fn from(fault: RouteFault) -> Self {
        RouteError(fault)
    }
}

/// The problem.
#[derive(Debug)]
pub(crate) enum RouteFault {
    /// No connections can be made to an API.
    Api {
        /// As it is declared.
        name: String,
        /// Why not.
        why: NoTls,
    },
    /// A database cannot be used.
    Database {
        /// As it is declared.
        name: String,
        /// Why not.
        why: SqlError,
    },
    /// A bucket cannot be used.
    Bucket {
        /// As it is declared.
        name: String,
        /// Why not.
        why: ObjectError,
    },
    /// A route asks a source that is not declared.
    NoSource {
        /// `api`, `database` or `bucket`.
        kind: &'static str,
        /// As the route calls it.
        name: String,
    },
    /// A route names no region, or one that there is not.
    NoRegion(String),
    /// Two routes match the same paths.
    Ambiguous(String, String),
    /// The request to a source has a fault.
    Question(SourceError),
    /// A route has a fault.
    Route {
        /// Its path.
        path: String,
        /// The problem with it.
        why: Box<RouteFault>,
    },
}

impl fmt::Display for RouteFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Api { name, .. } => write!(f, "api {name}"),
            Self::Database { name, .. } => write!(f, "database {name}"),
            Self::Bucket { name, .. } => write!(f, "bucket {name}"),
            Self::NoSource { kind, name } => write!(f, "there is no {kind} {name}"),
            Self::NoRegion(path) => write!(f, "route {path} names no region"),
            Self::Ambiguous(one, other) => write!(f, "{one} and {other} match the same paths"),
            Self::Question(why) => why.fmt(f),
            Self::Route { path, .. } => write!(f, "route {path}"),
        }
    }
}

impl Error for RouteFault {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Api { why, .. } => Some(why),
            Self::Database { why, .. } => Some(why),
            Self::Bucket { why, .. } => Some(why),
            Self::Question(why) => why.source(),
            Self::Route { why, .. } => Some(&**why),
            Self::NoSource { .. } | Self::NoRegion(_) | Self::Ambiguous(..) => None,
        }
    }
}

impl From<SourceError> for RouteFault {
    fn from(why: SourceError) -> Self {
        Self::Question(why)
    }
}

impl From<SqlError> for RouteFault {
    fn from(why: SqlError) -> Self {
        Self::Question(why.into())
    }
}

impl From<ObjectError> for RouteFault {
    fn from(why: ObjectError) -> Self {
        Self::Question(why.into())
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use lastgood::error_chain;
    use lastgood_testing::says_each_part_once;

    use super::*;
    use crate::source::object::error::KeyError;
    use crate::source::sql::error::{TemplateError, Which};

    #[test]
    fn each_says_each_part_once_and_its_sources_the_rest() {
        let name = || "main".to_owned();
        let no_tls = || NoTls::Authorities(io::Error::other("no such folder"));
        let statement = |which| SqlError::Statement { which, why: TemplateError::Empty };
        let no_folder = || ObjectError::NoFolder { folder: "data".to_owned(), why: io::Error::other("gone") };
        let faults = [
            RouteFault::Api { name: name(), why: no_tls() },
            RouteFault::Database { name: name(), why: SqlError::SqliteUrl },
            RouteFault::Bucket { name: name(), why: no_folder() },
            RouteFault::NoSource { kind: "api", name: name() },
            RouteFault::NoRegion(name()),
            RouteFault::Ambiguous(name(), "other".to_owned()),
            statement(Which::Rows).into(),
            statement(Which::Count).into(),
            ObjectError::Key(KeyError::Segment).into(),
            ObjectError::Client(no_tls()).into(),
            SourceError::Client(no_tls()).into(),
            SourceError::Path("..".to_owned()).into(),
        ];
        for fault in faults {
            let why = error_chain(&fault);
            says_each_part_once(&fault);
            let error = RouteError(RouteFault::Route { path: "/v1/stocks".to_owned(), why: Box::new(fault) });
            says_each_part_once(&error);
            assert_eq!(
                (error.to_string().as_str(), error_chain(&error)),
                ("route /v1/stocks", format!("route /v1/stocks: {why}"))
            );
        }
        let deep = RouteFault::from(statement(Which::Rows));
        assert_eq!(error_chain(&deep), "the statement: it is empty; write a SELECT");
    }
}
