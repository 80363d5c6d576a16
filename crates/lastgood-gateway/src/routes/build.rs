//! Routes of their settings. Nothing here goes to a network: sources may be absent when the gateway starts.

use std::collections::BTreeMap;
use std::sync::Arc;

use lastgood::condition::Condition;
use lastgood::{Clock, Region};

use secrecy::ExposeSecret as _;

use super::error::RouteError;
use super::key::definition;
use super::parameter::{Kind, Parameter};
use super::place::place;
use super::route::{Link, Route};
use crate::config::routes::{BucketQuestion, DatabaseQuestion, RouteSetting, Rows, SourceQuestion, SourceSetting};
use crate::config::{ApiSetting, BucketSetting, DatabaseSetting, Declared, Settings, UserKeysSetting};
use crate::source::Source;
use crate::source::http::{Api, HttpSource};
use crate::source::object::bucket::{BucketOptions, Credentials};
use crate::source::object::{Bucket, ObjectOptions, ObjectTemplate, Want};
use crate::source::sql::{Database, DatabaseOptions, ParameterType, Shape, Statement, StatementOptions};

/// What the sources of all routes share: connections.
pub(super) struct Sources {
    declared: Declared,
    apis: BTreeMap<String, Arc<Api>>,
    databases: BTreeMap<String, Database>,
    buckets: BTreeMap<String, Bucket>,
    /// How each of them answers, by its name as a reader knows it: `database main`.
    conditions: BTreeMap<String, Arc<Condition>>,
}

impl Sources {
    pub(super) fn new(settings: &Settings, clock: &Clock) -> Result<Self, RouteError> {
        let declared = &settings.declared.sources;
        let api = |(name, setting): (&String, &ApiSetting)| {
            let made = Api::new(name, setting, &settings.upstream, settings.proxy.proxies());
            let made = made.map_err(|why| RouteError::Api { name: name.clone(), why })?;
            Ok::<_, RouteError>((name.clone(), made))
        };
        let database = |(name, setting): (&String, &DatabaseSetting)| {
            let options = DatabaseOptions {
                max_connections: u32::try_from(setting.max_connections).unwrap_or(u32::MAX),
                statement_timeout: setting.statement_timeout,
                connect_timeout: settings.upstream.connect_timeout,
                ..DatabaseOptions::new(name, setting.url.clone())
            };
            let opened = Database::open(options).map_err(|why| RouteError::Database { name: name.clone(), why })?;
            Ok::<_, RouteError>((name.clone(), opened))
        };
        let bucket = |(name, setting): (&String, &BucketSetting)| {
            let opened = Bucket::open(bucket_options(name, setting, settings));
            let opened = opened.map_err(|why| RouteError::Bucket { name: name.clone(), why })?;
            Ok::<_, RouteError>((name.clone(), opened))
        };
        let of = |kind: &str, name: &String| format!("{kind} {name}");
        let names = declared.databases.keys().map(|name| of("database", name));
        let names = names.chain(declared.buckets.keys().map(|name| of("bucket", name)));
        let names = names.chain(declared.apis.keys().map(|name| of("api", name)));
        let condition = |name: String| (name.clone(), Arc::new(Condition::new("source", name, clock.clone())));
        Ok(Sources {
            conditions: names.map(condition).collect(),
            declared: settings.declared.clone(),
            apis: declared.apis.iter().map(api).collect::<Result<_, _>>()?,
            databases: declared.databases.iter().map(database).collect::<Result<_, _>>()?,
            buckets: declared.buckets.iter().map(bucket).collect::<Result<_, _>>()?,
        })
    }

    pub(super) fn route(
        &self,
        setting: &RouteSetting,
        regions: &BTreeMap<String, Region>,
    ) -> Result<Route, RouteError> {
        let unknown = || RouteError::NoRegion(setting.path.to_string());
        let region = regions.get(&setting.region).ok_or_else(unknown)?.clone();
        let link = |source: &SourceSetting| {
            let made = self
                .source(&source.question, &setting.parameters)
                .map_err(|why| RouteError::Route { path: setting.path.to_string(), why: Box::new(why) });
            let place = place(&source.question, &self.declared);
            let condition = self.condition(&source.question).ok_or_else(unknown)?;
            Ok::<_, RouteError>(Link { source: made?, condition, place, next_on_missing: source.next_on_missing })
        };
        let links = setting.sources.iter().map(link).collect::<Result<_, _>>()?;
        let definition = definition(&format!("{:?}", setting.sources));
        Ok(Route { setting: setting.clone(), region, links, definition })
    }

