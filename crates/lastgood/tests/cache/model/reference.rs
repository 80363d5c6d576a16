//! What may be answered: every value carries its version, every change is known from its call to its acknowledgement.

use std::collections::HashMap;
use std::time::Duration;

use lastgood::{Answer, Reason};
use tokio::time::Instant;

use super::leases::{Begun, Leases};
use super::schedule::{KEYS, NODES};
use super::world::HARD_TIMEOUT;

/// How long before the next read of the log a node that could not reach it may pause.
pub(super) const LISTENS_WITHIN: Duration = Duration::from_secs(14);
/// A store that was troubled so recently may still be avoided.
pub(super) const TROUBLED: Duration = Duration::from_secs(6);

/// How wrong a node may be about the store's clock: half of the longest round trip that it waits for, and the rounding.
pub(super) const CLOCK_IS_WRONG_BY: Duration = Duration::from_millis(14);
/// How far two nodes may differ on what they call one moment, as when a put comes late over another.
pub(super) const CLOCKS_DIFFER_BY: Duration = Duration::from_millis(2 * CLOCK_IS_WRONG_BY.as_millis() as u64);
/// So far apart two puts may be that are under way at a time, and either stands in the end: each takes the place of what came up
/// to 20 ms and twice its own error after it.
pub(super) const PUTS_CROSS_WITHIN: Duration = Duration::from_millis(20 + 4 * CLOCK_IS_WRONG_BY.as_millis() as u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Put(u64),
    Expire,
    Remove,
}

/// A change of one key, from its call on.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) id: u64,
    pub(super) node: usize,
    pub(super) incarnation: u64,
    pub(super) kind: Kind,
    /// It names more than one key.
    pub(super) is_wide: bool,
    pub(super) is_of_tag: bool,
    /// Versions up to this are older, but for those that other nodes had put and that were not acknowledged yet.
    pub(super) floor: u64,
    pub(super) exempt: Vec<u64>,
    pub(super) begun: Instant,
    pub(super) acked: Option<Instant>,
    pub(super) is_lost: bool,
    /// The store has lost what it held since, perhaps this as well.
    pub(super) is_lost_by_the_store: bool,
    /// It was by tag, and the store has lost its mark: the nodes that had not heard of it, and never will.
    pub(super) mark_lost_to: Option<[bool; NODES]>,
    /// The log holds it before this record.
    pub(super) log_end: usize,
}

/// Where a version is from.
#[derive(Clone, Copy)]
pub(super) struct Birth {
    pub(super) at: Instant,
    pub(super) node: usize,
    pub(super) is_put: bool,
}

#[derive(Default)]
pub(super) struct Known {
    pub(super) changes: Vec<Change>,
    pub(super) births: HashMap<u64, Birth>,
    /// No answer may be older than this acknowledged put, and there must be one.
    pub(super) kept: Option<u64>,
    /// Loads that run: of which node and process, since when, and how often that had been ordered to detach them.
    pub(super) running: Vec<Running>,
}

pub(super) struct Running {
    version: u64,
    pub(super) node: usize,
    incarnation: u64,
    pub(super) since: Instant,
    detached: u64,
    /// It waited for the loads of other nodes, and nothing was wrong when it began.
    pub(super) waits: bool,
    pub(super) was_well: bool,
}

/// What a node has heard without a gap: from one record of the log to another. What it was given it may still have to apply.
#[derive(Clone, Copy, Default)]
struct Heard {
    from: usize,
    to: usize,
    given: usize,
}

/// How a node stood when a read of it began.
pub(super) struct Standing {
    pub(super) node: usize,
    pub(super) incarnation: u64,
    pub(super) at: Instant,
    pub(super) cut_at: Option<Instant>,
    pub(super) was_silent: bool,
    pub(super) missed: usize,
    /// Whether it could hear again when the read was answered.
    pub(super) hears_again: bool,
}

pub(super) struct Reference {
    began: Instant,
    last: u64,
    changes: u64,
    pub(super) known: [Known; KEYS.len()],
    pub(super) leases: Leases,
    /// How often each node detached loads of each key.
    detached: [[u64; KEYS.len()]; NODES],
    /// Of which keys each node was given records of the log that it may still have to apply: it may ask the store for the time
    /// first.
    applying: [[bool; KEYS.len()]; NODES],
    heard: [Heard; NODES],
    pub(super) violation: Option<String>,
    pub(super) judged: u64,
}

