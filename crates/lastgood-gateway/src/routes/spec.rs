//! What may be declared: databases, buckets and APIs, and routes over them.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::parameter::Parameter;
use super::path::RoutePath;
use super::template::Template;
use crate::source::Arguments;
use crate::source::http::{ApiSpec, RequestSpec};
use crate::source::object::ObjectSpec;
use crate::source::object::bucket::BucketSpec;
use crate::source::sql::{DatabaseSpec, StatementSpec};

/// The databases, buckets and APIs that routes may ask, by name. Nothing else is ever asked.
#[derive(Clone, Debug, Default)]
pub(crate) struct SourceSpecs {
    /// The databases.
    pub(crate) databases: BTreeMap<String, DatabaseSpec>,
    /// The buckets and folders.
    pub(crate) buckets: BTreeMap<String, BucketSpec>,
    /// The HTTP APIs.
    pub(crate) apis: BTreeMap<String, ApiSpec>,
}

/// A declared route.
#[derive(Clone, Debug)]
pub(crate) struct RouteSpec {
    /// Its path.
    pub(crate) path: RoutePath,
    /// The name of the region that has its policy and keeps its answers.
    pub(crate) region: String,
    /// Names under which its answers can be invalidated together.
    pub(crate) tags: Vec<Template>,
    /// What it answers, in words.
    pub(crate) description: Option<String>,
    /// What may be asked for.
    pub(crate) parameters: Vec<Parameter>,
    /// Whether keys hold the arguments' hash alone.
    pub(crate) hash_parameters: bool,
    /// What is asked in turn, until one answers.
    pub(crate) sources: Vec<SourceSpec>,
    /// What is loaded ahead of its readers.
    pub(crate) warm: Vec<Arguments>,
    /// How often; without it, shortly before the freshness ends.
    pub(crate) warm_every: Option<Duration>,
}

/// One source of a route.
#[derive(Clone, Debug)]
pub(crate) struct SourceSpec {
    /// What is asked, and whom.
    pub(crate) question: Question,
    /// Whether the next source is asked when this one says that there is no such thing.
    pub(crate) next_on_missing: bool,
}

/// A question to one declared database, bucket or API.
#[derive(Clone, Debug)]
pub(crate) enum Question {
    /// A statement for a database.
    Statement(StatementSpec),
    /// An object of a bucket, or the names of those in a folder.
    Object(ObjectSpec),
    /// A request to an API.
    Request(RequestSpec),
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
