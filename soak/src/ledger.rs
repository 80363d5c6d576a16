//! What was acknowledged when, and the judgement of every answer.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::faultlog::{FaultLog, Struck};
use crate::judge::{Act, Bounds, Change, Finding, Old, Read, Said, history, judge};
use crate::places::{Kind, Place};
use crate::tally::{Reported, Tally, Violation};
use crate::time::Clock;

/// Changes of one place that are remembered: minutes of them.
const MOST_CHANGES: usize = 2_000;
/// Violations that are listed one by one.
const MOST_REPORTED: usize = 200;
/// How long after a fault its consequences are its own, in milliseconds: connections are made again, sources that failed
/// are left alone for a while.
const AFTERMATH: u64 = 10_000;
/// Questions that are under way at the same time may arrive at the source in another order than they began, when one has
/// to make its connection first.
const SWAPPED: u64 = 500;
/// A read that takes longer is an error.
pub(crate) const PATIENCE: u64 = 20_000;

/// How a change ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// 200, 201, 204: it is done.
    Acknowledged,
    /// 202: it waits at the gateway, and outlives it or does not.
    Pending { outlives: bool },
    /// It was not made.
    Refused,
    /// No answer: it may have been made.
    Unknown,
}

/// The newest answer to a question so far.
#[derive(Clone, Debug)]
struct Newest {
    /// When its read ended.
    seen_at: u64,
    /// When the source was asked for it.
    version: u64,
    /// Where it came from.
    label: String,
}

#[derive(Debug, Default)]
struct Books {
    changes: Vec<Vec<Change>>,
    /// The newest answer of each place at each gateway.
    newest: Vec<[Option<Newest>; 2]>,
    waiting: Vec<Waiting>,
    next_id: u64,
    lost: Vec<u64>,
    tally: Tally,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    id: u64,
    gateway: usize,
    since: u64,
    outlives: bool,
}

/// The ledger. Clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    books: Arc<Mutex<Books>>,
    pub(crate) places: Arc<Vec<Place>>,
    pub(crate) faults: FaultLog,
    pub(crate) clock: Clock,
    bounds: Bounds,
}

