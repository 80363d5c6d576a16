//! The rule by which an answer is judged, given what was acknowledged before it was asked for.

use crate::places::Kind;

/// What a change does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// A version of a value is put.
    Put(u64),
    /// The value is removed.
    Hard,
    /// The value is expired: it may be served on, labelled.
    Soft,
}

/// A change of one place.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) id: u64,
    pub(crate) act: Act,
    /// The gateway that was asked for it.
    pub(crate) gateway: usize,
    pub(crate) began: u64,
    /// When its answer was read; `None` while it is under way.
    pub(crate) ended: Option<u64>,
    /// Since when it is known to be done.
    pub(crate) acknowledged: Option<u64>,
    /// What was asked for, for people.
    pub(crate) what: std::sync::Arc<str>,
}

impl Change {
    /// Whether it may have waited at its gateway for the store.
    fn may_have_waited(&self) -> bool {
        self.acknowledged.is_none() || self.acknowledged != self.ended
    }

    /// Whether the order of the two goes by the clocks of two gateways: one of them waited, and the store saw it later.
    fn is_ordered_by_clocks(&self, other: &Change) -> bool {
        self.gateway != other.gateway && (self.may_have_waited() || other.may_have_waited())
    }
}

/// What an answer says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) status: u16,
    /// `X-Cache`.
    pub(crate) cache: String,
    /// `Cache-Status`.
    pub(crate) cache_status: String,
    /// `Age` in seconds.
    pub(crate) age: Option<u64>,
}

impl Said {
    fn is_unverified(&self) -> bool {
        self.cache_status.contains("unverified")
    }

    /// Whether the gateway could not ask the store, so that it is not known whether there is a value.
    pub(crate) fn is_unasked(&self) -> bool {
        self.status == 503 && self.cache_status.contains("store-unavailable")
    }

    fn is_last_good(&self) -> bool {
        self.cache == "LAST-GOOD"
    }

    fn is_labelled_old(&self) -> bool {
        self.is_last_good() || self.cache == "STALE"
    }
}

/// One read of one place.
#[derive(Clone, Debug)]
pub(crate) struct Read {
    pub(crate) began: u64,
    pub(crate) ended: u64,
    /// The version of a value, or when the source was asked for the answer; `None` where there is nothing.
    pub(crate) version: Option<u64>,
    pub(crate) said: Said,
}

/// How old an answer may be, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// How long after an acknowledgement another gateway may answer with what was there before.
    pub(crate) heard: u64,
    /// The same for an answer that says that it is unverified.
    pub(crate) unverified: u64,
    /// How exactly two gateways together know the store's clock: of two changes that are closer together than this,
    /// at both gateways, either may count as the later one if one of them waited for the store.
    pub(crate) apart: u64,
}

/// An answer with something from before an acknowledged change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Old {
    /// How long before the read the change was acknowledged.
    pub(crate) by: u64,
    pub(crate) id: u64,
    pub(crate) is_soft: bool,
    pub(crate) is_put: bool,
    /// Whether its label, or the bound, allows it.
    pub(crate) is_allowed: bool,
    pub(crate) is_unverified: bool,
    /// Whether the clocks do not tell which of two changes came first.
    pub(crate) is_by_clocks: bool,
}

/// The violation of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    Old(Old),
    /// Nothing is there, although a put was acknowledged this many milliseconds before and nothing removed it.
    Lost {
        by: u64,
        id: u64,
        is_allowed: bool,
    },
    /// It is this many milliseconds old, more than its label says.
    Unlabelled {
        age: u64,
        allowed: u64,
    },
}

/// The last changes before the end of a read, for people: when each began, was answered and was acknowledged, in seconds
/// from the read's beginning.
pub(crate) fn history(changes: &[Change], read: &Read) -> String {
    let from = |at: u64| format!("{:+.3}", (at as f64 - read.began as f64) / 1_000.0);
    let mut last: Vec<String> = Vec::new();
    for change in changes.iter().rev().filter(|change| change.began <= read.ended).take(6) {
        let or_open = |at: Option<u64>| at.map_or_else(|| "-".to_owned(), from);
        let (began, ended, known) = (from(change.began), or_open(change.ended), or_open(change.acknowledged));
        last.push(format!("\n    {began} s, answered {ended}, acknowledged {known}: {}", change.what));
    }
    last.reverse();
    last.concat()
}

/// What may come on top of a time of freshness: the load, and a busy machine.
const SLACK: u64 = 2_000;
/// The longest that a load takes.
const LONGEST_LOAD: u64 = 6_000;