    fn condition(&self, question: &SourceQuestion) -> Option<Arc<Condition>> {
        let name = match question {
            SourceQuestion::Api(question) => format!("api {}", question.api),
            SourceQuestion::Database(question) => format!("database {}", question.database),
            SourceQuestion::Bucket(question) => format!("bucket {}", question.bucket),
        };
        self.conditions.get(&name).cloned()
    }

    /// The conditions of all sources.
    pub(super) fn into_conditions(self) -> Vec<Arc<Condition>> {
        self.conditions.into_values().collect()
    }

    /// A question to a source, in which the parameters of its route stand.
    pub(super) fn source(
        &self,
        question: &SourceQuestion,
        parameters: &[Parameter],
    ) -> Result<Arc<dyn Source>, RouteError> {
        match question {
            SourceQuestion::Api(question) => {
                let api = self.apis.get(&question.api).ok_or_else(|| no_source("api", &question.api))?;
                Ok(Arc::new(HttpSource::new(Arc::clone(api), question.clone())?))
            }
            SourceQuestion::Database(question) => Ok(Arc::new(self.statement(question, parameters)?)),
            SourceQuestion::Bucket(question) => Ok(Arc::new(self.object(question, parameters)?)),
        }
    }

    /// The statement of `[credentials.sql]`.
    pub(super) fn user_keys(&self, settings: &Settings) -> Result<Option<Statement>, RouteError> {
        let Some(UserKeysSetting { database: name, query, .. }) = &settings.declared.user_keys else { return Ok(None) };
        let database = self.databases.get(name).ok_or_else(|| no_source("database", name))?;
        let parameters = UserKeysSetting::PARAMETERS.map(|name| (name.to_owned(), ParameterType::Text)).to_vec();
        let statement = Statement::new(database.clone(), StatementOptions::new(query, Shape::Row, parameters));
        statement.map(Some).map_err(RouteError::UserKeys)
    }

    fn statement(&self, question: &DatabaseQuestion, parameters: &[Parameter]) -> Result<Statement, RouteError> {
        let name = &question.database;
        let database = self.databases.get(name).ok_or_else(|| no_source("database", name))?;
        let shape = match (question.rows, &question.count) {
            (Rows::Row, _) => Shape::Row,
            (Rows::Page, Some(count)) => Shape::Page { count_sql: count.clone() },
            (Rows::List | Rows::Page, _) => Shape::List,
        };
        let typed = |parameter: &Parameter| (parameter.name.clone(), type_of(&parameter.kind));
        let parameters = parameters.iter().map(typed).collect();
        Ok(Statement::new(database.clone(), StatementOptions::new(&question.sql, shape, parameters))?)
    }

    fn object(&self, question: &BucketQuestion, parameters: &[Parameter]) -> Result<ObjectTemplate, RouteError> {
        let name = &question.bucket;
        let bucket = self.buckets.get(name).ok_or_else(|| no_source("bucket", name))?;
        let want = match question.list {
            true => Want::Names,
            false => Want::Document(question.select.clone()),
        };
        let parameters = parameters.iter().map(|parameter| parameter.name.clone()).collect();
        Ok(ObjectTemplate::new(bucket.clone(), ObjectOptions::new(question.object.to_string(), want, parameters))?)
    }
}

fn no_source(kind: &'static str, name: &str) -> RouteError {
    RouteError::NoSource { kind, name: name.to_owned() }
}

fn bucket_options(name: &str, setting: &BucketSetting, settings: &Settings) -> BucketOptions {
    let credentials = match (&setting.access_key, &setting.secret_key, &setting.service_account) {
        (Some(id), Some(secret), _) => {
            Credentials::AccessKey { id: id.expose_secret().to_owned(), secret: secret.clone(), session_token: None }
        }
        (_, _, Some(account)) if account.expose_secret().trim_start().starts_with('{') => {
            Credentials::ServiceAccount(account.clone())
        }
        (_, _, Some(file)) => Credentials::ServiceAccountFile(file.expose_secret().into()),
        _ => Credentials::Anonymous,
    };
    BucketOptions {
        credentials,
        region: setting.region.clone(),
        endpoint: setting.endpoint.as_ref().map(|endpoint| endpoint.as_str().to_owned()),
        connect_timeout: settings.upstream.connect_timeout,
        proxies: settings.proxy.proxies().clone(),
        ..BucketOptions::new(name, &setting.url)
    }
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
