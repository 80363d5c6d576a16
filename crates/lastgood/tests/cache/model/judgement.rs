//! Whether an answer may be given, by the state of its key.

use std::time::Duration;

use lastgood::{Answer, Outcome, Reason};
use tokio::time::Instant;

use super::reference::{
    Birth, CLOCK_IS_WRONG_BY, CLOCKS_DIFFER_BY, Change, Kind, Known, PUTS_CROSS_WITHIN, Standing, TROUBLED,
};
use super::world::{FRESH_FOR, HARD_TIMEOUT, STALE_WHILE_REVALIDATE, TRUST_FOR};

/// How soon a node that hears the log applies what the store has.
const HEARD_WITHIN: Duration = Duration::from_millis(20);
/// How long a node that gets no answer from the log takes itself for up to date: the longest read of the log, and the
/// grace.
const UNLABELLED: Duration = Duration::from_secs(13);
/// The store's word on whether an invalidation by tag or a put came first is exact to this.
const TAGS_ARE_EXACT_TO: Duration = Duration::from_millis(100);

impl Known {
    /// What other nodes have put, and perhaps loaded since, of which the store may say that it came after a change that begins now:
    /// puts of about the same time, and for anything but a put those that the store does not have yet.
    pub(super) fn of_the_same_time_elsewhere(&self, node: usize, kind: Kind) -> Vec<u64> {
        let waiting = self.changes.iter().filter(|change| {
            let waits = change.acked.is_none() && !change.is_lost;
            let is_in_doubt = match kind {
                Kind::Put(_) => change.begun.elapsed() <= if waits { PUTS_CROSS_WITHIN } else { CLOCKS_DIFFER_BY },
                Kind::Expire | Kind::Remove => waits,
            };
            matches!(change.kind, Kind::Put(_)) && is_in_doubt && change.node != node
        });
        let mut exempt = Vec::new();
        for change in waiting {
            let since = |(version, birth): &(&u64, &Birth)| birth.node == change.node && **version > change.floor;
            exempt.extend(self.births.iter().filter(since).map(|(version, _)| *version));
        }
        exempt
    }

    /// What must not be lost once `acked`, a put of `version`, is acknowledged.
    pub(super) fn kept_after(&self, acked: &Change, version: u64) -> Option<u64> {
        let mut least = version;
        for other in self.changes.iter().filter(|other| other.id != acked.id) {
            let is_of_same_time = matches!(other.kind, Kind::Put(_)) && other.begun + CLOCKS_DIFFER_BY >= acked.begun;
            let overlaps = is_of_same_time || other.acked.is_none_or(|at| at >= acked.begun);
            let is_later = other.begun >= acked.begun;
            // One that was asked for so long ago, and is still to be made, is made only to what was there then.
            let is_late = acked.begun - other.begun > Duration::from_millis(1_500) && !other.is_of_tag;
            match other.kind {
                Kind::Remove if is_later || (overlaps && !is_late) => return None,
                Kind::Remove
                    if other.is_of_tag && other.acked.is_none_or(|at| at + TAGS_ARE_EXACT_TO >= acked.begun) =>
                {
                    return None;
                }
                Kind::Put(other_version) if overlaps && !is_late => least = least.min(other_version),
                _ => {}
            }
        }
        Some(least)
    }

    pub(super) fn fault_of_error(
        &self,
        reason: Reason,
        is_well: impl Fn() -> bool,
        standing: &Standing,
    ) -> Option<String> {
        if !matches!(reason, Reason::Unreachable | Reason::TimedOut) {
            return Some(format!("an error that no source gave: {reason:?}"));
        }
        let put = self.kept?;
        let is_older = self.births.get(&put).is_some_and(|birth| birth.at + TROUBLED < standing.at);
        (is_older && is_well()).then(|| format!("an error although v{put} was put and is kept"))
    }

