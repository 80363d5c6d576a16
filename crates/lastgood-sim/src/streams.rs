//! The market-data streams: WebSocket connections on the port of the requests.
//!
//! A connection is pushed what changed: at the cadence of its streams while the clock runs, and at once when the clock
//! is moved by hand. Keep-alive and lifetime go by the exchange's clock too; only what belongs to the wire itself, as
//! the number of messages a second, goes by the real one.

mod connection;
mod events;
mod names;
mod requests;
mod route;
mod subscription;
mod upgrade;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use crate::{Fault, FaultKind, State, Venue, lock};

pub(crate) use self::route::Route;
pub(crate) use self::upgrade::{Handover, upgrade};

/// The most streams on a connection.
const MOST_STREAMS: usize = 1_024;
/// Attempts to connect are counted for so long, in ms.
const ATTEMPT_WINDOW: u64 = 5 * 60_000;

/// All open connections.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    open: Mutex<Open>,
    attempts: Mutex<HashMap<(Venue, IpAddr), (u64, u32)>>,
}

#[derive(Debug, Default)]
struct Open {
    /// In the order in which they were opened.
    connections: BTreeMap<u64, Entry>,
    opened: u64,
}

#[derive(Debug)]
struct Entry {
    path: String,
    subscribed: usize,
    order: watch::Sender<Order>,
}

/// A command to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    GoOn,
    /// Announce the end.
    ShutDown,
    /// Break the connection without a word.
    Drop,
}

impl Streams {
    /// Connections that are open, and the subscriptions on all of them.
    pub(crate) fn sizes(&self) -> (u64, u64) {
        let open = lock(&self.open);
        let subscribed = open.connections.values().map(|entry| entry.subscribed as u64).sum();
        (open.connections.len() as u64, subscribed)
    }

    /// Carries out a fault that is over once it has struck the connections that are open; others it hands back.
    pub(crate) fn strike_open(&self, fault: Fault) -> Option<Fault> {
        let order = match fault.kind {
            FaultKind::StreamDrop => Order::Drop,
            FaultKind::StreamShutdown => Order::ShutDown,
            _ => return Some(fault),
        };
        let most = fault.times.map_or(usize::MAX, |times| times as usize);
        let open = lock(&self.open);
        let struck = open.connections.values().filter(|entry| entry.path.starts_with(&fault.path_prefix));
        for entry in struck.take(most) {
            entry.order.send_replace(order);
        }
        None
    }

    /// Counts an attempt to connect; none says how many seconds are left if it is one too many.
    fn attempt(&self, venue: Venue, address: IpAddr, most: u32, now: u64) -> Result<(), u64> {
        let window = now / ATTEMPT_WINDOW;
        let mut attempts = lock(&self.attempts);
        attempts.retain(|_, (at, _)| *at == window);
        let (_, count) = attempts.entry((venue, address)).or_insert((window, 0));
        *count = count.saturating_add(1);
        if *count <= most { Ok(()) } else { Err((ATTEMPT_WINDOW - now % ATTEMPT_WINDOW).div_ceil(1_000)) }
    }
}

/// An open connection's entry, which ends with it.
struct Registration {
    state: Arc<State>,
    number: u64,
}

impl Registration {
    fn new(state: &Arc<State>, path: &str) -> (Self, watch::Receiver<Order>) {
        let (order, orders) = watch::channel(Order::GoOn);
        let mut open = lock(&state.streams.open);
        open.opened += 1;
        let number = open.opened;
        open.connections.insert(number, Entry { path: path.to_owned(), subscribed: 0, order });
        drop(open);
        state.counters().streams.total += 1;
        (Registration { state: Arc::clone(state), number }, orders)
    }

    fn subscribed(&self, count: usize) {
        if let Some(entry) = lock(&self.state.streams.open).connections.get_mut(&self.number) {
            entry.subscribed = count;
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        lock(&self.state.streams.open).connections.remove(&self.number);
    }
}
