//! The queue of writes on random schedules of threads, over a store that fails at times.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use shuttle::future::{block_on, yield_now};
use shuttle::thread;

use super::worker::Worker;
use super::{Change, Fill, Form, Removal, WriteBehind};
use crate::clock::{Clock, Timestamp};
use crate::entry::{Entry, Loaded, Value};
use crate::policy::Times;
use crate::publisher::Publisher;
use crate::store::{Cursor, Guard, GuardedStore, MemoryStore, Page, Store, StoreError, Swap, Usage};
use crate::sync::on_schedules;

const SCHEDULES: usize = 2_000;
/// By the store's clock and the process's.
const NOW: Timestamp = Timestamp::from_millis(1_000_000);

/// A store whose calls let other threads go on, before and after they take effect, and of whose writes one fails.
struct Slow {
    inner: MemoryStore,
    writes: AtomicU64,
    fails: u64,
}

impl Slow {
    async fn write(&self) -> Result<(), StoreError> {
        yield_now().await;
        match self.writes.fetch_add(1, Ordering::SeqCst) == self.fails {
            true => Err(StoreError::Unavailable("injected".to_owned())),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl Store for Slow {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        yield_now().await;
        self.inner.get(key).await
    }

    async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Bytes>>, StoreError> {
        self.inner.get_many(keys).await
    }

    async fn put(&self, key: &str, value: Bytes, ttl: Duration) -> Result<(), StoreError> {
        self.write().await?;
        self.inner.put(key, value, ttl).await?;
        yield_now().await;
        Ok(())
    }

    async fn remove(&self, keys: &[String]) -> Result<u64, StoreError> {
        self.write().await?;
        let removed = self.inner.remove(keys).await;
        yield_now().await;
        removed
    }

    async fn swap(&self, swap: &Swap) -> Result<bool, StoreError> {
        self.write().await?;
        let swapped = self.inner.swap(swap).await;
        yield_now().await;
        swapped
    }

    async fn list(&self, prefix: &str, after: Option<Cursor>, most: usize) -> Result<Page, StoreError> {
        self.inner.list(prefix, after, most).await
    }

    async fn probe(&self) -> Result<Usage, StoreError> {
        self.inner.probe().await
    }
}

impl fmt::Display for Slow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("slow")
    }
}

impl fmt::Debug for Slow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Slow")
    }
}

fn at(version: u64) -> Timestamp {
    Timestamp::from_millis(NOW.as_millis() - 1_000 + 10 * version)
}

fn put(version: u64) -> Change {
    let forever = Timestamp::FOREVER;
    let times = Times { fresh_until: forever, stale_until: forever, keep_until: forever };
    let entry =
        Arc::new(Entry::new(Loaded::from(Value::new(format!("<v{version}>"))), at(version), at(version), times));
    let form = Form { schema: 1, compress_over: usize::MAX };
    Change::Put(Fill {
        entry,
        form,
        has_room: false,
        replaces: true,
        is_late: false,
        failed_at: None,
        expiry: None,
        lease: None,
    })
}

fn remove(version: u64) -> Change {
    Change::Remove(Removal::at(at(version), false))
}

/// One worker, until it finds nothing to do.
fn work(behind: &Arc<WriteBehind>) {
    behind.queue().workers += 1;
    block_on(Worker::of(behind).work());
}

fn is_drained(behind: &Arc<WriteBehind>) -> bool {
    let mut queue = behind.queue();
    queue.retry(usize::MAX);
    queue.waiting.is_empty() && queue.active.is_empty()
}

#[test]
fn on_any_schedule_what_was_put_or_removed_last_is_what_the_store_comes_to_hold() {
    let fails = AtomicU64::new(0);
    on_schedules(SCHEDULES, move || {
        let clock = Clock::paused_at(NOW);
        let fails = fails.fetch_add(1, Ordering::SeqCst) % 8;
        let slow = Arc::new(Slow { inner: MemoryStore::new(clock.clone(), 1 << 20), writes: AtomicU64::new(0), fails });
        let store = GuardedStore::with_clock(Arc::clone(&slow) as _, Guard::default(), clock.clone());
        let behind = WriteBehind::new(store, clock, Arc::new(Publisher::new("test", 1)), 1 << 20, None);
        // The last of each key counts.
        let changes = [
            ("kept", vec![put(1), remove(2), put(3)]),
            ("removed", vec![put(1), put(2), remove(3)]),
            ("replaced", vec![remove(1), put(2), put(3)]),
        ];
        let mut threads: Vec<_> = changes
            .into_iter()
            .map(|(key, changes)| {
                let behind = Arc::clone(&behind);
                thread::spawn(move || changes.into_iter().for_each(|change| behind.enqueue(key.to_owned(), change)))
            })
            .collect();
        threads.extend((0..2).map(|_| {
            let behind = Arc::clone(&behind);
            thread::spawn(move || (0..3).for_each(|_| work(&behind)))
        }));
        threads.into_iter().for_each(|thread| thread.join().expect("no thread panics"));
        for _ in 0..10 {
            if is_drained(&behind) {
                break;
            }
            work(&behind);
        }
        assert!(is_drained(&behind), "something waits for ever");
        assert_eq!(behind.queue().bytes, 0);
        for (key, body) in [("kept", Some("<v3>")), ("removed", None), ("replaced", Some("<v3>"))] {
            let held = block_on(slow.inner.get(key)).expect("it answers");
            let holds =
                |body: &str| held.as_ref().is_some_and(|held| held.windows(4).any(|part| part == body.as_bytes()));
            assert!(body.map_or(held.is_none(), holds), "{key} holds {held:?}");
        }
    });
}
