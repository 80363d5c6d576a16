//! What may be declared: databases, buckets and APIs, and routes over them.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};

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

impl SourceSpecs {
    /// The name of each, as `/health` has it: `database main`.
    pub fn names(&self) -> impl Iterator<Item = String> {
        let databases = self.databases.keys().map(|name| named("database", name));
        let buckets = self.buckets.keys().map(|name| named("bucket", name));
        databases.chain(buckets).chain(self.apis.keys().map(|name| named("api", name)))
    }

    /// Whether `other` declares something else under a name, secrets included; also where only one of them declares it.
    pub fn differs(&self, other: &SourceSpecs, name: &str) -> bool {
        self.declared(name) != other.declared(name)
    }

    /// The declaration under a name, and its secrets, which the first does not show.
    fn declared(&self, name: &str) -> Option<(String, Vec<Vec<u8>>)> {
        let (kind, name) = name.split_once(' ')?;
        let text = |secret: &SecretString| secret.expose_secret().as_bytes().to_vec();
        match kind {
            "database" => self.databases.get(name).map(|spec| (format!("{spec:?}"), vec![text(&spec.url)])),
            "bucket" => self.buckets.get(name).map(|spec| {
                let secrets = match &spec.credentials {
                    Credentials::AccessKey { id, secret, session_token } => {
                        [id, secret].into_iter().chain(session_token).map(text).collect()
                    }
                    Credentials::ServiceAccount(account) => vec![text(account)],
                    Credentials::Anonymous | Credentials::ServiceAccountFile(_) => Vec::new(),
                };
                (format!("{spec:?}"), secrets)
            }),
            _ => self.apis.get(name).map(|spec| {
                let values = spec.headers.iter().map(|(_, value)| value.as_bytes().to_vec());
                (format!("{spec:?}"), values.collect())
            }),
        }
    }
}

pub(crate) fn named(kind: &str, name: &str) -> String {
    format!("{kind} {name}")
}

/// A declared route.
#[derive(Clone, Debug)]
pub struct RouteSpec {
    /// Its path.
    pub path: RoutePath,
    /// The name of the region that has its policy and keeps its answers.
    pub region: String,
    /// How long its answers are fresh, where that differs from the region's.
    pub fresh_for: Option<Duration>,
    /// Names under which its answers can be invalidated together.
    pub tags: Vec<Template>,
    /// What it answers, in words.
    pub description: Option<String>,
    /// What may be asked for.
    pub parameters: Vec<Parameter>,
    /// Whether keys hold the arguments' hash alone.
    pub hash_parameters: bool,
    /// The sources to ask in turn, until one answers.
    pub sources: Vec<SourceSpec>,
    /// The questions to warm.
    pub warm: Vec<Arguments>,
    /// How often; without it, shortly before the freshness ends.
    pub warm_every: Option<Duration>,
}

/// One source of a route.
#[derive(Clone, Debug)]
pub struct SourceSpec {
    /// The source to ask, and how.
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
            fresh_for: None,
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

impl RouteSpec {
    /// The parameters that no source is asked with: each makes keys, and none of them changes the answer.
    pub fn unused_parameters(&self) -> impl Iterator<Item = &str> {
        let names = self.parameters.iter().map(|parameter| parameter.name.as_str());
        names.filter(|name| !self.sources.iter().any(|source| source.question.uses(name)))
    }
}

impl Question {
    /// Whether it is asked with a parameter, or what of the answer is taken depends on one.
    fn uses(&self, name: &str) -> bool {
        let is_placed = |template: &Template| template.places().any(|place| place == name);
        match self {
            Question::Statement(spec) => {
                let count = match &spec.shape {
                    Shape::Page { count_sql } => count_sql.as_str(),
                    Shape::Row | Shape::List => "",
                };
                names(&spec.sql, name) || names(count, name)
            }
            Question::Object(spec) => {
                let takes = match &spec.want {
                    Want::Document(selector) => selector.take.uses(name),
                    Want::Names => false,
                };
                takes || Template::parse(&spec.key).is_ok_and(|key| is_placed(&key))
            }
            Question::Request(spec) => {
                let in_query = |value: &QueryValue| matches!(value, QueryValue::Template(text) if is_placed(text));
                is_placed(&spec.path)
                    || spec.query.iter().any(|(_, value)| in_query(value))
                    || spec.select.take.uses(name)
            }
        }
    }
}

/// Whether a statement has `:name`, and not only what begins so.
fn names(sql: &str, name: &str) -> bool {
    let continues = |c: char| c.is_alphanumeric() || c == '_';
    sql.split(':').skip(1).any(|rest| rest.strip_prefix(name).is_some_and(|after| !after.starts_with(continues)))
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
