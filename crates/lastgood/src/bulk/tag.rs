//! Invalidating by tag. What memory holds says only where to look: another process may have put something without the tag
//! there since, so that of a store that others share nothing is changed but what has the tag.

use std::sync::Arc;

use super::{Invalidated, PAGE};
use crate::cache::Cache;
use crate::clock::Timestamp;
use crate::flight::Void;
use crate::invalidation::Mode;
use crate::memory::Key;
use crate::region::Region;
use crate::shared::Tier;
use crate::tags;
use crate::write_behind::{Change, Meant, Removal, Tagged};

impl Cache {
    pub(super) async fn invalidate_tag(&self, tag: &str, mode: Option<Mode>) -> Invalidated {
        let shared = &self.shared;
        if tag.is_empty() || tag.len() > tags::LONGEST {
            return Invalidated::default();
        }
        let at = shared.clock.now();
        if let Some(mode) = mode {
            if let Some(tier) = &shared.store {
                shared.tags.mark(&tier.behind, tag, mode, at);
            }
            // What tags a load under way will bring is not known yet.
            let void = match mode {
                Mode::Expire => Void::Expired,
                Mode::Remove => Void::TagRemoved(tag.into(), at),
            };
            shared.flights.invalidate_where(&void, |_| true);
        }
        let tagged = self.keys_tagged(tag);
        let regions = self.regions();
        let mut invalidated = Invalidated::default();
        let mut keeps_up = true;
        for batch in tagged.chunks(PAGE) {
            let met = match shared.shared_tier() {
                Some(tier) => change_where_tagged(&regions, tier, batch, tag, mode, at).await,
                None => change_here(&regions, batch, mode, at).await,
            };
            invalidated.matched += met;
            let Some(_) = mode else { continue };
            invalidated.changed += met;
            for region in &regions {
                let names = batch.iter().filter(|key| key.region == region.shared.id);
                let names: Vec<_> = names.map(|key| Arc::clone(&key.name)).collect();
                keeps_up = region.pace(&names, keeps_up).await;
            }
        }
        invalidated
    }

    /// The keys of what has the tag in memory, or waits for the store.
    fn keys_tagged(&self, tag: &str) -> Vec<Key> {
        let shared = &self.shared;
        let mut tagged = shared.memory.keys_where(|_, entry| entry.has_tag(tag));
        let regions = self.regions();
        // What waits for the store memory may have given up.
        let waiting = shared.store.iter().flat_map(|tier| tier.behind.tagged(tag));
        for (key, region) in waiting.flat_map(|key| regions.iter().map(move |region| (key.clone(), region))) {
            if let Some(name) = key.strip_prefix(&region.shared.prefix).filter(|name| region.held(name).is_none()) {
                tagged.push(Key::new(region.shared.id, name));
            }
        }
        tagged
    }
}

/// Changes keys where no other process can have changed them. Says how many were there.
async fn change_here(regions: &[Region], keys: &[Key], mode: Option<Mode>, at: Timestamp) -> u64 {
    let Some(mode) = mode else { return keys.len() as u64 };
    let mut changed = 0;
    for key in keys {
        if let Some(region) = regions.get(key.region as usize) {
            changed += u64::from(region.change(&key.name, mode, at).await);
        }
    }
    changed
}

/// Changes what has the tag of these keys, in memory and in a store that others share. Says of how many the value had it, by the
/// store as far as that answers. What the store does not do now, the mark of the tag does when it is read.
async fn change_where_tagged(
    regions: &[Region],
    tier: &Tier,
    keys: &[Key],
    tag: &str,
    mode: Option<Mode>,
    at: Timestamp,
) -> u64 {
    let (mut met, mut began_at, mut meant) = (0, Vec::new(), Vec::new());
    for key in keys {
        let Some(region) = regions.get(key.region as usize) else { continue };
        let stored_under = region.store_key(&key.name);
        if let Some(put_at) = tier.behind.tagged_put_at(&stored_under, tag) {
            met += 1;
            match mode {
                Some(Mode::Expire) => drop(region.expire(&key.name).await),
                Some(Mode::Remove) => region.take_put_away(&key.name, tag, at, put_at),
                None => {}
            }
            continue;
        }
        began_at.push(match mode {
            Some(mode) => region.change_tagged(&key.name, tag, mode, at),
            None => region.held(&key.name).map(|held| region.began_at(&held)),
        });
        let (schema, policy) = (region.shared.schema, Arc::clone(&region.shared.policy));
        meant.push(Meant { key: stored_under, schema, policy });
    }
    let found = tier.behind.change_tagged(&meant, tag, mode, at).await;
    let had_it = began_at.iter().zip(found).filter(|(began_at, found)| match found {
        Tagged::Yes => true,
        Tagged::Unknown => began_at.is_some(),
        // What another process put later is what the key holds.
        Tagged::No { started_at } => began_at.is_some_and(|began_at| began_at > *started_at),
    });
    met + had_it.count() as u64
}

impl Region {
    /// Changes what memory holds of `name` if it has the tag and is not from after `at`. Says when it began.
    fn change_tagged(&self, name: &str, tag: &str, mode: Mode, at: Timestamp) -> Option<Timestamp> {
        self.invalidate(name, &Void::of(mode, at), || {
            let held = self.held(name).filter(|held| held.fetch_started_at <= at && held.has_tag(tag))?;
            match mode {
                Mode::Expire => {
                    let expired = Arc::new(held.expired_at(at, &self.shared.policy));
                    self.cache.memory.insert(&self.key(name), expired);
                }
                Mode::Remove => drop(self.cache.memory.remove(&self.key(name))),
            }
            Some(self.began_at(&held))
        })
    }

    /// Takes away a put from `put_at` that the store may not have yet, and in the store what it replaces. What another process
    /// put later stays.
    fn take_put_away(&self, name: &str, tag: &str, at: Timestamp, put_at: Timestamp) {
        self.invalidate(name, &Void::Removed(at), || {
            if self.held(name).is_some_and(|held| held.fetch_started_at <= at && held.has_tag(tag)) {
                self.cache.memory.remove(&self.key(name));
            }
            if let Some(tier) = &self.cache.store {
                let removal = Change::Remove(Removal::at(put_at, true).late());
                tier.behind.enqueue_late(self.store_key(name), removal, put_at);
            }
        });
    }
}
