//! A change of a key in the store, and the change that replaces it if it fails, comes late or is overtaken.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::{Clock, Timestamp};
use crate::entry::Entry;
use crate::lease::Lease;
use crate::policy::{Policy, Times};
use crate::publisher::Kind;
use crate::store::Ahead;

/// A change of a key in the store.
#[derive(Clone)]
pub(crate) enum Change {
    /// Holds this entry.
    Put(Fill),
    /// Holds this entry, which memory has: there was no room to keep it here.
    PutHeld(Held),
    /// Holds this entry, which says what else is not to be believed: written again until it is there.
    Mark(Fill),
    /// Holds what it holds, but no longer fresh: never what this process has, which may be older.
    Expire(Expiry),
    /// Holds nothing.
    Remove(Removal),
    /// Nothing that starts with the key and a colon.
    RemovePrefix(Removal),
}

/// The end of freshness of what the store holds.
#[derive(Clone)]
pub(crate) struct Expiry {
    /// When it was asked for: what was loaded later stays fresh.
    pub(crate) at: Timestamp,
    pub(crate) schema: u32,
    /// How long what expired may stand in for its source.
    pub(crate) policy: Arc<Policy>,
}

/// A removal.
#[derive(Clone, Copy)]
pub(crate) struct Removal {
    /// When it was asked for.
    pub(crate) at: Timestamp,
    /// Whether the other processes are to hear of it; not where one of them said so.
    pub(crate) tell: bool,
    /// Whether it comes late, so that what was loaded or put after `at` must stay.
    pub(crate) is_late: bool,
}

impl Removal {
    pub(crate) fn at(at: Timestamp, tell: bool) -> Removal {
        Removal { at, tell, is_late: false }
    }

    pub(crate) fn late(self) -> Removal {
        Removal { is_late: true, ..self }
    }
}

/// The time of a removal by another process, as far as known, by the clock of this one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Removed {
    /// It was published after this: later puts, and earlier changes, have nothing to do with it.
    pub(crate) since: Timestamp,
    /// When it was asked for at the latest. Programs of before do not say so.
    pub(crate) asked_at: Option<Timestamp>,
    /// By which that is known.
    pub(crate) ahead: Ahead,
}

impl Removed {
    /// The key was not removed but changed.
    pub(crate) const NOT: Removed = Removed { since: Timestamp::FOREVER, asked_at: None, ahead: Ahead::NONE };

    /// Whether an application's put from `at` is older. Where that is not known, it counts as older if it is from before
    /// what was heard last.
    pub(super) fn is_after_put(&self, at: Timestamp) -> bool {
        let is_before = |asked_at| self.ahead.present(at) <= asked_at;
        self.since != Timestamp::FOREVER && self.asked_at.map_or(at < self.since, is_before)
    }
}

/// An entry on its way to the store.
#[derive(Clone)]
pub(crate) struct Fill {
    pub(crate) entry: Arc<Entry>,
    pub(crate) form: Form,
    /// Whether it has waited for room: see [`super::WriteBehind::room`].
    pub(crate) has_room: bool,
    /// Whether what the store holds must not be seen again, so that a failed write is repeated, and one that the store
    /// refuses becomes a removal.
    pub(crate) replaces: bool,
    /// Whether it comes late, so that what was put after it must stay.
    pub(crate) is_late: bool,
    /// When the store did not take it: it is written once the others were heard after that, who may have removed the key.
    pub(crate) failed_at: Option<Instant>,
    /// The end of its freshness that was asked for while it waited: what another put before that, and the store holds instead,
    /// ends with it.
    pub(crate) expiry: Option<Expiry>,
    /// The lease of the load that brought it, which ends once all that the load brought is written.
    pub(crate) lease: Option<Arc<Lease>>,
}

/// What a change means if it is lost, or is applied late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChangeKind {
    /// A load's answer, which the next load writes again. It may be applied after an invalidation that overtook it.
    Fill,
    /// A load's answer that the store refuses where something overtook it.
    FencedFill,
    /// It must not be lost.
    Lasting,
}

impl Fill {
    /// The lease that decides whether it is written.
    pub(super) fn fence(&self) -> Option<&Arc<Lease>> {
        self.lease.as_ref().filter(|_| !self.replaces)
    }
}

/// What an entry is encoded with.
#[derive(Clone, Copy)]
pub(crate) struct Form {
    pub(crate) schema: u32,
    pub(crate) compress_over: usize,
}

/// An entry that is to be written and that only memory has.
#[derive(Clone)]
pub(crate) struct Held {
    pub(super) entry: Weak<Entry>,
    pub(super) form: Form,
    pub(super) times: Times,
    pub(super) fetch_started_at: Timestamp,
    pub(super) written_at: Timestamp,
}

