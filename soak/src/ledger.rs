//! What was acknowledged when, and the judgement of every answer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::faultlog::{FaultLog, Struck};
use crate::judge::{Act, Bounds, Change, Finding, Old, Read, history, judge};
use crate::places::{Kind, Place};
use crate::time::Clock;

/// Changes of one place that are remembered: minutes of them.
const MOST_CHANGES: usize = 2_000;
/// Violations that are told one by one.
const MOST_TOLD: usize = 200;
/// How long after a fault its consequences are its own, in milliseconds: connections are made again, sources that failed
/// are left alone for a while.
const AFTERMATH: u64 = 10_000;
/// How long after a fault of the store, of the way to it, or of the gateway itself, a value that it holds is found again.
const STORE_IS_BACK: u64 = 3_000;
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

/// What is counted. The names are the table's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Violation {
    CacheError,
    OldAfterRemoval,
    OldAfterPut,
    OldAfterExpiry,
    Unlabelled,
    LostPut,
    WentBack,
    Condition,
    NeverWritten,
    Loads,
    Growth,
}

impl Violation {
    pub(crate) const ALL: [(Violation, &'static str); 11] = [
        (Violation::CacheError, "errors caused by the cache"),
        (Violation::OldAfterRemoval, "values older than an acknowledged removal, past the bound"),
        (Violation::OldAfterPut, "values older than an acknowledged put, past the bound"),
        (Violation::OldAfterExpiry, "expired values without a label, past the bound"),
        (Violation::Unlabelled, "answers older than their label says"),
        (Violation::LostPut, "acknowledged puts lost"),
        (Violation::WentBack, "answers older than the one before at the same gateway"),
        (Violation::Condition, "conditions decided wrongly"),
        (Violation::NeverWritten, "changes that still wait although all is well"),
        (Violation::Loads, "keys loaded more than once a gateway and window"),
        (Violation::Growth, "growth of memory, handles or threads"),
    ];
}

/// One violation.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) violation: Violation,
    pub(crate) at: u64,
    pub(crate) faults: String,
    pub(crate) what: String,
    /// How often the same was seen, this time included, and the last time.
    pub(crate) times: u64,
    pub(crate) last: u64,
    /// What makes another violation the same.
    same: String,
}

/// Counts, and the largest of each kind.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) reads: u64,
    pub(crate) by_label: BTreeMap<String, u64>,
    pub(crate) changes: u64,
    pub(crate) acknowledged: u64,
    pub(crate) pending: u64,
    pub(crate) pending_in_quiet: u64,
    pub(crate) unknown: u64,
    /// Errors that the source, or a gateway that was down, explains.
    pub(crate) explained_errors: u64,
    /// Values that were not found while the store was away.
    pub(crate) absent_in_outage: u64,
    /// Answers from before an acknowledged change that the bound or a label allows.
    pub(crate) old_within_bound: u64,
    pub(crate) old_unverified: u64,
    /// The longest that such a change was acknowledged before, in milliseconds: unlabelled ones, and those without any fault.
    pub(crate) longest: u64,
    pub(crate) longest_in_quiet: u64,
    pub(crate) longest_unverified: u64,
    /// Pending changes that a killed gateway took with it, as it had said.
    pub(crate) gone_with_gateway: u64,
    /// Answers that were asked for just before the one that came before, and by how much at most.
    pub(crate) swapped: u64,
    pub(crate) swapped_by: u64,
    pub(crate) violations: BTreeMap<Violation, u64>,
    /// By how many milliseconds the worst of a kind was too late, lost or old.
    pub(crate) worst: BTreeMap<Violation, u64>,
    pub(crate) told: Vec<Told>,
}

impl Tally {
    fn worsen(&mut self, violation: Violation, by: u64) {
        let worst = self.worst.entry(violation).or_default();
        *worst = by.max(*worst);
    }
}

#[derive(Debug, Default)]
struct Books {
    changes: Vec<Vec<Change>>,
    /// The newest answer of each place at each gateway: when its read ended, and when the source was asked.
    newest: Vec<[Option<(u64, u64)>; 2]>,
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
        let newest = places.iter().map(|_| [None; 2]).collect();
        let books = Books { changes, newest, ..Books::default() };
        Ledger { books: Arc::new(Mutex::new(books)), places: Arc::new(places), faults, clock, bounds }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn tally(&self) -> Tally {
        self.books().tally.clone()
    }

