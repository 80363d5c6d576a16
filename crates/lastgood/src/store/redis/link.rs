//! The connection that callers share, and what they tell its supervisor.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ::redis::aio::MultiplexedConnection;
use ::redis::{Cmd, FromRedisValue, Pipeline, RedisError, ServerError, Value};
use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::RedisOptions;
use super::joined::Joined;
use super::options::Server;

/// Why a command has no answer.
#[derive(Clone)]
pub(super) enum Fault {
    /// There is no connection.
    Down(Arc<String>),
    /// There is none by the time until which its caller waits.
    Late,
    /// The connection or the server says so.
    Redis(RedisError),
}

/// The one connection, when there is one.
pub(super) struct Link {
    options: RedisOptions,
    /// The connection's, which has to run for any answer to come.
    pub(super) runtime: Handle,
    live: ArcSwapOption<Live>,
    /// Where the last connection leads, or led.
    server: ArcSwapOption<Server>,
    why_down: ArcSwap<String>,
    next_number: AtomicU64,
    /// Commands that were sent.
    commands: AtomicU64,
    /// Wakes the supervisor: the connection broke, or somebody got no answer from it.
    pub(super) suspect: Notify,
    /// Wakes who follows a primary: the server took no write.
    pub(super) refused_write: Notify,
}

/// One connection and its number, so that a late report about the last one does not end this one.
pub(super) struct Live {
    number: u64,
    connection: MultiplexedConnection,
    /// Those that wait for one that is silent do not wait for the next one.
    pub(super) reads: Joined,
}

impl Link {
    pub(super) fn new(options: RedisOptions) -> Arc<Self> {
        let why = format!("not connected to {options} yet");
        Arc::new(Link {
            options,
            runtime: Handle::current(),
            live: ArcSwapOption::empty(),
            server: ArcSwapOption::empty(),
            why_down: ArcSwap::from_pointee(why),
            next_number: AtomicU64::new(0),
            commands: AtomicU64::new(0),
            suspect: Notify::new(),
            refused_write: Notify::new(),
        })
    }

    pub(super) fn options(&self) -> &RedisOptions {
        &self.options
    }

    pub(super) fn is_up(&self) -> bool {
        self.live.load().is_some()
    }

    /// Why there is no connection; `None` while there is one.
    pub(super) fn why_down(&self) -> Option<Arc<String>> {
        (!self.is_up()).then(|| self.why_down.load_full())
    }

    /// Notes where the next connection leads.
    pub(super) fn lead_to(&self, server: Option<Server>) {
        self.server.store(server.map(Arc::new));
    }

    /// The server that there is, or was last, a connection to.
    pub(super) fn server(&self) -> Option<Arc<Server>> {
        self.server.load_full()
    }

    /// How many commands were sent so far, whatever became of them.
    pub(super) fn commands(&self) -> u64 {
        self.commands.load(Ordering::Relaxed)
    }

    pub(super) fn count(&self, commands: usize) {
        self.commands.fetch_add(commands as u64, Ordering::Relaxed);
    }

    pub(super) fn hang_up(&self, why: &str) {
        self.why_down.store(Arc::new(format!("not connected to {}: {why}", self.options)));
        self.live.store(None);
    }

    pub(super) fn put_up(&self, connection: MultiplexedConnection) {
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        self.live.store(Some(Arc::new(Live { number, connection, reads: Joined::default() })));
    }

    /// Sends one command over the connection that there is.
    pub(super) async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Fault> {
        self.query_over(&*self.live()?, command).await
    }

    pub(super) async fn query_over<T: FromRedisValue>(&self, live: &Live, command: &Cmd) -> Result<T, Fault> {
        self.count(1);
        let mut watch = self.watch();
        let result = command.query_async(&mut live.connection.clone()).await;
        watch.answered = true;
        self.judge(live.number, result)
    }

    /// Sends several commands together. The answers may be the server's errors.
    pub(super) async fn query_all(&self, commands: &Pipeline) -> Result<Vec<Value>, Fault> {
        let live = self.live()?;
        self.count(commands.len());
        let mut watch = self.watch();
        let result = live.connection.clone().send_packed_commands(commands, 0, commands.len()).await;
        watch.answered = true;
        self.judge(live.number, result)
    }

    /// The connection that there is.
    pub(super) fn live(&self) -> Result<Arc<Live>, Fault> {
        self.live.load_full().ok_or_else(|| self.down())
    }

    pub(super) fn down(&self) -> Fault {
        Fault::Down(self.why_down.load_full())
    }

    /// For as long as a caller waits for an answer.
    pub(super) fn watch(&self) -> Unanswered<'_> {
        Unanswered { link: self, answered: false }
    }

    fn judge<T>(&self, number: u64, result: Result<T, RedisError>) -> Result<T, Fault> {
        result.map_err(|error| {
            let error = single(error);
            // A server's own error codes come over a sound connection.
            if error.code().is_none() && (error.is_io_error() || error.is_unrecoverable_error()) {
                self.report(number, &error);
            }
            if error.code() == Some("READONLY") {
                self.refused_write.notify_one();
            }
            Fault::Redis(error)
        })
    }

    /// Takes a broken connection down, unless it was replaced already.
    fn report(&self, number: u64, error: &RedisError) {
        let live = self.live.load();
        if live.as_ref().is_some_and(|live| live.number == number) {
            self.why_down.store(Arc::new(format!("lost the connection to {}: {error}", self.options)));
            self.live.compare_and_swap(&live, None);
            self.suspect.notify_one();
        }
    }
}

/// An error with its code and the server's words. That of several commands in one round trip has neither: then the first of
/// theirs.
pub(super) fn single(error: RedisError) -> RedisError {
    let first = |errors: &[(usize, ServerError)]| errors.first().map(|(_, error)| RedisError::from(error.clone()));
    let of_server = error.clone().into_server_errors();
    of_server.as_deref().and_then(first).unwrap_or(error)
}

/// Tells the supervisor of a caller that gave up waiting: the server may have fallen silent.
pub(super) struct Unanswered<'a> {
    link: &'a Link,
    pub(super) answered: bool,
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.link.suspect.notify_one();
        }
    }
}
