//! PostgreSQL.

mod bind;
mod connecting;
mod shared;
mod value;

use std::fmt;
use std::str::FromStr as _;
use std::sync::Arc;
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
use self::shared::Sessions;
use self::value::Form;
use super::connection::Borrowed;
use super::error::{AnswerError, SqlError};
use super::rows::{Limits, Rows, distinct, to_the_end};
use super::{DatabaseSpec, Fault, GRACE, ParameterType, Query, Statement, failure, total};
use crate::arguments::{Argument, Arguments};
use crate::source::ConnectOptions;

/// Types that do not go together: another way of sending them may.
const MISMATCHES: [&str; 6] = ["42P18", "42P08", "42883", "42804", "42846", "42725"];
/// A prepared statement that the server no longer has, or whose tables changed.
const STALE: [&str; 2] = ["0A000", "26000"];
/// A prepared statement of this name is another client's.
const TAKEN: [&str; 1] = ["42P05"];
/// Statements that come and go by another's hand: the session is not ours alone.
const FOREIGN: [&str; 2] = ["42P05", "26000"];
/// The number of statement names tried on a shared session: as many as another client of the same driver keeps.
const NAMES: usize = 100;
const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

pub(super) struct Postgres {
    pool: PgPool,
    /// For a session of our own.
    own: PgConnectOptions,
    /// For one that a pooler shares: nothing in them is refused.
    plain: PgConnectOptions,
    sessions: Arc<Sessions>,
}

impl Postgres {
    pub(super) fn open(url: &str, spec: &DatabaseSpec, connect: &ConnectOptions) -> Result<Postgres, SqlError> {
        let options = PgConnectOptions::from_str(url).map_err(|_| SqlError::PostgresUrl)?;
        let options = checked_by_root(options)?.application_name("lastgood").disable_statement_logging();
        let sessions = Arc::new(Sessions::new(spec.statement_timeout));
        let own = sessions.own(options.clone(), spec.statement_timeout);
        let plain = options.extra_float_digits(None);
        let verified = Arc::clone(&sessions);
        let pool = PgPoolOptions::new()
            .max_connections(u32::try_from(spec.max_connections.max(1)).unwrap_or(u32::MAX))
            .acquire_timeout(connect.connect_timeout)
            .after_connect(move |connection, _| {
                let sessions = Arc::clone(&verified);
                Box::pin(async move { notice(&sessions, connection).await })
            })
            .connect_lazy_with(own.clone());
        Ok(Postgres { pool, own, plain, sessions })
    }

    pub(super) async fn query(
        &self,
        statement: &Statement,
        arguments: &Arguments,
        deadline: Duration,
    ) -> Result<Bytes, Fault> {
        let pooled = self.is_pooled();
        match self.query_once(statement, arguments, deadline).await {
            Err(Fault::Driver(why)) if !pooled && is_one_of(&why, &FOREIGN) => {
                self.share();
                self.query_once(statement, arguments, deadline).await
            }
            other => other,
        }
    }

    async fn query_once(
        &self,
        statement: &Statement,
        arguments: &Arguments,
        deadline: Duration,
    ) -> Result<Bytes, Fault> {
        let mut connection = Borrowed::new(self.acquire().await?);
        let asked = async {
            let connection = connection.get()?;
            if self.is_pooled() {
                return Ok(self.sessions.answer(connection, statement, arguments).await);
            }
            let answered = answer(connection, statement, arguments).await;
            // In a transaction, or with rows still to come, it is of no use to the next.
            let sound = match &answered {
                Ok(_) => true,
                Err(Fault::Driver(sqlx::Error::Database(_))) => statement.count.is_none(),
                Err(_) => false,
            };
            Ok::<_, sqlx::Error>((answered, sound))
        };
        let (answered, sound) = timeout(deadline, asked).await.map_err(|_| failure::timed_out())??;
        if sound {
            connection.give_back();
        }
        statement.finish_with(answered?)
    }

    /// Whether the sessions are known to be shared with other clients.
    pub(super) fn is_pooled(&self) -> bool {
        self.sessions.are_shared()
    }

    fn share(&self) {
        self.pool.set_connect_options(self.plain.clone());
        share(&self.sessions);
    }

    pub(super) async fn describe(&self, statement: &Statement) -> Result<String, Fault> {
        let mut connection = self.connect().await?;
        let again = match self.sessions.are_shared() {
            true => {
                self.sessions.begin(&mut connection).await?;
                Some(self.sessions.begin_again())
            }
            false => None,
        };
        let prepared = prepare_all(&mut connection, statement, again).await;
        if again.is_some() {
            _ = timeout(GRACE, shared::end(&mut connection, "ROLLBACK")).await;
        }
        let mut said = Vec::new();
        for (query, prepared) in statement.queries().zip(prepared?) {
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

/// Looks whether a new connection has a session of its own.
async fn notice(sessions: &Sessions, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    if !sessions.are_shared() && !sessions.is_own(connection).await? {
        share(sessions);
    }
    Ok(())
}

fn share(sessions: &Sessions) {
    if sessions.share() {
        tracing::info!("a pooler is between here and the database; each question is one transaction");
    }
}

/// Has the server's certificate checked wherever a root certificate is given, as libpq does: the driver would take any
/// with `require`.
fn checked_by_root(options: PgConnectOptions) -> Result<PgConnectOptions, SqlError> {
    // The URL that options make shows what came from the environment, too. Not every user and host fits into one.
    let shown = options.clone().username("any").host("any").to_url_lossy();
    if !shown.query_pairs().any(|(name, _)| name == "sslrootcert") {
        return Ok(options);
    }
    match options.get_ssl_mode() {
        PgSslMode::Require => Ok(options.ssl_mode(PgSslMode::VerifyCa)),
        PgSslMode::Prefer | PgSslMode::Allow => Err(SqlError::UnusedRoot),
        PgSslMode::Disable | PgSslMode::VerifyCa | PgSslMode::VerifyFull => Ok(options),
    }
}

impl fmt::Display for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let database = self.own.get_database().unwrap_or_default();
        write!(f, "PostgreSQL at {}:{}/{database}", self.own.get_host(), self.own.get_port())
    }
}

/// What was answered, before it takes its shape.
type Answered = (Rows, Option<u64>);

impl Statement {
    fn finish_with(&self, (rows, total): Answered) -> Result<Bytes, Fault> {
        Ok(self.finish(rows, total)?)
    }
}

/// Answers over a session of our own, which keeps its prepared statements.
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
    // Before the transaction, which a failed attempt would end.
    let prepared = prepare_all(connection, statement, None).await?;
    if statement.count.is_none() {
        return run_all(connection, statement, &prepared, arguments).await;
    }
    connection.execute(BEGIN).await?;
    let answered = run_all(connection, statement, &prepared, arguments).await?;
    connection.execute("COMMIT").await?;
    Ok(answered)
}

