//! Connecting, and connecting again, off every caller's path.

use std::sync::Arc;
use std::time::Duration;

use ::redis::RedisError;
use ::redis::aio::MultiplexedConnection;
use tokio::time::{Instant, sleep, timeout};

use super::connect::{self, Failure, connect, is_misnamed};
use super::link::Link;
use super::options;
use super::reply;
use super::sentinel::{Change, Sentinels};
use crate::store::jitter::{jittered, somewhere_in};

/// A connection that does not answer a PING for this long is replaced.
const SILENT_AFTER: Duration = Duration::from_secs(1);

/// How long a quiet connection goes unchecked. Not shorter, because hosted Redis is billed by the command.
const CHECK_EVERY: Duration = Duration::from_secs(30);

/// The same of a member of a cluster, which has its part of the keys alone: its loss is known within two seconds. Clusters are
/// not billed by the command.
const CHECK_MEMBER_EVERY: Duration = Duration::from_millis(500);

/// The least time between two checks that callers ask for.
const CHECK_APART: Duration = Duration::from_millis(250);

const FIRST_WAIT: Duration = Duration::from_millis(50);

/// The steady wait between two attempts. Not longer, because a server that is back should be in use within a second; not
/// shorter, because the processes that share the server connect again spread out over this time.
const LONGEST_WAIT: Duration = Duration::from_millis(700);

/// After this many failures in a row the attempts of this process are moved to a random time within the wait, once: the
/// processes lost the server at the same moment.
const SPREAD_AFTER: u32 = 3;

/// The same after a refused login.
const LONGEST_WAIT_FOR_LOGIN: Duration = Duration::from_secs(5);

/// A connection that lived this long was a good one: the next wait is short again.
const GOOD_AFTER: Duration = Duration::from_secs(5);

/// Where the connections of a link lead.
pub(super) enum Target {
    /// To one server.
    Server(Box<options::Server>),
    /// To a member of a cluster, at the address that the cluster announces.
    Member(Box<options::Server>),
    /// To the primary of the day.
    Primary(Sentinels),
}

impl Target {
    async fn connect(&mut self) -> Result<MultiplexedConnection, Failure> {
        match self {
            Target::Server(server) => connect(options::Server::clone(server)).await,
            Target::Member(server) => connect(options::Server::clone(server)).await.map_err(|Failure { why, login }| {
                let hint = match is_misnamed(&why) {
                    false => "; if the cluster announces an address that cannot be reached from here, let it announce \
                              another (cluster-announce-ip)",
                    true => "; let its certificate name what the cluster announces, or the cluster announce a name that \
                             is in it (cluster-announce-hostname and cluster-preferred-endpoint-type hostname)",
                };
                Failure { why: if login { why } else { why + hint }, login }
            }),
            Target::Primary(sentinels) => sentinels.connect().await,
        }
    }

    /// The server that the connection leads to.
    fn server(&self) -> Option<options::Server> {
        match self {
            Target::Server(server) | Target::Member(server) => Some(options::Server::clone(server)),
            Target::Primary(sentinels) => sentinels.server(),
        }
    }

    /// Which server it is, where that is not clear already.
    fn detail(&self) -> Option<String> {
        match self {
            Target::Server(_) | Target::Member(_) => None,
            Target::Primary(sentinels) => sentinels.primary(),
        }
    }

    /// Ends when the connection leads to the wrong server or to none.
    async fn watch(&mut self, link: &Link, connection: &MultiplexedConnection) -> Change {
        let every = match self {
            Target::Member(_) => CHECK_MEMBER_EVERY,
            Target::Server(_) | Target::Primary(_) => CHECK_EVERY,
        };
        let silence = watch(link, connection.clone(), every);
        match self {
            Target::Server(_) | Target::Member(_) => Change::Lost(silence.await),
            Target::Primary(sentinels) => tokio::select! {
                why = silence => Change::Lost(why),
                change = sentinels.follow(link, connection.clone()) => change,
            },
        }
    }
}

/// Keeps `link` up until it is aborted.
pub(super) async fn supervise(link: Arc<Link>, mut target: Target) {
    let mut wait = FIRST_WAIT;
    let mut logged = None;
    let mut failures = 0_u32;
    loop {
        let mut longest = LONGEST_WAIT;
        match target.connect().await {
            Ok(connection) => {
                (logged, failures) = (None, 0);
                let since = Instant::now();
                let why = keep(&link, &mut target, connection).await;
                tracing::debug!(store = %link.options(), why, "lost the connection");
                link.hang_up(&why);
                if since.elapsed() >= GOOD_AFTER {
                    wait = FIRST_WAIT;
                }
            }
            Err(Failure { why, login }) => {
                failures = failures.saturating_add(1);
                let why = link.options().redact(why);
                if login {
                    longest = LONGEST_WAIT_FOR_LOGIN;
                }
                // Once a reason, not once an attempt.
                if logged.as_ref() != Some(&why) {
                    tracing::debug!(store = %link.options(), why, "cannot connect, trying on");
                    logged = Some(why.clone());
                }
                link.hang_up(&why);
            }
        }
        // From then on each keeps a phase of its own, so that the attempts of all are spread evenly.
        let is_spread = failures == SPREAD_AFTER;
        sleep(if is_spread { somewhere_in(longest) } else { jittered(wait) }).await;
        wait = if is_spread { longest } else { (wait * 2).min(longest) };
    }
}

/// Lets callers use the connection, and what takes its place, until it is no longer any good; says why.
async fn keep(link: &Link, target: &mut Target, mut connection: MultiplexedConnection) -> String {
    loop {
        link.lead_to(target.server());
        link.put_up(connection.clone());
        match ping(link, &mut connection).await {
            Ok(()) => tracing::info!(store = %link.options(), primary = target.detail(), "connected"),
            // It talks, and that it does not work is in the store's condition.
            Err(error) if error.code().is_some() => {
                tracing::debug!(store = %link.options(), why = reply::text(&error), "connected, and it does not work");
            }
            Err(error) => return link.options().redact(error.to_string()),
        }
        match target.watch(link, &connection).await {
            Change::Lost(why) => return why,
            Change::Replaced(replacement) => connection = replacement,
        }
    }
}

/// Ends, saying why, when the connection does not answer.
async fn watch(link: &Link, mut connection: MultiplexedConnection, every: Duration) -> String {
    loop {
        _ = timeout(every, link.suspect.notified()).await;
        if !link.is_up() {
            return "a caller found it broken".to_owned();
        }
        match ping(link, &mut connection).await {
            Err(error) if error.is_timeout() => return format!("it was silent for {} s", SILENT_AFTER.as_secs()),
            // Whatever the server says of itself, the connection is sound.
            Err(error) if error.code().is_none() => return link.options().redact(error.to_string()),
            _ => {}
        }
        sleep(CHECK_APART).await;
    }
}

/// As [`connect::ping`], and counted.
async fn ping(link: &Link, connection: &mut MultiplexedConnection) -> Result<(), RedisError> {
    link.count(1);
    connect::ping(connection, SILENT_AFTER).await
}
