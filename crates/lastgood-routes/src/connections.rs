//! The connections that all routes share, and routes over them. Nothing here goes to a network: sources may be absent when
//! the process starts.

use std::collections::BTreeMap;
use std::sync::Arc;

use lastgood::condition::Condition;
use lastgood::{Clock, Region};

use crate::error::{RouteError, RouteFault};
use crate::key::definition;
use crate::parameter::{Kind, Parameter};
use crate::place::place;
use crate::route::{Link, Route};
use crate::source::http::{Api, HttpSource};
use crate::source::object::{Bucket, ObjectTemplate};
use crate::source::sql::{Database, ParameterType, Statement, StatementSpec};
use crate::source::{ConnectOptions, Source};
use crate::spec::{Question, RouteSpec, SourceSpec, SourceSpecs};

/// The connections to the declared databases, buckets and APIs, which the routes over them share.
pub struct Connections {
    specs: SourceSpecs,
    databases: BTreeMap<String, Database>,
    buckets: BTreeMap<String, Bucket>,
    apis: BTreeMap<String, Arc<Api>>,
    /// How each of them answers, by its name as a reader knows it: `database main`.
    conditions: BTreeMap<String, Arc<Condition>>,
}

impl Connections {
    /// Reads the declarations, and connects to nothing yet. Needs a tokio runtime around it.
    ///
    /// # Errors
    ///
    /// When a database, a bucket or an API cannot be used as declared. None of them needs to be there.
    pub fn open(specs: &SourceSpecs, connect: &ConnectOptions, clock: &Clock) -> Result<Self, RouteError> {
        let mut databases = BTreeMap::new();
        for (name, spec) in &specs.databases {
            let opened = Database::open(name, spec, connect);
            let opened = opened.map_err(|why| RouteFault::Database { name: name.clone(), why })?;
            databases.insert(name.clone(), opened);
        }
        let mut buckets = BTreeMap::new();
        for (name, spec) in &specs.buckets {
            let opened = Bucket::open(name, spec, connect);
            buckets.insert(name.clone(), opened.map_err(|why| RouteFault::Bucket { name: name.clone(), why })?);
        }
        let mut apis = BTreeMap::new();
        for (name, spec) in &specs.apis {
            let made = Api::new(name, spec, connect);
            apis.insert(name.clone(), made.map_err(|why| RouteFault::Api { name: name.clone(), why })?);
        }
        let names = specs.databases.keys().map(|name| format!("database {name}"));
        let names = names.chain(specs.buckets.keys().map(|name| format!("bucket {name}")));
        let names = names.chain(specs.apis.keys().map(|name| format!("api {name}")));
        let condition = |name: String| (name.clone(), Arc::new(Condition::new("source", name, clock.clone())));
        Ok(Connections { specs: specs.clone(), databases, buckets, apis, conditions: names.map(condition).collect() })
    }

    /// How each declared database, bucket and API answers, as far as it was asked.
    pub fn conditions(&self) -> impl Iterator<Item = &Arc<Condition>> {
        self.conditions.values()
    }

    /// A statement over the connections of a declared database.
    ///
    /// # Errors
    ///
    /// When there is no such database, or the statement has a fault.
    pub fn statement(
        &self,
        spec: &StatementSpec,
        parameters: Vec<(String, ParameterType)>,
    ) -> Result<Statement, RouteError> {
        Ok(self.statement_over(spec, parameters)?)
    }

    fn statement_over(
        &self,
        spec: &StatementSpec,
        parameters: Vec<(String, ParameterType)>,
    ) -> Result<Statement, RouteFault> {
        let database = self.databases.get(&spec.database).ok_or_else(|| no_source("database", &spec.database))?;
        Ok(Statement::new(database.clone(), spec, parameters)?)
    }

    pub(crate) fn route(&self, spec: &RouteSpec, regions: &BTreeMap<String, Region>) -> Result<Route, RouteFault> {
        let no_region = || RouteFault::NoRegion(spec.path.to_string());
        let region = regions.get(&spec.region).ok_or_else(no_region)?.clone();
        let link = |source: &SourceSpec| {
            let made = self.source(&source.question, &spec.parameters);
            let made = made.map_err(|why| RouteFault::Route { path: spec.path.to_string(), why: Box::new(why) })?;
            let (condition, place) = (self.condition(&source.question)?, place(&source.question, &self.specs));
            Ok::<_, RouteFault>(Link { source: made, condition, place, next_on_missing: source.next_on_missing })
        };
        let links = spec.sources.iter().map(link).collect::<Result<_, _>>()?;
        let definition = definition(&format!("{:?}", spec.sources));
        Ok(Route { spec: spec.clone(), region, links, definition })
    }

    /// How the database, bucket or API of a question answers.
    fn condition(&self, question: &Question) -> Result<Arc<Condition>, RouteFault> {
        let name = match question {
            Question::Statement(spec) => format!("database {}", spec.database),
            Question::Object(spec) => format!("bucket {}", spec.bucket),
            Question::Request(spec) => format!("api {}", spec.api),
        };
        self.conditions.get(&name).cloned().ok_or_else(|| no_source("source", &name))
    }

    /// A question to a source, in which the parameters of its route stand.
    pub(crate) fn source(&self, question: &Question, parameters: &[Parameter]) -> Result<Arc<dyn Source>, RouteFault> {
        match question {
            Question::Statement(spec) => {
                let typed = |parameter: &Parameter| (parameter.name.clone(), type_of(&parameter.kind));
                Ok(Arc::new(self.statement_over(spec, parameters.iter().map(typed).collect())?))
            }
            Question::Object(spec) => {
                let bucket = self.buckets.get(&spec.bucket).ok_or_else(|| no_source("bucket", &spec.bucket))?;
                let names: Vec<String> = parameters.iter().map(|parameter| parameter.name.clone()).collect();
                Ok(Arc::new(ObjectTemplate::new(bucket.clone(), spec, &names)?))
            }
            Question::Request(spec) => {
                let api = self.apis.get(&spec.api).ok_or_else(|| no_source("api", &spec.api))?;
                Ok(Arc::new(HttpSource::new(Arc::clone(api), spec.clone())?))
            }
        }
    }
}

fn no_source(kind: &'static str, name: &str) -> RouteFault {
    RouteFault::NoSource { kind, name: name.to_owned() }
}

fn type_of(kind: &Kind) -> ParameterType {
    match kind {
        Kind::Text { .. } | Kind::Choice(_) => ParameterType::Text,
        Kind::Integer { .. } => ParameterType::Integer,
        Kind::Decimal { .. } => ParameterType::Decimal,
        Kind::Boolean => ParameterType::Boolean,
        Kind::Date { .. } => ParameterType::Date,
    }
}