impl Reference {
    pub(super) fn new() -> Reference {
        Reference {
            began: Instant::now(),
            last: 0,
            changes: 0,
            known: Default::default(),
            leases: Leases::default(),
            detached: Default::default(),
            applying: Default::default(),
            heard: Default::default(),
            violation: None,
            judged: 0,
        }
    }

    pub(super) fn violated(&mut self, what: String) {
        self.violation.get_or_insert(what);
    }

    fn next(&mut self, node: usize, key: usize, is_put: bool) -> u64 {
        self.last += 1;
        self.known[key].births.insert(self.last, Birth { at: Instant::now(), node, is_put });
        self.last
    }

    /// How often a node has detached its loads of a key so far.
    pub(super) fn detached(&self, node: usize, key: usize) -> u64 {
        self.detached[node][key]
    }

    /// A load of `key` begins at a node, for a read from when the node had detached its loads so often: the version that
    /// it will bring.
    pub(super) fn load_begins(&mut self, begun: &Begun, incarnation: u64, detached: u64) -> u64 {
        let &Begun { node, key, waits, is_well, .. } = begun;
        self.judge_load(begun);
        let (now_detached, known) = (self.detached[node][key], &self.known[key]);
        let other = known.running.iter().find(|other| {
            let is_own = |change: &Change| (change.node, change.incarnation) == (node, incarnation);
            // A change detaches at some time between its call and its acknowledgement.
            let detaches = |change: &Change| is_own(change) && change.acked.is_none_or(|at| at >= other.since);
            let is_same = (other.node, other.incarnation) == (node, incarnation);
            // One that was detached before it asked the source goes on, too.
            let is_detached = [other.detached, detached] != [now_detached; 2]
                || self.applying[node][key]
                || known.changes.iter().any(detaches);
            is_same && !is_detached && other.since.elapsed() < HARD_TIMEOUT
        });
        if let Some(other) = other {
            let what = format!("node {node} loads key {key} twice at a time: v{} and another", other.version);
            self.violated(what);
        }
        let version = self.next(node, key, false);
        let (since, was_well) = (Instant::now(), is_well);
        self.known[key].running.push(Running { version, node, incarnation, since, detached, waits, was_well });
        version
    }

    pub(super) fn load_ends(&mut self, key: usize, version: u64) {
        self.known[key].running.retain(|running| running.version != version);
    }

    pub(super) fn running(&self) -> usize {
        self.known.iter().map(|known| known.running.len()).sum()
    }

    /// A put of `key` begins: its version.
    pub(super) fn put_begins(&mut self, node: usize, incarnation: u64, key: usize) -> (u64, u64) {
        let version = self.next(node, key, true);
        let change = self.change(node, incarnation, &[key], Kind::Put(version), false, false);
        (version, change)
    }

    /// A change of some keys begins.
    pub(super) fn change(
        &mut self,
        node: usize,
        incarnation: u64,
        keys: &[usize],
        kind: Kind,
        is_wide: bool,
        is_of_tag: bool,
    ) -> u64 {
        self.changes += 1;
        let floor = if let Kind::Put(version) = kind { version - 1 } else { self.last };
        for key in keys {
            self.detached[node][*key] += 1;
            let known = &mut self.known[*key];
            // The store knows which put came first, to the exactness of clocks. Of a removal it keeps nothing.
            let exempt = known.of_the_same_time_elsewhere(node, kind);
            if kind == Kind::Remove {
                known.kept = None;
            }
            known.changes.push(Change {
                id: self.changes,
                node,
                incarnation,
                kind,
                is_wide,
                is_of_tag,
                floor,
                exempt,
                begun: Instant::now(),
                acked: None,
                is_lost: false,
                is_lost_by_the_store: false,
                mark_lost_to: None,
                log_end: 0,
            });
        }
        if is_wide {
            // What a load under way will bring is not known: its tags, for example.
            self.detached[node].iter_mut().for_each(|times| *times += 1);
        }
        self.changes
    }

    /// The store has the change, and the log says so before `log_end`.
    pub(super) fn acknowledged(&mut self, id: u64, log_end: usize) {
        let now = Instant::now();
        for (key, known) in self.known.iter_mut().enumerate() {
            let Some(at) = known.changes.iter().position(|change| change.id == id) else { continue };
            known.changes[at].acked = Some(now);
            known.changes[at].log_end = log_end;
            let acked = known.changes[at].clone();
            if let Kind::Put(version) = acked.kind
                && !acked.is_lost_by_the_store
            {
                known.kept = known.kept_after(&acked, version);
            }
            // A change of a whole region detaches once more when it reaches the store.
            self.detached[acked.node][key] += 1;
        }
    }

