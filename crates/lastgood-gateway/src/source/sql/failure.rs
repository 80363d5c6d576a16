//! Why a statement brought nothing, in the cache's words. What the database says is logged, not shown: it may name
//! tables and values.

use std::io::{self, ErrorKind};

use lastgood::{Error, Reason};

use crate::source::tls;

/// Values that do not fit what the statement wants: the question is wrong, not the database.
const WRONG_QUESTION: [&str; 3] = ["22P02", "22021", "22003"];
const OVER_TLS: (Reason, &str) = (Reason::Unreachable, "the database cannot be reached over TLS");
const CANCELLED: &str = "57014";
/// No such user, a wrong password, or no TLS where the server wants it.
const NOT_LET_IN: &str = "28";
const SQLITE_BUSY: &str = "5";
const SQLITE_INTERRUPTED: &str = "9";

/// The error of a load. `database` is how the database is called in the log.
pub(super) fn of_load(database: &str, why: &sqlx::Error) -> Error {
    tracing::warn!(database, error = %why, "a declared statement failed");
    let (reason, message) = match why {
        sqlx::Error::Database(said) => of_database(said.code().as_deref()),
        sqlx::Error::Tls(_) => OVER_TLS,
        sqlx::Error::Io(why) if tls::failure(why).is_some() => OVER_TLS,
        sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed => {
            (Reason::Unreachable, "the database cannot be reached")
        }
        _ => (Reason::Upstream, "the database's answer could not be read"),
    };
    Error::new(reason, message)
}

fn of_database(code: Option<&str>) -> (Reason, &'static str) {
    match code {
        Some(CANCELLED | SQLITE_INTERRUPTED) => (Reason::TimedOut, "the statement took too long"),
        Some(SQLITE_BUSY) => (Reason::TimedOut, "the database is locked"),
        Some(code) if WRONG_QUESTION.contains(&code) => {
            (Reason::NotFound, "a parameter has a value that the database does not take")
        }
        // Too many connections, or a server that starts, stops or went away.
        Some(code) if code.starts_with("53") => (Reason::Overloaded, "the database has no room"),
        Some(code) if code.starts_with("57P") || code.starts_with("08") => {
            (Reason::Unreachable, "the database cannot be reached")
        }
        Some(code) if code.starts_with(NOT_LET_IN) => (Reason::Upstream, "the database does not let the gateway in"),
        _ => (Reason::Upstream, "the database refused the statement"),
    }
}

pub(super) fn timed_out() -> Error {
    Error::new(Reason::TimedOut, "the database did not answer in time")
}

/// What is wrong, for `lastgood check`: the database's own words, for whoever wrote the statement.
pub(super) fn of_check(why: &sqlx::Error) -> String {
    match why {
        sqlx::Error::Database(said) => {
            let hint = said.try_downcast_ref::<sqlx::postgres::PgDatabaseError>().and_then(|said| said.hint());
            let hint = hint.map(|hint| format!(" ({hint})")).unwrap_or_default();
            let mend = match said.code() {
                Some(code) if code.starts_with(NOT_LET_IN) => {
                    "; check its user and password, and ask for TLS with sslmode=verify-full if it wants that"
                }
                _ => "",
            };
            format!("the database says: {}{hint}{mend}", said.message())
        }
        sqlx::Error::Io(why) => unreachable(why),
        sqlx::Error::Tls(why) => format!("TLS failed: {why}; does the server speak TLS? see `sslmode`"),
        other => other.to_string(),
    }
}

fn unreachable(why: &io::Error) -> String {
    if let Some(refused) = tls::failure(why) {
        return format!(
            "{refused}; let sslrootcert name the certificate of the server's authority, and the URL the host that the \
             server's certificate is for"
        );
    }
    let mend = match why.kind() {
        ErrorKind::NotFound | ErrorKind::PermissionDenied => {
            "are the files that its URL names there (sslrootcert, a socket), for this user to read?"
        }
        _ => "is it running, and is the address right?",
    };
    format!("it cannot be reached: {why}; {mend}")
}
