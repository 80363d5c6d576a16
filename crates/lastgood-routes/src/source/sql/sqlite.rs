//! SQLite files.

mod place;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use lastgood::{Error, Reason};
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive as _;
use sqlx::sqlite::{SqliteArguments, SqliteConnectOptions, SqliteConnection, SqliteRow};
use sqlx::{Arguments as _, AssertSqlSafe, Column as _, ConnectOptions as _, Decode, Executor as _};
use sqlx::{Row as _, SqlSafeStr as _, Statement as _, TypeInfo as _, ValueRef as _};
use tokio::time::timeout;

use self::place::{Found, Place};
use super::error::{AnswerError, SqlError};
use super::rows::{Limits, Rows, distinct, push_float, push_text, to_the_end};
use super::{DatabaseSpec, Fault, Query, Statement, failure, total};
use crate::arguments::{Argument, Arguments};
use crate::source::ConnectOptions;

/// After how many of SQLite's instructions a running statement looks whether anyone still waits for it.
const BETWEEN_LOOKS: i32 = 10_000;
/// How often the file may be replaced while it is being opened.
const MOST_OPENINGS: usize = 20;

/// A SQLite file. It is opened for each question: so the path may lead to another file at any time, and an idle gateway
/// has no lock on the file, which would keep a writer from tidying its log up.
pub(super) struct Sqlite {
    options: SqliteConnectOptions,
    place: Arc<Place>,
    connect_timeout: Duration,
}

/// Signals to the worker of a connection, once it is dropped, that no reader waits for its statement any longer.
#[derive(Default)]
struct Waiting(Arc<AtomicBool>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Sqlite {
    pub(super) fn open(url: &str, spec: &DatabaseSpec, connect: &ConnectOptions) -> Result<Sqlite, SqlError> {
        let path = url.trim_start_matches("sqlite:").trim_start_matches("//");
        if path.is_empty() || path.starts_with(":memory:") || path.contains('?') {
            return Err(SqlError::SqliteUrl);
        }
        let options = SqliteConnectOptions::new()
            .filename(path)
            .read_only(true)
            .create_if_missing(false)
            .busy_timeout(spec.statement_timeout)
            // Another program may change the tables at any time. The driver takes the columns of a statement that it
            // keeps for those of its rows, and its worker dies of a row that has more.
            .statement_cache_capacity(0)
            .disable_statement_logging();
        Ok(Sqlite { options, place: Place::new(path.into()), connect_timeout: connect.connect_timeout })
    }

    pub(super) async fn query(
        &self,
        statement: &Statement,
        arguments: &Arguments,
        deadline: Duration,
    ) -> Result<Bytes, Fault> {
        let waiting = Waiting::default();
        let answering = async {
            let mut connection = self.begin(&waiting).await?;
            let answered = read(&mut connection, statement, arguments).await?;
            // Closed before the answer is given, so that no lock of this question outlives it.
            let _ = sqlx::Connection::close(connection).await;
            Ok::<_, Fault>(answered)
        };
        let (rows, total) = timeout(deadline, answering).await.map_err(|_| failure::timed_out())??;
        Ok(statement.finish(rows, total)?)
    }

    /// A connection to the file that the path leads to now, in a transaction of its own. From here on the question stays
    /// with this file, whatever takes its path.
    async fn begin(&self, waiting: &Waiting) -> Result<SqliteConnection, Fault> {
        let mut found = self.look().await?;
        for _ in 0..MOST_OPENINGS {
            let mut connection = self.connect(found).await?;
            let left = Arc::clone(&waiting.0);
            connection.lock_handle().await?.set_progress_handler(BETWEEN_LOOKS, move || !left.load(Ordering::Relaxed));
            let begun = snapshot(&mut connection).await;
            let now = self.look().await?;
            // A log is found by its name: while the path changes hands, it may be the other file's.
            if now.file == found.file {
                begun?;
                return Ok(connection);
            }
            found = now;
        }
        Err(unreachable("the database's file is replaced faster than it can be opened").into())
    }

    async fn look(&self) -> Result<Found, Fault> {
        self.place.look().await.map_err(|why| {
            let message = match why.kind() {
                io::ErrorKind::NotFound => "the database's file is not there",
                _ => "the database's file cannot be opened",
            };
            unreachable(message).with_detail(format!("{self}: {why}")).into()
        })
    }

    async fn connect(&self, found: Found) -> Result<SqliteConnection, Fault> {
        // A file opened as immutable is read without its log.
        let options = self.options.clone().immutable(found.has_foreign_log);
        let connected = timeout(self.connect_timeout, options.connect()).await;
        connected.unwrap_or(Err(sqlx::Error::PoolTimedOut)).map_err(|why| {
            unreachable("the database's file cannot be opened").with_detail(format!("{self}: {why}")).into()
        })
    }

    pub(super) async fn describe(&self, statement: &Statement) -> Result<String, Fault> {
        let found = self.place.look().await.map_err(AnswerError::File)?;
        let options = self.options.clone().immutable(found.has_foreign_log);
        let mut connection = options.connect().await?;
        for query in statement.queries() {
            let sql = AssertSqlSafe(query.template.sql.as_str()).into_sql_str();
            let prepared = connection.prepare(sql).await?;
            distinct(prepared.columns().iter().map(|column| column.name()))?;
        }
        let used = statement.queries().flat_map(|query| &query.template.order);
        let mut said: Vec<String> = used
            .filter_map(|index| statement.parameters.get(*index))
            .map(|(name, kind)| format!("{name} {}", kind.as_str()))
            .collect();
        said.dedup();
        Ok(said.join(", "))
    }
}

fn unreachable(message: &str) -> Error {
    Error::new(Reason::Unreachable, message)
}

impl fmt::Display for Sqlite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SQLite at {}", self.place.path().display())
    }
}

