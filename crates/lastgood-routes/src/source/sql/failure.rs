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
/// A prepared statement of this name exists: another client of the pooler made it and left it there.
const TAKEN: &str = "42P05";
const HINT_ON_NAMES: &str = "other clients leave prepared statements on the pooler's connections; set its \
    max_prepared_statements (PgBouncer 1.21 or newer), or server_reset_query_always = 1";
const SQLITE_BUSY: &str = "5";
const SQLITE_INTERRUPTED: &str = "9";

/// What poolers say in place of the database behind them. They have few codes of their own, so their words are read.
struct Pooler {
    /// Any of these, in lower case.
    words: &'static [&'static str],
    reason: Reason,
    message: &'static str,
    hint: &'static str,
}

/// Codes that poolers use for what they say themselves, besides those of `Pooler`s that name theirs.
const CODES_OF_POOLERS: [&str; 6] = ["08", "0A", "28", "53", "57", "XX"];
const NO_ROOM: &str = "the database has no room";
const UNREACHABLE: &str = "the database cannot be reached";

const POOLERS: [Pooler; 6] = [
    Pooler {
        words: &["startup parameter", "command-line options", "options startup"],
        reason: Reason::Upstream,
        message: "the database does not let the gateway in",
        hint: "a pooler takes no `options` of the URL; leave them out, and set them for the user in the database: \
               ALTER ROLE user SET search_path = …",
    },
    Pooler {
        words: &["statement pooling mode"],
        reason: Reason::Upstream,
        message: "the database refused the statement",
        hint: "the pooler is in statement mode, which has no transactions; let its pool_mode be transaction or session",
    },
    Pooler {
        words: &[
            "query_wait_timeout",
            "no more connections allowed",
            "max client",
            "max clients",
            "unable to check out",
        ],
        reason: Reason::Overloaded,
        message: NO_ROOM,
        hint: "all of the pooler's connections are in use; raise its default_pool_size or max_client_conn, or lower \
               max_connections of this database here",
    },
    Pooler {
        words: &["no such database", "no such user", "bouncer config error", "tenant or user not found"],
        reason: Reason::Upstream,
        message: "the database does not let the gateway in",
        hint: "the pooler knows no such database or user; correct them in the URL, or add them to the pooler \
               (Supabase's wants the user as postgres.PROJECT)",
    },
    Pooler {
        words: &["auth failed", "authentication failed", "login rejected", "ssl required", "tls required"],
        reason: Reason::Upstream,
        message: "the database does not let the gateway in",
        hint: HINT_ON_LOGIN,
    },
    Pooler {
        words: &[
            "server_login_retry",
            "login has been failing",
            "cannot connect to server",
            "server conn crashed",
            "server connection crashed",
            "connect timeout",
            "is disabled",
        ],
        reason: Reason::Unreachable,
        message: UNREACHABLE,
        hint: "the pooler answers, but not the database behind it; look into the pooler's log",
    },
];

const HINT_ON_LOGIN: &str = "check its user and password, and ask for TLS with sslmode=verify-full if it wants that";

/// What a pooler says by this, if it is one.
fn of_pooler(code: Option<&str>, words: &str) -> Option<&'static Pooler> {
    let code = code?;
    if !CODES_OF_POOLERS.iter().any(|class| code.starts_with(class)) {
        return None;
    }
    let words = words.to_ascii_lowercase();
    POOLERS.iter().find(|pooler| pooler.words.iter().any(|said| words.contains(said)))
}

/// Whether a server refuses a connection for what was to be set at its start, as poolers do.
pub(super) fn refuses_options(why: &sqlx::Error) -> bool {
    let sqlx::Error::Database(said) = why else { return false };
    let words = POOLERS[0].words;
    let message = said.message().to_ascii_lowercase();
    words.iter().any(|refused| message.contains(refused))
}

/// The error of a load. `database` is how the database is called in the log.
pub(super) fn of_load(database: &str, why: &sqlx::Error) -> Error {
    let (reason, message) = match why {
        sqlx::Error::Database(said) => of_database(said.code().as_deref(), said.message()),
        sqlx::Error::Tls(_) => OVER_TLS,
        sqlx::Error::Io(why) if tls::failure(why).is_some() => OVER_TLS,
        sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed => {
            (Reason::Unreachable, UNREACHABLE)
        }
        _ => (Reason::Upstream, "the database's answer could not be read"),
    };
    Error::new(reason, message).with_detail(format!("{database}: {why}"))
}

fn of_database(code: Option<&str>, words: &str) -> (Reason, &'static str) {
    if let Some(pooler) = of_pooler(code, words) {
        return (pooler.reason, pooler.message);
    }
    match code {
        Some(CANCELLED | SQLITE_INTERRUPTED) => (Reason::TimedOut, "the statement took too long"),
        Some(SQLITE_BUSY) => (Reason::TimedOut, "the database is locked"),
        Some(code) if WRONG_QUESTION.contains(&code) => {
            (Reason::NotFound, "a parameter has a value that the database does not take")
        }
        // Too many connections, or a server that starts, stops or went away.
        Some(code) if code.starts_with("53") => (Reason::Overloaded, NO_ROOM),
        Some(code) if code.starts_with("57P") || code.starts_with("08") => (Reason::Unreachable, UNREACHABLE),
        Some(code) if code.starts_with(NOT_LET_IN) => (Reason::Upstream, "the database does not let the gateway in"),
        _ => (Reason::Upstream, "the database refused the statement"),
    }
}

pub(super) fn timed_out() -> Error {
    Error::new(Reason::TimedOut, "the database did not answer in time")
}

/// The problem, for `lastgood check`: the database's own words, for the author of the statement.
pub(super) fn of_check(why: &sqlx::Error) -> String {
    match why {
        sqlx::Error::Database(said) => {
            let hint = said.try_downcast_ref::<sqlx::postgres::PgDatabaseError>().and_then(|said| said.hint());
            let hint = hint.map(|hint| format!(" ({hint})")).unwrap_or_default();
            let fix = match said.code().as_deref() {
                Some(TAKEN) => format!("; {HINT_ON_NAMES}"),
                code => match of_pooler(code, said.message()) {
                    Some(pooler) => format!("; {}", pooler.hint),
                    None if code.is_some_and(|code| code.starts_with(NOT_LET_IN)) => format!("; {HINT_ON_LOGIN}"),
                    None => String::new(),
                },
            };
            // What follows a semicolon is read as the hint.
            format!("the database says: {}{hint}{fix}", said.message().replace("; ", ", "))
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
    let hint = match why.kind() {
        ErrorKind::NotFound | ErrorKind::PermissionDenied => {
            "are the files that its URL names there (sslrootcert, a socket), for this user to read?"
        }
        _ => "is it running, and is the address right?",
    };
    format!("it cannot be reached: {why}; {hint}")
}
