//! A lock for each key.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OwnedMutexGuard;

type Lock = Arc<tokio::sync::Mutex<()>>;
type Locks = HashMap<Box<str>, Lock>;

/// A lock for each key: tasks with one key run one after the other, in the order in which they came, and tasks with other
/// keys run meanwhile. It holds only locks that are held or waited for.
#[derive(Clone, Default)]
pub struct KeyedMutex(Arc<Mutex<Locks>>);

/// The lock of a key. Dropped, it is given to the task that has waited longest.
pub struct KeyGuard {
    locks: KeyedMutex,
    key: Box<str>,
    /// `None` while it is waited for.
    lock: Option<OwnedMutexGuard<()>>,
}

impl KeyedMutex {
    /// Waits for the lock of a key.
    pub async fn lock(&self, key: &str) -> KeyGuard {
        let lock = Arc::clone(self.locks().entry(key.into()).or_default());
        // A task that gives up waiting takes its lock out of the table as the holder does.
        let mut guard = KeyGuard { locks: self.clone(), key: key.into(), lock: None };
        guard.lock = Some(lock.lock_owned().await);
        guard
    }

    /// Waits for the locks of several keys. All tasks take them in one order, so that no two wait for each other.
    pub async fn lock_all(&self, keys: &[String]) -> Vec<KeyGuard> {
        let mut keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        keys.sort_unstable();
        keys.dedup();
        let mut guards = Vec::with_capacity(keys.len());
        for key in keys {
            guards.push(self.lock(key).await);
        }
        guards
    }

    fn locks(&self) -> MutexGuard<'_, Locks> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for KeyGuard {
    fn drop(&mut self) {
        drop(self.lock.take());
        let mut locks = self.locks.locks();
        // The table has the last one: no task holds the lock or waits for it.
        if locks.get(&self.key).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            locks.remove(&self.key);
        }
    }
}

impl fmt::Debug for KeyedMutex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyedMutex({} in use)", self.locks().len())
    }
}

impl fmt::Debug for KeyGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyGuard({})", self.key)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use tokio::task::yield_now;
    use tokio::time::timeout;

    use super::*;

    fn in_use(locks: &KeyedMutex) -> usize {
        locks.locks().len()
    }

    async fn is_taken(locks: &KeyedMutex, key: &str) -> bool {
        timeout(Duration::from_secs(1), locks.lock(key)).await.is_err()
    }

    #[tokio::test(start_paused = true)]
    async fn one_holds_a_key_at_a_time_and_other_keys_are_free() {
        let locks = KeyedMutex::default();
        let held = locks.lock("a").await;
        assert!(is_taken(&locks, "a").await);
        assert!(!is_taken(&locks, "b").await);
        drop(held);
        assert!(!is_taken(&locks, "a").await);
    }

    #[tokio::test]
    async fn tasks_that_wait_for_a_key_have_it_in_the_order_in_which_they_came() {
        let (locks, order) = (KeyedMutex::default(), Arc::new(Mutex::new(Vec::new())));
        let held = locks.lock("a").await;
        let mut tasks = Vec::new();
        for number in 0..20 {
            let (locks, order) = (locks.clone(), Arc::clone(&order));
            tasks.push(tokio::spawn(async move {
                let _held = locks.lock("a").await;
                order.lock().unwrap().push(number);
                // Those that came later have time to overtake.
                yield_now().await;
            }));
            yield_now().await;
        }
        drop(held);
        for task in tasks {
            task.await.unwrap();
        }
        assert!(order.lock().unwrap().iter().copied().eq(0..20));
        assert_eq!(in_use(&locks), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_gives_up_waiting_leaves_nothing_and_keeps_no_other_from_its_turn() {
        let locks = KeyedMutex::default();
        let held = locks.lock("a").await;
        assert!(is_taken(&locks, "a").await);
        let next = tokio::spawn({
            let locks = locks.clone();
            async move { drop(locks.lock("a").await) }
        });
        let gives_up = tokio::spawn({
            let locks = locks.clone();
            async move { drop(locks.lock("a").await) }
        });
        yield_now().await;
        gives_up.abort();
        assert!(gives_up.await.unwrap_err().is_cancelled());
        assert_eq!(in_use(&locks), 1);
        drop(held);
        next.await.unwrap();
        assert_eq!(in_use(&locks), 0);
    }

    #[tokio::test]
    async fn keys_that_are_no_longer_in_use_take_no_room() {
        let locks = KeyedMutex::default();
        for number in 0..1_000 {
            let held = locks.lock(&format!("key {number}")).await;
            assert_eq!(in_use(&locks), 1);
            drop(held);
        }
        let held = locks.lock_all(&["b", "a", "b"].map(str::to_owned)).await;
        assert_eq!((held.len(), in_use(&locks)), (2, 2));
        drop(held);
        assert_eq!(in_use(&locks), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn tasks_that_need_several_keys_do_not_wait_for_each_other_for_ever() {
        let locks = KeyedMutex::default();
        let mut tasks = Vec::new();
        for number in 0..50 {
            let locks = locks.clone();
            let mut keys = ["a", "b", "c"].map(str::to_owned);
            keys.rotate_left(number % 3);
            tasks.push(tokio::spawn(async move {
                let _held = locks.lock_all(&keys).await;
                yield_now().await;
            }));
        }
        for task in tasks {
            timeout(Duration::from_secs(1), task).await.expect("no deadlock").unwrap();
        }
        assert_eq!(in_use(&locks), 0);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn threads_that_come_and_give_up_never_hold_a_key_at_once_and_leave_nothing() {
        let (locks, inside) = (KeyedMutex::default(), Arc::new(AtomicUsize::new(0)));
        let mut tasks = Vec::new();
        for number in 0..8 {
            let (locks, inside) = (locks.clone(), Arc::clone(&inside));
            tasks.push(tokio::spawn(async move {
                for turn in 0..500 {
                    if (number + turn) % 3 == 0 {
                        let _ = timeout(Duration::ZERO, locks.lock("a")).await;
                        continue;
                    }
                    let _held = locks.lock("a").await;
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                    yield_now().await;
                    inside.fetch_sub(1, Ordering::SeqCst);
                }
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(in_use(&locks), 0);
    }
}