    pub(super) fn unacknowledged(&self) -> usize {
        let changes = self.known.iter().flat_map(|known| &known.changes);
        changes.filter(|change| change.acked.is_none() && !change.is_lost).count()
    }

    /// The process of a node has ended: what was not acknowledged may have been made or not.
    pub(super) fn crashed(&mut self, node: usize, incarnation: u64) {
        self.applied(node);
        self.listens(node, usize::MAX);
        let changes = self.known.iter_mut().flat_map(|known| &mut known.changes);
        changes.filter_map(|change| change.mark_lost_to.as_mut()).for_each(|lost| lost[node] = true);
        for known in &mut self.known {
            let is_its = |change: &&mut Change| (change.node, change.incarnation) == (node, incarnation);
            let pending = known.changes.iter_mut().filter(is_its).filter(|change| change.acked.is_none());
            pending.for_each(|change| change.is_lost = true);
            known.running.retain(|running| (running.node, running.incarnation) != (node, incarnation));
        }
    }

    /// The store does not have what it had.
    pub(super) fn lost_by_the_store(&mut self, key: usize) {
        self.known[key].kept = None;
        self.leases.lost(key);
        // An entry acknowledged from now on may have been there before.
        for change in &mut self.known[key].changes {
            change.is_lost_by_the_store |= change.acked.is_none();
        }
    }

    /// The store has lost what it took since then, and the log with it.
    pub(super) fn marks_lost_since(&mut self, since: Instant) {
        for change in self.known.iter_mut().flat_map(|known| &mut known.changes) {
            if change.is_of_tag && change.acked.is_none_or(|at| at >= since) {
                let has_heard = |heard: &Heard| heard.from < change.log_end && change.log_end <= heard.to;
                change.mark_lost_to = Some(std::array::from_fn(|node| !has_heard(&self.heard[node])));
            }
        }
    }

    /// A node begins to listen to the log: of what was said before it knows nothing.
    pub(super) fn listens(&mut self, node: usize, from: usize) {
        self.heard[node] = Heard { from, to: from, given: from };
    }

    /// A node is given records of the log: it may detach what it loads.
    pub(super) fn heard(&mut self, node: usize, records: &[bytes::Bytes], end: usize, is_complete: bool) {
        self.heard[node].given = end;
        for record in records {
            let text = String::from_utf8_lossy(record);
            let is_wide = ["@tags", "-where", "cleared", "everything"].iter().any(|word| text.contains(word));
            for (key, is_applying) in self.applying[node].iter_mut().enumerate() {
                let store_key = super::schedule::store_key(key);
                let name = store_key.strip_prefix("lastgood:").unwrap_or_default();
                *is_applying |= is_wide || text.contains(name);
            }
        }
        if !is_complete {
            self.heard[node].from = end;
            self.applying[node] = [true; KEYS.len()];
        }
    }

    /// A node asks for more of the log: it has applied what it was given.
    pub(super) fn applied(&mut self, node: usize) {
        self.heard[node].to = self.heard[node].given;
        for (times, is_applying) in self.detached[node].iter_mut().zip(&mut self.applying[node]) {
            *times += u64::from(std::mem::take(is_applying));
        }
    }

    /// Judges an answer to a read that began when the node stood so.
    pub(super) fn judge(
        &mut self,
        key: usize,
        standing: &Standing,
        answer: &Result<(u64, Answer), Reason>,
        is_well: impl Fn(Duration) -> bool,
    ) {
        self.judged += 1;
        let took = standing.at.elapsed();
        if took > HARD_TIMEOUT + Duration::from_millis(2_500) {
            self.violated(format!("a read of key {key} at node {} took {took:?}", standing.node));
        }
        let known = &self.known[key];
        let fault = match answer {
            Err(reason) => known.fault_of_error(*reason, || is_well(TROUBLED), standing),
            Ok((version, answer)) => known.fault_of(*version, answer, standing, self.began),
        };
        if let Some(fault) = fault {
            self.violated(format!("key {key} at node {}: {fault}", standing.node));
        }
    }

    /// What must be found once everything is well: at least this version.
    pub(super) fn kept(&self, key: usize) -> Option<u64> {
        self.known[key].kept
    }
}
