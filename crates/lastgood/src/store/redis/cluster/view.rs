//! The known layout of a cluster at one moment.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::Instant;

use super::slots::{Address, Range, slot_of};
use crate::store::redis::node::Node;

/// A server of the cluster.
#[derive(Clone)]
pub(super) struct Member {
    pub(super) address: Address,
    pub(super) node: Arc<Node>,
    /// When it was only redirected to; `None` while it has slots.
    pub(super) stray_since: Option<Instant>,
}

/// The servers of a cluster and who has which slot.
#[derive(Clone, Default)]
pub(super) struct View {
    pub(super) ranges: Vec<Range>,
    pub(super) members: BTreeMap<Address, Member>,
}

impl View {
    /// The primary that has this key.
    pub(super) fn member_of(&self, key: &str) -> Option<&Member> {
        let slot = slot_of(key);
        let after = self.ranges.partition_point(|range| range.first <= slot);
        let range = self.ranges[..after].last().filter(|range| slot <= range.last)?;
        self.members.get(&range.primary)
    }

    /// The servers that have slots, by address.
    pub(super) fn primaries(&self) -> impl Iterator<Item = &Member> {
        self.members.values().filter(|member| member.stray_since.is_none())
    }

    pub(super) fn up(&self) -> usize {
        self.primaries().filter(|member| member.node.is_up()).count()
    }

    pub(super) fn all_up(&self) -> bool {
        self.primaries().all(|member| member.node.is_up()) && self.primaries().next().is_some()
    }

    /// Tells two distributions of the slots apart, in this process and in others.
    pub(super) fn fingerprint(&self) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        for Range { first, last, primary: (host, port) } in &self.ranges {
            hasher.update(format!("{first}-{last}={host}:{port};").as_bytes());
        }
        hasher.finalize()
    }
}
