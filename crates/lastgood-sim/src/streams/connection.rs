//! One connection: requests in, events out, kept alive by pings.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::requests::{Asked, Refused, Request, result};
use super::route::Route;
use super::subscription::Subscription;
use super::{MOST_STREAMS, Order, Registration};
use crate::{FaultKind, State, Venue};

/// A pong must come within this many ms of the exchange's clock.
const PONG_WITHIN: u64 = 60_000;
/// And is waited for at least so long, for a clock may jump over that minute while the pong is under way.
const PONG_UNDER_WAY: Duration = Duration::from_millis(250);
/// An announced end is this far off, in ms.
const NOTICE: u64 = 10 * 60_000;
/// A client that does not read for this long is given up.
const PATIENCE: Duration = Duration::from_secs(10);
/// So long the other side may take to close too.
const FAREWELL: Duration = Duration::from_secs(1);

/// A connection before its handshake is through.
pub(super) struct Connection {
    state: Arc<State>,
    route: Route,
    registration: Registration,
    orders: watch::Receiver<Order>,
    moves: watch::Receiver<()>,
    combined: bool,
    subscriptions: Vec<Subscription>,
    /// When it ends, by the exchange's clock.
    end: u64,
    next_ping: u64,
    ping: Option<Ping>,
    /// When the last messages came.
    came: VecDeque<Instant>,
}

/// A ping that waits for its pong.
struct Ping {
    payload: Bytes,
    until: u64,
    sent: Instant,
}

/// Why a connection ends.
enum End {
    /// The other side went.
    Gone,
    Close(CloseCode, &'static str),
}

impl<E: std::error::Error> From<E> for End {
    fn from(_: E) -> Self {
        End::Gone
    }
}

/// What a connection waited for.
enum Woken {
    Message(Message),
    Moved,
    Ordered,
    Time,
    Gone,
}

type Socket = WebSocketStream<TokioIo<Upgraded>>;

impl Connection {
    pub(super) fn new(state: &Arc<State>, mut route: Route) -> Self {
        let (registration, orders) = Registration::new(state, &route.path);
        let moves = state.clock.moves();
        let now = state.clock.now();
        let lifetime = u64::try_from(state.config().stream_lifetime.as_millis()).unwrap_or(u64::MAX);
        let names = std::mem::take(&mut route.streams);
        let mut connection = Connection {
            state: Arc::clone(state),
            registration,
            orders,
            moves,
            combined: route.combined,
            subscriptions: Vec::new(),
            end: now.saturating_add(lifetime),
            next_ping: now + ping_period(route.area.venue()),
            ping: None,
            came: VecDeque::new(),
            route,
        };
        connection.subscribe(names);
        connection
    }

    /// Serves it to its end.
    pub(super) async fn run(mut self, mut socket: Socket) {
        let mut orders = self.orders.clone();
        let dropped = async {
            // The sender lives as long as the registration, and so longer than this.
            let _ = orders.wait_for(|order| *order == Order::Drop).await;
        };
        tokio::select! {
            () = dropped => {}
            () = self.serve(&mut socket) => {}
        }
    }

    async fn serve(&mut self, socket: &mut Socket) {
        let mut at_once = false;
        let end = loop {
            if let Err(end) = self.push(socket, at_once).await {
                break end;
            }
            let woken = self.wait(socket).await;
            at_once = matches!(woken, Woken::Moved);
            let done = match woken {
                Woken::Message(message) => self.receive(socket, message).await,
                Woken::Ordered => self.announce_end(socket).await,
                Woken::Gone => Err(End::Gone),
                Woken::Moved | Woken::Time => Ok(()),
            };
            if let Err(end) = done {
                break end;
            }
        };
        let farewell = async {
            if let End::Close(code, reason) = end {
                let _ = socket.close(Some(CloseFrame { code, reason: reason.into() })).await;
            }
            // Unread bytes would break the connection before the other side read its end.
            while let Some(Ok(_)) = socket.next().await {}
        };
        let _ = timeout(FAREWELL, farewell).await;
    }

    async fn wait(&mut self, socket: &mut Socket) -> Woken {
        let wake = self.wake();
        let time = async {
            match wake {
                Some(wake) => sleep(wake).await,
                None => std::future::pending().await,
            }
        };
        // In this order, so that changes are sent before a later request is answered.
        tokio::select! {
            biased;
            Ok(()) = self.orders.changed() => Woken::Ordered,
            Ok(()) = self.moves.changed() => Woken::Moved,
            message = socket.next() => match message {
                Some(Ok(message)) => Woken::Message(message),
                Some(Err(_)) | None => Woken::Gone,
            },
            () = time => Woken::Time,
        }
    }

    /// How long until something is due by itself; a clock that stands brings nothing about.
    fn wake(&self) -> Option<Duration> {
        let clock = &self.state.clock;
        let looks = self.subscriptions.iter().filter_map(Subscription::next).min();
        let pong = self.ping.as_ref().and_then(|ping| match clock.until(ping.until) {
            Some(Duration::ZERO) => Some(PONG_UNDER_WAY.saturating_sub(ping.sent.elapsed())),
            missing => missing,
        });
        let next_ping = self.ping.is_none().then_some(self.next_ping);
        let due = [looks, next_ping, Some(self.end)].into_iter().flatten().min();
        [due.and_then(|due| clock.until(due)), pong].into_iter().flatten().min()
    }

