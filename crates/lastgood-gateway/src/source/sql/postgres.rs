//! PostgreSQL.

mod bind;
mod value;

use std::fmt;
use std::str::FromStr as _;
use std::time::Duration;

use bytes::Bytes;
use lastgood::{Error, Reason};
use sqlx::postgres::{
    PgArguments, PgConnectOptions, PgConnection, PgPool, PgPoolOptions, PgRow, PgSslMode, PgStatement, PgTypeInfo,
};
use sqlx::{Arguments as _, AssertSqlSafe, Column as _, ConnectOptions as _, Connection as _, Executor as _};
use sqlx::{Row as _, SqlSafeStr as _, Statement as _, TypeInfo as _, ValueRef as _};
use tokio::time::timeout;

use self::bind::{Bound, Hints};
use self::value::Form;
use super::connection::Borrowed;
use super::rows::{Limits, Rows, distinct, to_the_end};
use super::{DatabaseOptions, Fault, ParameterType, Query, Statement, failure, total};
use crate::source::{Argument, Arguments};

/// Types that do not go together: another way of telling them may.
const MISMATCHES: [&str; 6] = ["42P18", "42P08", "42883", "42804", "42846", "42725"];
/// A prepared statement that the server no longer has, or whose tables changed.
const STALE: [&str; 2] = ["0A000", "26000"];
const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

pub(super) struct Postgres {
    pool: PgPool,
    options: PgConnectOptions,
}

impl Postgres {
    pub(super) fn open(url: &str, settings: &DatabaseOptions) -> Result<Postgres, String> {
        let options = PgConnectOptions::from_str(url).map_err(|_| {
            "the PostgreSQL URL cannot be read; write postgres://user:password@host:5432/database?sslmode=require, \
             with special characters in the password as %XX"
                .to_owned()
        })?;
        let options = checked_by_root(options)?;
        let limit = settings.statement_timeout.as_millis().max(1);
        let options = options
            .application_name("lastgood")
            .options([("statement_timeout", limit.to_string())])
            .options([("default_transaction_read_only", "on")])
            .disable_statement_logging();
        let pool = PgPoolOptions::new()
            .max_connections(settings.max_connections.max(1))
            .acquire_timeout(settings.connect_timeout)
            .connect_lazy_with(options.clone());
        Ok(Postgres { pool, options })
    }

    pub(super) async fn ask(
        &self,
        statement: &Statement,
        arguments: &Arguments,
        deadline: Duration,
    ) -> Result<Bytes, Fault> {
        let mut connection = Borrowed::new(self.pool.acquire().await?);
        let answered = timeout(deadline, answer(connection.get()?, statement, arguments)).await;
        let answered = answered.map_err(|_| failure::timed_out())?;
        // In a transaction, or with rows still to come, it is of no use to the next.
        let sound = match &answered {
            Ok(_) => true,
            Err(Fault::Driver(sqlx::Error::Database(_))) => statement.count.is_none(),
            Err(_) => false,
        };
        if sound {
            connection.give_back();
        }
        statement.finish_with(answered?)
    }

    pub(super) async fn describe(&self, statement: &Statement) -> Result<String, Fault> {
        // Not from the pool, which hides why there is no connection.
        let mut connection = self.options.connect().await?;
        let mut said = Vec::new();
        for query in statement.queries() {
            let prepared = prepare(&mut connection, query, &statement.parameters).await?;
            forms(&prepared)?;
            for (index, kind) in query.template.order.iter().zip(kinds(&prepared)) {
                let name = statement.parameters.get(*index).map_or("", |(name, _)| name);
                said.push(format!("{name} {}", kind.name().to_lowercase()));
            }
        }
        _ = connection.close().await;
        said.dedup();
        Ok(said.join(", "))
    }
}

/// Has the server's certificate checked wherever a root certificate is given, as libpq does: the driver would take any
/// with `require`.
fn checked_by_root(options: PgConnectOptions) -> Result<PgConnectOptions, String> {
    // The URL that options make shows what came from the environment, too. Not every user and host fits into one.
    let shown = options.clone().username("any").host("any").to_url_lossy();
    if !shown.query_pairs().any(|(name, _)| name == "sslrootcert") {
        return Ok(options);
    }
    match options.get_ssl_mode() {
        PgSslMode::Require => Ok(options.ssl_mode(PgSslMode::VerifyCa)),
        PgSslMode::Prefer | PgSslMode::Allow => {
            Err("`sslrootcert` is given and would not be looked at; write sslmode=verify-full beside it".to_owned())
        }
        PgSslMode::Disable | PgSslMode::VerifyCa | PgSslMode::VerifyFull => Ok(options),
    }
}

impl fmt::Display for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let database = self.options.get_database().unwrap_or_default();
        write!(f, "PostgreSQL at {}:{}/{database}", self.options.get_host(), self.options.get_port())
    }
}

/// What was answered, before it takes its shape.
type Answered = (Rows, Option<u64>);

impl Statement {
    fn finish_with(&self, (rows, total): Answered) -> Result<Bytes, Fault> {
        Ok(self.finish(rows, total)?)
    }
}

