//! Client tracking: each server tells, over a connection of its own, which keys below a prefix anybody changed.
//!
//! In the mode that broadcasts, so that the server remembers nothing of who read what. The crate's own client-side cache is
//! not used: it passes over the message that says that everything was flushed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{Cmd, PushInfo, PushKind, RedisError, Value, cmd, from_redis_value};
use async_trait::async_trait;
use bytes::Bytes;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::cluster::Members;
use super::connect::{Failure, connect_to_hear};
use super::link::Link;
use super::options::Server;
use super::{RedisStore, Servers, reply};
use crate::store::jitter::somewhere_in;
use crate::store::watch::Notices;
use crate::store::{StoreError, Watch, Watched};

/// How often a connection on which nothing arrives is asked whether it is still there.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// A connection that does not answer for this long is replaced.
const SILENT_AFTER: Duration = Duration::from_secs(1);
/// The wait between two attempts to connect.
const RETRY: Duration = Duration::from_millis(400);
/// The same where the server does not know the command, or the user may not use it.
const RETRY_WHEN_REFUSED: Duration = Duration::from_secs(60);
/// How often a cluster is looked at for new primaries.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What a stored entry ends with.
const CHECKSUM: usize = 4;

/// Which keys are reported, to which connection, and how many commands that took.
#[derive(Clone)]
struct Ear {
    prefix: String,
    notices: Arc<Notices>,
    commands: Arc<AtomicU64>,
}

/// Why a server is not listened to any longer.
enum End {
    /// The connection broke, or the server is another now.
    Lost(String),
    /// It does not tell us.
    Refused(String),
}

#[async_trait]
impl Watch for RedisStore {
    fn watch(&self, prefix: &str) -> Watched {
        let notices = Arc::<Notices>::default();
        let ear = Ear {
            prefix: prefix.to_owned(),
            notices: Arc::clone(&notices),
            commands: Arc::clone(&self.commands_of_watch),
        };
        let task = match &self.servers {
            Servers::One(node) => tokio::spawn(listen(node.link(), ear)),
            Servers::Many(cluster) => tokio::spawn(listen_to_all(cluster.members(), ear)),
        };
        Watched::by(notices, task.abort_handle())
    }

    async fn checksums(&self, keys: &[String]) -> Result<Vec<Option<u32>>, StoreError> {
        let end = |key: &str| cmd("GETRANGE").arg(key).arg(-(CHECKSUM as i64)).arg(-1).take();
        let ends: Vec<Option<Bytes>> = match &self.servers {
            Servers::One(node) => {
                let mut pipeline = ::redis::pipe();
                for key in keys {
                    pipeline.add_command(end(key));
                }
                let values = node.query_all(&pipeline).await.map_err(|fault| reply::read_error(&fault))?;
                values.into_iter().map(text_of).collect::<Result<_, _>>()?
            }
            Servers::Many(cluster) => cluster.read_each(keys, end).await?,
        };
        if ends.len() != keys.len() {
            return Err(StoreError::Corrupt(format!("{} answers to {} keys", ends.len(), keys.len())));
        }
        let number = |end: Bytes| <[u8; CHECKSUM]>::try_from(&end[..]).ok().map(u32::from_le_bytes);
        Ok(ends.into_iter().map(|end| end.and_then(number)).collect())
    }
}

/// What one command gave; nothing where another program keeps a value of another type.
fn text_of(value: Value) -> Result<Option<Bytes>, StoreError> {
    let text = value.extract_error().and_then(|value| from_redis_value(value).map_err(RedisError::from));
    match text.map_err(|error| reply::read_error(&super::link::Fault::Redis(error))) {
        Err(StoreError::Corrupt(_)) => Ok(None),
        text => text,
    }
}

