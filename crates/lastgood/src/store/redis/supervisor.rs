//! Connecting, and connecting again, off every caller's path.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{AsyncConnectionConfig, Client, ErrorKind, RedisError, cmd};
use futures_util::FutureExt;
use tokio::time::{Instant, sleep, timeout};

use super::link::Link;
use super::reply;
use crate::store::jitter::jittered;

/// The longest that connecting, TLS and login may take together.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);

/// A connection that does not answer a PING for this long is replaced.
const SILENT_AFTER: Duration = Duration::from_secs(1);

/// How long a quiet connection goes unchecked. Not shorter, because hosted Redis is billed by the command.
const CHECK_EVERY: Duration = Duration::from_secs(30);

/// The least time between two checks that callers ask for.
const CHECK_APART: Duration = Duration::from_millis(250);

/// The backstop of callers that set no deadline of their own.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

const FIRST_WAIT: Duration = Duration::from_millis(50);

/// The steady wait between two attempts. Not longer, because a server that is back should be in use within a second.
const LONGEST_WAIT: Duration = Duration::from_millis(400);

/// The same after a refused login, which no second try mends and every try of which the server logs.
const LONGEST_WAIT_FOR_LOGIN: Duration = Duration::from_secs(5);

/// A connection that lived this long was a good one: the next wait is short again.
const GOOD_AFTER: Duration = Duration::from_secs(5);

/// Keeps `link` up until it is aborted.
pub(super) async fn supervise(link: Arc<Link>) {
    let mut wait = FIRST_WAIT;
    let mut told = None;
    loop {
        let mut longest = LONGEST_WAIT;
        match connect(&link).await {
            Ok(connection) => {
                tracing::info!(store = %link.options(), "connected");
                told = None;
                let since = Instant::now();
                link.put_up(connection.clone());
                let why = watch(&link, connection).await;
                tracing::warn!(store = %link.options(), why, "lost the connection");
                link.hang_up(&why);
                if since.elapsed() >= GOOD_AFTER {
                    wait = FIRST_WAIT;
                }
            }
            Err(Failure { why, login }) => {
                if login {
                    longest = LONGEST_WAIT_FOR_LOGIN;
                }
                // Once a reason, not once an attempt.
                if told.as_ref() != Some(&why) {
                    tracing::warn!(store = %link.options(), why, "cannot connect, trying on");
                    told = Some(why.clone());
                }
                link.hang_up(&why);
            }
        }
        sleep(jittered(wait)).await;
        wait = (wait * 2).min(longest);
    }
}

pub(super) struct Failure {
    pub(super) why: String,
    login: bool,
}

pub(super) async fn connect(link: &Link) -> Result<MultiplexedConnection, Failure> {
    let attempt = async {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_WITHIN))
            .set_response_timeout(Some(ANSWER_WITHIN));
        let client = Client::open(link.options().connection_info())?;
        client.get_multiplexed_async_connection_with_config(&config).await
    };
    // rustls panics when a process links two providers and has installed neither.
    match AssertUnwindSafe(attempt).catch_unwind().await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) => Err(failure(link, &error)),
        Err(_) => {
            let why = "the TLS library has no crypto provider; the program must install one".to_owned();
            Err(Failure { why, login: true })
        }
    }
}

fn failure(link: &Link, error: &RedisError) -> Failure {
    let refused = matches!(error.code(), Some("NOAUTH" | "WRONGPASS" | "NOPERM"));
    Failure {
        why: link.options().redact(reply::text(error)),
        login: refused || error.kind() == ErrorKind::AuthenticationFailed,
    }
}

/// Ends, saying why, when the connection is no longer any good.
async fn watch(link: &Link, mut connection: MultiplexedConnection) -> String {
    loop {
        _ = timeout(CHECK_EVERY, link.suspect.notified()).await;
        if !link.is_up() {
            return "a caller found it broken".to_owned();
        }
        let ping = cmd("PING");
        match timeout(SILENT_AFTER, ping.query_async::<String>(&mut connection)).await {
            Err(_) => return format!("it was silent for {SILENT_AFTER:?}"),
            // Whatever the server says of itself, the connection is sound.
            Ok(Err(error)) if error.code().is_none() => return link.options().redact(error.to_string()),
            Ok(_) => {}
        }
        sleep(CHECK_APART).await;
    }
}
