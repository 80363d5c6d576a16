//! Flights and memory on random schedules of threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::{Either, select};
use shuttle::future::{block_on, yield_now};
use shuttle::thread;

use crate::clock::Timestamp;
use crate::entry::{Entry, Loaded, Value};
use crate::flight::{Flights, JoinOrStart, LeaderGuard, Origin, Void};
use crate::memory::{Key, KeyRef, Memory};
use crate::policy::Times;
use crate::sync::{on_schedules, point};

const SCHEDULES: usize = 2_000;
const LIMIT: Duration = Duration::from_secs(60);
const ROOM: u64 = 8 << 10;

/// An entry of a version, with a body of some bytes.
fn entry(version: u64, bytes: usize) -> Arc<Entry> {
    let forever = Timestamp::FOREVER;
    let times = Times { fresh_until: forever, stale_until: forever, keep_until: forever };
    let loaded = Loaded::from(Value::new(format!("{version:0bytes$}")));
    let at = Timestamp::from_millis(version);
    Arc::new(Entry::new(loaded, at, at, times))
}

fn version(entry: &Entry) -> u64 {
    entry.fetch_started_at.as_millis()
}

/// What the callers share.
struct Parts {
    flights: Arc<Flights>,
    memory: Memory,
    /// What the source holds.
    source: AtomicU64,
    /// Nothing older may be answered to who asks now.
    invalidated: AtomicU64,
    loads: AtomicU64,
}

impl Parts {
    fn new() -> Arc<Parts> {
        let (flights, memory) = (Flights::new(), Memory::new(ROOM));
        let [source, invalidated] = [1, 1].map(AtomicU64::new);
        Arc::new(Parts { flights, memory, source, invalidated, loads: AtomicU64::new(0) })
    }

    fn held(&self) -> Option<u64> {
        self.memory.get(&KeyRef { region: 0, name: "key" }).map(|entry| version(&entry))
    }

    /// The load's task.
    fn load(&self, leader: LeaderGuard) {
        if let Some(entry) = self.memory.get(&KeyRef { region: 0, name: "key" }) {
            return leader.complete(Ok((entry, Origin::Memory)));
        }
        self.loads.fetch_add(1, Ordering::SeqCst);
        let loaded = entry(self.source.load(Ordering::SeqCst), 8);
        point();
        leader.write(|| self.memory.insert(&key().borrowed(), Arc::clone(&loaded)));
        leader.complete(Ok((loaded, Origin::Source)));
    }

    /// A read: the version, or nothing if the caller left before there was one.
    fn read(self: &Arc<Self>, leaves: bool) -> Option<u64> {
        if let Some(version) = self.held() {
            return Some(version);
        }
        let flight = match self.flights.join_or_start(key(), LIMIT) {
            JoinOrStart::Joined(flight) => flight,
            JoinOrStart::First(leader) => {
                let (parts, flight) = (Arc::clone(self), leader.flight());
                thread::spawn(move || parts.load(leader));
                flight
            }
        };
        let answer = Box::pin(async move { flight.wait().await });
        let completed = match leaves {
            false => block_on(answer),
            true => match block_on(select(answer, Box::pin(yield_now()))) {
                Either::Left((completed, _)) => completed,
                Either::Right(_) => return None,
            },
        };
        Some(version(&completed.expect("the load does not fail").0))
    }

    /// As an invalidation does: the source holds something newer, and nothing older may be held from now on.
    fn invalidate(&self) {
        self.source.fetch_add(1, Ordering::SeqCst);
        let void = Void::Removed(Timestamp::from_millis(self.source.load(Ordering::SeqCst)));
        self.flights.invalidate(&key(), &void, || self.memory.remove(&KeyRef { region: 0, name: "key" }));
    }
}

fn key() -> Key {
    Key::new(0, "key")
}

#[test]
fn callers_that_join_and_leave_on_any_schedule_make_one_load_and_are_all_answered() {
    on_schedules(SCHEDULES, || {
        let parts = Parts::new();
        let callers: Vec<_> = (0..5)
            .map(|caller| {
                let parts = Arc::clone(&parts);
                thread::spawn(move || (caller % 2 == 0, parts.read(caller % 2 == 1)))
            })
            .collect();
        for caller in callers {
            let (stays, answer) = caller.join().expect("no caller panics");
            assert!(answer == Some(1) || !stays && answer.is_none(), "{answer:?}");
        }
        assert_eq!(parts.read(false), Some(1));
        assert_eq!(parts.loads.load(Ordering::SeqCst), 1);
        // A loaded answer is in memory a moment before the flight ends.
        while parts.flights.len() > 0 {
            point();
        }
    });
}

#[test]
fn no_schedule_of_loads_and_invalidations_brings_an_older_answer_back() {
    on_schedules(SCHEDULES, || {
        let parts = Parts::new();
        let readers: Vec<_> = (0..3)
            .map(|_| {
                let parts = Arc::clone(&parts);
                thread::spawn(move || {
                    let mut last_held = None;
                    for _ in 0..2 {
                        // A read after an invalidation never gets an entry from before it.
                        let (newest, answer) = (parts.invalidated.load(Ordering::SeqCst), parts.read(false));
                        assert!(answer >= Some(newest), "{answer:?} was asked for when v{newest} was the newest");
                        // The kept entry never goes back. Two answers may: a load that was detached asks its source
                        // whenever that answers, perhaps later than the load that took its place, and its readers are
                        // given what it brings. When a source was read is known to the source alone, so that neither
                        // answer is known to be the older one.
                        let held = parts.held();
                        assert!(held.is_none() || held >= last_held, "{held:?} is held after {last_held:?}");
                        last_held = held.or(last_held);
                    }
                })
            })
            .collect();
        let invalidator = {
            let parts = Arc::clone(&parts);
            thread::spawn(move || {
                for _ in 0..2 {
                    parts.invalidate();
                    let (newest, held) = (parts.source.load(Ordering::SeqCst), parts.held());
                    parts.invalidated.store(newest, Ordering::SeqCst);
                    assert!(held.is_none_or(|held| held == newest), "{held:?} is held, v{newest} is the newest");
                }
            })
        };
        readers.into_iter().for_each(|reader| reader.join().expect("no reader panics"));
        invalidator.join().expect("it does not panic");
        assert_eq!(parts.read(false), Some(3));
    });
}

#[test]
fn memory_stays_within_its_bytes_on_any_schedule_of_puts_removals_and_clears() {
    on_schedules(SCHEDULES, || {
        let memory = Arc::new(Memory::new(ROOM));
        let threads: Vec<_> = (0..3)
            .map(|number: u64| {
                let memory = Arc::clone(&memory);
                thread::spawn(move || {
                    for step in 0..8 {
                        let name = format!("{}", (number + step) % 5);
                        memory.insert(&KeyRef { region: 0, name: &name }, entry(step, 700));
                        assert!(memory.bytes() <= ROOM, "{} bytes", memory.bytes());
                        match step % 4 {
                            0 => drop(memory.remove(&KeyRef { region: 0, name: &name })),
                            1 => drop(memory.remove_where(|key| key.name < "2")),
                            _ => drop(memory.get(&KeyRef { region: 0, name: &name })),
                        }
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().expect("no thread panics"));
        memory.remove_where(|_| true);
        assert_eq!((memory.bytes(), memory.usage(1)[0].0), (0, 0), "nothing is left, and nothing is charged");
    });
}
