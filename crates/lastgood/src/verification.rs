//! How far memory may be believed, given what was heard of the other processes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::clock::Timestamp;
use crate::entry::Entry;

/// How often the log is read, and when its silence is noticed. All of it follows from how long memory is believed
/// without it, because a reader who is content with a long time need not ask often where each question is billed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pace {
    /// How long one read of the log waits for a record.
    pub(crate) wait: Duration,
    /// What an answer may take beyond that before the log counts as silent. Most of a second by default: a machine that is
    /// busy with something else must not look like a Redis that is away.
    pub(crate) grace: Duration,
    /// How old what was heard may be at most for memory to be served as fresh.
    pub(crate) bound: Duration,
}

impl Pace {
    /// Shorter bounds would take the usual delays of a network and a busy machine for silence.
    const LEAST: Duration = Duration::from_millis(500);

    pub(crate) fn of(bound: Duration) -> Pace {
        let bound = bound.max(Pace::LEAST);
        let wait = (bound / 6).min(Duration::from_secs(10));
        Pace { wait, grace: (bound * 2 / 5).min(Duration::from_secs(2)), bound }
    }

    /// After how long without an answer the log counts as silent.
    pub(crate) fn silent_after(&self) -> Duration {
        self.wait + self.grace
    }
}

/// How far an entry in memory may be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Every invalidation of it by another process was heard.
    Verified,
    /// The log is silent, or what was heard of it is old; not for so long that it would matter.
    Grace,
    /// Another process may have invalidated it: it is revalidated before it is served, unless nothing better is there.
    Unverified,
    /// The same, and it stays unknown: the log was lost with its store, or something happened to the key there.
    Missed,
}

/// What was heard of the log, in times of this process's clock.
#[derive(Debug)]
pub(crate) struct Verification {
    /// Entries cached at or before this time may have missed an invalidation.
    unverified_until: AtomicU64,
    /// When the last read of the log that was answered began: nothing that was published before is missing.
    last_read_at: AtomicU64,
    /// Until when the log does not count as silent.
    verified_until: AtomicU64,
    /// Since when the server is known not to be there for anybody, and when that was seen last; zero while it is not.
    away_since: AtomicU64,
    away_at: AtomicU64,
    /// How long memory is believed past what was heard, or past when it was taken in.
    bound: Duration,
    /// Whether this process listens already, or has given up waiting for it: an entry that it reads before may have
    /// missed an invalidation.
    listens: watch::Sender<Listens>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Listens {
    NotYet,
    /// Something was read before, and may be in memory.
    TooLate,
    Yes,
}

impl Verification {
    /// Without a log there is nothing to read.
    pub(crate) fn without_a_log() -> Verification {
        let forever = || AtomicU64::new(Timestamp::FOREVER.as_millis());
        let listens = watch::Sender::new(Listens::Yes);
        let (last_read_at, verified_until) = (forever(), forever());
        Verification {
            unverified_until: AtomicU64::new(0),
            last_read_at,
            verified_until,
            away_since: AtomicU64::new(0),
            away_at: AtomicU64::new(0),
            bound: Duration::ZERO,
            listens,
        }
    }

    /// As if everything had been heard until `now`.
    pub(crate) fn since(now: Timestamp, pace: Pace) -> Verification {
        let last_read_at = AtomicU64::new(now.as_millis());
        let verified_until = AtomicU64::new(now.plus(pace.silent_after()).as_millis());
        let listens = watch::Sender::new(Listens::NotYet);
        let unverified_until = AtomicU64::new(Entry::DOUBTED.as_millis());
        let (away_since, away_at) = (AtomicU64::new(0), AtomicU64::new(0));
        Verification { unverified_until, last_read_at, verified_until, away_since, away_at, bound: pace.bound, listens }
    }