/// Prepares all queries of a statement. `again` is for a transaction, which a failed attempt ends: it begins the next.
async fn prepare_all(
    connection: &mut PgConnection,
    statement: &Statement,
    again: Option<&str>,
) -> Result<Vec<PgStatement>, Fault> {
    let mut prepared = Vec::new();
    for query in statement.queries() {
        prepared.push(prepare(connection, query, &statement.parameters, again).await?);
    }
    Ok(prepared)
}

async fn run_all(
    connection: &mut PgConnection,
    statement: &Statement,
    prepared: &[PgStatement],
    arguments: &Arguments,
) -> Result<Answered, Fault> {
    let mut answers = Vec::new();
    for (index, (query, prepared)) in statement.queries().zip(prepared).enumerate() {
        // The second is the one that counts.
        let limits = if index == 0 { statement.limits } else { Limits { rows: 1, ..statement.limits } };
        let mut rows = Rows::new(limits);
        run(connection, statement, query, prepared, arguments, &mut rows).await?;
        answers.push(rows);
    }
    let counted = if answers.len() > 1 { answers.pop().map(total).transpose()? } else { None };
    let rows = answers.pop().ok_or(AnswerError::NoStatement)?;
    Ok((rows, counted))
}

/// Prepares a query, or finds it prepared, with the types of its parameters sent in the first way that works.
async fn prepare(
    connection: &mut PgConnection,
    query: &Query,
    parameters: &[(String, ParameterType)],
    again: Option<&str>,
) -> Result<PgStatement, Fault> {
    let declared: Vec<_> = query.template.order.iter().filter_map(|index| parameters.get(*index)).collect();
    let known = query.known_hints();
    let mut first_failure = None;
    for index in std::iter::once(known).chain((0..Hints::ALL.len()).filter(|index| *index != known)) {
        let Some(hints) = Hints::ALL.get(index) else { continue };
        let types: Vec<PgTypeInfo> = declared.iter().map(|(_, kind)| hints.of(*kind)).collect();
        match prepare_as(connection, &query.template.sql, &types, again).await {
            Ok(prepared) => {
                for ((name, kind), wanted) in declared.iter().zip(kinds(&prepared)) {
                    bind::fits(name, *kind, wanted)?;
                }
                query.learn_hints(index);
                return Ok(prepared);
            }
            Err(why) if !declared.is_empty() && is_one_of(&why, &MISMATCHES) => {
                first_failure.get_or_insert(why);
                begin_again(connection, again).await?;
            }
            Err(why) => return Err(why.into()),
        }
    }
    Err(first_failure.unwrap_or(sqlx::Error::RowNotFound).into())
}

/// Prepares a query under a name that is free: on a shared session, other clients may have left some.
async fn prepare_as(
    connection: &mut PgConnection,
    sql: &str,
    types: &[PgTypeInfo],
    again: Option<&str>,
) -> Result<PgStatement, sqlx::Error> {
    let mut tries = if again.is_some() { NAMES } else { 1 };
    loop {
        tries -= 1;
        match connection.prepare_with(AssertSqlSafe(sql).into_sql_str(), types).await {
            // The driver gives the next one another name.
            Err(why) if tries > 0 && is_one_of(&why, &TAKEN) => begin_again(connection, again).await?,
            other => return other,
        }
    }
}

async fn begin_again(connection: &mut PgConnection, again: Option<&str>) -> Result<(), sqlx::Error> {
    let Some(again) = again else { return Ok(()) };
    sqlx::raw_sql(AssertSqlSafe(again)).execute(connection).await.map(drop)
}

fn kinds(prepared: &PgStatement) -> &[PgTypeInfo] {
    match prepared.parameters() {
        Some(sqlx::Either::Left(kinds)) => kinds,
        _ => &[],
    }
}

fn forms(prepared: &PgStatement) -> Result<Vec<Form>, Fault> {
    distinct(prepared.columns().iter().map(|column| column.name()))?;
    let forms = prepared.columns().iter().map(|column| Form::of(column.name(), column.type_info()));
    Ok(forms.collect::<Result<_, _>>()?)
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
        form.push(out, bytes).map_err(AnswerError::Value)?;
    }
    Ok(rows.end()?)
}

fn is_one_of(why: &sqlx::Error, codes: &[&str]) -> bool {
    let sqlx::Error::Database(said) = why else { return false };
    said.code().is_some_and(|code| codes.contains(&code.as_ref()))
}
