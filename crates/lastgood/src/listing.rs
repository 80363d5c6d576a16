//! Which keys of a region the tiers hold.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::timeout_at;

use crate::cache::Cache;
use crate::entry::Freshness;
use crate::flight::after;
use crate::memory::Key;
use crate::region::Region;
use crate::store::{Store, StoreError};

const PAGE: usize = 500;

/// In which tiers something is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tiers {
    /// In this process's memory.
    pub memory: bool,
    /// In the store below it.
    pub store: bool,
}

impl Tiers {
    /// The word for people and scripts.
    pub const fn as_str(self) -> &'static str {
        match (self.memory, self.store) {
            (true, true) => "both",
            (true, false) => "memory",
            (false, true) => "store",
            (false, false) => "none",
        }
    }
}

/// Names of a region, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The names, each with the tiers that hold it.
    pub names: Vec<(String, Tiers)>,
    /// Whether there are more after the last.
    pub has_more: bool,
    /// Whether the store was looked through to its end; what only it holds may be missing otherwise.
    pub is_complete: bool,
}

impl Cache {
    /// The names that memory holds with this tag, each with its region's, in order. A store lists none by tag: an
    /// invalidation by tag reaches what it alone holds all the same.
    pub fn tagged(&self, tag: &str) -> Vec<(String, String)> {
        let (now, regions) = (self.shared.clock.now(), self.regions());
        let tagged =
            self.shared.memory.keys_where(|_, entry| entry.freshness(now) != Freshness::Gone && entry.has_tag(tag));
        let named =
            |key: Key| Some((regions.get(key.region as usize)?.name().to_owned(), key.name.as_ref().to_owned()));
        let mut names: Vec<_> = tagged.into_iter().filter_map(named).collect();
        names.sort_unstable();
        names
    }
}

impl Region {
    /// The first `most` names after `after` that `wanted` says yes to, of memory and the store. The store is looked
    /// through for at most `within`.
    pub async fn names(
        &self,
        after_name: Option<&str>,
        most: usize,
        within: Duration,
        wanted: &(dyn Fn(&str) -> bool + Send + Sync),
    ) -> Listing {
        let is_meant = |name: &str| after_name.is_none_or(|after| name > after) && wanted(name);
        let now = self.cache.clock.now();
        let held = self.cache.memory.keys_where(|key, entry| {
            key.region == self.shared.id && entry.freshness(now) != Freshness::Gone && is_meant(key.name)
        });
        let mut names: BTreeMap<String, Tiers> = BTreeMap::new();
        for key in held {
            names.insert(key.name.as_ref().to_owned(), Tiers { memory: true, store: false });
            if names.len() > most + 1 {
                names.pop_last();
            }
        }
        let (deadline, mut cursor) = (after(within), None);
        let is_complete = loop {
            let Ok(Ok((page, next))) = timeout_at(deadline, self.names_stored(cursor)).await else {
                break false;
            };
            for name in page.into_iter().filter(|name| is_meant(name)) {
                names.entry(name).or_default().store = true;
                if names.len() > most + 1 {
                    names.pop_last();
                }
            }
            cursor = next;
            if cursor.is_none() {
                break true;
            }
        };
        let has_more = names.len() > most;
        Listing { names: names.into_iter().take(most).collect(), has_more, is_complete }
    }

    /// Names in the store that begin with `prefix`, at most `most` of them, in no particular order. Empty without a
    /// store. Entries that are about to be removed, or have expired meanwhile, may be among them.
    ///
    /// # Errors
    ///
    /// When the store does not answer.
    pub async fn stored_names(&self, prefix: &str, most: usize) -> Result<Vec<String>, StoreError> {
        let Some(tier) = &self.cache.store else {
            return Ok(Vec::new());
        };
        let (mut names, mut cursor) = (Vec::new(), None);
        loop {
            let page = tier.store.list(&self.store_key(prefix), cursor, PAGE.min(most)).await?;
            let own = page.keys.iter().filter_map(|key| key.strip_prefix(&self.shared.prefix));
            names.extend(own.map(str::to_owned));
            // A store may give a key twice.
            names.sort_unstable();
            names.dedup();
            cursor = page.next;
            if cursor.is_none() || names.len() >= most {
                names.truncate(most);
                return Ok(names);
            }
        }
    }
}