    /// A change of these places begins.
    pub(crate) fn begin(&self, places: &[usize], act: Act, told: &str) -> u64 {
        let (began, told): (u64, Arc<str>) = (self.clock.now(), told.into());
        let mut books = self.books();
        books.next_id += 1;
        let id = books.next_id;
        for place in places {
            let Some(changes) = books.changes.get_mut(*place) else { continue };
            if changes.len() >= MOST_CHANGES {
                changes.drain(..MOST_CHANGES / 4);
            }
            changes.push(Change { id, act, began, ended: None, acknowledged: None, told: Arc::clone(&told) });
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

    /// Judges an answer to a read.
    pub(crate) fn read(&self, place: usize, gateway: usize, read: &Read) {
        let Some(asked) = self.places.get(place) else { return };
        let mut books = self.books();
        books.tally.reads += 1;
        let label = if read.said.cache.is_empty() { read.said.status.to_string() } else { read.said.cache.clone() };
        *books.tally.by_label.entry(label).or_default() += 1;
        if read.said.status >= 300 && read.said.status != 404 || read.said.status == 0 {
            return self.error(&mut books, asked, gateway, read);
        }
        let changes = books.changes.get(place).cloned().unwrap_or_default();
        for finding in judge(asked.kind, &changes, read, self.bounds) {
            self.take(&mut books, asked, gateway, read, &changes, finding);
        }
        self.order(&mut books, place, gateway, read);
    }

    fn take(&self, books: &mut Books, asked: &Place, gateway: usize, read: &Read, changes: &[Change], found: Finding) {
        let told = |id: u64| {
            let change = changes.iter().find(|change| change.id == id);
            let what = change.map(|change| Arc::clone(&change.told)).unwrap_or_default();
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
                    told(old.id)
                );
                books.tally.worsen(violation, old.by);
                self.violated(books, violation, asked, gateway, read, &what);
            }
            Finding::Lost { is_allowed: true, .. } => books.tally.old_within_bound += 1,
            Finding::Lost { by, id, .. } => {
                let since = read.began.saturating_sub(STORE_IS_BACK);
                let is_away = |struck| matches!(struck, Struck::Store) || struck == Struck::Gateway(gateway);
                if self.faults.any(since, read.ended, is_away) {
                    books.tally.absent_in_outage += 1;
                } else if !books.lost.contains(&id) {
                    books.lost.push(id);
                    let what = format!("expected what was put, acknowledged {by} ms before: {}", told(id));
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
            Struck::Store => false,
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
        match *newest {
            Some((seen_at, seen)) if seen > version && seen_at < read.began && seen - version <= SWAPPED => {
                books.tally.swapped += 1;
                books.tally.swapped_by = books.tally.swapped_by.max(seen - version);
            }
            Some((seen_at, seen)) if seen > version && seen_at < read.began => {
                let changes = books.changes.get(place).map(|changes| history(changes, read)).unwrap_or_default();
                let by = seen - version;
                let what =
                    format!("asked for {by} ms before the answer before it, expected none older; changes:{changes}");
                books.tally.worsen(Violation::WentBack, by);
                self.violated(books, Violation::WentBack, asked, gateway, read, &what);
            }
            Some((_, seen)) if seen >= version => {}
            _ => *newest = Some((read.ended, version)),
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
        let told = &mut books.tally.told;
        if let Some(known) = told.iter_mut().rev().find(|known| known.violation == violation && known.same == same) {
            known.times += 1;
            known.last = at;
        } else if told.len() < MOST_TOLD {
            let faults = self.faults.told(at.saturating_sub(AFTERMATH), to);
            told.push(Told { violation, at, faults, what, times: 1, last: at, same });
        }
    }
}

/// What a gateway is called.
pub(crate) fn name(gateway: usize) -> char {
    ['a', 'b'].get(gateway).copied().unwrap_or('?')
}
