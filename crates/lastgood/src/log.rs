//! The invalidation log: what this process tells the others that share its store, and what it hears of them.
//!
//! Whatever takes something away from the store is told once the store has it: a process that heard of it earlier could
//! read the old value once more. What is heard changes memory alone, for the store is changed already.
//!
//! Each process reads from its own place, so that one that was cut off goes on where it was. If what followed on that
//! place is gone, nothing that memory holds is served before it was revalidated. While the log cannot be read, memory is
//! believed for a bounded time.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::cache::{Cache, Shared};
use crate::clock::Timestamp;
use crate::memory::Key;
use crate::region::Region;
use crate::store::{GuardedStore, Position, Store, Tail, jittered};
use crate::tags::Depth;
use crate::write_behind::Change;

mod record;
mod trust;

use self::record::Subject;
pub(crate) use self::record::{Kind, Record};
pub(crate) use self::trust::{Hearing, Trust};

/// How long one read of the log waits for something to be said. Not shorter, because hosted Redis is billed by the
/// command.
const WAIT: Duration = Duration::from_secs(10);
/// What an answer may take on top before the log counts as unreadable.
pub(crate) const GRACE: Duration = Duration::from_secs(2);
/// The first wait after a read that failed, and the longest.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// Records that wait to be told; beyond it everything is declared changed.
const UNTOLD: usize = 10_000;

/// What this process has to tell the others. One at a time tells, in order.
pub(crate) struct Voice {
    /// The log's key in the store, and what precedes each key that is told of.
    name: String,
    prefix: String,
    /// Distinguishes this process from the others; its own words are not news to it.
    node: String,
    untold: Mutex<VecDeque<Record>>,
    speaking: AtomicBool,
}

impl Voice {
    pub(crate) fn new(namespace: &str, node: u64) -> Voice {
        Voice {
            name: format!("{namespace}:@log"),
            prefix: format!("{namespace}:"),
            node: format!("{node:016x}"),
            untold: Mutex::default(),
            speaking: AtomicBool::new(false),
        }
    }

    /// How much waits to be told.
    pub(crate) fn left_to_tell(&self) -> usize {
        self.untold().len()
    }

    fn untold(&self) -> MutexGuard<'_, VecDeque<Record>> {
        self.untold.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has it told that something happened to `key`, which the store has taken note of.
    pub(crate) async fn tell(&self, store: &GuardedStore, kind: Kind, key: &str) {
        if store.log().is_none() {
            return;
        }
        let key = key.strip_prefix(&self.prefix).unwrap_or(key).to_owned();
        self.admit(Record { kind, node: self.node.clone(), key });
        self.speak(store).await;
    }

    fn admit(&self, record: Record) {
        let mut untold = self.untold();
        if untold.len() >= UNTOLD {
            untold.clear();
            untold.push_back(Record { kind: Kind::Everything, node: self.node.clone(), key: String::new() });
        } else {
            untold.push_back(record);
        }
    }

    /// Tells what is to be told, unless another is at it. What fails is told later: by the next who has something to
    /// tell, or once the log can be read.
    async fn speak(&self, store: &GuardedStore) {
        let Some(log) = store.log() else { return };
        while !self.untold().is_empty() && !self.speaking.swap(true, Ordering::Acquire) {
            let turn = Turn(&self.speaking);
            loop {
                let Some(first) = self.untold().front().cloned() else { break };
                if let Err(why) = log.append(&self.name, first.encode()).await {
                    tracing::debug!(%why, "the other processes could not be told of an invalidation yet");
                    return;
                }
                let mut untold = self.untold();
                if untold.front() == Some(&first) {
                    untold.pop_front();
                }
            }
            // What was admitted since is this one's, too, unless another takes the turn.
            drop(turn);
        }
    }
}

/// The right to speak, given back however the speaker ends.
struct Turn<'a>(&'a AtomicBool);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// The task that listens to the other processes. It ends with the cache.
pub(crate) struct Listener(JoinHandle<()>);

