//! Invalidating many keys at once.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::cache::Cache;
use crate::memory::Key;
use crate::region::Region;
use crate::store::{Cursor, Store, StoreError};
use crate::tags::{self, Depth};

/// Names asked for at a time.
const PAGE: usize = 500;

/// Which keys an invalidation is about.
#[derive(Clone)]
pub enum Scope {
    /// One.
    Key {
        /// The region's name.
        region: String,
        /// The key's name in it.
        name: String,
    },
    /// All that were loaded with this tag; see [`crate::Loaded::tags`]. Loads that failed have none.
    Tag(String),
    /// All of a region.
    Region(String),
    /// All that this says yes to, of the region's and the key's name.
    Matching(Matches),
}

/// Says whether a key is meant, by the names of its region and itself.
pub type Matches = Arc<dyn Fn(&str, &str) -> bool + Send + Sync>;

/// What an invalidation met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// How many keys it is about. Of a tag, those in memory: what only the store holds is invalidated too, but by a mark
    /// that is compared when it is read, so that nobody counts it.
    pub matched: u64,
    /// How many of them it expired or removed.
    pub changed: u64,
    /// Why the store could not be searched for keys, so that those which only it holds are not among them. What this
    /// process knows of waits and is changed in the store when it is back, and what the store holds of those regions from
    /// before is not believed.
    pub unreached: Option<StoreError>,
}

impl Swept {
    fn add(&mut self, other: Swept) {
        self.matched += other.matched;
        self.changed += other.changed;
        self.unreached = self.unreached.take().or(other.unreached);
    }
}

impl Cache {
    /// Expires or removes what `scope` names, in every tier; with no depth it only counts. What is being loaded meanwhile
    /// is given to those who wait, and kept nowhere.
    ///
    /// Regions and patterns walk the names in memory and in the store, a page at a time. If the store does not answer,
    /// nothing that it holds of those regions from before is believed from now on.
    ///
    /// # Errors
    ///
    /// Without a depth, when the store does not answer; else never.
    pub async fn sweep(&self, scope: &Scope, depth: Option<Depth>) -> Result<Swept, StoreError> {
        match scope {
            Scope::Key { region, name } => match self.region_named(region) {
                Some(region) => region.sweep_key(name, depth).await,
                None => Ok(Swept::default()),
            },
            Scope::Tag(tag) => Ok(self.sweep_tag(tag, depth).await),
            Scope::Region(name) => match self.region_named(name) {
                Some(region) => {
                    let swept = region.sweep(&|_: &str, _: &str| true, depth).await?;
                    // A region whose keys cannot be listed can still be removed by what they begin with.
                    if swept.unreached.is_some() && depth == Some(Depth::Remove) {
                        region.clear().await;
                    }
                    Ok(swept)
                }
                None => Ok(Swept::default()),
            },
            Scope::Matching(matches) => {
                let mut swept = Swept::default();
                for region in self.regions() {
                    swept.add(region.sweep(&**matches, depth).await?);
                }
                Ok(swept)
            }
        }
    }

    /// The region of that name, if there is one.
    pub fn region_named(&self, name: &str) -> Option<Region> {
        self.regions().into_iter().find(|region| region.name() == name)
    }

    async fn sweep_tag(&self, tag: &str, depth: Option<Depth>) -> Swept {
        let shared = &self.shared;
        if tag.is_empty() || tag.len() > tags::LONGEST {
            return Swept::default();
        }
        if let Some(depth) = depth {
            if let Some(tier) = &shared.store {
                shared.tags.mark(&tier.behind, tag, depth, shared.clock.now());
            }
            // What tags a load under way will bring is not known yet.
            shared.flights.invalidate_where(|_| true);
        }
        let tagged = shared.memory.keys_where(|_, entry| entry.tags.iter().any(|known| known == tag));
        let regions = self.regions();
        let mut swept = Swept { matched: tagged.len() as u64, ..Swept::default() };
        for key in tagged {
            if let (Some(depth), Some(region)) = (depth, regions.get(key.region as usize)) {
                swept.changed += u64::from(region.change(&key.name, depth).await);
            }
        }
        swept
    }
}

