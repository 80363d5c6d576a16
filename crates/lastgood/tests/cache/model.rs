//! Random schedules on one node under virtual time, against a model of what may be served.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lastgood::store::StoreError;
use lastgood::testing::Fault;
use lastgood::{Answer, Cache, Error, Freshness, Keep, Loaded, LoadedMany, Policy, Reason, Region};
use proptest::prelude::*;
use tokio::time::Instant;

mod cluster;
mod converge;
mod judgement;
mod leases;
mod reference;
mod schedule;
mod store;
mod way;
mod world;

use crate::support::{MINUTE, SECOND, Stored, loaded, over, region, settle, text};

const NAMES: [&str; 2] = ["BTCUSDT", "ETHUSDT"];
const FRESH_FOR: Duration = Duration::from_secs(10);
const STALE_IF_ERROR: Duration = Duration::from_secs(100);
/// Longer than a read may wait for the store.
const STORE_BUDGET: Duration = Duration::from_millis(30);
/// The longest that a failure is remembered.
const THROTTLE: Duration = Duration::from_secs(30);

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Get(usize),
    GetBoth,
    Put(usize),
    Expire(usize),
    Remove(usize),
    Clear,
    SourceFails(bool),
    StoreFails,
    StoreHangs,
    StoreHeals,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0..NAMES.len();
    prop_oneof![
        4 => (0u64..40_000).prop_map(Step::Wait),
        8 => key.clone().prop_map(Step::Get),
        3 => Just(Step::GetBoth),
        2 => key.clone().prop_map(Step::Put),
        2 => key.clone().prop_map(Step::Expire),
        2 => key.prop_map(Step::Remove),
        1 => Just(Step::Clear),
        3 => any::<bool>().prop_map(Step::SourceFails),
        1 => Just(Step::StoreFails),
        1 => Just(Step::StoreHangs),
        2 => Just(Step::StoreHeals),
        1 => Just(Step::Restart),
    ]
}

/// Gives each answer a higher number than the one before, and remembers the last it gave for each key.
#[derive(Default)]
struct Numbers {
    last: AtomicU64,
    fails: AtomicBool,
    given: Mutex<HashMap<String, (u64, Instant)>>,
}

impl Numbers {
    fn next(&self, name: &str) -> Loaded {
        let number = self.last.fetch_add(1, Ordering::SeqCst) + 1;
        let mut given = self.given.lock().expect("no test panics with this lock");
        given.insert(name.to_owned(), (number, Instant::now()));
        loaded(&number.to_string())
    }

    fn load(&self, name: &str) -> Result<Loaded, Error> {
        if self.fails.load(Ordering::SeqCst) {
            return Err(Error::new(Reason::Unreachable, "injected"));
        }
        Ok(self.next(name))
    }
}

/// The state of a key.
#[derive(Clone, Copy, Default)]
struct Known {
    /// Lower numbers may not be served at all.
    floor: u64,
    /// Lower numbers may not be served as fresh.
    fresh_floor: u64,
    /// The number that must be at hand while nothing better is, and when it was given.
    kept: Option<(u64, Instant)>,
}

struct World {
    stored: Stored,
    cache: Cache,
    prices: Region,
    numbers: Arc<Numbers>,
    known: [Known; 2],
    /// When the source stopped failing.
    repaired: Instant,
}

fn policy() -> Policy {
    let policy = Policy { jitter: 0.0, ..Policy::fresh_for(FRESH_FOR) };
    policy.stale_while_revalidate(5 * SECOND).stale_if_error(Keep::For(STALE_IF_ERROR))
}

impl World {
    fn new() -> Self {
        let stored = Stored::new();
        let cache = stored.cache.clone();
        let prices = region(&cache, policy());
        World { stored, cache, prices, numbers: Arc::default(), known: Default::default(), repaired: Instant::now() }
    }

    fn next_number(&self) -> u64 {
        self.numbers.last.load(Ordering::SeqCst) + 1
    }