    /// Whether it is known already whether this process listens.
    pub(crate) fn is_listening(&self) -> bool {
        *self.listens.borrow() != Listens::NotYet
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

    /// No caller need wait for it any longer.
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

    /// The log answered at `answered_at` a read that began at `asked_at`; the next answer is due by `next_by`. Says whether
    /// what it said is recent: an answer that waited for a process which was stopped, or in a network, is as old as its
    /// question.
    pub(crate) fn heard(&self, asked_at: Timestamp, answered_at: Timestamp, next_by: Timestamp) -> bool {
        let until = next_by.min(asked_at.plus(self.bound));
        self.away_since.store(0, Ordering::Relaxed);
        self.last_read_at.store(asked_at.as_millis(), Ordering::Relaxed);
        self.verified_until.store(until.as_millis(), Ordering::Relaxed);
        answered_at <= until
    }

    /// From `now` on anything may be missed.
    pub(crate) fn cut_off(&self, now: Timestamp) {
        self.verified_until.fetch_min(now.as_millis(), Ordering::Relaxed);
        self.away_since.store(0, Ordering::Relaxed);
    }

    /// The server, asked at `asked_at`, is down for all: entries cached while that lasts cannot have been removed
    /// from it.
    pub(crate) fn away(&self, asked_at: Timestamp, now: Timestamp) {
        self.verified_until.fetch_min(now.as_millis(), Ordering::Relaxed);
        self.away_at.store(asked_at.as_millis(), Ordering::Relaxed);
        let _ = self.away_since.compare_exchange(0, now.as_millis(), Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Whether an entry was taken in since the server is known to be away.
    fn is_of_the_absence(&self, taken_at: Timestamp, at: Timestamp) -> bool {
        let away_since = self.away_since.load(Ordering::Relaxed);
        let away_at = Timestamp::from_millis(self.away_at.load(Ordering::Relaxed));
        away_since > 0 && taken_at.as_millis() > away_since && at.since(away_at) <= self.bound
    }

    /// Entries in memory at `now` may have missed an invalidation.
    pub(crate) fn missed(&self, now: Timestamp) {
        self.unverified_until.fetch_max(now.as_millis(), Ordering::Relaxed);
    }

    /// Until when the log does not count as silent.
    pub(crate) fn verified_until(&self) -> Timestamp {
        Timestamp::from_millis(self.verified_until.load(Ordering::Relaxed))
    }

    /// How far an entry may be believed at `at`.
    #[inline]
    pub(crate) fn standing(&self, entry: &Entry, at: Timestamp) -> Standing {
        if self.is_verified(entry, at.as_millis()) { Standing::Verified } else { self.standing_unverified(entry, at) }
    }

    /// Whether that is as far as can be; `at` is in milliseconds.
    #[inline]
    pub(crate) fn is_verified(&self, entry: &Entry, at: u64) -> bool {
        entry.taken_at.number() > self.unverified_until.load(Ordering::Relaxed)
            && at <= self.verified_until.load(Ordering::Relaxed)
    }

    fn standing_unverified(&self, entry: &Entry, at: Timestamp) -> Standing {
        let taken_at = entry.taken_at;
        if taken_at.as_millis() <= self.unverified_until.load(Ordering::Relaxed) {
            // What happened to the key may be a removal that the log is still to tell of.
            let may_be_published = entry.is_doubted() && at > self.verified_until();
            return if may_be_published { Standing::Unverified } else { Standing::Missed };
        }
        if at <= self.verified_until() {
            return Standing::Verified;
        }
        let last_read_at = Timestamp::from_millis(self.last_read_at.load(Ordering::Relaxed));
        // Others may have put something all the same, where it is this process alone that the port refuses.
        let is_of_the_absence = entry.was_loaded() && self.is_of_the_absence(taken_at, at);
        match at.since(last_read_at.max(taken_at)) <= self.bound || is_of_the_absence {
            true => Standing::Grace,
            false => Standing::Unverified,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Loaded;
    use crate::policy::Times;

    /// What a load brought that took a millisecond.
    fn taken(at: u64) -> Entry {
        let (began, at) = (Timestamp::from_millis(at - 1), Timestamp::from_millis(at));
        Entry::new(Loaded::default(), began, at, Times { fresh_until: at, stale_until: at, keep_until: at })
    }

    fn put(at: u64) -> Entry {
        let at = Timestamp::from_millis(at);
        Entry::new(Loaded::default(), at, at, Times { fresh_until: at, stale_until: at, keep_until: at })
    }

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn while_the_log_is_not_read_memory_is_believed_for_a_while() {
        let verification = Verification::since(at(1_000), Pace::of(Duration::from_secs(2)));
        assert_eq!(verification.standing(&taken(900), at(2_133)), Standing::Verified);
        assert_eq!(
            verification.standing(&taken(900), at(2_134)),
            Standing::Grace,
            "the silence is noticed after a second"
        );
        assert_eq!(verification.standing(&taken(900), at(3_000)), Standing::Grace);
        assert_eq!(verification.standing(&taken(900), at(3_001)), Standing::Unverified);
        assert_eq!(verification.standing(&taken(1_400), at(3_400)), Standing::Grace, "from when it was taken in");
        assert!(verification.heard(at(3_100), at(3_400), at(4_450)));
        assert_eq!(verification.standing(&taken(900), at(4_450)), Standing::Verified);
        verification.cut_off(at(4_000));
        assert_eq!(verification.standing(&taken(900), at(4_001)), Standing::Grace);
        assert_eq!(
            verification.standing(&taken(900), at(5_101)),
            Standing::Unverified,
            "from when the last answered read began"
        );
    }

    #[test]
    fn an_answer_that_was_under_way_for_longer_than_the_bound_says_nothing_of_now() {
        let verification = Verification::since(at(1_000), Pace::of(Duration::from_secs(2)));
        assert!(!verification.heard(at(1_000), at(31_000), at(32_050)), "the process was stopped for half a minute");
        assert_eq!(verification.standing(&taken(900), at(31_000)), Standing::Unverified);
        assert_eq!(verification.standing(&taken(30_999), at(31_000)), Standing::Grace);
        assert!(verification.heard(at(31_000), at(31_001), at(32_051)));
        assert_eq!(verification.standing(&taken(900), at(31_001)), Standing::Verified);
    }

    #[test]
    fn what_was_taken_in_while_the_server_is_away_is_believed_until_it_may_be_back() {
        let verification = Verification::since(at(1_000), Pace::of(Duration::from_secs(2)));
        verification.away(at(2_000), at(2_001));
        assert_eq!(verification.standing(&taken(900), at(2_002)), Standing::Grace);
        verification.away(at(9_000), at(9_001));
        assert_eq!(
            verification.standing(&taken(900), at(9_002)),
            Standing::Unverified,
            "it may have been removed before"
        );
        assert_eq!(verification.standing(&taken(2_002), at(11_000)), Standing::Grace);
        assert_eq!(verification.standing(&taken(2_002), at(11_001)), Standing::Unverified, "by now it may be back");
        assert_eq!(verification.standing(&put(8_000), at(9_800)), Standing::Grace);
        assert_eq!(
            verification.standing(&put(2_002), at(9_800)),
            Standing::Unverified,
            "others may have put something later"
        );
        verification.cut_off(at(11_500));
        verification.away(at(12_000), at(12_001));
        assert_eq!(
            verification.standing(&taken(2_002), at(12_002)),
            Standing::Unverified,
            "it may have been back between"
        );
    }

    #[test]
    fn the_log_is_asked_as_often_as_the_bound_wants_it() {
        let pace = |bound| {
            let Pace { wait, grace, bound } = Pace::of(Duration::from_millis(bound));
            [wait, grace, bound].map(|span| span.as_millis())
        };
        assert_eq!(pace(2_000), [333, 800, 2_000]);
        assert_eq!(pace(60_000), [10_000, 2_000, 60_000]);
        assert_eq!(pace(3_600_000), [10_000, 2_000, 3_600_000]);
        assert_eq!(pace(0), [83, 200, 500]);
    }

    #[test]
    fn what_was_there_when_something_was_missed_is_not_believed() {
        let verification = Verification::since(at(1_000), Pace::of(Duration::from_secs(10)));
        verification.missed(at(1_000));
        assert!(verification.heard(at(1_000), at(1_000), at(9_000)));
        assert_eq!(verification.standing(&taken(1_000), at(1_100)), Standing::Missed);
        assert_eq!(verification.standing(&taken(1_001), at(1_100)), Standing::Verified);
        assert_eq!(Verification::without_a_log().standing(&taken(1), at(u64::MAX / 2)), Standing::Verified);
    }
}
