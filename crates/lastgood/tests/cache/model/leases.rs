//! Who may load a key: never two valid leases of it, one load a lease, and one load in the cluster while the store is well
//! and nothing invalidates.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::reference::Reference;
use super::schedule::KEYS;
use super::world::HARD_TIMEOUT;

/// A reader waits this long for another process's load, and then loads without a lease. A little less, for the calls
/// before that.
const WAITS_FOR: Duration = Duration::from_millis(HARD_TIMEOUT.as_millis() as u64 / 2 - 200);
/// So long after its acknowledgement an invalidation may still be on its way to a process that hears well.
const HEARD_WITHIN: Duration = Duration::from_secs(1);

/// Tells a claim from all others: the process that made it, and which of its claims it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Id(u64, u64);

/// The claim that a key of the store holds, as released programs write it.
pub(super) fn claim_in(bytes: &[u8]) -> Option<Id> {
    let body: &[u8; 24] = bytes.strip_prefix(b"LGC1")?.strip_suffix(b"load")?.try_into().ok()?;
    let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|index| body[at + index]));
    Some(Id(number(8), number(16)))
}

/// A claim that stands in the store, and the node that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claimed {
    pub(super) id: Id,
    pub(super) node: usize,
}

/// A load as it begins.
pub(super) struct Begun {
    pub(super) node: usize,
    pub(super) key: usize,
    /// When its reader asked.
    pub(super) asked: Instant,
    /// It waits for others' loads; a reload does not.
    pub(super) waits: bool,
    /// The claim that stands for the key.
    pub(super) claimed: Option<Claimed>,
    /// Nothing was wrong with the store, nor with any node's way to it.
    pub(super) is_well: bool,
}

struct Grant {
    at: Instant,
    loads: u64,
}

/// The state of leases.
#[derive(Default)]
pub(super) struct Leases {
    granted: [HashMap<Id, Grant>; KEYS.len()],
    /// When the store last lost the key.
    lost: [Option<Instant>; KEYS.len()],
    /// How many loads were judged.
    pub(super) judged: u64,
}

impl Leases {
    pub(super) fn lost(&mut self, key: usize) {
        self.lost[key] = Some(Instant::now());
    }
}

impl Reference {
    /// Whether nothing has invalidated the key, and the store has not lost it, since a moment.
    fn is_quiet(&self, key: usize, since: Instant) -> bool {
        // A tag is marked for all keys: only their entries say whether they bear it.
        let tags = self.known.iter().flat_map(|known| &known.changes).filter(|change| change.is_of_tag);
        let changes = self.known[key].changes.iter().chain(tags);
        let is_over = |at: Instant| at + HEARD_WITHIN < since;
        let is_lost = self.leases.lost[key].is_some_and(|at| !is_over(at));
        !is_lost && changes.into_iter().all(|change| change.acked.is_some_and(is_over))
    }

    /// The store takes a claim of `key`, where it held another until now that had not run out.
    pub(super) fn claimed(&mut self, key: usize, held: Option<Id>, to: Id) {
        let now = Instant::now();
        let granted = held.filter(|held| *held != to).and_then(|held| self.leases.granted[key].get(&held));
        if let Some(at) = granted.map(|grant| grant.at)
            && self.is_quiet(key, at)
        {
            self.violated(format!("key {key} has two valid leases: {to:?} while {held:?} stands"));
        }
        self.leases.granted[key].entry(to).or_insert(Grant { at: now, loads: 0 });
    }

    /// A load begins: whether it may, for all that is known of other nodes' loads.
    pub(super) fn judge_load(&mut self, begun: &Begun) {
        let &Begun { node, key, asked, waits, claimed, is_well } = begun;
        if !waits || !is_well || asked.elapsed() > WAITS_FOR {
            return;
        }
        self.leases.judged += 1;
        let granted = claimed.and_then(|claimed| Some((claimed, self.leases.granted[key].get_mut(&claimed.id)?)));
        if let Some((Claimed { id, node: holder }, grant)) = granted {
            grant.loads += u64::from(holder == node);
            let (at, loads) = (grant.at, grant.loads);
            if holder != node && self.is_quiet(key, at) {
                self.violated(format!("node {node} loads key {key} while node {holder} has its lease {id:?}"));
            }
            if loads > 1 && self.is_quiet(key, at) {
                self.violated(format!("node {node} loads key {key} {loads} times for its lease {id:?}"));
            }
        }
        let other = self.known[key]
            .running
            .iter()
            .find(|other| other.waits && other.node != node && other.since.elapsed() < HARD_TIMEOUT && other.was_well);
        if let Some((other, since)) = other.map(|other| (other.node, other.since))
            && self.is_quiet(key, since)
        {
            self.violated(format!("node {node} loads key {key} although node {other} does"));
        }
    }
}