    pub(super) fn fault_of(
        &self,
        version: u64,
        answer: &Answer,
        standing: &Standing,
        began: Instant,
    ) -> Option<String> {
        let Some(birth) = self.births.get(&version) else {
            return Some(format!("v{version}, which is of another key"));
        };
        let outcome = answer.outcome();
        let is_served = matches!(outcome, Outcome::Hit(_) | Outcome::Stale);
        let load = if birth.is_put { Duration::ZERO } else { HARD_TIMEOUT };
        let at_most = FRESH_FOR + STALE_WHILE_REVALIDATE + load + Duration::from_secs(1);
        if is_served && standing.at > birth.at + at_most {
            return Some(format!("v{version} as {outcome:?}, {:?} old", standing.at - birth.at));
        }
        if let Some(fault) = unlabelled(answer, standing).filter(|_| is_served) {
            return Some(fault);
        }
        let broken = self.changes.iter().find(|change| {
            change.is_broken_by(version) && change.binds(standing, birth, outcome) && !change.allows(answer, standing)
        })?;
        let Change { kind, node, begun, acked, .. } = broken;
        let after = |at: Instant| format!("{:?}", at - began);
        let (asked, acked, read) = (after(*begun), acked.map_or_else(|| "never".to_owned(), after), after(standing.at));
        let (unnoticed, cut) = (answer.is_unverified(), standing.cut_at.map(after));
        Some(format!(
            "v{version} of node {} at {} as {outcome:?} (unverified: {unnoticed}) in a read at {read} (cut off: {cut:?}) after {kind:?} by node \
             {node}, asked for at {asked}, acknowledged at {acked}",
            birth.node,
            after(birth.at),
        ))
    }
}

/// Whether a node that cannot hear the others fails to say so.
fn unlabelled(answer: &Answer, standing: &Standing) -> Option<String> {
    let cut_at = standing.cut_at?;
    let within = if standing.was_silent { UNLABELLED } else { Duration::from_millis(2_500) };
    let must_tell = standing.at > cut_at + within && !standing.hears_again && !answer.is_unverified();
    must_tell.then(|| format!("{:?} without a word that the node cannot hear", answer.outcome()))
}

impl Change {
    /// Whether a version is from before it.
    pub(super) fn is_broken_by(&self, version: u64) -> bool {
        version <= self.floor && !self.exempt.contains(&version)
    }

    /// Whether the node of a read has to act by it.
    fn binds(&self, standing: &Standing, birth: &Birth, outcome: Outcome) -> bool {
        if (self.node, self.incarnation) == (standing.node, standing.incarnation) && !self.is_wide {
            // An expiry may ask the store first.
            let within = Duration::from_millis(if self.kind == Kind::Expire { 100 } else { 2 });
            return self.begun + within <= standing.at;
        }
        // A mark is as late as the clocks of its node and of the reader's allow, but not that of the node that loaded.
        let is_in_doubt = self.is_of_tag && !birth.is_put && birth.at + CLOCK_IS_WRONG_BY >= self.begun;
        if is_in_doubt || self.mark_lost_to.is_some_and(|nodes| nodes[standing.node]) {
            return false;
        }
        let Some(acked) = self.acked else { return false };
        match standing.cut_at {
            None => acked + HEARD_WITHIN <= standing.at,
            Some(cut_at) => {
                // What it took in while it could not hear is believed from then on.
                let believed = (cut_at + UNLABELLED).max(acked + HARD_TIMEOUT + Duration::from_secs(1)) + TRUST_FOR;
                let is_loaded = matches!(outcome, Outcome::Miss | Outcome::Joined);
                let was_under_way = is_loaded && birth.at < acked;
                believed <= standing.at && !was_under_way
            }
        }
    }

    /// Whether the answer may be older than the change, as it says so.
    fn allows(&self, answer: &Answer, standing: &Standing) -> bool {
        let is_last_good = matches!(answer.outcome(), Outcome::LastGood(_));
        let has_missed = standing.cut_at.is_some() || standing.missed >= self.log_end;
        match self.kind {
            Kind::Expire => is_last_good,
            Kind::Remove => is_last_good && answer.is_unverified() && has_missed,
            Kind::Put(_) => is_last_good && answer.is_unverified(),
        }
    }
}