/// Judges a read of a place of this kind after these changes of it, oldest first.
pub(crate) fn judge(kind: Kind, changes: &[Change], read: &Read, bounds: Bounds) -> Vec<Finding> {
    if read.said.status >= 300 && read.said.status != 404 {
        return Vec::new();
    }
    match (kind, read.version) {
        (Kind::Value, None) => lost(changes, read, bounds).into_iter().collect(),
        (_, None) => Vec::new(),
        (Kind::Value, Some(version)) => {
            // Of a version whose put is forgotten or under way nothing can be said.
            let put = changes.iter().rev().find(|change| change.act == Act::Put(version));
            let Some((put, ended)) = put.and_then(|put| Some((put, put.ended?))) else { return Vec::new() };
            old(changes, read, (ended, Some(put)), bounds).map(Finding::Old).into_iter().collect()
        }
        (_, Some(asked_at)) => {
            // A millisecond makes no difference.
            let old = old(changes, read, (asked_at + 1, None), bounds).map(Finding::Old);
            old.into_iter().chain(unlabelled(kind, read, asked_at)).collect()
        }
    }
}

/// Whether what an answer has was there at `there_at`, by this put if it is a value's, and a change that began after that was
/// acknowledged before the read.
fn old(changes: &[Change], read: &Read, (there_at, put): (u64, Option<&Change>), bounds: Bounds) -> Option<Old> {
    let done = |change: &&Change| change.began > there_at && change.acknowledged.is_some_and(|at| at < read.began);
    let olds = changes.iter().filter(done).filter_map(|change| {
        let by = read.began - change.acknowledged?;
        let is_soft = change.act == Act::Soft;
        if is_soft && read.said.is_labelled_old() {
            return None;
        }
        let is_unverified = read.said.is_unverified();
        let unverified = is_unverified && (by <= bounds.unverified || read.said.is_last_good());
        let is_put = matches!(change.act, Act::Put(_));
        let is_close = change.began - there_at <= bounds.apart;
        let is_in_time = by <= bounds.heard || unverified;
        let is_by_clocks = !is_in_time && is_close && put.is_some_and(|put| put.is_ordered_by_clocks(change));
        let is_allowed = is_in_time || is_by_clocks;
        Some(Old { by, id: change.id, is_soft, is_put, is_allowed, is_unverified, is_by_clocks })
    });
    olds.max_by_key(|old| (!old.is_allowed, old.by))
}

/// Whether a put was acknowledged before the read that nothing can have removed.
fn lost(changes: &[Change], read: &Read, bounds: Bounds) -> Option<Finding> {
    let acknowledged = |change: &Change| change.acknowledged.filter(|at| *at < read.began);
    let is_put = |change: &&Change| matches!(change.act, Act::Put(_)) && acknowledged(change).is_some();
    let put = changes.iter().rev().find(is_put)?;
    // A removal at the same time may have come after it; so may one whose end is not known yet.
    let is_removal = |change: &Change| {
        let apart = if put.is_ordered_by_clocks(change) { bounds.apart } else { 0 };
        change.act == Act::Hard && change.began <= read.ended && change.ended.is_none_or(|end| end + apart >= put.began)
    };
    if changes.iter().any(is_removal) {
        return None;
    }
    let by = read.began - acknowledged(put)?;
    Some(Finding::Lost { by, id: put.id, is_allowed: by <= bounds.heard })
}

