//! Sessions that other clients use too.
//!
//! A pooler in transaction mode (PgBouncer, Supabase, Neon) lends a session of the server for one transaction at a
//! time. Nothing set or prepared outlives that transaction: the next one may run on another session, where a statement
//! of the same name may be another client's. So each question is one transaction that says what it needs, prepares its
//! statements, and closes them before its end.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection as _, Row as _};
use tokio::time::timeout;

use super::{Answered, Fault, GRACE, Statement, prepare_all, run_all};
use crate::arguments::Arguments;

/// A setting of no meaning to the server. A session that has it was started for us alone, with all our options: some
/// poolers take options and drop them.
const MARK: &str = "lastgood.session";

/// How the sessions of a database are to be used.
pub(super) struct Sessions {
    shared: AtomicBool,
    mark: String,
    begin: String,
    begin_again: String,
}

impl Sessions {
    pub(super) fn new(statement_timeout: Duration) -> Sessions {
        // What a session of our own has from its start, for one transaction.
        let begin = format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = {}; \
             SET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = 'ISO, MDY'; SET LOCAL extra_float_digits = 2",
            milliseconds(statement_timeout)
        );
        Sessions {
            shared: AtomicBool::new(false),
            mark: format!("{:016x}", RandomState::new().hash_one(&begin)),
            begin_again: format!("ROLLBACK; {begin}"),
            begin,
        }
    }

    /// Options for a session of our own. A pooler refuses them, or drops them.
    pub(super) fn own(&self, options: PgConnectOptions, statement_timeout: Duration) -> PgConnectOptions {
        options
            .options([("statement_timeout", milliseconds(statement_timeout).to_string())])
            .options([("default_transaction_read_only", "on".to_owned()), (MARK, self.mark.clone())])
    }

    pub(super) fn are_shared(&self) -> bool {
        self.shared.load(Ordering::Acquire)
    }

    /// Has every question ask in one transaction from now on. `false` if it was so already.
    pub(super) fn share(&self) -> bool {
        !self.shared.swap(true, Ordering::AcqRel)
    }

    /// Whether a new connection has a session that was started with our options.
    ///
    /// # Errors
    ///
    /// When the connection breaks.
    pub(super) async fn is_own(&self, connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
        let sql = format!("SELECT current_setting('{MARK}', true)");
        match sqlx::raw_sql(AssertSqlSafe(sql)).fetch_one(connection).await {
            Ok(row) => Ok(row.try_get::<Option<String>, _>(0)?.is_some_and(|mark| mark == self.mark)),
            // A server that cannot say so gets the way that works everywhere.
            Err(sqlx::Error::Database(_)) => Ok(false),
            Err(why) => Err(why),
        }
    }

    /// Answers in one transaction. Also says whether the connection is of use to the next question.
    pub(super) async fn answer(
        &self,
        connection: &mut PgConnection,
        statement: &Statement,
        arguments: &Arguments,
    ) -> (Result<Answered, Fault>, bool) {
        let answered = self.attempt(connection, statement, arguments).await;
        let sound = match answered {
            Ok(_) => end(connection, "COMMIT").await.is_ok(),
            // Closing the connection would cost the pooler a connection to its server. Rows still to come are read, if
            // they come soon.
            Err(_) => timeout(GRACE, end(connection, "ROLLBACK")).await.is_ok_and(|ended| ended.is_ok()),
        };
        (answered, sound)
    }

    async fn attempt(
        &self,
        connection: &mut PgConnection,
        statement: &Statement,
        arguments: &Arguments,
    ) -> Result<Answered, Fault> {
        self.begin(connection).await?;
        let prepared = prepare_all(connection, statement, Some(&self.begin_again)).await?;
        run_all(connection, statement, &prepared, arguments).await
    }

    /// Begins a transaction like those of questions, for a statement that is not one.
    pub(super) async fn begin(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        sqlx::raw_sql(AssertSqlSafe(self.begin.as_str())).execute(connection).await.map(drop)
    }

    /// What begins the transaction again after a statement in it failed, on the same session.
    pub(super) fn begin_again(&self) -> &str {
        &self.begin_again
    }
}

/// Ends the transaction, and before it what was prepared: it would stay on a session that is another client's then.
pub(super) async fn end(connection: &mut PgConnection, how: &'static str) -> Result<(), sqlx::Error> {
    connection.clear_cached_statements().await?;
    sqlx::raw_sql(how).execute(connection).await.map(drop)
}

fn milliseconds(time: Duration) -> u128 {
    time.as_millis().max(1)
}
