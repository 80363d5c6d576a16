//! A bulk invalidation of regions: memory first, then the store.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::{Invalidated, PAGE};
use crate::clock::Timestamp;
use crate::flight::Void;
use crate::invalidation::Mode;
use crate::memory::KeyRef;
use crate::region::Region;
use crate::store::{GuardedStore, Store, StoreError};

/// So much memory the names of keys of the store may take that are noted, so that none counts twice: a million of them. A
/// store lists few twice, and only while it grows or shrinks.
const NOTED_BYTES: usize = 64 << 20;
/// What a noted name takes besides its bytes.
const PER_NAME: usize = 48;

/// An invalidation of many keys of some regions.
pub(super) struct Bulk<'a> {
    regions: Vec<Region>,
    matches: &'a (dyn Fn(&str, &str) -> bool + Send + Sync),
    mode: Option<Mode>,
    /// When it was asked for: what came after stays.
    asked_at: Timestamp,
    /// The names that were met, by region, as far as they are noted.
    met: Vec<HashSet<Arc<str>>>,
    noted_bytes: usize,
    matched: u64,
    changed: u64,
    /// Whether the store took all changes so far.
    keeps_up: bool,
}

impl<'a> Bulk<'a> {
    pub(super) fn of(
        regions: Vec<Region>,
        matches: &'a (dyn Fn(&str, &str) -> bool + Send + Sync),
        mode: Option<Mode>,
        asked_at: Timestamp,
    ) -> Bulk<'a> {
        let met = regions.iter().map(|_| HashSet::new()).collect();
        Bulk { regions, matches, mode, asked_at, met, noted_bytes: 0, matched: 0, changed: 0, keeps_up: true }
    }

    /// Bulk invalidations memory, and then the store, whose keys of these regions begin with `prefix`: once for all of them.
    pub(super) async fn run(mut self, prefix: &str) -> Result<Invalidated, StoreError> {
        self.invalidate_memory().await;
        let mut unreached = None;
        let tier = self.regions.first().and_then(|region| region.cache.store.as_ref());
        if let Some(store) = tier.map(|tier| Arc::clone(&tier.store))
            && let Err(why) = self.invalidate_store(&store, prefix).await
        {
            if self.mode.is_none() {
                return Err(self.regions.first().map_or(why.clone(), |region| region.cause(why)));
            }
            tracing::debug!(%why, "the store could not be searched: what it holds of the keys is not believed until it is");
            unreached = self.regions.first().map(|region| region.cause(why));
        }
        Ok(Invalidated { matched: self.matched, changed: self.changed, unreached })
    }

    /// Walks memory once for all regions.
    async fn invalidate_memory(&mut self) {
        let Some(cache) = self.regions.first().map(|region| Arc::clone(&region.cache)) else { return };
        let mut names = {
            let (regions, matches) = (&self.regions, self.matches);
            let places: HashMap<_, _> = regions.iter().enumerate().map(|(at, region)| (region.shared.id, at)).collect();
            let place =
                |key: &KeyRef<'_>| places.get(&key.region).copied().filter(|at| matches(regions[*at].name(), key.name));
            if let Some(mode) = self.mode {
                cache.flights.invalidate_where(&Void::of(mode, self.asked_at), |key| place(key).is_some());
                cache.backoffs.retain(|key, _| place(&key.borrowed()).is_none());
            }
            let waiting = |region: &Region| {
                let names = region.names_waiting().into_iter();
                names.filter(|name| matches(region.name(), name)).collect::<Vec<_>>()
            };
            let mut names: Vec<Vec<Arc<str>>> = regions.iter().map(waiting).collect();
            for key in cache.memory.keys_where(|key, _| place(key).is_some()) {
                if let Some(at) = places.get(&key.region) {
                    names[*at].push(key.name);
                }
            }
            names
        };
        for (at, names) in names.iter_mut().enumerate().filter(|(_, names)| !names.is_empty()) {
            names.sort_unstable();
            names.dedup();
            for batch in names.chunks(PAGE) {
                self.change(at, batch).await;
            }
            self.matched += names.len() as u64;
            self.met[at].extend(names.drain(..));
        }
    }

    /// Notes a name that the store lists. Says whether it was not noted before.
    fn meets(&mut self, at: usize, name: &Arc<str>) -> bool {
        if self.met[at].contains(name) {
            return false;
        }
        if self.noted_bytes < NOTED_BYTES {
            self.noted_bytes += name.len() + PER_NAME;
            self.met[at].insert(Arc::clone(name));
        }
        self.matched += 1;
        true
    }

    async fn change(&mut self, at: usize, names: &[Arc<str>]) {
        if let Some(mode) = self.mode {
            self.regions[at].change_all(names, mode, self.asked_at).await;
            self.keeps_up = self.regions[at].pace(names, self.keeps_up).await;
            self.changed += names.len() as u64;
        }
    }

    async fn invalidate_store(&mut self, store: &GuardedStore, prefix: &str) -> Result<(), StoreError> {
        let mut cursor = None;
        loop {
            let page = store.list(prefix, cursor, PAGE).await?;
            let mut names: Vec<Vec<Arc<str>>> = self.regions.iter().map(|_| Vec::new()).collect();
            for key in &page.keys {
                let Some((at, name)) = self.place(key) else { continue };
                if self.meets(at, &name) {
                    names[at].push(name);
                }
            }
            for (at, names) in names.iter().enumerate().filter(|(_, names)| !names.is_empty()) {
                self.change(at, names).await;
            }
            cursor = page.next;
            if cursor.is_none() {
                return Ok(());
            }
        }
    }

    /// Which region a key of the store is of, and its name there, if it is meant and not being removed already.
    fn place(&self, key: &str) -> Option<(usize, Arc<str>)> {
        let at = self.regions.iter().position(|region| key.starts_with(&region.shared.prefix))?;
        let region = &self.regions[at];
        let name = &key[region.shared.prefix.len()..];
        let tier = region.cache.store.as_ref()?;
        ((self.matches)(region.name(), name) && tier.behind.may_read(key)).then(|| (at, name.into()))
    }
}