    /// Sends all that is due.
    async fn push(&mut self, socket: &mut Socket, at_once: bool) -> Result<(), End> {
        let now = self.state.clock.now();
        for position in 0..self.subscriptions.len() {
            let subscription = &mut self.subscriptions[position];
            let events = subscription.look(&self.state.catalogue, now, at_once);
            let name =
                (self.combined && !events.is_empty()).then(|| Value::from(subscription.name.as_str()).to_string());
            for event in events {
                let text = match &name {
                    Some(name) => format!(r#"{{"stream":{name},"data":{event}}}"#),
                    None => event,
                };
                self.send_event(socket, text).await?;
            }
        }
        if now >= self.end {
            return Err(End::Close(CloseCode::Away, "Connection lifetime is over"));
        }
        if self.ping.as_ref().is_some_and(|ping| now >= ping.until && ping.sent.elapsed() >= PONG_UNDER_WAY) {
            return Err(End::Close(CloseCode::Policy, "Pong timeout"));
        }
        // A clock that was set back must not put off the pings until it is as late again.
        self.next_ping = self.next_ping.min(now + ping_period(self.route.area.venue()));
        if self.ping.is_none() && now >= self.next_ping {
            let payload = Bytes::from(now.to_string());
            socket.feed(Message::Ping(payload.clone())).await?;
            self.next_ping = now + ping_period(self.route.area.venue());
            self.ping = Some(Ping { payload, until: now + PONG_WITHIN, sent: Instant::now() });
        }
        timeout(PATIENCE, socket.flush()).await??;
        Ok(())
    }

    /// Sends an event, unless a fault swallows or spoils it.
    async fn send_event(&self, socket: &mut Socket, text: String) -> Result<(), End> {
        match self.state.faults.strike_event(&self.route.path) {
            Some(FaultKind::StreamSilent) => Ok(()),
            Some(_) => self.send(socket, "\u{1}not json at all <<<".to_owned()).await,
            None => self.send(socket, text).await,
        }
    }

    async fn send(&self, socket: &mut Socket, text: String) -> Result<(), End> {
        timeout(PATIENCE, socket.feed(Message::Text(text.into()))).await??;
        self.state.counters().streams.messages += 1;
        Ok(())
    }

    async fn announce_end(&mut self, socket: &mut Socket) -> Result<(), End> {
        let now = self.state.clock.now();
        self.end = self.end.min(now + NOTICE);
        self.send(socket, json!({"e": "serverShutdown", "E": now}).to_string()).await
    }

    async fn receive(&mut self, socket: &mut Socket, message: Message) -> Result<(), End> {
        if let Message::Pong(payload) = &message
            && self.ping.as_ref().is_some_and(|ping| ping.payload == *payload)
        {
            self.ping = None;
            return Ok(());
        }
        self.count_message()?;
        let answer = match message {
            Message::Text(text) => self.answer(text.as_bytes()),
            Message::Binary(bytes) => self.answer(&bytes),
            // Pings are answered by the library.
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => return Ok(()),
            Message::Close(_) => return Err(End::Gone),
        };
        self.registration.subscribed(self.subscriptions.len());
        self.send(socket, answer).await
    }

    /// Answers to pings are not counted: a clock that is moved by hand asks for more of them than a real one.
    fn count_message(&mut self) -> Result<(), End> {
        let now = Instant::now();
        while self.came.front().is_some_and(|came| now.duration_since(*came) >= Duration::from_secs(1)) {
            self.came.pop_front();
        }
        self.came.push_back(now);
        match self.came.len() > most_messages(self.route.area.venue()) {
            true => Err(End::Close(CloseCode::Policy, "Too many requests")),
            false => Ok(()),
        }
    }

    fn answer(&mut self, written: &[u8]) -> String {
        let Request { id, asked } = match Request::parse(written) {
            Ok(request) => request,
            Err(refused) => return refused.text(),
        };
        match asked {
            Asked::Subscribe(names) => {
                let before = self.subscriptions.len();
                self.subscribe(names);
                if self.subscriptions.len() > MOST_STREAMS {
                    self.subscriptions.truncate(before);
                    return Refused::too_many(id).text();
                }
                result(&Value::Null, &id)
            }
            Asked::Unsubscribe(names) => {
                self.subscriptions.retain(|subscription| !names.contains(&subscription.name));
                result(&Value::Null, &id)
            }
            Asked::List => {
                let names: Vec<&str> =
                    self.subscriptions.iter().map(|subscription| subscription.name.as_str()).collect();
                result(&json!(names), &id)
            }
            Asked::SetCombined(combined) => {
                self.combined = combined;
                result(&Value::Null, &id)
            }
            Asked::GetCombined => result(&Value::Bool(self.combined), &id),
        }
    }

    /// Adds those that are not there yet.
    fn subscribe(&mut self, names: Vec<String>) {
        let now = self.state.clock.now();
        for name in names {
            if !self.subscriptions.iter().any(|subscription| subscription.name == name) {
                self.subscriptions.push(Subscription::new(&self.state.catalogue, self.route.area, name, now));
            }
            if self.subscriptions.len() > MOST_STREAMS {
                break;
            }
        }
        self.registration.subscribed(self.subscriptions.len());
    }
}

fn ping_period(venue: Venue) -> u64 {
    if venue == Venue::Spot { 20_000 } else { 180_000 }
}

/// The most messages that may come in a second.
fn most_messages(venue: Venue) -> usize {
    if venue == Venue::Spot { 5 } else { 10 }
}
