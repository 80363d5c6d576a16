//! The other gateways on the store, one by one, as this one last heard of them.

use std::collections::BTreeMap;
use std::time::Duration;

use lastgood::{Answer, Timestamp};
use serde::Serialize;

use super::{Counts, MOST_NODES, WRITE_EVERY};

/// A gateway that has written nothing for three turns is silent.
const SILENT_AFTER: Duration = WRITE_EVERY.saturating_mul(3);
/// A silent one is remembered for so long.
const REMEMBERED_FOR: Duration = Duration::from_secs(3_600);
/// More than these are counted, not shown.
const MOST_SHOWN: usize = 100;
/// The longest version that is taken for one.
const LONGEST_VERSION: usize = 32;

/// The other gateways, by name.
#[derive(Debug, Default)]
pub(super) struct Peers {
    known: BTreeMap<String, Peer>,
    /// Whether the store did not say, the last time, what the others wrote.
    are_unread: bool,
}

#[derive(Debug)]
struct Peer {
    /// By its own clock, which need not be right: a later one says that it has written again.
    written_at: Timestamp,
    /// When this gateway noticed that, by its own clock.
    heard_at: Timestamp,
    /// Since when it has not been silent.
    since: Timestamp,
    version: Option<String>,
    counts: Counts,
}

/// A gateway, for people. Times are milliseconds since the epoch.
#[derive(Debug, Serialize)]
pub(crate) struct PeerReport {
    name: String,
    /// `heard` or `silent`.
    state: &'static str,
    /// Since when it is heard, or when it was heard last.
    since: u64,
    /// Why it is silent.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    /// Reads of its cache since it started.
    reads: u64,
    /// From 0 to 1.
    hit_rate: f64,
}

/// This gateway's name among the others, and what it knows of them.
#[derive(Debug, Serialize)]
pub(crate) struct PeersReport {
    own_name: String,
    own_version: &'static str,
    /// Those that are heard first, then the ones that fell silent last.
    peers: Vec<PeerReport>,
    /// How many more there are.
    not_shown: usize,
}

/// What a gateway says of itself next to its counters, as a media type with a parameter: older gateways do not read it.
pub(super) fn media_type() -> String {
    format!("application/json;version={}", env!("CARGO_PKG_VERSION"))
}

fn version(media_type: &str) -> Option<String> {
    let mut parameters = media_type.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
    let (_, version) = parameters.find(|(name, _)| *name == "version")?;
    let is_sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+');
    (version.len() <= LONGEST_VERSION && version.chars().all(is_sound)).then(|| version.to_owned())
}

impl Peers {
    /// Takes in what another gateway wrote.
    pub(super) fn hear(&mut self, name: &str, answer: &Answer, counts: Counts) {
        let (now, age, version) = (answer.given_at(), answer.age(), answer.meta().and_then(version));
        let written_at = answer.source_time();
        match self.known.get_mut(name) {
            // It still lies there.
            Some(peer) if peer.written_at == written_at => {}
            Some(peer) => {
                let since = if is_silent(peer.heard_at, now) { now } else { peer.since };
                *peer = Peer { written_at, heard_at: now, since, version, counts };
            }
            None => {
                let heard_at = Timestamp::from_millis(now.as_millis().saturating_sub(millis(age)));
                let peer = Peer { written_at, heard_at, since: heard_at, version, counts };
                self.known.insert(name.to_owned(), peer);
            }
        }
    }

    /// The store was read at `now`: forgets those that have been silent for long.
    pub(super) fn were_read(&mut self, now: Timestamp) {
        self.are_unread = false;
        self.known.retain(|_, peer| now.since(peer.heard_at) <= REMEMBERED_FOR);
        while self.known.len() > MOST_NODES {
            let longest = self.known.iter().min_by_key(|(_, peer)| peer.heard_at).map(|(name, _)| name.clone());
            longest.and_then(|name| self.known.remove(&name));
        }
    }

    /// The store did not say what the others wrote.
    pub(super) fn were_not_read(&mut self) {
        self.are_unread = true;
    }

    pub(super) fn report(&self, own_name: &str, now: Timestamp) -> PeersReport {
        let mut known: Vec<(&String, &Peer)> = self.known.iter().collect();
        known.sort_by_key(|(_, peer)| match is_silent(peer.heard_at, now) {
            false => (false, 0),
            true => (true, u64::MAX - peer.heard_at.as_millis()),
        });
        let not_shown = known.len().saturating_sub(MOST_SHOWN);
        let peers = known.into_iter().take(MOST_SHOWN).map(|(name, peer)| self.report_of(name, peer, now));
        let (own_name, own_version) = (own_name.to_owned(), env!("CARGO_PKG_VERSION"));
        PeersReport { own_name, own_version, peers: peers.collect(), not_shown }
    }

    fn report_of(&self, name: &str, peer: &Peer, now: Timestamp) -> PeerReport {
        let is_silent = is_silent(peer.heard_at, now);
        let reason = match self.are_unread {
            true => "the store does not say what it wrote",
            false => "it has stopped, or does not reach the store",
        };
        PeerReport {
            name: name.to_owned(),
            state: if is_silent { "silent" } else { "heard" },
            since: if is_silent { peer.heard_at } else { peer.since }.as_millis(),
            reason: is_silent.then_some(reason),
            version: peer.version.clone(),
            reads: peer.counts.reads(),
            hit_rate: peer.counts.hit_rate(),
        }
    }
}

fn is_silent(heard_at: Timestamp, now: Timestamp) -> bool {
    now.since(heard_at) > SILENT_AFTER
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_back_and_nothing_else_is_taken_for_one() {
        assert_eq!(version(&media_type()).as_deref(), Some(env!("CARGO_PKG_VERSION")));
        let long = format!("application/json;version={}", "9".repeat(100));
        for other in ["application/json", "application/json;version=<b>", "version=1", &long] {
            assert_eq!(version(other), None, "{other}");
        }
    }

    #[test]
    fn a_hundred_are_shown_those_that_are_heard_first_and_the_others_are_counted() {
        let now = Timestamp::from_millis(10_000_000);
        let peer = |number: u64, ago: u64| {
            let heard_at = Timestamp::from_millis(now.as_millis() - ago);
            let peer =
                Peer { written_at: heard_at, heard_at, since: heard_at, version: None, counts: Counts::default() };
            (format!("{number:03}"), peer)
        };
        let mut peers = Peers::default();
        peers.known.extend((0..60).map(|number| peer(number, 100_000 + number)));
        peers.known.extend((60..160).map(|number| peer(number, 1_000)));
        let report = peers.report("own", now);
        assert_eq!((report.peers.len(), report.not_shown), (100, 60));
        assert!(report.peers.iter().all(|peer| peer.state == "heard" && peer.reason.is_none()));
        peers.known.retain(|name, _| name.as_str() < "062");
        let report = peers.report("own", now);
        let names: Vec<_> = report.peers.iter().take(4).map(|peer| peer.name.as_str()).collect();
        assert_eq!(names, ["060", "061", "000", "001"], "then those that fell silent last");
        peers.were_read(Timestamp::from_millis(now.as_millis() + 3_550_000));
        assert_eq!(peers.known.len(), 2, "those that were silent for long are forgotten");
    }
}