async fn answer(
    connection: &mut PgConnection,
    statement: &Statement,
    arguments: &Arguments,
) -> Result<Answered, Fault> {
    match attempt(connection, statement, arguments).await {
        Err(Fault::Driver(why)) if is_one_of(&why, &STALE) => {
            if statement.count.is_some() {
                connection.execute("ROLLBACK").await?;
            }
            connection.clear_cached_statements().await?;
            attempt(connection, statement, arguments).await
        }
        other => other,
    }
}

async fn attempt(
    connection: &mut PgConnection,
    statement: &Statement,
    arguments: &Arguments,
) -> Result<Answered, Fault> {
    let mut rows = Rows::new(statement.limits);
    let prepared = prepare(connection, &statement.rows, &statement.parameters).await?;
    let Some(count) = &statement.count else {
        run(connection, statement, &statement.rows, &prepared, arguments, &mut rows).await?;
        return Ok((rows, None));
    };
    // Before the transaction, which a failed attempt would end.
    let counting = prepare(connection, count, &statement.parameters).await?;
    connection.execute(BEGIN).await?;
    run(connection, statement, &statement.rows, &prepared, arguments, &mut rows).await?;
    let mut counted = Rows::new(Limits { rows: 1, ..statement.limits });
    run(connection, statement, count, &counting, arguments, &mut counted).await?;
    connection.execute("COMMIT").await?;
    Ok((rows, Some(total(counted)?)))
}

/// Prepares a query, or finds it prepared, with the types of its parameters told in the first way that works.
async fn prepare(
    connection: &mut PgConnection,
    query: &Query,
    parameters: &[(String, ParameterType)],
) -> Result<PgStatement, Fault> {
    let declared: Vec<_> = query.template.order.iter().filter_map(|index| parameters.get(*index)).collect();
    let known = query.known_hints();
    let mut first_failure = None;
    for index in std::iter::once(known).chain((0..Hints::ALL.len()).filter(|index| *index != known)) {
        let Some(hints) = Hints::ALL.get(index) else { continue };
        let types: Vec<PgTypeInfo> = declared.iter().map(|(_, kind)| hints.of(*kind)).collect();
        let sql = AssertSqlSafe(query.template.sql.as_str()).into_sql_str();
        match connection.prepare_with(sql, &types).await {
            Ok(prepared) => {
                for ((name, kind), wanted) in declared.iter().zip(kinds(&prepared)) {
                    bind::fits(name, *kind, wanted).map_err(Fault::Declared)?;
                }
                query.learn_hints(index);
                return Ok(prepared);
            }
            Err(why) if !declared.is_empty() && is_one_of(&why, &MISMATCHES) => {
                first_failure.get_or_insert(why);
            }
            Err(why) => return Err(why.into()),
        }
    }
    Err(first_failure.unwrap_or(sqlx::Error::RowNotFound).into())
}

fn kinds(prepared: &PgStatement) -> &[PgTypeInfo] {
    match prepared.parameters() {
        Some(sqlx::Either::Left(kinds)) => kinds,
        _ => &[],
    }
}

fn forms(prepared: &PgStatement) -> Result<Vec<Form>, Fault> {
    distinct(prepared.columns().iter().map(|column| column.name())).map_err(Fault::Declared)?;
    let forms = prepared.columns().iter().map(|column| Form::of(column.name(), column.type_info()));
    forms.collect::<Result<_, _>>().map_err(Fault::Declared)
}

async fn run(
    connection: &mut PgConnection,
    statement: &Statement,
    query: &Query,
    prepared: &PgStatement,
    arguments: &Arguments,
    rows: &mut Rows,
) -> Result<(), Fault> {
    let forms = forms(prepared)?;
    let mut bound = PgArguments::default();
    for (index, kind) in query.template.order.iter().zip(kinds(prepared)) {
        let name = statement.parameters.get(*index).map_or("", |(name, _)| name);
        let argument = arguments.get(name).unwrap_or(&Argument::Absent);
        let value = Bound::new(argument, kind).ok_or_else(|| out_of_range(name))?;
        bound.add(value).map_err(sqlx::Error::Encode)?;
    }
    to_the_end(connection.fetch_many(prepared.query_with(bound)), |row| push(rows, row, &forms)).await
}

fn out_of_range(name: &str) -> Error {
    Error::new(Reason::NotFound, format!("parameter `{name}` has a value that the database does not take"))
}

fn push(rows: &mut Rows, row: &PgRow, forms: &[Form]) -> Result<(), Fault> {
    rows.begin(row.columns().iter().map(|column| column.name()))?;
    for (index, form) in forms.iter().enumerate() {
        let value = row.try_get_raw(index)?;
        let out = rows.column(index)?;
        if value.is_null() {
            out.extend_from_slice(b"null");
            continue;
        }
        let bytes = value.as_bytes().map_err(sqlx::Error::Decode)?;
        form.push(out, bytes).map_err(|why| Fault::Declared(why.to_owned()))?;
    }
    Ok(rows.end()?)
}

fn is_one_of(why: &sqlx::Error, codes: &[&str]) -> bool {
    let sqlx::Error::Database(said) = why else { return false };
    said.code().is_some_and(|code| codes.contains(&code.as_ref()))
}
