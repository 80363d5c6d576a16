//! The life of a connection: subscriptions that follow the entries in use, a watchdog, and a successor before its end.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, interval, sleep_until};

use super::connection::{Connection, Connector};
use super::error::StreamError;
use super::{Streams, Wanted};
use crate::Venue;
use crate::stream::{LIFETIME_SECONDS, MESSAGES_A_SECOND, Message, request};
use crate::upstream::BaseUrl;

/// How soon a newly wanted stream is subscribed to.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A connection on which something is subscribed to and nothing comes for so long delivers nothing: candles come each
/// second or two, and a wrong route stays silent without a word.
pub(super) const SILENCE: Duration = Duration::from_secs(15);
/// So long before the exchange ends a connection, its successor takes over.
const SUCCEEDED_BEFORE: Duration = Duration::from_secs(3_600);
/// A successor that delivers nothing in so long is none.
const SUCCEEDS_WITHIN: Duration = Duration::from_secs(30);
/// Streams in one request; it must fit into a message of some KB.
const STREAMS_A_REQUEST: usize = 100;

/// A connection with its subscriptions.
pub(super) struct Session {
    host: BaseUrl,
    venue: Venue,
    connection: Connection,
    subscribed: BTreeSet<String>,
    /// Requests that wait for their turn.
    requests: VecDeque<String>,
    last_id: u64,
    begun_at: Instant,
    heard_at: Instant,
    /// Whether anything has come on its subscriptions.
    delivers: bool,
}

/// Why a session ended.
pub(super) enum Ended {
    /// Nothing is in use.
    Unused,
    Broken(StreamError),
}

/// What goes on next in a session.
enum Next {
    Heard(Result<String, StreamError>),
    Look,
    Send,
    Silence,
}

impl Session {
    pub(super) async fn begin(connector: &Connector, host: &BaseUrl, venue: Venue) -> Result<Session, StreamError> {
        let now = Instant::now();
        Ok(Session {
            host: host.clone(),
            venue,
            connection: Connection::open(connector, host, venue).await?,
            subscribed: BTreeSet::new(),
            requests: VecDeque::new(),
            last_id: 0,
            begun_at: now,
            heard_at: now,
            delivers: false,
        })
    }

    /// Goes on until nothing is in use or the connection breaks; the successors of the connection are part of it.
    pub(super) async fn run(mut self, streams: &Streams) -> Ended {
        let mut look = interval(LOOK_EVERY);
        let mut turn = interval(Duration::from_secs(1) / (MESSAGES_A_SECOND - 1));
        let mut targets = Wanted::new();
        loop {
            let next = tokio::select! {
                text = self.connection.next() => Next::Heard(text),
                _ = look.tick() => Next::Look,
                _ = turn.tick(), if !self.requests.is_empty() => Next::Send,
                () = sleep_until(self.heard_at + SILENCE), if !self.subscribed.is_empty() => Next::Silence,
            };
            let went_on = match next {
                Next::Heard(Ok(text)) => self.hear(streams, &targets, &text).await,
                Next::Heard(Err(why)) => Err(why),
                Next::Look => {
                    targets = streams.wanted(self.venue);
                    streams.keep_order_of(self.venue, &targets);
                    if targets.is_empty() {
                        return Ended::Unused;
                    }
                    self.subscribe_to(streams, &targets);
                    self.succeed_in_time(streams, &targets).await
                }
                Next::Send => match self.requests.pop_front() {
                    Some(text) => self.connection.send(text).await,
                    None => Ok(()),
                },
                Next::Silence => Err(StreamError::Silent),
            };
            if let Err(why) = went_on {
                return Ended::Broken(why);
            }
        }
    }

    async fn hear(&mut self, streams: &Streams, targets: &Wanted, text: &str) -> Result<(), StreamError> {
        match streams.read(self.venue, text) {
            Some(Message::Shutdown) => self.succeed(streams, targets).await,
            Some(Message::Reply(Some(fault))) => {
                tracing::warn!(venue = %self.venue, fault, "the exchange refuses a subscription");
                Ok(())
            }
            Some(message) => {
                if streams.take(self.venue, targets, message).await {
                    (self.heard_at, self.delivers) = (Instant::now(), true);
                }
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Subscribes to newly wanted streams, and unsubscribes from those no longer wanted.
    fn subscribe_to(&mut self, streams: &Streams, targets: &Wanted) {
        let wanted: BTreeSet<String> = targets.keys().cloned().collect();
        for (begin, streams) in [
            (false, self.subscribed.difference(&wanted).cloned().collect::<Vec<_>>()),
            (true, wanted.difference(&self.subscribed).cloned().collect()),
        ] {
            for some in streams.chunks(STREAMS_A_REQUEST) {
                self.last_id += 1;
                self.requests.push_back(request(begin, some, self.last_id));
            }
        }
        if self.subscribed.is_empty() {
            // Nothing could have been heard before.
            self.heard_at = Instant::now();
        }
        streams.counters(self.venue).subscribed.store(wanted.len() as u64, Ordering::Relaxed);
        self.subscribed = wanted;
    }

    async fn succeed_in_time(&mut self, streams: &Streams, targets: &Wanted) -> Result<(), StreamError> {
        let lifetime = Duration::from_secs(LIFETIME_SECONDS).saturating_sub(SUCCEEDED_BEFORE);
        if self.begun_at.elapsed() < lifetime {
            return Ok(());
        }
        self.succeed(streams, targets).await
    }

    /// Connects a successor and lets it take over once it delivers; until then this connection stays.
    async fn succeed(&mut self, streams: &Streams, targets: &Wanted) -> Result<(), StreamError> {
        tracing::info!(venue = %self.venue, host = self.host.name(), "streams move to a new connection");
        let mut successor = Session::begin(&streams.connector, &self.host, self.venue).await?;
        streams.counters(self.venue).connections.fetch_add(1, Ordering::Relaxed);
        successor.subscribe_to(streams, targets);
        while let Some(text) = successor.requests.pop_front() {
            successor.connection.send(text).await?;
            tokio::time::sleep(Duration::from_secs(1) / (MESSAGES_A_SECOND - 1)).await;
        }
        let until = Instant::now() + SUCCEEDS_WITHIN;
        let mut is_up = true;
        while !successor.delivers {
            tokio::select! {
                text = self.connection.next(), if is_up => {
                    // The old one may end first; the new one is what counts.
                    is_up = text.is_ok();
                    if let Some(message) = text.ok().and_then(|text| streams.read(self.venue, &text)) {
                        streams.take(self.venue, targets, message).await;
                    }
                }
                text = successor.connection.next() => {
                    if let Some(message) = streams.read(self.venue, &text?) {
                        successor.delivers |= streams.take(self.venue, targets, message).await;
                    }
                }
                () = sleep_until(until) => return Err(StreamError::SuccessorSilent),
            }
        }
        successor.heard_at = Instant::now();
        *self = successor;
        Ok(())
    }
}
