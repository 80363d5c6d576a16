//! What others do to single keys of the store: programs that delete, rename or overwrite them, and the server itself, which
//! evicts them or is emptied.
//!
//! The server reports the keys that changed, by any program. Those that memory holds are looked up, by the
//! checksum of what the store holds now: this process's own writes are reported, too. Where it is another, memory's
//! entry is doubted, and the next read asks the store. A read pays nothing for that before.

use std::collections::HashSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::cache::Cache;
use crate::clock::Timestamp;
use crate::entry::{Entry, notable};
use crate::lease::Claim;
use crate::memory::Key;
use crate::region::Region;
use crate::shared::Shared;
use crate::store::{GuardedStore, Noticed, Store, Watch, Watched};

/// Keys that are looked up together.
const TOGETHER: usize = 64;
/// The pause between two attempts to look keys up.
const PAUSE: Duration = Duration::from_millis(100);
/// The pause between two lots of keys while all of memory is looked up: some 1,600 keys a second.
const PACE: Duration = Duration::from_millis(40);
/// The most keys that are looked at once more. Beyond it everything is revalidated.
const MOST_AGAIN: usize = 20_000;

/// Begins to listen to what the server tells, if there is a runtime to do it in and a server that tells.
pub(crate) fn watch_the_store(cache: &Arc<Shared>) -> Option<JoinHandle<()>> {
    let store = Arc::clone(&cache.store.as_ref()?.store);
    let runtime = tokio::runtime::Handle::try_current().ok()?;
    let _entered = runtime.enter();
    let watched = Store::watch(&*store)?.watch(&format!("{}:", cache.namespace));
    let watcher = Watcher { cache: Arc::downgrade(cache), store };
    Some(runtime.spawn(watcher.run(watched)))
}

/// How keys are looked up.
#[derive(Clone, Copy)]
struct Look {
    /// How often it is tried.
    tries: u32,
    /// Whether entries are doubted if the store does not say what it holds.
    doubts_unknown: bool,
}

/// The server said that they changed.
const CHANGED: Look = Look { tries: 3, doubts_unknown: true };
/// They may have changed. A store that has just come back takes a second to be asked again; a server that does not come back
/// will say so when it does.
const MAYBE: Look = Look { tries: 10, doubts_unknown: false };

/// An entry of memory that is to be looked up.
struct Suspect {
    region: Region,
    stored_under: String,
    entry: Arc<Entry>,
}

impl Suspect {
    fn name(&self) -> &str {
        &self.stored_under[self.region.shared.prefix.len()..]
    }
}

/// The keys still to be looked up.
#[derive(Default)]
struct Rounds {
    /// Keys that changed, and when that was reported: a read of the store that was under way then may bring a removed
    /// entry into memory after it was looked up.
    again: Vec<(Timestamp, String)>,
    /// All of memory, after changes may have gone unreported.
    recheck: Vec<String>,
}

struct Watcher {
    cache: Weak<Shared>,
    store: Arc<GuardedStore>,
}

impl Watcher {
    async fn run(self, watched: Watched) {
        let settled = self.store.budget() + PAUSE;
        let mut rounds = Rounds::default();
        loop {
            let wait = if rounds.recheck.is_empty() { settled } else { PACE };
            let is_idle = rounds.again.is_empty() && rounds.recheck.is_empty();
            let noticed = tokio::select! {
                noticed = watched.next() => noticed,
                () = sleep(wait), if !is_idle => Noticed::default(),
            };
            let Some(cache) = self.cache.upgrade() else { return };
            let now = cache.clock.now();
            if noticed.everything || rounds.again.len() + noticed.keys.len() > MOST_AGAIN {
                tracing::warn!("the store was emptied, or changed faster than can be followed: memory is revalidated");
                rounds.again.clear();
                if let Some(tier) = &cache.store {
                    tier.behind.contest_all();
                }
                cache.verification.missed(now);
            }
            drop(cache);
            if noticed.emptied {
                self.all_is_removed();
            }
            if noticed.gap {
                rounds.recheck = self.all_keys();
            }
            let keys = noticed.keys.iter().map(|key| (key.as_str(), Timestamp::FOREVER));
            let settled_keys = self.look_up(keys, CHANGED).await;
            let others = noticed.keys.into_iter().filter(|key| !settled_keys.contains(key));
            rounds.again.extend(others.map(|key| (now, key)));
            self.go_on(&mut rounds, now, settled).await;
        }
    }

    /// Looks up the keys that are due.
    async fn go_on(&self, rounds: &mut Rounds, now: Timestamp, settled: Duration) {
        let due = rounds.again.iter().take_while(|(at, _)| now.since(*at) >= settled).count();
        let keys: Vec<(Timestamp, String)> = rounds.again.drain(..due).collect();
        // What was put since is another's business.
        self.look_up(keys.iter().map(|(at, key)| (key.as_str(), *at)), CHANGED).await;
        // The log first: what other processes removed is no one else's doing.
        let hears = self.cache.upgrade().is_some_and(|cache| cache.clock.now() <= cache.verification.verified_until());
        if !rounds.recheck.is_empty() && hears {
            let lot = rounds.recheck.split_off(rounds.recheck.len().saturating_sub(TOGETHER));
            self.look_up(lot.iter().map(|key| (key.as_str(), Timestamp::FOREVER)), MAYBE).await;
        }
    }

