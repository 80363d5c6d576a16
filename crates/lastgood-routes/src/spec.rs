//! What may be declared: databases, buckets and APIs, and routes over them.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::arguments::Arguments;
use crate::parameter::Parameter;
use crate::path::RoutePath;
pub use crate::source::compute::{Expression, ExpressionError, slip};
pub use crate::source::http::{ApiSpec, Expect, Is, QueryValue, RequestSpec};
pub use crate::source::object::bucket::{BucketSpec, Credentials};
pub use crate::source::object::{ObjectSpec, Want};
pub use crate::source::selector::{Count, SelectError, Selector, Take};
pub use crate::source::sql::{DatabaseSpec, ParameterType, Shape, StatementSpec};
use crate::template::Template;

/// The databases, buckets and APIs that routes may ask, by name. Nothing else is ever asked.
#[derive(Clone, Debug, Default)]
pub struct SourceSpecs {
    /// The databases.
    pub databases: BTreeMap<String, DatabaseSpec>,
    /// The buckets and folders.
    pub buckets: BTreeMap<String, BucketSpec>,
    /// The HTTP APIs.
    pub apis: BTreeMap<String, ApiSpec>,
}

/// A declared route.
#[derive(Clone, Debug)]
pub struct RouteSpec {
    /// Its path.
    pub path: RoutePath,
    /// The name of the region that has its policy and keeps its answers.
    pub region: String,
    /// Names under which its answers can be invalidated together.
    pub tags: Vec<Template>,
    /// What it answers, in words.
    pub description: Option<String>,
    /// What may be asked for.
    pub parameters: Vec<Parameter>,
    /// Whether keys hold the arguments' hash alone.
    pub hash_parameters: bool,
    /// What is asked in turn, until one answers.
    pub sources: Vec<SourceSpec>,
    /// What is loaded ahead of its readers.
    pub warm: Vec<Arguments>,
    /// How often; without it, shortly before the freshness ends.
    pub warm_every: Option<Duration>,
}

/// One source of a route.
#[derive(Clone, Debug)]
pub struct SourceSpec {
    /// What is asked, and whom.
    pub question: Question,
    /// Whether the next source is asked when this one says that there is no such thing.
    pub next_on_missing: bool,
}

/// A question to one declared database, bucket or API.
#[derive(Clone, Debug)]
pub enum Question {
    /// A statement for a database.
    Statement(StatementSpec),
    /// An object of a bucket, or the names of those in a folder.
    Object(ObjectSpec),
    /// A request to an API.
    Request(RequestSpec),
}

impl RouteSpec {
    /// A route without parameters and sources, in this region.
    pub fn new(path: RoutePath, region: impl Into<String>) -> RouteSpec {
        RouteSpec {
            path,
            region: region.into(),
            tags: Vec::new(),
            description: None,
            parameters: Vec::new(),
            hash_parameters: false,
            sources: Vec::new(),
            warm: Vec::new(),
            warm_every: None,
        }
    }
}

impl SourceSpec {
    /// A question whose answer that there is no such thing is the route's.
    pub fn new(question: Question) -> SourceSpec {
        SourceSpec { question, next_on_missing: false }
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Question::Statement(spec) => write!(f, "database {}", spec.database),
            Question::Object(spec) => write!(f, "bucket {} {}", spec.bucket, spec.key),
            Question::Request(spec) => write!(f, "api {} {}", spec.api, spec.path),
        }
    }
}
