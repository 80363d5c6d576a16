//! Why a declared route, or a source of it, cannot be made of its settings.

use std::error::Error;
use std::fmt;

use lastgood::http_client::NoTls;

use crate::source::error::SourceError;
use crate::source::object::error::ObjectError;
use crate::source::sql::error::SqlError;

/// Why the declared routes cannot be served. Displayed, it says which declaration is at fault and why.
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
            Self::Api { name, why } => write!(f, "api {name}: {why}"),
            Self::Database { name, why } => write!(f, "database {name}: {why}"),
            Self::Bucket { name, why } => write!(f, "bucket {name}: {why}"),
            Self::NoSource { kind, name } => write!(f, "there is no {kind} {name}"),
            Self::NoRegion(path) => write!(f, "route {path} names no region"),
            Self::Ambiguous(one, other) => write!(f, "{one} and {other} match the same paths"),
            Self::Question(why) => why.fmt(f),
            Self::Route { path, why } => write!(f, "route {path}: {why}"),
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