impl Listener {
    /// Begins to listen, if there is a runtime to do it in and anything to listen to.
    pub(crate) fn start(cache: &Arc<Shared>) -> Option<Listener> {
        let store = Arc::clone(&cache.store.as_ref()?.store);
        store.log()?;
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            cache.hearing.not_yet();
            return None;
        };
        Some(Listener(runtime.spawn(listen(Arc::downgrade(cache), store))))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn listen(cache: Weak<Shared>, store: Arc<GuardedStore>) {
    let Some(log) = store.log() else { return };
    let Some(name) = cache.upgrade().map(|cache| cache.voice.name.clone()) else { return };
    let mut place: Option<Place> = None;
    let mut pause = RETRY.0;
    loop {
        let listened_at = place.as_ref().map_or(Timestamp::EPOCH, |place| place.read_at);
        let Some(read_at) = cache.upgrade().map(|cache| cache.clock.now()) else { return };
        let read = match &place {
            None => log.end(&name).await.map(|end| (end, None)),
            Some(Place { position, wait, .. }) => {
                let tail = log.read(&name, position.as_ref(), *wait).await;
                tail.map(|tail| (tail.end.clone(), Some(tail)))
            }
        };
        let Some(cache) = cache.upgrade() else { return };
        match read {
            Ok((position, tail)) => {
                match tail {
                    Some(tail) => cache.heed_all(tail, listened_at),
                    None => cache.hearing.begins(cache.clock.now()),
                }
                cache.hearing.heard(cache.clock.now().plus(WAIT + GRACE));
                (place, pause) = (Some(Place { position, wait: WAIT, read_at }), RETRY.0);
                cache.voice.speak(&store).await;
            }
            Err(why) => {
                tracing::debug!(%why, "the invalidation log cannot be read");
                cache.hearing.not_yet();
                cache.hearing.cut_off(cache.clock.now());
                drop(cache);
                // The first read after one that failed tells at once whether it works.
                place.iter_mut().for_each(|place| place.wait = Duration::ZERO);
                sleep(jittered(pause)).await;
                pause = (pause * 2).min(RETRY.1);
            }
        }
    }
}

/// Where to read on, and how long to wait there.
struct Place {
    position: Option<Position>,
    wait: Duration,
    /// When the last read began: what comes now was appended after that.
    read_at: Timestamp,
}

impl Shared {
    /// Heeds what was appended to the log after `since`.
    fn heed_all(self: &Arc<Self>, tail: Tail, since: Timestamp) {
        let cache = Cache { shared: Arc::clone(self) };
        if !tail.is_complete {
            tracing::warn!("invalidations by other processes were missed: memory is revalidated as it is used");
            cache.heed_everything();
        }
        for bytes in &tail.records {
            match Record::decode(bytes) {
                Some(record) if record.node == self.voice.node => {}
                Some(record) => cache.heed(&record, since),
                None => cache.heed_everything(),
            }
        }
    }
}

impl Cache {
    fn heed_everything(&self) {
        // Before the flights are detached: a later one must not take its entry for an unverified one.
        self.shared.hearing.missed(self.shared.clock.now());
        self.shared.flights.invalidate_where(|_| true);
    }

    fn heed(&self, record: &Record, since: Timestamp) {
        let depth = match record.kind {
            Kind::Everything => return self.heed_everything(),
            Kind::Changed => Depth::Expire,
            Kind::Removed | Kind::Cleared => Depth::Remove,
        };
        match record.subject() {
            Some(Subject::Tag { depth, tag }) => self.heed_tag(depth, tag),
            Some(Subject::Key { region, schema, name }) => {
                let Some(region) = self.region_named(region) else { return };
                if record.kind == Kind::Cleared {
                    region.heed_prefix(name, schema, since);
                } else {
                    region.heed(name, schema, depth, since);
                }
            }
            None => {}
        }
    }

    fn heed_tag(&self, depth: Depth, tag: &str) {
        // What tags a load under way will bring is not known yet.
        self.shared.flights.invalidate_where(|_| true);
        let tagged = self.shared.memory.keys_where(|_, entry| entry.tags.iter().any(|known| known == tag));
        let regions = self.regions();
        for key in tagged {
            if let Some(region) = regions.get(key.region as usize) {
                region.change_in_memory(&key, depth);
            }
        }
    }
}

impl Region {
    /// Another process changed what the store holds for `name`.
    fn heed(&self, name: &str, schema: u32, depth: Depth, since: Timestamp) {
        self.change_in_memory(&Key::new(self.shared.id, name), depth);
        if let Some(tier) = &self.cache.store {
            match schema == self.shared.schema {
                true => {
                    // Where the store is to hold something else, that must not be taken for what was written here.
                    let since = if depth == Depth::Remove { since } else { Timestamp::FOREVER };
                    tier.behind.take_back(&self.store_key(name), since);
                }
                // It knows nothing of the keys of this schema.
                false => tier.behind.enqueue(self.store_key(name), Change::Remove { tell: false }),
            }
        }
    }

    /// Another process removed all that begins with `prefix`.
    fn heed_prefix(&self, prefix: &str, schema: u32, since: Timestamp) {
        let doomed = |key: &Key| key.region == self.shared.id && key.name.starts_with(prefix);
        self.cache.flights.invalidate_where(doomed);
        self.cache.memory.remove_where(doomed);
        self.cache.setbacks.retain(|key, _| !doomed(key));
        if let Some(tier) = &self.cache.store {
            match schema == self.shared.schema {
                true => tier.behind.take_back_all(&self.store_key(prefix), since),
                false => tier.behind.clear(&self.store_key(prefix), false),
            }
        }
    }

    fn change_in_memory(&self, key: &Key, depth: Depth) {
        self.cache.flights.invalidate(key, || {
            self.cache.setbacks.remove(key);
            match (depth, self.held(&key.name)) {
                (Depth::Remove, _) => drop(self.cache.memory.remove(&self.key(&key.name))),
                (Depth::Expire, Some(held)) => self.cache.memory.insert(key.clone(), Arc::new(held.superseded())),
                (Depth::Expire, None) => {}
            }
        });
    }
}
