//! The one who loads, and how the load ends.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::{Completed, Flight, Flights, Shard, Voids};
use crate::entry::Entry;
use crate::error::{Error, Reason};
use crate::memory::Key;

/// The duty to end a flight. Dropped without a word, it releases the waiters with [`Reason::Abandoned`].
pub(crate) struct LeaderGuard {
    pub(super) flights: Arc<Flights>,
    pub(super) key: Key,
    pub(super) flight: Arc<Flight>,
}

impl LeaderGuard {
    pub(crate) fn key(&self) -> &Key {
        &self.key
    }

    /// What callers wait on.
    pub(crate) fn flight(&self) -> Arc<Flight> {
        Arc::clone(&self.flight)
    }

    /// Whether no invalidation came since the flight began. Only [`LeaderGuard::write`] may act on the answer.
    fn is_current(&self, shard: &Shard) -> bool {
        shard.current.get(&self.key).is_some_and(|flight| Arc::ptr_eq(flight, &self.flight))
    }

    /// Runs `write` unless the flight was detached meanwhile; says whether it ran.
    pub(crate) fn write(&self, write: impl FnOnce()) -> bool {
        let shard = self.flights.shard(&self.key);
        let current = self.is_current(&shard);
        if current {
            write();
        }
        current
    }

    /// Runs `change` (to memory) with what came over the flight, if it was detached, while nothing else can.
    pub(crate) fn if_detached(&self, change: impl FnOnce(&Voids)) {
        let shard = self.flights.shard(&self.key);
        if !self.is_current(&shard) {
            change(&self.flight.voids.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// Has the waiters take `entry` if the load fails.
    pub(crate) fn keep(&self, entry: Arc<Entry>) {
        let _ = self.flight.kept.set(entry);
    }

    /// Notes which names the store holds nothing of, so that the loader need not ask it again.
    pub(crate) fn note_absent(&self, names: Vec<String>) {
        *self.flight.absent() = names;
    }

    /// Releases the waiters with the entry at hand, while the load goes on.
    pub(crate) fn release(&self, completed: Completed) {
        self.flight.complete(completed);
    }

    /// Ends the flight.
    pub(crate) fn complete(self, completed: Completed) {
        // Out of the table first: a read that finds no flight finds what the flight wrote, so none loads again.
        self.leave();
        self.flight.complete(completed);
    }

    /// Waits until the load before this one has ended; one that hangs is given up.
    pub(crate) async fn wait_for_turn(&self, before: &Flight) {
        let _ = tokio::time::timeout_at(before.overdue_at, self.flight.may_begin.notified()).await;
        self.flights.take_place(&self.key, before, &self.flight);
    }

    /// Takes the flight out of the table, and puts its successor, if one is planned, in its place: no other load can
    /// come between.
    fn leave(&self) {
        let mut shard = self.flights.shard(&self.key);
        self.flight.ended.store(true, Ordering::Relaxed);
        let successor = self.flight.successor.get();
        if self.is_current(&shard) {
            match successor.filter(|successor| !successor.has_ended()) {
                Some(successor) => drop(shard.current.insert(self.key.clone(), Arc::clone(successor))),
                None => drop(shard.current.remove(&self.key)),
            }
        }
        shard.forget_detached(&self.key, &self.flight);
        drop(shard);
        if let Some(successor) = successor {
            successor.may_begin.notify_one();
        }
    }
}

impl Drop for LeaderGuard {
    fn drop(&mut self) {
        self.leave();
        if self.flight.completed.get().is_none() {
            self.flight.complete(Err(Arc::new(Error::new(Reason::Abandoned, "the load ended without an answer"))));
        }
    }
}
