//! How far memory may be believed, given what was heard of the other processes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::clock::Timestamp;
use crate::entry::Entry;

/// What an answer of the log may take, or a start, before the log counts as unreadable.
pub(crate) const GRACE: Duration = Duration::from_secs(2);

/// How far an entry in memory may be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// Every invalidation of it by another process was heard.
    Heard,
    /// The log cannot be read at the moment; not for so long that it would matter.
    CutOff,
    /// Another process may have invalidated it: it is revalidated before it is served, unless nothing better is there.
    Unverified,
}

/// What was heard of the log, in times of this process's clock.
#[derive(Debug)]
pub(crate) struct Hearing {
    /// What memory took in at or before this may have been invalidated unheard.
    unverified_until: AtomicU64,
    /// Until when nothing can have been missed.
    heard_until: AtomicU64,
    /// How long memory is believed past that.
    bound: Duration,
    /// Whether this process listens already, or has given up waiting for it: what it reads before may be invalidated
    /// unheard.
    listens: watch::Sender<Listens>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Listens {
    NotYet,
    /// Something was read before, and may be in memory.
    TooLate,
    Yes,
}

impl Hearing {
    /// Without a log there is nobody to be heard.
    pub(crate) fn of_nobody() -> Hearing {
        let heard_until = AtomicU64::new(Timestamp::FOREVER.as_millis());
        let listens = watch::Sender::new(Listens::Yes);
        Hearing { unverified_until: AtomicU64::new(0), heard_until, bound: Duration::ZERO, listens }
    }

    /// As if everything had been heard until `now`.
    pub(crate) fn since(now: Timestamp, bound: Duration) -> Hearing {
        let heard_until = AtomicU64::new(now.as_millis());
        let listens = watch::Sender::new(Listens::NotYet);
        Hearing { unverified_until: AtomicU64::new(0), heard_until, bound, listens }
    }

    /// Waits until this process listens, at most until `deadline`, and that once.
    pub(crate) async fn listens(&self, deadline: Instant) {
        if *self.listens.borrow() == Listens::NotYet {
            let mut listens = self.listens.subscribe();
            let waited = timeout_at(deadline, listens.wait_for(|listens| *listens != Listens::NotYet)).await;
            if waited.is_err() {
                self.not_yet();
            }
        }
    }

    /// Nobody need wait for it any longer.
    pub(crate) fn not_yet(&self) {
        self.listens.send_if_modified(|listens| {
            let waited = *listens == Listens::NotYet;
            if waited {
                *listens = Listens::TooLate;
            }
            waited
        });
    }

    /// From now on everything is heard; what was taken in before, if anything was, is not believed.
    pub(crate) fn begins(&self, now: Timestamp) {
        if self.listens.send_replace(Listens::Yes) == Listens::TooLate {
            self.missed(now);
        }
    }

    /// Nothing is missed before `until`, unless [`Hearing::cut_off`] says otherwise.
    pub(crate) fn heard(&self, until: Timestamp) {
        self.heard_until.store(until.as_millis(), Ordering::Relaxed);
    }

    /// From `now` on anything may be missed.
    pub(crate) fn cut_off(&self, now: Timestamp) {
        self.heard_until.fetch_min(now.as_millis(), Ordering::Relaxed);
    }

    /// What memory holds at `now` may have been invalidated unheard.
    pub(crate) fn missed(&self, now: Timestamp) {
        self.unverified_until.fetch_max(now.as_millis(), Ordering::Relaxed);
    }

    /// Until when nothing can have been missed.
    pub(crate) fn heard_until(&self) -> Timestamp {
        Timestamp::from_millis(self.heard_until.load(Ordering::Relaxed))
    }

    /// How far an entry may be believed at `at`.
    pub(crate) fn trust(&self, entry: &Entry, at: Timestamp) -> Trust {
        let (heard_until, taken_at) = (self.heard_until(), entry.taken_at);
        if taken_at.as_millis() <= self.unverified_until.load(Ordering::Relaxed) {
            return Trust::Unverified;
        }
        if at <= heard_until {
            return Trust::Heard;
        }
        match at.since(heard_until.max(taken_at)) <= self.bound {
            true => Trust::CutOff,
            false => Trust::Unverified,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Loaded;
    use crate::policy::Times;

    fn taken(at: u64) -> Entry {
        let at = Timestamp::from_millis(at);
        Entry::new(Loaded::default(), at, at, Times { fresh_until: at, stale_until: at, keep_until: at })
    }

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn while_the_log_is_not_read_memory_is_believed_for_a_while() {
        let hearing = Hearing::since(at(1_000), Duration::from_millis(500));
        assert_eq!(hearing.trust(&taken(900), at(1_000)), Trust::Heard);
        assert_eq!(hearing.trust(&taken(900), at(1_500)), Trust::CutOff);
        assert_eq!(hearing.trust(&taken(900), at(1_501)), Trust::Unverified);
        assert_eq!(hearing.trust(&taken(1_400), at(1_900)), Trust::CutOff, "from when it was taken in");
        hearing.heard(at(3_000));
        assert_eq!(hearing.trust(&taken(900), at(2_000)), Trust::Heard);
        hearing.cut_off(at(2_100));
        assert_eq!(hearing.trust(&taken(900), at(2_200)), Trust::CutOff);
    }

    #[test]
    fn what_was_there_when_something_was_missed_is_not_believed() {
        let hearing = Hearing::since(at(1_000), Duration::from_secs(1));
        hearing.missed(at(1_000));
        hearing.heard(at(9_000));
        assert_eq!(hearing.trust(&taken(1_000), at(1_100)), Trust::Unverified);
        assert_eq!(hearing.trust(&taken(1_001), at(1_100)), Trust::Heard);
        assert_eq!(Hearing::of_nobody().trust(&taken(1), at(u64::MAX / 2)), Trust::Heard);
    }
}