/// Begins to read: from here on to the end of the transaction nothing changes.
pub(super) async fn snapshot(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    connection.execute("BEGIN").await?;
    // A connection learns of changes to the tables when it reads, and prepares by what it knows.
    connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").await.map(drop)
}

pub(super) async fn read(
    connection: &mut SqliteConnection,
    statement: &Statement,
    arguments: &Arguments,
) -> Result<(Rows, Option<u64>), Fault> {
    let mut rows = Rows::new(statement.limits);
    run(connection, statement, &statement.rows, arguments, &mut rows).await?;
    let total = match &statement.count {
        Some(count) => {
            let mut counted = Rows::new(Limits { rows: 1, ..statement.limits });
            run(connection, statement, count, arguments, &mut counted).await?;
            Some(total(counted)?)
        }
        None => None,
    };
    connection.execute("COMMIT").await?;
    Ok((rows, total))
}

async fn run(
    connection: &mut SqliteConnection,
    statement: &Statement,
    query: &Query,
    arguments: &Arguments,
    rows: &mut Rows,
) -> Result<(), Fault> {
    let sql = AssertSqlSafe(query.template.sql.as_str()).into_sql_str();
    let prepared = connection.prepare(sql).await?;
    distinct(prepared.columns().iter().map(|column| column.name()))?;
    let mut bound = SqliteArguments::default();
    for index in &query.template.order {
        let name = statement.parameters.get(*index).map_or("", |(name, _)| name);
        bind(&mut bound, arguments.get(name).unwrap_or(&Argument::Absent)).map_err(sqlx::Error::Encode)?;
    }
    to_the_end(connection.fetch_many(prepared.query_with(bound)), |row| push(rows, row)).await
}

/// SQLite has no decimals: a whole one becomes an integer, another the nearest float.
fn bind(bound: &mut SqliteArguments, argument: &Argument) -> Result<(), sqlx::error::BoxDynError> {
    match argument {
        Argument::Text(text) => bound.add(text.clone()),
        Argument::Integer(number) => bound.add(*number),
        Argument::Decimal(number) => match whole(number) {
            Some(whole) => bound.add(whole),
            None => bound.add(number.to_string().parse::<f64>()?),
        },
        Argument::Boolean(truth) => bound.add(i64::from(*truth)),
        Argument::Date(day) => bound.add(day.to_string()),
        Argument::Absent => bound.add(None::<String>),
    }
}

fn whole(number: &Decimal) -> Option<i64> {
    number.is_integer().then(|| number.to_i64()).flatten()
}

/// SQLite's values have their types, whatever the column is declared with; only booleans are known by the declaration.
fn push(rows: &mut Rows, row: &SqliteRow) -> Result<(), Fault> {
    rows.begin(row.columns().iter().map(|column| column.name()))?;
    for (index, column) in row.columns().iter().enumerate() {
        let value = row.try_get_raw(index)?;
        let out = rows.column(index)?;
        if value.is_null() {
            out.extend_from_slice(b"null");
            continue;
        }
        let boolean = column.type_info().name() == "BOOLEAN";
        let kind = value.type_info().name().to_owned();
        let decoding = sqlx::Error::Decode;
        match kind.as_str() {
            "INTEGER" => match <i64 as Decode<sqlx::Sqlite>>::decode(value).map_err(decoding)? {
                truth @ (0 | 1) if boolean => out.extend_from_slice(if truth == 1 { b"true" } else { b"false" }),
                number => out.extend_from_slice(number.to_string().as_bytes()),
            },
            "REAL" => push_float(out, <f64 as Decode<sqlx::Sqlite>>::decode(value).map_err(decoding)?),
            "TEXT" => push_text(out, <&str as Decode<sqlx::Sqlite>>::decode(value).map_err(decoding)?),
            _ => {
                return Err(AnswerError::Bytes(column.name().to_owned()).into());
            }
        }
    }
    Ok(rows.end()?)
}
