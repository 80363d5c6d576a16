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
use crate::route::{Asked, Link, Route};
use crate::source::http::{Api, HttpSource};
use crate::source::object::{Bucket, ObjectTemplate};
use crate::source::sql::{Database, ParameterType, Statement, StatementSpec};
use crate::source::{ConnectOptions, Source};
use crate::spec::{Credentials, Question, RouteSpec, SourceSpec, SourceSpecs, named};

/// The connections to the declared databases, buckets and APIs, which the routes over them share.
pub struct Connections {
    specs: SourceSpecs,
    databases: BTreeMap<String, Database>,
    buckets: BTreeMap<String, Bucket>,
    apis: BTreeMap<String, Arc<Api>>,
    /// How each of them answers, by its name as a reader knows it: `database main`.
    conditions: BTreeMap<String, Arc<Condition>>,
    clock: Clock,
}

impl Connections {
    /// Reads the declarations, and connects to nothing yet. Needs a tokio runtime around it.
    ///
    /// # Errors
    ///
    /// When a database, a bucket or an API cannot be used as declared. None of them needs to be there.
    pub fn open(specs: &SourceSpecs, connect: &ConnectOptions, clock: &Clock) -> Result<Self, RouteError> {
        let none = Connections {
            specs: SourceSpecs::default(),
            databases: BTreeMap::new(),
            buckets: BTreeMap::new(),
            apis: BTreeMap::new(),
            conditions: BTreeMap::new(),
            clock: clock.clone(),
        };
        none.open_again(specs, connect)
    }

    /// As [`Connections::open`], with the present declarations: the connections of those that have not changed are
    /// these, and credentials are read from their files again.
    ///
    /// # Errors
    ///
    /// When a database, a bucket or an API cannot be used as declared.
    pub fn open_again(&self, specs: &SourceSpecs, connect: &ConnectOptions) -> Result<Self, RouteError> {
        let is_same = |name: &str| !self.specs.differs(specs, name);
        let mut databases = BTreeMap::new();
        for (name, spec) in &specs.databases {
            if let Some(open) = self.databases.get(name).filter(|_| is_same(&named("database", name))) {
                databases.insert(name.clone(), open.clone());
                continue;
            }
            let opened = Database::open(name, spec, connect);
            let opened = opened.map_err(|why| RouteFault::Database { name: name.clone(), why })?;
            databases.insert(name.clone(), opened);
        }
        let mut buckets = BTreeMap::new();
        for (name, spec) in &specs.buckets {
            let reads_file = matches!(spec.credentials, Credentials::ServiceAccountFile(_));
            if let Some(open) = self.buckets.get(name).filter(|_| !reads_file && is_same(&named("bucket", name))) {
                buckets.insert(name.clone(), open.clone());
                continue;
            }
            let opened = Bucket::open(name, spec, connect);
            buckets.insert(name.clone(), opened.map_err(|why| RouteFault::Bucket { name: name.clone(), why })?);
        }
        let mut apis = BTreeMap::new();
        for (name, spec) in &specs.apis {
            if let Some(open) = self.apis.get(name).filter(|_| is_same(&named("api", name))) {
                apis.insert(name.clone(), Arc::clone(open));
                continue;
            }
            let made = Api::new(name, spec, connect);
            apis.insert(name.clone(), made.map_err(|why| RouteFault::Api { name: name.clone(), why })?);
        }
        let condition = |name: String| {
            let new = || Arc::new(Condition::new("source", name.clone(), self.clock.clone()));
            (name.clone(), self.conditions.get(&name).cloned().unwrap_or_else(new))
        };
        let conditions = specs.names().map(condition).collect();
        Ok(Connections { specs: specs.clone(), databases, buckets, apis, conditions, clock: self.clock.clone() })
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
            let asked = self.asked(spec, source)?;
            Ok::<_, RouteFault>(Link::new(asked, self.condition(&source.question)?, source.next_on_missing))
        };
        let links = spec.sources.iter().map(link).collect::<Result<_, _>>()?;
        let definition = definition(&format!("{:?}", spec.sources));
        Ok(Route::new(spec.clone(), region, links, definition, self.clock.clone()))
    }

    /// A source of a route, by these connections.
    pub(crate) fn asked(&self, spec: &RouteSpec, source: &SourceSpec) -> Result<Asked, RouteFault> {
        let made = self.source(&source.question, &spec.parameters);
        let made = made.map_err(|why| RouteFault::Route { path: spec.path.to_string(), why: Box::new(why) })?;
        Ok(Asked { source: made, place: place(&source.question, &self.specs).into() })
    }

    /// How the database, bucket or API of a question answers.
    fn condition(&self, question: &Question) -> Result<Arc<Condition>, RouteFault> {
        let name = match question {
            Question::Statement(spec) => named("database", &spec.database),
            Question::Object(spec) => named("bucket", &spec.bucket),
            Question::Request(spec) => named("api", &spec.api),
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

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::spec::{BucketSpec, DatabaseSpec};

    #[tokio::test]
    async fn only_what_has_changed_is_opened_again_and_files_with_credentials_are() {
        let folder = tempfile::tempdir().expect("a folder");
        let account = folder.path().join("account.json");
        let write = |key: &str| {
            let json = format!(
                r#"{{"client_email": "app", "private_key_id": "{key}", "private_key": "none", "disable_oauth": true}}"#
            );
            std::fs::write(&account, json)
        };
        write("one").expect("written");
        let specs = |database: &str| {
            let mut specs = SourceSpecs::default();
            specs.databases.insert("main".to_owned(), DatabaseSpec::new("sqlite:main.db"));
            specs.databases.insert("other".to_owned(), DatabaseSpec::new(database));
            let private = Credentials::ServiceAccountFile(PathBuf::from(&account));
            specs
                .buckets
                .insert("private".to_owned(), BucketSpec { credentials: private, ..BucketSpec::new("gs://a") });
            specs.buckets.insert("public".to_owned(), BucketSpec::new("gs://b"));
            specs
        };
        let (connect, clock) = (ConnectOptions::default(), Clock::paused_with_tokio());
        let first = Connections::open(&specs("postgres://u:one@h/db"), &connect, &clock).expect("opened");
        let second = first.open_again(&specs("postgres://u:two@h/db"), &connect).expect("opened");
        let same_database = |name: &str| first.databases[name].is_same(&second.databases[name]);
        let same_bucket = |name: &str| first.buckets[name].is_same(&second.buckets[name]);
        assert_eq!((same_database("main"), same_database("other")), (true, false));
        assert_eq!((same_bucket("public"), same_bucket("private")), (true, false));
        assert!(Arc::ptr_eq(&first.conditions["database other"], &second.conditions["database other"]));
        std::fs::write(&account, "no JSON").expect("written");
        assert!(second.open_again(&specs("postgres://u:two@h/db"), &connect).is_err());
    }
}