    /// The store holds nothing any more of all that it is known to have held, and that by command.
    fn all_is_removed(&self) {
        let keys = self.all_keys();
        let regions = self.regions();
        // What was in doubt already is gone, too.
        for suspect in keys.iter().filter_map(|key| suspect(&regions, key)) {
            suspect.region.replace(suspect.name(), &suspect.entry, Entry::superseded);
        }
    }

    /// The store's keys of all in memory that the store is known to have held.
    fn all_keys(&self) -> Vec<String> {
        let Some(shared) = self.cache.upgrade() else { return Vec::new() };
        let regions = Cache { shared: Arc::clone(&shared) }.regions();
        let keys = shared.memory.keys_where(|_, entry| entry.checksum().is_some());
        let stored_under = |key: Key| Some(regions.get(key.region as usize)?.store_key(&key.name));
        keys.into_iter().filter_map(stored_under).collect()
    }

    /// Doubts those of the keys for which memory holds something that the store does not hold. Says of which the store holds
    /// the same.
    async fn look_up<'a>(&self, keys: impl Iterator<Item = (&'a str, Timestamp)>, look: Look) -> HashSet<String> {
        let suspects = self.held(keys);
        let mut settled = HashSet::new();
        for suspects in suspects.chunks(TOGETHER) {
            let keys: Vec<String> = suspects.iter().map(|suspect| suspect.stored_under.clone()).collect();
            let checksums = self.checksums(&keys, look.tries).await;
            if checksums.is_none() && !look.doubts_unknown {
                continue;
            }
            let Some(cache) = self.cache.upgrade() else { break };
            for (place, suspect) in suspects.iter().enumerate() {
                let stored = checksums.as_ref().and_then(|checksums| checksums[place]);
                if stored.is_some() && suspect.entry.checksum() == stored.map(notable) {
                    settled.insert(suspect.stored_under.clone());
                } else if stored == Some(Claim::CHECKSUM) {
                    // A load that is under way will be reported, too, when it has brought something.
                } else if !cache.store.as_ref().is_some_and(|tier| tier.behind.has(&suspect.stored_under)) {
                    suspect.region.replace(suspect.name(), &suspect.entry, Entry::doubted);
                } else if cache.store.as_ref().is_some_and(|tier| tier.behind.contest_if_late(&suspect.stored_under)) {
                    // Which of the two is newer, the store decides when what waits here is written.
                    suspect.region.replace(suspect.name(), &suspect.entry, Entry::superseded);
                }
                // A change that waits to be written here is reported once it is.
            }
        }
        settled
    }

    /// What memory holds of these keys and believes, and took in by the time that stands with each.
    fn held<'a>(&self, keys: impl Iterator<Item = (&'a str, Timestamp)>) -> Vec<Suspect> {
        let believed = |(suspect, until): (Suspect, Timestamp)| {
            let Suspect { entry, .. } = &suspect;
            let is_believed = !entry.is_superseded() && !entry.is_doubted() && entry.taken_at <= until;
            is_believed.then_some(suspect)
        };
        let regions = self.regions();
        keys.filter_map(|(key, until)| believed((suspect(&regions, key)?, until))).collect()
    }

    fn regions(&self) -> Vec<Region> {
        self.cache.upgrade().map(|shared| Cache { shared }.regions()).unwrap_or_default()
    }

    /// The checksums of what the store holds; `None` if it does not say.
    async fn checksums(&self, keys: &[String], tries: u32) -> Option<Vec<Option<u32>>> {
        for _ in 0..tries {
            match Watch::checksums(&*self.store, keys).await {
                Ok(checksums) if checksums.len() == keys.len() => return Some(checksums),
                Ok(_) => return None,
                Err(why) => tracing::trace!(%why, "keys that changed could not be looked up"),
            }
            sleep(PAUSE).await;
        }
        None
    }
}

/// What memory holds of a key.
fn suspect(regions: &[Region], key: &str) -> Option<Suspect> {
    let region = regions.iter().find(|region| key.starts_with(&region.shared.prefix))?;
    let entry = region.held(&key[region.shared.prefix.len()..])?;
    Some(Suspect { region: region.clone(), stored_under: key.to_owned(), entry })
}

impl Region {
    /// Has the next read of `name` ask the store, if memory still holds this entry.
    fn replace(&self, name: &str, entry: &Arc<Entry>, by: fn(&Entry) -> Entry) {
        let key = Key::new(self.shared.id, name);
        self.cache.flights.alone(&key, || {
            if self.held(name).is_some_and(|held| Arc::ptr_eq(&held, entry)) {
                self.cache.memory.insert(&key.borrowed(), Arc::new(by(entry)));
            }
        });
    }
}
