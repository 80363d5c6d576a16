//! Invalidating many keys at once.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::{StreamExt as _, stream};

use crate::cache::Cache;
use crate::clock::Timestamp;
use crate::invalidation::{Matches, Mode, OwedBulk};
use crate::memory::KeyRef;
use crate::publisher::Kind;
use crate::region::{Region, WasThere};
use crate::shared::Shared;
use crate::store::{Cursor, Store, StoreError};

mod owed;
mod run;
mod tag;

use self::run::Bulk;

/// Names asked for, and changed, at a time.
const PAGE: usize = 500;
/// Changes that may read the store at once.
const AT_ONCE: usize = 8;

/// Which keys an invalidation is about.
#[derive(Clone)]
pub enum Selector {
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
    /// All that this text names, by [`CacheBuilder::selectors`](crate::CacheBuilder::selectors). Other processes get
    /// the text, so that it reaches what they alone hold.
    Text(String),
    /// All that this says yes to, of the region's and the key's name. Other processes hear of the keys that were found, but
    /// not of those that they alone hold.
    Matching(Matches),
}

/// What precedes the name of a region in the selector of all its keys.
const REGION: &str = "@region ";

/// What an invalidation met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Invalidated {
    /// How many keys it matches. For a tag, those in memory, but for what another process has replaced by something
    /// without it: entries that only the store holds are invalidated too, but by a mark that is compared when they are
    /// read, so that they are not counted. Of millions of keys in a store, one
    /// that it lists twice may count twice.
    pub matched: u64,
    /// How many of them it expired or removed: in memory at once, and in the store before this returns, unless that was
    /// away. Then it is done once the store is back.
    pub changed: u64,
    /// Why the store could not be searched for keys, so that those which only it holds are not among them. What this
    /// process knows of waits and is changed in the store when it is back, and until it was searched then, what it holds of
    /// those keys from before is not believed.
    pub unreached: Option<StoreError>,
}

impl Cache {
    /// Expires or removes the entries that `selector` names, in every tier; with no mode it only counts. An answer that
    /// is being loaded meanwhile goes to its waiters, and is kept nowhere.
    ///
    /// Regions and patterns walk the names in memory and in the store, a page at a time. If the store does not answer,
    /// nothing that it holds of those keys from before is believed until it was searched.
    ///
    /// # Errors
    ///
    /// Without a mode, when the store does not answer; else never.
    pub async fn invalidate(&self, selector: &Selector, mode: Option<Mode>) -> Result<Invalidated, StoreError> {
        let at = self.shared.clock.now();
        match selector {
            Selector::Key { region, name } => match self.region_named(region) {
                Some(region) => region.invalidate_key(name, mode).await,
                None => Ok(Invalidated::default()),
            },
            Selector::Tag(tag) => Ok(self.invalidate_tag(tag, mode).await),
            Selector::Region(name) => match self.region_named(name) {
                Some(region) => {
                    let selector = format!("{REGION}{name}");
                    let invalidated =
                        self.invalidate_regions(vec![region], &every(name), Some(&selector), mode, at).await?;
                    self.publish_selector(&selector, mode, at).await;
                    Ok(invalidated)
                }
                None => Ok(Invalidated::default()),
            },
            Selector::Text(selector) => {
                let Some(matches) = self.shared.matches(selector) else {
                    return Err(StoreError::Refused(format!("{selector:?} is no selector")));
                };
                let invalidated = self.invalidate_regions(self.regions(), &matches, Some(selector), mode, at).await?;
                self.publish_selector(selector, mode, at).await;
                Ok(invalidated)
            }
            Selector::Matching(matches) => self.invalidate_regions(self.regions(), matches, None, mode, at).await,
        }
    }

    async fn invalidate_regions(
        &self,
        regions: Vec<Region>,
        matches: &Matches,
        selector: Option<&str>,
        mode: Option<Mode>,
        at: Timestamp,
    ) -> Result<Invalidated, StoreError> {
        let prefix = match &regions[..] {
            [region] => region.shared.prefix.clone(),
            _ => format!("{}:", self.shared.namespace),
        };
        let invalidated = Bulk::of(regions, &**matches, mode, at).run(&prefix).await?;
        if let (Some(mode), Some(_)) = (mode, &invalidated.unreached) {
            self.invalidate_memory_again(matches, mode, at);
            let selector = selector.map(str::to_owned);
            if !self.owe(OwedBulk { prefix: prefix.clone(), matches: Arc::clone(matches), selector, mode, at }) {
                self.distrust(&prefix, mode, at);
            }
        }
        Ok(invalidated)
    }

    /// From now on nothing that the store holds of these regions from before is believed, or is fresh.
    fn distrust(&self, prefix: &str, mode: Mode, at: Timestamp) {
        for region in self.regions().iter().filter(|region| region.shared.prefix.starts_with(prefix)) {
            let shared = &region.shared;
            let since = if mode == Mode::Remove { &shared.cleared_at } else { &shared.expired_at };
            since.fetch_max(at.as_millis(), Ordering::Relaxed);
        }
    }