impl Held {
    fn of(fill: &Fill) -> Held {
        let Fill { entry, form, .. } = fill;
        let Entry { times, fetch_started_at, written_at, .. } = **entry;
        Held { entry: Arc::downgrade(entry), form: *form, times, fetch_started_at, written_at }
    }

    /// The entry, if memory still has it.
    pub(super) fn current(&self) -> Option<Arc<Entry>> {
        let entry = self.entry.upgrade()?;
        if entry.times == self.times {
            return Some(entry);
        }
        let mut current = entry.copied();
        current.times = self.times;
        Some(Arc::new(current))
    }

    /// Whether `stored` is the same answer, with other times perhaps.
    pub(super) fn is_of(&self, stored: &Entry) -> bool {
        // The clocks may have been compared again meanwhile, with another error.
        const SAME: Duration = Duration::from_millis(500);
        let is_same = |one: Timestamp, other: Timestamp| one.since(other).max(other.since(one)) <= SAME;
        is_same(self.fetch_started_at, stored.fetch_started_at) && is_same(self.written_at, stored.written_at)
    }
}

impl Change {
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Change::Put(fill) | Change::Mark(fill) => fill.entry.body.len() as u64,
            Change::PutHeld(..) | Change::Expire(_) | Change::Remove(_) | Change::RemovePrefix(_) => 0,
        }
    }

    /// Of the body that a row of it has.
    pub(super) fn body_bytes(&self) -> u64 {
        match self {
            Change::PutHeld(held) => held.entry.upgrade().map_or(0, |entry| entry.body.len() as u64),
            change => change.bytes(),
        }
    }

    /// This change, where `older` waited for the same key or has failed. The newer wins, but an entry must be there
    /// before it expires, and a removed one has nothing to expire. The clock may have been set between the two.
    pub(super) fn after(self, older: Change, clock: &Clock) -> Change {
        let Change::Expire(mut expiry) = self else { return self };
        if let Some(put_at) = older.started_at() {
            expiry.at = clock.as_read_at(put_at, expiry.at);
        }
        match older {
            // What overtook its load may take it away: it must not be written without its lease. The next load writes it again.
            Change::Put(fill) if fill.fence().is_some() => Change::Expire(expiry),
            Change::Put(fill) => {
                let entry = Arc::new(fill.entry.expired_at(expiry.at, &expiry.policy));
                Change::Put(Fill { entry, replaces: true, expiry: Some(expiry), ..fill })
            }
            Change::PutHeld(held) => {
                Change::PutHeld(Held { times: held.times.ended(expiry.at, &expiry.policy), ..held })
            }
            Change::Expire(_) => Change::Expire(expiry),
            removed => removed,
        }
    }

    /// Whether it leaves nothing behind that is from before `at`.
    pub(super) fn is_after(&self, at: Timestamp) -> bool {
        match self {
            Change::Put(fill) | Change::Mark(fill) => fill.entry.fetch_started_at > at,
            Change::PutHeld(held) => held.fetch_started_at > at,
            Change::Remove(removal) | Change::RemovePrefix(removal) => removal.at >= at,
            Change::Expire(_) => false,
        }
    }

    /// Whether the store did not take it before.
    pub(super) fn has_failed(&self) -> bool {
        match self {
            Change::Put(fill) => fill.is_late,
            Change::Remove(removal) | Change::RemovePrefix(removal) => removal.is_late,
            Change::PutHeld(..) | Change::Mark(_) | Change::Expire(_) => false,
        }
    }

    pub(super) fn is_put(&self) -> bool {
        matches!(self, Change::Put(_) | Change::PutHeld(_))
    }

    /// Whether it is an application's put from `at` or before that has not been expired since.
    pub(super) fn is_fresh_put_before(&self, at: Timestamp) -> bool {
        match self {
            Change::Put(fill) => fill.entry.written_at <= at && fill.entry.times.fresh_until > at,
            Change::PutHeld(held) => held.written_at <= at && held.times.fresh_until > at,
            Change::Mark(_) | Change::Expire(_) | Change::Remove(_) | Change::RemovePrefix(_) => false,
        }
    }

    /// Whether it is a put that was tried already, and the store did not say that it did not take it.
    pub(super) fn may_have_landed(&self) -> bool {
        match self {
            Change::Put(fill) => fill.failed_at.is_some(),
            Change::PutHeld(_) => true,
            Change::Mark(_) | Change::Expire(_) | Change::Remove(_) | Change::RemovePrefix(_) => false,
        }
    }

    /// When it was asked for, where it is published: later puts are not meant.
    pub(super) fn asked_at(&self) -> Option<Timestamp> {
        match self {
            Change::Remove(removal) | Change::RemovePrefix(removal) => Some(removal.at),
            Change::Expire(expiry) => Some(expiry.at),
            Change::Mark(fill) => Some(fill.entry.fetch_started_at),
            Change::Put(_) | Change::PutHeld(_) => None,
        }
    }

    /// Whether it puts something that has this tag.
    pub(super) fn has_tag(&self, tag: &str) -> bool {
        let has = |entry: &Entry| entry.tags().iter().any(|known| known == tag);
        match self {
            Change::Put(fill) => has(&fill.entry),
            Change::PutHeld(held) => held.entry.upgrade().is_some_and(|entry| has(&entry)),
            Change::Mark(_) | Change::Expire(_) | Change::Remove(_) | Change::RemovePrefix(_) => false,
        }
    }

    pub(super) fn removal(&self) -> Option<&Removal> {
        match self {
            Change::Remove(removal) | Change::RemovePrefix(removal) => Some(removal),
            _ => None,
        }
    }

    pub(super) fn expiry(&self) -> Option<&Expiry> {
        match self {
            Change::Expire(expiry) => Some(expiry),
            _ => None,
        }
    }

    /// Whether it puts something that is written again until the store has it.
    pub(super) fn is_lasting_put(&self) -> bool {
        match self {
            Change::Put(fill) => fill.replaces,
            Change::PutHeld(..) | Change::Mark(_) => true,
            Change::Expire(_) | Change::Remove(_) | Change::RemovePrefix(_) => false,
        }
    }

    pub(super) fn takes_away(&self) -> bool {
        match self {
            Change::Put(fill) => fill.replaces,
            _ => true,
        }
    }

    /// The same, to be done later; nothing of a mere fill.
    pub(super) fn if_it_fails(&self) -> Option<Change> {
        match self {
            Change::Put(fill) => fill.replaces.then(|| Change::Put(Fill { is_late: true, ..fill.clone() })),
            Change::PutHeld(held) => Some(Change::PutHeld(held.clone())),
            Change::Mark(fill) => Some(Change::Mark(fill.clone())),
            Change::Expire(expiry) => Some(Change::Expire(expiry.clone())),
            Change::Remove(removal) => Some(Change::Remove(removal.late())),
            Change::RemovePrefix(removal) => Some(Change::RemovePrefix(removal.late())),
        }
    }

    /// The same change, which the store did not take now.
    pub(super) fn failed(mut self) -> Change {
        if let Change::Put(fill) = &mut self {
            fill.failed_at = Some(Instant::now());
        }
        self
    }

    /// The same change, where there is no room for its body: memory has that as well, if it has room.
    pub(super) fn without_body(self) -> Change {
        match self {
            Change::Put(fill) => Change::PutHeld(Held::of(&fill)),
            other => other,
        }
    }

    /// What to publish to the other processes once the store has it.
    pub(super) fn news(&self) -> Option<Kind> {
        match self {
            Change::Put(fill) => fill.replaces.then_some(Kind::Changed),
            Change::Mark(_) | Change::PutHeld(..) | Change::Expire(_) => Some(Kind::Changed),
            Change::Remove(removal) => removal.tell.then_some(Kind::Removed),
            Change::RemovePrefix(removal) => removal.tell.then_some(Kind::Cleared),
        }
    }

    /// When the load of what it puts began, or the put.
    pub(super) fn started_at(&self) -> Option<Timestamp> {
        match self {
            Change::Put(fill) => Some(fill.entry.fetch_started_at),
            Change::PutHeld(held) => Some(held.fetch_started_at),
            _ => None,
        }
    }

    /// Whether it is an application's put that a removal took away.
    pub(super) fn is_put_before(&self, removed: &Removed) -> bool {
        match self {
            Change::Put(fill) => fill.replaces && removed.is_after_put(fill.entry.written_at),
            Change::PutHeld(held) => removed.is_after_put(held.written_at),
            Change::Mark(_) | Change::Expire(_) | Change::Remove(_) | Change::RemovePrefix(_) => false,
        }
    }

    /// What it means if it is lost, or is applied late.
    pub(super) fn kind_at(&self, key: &str) -> ChangeKind {
        match self {
            Change::Put(fill) if fill.replaces => ChangeKind::Lasting,
            Change::Put(fill) if fill.fence().is_some_and(|lease| lease.is_of(key)) => ChangeKind::FencedFill,
            Change::Put(_) => ChangeKind::Fill,
            _ => ChangeKind::Lasting,
        }
    }

    pub(super) fn is_mere_fill(&self) -> bool {
        matches!(self, Change::Put(fill) if !fill.replaces)
    }
}
