//! Answers from PostgreSQL and SQLite: one reading statement, its parameters bound and never spliced, its rows as JSON.

mod connection;
pub(crate) mod error;
mod failure;
mod postgres;
mod rows;
mod sqlite;
mod template;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use lastgood::{Error, Reason};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Semaphore;
use tokio::time::timeout;

pub(crate) use self::error::StatementError;
use self::error::{AnswerError, SqlError, Which};
use self::rows::{Limits, Rows};
use self::template::{Dialect, Template};
use crate::arguments::Arguments;
use crate::source::{Answer, CheckError, ConnectOptions, Held, Loaded, Source};

/// What a server that ends a statement itself gets, before it is taken for hung.
const GRACE: Duration = Duration::from_millis(250);

/// A declared database.
#[derive(Clone, Debug)]
pub struct DatabaseSpec {
    /// `postgres://…` or `postgresql://…` with libpq's parameters (`sslmode`, `sslrootcert`, …), or `sqlite:path`. As
    /// with libpq, `sslmode` defaults to `prefer`: TLS where the server has it, with whatever certificate.
    pub url: SecretString,
    /// Defaults to 8: the cache in front leaves few questions.
    pub max_connections: usize,
    /// Defaults to 2 s. PostgreSQL ends a statement at this time itself; a server that does not is left 250 ms later.
    pub statement_timeout: Duration,
}

impl DatabaseSpec {
    /// A database with all at its default.
    pub fn new(url: impl Into<SecretString>) -> DatabaseSpec {
        DatabaseSpec { url: url.into(), max_connections: 8, statement_timeout: Duration::from_secs(2) }
    }
}

/// The connections to a database, made when they are first needed. Read-only. Clones share them.
#[derive(Clone)]
pub(crate) struct Database(Arc<Pool>);

struct Pool {
    name: String,
    driver: Driver,
    permits: Semaphore,
    statement_timeout: Duration,
    connect_timeout: Duration,
}

enum Driver {
    Postgres(Box<postgres::Postgres>),
    Sqlite(Box<sqlite::Sqlite>),
}

impl Pool {
    fn is_pooled(&self) -> bool {
        matches!(&self.driver, Driver::Postgres(driver) if driver.is_pooled())
    }
}

impl Database {
    /// Reads the URL and connects to nothing yet; `name` is what it is called in the log. Needs a tokio runtime around it.
    ///
    /// # Errors
    ///
    /// When the URL is none of a known kind. Names no part of it that may be secret.
    pub(crate) fn open(name: &str, spec: &DatabaseSpec, connect: &ConnectOptions) -> Result<Database, SqlError> {
        let url = spec.url.expose_secret();
        let scheme = url.split(':').next().unwrap_or_default();
        let driver = match scheme {
            "postgres" | "postgresql" => Driver::Postgres(Box::new(postgres::Postgres::open(url, spec, connect)?)),
            "sqlite" => Driver::Sqlite(Box::new(sqlite::Sqlite::open(url, spec, connect)?)),
            _ => {
                return Err(SqlError::UnknownKind);
            }
        };
        Ok(Database(Arc::new(Pool {
            name: name.to_owned(),
            driver,
            permits: Semaphore::new(spec.max_connections.clamp(1, 1024)),
            statement_timeout: spec.statement_timeout,
            connect_timeout: connect.connect_timeout,
        })))
    }

    /// Whether both have the same connections.
    #[cfg(test)]
    pub(crate) fn is_same(&self, other: &Database) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    fn dialect(&self) -> Dialect {
        match self.0.driver {
            Driver::Postgres(_) => Dialect::Postgres,
            Driver::Sqlite(_) => Dialect::Sqlite,
        }
    }
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.driver {
            Driver::Postgres(driver) => write!(f, "{} ({driver})", self.0.name),
            Driver::Sqlite(driver) => write!(f, "{} ({driver})", self.0.name),
        }
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Database({self})")
    }
}

/// The type that a parameter is declared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParameterType {
    /// Text.
    Text,
    /// A whole number.
    Integer,
    /// A number with decimals.
    Decimal,
    /// True or false.
    Boolean,
    /// A day.
    Date,
}