    async fn take(&mut self, step: &Step) {
        match *step {
            Step::Wait(millis) => tokio::time::sleep(Duration::from_millis(millis)).await,
            Step::Get(key) => {
                let numbers = Arc::clone(&self.numbers);
                let load = move || async move { Ok(numbers.load(NAMES[key])?) };
                let answer = self.prices.get_or_load(NAMES[key], load).await;
                self.judge(key, answer);
            }
            Step::GetBoth => {
                let numbers = Arc::clone(&self.numbers);
                let load = move |names: Vec<String>| async move {
                    let answers = names.into_iter().map(|name| (name.clone(), numbers.load(&name)));
                    Ok(answers.collect::<LoadedMany>())
                };
                for (key, answer) in self.prices.get_or_load_many(&NAMES, load).await.into_iter().enumerate() {
                    self.judge(key, answer);
                }
            }
            Step::Put(key) => {
                self.forget(key);
                self.prices.put(NAMES[key], self.numbers.next(NAMES[key])).await;
            }
            Step::Expire(key) => {
                self.prices.expire(NAMES[key]).await;
                self.known[key].fresh_floor = self.next_number();
            }
            Step::Remove(key) => {
                self.prices.remove(NAMES[key]).await;
                self.forget(key);
            }
            Step::Clear => {
                self.prices.clear().await;
                (0..NAMES.len()).for_each(|key| self.forget(key));
            }
            Step::SourceFails(fails) => {
                if self.numbers.fails.swap(fails, Ordering::SeqCst) && !fails {
                    self.repaired = Instant::now();
                }
            }
            Step::StoreFails => self.stored.faulty.set(Fault::Fail(StoreError::Unavailable("injected".into()))),
            Step::StoreHangs => self.stored.faulty.set(Fault::Hang),
            Step::StoreHeals => self.stored.faulty.heal(),
            Step::Restart => self.restart().await,
        }
        // A refresh behind may first wait for a hung store; it ends within the step that began it.
        tokio::time::sleep(STORE_BUDGET).await;
        settle().await;
        self.learn();
    }

    /// What the loads of the step have left.
    fn learn(&mut self) {
        let given = self.numbers.given.lock().expect("no test panics with this lock");
        for (known, name) in self.known.iter_mut().zip(NAMES) {
            known.kept = given.get(name).copied().filter(|(number, _)| *number >= known.floor);
        }
    }

    fn forget(&mut self, key: usize) {
        let next = self.next_number();
        self.known[key] = Known { floor: next, fresh_floor: next, kept: None };
    }

    /// A restart in good order: the store is well, and what waited for it is done.
    async fn restart(&mut self) {
        self.stored.faulty.heal();
        tokio::time::sleep(3 * SECOND).await;
        assert!(self.cache.sync(MINUTE).await, "nothing drains");
        let status = self.cache.status().store.expect("there is a store");
        assert_eq!(status.unconfirmed_removals, 0);
        self.cache = over(Arc::clone(&self.stored.faulty) as _, &self.stored.clock);
        self.prices = region(&self.cache, policy());
        // The store may have missed what only memory held.
        self.numbers.given.lock().expect("no test panics with this lock").clear();
    }

    fn judge(&self, key: usize, answer: Result<Answer, Error>) {
        let known = self.known[key];
        // One that was expired is kept from then on, which is at least from when it was given.
        let kept_for = |number| if number < known.fresh_floor { STALE_IF_ERROR } else { FRESH_FOR + STALE_IF_ERROR };
        let kept = known.kept.filter(|(number, given)| given.elapsed() < kept_for(*number));
        let Ok(answer) = answer else {
            let fails = self.numbers.fails.load(Ordering::SeqCst);
            assert!(fails || self.repaired.elapsed() < THROTTLE, "an error of the cache's own");
            assert!(kept.is_none(), "an error although {kept:?} is kept");
            return;
        };
        let number: u64 = text(&answer).parse().expect("it is a number");
        assert!(number >= known.floor, "{number} after an invalidation at {}", known.floor);
        assert!(number >= kept.map_or(0, |(number, _)| number), "{number} although {kept:?} is kept");
        assert!(answer.age() < FRESH_FOR + STALE_IF_ERROR, "{:?}", answer.age());
        if answer.freshness() == Freshness::Fresh {
            assert!(answer.age() < FRESH_FOR, "{:?}", answer.age());
            assert!(number >= known.fresh_floor, "{number} fresh after an expiry at {}", known.fresh_floor);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_schedule_serves_an_invalidated_entry_or_loses_a_kept_one(
        steps in proptest::collection::vec(step(), 1..80),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        runtime.expect("a runtime can be built").block_on(async {
            let mut world = World::new();
            for step in &steps {
                world.take(step).await;
            }
            let status = world.cache.status();
            assert_eq!(status.loads, 0);
            world.restart().await;
        });
    }
}
