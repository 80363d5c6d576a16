//! Three processes of one program on one simulated store, and a source whose answers carry versions.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use lastgood::{Answer, Cache, Clock, Error, Keep, LoadError, Loaded, Mode, Policy, Reason, Region, Selector};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::leases::Begun;
use super::reference::{Kind, Reference, Standing, TROUBLED};
use super::schedule::{KEYS, NODES, REGIONS, Response, Schedule, Step, What};
use super::store::{Breach, SimStore};
use super::way::Way;
use crate::support::{loaded, text};

pub(super) const FRESH_FOR: Duration = Duration::from_secs(30);
pub(super) const STALE_WHILE_REVALIDATE: Duration = Duration::from_secs(5);
pub(super) const HARD_TIMEOUT: Duration = Duration::from_secs(5);
pub(super) const TRUST_FOR: Duration = Duration::from_secs(3);

/// One process.
pub(super) struct Process {
    pub(super) node: usize,
    incarnation: u64,
    pub(super) cache: Cache,
    regions: Vec<Region>,
    clock: Clock,
    pub(super) way: Arc<Way>,
}

pub(super) struct World {
    sim: Arc<SimStore>,
    reference: Arc<Mutex<Reference>>,
    pub(super) source: Arc<Mutex<[Response; KEYS.len()]>>,
    latencies: [Duration; NODES],
    pub(super) processes: Vec<Arc<Process>>,
    /// What each process is doing; it ends with the process.
    pub(super) tasks: Vec<JoinSet<()>>,
    incarnations: u64,
}

fn policy() -> Policy {
    let policy = Policy {
        jitter: 0.0,
        soft_timeout: Duration::from_millis(400),
        hard_timeout: HARD_TIMEOUT,
        ..Policy::fresh_for(FRESH_FOR)
    };
    policy.stale_while_revalidate(STALE_WHILE_REVALIDATE).stale_if_error(Keep::For(Duration::from_secs(30 * 24 * 3600)))
}

impl Process {
    fn start(world: &World, node: usize, incarnation: u64, skew: i64) -> Arc<Process> {
        let way = Way::new(node, &world.sim, world.latencies[node]);
        let clock = Clock::paused_at(world.sim.time(skew));
        let selectors = |selector: &str| {
            let meant = selector.to_owned();
            let matches: lastgood::Matches = Arc::new(move |_: &str, name: &str| name.starts_with(&meant));
            Some(matches)
        };
        let builder = Cache::builder().store(Arc::clone(&way) as _).clock(clock.clone()).trust_for(TRUST_FOR);
        let cache = builder.memory_limit(1 << 20).selectors(Arc::new(selectors)).build().expect("it is sound");
        let regions = REGIONS.map(|name| cache.region(name, policy()).expect("the policy is sound")).to_vec();
        Arc::new(Process { node, incarnation, cache, regions, clock, way })
    }

    pub(super) fn region(&self, key: usize) -> &Region {
        &self.regions[KEYS[key].region]
    }

    pub(super) fn standing(&self) -> Standing {
        let state = self.way.state();
        Standing {
            node: self.node,
            incarnation: self.incarnation,
            at: Instant::now(),
            cut_at: state.cut_at,
            was_silent: state.was_silent,
            missed: state.missed,
            hears_again: false,
        }
    }

    async fn change(&self, what: What, mode: Mode) {
        let region = |index: usize| REGIONS[index].to_owned();
        let scope = match what {
            What::Key(key) => {
                let (region, name) = (self.region(key), KEYS[key].name);
                match mode {
                    Mode::Expire => _ = region.expire(name).await,
                    Mode::Remove => _ = region.remove(name).await,
                }
                return;
            }
            What::Clear(index) => {
                self.regions[index].clear().await;
                return;
            }
            What::Nothing(index) => {
                self.regions[index].remove_prefix("A:").await;
                return;
            }
            What::InvalidatedKey(key) => {
                Selector::Key { region: region(KEYS[key].region), name: KEYS[key].name.to_owned() }
            }
            What::Tag => Selector::Tag("metal".to_owned()),
            What::Region(index) => Selector::Region(region(index)),
            What::Selected => Selector::Text("A".to_owned()),
        };
        self.cache.invalidate(&scope, Some(mode)).await.expect("one with a mode is never refused");
    }