impl ParameterType {
    /// The word for it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            ParameterType::Text => "text",
            ParameterType::Integer => "integer",
            ParameterType::Decimal => "decimal",
            ParameterType::Boolean => "boolean",
            ParameterType::Date => "date",
        }
    }
}

/// What the rows of a statement become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One object. No row is no such thing; a second is an error.
    Row,
    /// An array of objects.
    List,
    /// `{"items":[…],"total":n}`, where `n` is the one number that the second statement answers, of the same moment.
    Page {
        /// It may use the same parameters, and leave some out.
        count_sql: String,
    },
}

/// A declared statement.
#[derive(Clone, Debug)]
pub struct StatementSpec {
    /// The name of the database that it is for.
    pub database: String,
    /// One statement that reads, with parameters written `:name`.
    pub sql: String,
    /// What its rows become.
    pub shape: Shape,
    /// Defaults to 10,000. More is an error, never a cut answer.
    pub max_rows: usize,
    /// Defaults to 16 MiB. More is an error, never a cut answer.
    pub max_bytes: usize,
}

impl StatementSpec {
    /// A statement with its limits at their defaults.
    pub fn new(database: impl Into<String>, sql: impl Into<String>, shape: Shape) -> Self {
        StatementSpec { database: database.into(), sql: sql.into(), shape, max_rows: 10_000, max_bytes: 16 << 20 }
    }
}

/// A statement on a database.
pub struct Statement {
    database: Database,
    rows: Query,
    count: Option<Query>,
    single: bool,
    parameters: Vec<(String, ParameterType)>,
    limits: Limits,
}

/// One statement, and what was learnt of it.
struct Query {
    template: Template,
    /// How its parameters' types are best sent, so that no connection tries in vain again.
    hints: AtomicUsize,
}

impl Query {
    fn parse(which: Which, sql: &str, dialect: Dialect, declared: &[&str]) -> Result<Query, SqlError> {
        let template = Template::parse(sql, dialect, declared).map_err(|why| SqlError::Statement { which, why })?;
        Ok(Query { template, hints: AtomicUsize::new(0) })
    }

    fn known_hints(&self) -> usize {
        self.hints.load(Ordering::Relaxed)
    }

    fn learn_hints(&self, index: usize) {
        self.hints.store(index, Ordering::Relaxed);
    }
}

/// Why a statement brought nothing.
#[derive(Debug)]
enum Fault {
    /// The database or the driver says so.
    Driver(sqlx::Error),
    /// The answer cannot be had as declared. The text is for the author of the route.
    Declared(AnswerError),
    /// Already in the cache's words.
    Plain(Error),
}

impl From<sqlx::Error> for Fault {
    fn from(why: sqlx::Error) -> Self {
        Fault::Driver(why)
    }
}

impl From<AnswerError> for Fault {
    fn from(why: AnswerError) -> Self {
        Fault::Declared(why)
    }
}

impl From<Error> for Fault {
    fn from(why: Error) -> Self {
        Fault::Plain(why)
    }
}

impl Statement {
    /// Reads a statement; the database is not asked. `parameters` are all that there may be, of which not all need be used.
    ///
    /// # Errors
    ///
    /// The problem with it, and how to fix it.
    pub(crate) fn new(
        database: Database,
        spec: &StatementSpec,
        parameters: Vec<(String, ParameterType)>,
    ) -> Result<Statement, SqlError> {
        let declared: Vec<&str> = parameters.iter().map(|(name, _)| name.as_str()).collect();
        let dialect = database.dialect();
        let rows = Query::parse(Which::Rows, &spec.sql, dialect, &declared)?;
        let count = match &spec.shape {
            Shape::Page { count_sql } => Some(Query::parse(Which::Count, count_sql, dialect, &declared)?),
            _ => None,
        };
        let single = spec.shape == Shape::Row;
        let limits = Limits { rows: if single { 1 } else { spec.max_rows }, bytes: spec.max_bytes };
        Ok(Statement { database, rows, count, single, parameters, limits })
    }