    /// Changes what memory took from the store between its own bulk invalidation and the store's, which failed.
    fn invalidate_memory_again(&self, matches: &Matches, mode: Mode, at: Timestamp) {
        let regions = self.regions();
        let region_of = |key: &KeyRef<'_>| regions.get(key.region as usize);
        let is_meant = |key: &KeyRef<'_>| region_of(key).is_some_and(|region| matches(region.name(), key.name));
        let older = self.shared.memory.keys_where(|key, entry| entry.fetch_started_at <= at && is_meant(key));
        for key in older {
            if let Some(region) = region_of(&key.borrowed()) {
                region.change_late(&key.name, mode, at);
            }
        }
    }

    async fn publish_selector(&self, selector: &str, mode: Option<Mode>, at: Timestamp) {
        let (Some(mode), Some(tier)) = (mode, &self.shared.store) else { return };
        let kind = match mode {
            Mode::Expire => Kind::ExpiredWhere,
            Mode::Remove => Kind::RemovedWhere,
        };
        self.shared.publisher.announce(&tier.store, kind, selector, Some(at)).await;
    }

    /// The region of that name, if there is one.
    pub fn region_named(&self, name: &str) -> Option<Region> {
        self.regions().into_iter().find(|region| region.name() == name)
    }
}

impl Region {
    async fn change(&self, name: &str, mode: Mode, asked_at: Timestamp) -> bool {
        match mode {
            Mode::Expire => self.expire(name).await == WasThere::Yes,
            Mode::Remove => self.remove_as_of(name, asked_at),
        }
    }

    async fn invalidate_key(&self, name: &str, mode: Option<Mode>) -> Result<Invalidated, StoreError> {
        let (is_there, unreached) = match self.held(name) {
            Some(_) => (true, None),
            None => match (self.try_read_store(name).await, mode) {
                (Ok(stored), _) => (stored.entry.is_some(), None),
                (Err(why), Some(_)) => (false, Some(self.cause(why))),
                (Err(why), None) => return Err(self.cause(why)),
            },
        };
        // Also if nothing is there: it may be on its way.
        if let Some(mode) = mode {
            self.change(name, mode, self.cache.clock.now()).await;
        }
        let matched = u64::from(is_there);
        Ok(Invalidated { matched, changed: if mode.is_some() { matched } else { 0 }, unreached })
    }

    /// What made the guard back off from the store, where that is all that is known.
    pub(crate) fn cause(&self, why: StoreError) -> StoreError {
        self.cache.store.as_ref().map_or(why.clone(), |tier| tier.store.cause(why))
    }

    /// Changes some keys for a bulk invalidation that was asked for at `at`.
    async fn change_all(&self, names: &[Arc<str>], mode: Mode, at: Timestamp) {
        if mode == Mode::Remove {
            names.iter().for_each(|name| _ = self.remove_as_of(name, at));
            return;
        }
        // Each may wait for what the store holds of it.
        let changes: Vec<_> = names.iter().map(|name| self.expire(name)).collect();
        stream::iter(changes).buffer_unordered(AT_ONCE).for_each(|_| std::future::ready(())).await;
    }

    /// Lets others have their turn; and, where `store_keeps_up`, waits until the store has taken the changes of these
    /// names, so that no more waits for it than there is room for. Says whether it has.
    async fn pace(&self, names: &[Arc<str>], store_keeps_up: bool) -> bool {
        tokio::task::yield_now().await;
        match &self.cache.store {
            Some(tier) => store_keeps_up && tier.behind.settled(&self.shared.prefix, names).await,
            None => true,
        }
    }

    /// The names whose values wait for the store: memory may have given them up.
    fn names_waiting(&self) -> Vec<Arc<str>> {
        let Some(tier) = &self.cache.store else { return Vec::new() };
        let prefix = &self.shared.prefix;
        tier.behind.waiting_under(prefix).iter().map(|key| key[prefix.len()..].into()).collect()
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

impl Shared {
    /// Which keys a selector names; `None` for a text that means nothing here.
    pub(crate) fn matches(&self, selector: &str) -> Option<Matches> {
        match selector.strip_prefix(REGION) {
            Some(region) => Some(every(region)),
            None => self.selectors.as_ref()?(selector),
        }
    }
}

/// All keys of a region.
fn every(region: &str) -> Matches {
    let meant = region.to_owned();
    Arc::new(move |region, _| region == meant)
}

impl fmt::Debug for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Selector::Key { region, name } => write!(f, "Key({region}:{name})"),
            Selector::Tag(tag) => write!(f, "Tag({tag})"),
            Selector::Region(region) => write!(f, "Region({region})"),
            Selector::Text(selector) => write!(f, "Text({selector})"),
            Selector::Matching(_) => f.write_str("Matching(..)"),
        }
    }
}