impl Ledger {
    pub(crate) fn new(places: Vec<Place>, faults: FaultLog, clock: Clock, bounds: Bounds) -> Ledger {
        let changes = places.iter().map(|_| Vec::new()).collect();
        let newest = places.iter().map(|_| [None, None]).collect();
        let books = Books { changes, newest, ..Books::default() };
        Ledger { books: Arc::new(Mutex::new(books)), places: Arc::new(places), faults, clock, bounds }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn tally(&self) -> Tally {
        self.books().tally.clone()
    }

    /// A change of these places begins at this gateway.
    pub(crate) fn begin(&self, places: &[usize], gateway: usize, act: Act, what: &str) -> u64 {
        let (began, what): (u64, Arc<str>) = (self.clock.now(), what.into());
        let mut books = self.books();
        books.next_id += 1;
        let id = books.next_id;
        for place in places {
            let Some(changes) = books.changes.get_mut(*place) else { continue };
            if changes.len() >= MOST_CHANGES {
                changes.drain(..MOST_CHANGES / 4);
            }
            changes.push(Change { id, act, gateway, began, ended: None, acknowledged: None, what: Arc::clone(&what) });
        }
        id
    }

    /// It was answered by this gateway.
    pub(crate) fn end(&self, id: u64, gateway: usize, how: Ended) {
        let now = self.clock.now();
        let mut books = self.books();
        books.tally.changes += 1;
        match how {
            Ended::Refused => books.changes.iter_mut().for_each(|changes| changes.retain(|change| change.id != id)),
            Ended::Acknowledged => books.tally.acknowledged += 1,
            Ended::Unknown => books.tally.unknown += 1,
            Ended::Pending { outlives } => {
                books.tally.pending += 1;
                books.tally.pending_in_quiet +=
                    u64::from(!self.faults.any(now.saturating_sub(AFTERMATH), now, |_| true));
                books.waiting.push(Waiting { id, gateway, since: now, outlives });
            }
        }
        for change in books.changes.iter_mut().flatten().filter(|change| change.id == id) {
            change.ended = Some(now);
            change.acknowledged = (how == Ended::Acknowledged).then_some(now);
        }
    }

    /// The gateway said, to a question from `asked_at`, that nothing waits for the store.
    pub(crate) fn nothing_waits(&self, gateway: usize, asked_at: u64) {
        let now = self.clock.now();
        let mut books = self.books();
        let is_done = |waiting: &Waiting| waiting.gateway == gateway && waiting.since < asked_at;
        let done: Vec<u64> =
            books.waiting.iter().filter(|waiting| is_done(waiting)).map(|waiting| waiting.id).collect();
        books.waiting.retain(|waiting| !is_done(waiting));
        for change in books.changes.iter_mut().flatten().filter(|change| done.contains(&change.id)) {
            change.acknowledged = Some(now);
        }
    }

    /// The gateway was killed: what it holds in memory is gone, and what waited there, unless it outlives it.
    pub(crate) fn killed(&self, gateway: usize) {
        let mut books = self.books();
        books.newest.iter_mut().for_each(|newest| newest[gateway] = None);
        let before = books.waiting.len();
        books.waiting.retain(|waiting| waiting.gateway != gateway || waiting.outlives);
        books.tally.gone_with_gateway += (before - books.waiting.len()) as u64;
    }

    /// The last changes of a place, for people.
    pub(crate) fn history(&self, place: usize) -> String {
        let now = self.clock.now();
        let read = Read { began: now, ended: now, version: None, said: Said::default() };
        self.books().changes.get(place).map(|changes| history(changes, &read)).unwrap_or_default()
    }

    /// Whether a fault kept this gateway from the store lately.
    pub(crate) fn is_store_away(&self, gateway: usize) -> bool {
        let now = self.clock.now();
        let is_away = |struck| struck == Struck::Store || struck == Struck::Gateway(gateway);
        self.faults.any(now.saturating_sub(1_000), now, is_away)
    }

    /// Whether anything but a put may have changed a place since then.
    pub(crate) fn is_removed_since(&self, place: usize, at: u64) -> bool {
        let books = self.books();
        let may_be = |change: &Change| {
            !matches!(change.act, Act::Put(_)) && change.ended.is_none_or(|ended| ended >= at.saturating_sub(1_000))
        };
        books.changes.get(place).is_some_and(|changes| changes.iter().any(may_be))
    }

    /// How many changes wait for the store.
    pub(crate) fn waiting(&self) -> usize {
        self.books().waiting.len()
    }

    /// Judges an answer to a read. Says whether a value seems to be lost: it is if the last of some reads does not find it.
    /// `last` is what the gateways say about the key then.
    pub(crate) fn read(&self, place: usize, gateway: usize, read: &Read, last: Option<&str>) -> bool {
        let Some(asked) = self.places.get(place) else { return false };
        let mut books = self.books();
        books.tally.reads += 1;
        let label = if read.said.cache.is_empty() { read.said.status.to_string() } else { read.said.cache.clone() };
        *books.tally.by_label.entry(label).or_default() += 1;
        // On a machine that is too busy for Redis the store does not answer in time either.
        let is_of_store = |struck| matches!(struck, Struck::Store | Struck::Machine);
        if asked.kind == Kind::Value && read.said.is_unasked() && self.is_struck(read, is_of_store) {
            // Memory does not hold the value, and the gateway says that it cannot ask the store.
            books.tally.not_found += 1;
            return false;
        }
        if read.said.status >= 300 && read.said.status != 404 || read.said.status == 0 {
            self.error(&mut books, asked, gateway, read);
            return false;
        }
        let mut seems_lost = false;
        let changes = books.changes.get(place).cloned().unwrap_or_default();
        for finding in judge(asked.kind, &changes, read, self.bounds) {
            match finding {
                Finding::Lost { is_allowed: false, .. } if last.is_none() => {
                    seems_lost = true;
                    books.tally.not_found += 1;
                }
                finding => self.take(&mut books, (asked, gateway, read), &changes, finding, last),
            }
        }
        self.order(&mut books, place, gateway, read);
        seems_lost
    }

    fn take(
        &self,
        books: &mut Books,
        (asked, gateway, read): (&Place, usize, &Read),
        changes: &[Change],
        found: Finding,
        last: Option<&str>,
    ) {
        let described = |id: u64| {
            let change = changes.iter().find(|change| change.id == id);
            let what = change.map(|change| Arc::clone(&change.what)).unwrap_or_default();
            format!("{what}; the last changes:{}", history(changes, read))
        };
        match found {
            Finding::Old(old) if old.is_allowed => self.allowed(&mut books.tally, read, &old),
            Finding::Old(old) => {
                let (violation, what) = match (old.is_put, old.is_soft) {
                    (true, _) => (Violation::OldAfterPut, "a put"),
                    (_, true) => (Violation::OldAfterExpiry, "an expiry"),
                    _ => (Violation::OldAfterRemoval, "a removal"),
                };
                let what = format!(
                    "from before {what} acknowledged {} ms before, expected what came after it: {}",
                    old.by,
                    described(old.id)
                );
                books.tally.worsen(violation, old.by);
                self.violated(books, violation, asked, gateway, read, &what);
            }
            Finding::Lost { is_allowed: true, .. } => books.tally.old_within_bound += 1,
            Finding::Lost { by, id, .. } => {
                if !books.lost.contains(&id) {
                    books.lost.push(id);
                    let said = last.unwrap_or_default();
                    let what = format!("expected what was put, acknowledged {by} ms before: {}{said}", described(id));
                    books.tally.worsen(Violation::LostPut, by);
                    self.violated(books, Violation::LostPut, asked, gateway, read, &what);
                }
            }
            Finding::Unlabelled { age, allowed } => {
                let what = format!("{age} ms old, expected at most {allowed} ms by its label");
                books.tally.worsen(Violation::Unlabelled, age);
                self.violated(books, Violation::Unlabelled, asked, gateway, read, &what);
            }
        }
    }

    fn allowed(&self, tally: &mut Tally, read: &Read, old: &Old) {
        if old.is_by_clocks {
            tally.old_by_clocks += 1;
            return;
        }
        if old.is_unverified {
            tally.old_unverified += 1;
            tally.longest_unverified = tally.longest_unverified.max(old.by);
            return;
        }
        tally.old_within_bound += 1;
        tally.longest = tally.longest.max(old.by);
        if !self.is_struck(read, |_| true) {
            tally.longest_in_quiet = tally.longest_in_quiet.max(old.by);
        }
    }

    /// An answer that is none: somebody is to blame.
    fn error(&self, books: &mut Books, asked: &Place, gateway: usize, read: &Read) {
        let is_of_source = asked.kind != Kind::Value;
        let explains = |struck| match struck {
            Struck::Upstream => is_of_source,
            Struck::Gateway(down) => down == gateway,
            Struck::Store | Struck::Machine => false,
        };
        if self.is_struck(read, explains) {
            books.tally.explained_errors += 1;
        } else {
            let what = match read.said.status {
                0 => format!("no answer within {} ms", read.ended - read.began),
                status => format!("status {status} after {} ms", read.ended - read.began),
            };
            self.violated(books, Violation::CacheError, asked, gateway, read, &what);
        }
    }

    fn is_struck(&self, read: &Read, is_meant: impl Fn(Struck) -> bool) -> bool {
        self.faults.any(read.began.saturating_sub(AFTERMATH), read.ended, is_meant)
    }

    /// No answer of a gateway is older than the one before it.
    fn order(&self, books: &mut Books, place: usize, gateway: usize, read: &Read) {
        let (Some(asked), Some(version)) = (self.places.get(place), read.version) else { return };
        let Some(newest) = books.newest.get_mut(place).and_then(|newest| newest.get_mut(gateway)) else { return };
        if asked.kind == Kind::Value {
            return;
        }
        let is_older = |before: &&mut Newest| before.version > version && before.seen_at < read.began;
        if let Some(before) = newest.as_mut().filter(is_older) {
            let by = before.version - version;
            if by <= SWAPPED {
                books.tally.swapped += 1;
                books.tally.swapped_by = books.tally.swapped_by.max(by);
                return;
            }
            let (ago, label) = (read.began - before.seen_at, &before.label);
            let came = format!("came {ago} ms before [{label}]");
            let changes = books.changes.get(place).map(|changes| history(changes, read)).unwrap_or_default();
            let what = format!("asked for {by} ms before one that {came}, expected none older; changes:{changes}");
            books.tally.worsen(Violation::WentBack, by);
            self.violated(books, Violation::WentBack, asked, gateway, read, &what);
        } else if newest.as_ref().is_none_or(|newest| newest.version < version) {
            *newest = Some(Newest { seen_at: read.ended, version, label: read.said.cache_status.clone() });
        }
    }

    fn violated(&self, books: &mut Books, kind: Violation, asked: &Place, gateway: usize, read: &Read, what: &str) {
        let name = name(gateway);
        let what = format!(
            "GET {} at gateway {name} answered {} [{}, {}] {what}",
            asked.target,
            read.version.map_or_else(|| read.said.status.to_string(), |version| format!("version {version}")),
            read.said.cache,
            read.said.cache_status,
        );
        let same = format!("{} {name} {:?}", asked.target, read.version);
        self.count(books, kind, (read.began, read.ended), what, same);
    }

    /// Notes a violation that is not a read's.
    pub(crate) fn note(&self, violation: Violation, what: String) {
        let now = self.clock.now();
        let same = what.clone();
        self.count(&mut self.books(), violation, (now, now), what, same);
    }

    fn count(&self, books: &mut Books, violation: Violation, (at, to): (u64, u64), what: String, same: String) {
        *books.tally.violations.entry(violation).or_default() += 1;
        let reported = &mut books.tally.reported;
        if let Some(known) = reported.iter_mut().rev().find(|known| known.violation == violation && known.same == same)
        {
            known.times += 1;
            known.last = at;
        } else if reported.len() < MOST_REPORTED {
            let faults = self.faults.between(at.saturating_sub(AFTERMATH), to);
            reported.push(Reported { violation, at, faults, what, times: 1, last: at, same });
        }
    }
}

/// What a gateway is called.
pub(crate) fn name(gateway: usize) -> char {
    ['a', 'b'].get(gateway).copied().unwrap_or('?')
}
