//! The log. One server tells it over a connection that waits; where the server may be another at any time, it is looked at.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{Cmd, FromRedisValue, Pipeline, RedisError, cmd};
use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Mutex;

use super::connect::{connect, is_refused};
use super::link::{Fault, single};
use super::options::Server;
use super::{RedisStore, Servers, reply};
use crate::store::dialect::stream::{self, Entry, PolledStream};
use crate::store::{Position, StoreError, Tail};

/// What an answer may take beyond the time it was asked to wait.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// How often it is looked at where it cannot be waited for.
pub(super) const EVERY: Duration = Duration::from_millis(200);

/// What a stream answers to `XREAD`: each stream's name and entries.
type Streams = Option<Vec<(Bytes, Vec<Entry>)>>;

fn entries_of(streams: Streams) -> Vec<Entry> {
    streams.into_iter().flatten().next().map(|(_, entries)| entries).unwrap_or_default()
}

pub(super) fn append(name: &str, record: &[u8]) -> Cmd {
    let mut command = Cmd::new();
    for word in stream::append(name.as_bytes(), record) {
        command.arg(word);
    }
    command
}

fn newest(name: &str) -> Cmd {
    cmd("XREVRANGE").arg(name).arg("+").arg("-").arg("COUNT").arg(1).take()
}

fn read(name: &str, after: &str, wait: Duration) -> Cmd {
    let mut read = cmd("XREAD").arg("COUNT").arg(stream::PAGE).take();
    // To wait for no time is to wait for ever.
    if !wait.is_zero() {
        read.arg("BLOCK").arg(wait.as_millis().max(1) as u64);
    }
    read.arg("STREAMS").arg(name).arg(after).take()
}

/// The connections on which the logs of one server are read, one a log: a command that waits keeps all others on its
/// connection waiting behind it.
pub(super) struct Reader {
    server: Server,
    connections: std::sync::Mutex<HashMap<String, Arc<Connection>>>,
    /// Commands that were sent.
    commands: AtomicU64,
    /// Whether the last attempt to connect was refused.
    is_refused: AtomicBool,
}

type Connection = Mutex<Option<MultiplexedConnection>>;

impl Reader {
    pub(super) fn new(server: Server) -> Reader {
        Reader {
            server,
            connections: std::sync::Mutex::default(),
            commands: AtomicU64::new(0),
            is_refused: AtomicBool::new(false),
        }
    }

    pub(super) fn is_refused(&self) -> bool {
        self.is_refused.load(Ordering::Relaxed)
    }

    /// How many commands were sent so far, whatever became of them.
    pub(super) fn commands(&self) -> u64 {
        self.commands.load(Ordering::Relaxed)
    }

    pub(super) async fn read(&self, name: &str, after: Option<&Position>, wait: Duration) -> Result<Tail, StoreError> {
        // Together, so that an empty log costs no second round trip: where nothing follows on a place, that may be gone.
        let mut both = ::redis::pipe();
        both.add_command(read(name, stream::after(after), wait)).add_command(newest(name));
        let (streams, newest): (Streams, Vec<Entry>) = self.query(name, &both, wait).await?;
        if let Some(tail) = stream::page(&entries_of(streams), after) {
            return Ok(tail);
        }
        let end = newest.first().map(|(id, _)| stream::position(id));
        Ok(stream::nothing(end.as_ref(), after))
    }

    pub(super) async fn end(&self, name: &str) -> Result<Option<Position>, StoreError> {
        let newest: Vec<Entry> = self
            .query(name, ::redis::pipe().add_command(newest(name)), Duration::ZERO)
            .await
            .map(|(newest,)| newest)?;
        Ok(newest.first().map(|(id, _)| stream::position(id)))
    }

    /// A cache reads two logs, so that there are never more.
    fn connection(&self, name: &str) -> Arc<Connection> {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(connections.entry(name.to_owned()).or_default())
    }

    /// Whether the connection of this log is in use: most of the time it waits for the next record.
    pub(super) fn is_waiting(&self, name: &str) -> bool {
        self.connection(name).try_lock().is_err()
    }

    async fn query<T: FromRedisValue>(&self, name: &str, commands: &Pipeline, wait: Duration) -> Result<T, StoreError> {
        let connection = self.connection(name);
        let mut place = connection.lock().await;
        // Taken out until there is an answer: a connection whose reader gave up would answer the next one's question.
        let kept = place.take();
        let is_kept = kept.is_some();
        let mut connection = match kept {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let mut answer = self.ask(&mut connection, commands, wait).await;
        // A connection that broke since it was used last says nothing of the server; a new one does.
        if is_kept && answer.as_ref().is_err_and(is_broken) {
            connection = self.connect().await?;
            answer = self.ask(&mut connection, commands, wait).await;
        }
        let answer = answer.map_err(|error| reply::read_error(&Fault::Redis(error)))?;
        *place = Some(connection);
        Ok(answer)
    }

    async fn connect(&self) -> Result<MultiplexedConnection, StoreError> {
        self.is_refused.store(false, Ordering::Relaxed);
        let connected = connect(self.server.clone()).await;
        connected.map_err(|failure| {
            self.is_refused.store(is_refused(&failure.why), Ordering::Relaxed);
            StoreError::Unavailable(failure.why)
        })
    }

    async fn ask<T: FromRedisValue>(
        &self,
        connection: &mut MultiplexedConnection,
        commands: &Pipeline,
        wait: Duration,
    ) -> Result<T, RedisError> {
        connection.set_response_timeout(wait + ANSWER_WITHIN);
        self.commands.fetch_add(commands.len() as u64, Ordering::Relaxed);
        commands.query_async(connection).await.map_err(single)
    }
}

/// Whether an error is that the connection broke.
fn is_broken(error: &RedisError) -> bool {
    error.code().is_none() && !error.is_timeout() && (error.is_io_error() || error.is_unrecoverable_error())
}

impl RedisStore {
    async fn ask_for_log<T: FromRedisValue>(&self, name: &str, command: Cmd) -> Result<T, StoreError> {
        match &self.servers {
            Servers::One(node) => node.query(&command).await.map_err(|fault| reply::read_error(&fault)),
            Servers::Many(cluster) => cluster.ask_one(name, command).await,
        }
    }
}

#[async_trait]
impl PolledStream for RedisStore {
    async fn newest(&self, name: &str) -> Result<Option<Position>, StoreError> {
        let newest: Vec<Entry> = self.ask_for_log(name, newest(name)).await?;
        Ok(newest.first().map(|(id, _)| stream::position(id)))
    }

    async fn entries(&self, name: &str, after: &str) -> Result<Vec<Entry>, StoreError> {
        self.ask_for_log(name, read(name, after, Duration::ZERO)).await.map(entries_of)
    }
}
