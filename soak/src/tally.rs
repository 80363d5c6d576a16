//! The counters, and the report of violations.

use std::collections::BTreeMap;

/// The counters. The names are the table's.
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
pub(crate) struct Reported {
    pub(crate) violation: Violation,
    pub(crate) at: u64,
    pub(crate) faults: String,
    pub(crate) what: String,
    /// How often the same was seen, this time included, and the last time.
    pub(crate) times: u64,
    pub(crate) last: u64,
    /// What makes another violation the same.
    pub(crate) same: String,
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
    /// Reads that did not find what was put, because the store did not answer in its time.
    pub(crate) not_found: u64,
    /// Answers from before an acknowledged change that the bound or a label allows.
    pub(crate) old_within_bound: u64,
    pub(crate) old_unverified: u64,
    /// The same from just before a change at the other gateway, where one of the two waited and the clocks do not tell their order.
    pub(crate) old_by_clocks: u64,
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
    pub(crate) reported: Vec<Reported>,
}

impl Tally {
    /// Notes by how much the worst of a kind was wrong.
    pub(crate) fn worsen(&mut self, violation: Violation, by: u64) {
        let worst = self.worst.entry(violation).or_default();
        *worst = by.max(*worst);
    }
}