    /// Waits until the store has what was changed, and the log says so.
    async fn acknowledged(&self) {
        loop {
            let is_confirmed = self.cache.confirmed(Duration::from_secs(1)).await.is_none();
            let unpublished = self.cache.status().store.map_or(0, |store| store.unpublished);
            if is_confirmed && unpublished == 0 {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
    }
}

/// A value of a version.
fn value(key: usize, version: u64) -> Loaded {
    let tags = KEYS[key].tag.map(str::to_owned).into_iter().collect();
    Loaded { tags, ..loaded(&format!("<v{version}>")) }
}

pub(super) fn version_of(answer: &Answer) -> u64 {
    text(answer).trim_start_matches("<v").trim_end_matches('>').parse().expect("it carries a version")
}

/// Ends a load however it ends.
struct Load {
    reference: Arc<Mutex<Reference>>,
    key: usize,
    version: u64,
}

impl Drop for Load {
    fn drop(&mut self) {
        lock(&self.reference).load_ends(self.key, self.version);
    }
}

fn lock(reference: &Mutex<Reference>) -> MutexGuard<'_, Reference> {
    reference.lock().expect("no test panics with this lock")
}

impl World {
    pub(super) async fn new(schedule: &Schedule, breach: Option<Breach>) -> World {
        let reference = Arc::new(Mutex::new(Reference::new()));
        let mut world = World {
            sim: SimStore::new(Arc::clone(&reference), breach),
            reference,
            source: Arc::new(Mutex::new([Response::Answers(0); KEYS.len()])),
            latencies: schedule.latencies,
            processes: Vec::new(),
            tasks: (0..NODES).map(|_| JoinSet::new()).collect(),
            incarnations: 0,
        };
        for node in 0..NODES {
            world.incarnations += 1;
            let process = Process::start(&world, node, world.incarnations, schedule.skews[node]);
            world.processes.push(process);
        }
        sleep(Duration::from_millis(1)).await;
        world
    }

    pub(super) fn reference(&self) -> MutexGuard<'_, Reference> {
        lock(&self.reference)
    }

    /// What was violated first, and how many answers and loads were judged.
    pub(super) fn outcome(&self) -> (Option<String>, u64, u64) {
        let reference = self.reference();
        (reference.violation.clone(), reference.judged, reference.leases.judged)
    }

    /// A load by a process: its version is what the source holds when it is asked.
    pub(super) fn load(
        &self,
        process: &Arc<Process>,
        key: usize,
        waits: bool,
    ) -> impl FnOnce() -> std::pin::Pin<Box<dyn Future<Output = Result<Loaded, LoadError>> + Send>> + Send + 'static
    {
        let (node, incarnation) = (process.node, process.incarnation);
        let (reference, source) = (Arc::clone(&self.reference), Arc::clone(&self.source));
        let (sim, way, asked) = (Arc::clone(&self.sim), Arc::clone(&process.way), Instant::now());
        let detached = self.reference().detached(node, key);
        move || {
            Box::pin(async move {
                let claimed = sim.claimed(key);
                let is_well = way.is_well_for(TROUBLED) && sim.is_well_for(TROUBLED);
                let begun = Begun { node, key, asked, waits, claimed, is_well };
                let version = lock(&reference).load_begins(&begun, incarnation, detached);
                let load = Load { reference, key, version };
                let mode = source.lock().expect("no test panics with this lock")[key];
                let (millis, fails) = match mode {
                    Response::Answers(millis) => (millis, false),
                    Response::Fails(millis) => (millis, true),
                };
                if millis > 0 {
                    sleep(Duration::from_millis(millis)).await;
                }
                drop(load);
                match fails {
                    true => Err(Error::new(Reason::Unreachable, "injected").into()),
                    false => Ok(value(key, version)),
                }
            })
        }
    }