/// Listens to the primaries of a cluster, each on its own.
async fn listen_to_all(members: Members, ear: Ear) {
    let mut listeners: Vec<Listener> = Vec::new();
    loop {
        let links = members.links();
        listeners.retain(|listener| links.iter().any(|link| Arc::ptr_eq(link, &listener.link)));
        for link in links {
            if !listeners.iter().any(|listener| Arc::ptr_eq(&link, &listener.link)) {
                let task = tokio::spawn(listen(Arc::clone(&link), ear.clone()));
                listeners.push(Listener { link, task });
            }
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Who listens to one server of several; it ends when dropped.
struct Listener {
    link: Arc<Link>,
    task: JoinHandle<()>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Listens to the server that a link leads to at the time.
async fn listen(link: Arc<Link>, ear: Ear) {
    let mut was_refused = false;
    loop {
        let mut wait = RETRY;
        // The supervisor of the link knows whether it is of any use to connect.
        if let Some(server) = link.server().filter(|_| link.is_up()) {
            match listen_to(&link, &server, &ear).await {
                End::Lost(why) => {
                    tracing::debug!(store = %link.options(), why, "the server tells of no keys at the moment");
                }
                End::Refused(why) => {
                    if !std::mem::replace(&mut was_refused, true) {
                        tracing::info!(
                            store = %link.options(), why,
                            "the server does not tell of keys that other programs change: what they delete is served from \
                             memory until it is no longer fresh"
                        );
                    }
                    wait = RETRY_WHEN_REFUSED;
                }
            }
        }
        // At a moment of its own: of many gateways on a server that returns, each connects several times.
        sleep(somewhere_in(wait * 2)).await;
    }
}

async fn listen_to(link: &Link, server: &Server, ear: &Ear) -> End {
    let redacted = |why: String| link.options().redact(why);
    let notices = Arc::clone(&ear.notices);
    let connected = connect_to_hear(server.clone(), move |push| pushed(&notices, push)).await;
    let mut connection = match connected {
        Ok(connection) => connection,
        Err(Failure { why, login }) if login || speaks_no_resp3(&why) => return End::Refused(redacted(why)),
        Err(Failure { why, .. }) => return End::Lost(redacted(why)),
    };
    match send(&mut connection, &track(&ear.prefix), ear).await {
        Ok(()) => ear.notices.gap(),
        Err(End::Lost(why)) => return End::Lost(redacted(why)),
        Err(End::Refused(why)) => return End::Refused(redacted(why)),
    }
    loop {
        sleep(CHECK_EVERY).await;
        if !link.server().is_some_and(|now| now.is_same(server)) {
            return End::Lost("another server took its place".to_owned());
        }
        if let Err(End::Lost(why)) = send(&mut connection, &cmd("PING"), ear).await {
            return End::Lost(redacted(why));
        }
    }
}

/// Whether a server is from before the protocol in which it could speak unasked.
fn speaks_no_resp3(why: &str) -> bool {
    ["HELLO", "NOPROTO", "unknown command"].iter().any(|word| why.contains(word))
}

fn track(prefix: &str) -> Cmd {
    // This process's own writes are reported, too: they go over another connection, and by scripts.
    cmd("CLIENT").arg("TRACKING").arg("ON").arg("BCAST").arg("PREFIX").arg(prefix).take()
}

async fn send(connection: &mut MultiplexedConnection, command: &Cmd, ear: &Ear) -> Result<(), End> {
    ear.commands.fetch_add(1, Ordering::Relaxed);
    match timeout(SILENT_AFTER, command.query_async::<Value>(connection)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) if error.code().is_some() => Err(End::Refused(reply::text(&error))),
        Ok(Err(error)) => Err(End::Lost(error.to_string())),
        Err(_) => Err(End::Lost(format!("it was silent for {} s", SILENT_AFTER.as_secs()))),
    }
}

/// Takes note of what the server says. Runs where the connection is read, so it waits for nothing.
fn pushed(notices: &Notices, push: PushInfo) -> Result<(), RedisError> {
    if push.kind == PushKind::Invalidate {
        match push.data.into_iter().next() {
            // Other programs' keys may be no text; none of ours.
            Some(Value::Array(keys)) => notices.keys(keys.into_iter().filter_map(|key| from_redis_value(key).ok())),
            // Everything was flushed.
            _ => notices.emptied(),
        }
    }
    Ok(())
}