impl Region {
    async fn change(&self, name: &str, depth: Depth) -> bool {
        match depth {
            Depth::Expire => self.expire(name).await,
            Depth::Remove => self.remove(name).await,
        }
    }

    async fn sweep_key(&self, name: &str, depth: Option<Depth>) -> Result<Swept, StoreError> {
        let (is_there, unreached) = match self.held(name) {
            Some(_) => (true, None),
            None => match (self.try_read_store(name).await, depth) {
                (Ok(stored), _) => (stored.is_some(), None),
                (Err(why), Some(_)) => (false, Some(self.cause(why))),
                (Err(why), None) => return Err(self.cause(why)),
            },
        };
        // Also if nothing is there: it may be on its way.
        if let Some(depth) = depth {
            self.change(name, depth).await;
        }
        let matched = u64::from(is_there);
        Ok(Swept { matched, changed: if depth.is_some() { matched } else { 0 }, unreached })
    }

    /// What made the guard leave the store alone, where that is all that is known.
    fn cause(&self, why: StoreError) -> StoreError {
        self.cache.store.as_ref().map_or(why.clone(), |tier| tier.store.cause(why))
    }

    async fn sweep(
        &self,
        matches: &(dyn Fn(&str, &str) -> bool + Send + Sync),
        depth: Option<Depth>,
    ) -> Result<Swept, StoreError> {
        let is_meant = |key: &Key| key.region == self.shared.id && matches(self.name(), &key.name);
        if depth.is_some() {
            self.cache.flights.invalidate_where(is_meant);
            self.cache.setbacks.retain(|key, _| !is_meant(key));
        }
        let mut names: HashSet<Arc<str>> =
            self.cache.memory.keys_where(|key, _| is_meant(key)).into_iter().map(|key| key.name).collect();
        let (mut changed, mut unreached) = (0, None);
        if let Some(depth) = depth {
            for name in &names {
                self.change(name, depth).await;
                changed += 1;
            }
        }
        let mut cursor = None;
        loop {
            let page = match self.names_stored(cursor).await {
                Ok(page) => page,
                Err(why) if depth.is_none() => return Err(self.cause(why)),
                Err(why) => {
                    unreached = Some(self.cause(why));
                    self.shared.cleared_at.fetch_max(self.cache.clock.now().as_millis(), Ordering::Relaxed);
                    break;
                }
            };
            for name in page.0 {
                if !matches(self.name(), &name) || !names.insert(name.as_str().into()) {
                    continue;
                }
                if let Some(depth) = depth {
                    self.change(&name, depth).await;
                    changed += 1;
                }
            }
            cursor = page.1;
            if cursor.is_none() {
                break;
            }
        }
        Ok(Swept { matched: names.len() as u64, changed, unreached })
    }

    pub(crate) async fn names_stored(
        &self,
        cursor: Option<Cursor>,
    ) -> Result<(Vec<String>, Option<Cursor>), StoreError> {
        let Some(tier) = &self.cache.store else {
            return Ok((Vec::new(), None));
        };
        let page = tier.store.list(&self.shared.prefix, cursor, PAGE).await?;
        let own = page.keys.iter().filter(|key| tier.behind.may_read(key));
        let names = own.filter_map(|key| key.strip_prefix(&self.shared.prefix)).map(str::to_owned).collect();
        Ok((names, page.next))
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scope::Key { region, name } => write!(f, "Key({region}:{name})"),
            Scope::Tag(tag) => write!(f, "Tag({tag})"),
            Scope::Region(region) => write!(f, "Region({region})"),
            Scope::Matching(_) => f.write_str("Matching(..)"),
        }
    }
}