    /// What the database answers, as JSON.
    ///
    /// # Errors
    ///
    /// Why there is no answer; [`Reason::NotFound`] where one row is wanted and there is none.
    pub fn query<'a>(&'a self, arguments: &'a Arguments) -> BoxFuture<'a, Result<Bytes, Error>> {
        // Boxed here, so that the drivers are compiled with this crate alone.
        Box::pin(self.ask(arguments))
    }

    async fn ask(&self, arguments: &Arguments) -> Result<Bytes, Error> {
        let pool = &self.database.0;
        let Ok(permit) = timeout(pool.connect_timeout, pool.permits.acquire()).await else {
            return Err(Error::new(Reason::Overloaded, "all connections to the database are in use"));
        };
        let _permit = permit.map_err(|_| Error::new(Reason::Abandoned, "the database was closed"))?;
        let deadline = pool.statement_timeout + GRACE;
        let asked = match &pool.driver {
            Driver::Postgres(driver) => driver.query(self, arguments, deadline).await,
            Driver::Sqlite(driver) => driver.query(self, arguments, deadline).await,
        };
        asked.map_err(|fault| self.failure(fault))
    }

    fn failure(&self, fault: Fault) -> Error {
        match fault {
            Fault::Driver(why) => failure::of_load(&self.database.0.name, &why),
            Fault::Plain(why) => why,
            Fault::Declared(why) => {
                Error::new(Reason::Malformed, "the statement's answer is not as declared; `lastgood check` says why")
                    .with_detail(why.to_string())
            }
        }
    }

    /// Connects, prepares the statement and says what types the database gives its parameters.
    ///
    /// # Errors
    ///
    /// The problem and how to fix it.
    pub(crate) async fn describe(&self) -> Result<String, CheckError> {
        let pool = &self.database.0;
        let describing = async {
            match &pool.driver {
                Driver::Postgres(driver) => driver.describe(self).await,
                Driver::Sqlite(driver) => driver.describe(self).await,
            }
        };
        let described = timeout(pool.connect_timeout + pool.statement_timeout + GRACE, describing).await;
        let why = match described {
            Ok(Ok(said)) => return Ok(said),
            Ok(Err(Fault::Driver(why))) => StatementError::Driver(why),
            Ok(Err(Fault::Declared(why))) => StatementError::Declared(why),
            Ok(Err(Fault::Plain(why))) => StatementError::Refused(Box::new(why)),
            Err(_) if pool.is_pooled() => StatementError::PoolerLate,
            Err(_) => StatementError::Late,
        };
        Err(CheckError::Database { database: self.database.to_string(), why })
    }

    /// The queries, in the order of their use.
    fn queries(&self) -> impl Iterator<Item = &Query> {
        [Some(&self.rows), self.count.as_ref()].into_iter().flatten()
    }

    fn finish(&self, rows: Rows, total: Option<u64>) -> Result<Bytes, Error> {
        match total {
            Some(total) => Ok(rows.page(total)),
            None if self.single => rows.one(),
            None => Ok(rows.list()),
        }
    }
}

/// Reads the total out of what a counting statement answered: `{"…":12}`.
fn total(rows: Rows) -> Result<u64, Fault> {
    let wrong = || Fault::from(AnswerError::NoCount);
    let body = rows.one().map_err(|_| wrong())?;
    let row: std::collections::HashMap<String, u64> = serde_json::from_slice(&body).map_err(|_| wrong())?;
    match row.len() {
        1 => row.into_values().next().ok_or_else(wrong),
        _ => Err(wrong()),
    }
}

#[async_trait]
impl Source for Statement {
    async fn load(&self, arguments: &Arguments, _held: Option<&Held>) -> Result<Loaded, Error> {
        let body = self.ask(arguments).await?;
        Ok(Loaded::Answer(Answer {
            body,
            content_type: "application/json".to_owned(),
            validator: None,
            fresh_for: None,
        }))
    }

    async fn check(&self) -> Result<(), CheckError> {
        self.describe().await.map(drop)
    }
}

impl fmt::Display for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a statement on {}", self.database)
    }
}

impl fmt::Debug for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Statement({} on {})", self.rows.template.sql, self.database)
    }
}

#[cfg(test)]
mod tests;