    fn read(&mut self, node: usize, key: usize, is_reload: bool) {
        let process = Arc::clone(&self.processes[node]);
        let (load, reference) = (self.load(&process, key, !is_reload), Arc::clone(&self.reference));
        self.tasks[node].spawn(async move {
            let (mut standing, region) = (process.standing(), process.region(key));
            let answer = match is_reload {
                true => region.reload(KEYS[key].name, load).await,
                false => region.get_or_load(KEYS[key].name, load).await,
            };
            let answer = answer.map(|answer| (version_of(&answer), answer)).map_err(|error| error.reason);
            standing.hears_again = process.way.state().cut_at.is_none();
            lock(&reference).judge(key, &standing, &answer, |long| process.way.is_well_for(long));
        });
    }

    fn refresh(&mut self, node: usize, key: usize) {
        let process = Arc::clone(&self.processes[node]);
        let load = self.load(&process, key, true);
        self.tasks[node].spawn(async move {
            drop(process.region(key).refresh(KEYS[key].name, FRESH_FOR / 2, load).await);
        });
    }

    fn put(&mut self, node: usize, key: usize) {
        let (process, reference) = (Arc::clone(&self.processes[node]), Arc::clone(&self.reference));
        let sim = Arc::clone(&self.sim);
        self.tasks[node].spawn(async move {
            let (version, change) = lock(&reference).put_begins(process.node, process.incarnation, key);
            process.region(key).put(KEYS[key].name, value(key, version)).await;
            process.acknowledged().await;
            lock(&reference).acknowledged(change, sim.log_end());
        });
    }

    fn change(&mut self, node: usize, what: What, mode: Mode) {
        let (process, reference) = (Arc::clone(&self.processes[node]), Arc::clone(&self.reference));
        let sim = Arc::clone(&self.sim);
        self.tasks[node].spawn(async move {
            let keys: Vec<usize> = (0..KEYS.len()).filter(|key| what.is_of(*key)).collect();
            let is_clear = matches!(what, What::Clear(_) | What::Nothing(_));
            let kind = if mode == Mode::Remove || is_clear { Kind::Remove } else { Kind::Expire };
            let is_wide = !matches!(what, What::Key(_));
            let (node, incarnation) = (process.node, process.incarnation);
            let change = lock(&reference).change(node, incarnation, &keys, kind, is_wide, what == What::Tag);
            process.change(what, mode).await;
            process.acknowledged().await;
            lock(&reference).acknowledged(change, sim.log_end());
        });
    }

    fn crash(&mut self, node: usize, skew: i64) {
        let (calls, log) = self.processes[node].way.cuts();
        let old = &self.processes[node];
        old.way.die();
        self.tasks[node].abort_all();
        self.tasks[node].detach_all();
        self.reference().crashed(node, self.processes[node].incarnation);
        self.incarnations += 1;
        self.processes[node] = Process::start(self, node, self.incarnations, skew);
        self.processes[node].way.cut(calls, log);
    }

    pub(super) async fn take(&mut self, step: &Step) {
        match *step {
            Step::Read(node, key) => self.read(node, key, false),
            Step::ReadEverywhere(key) => (0..2 * NODES).for_each(|at| self.read(at % NODES, key, false)),
            Step::Refresh(node, key) => self.refresh(node, key),
            Step::Reload(node, key) => self.read(node, key, true),
            Step::Put(node, key) => self.put(node, key),
            Step::Expire(node, what) => self.change(node, what, Mode::Expire),
            Step::Remove(node, what) => self.change(node, what, Mode::Remove),
            Step::Source(key, mode) => self.source.lock().expect("no test panics with this lock")[key] = mode,
            Step::Cut(node, calls, log) => self.processes[node].way.cut(calls, log),
            Step::Heal(node) => self.processes[node].way.heal(),
            Step::Once(node, fault) => self.processes[node].way.once(fault),
            Step::Crash(node, skew) => self.crash(node, skew),
            Step::Jump(node, millis) => self.processes[node].clock.jump(Duration::from_millis(millis)),
            Step::StoreRestarts { loses_all } => self.sim.restart(loses_all),
            Step::Evict(key) => self.sim.evict(key),
            Step::Trim => self.sim.trim(),
            Step::Wait(millis) => sleep(Duration::from_millis(millis)).await,
        }
        // All that can run runs before the time goes on.
        sleep(Duration::from_millis(1)).await;
        self.check_that_all_listen();
    }
}