/// Whether an answer is older than its label says.
fn unlabelled(kind: Kind, read: &Read, asked_at: u64) -> Option<Finding> {
    let age = read.began.saturating_sub(asked_at);
    let (fresh, stale) = kind.freshness();
    let fresh = fresh + fresh / 10;
    let by_label = match read.said.cache.as_str() {
        "HIT" => fresh + SLACK,
        "STALE" => fresh + stale + SLACK,
        "MISS" | "JOINED" => LONGEST_LOAD,
        _ => u64::MAX,
    };
    let by_age = read.said.age.map_or(u64::MAX, |seconds| (seconds + 1) * 1_000 + LONGEST_LOAD);
    let allowed = by_label.min(by_age);
    (age > allowed).then_some(Finding::Unlabelled { age, allowed })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { heard: 100, unverified: 1_000, apart: 27 };

    fn change(id: u64, act: Act, began: u64, ended: u64) -> Change {
        Change { id, act, gateway: 0, began, ended: Some(ended), acknowledged: Some(ended), what: "".into() }
    }

    fn read(began: u64, version: Option<u64>, cache: &str, cache_status: &str) -> Read {
        let status = if version.is_some() { 200 } else { 404 };
        let said = Said { status, cache: cache.to_owned(), cache_status: cache_status.to_owned(), age: None };
        Read { began, ended: began + 5, version, said }
    }

    /// The only thing that is old about a read, and whether it is allowed.
    fn judged(kind: Kind, changes: &[Change], read: &Read) -> Option<(u64, bool)> {
        match judge(kind, changes, read, BOUNDS).first() {
            Some(Finding::Old(old)) => Some((old.by, old.is_allowed)),
            Some(Finding::Lost { by, is_allowed, .. }) => Some((*by, *is_allowed)),
            Some(Finding::Unlabelled { age, .. }) => Some((*age, false)),
            None => None,
        }
    }

    #[test]
    fn a_value_from_before_an_acknowledged_removal_is_old_whatever_its_label_says() {
        let changes = [change(1, Act::Put(1), 10, 20), change(2, Act::Hard, 30, 40)];
        let judged = |read| judged(Kind::Value, &changes, &read);
        assert_eq!(judged(read(39, Some(1), "HIT", "")), None, "it began before the acknowledgement");
        assert_eq!(judged(read(140, Some(1), "HIT", "")), Some((100, true)), "within the bound");
        assert_eq!(judged(read(141, Some(1), "HIT", "")), Some((101, false)));
        assert_eq!(judged(read(500, Some(1), "LAST-GOOD", "")), Some((460, false)));
        assert_eq!(judged(read(500, Some(1), "HIT", "unverified")), Some((460, true)));
        assert_eq!(judged(read(2_000, Some(1), "HIT", "unverified")), Some((1_960, false)));
        assert_eq!(judged(read(2_000, Some(1), "LAST-GOOD", "unverified")), Some((1_960, true)));
        assert_eq!(judged(read(500, None, "", "")), None);
    }

    #[test]
    fn what_was_expired_may_be_served_on_with_a_label() {
        let changes = [change(1, Act::Put(1), 10, 20), change(2, Act::Soft, 30, 40)];
        assert_eq!(judged(Kind::Value, &changes, &read(500, Some(1), "LAST-GOOD", "")), None);
        assert_eq!(judged(Kind::Value, &changes, &read(500, Some(1), "HIT", "")), Some((460, false)));
        assert_eq!(
            judged(Kind::Value, &changes, &read(500, None, "", "")),
            Some((480, false)),
            "expired is not removed"
        );
    }

    #[test]
    fn of_changes_at_the_same_time_either_may_come_last() {
        let changes = [change(1, Act::Put(1), 10, 30), change(2, Act::Hard, 20, 40)];
        assert_eq!(judged(Kind::Value, &changes, &read(500, Some(1), "HIT", "")), None);
        assert_eq!(judged(Kind::Value, &changes, &read(500, None, "", "")), None);
    }

    #[test]
    fn of_a_change_that_waited_and_one_of_the_other_gateway_close_to_it_either_may_count_as_the_later() {
        let at = |began: u64, waited: bool, gateway: usize| {
            let mut removal = change(2, Act::Hard, began, began + 2);
            removal.acknowledged = Some(if waited { 1_000 } else { began + 2 });
            removal.gateway = gateway;
            [change(1, Act::Put(1), 100, 110), removal]
        };
        let served = |changes: &[Change]| judged(Kind::Value, changes, &read(2_000, Some(1), "HIT", ""));
        assert_eq!(served(&at(137, true, 1)), Some((1_000, true)));
        assert_eq!(served(&at(138, true, 1)), Some((1_000, false)), "the clocks tell them apart");
        assert_eq!(served(&at(113, true, 0)), Some((1_000, false)), "one gateway knows its own order");
        assert_eq!(served(&at(113, false, 1)), Some((1_885, false)), "the store saw both");
        let gone = |changes: &[Change]| judged(Kind::Value, changes, &read(2_000, None, "", ""));
        assert_eq!(gone(&at(71, true, 1)), None);
        assert_eq!(gone(&at(70, true, 1)), Some((1_890, false)));
        assert_eq!(gone(&at(71, false, 1)), Some((1_890, false)));
    }

    #[test]
    fn an_acknowledged_put_is_there_until_something_removes_it() {
        let mut changes = vec![change(1, Act::Hard, 1, 5), change(2, Act::Put(1), 10, 20)];
        assert_eq!(judged(Kind::Value, &changes, &read(500, None, "", "")), Some((480, false)));
        changes.push(change(3, Act::Put(2), 30, 40));
        assert_eq!(judged(Kind::Value, &changes, &read(500, Some(1), "HIT", "")), Some((460, false)), "the older one");
        changes[2].acknowledged = None;
        assert_eq!(judged(Kind::Value, &changes, &read(500, Some(1), "HIT", "")), None, "the newer one waits");
        changes.push(change(4, Act::Hard, 400, 600));
        assert_eq!(judged(Kind::Value, &changes, &read(500, None, "", "")), None, "a removal is under way");
    }

    #[test]
    fn an_answer_of_the_source_is_as_old_as_its_question_and_its_label_says_so() {
        let changes = [change(1, Act::Hard, 10_000, 10_010)];
        assert_eq!(judged(Kind::Quote, &changes, &read(10_200, Some(9_990), "MISS", "")), Some((190, false)));
        assert_eq!(judged(Kind::Quote, &changes, &read(10_200, Some(10_000), "HIT", "")), None);
        assert_eq!(judged(Kind::Quote, &[], &read(20_000, Some(10_000), "HIT", "")), Some((10_000, false)));
        assert_eq!(judged(Kind::Quote, &[], &read(20_000, Some(10_000), "LAST-GOOD", "")), None);
        let mut young = read(20_000, Some(10_000), "LAST-GOOD", "");
        young.said.age = Some(1);
        assert_eq!(judged(Kind::Quote, &[], &young), Some((10_000, false)), "it says that it is a second old");
    }
}
