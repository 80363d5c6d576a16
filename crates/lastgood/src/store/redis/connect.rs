//! Opening one connection to one server.

use std::io;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use ::redis::aio::{AsyncPushSender, MultiplexedConnection};
use ::redis::{AsyncConnectionConfig, Client, ConnectionAddr, ErrorKind, RedisError, Value, cmd};
use futures_util::FutureExt;
use tokio::task::JoinError;
use tokio::time::timeout;

use super::greeting;
use super::options::{CertificateError, Server};
use super::reply;
use crate::error::error_chain;

/// The longest that connecting, TLS and login may take together.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);

/// The backstop of callers that set no deadline of their own.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// The longest that a server may take to say whether it is a primary.
const ROLE_WITHIN: Duration = Duration::from_secs(1);

/// Why there is no connection.
pub(super) struct Failure {
    pub(super) why: String,
    /// Whether it is the login that failed, which no second try repairs and every try of which the server logs.
    pub(super) login: bool,
}

impl From<RedisError> for Failure {
    fn from(error: RedisError) -> Failure {
        let refused = matches!(error.code(), Some("NOAUTH" | "WRONGPASS" | "NOPERM"));
        Failure { why: reply::text(&error), login: refused || error.kind() == ErrorKind::AuthenticationFailed }
    }
}

impl From<CertificateError> for Failure {
    fn from(why: CertificateError) -> Failure {
        error_chain(&why).into()
    }
}

impl From<JoinError> for Failure {
    fn from(why: JoinError) -> Failure {
        why.to_string().into()
    }
}

impl From<String> for Failure {
    fn from(why: String) -> Failure {
        Failure { why, login: false }
    }
}

pub(super) async fn connect(server: Server) -> Result<MultiplexedConnection, Failure> {
    let config = AsyncConnectionConfig::new();
    connect_with(server, config).await
}

/// A connection on which the server also speaks unasked, to `hear`.
pub(super) async fn connect_to_hear(
    server: Server,
    hear: impl AsyncPushSender,
) -> Result<MultiplexedConnection, Failure> {
    let config = AsyncConnectionConfig::new().set_push_sender(hear);
    connect_with(server.in_resp3(), config).await
}

async fn connect_with(server: Server, config: AsyncConnectionConfig) -> Result<MultiplexedConnection, Failure> {
    let (is_tls, has_certificate) = (server.is_tls(), server.has_certificate());
    let read = tokio::task::spawn_blocking(|| server.with_certificates()).await;
    let info = read??;
    let address = info.addr().clone();
    let attempt = async {
        let config = config.set_connection_timeout(Some(CONNECT_WITHIN)).set_response_timeout(Some(ANSWER_WITHIN));
        let mut connection = Client::open(info)?.get_multiplexed_async_connection_with_config(&config).await?;
        accepted(&mut connection).await?;
        Ok(connection)
    };
    // rustls panics when a process links two providers and has installed neither.
    match AssertUnwindSafe(attempt).catch_unwind().await {
        Ok(Err(error)) if is_tls => Err(not_secured(error, has_certificate)),
        Ok(Err(error)) => Err(turned_away(error, &address).await),
        Ok(Ok(connection)) => Ok(connection),
        Err(_) => {
            let why = "the TLS library has no crypto provider; the program must install one".to_owned();
            Err(Failure { why, login: true })
        }
    }
}

/// Waits for a first answer. A black hole takes connections, too, and what a server thinks of a client's certificate it says
/// only after the handshake.
async fn accepted(connection: &mut MultiplexedConnection) -> Result<(), RedisError> {
    match ping(connection, CONNECT_WITHIN).await {
        // One that has no place for us says so, and hangs up.
        Err(refusal) if refusal.code() == Some("ERR") => match ping(connection, CONNECT_WITHIN).await {
            Err(error) if error.code().is_none() => Err(refusal),
            _ => Ok(()),
        },
        // Whatever else the server says of itself, it talks to us.
        Err(error) if error.code().is_none() => Err(error),
        _ => Ok(()),
    }
}

/// Whether the server answers `within` this time, whatever it answers.
pub(super) async fn ping(connection: &mut MultiplexedConnection, within: Duration) -> Result<(), RedisError> {
    match timeout(within, cmd("PING").query_async::<Value>(connection)).await {
        Ok(answer) => answer.map(|_| ()),
        Err(_) => Err(RedisError::from(io::Error::from(io::ErrorKind::TimedOut))),
    }
}

/// Why there is no connection without TLS, in the server's own words where it has some. They are lost where it hangs up with
/// our command unread, and hidden where the login is the first that is answered.
async fn turned_away(error: RedisError, address: &ConnectionAddr) -> Failure {
    let is_hung_up = error.is_connection_dropped() || (error.is_io_error() && error.to_string().contains("eof"));
    if error.is_timeout() || error.is_connection_refusal() || error.code().is_some_and(|code| code != "ERR") {
        return error.into();
    }
    match greeting::refusal(address).await {
        Some(why) => why.into(),
        None if is_hung_up => {
            "the server hung up when it was asked (does this port want TLS? then write rediss://)".to_owned().into()
        }
        None => error.into(),
    }
}

/// Why there is no connection over TLS. The alert in which a server says it is often lost, because the connection is reset
/// right after it; and one without TLS waits for the end of what it takes for a command.
fn not_secured(error: RedisError, has_certificate: bool) -> Failure {
    let is_hung_up = error.is_connection_dropped() || error.to_string().contains("eof");
    let guess = match (error.is_timeout(), is_hung_up, has_certificate) {
        (true, ..) => " (does it speak TLS on this port?)",
        (false, true, false) => " (the server hung up: it may want a client certificate)",
        (false, true, true) => " (the server hung up: it may not accept the client certificate)",
        (false, false, _) => "",
    };
    let Failure { why, login } = error.into();
    Failure { why: why + guess, login }
}

/// Whether the server at the other end is a primary. One that does not let us ask is believed to be.
pub(super) async fn is_primary(connection: &mut MultiplexedConnection) -> Result<bool, Failure> {
    let role = cmd("ROLE");
    match timeout(ROLE_WITHIN, role.query_async::<Vec<Value>>(connection)).await {
        Ok(Ok(role)) => Ok(role.first() == Some(&Value::BulkString(b"master".to_vec()))),
        Ok(Err(error)) if error.code() == Some("NOPERM") => Ok(true),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(format!("it was silent for {} s", ROLE_WITHIN.as_secs()).into()),
    }
}

/// Whether a server's certificate is for other names than the one that it is reached by.
pub(super) fn is_misnamed(why: &str) -> bool {
    why.contains("not valid for name")
}

/// Whether no server listens at an address.
pub(super) fn is_refused(why: &str) -> bool {
    why.contains("Connection refused")
}
