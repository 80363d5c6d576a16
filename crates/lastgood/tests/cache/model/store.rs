//! The simulated store that the nodes share: keys, values with their ends, and the log of invalidations.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use lastgood::Timestamp;
use lastgood::store::{Log, MemoryStore, Position, StoreError, Swap, Version};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::leases::{Claimed, claim_in};
use super::reference::Reference;
use super::schedule::{KEYS, store_key};

/// The store's clock when a schedule begins.
pub(super) const EPOCH: u64 = 1_800_000_000_000;
/// What a store loses that comes back with an old snapshot.
const NEWEST: Duration = Duration::from_secs(2);

/// What the keys of marks begin with.
const MARKS: &str = "lastgood:@tags:";

/// A rule that a store may break, to see whether the model notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Breach {
    /// It changes a key whatever the key holds, and says that it held what was expected.
    SwapsAlways,
    /// It forgets a record now and then, and says that none is missing.
    LosesRecords,
    /// It loses its log, and says that nothing is missing.
    TrimsInSilence,
    /// It says that it has removed a key, and has not.
    KeepsWhatIsRemoved,
    /// It says that it has taken a value, and has not.
    DropsWhatIsPut,
    /// It gives what a key held before.
    ReadsBack,
    /// It grants every claim, also of a key that another process has claimed.
    GrantsEveryClaim,
    /// It says that it has taken a claim, and has not.
    ForgetsClaims,
    /// It takes a process that has a claim for one that may have another, and lets the first stand.
    GrantsAgain,
    /// It makes a change also after its sender has stopped waiting for it.
    IsNeverLate,
}

/// A row with its end, and who wrote it when.
struct Row {
    value: Bytes,
    before: Option<Bytes>,
    /// Of a mark: what was there before, and since when.
    earlier: Vec<(Bytes, Instant)>,
    expires: Instant,
    by: usize,
    at: Instant,
}

impl Row {
    /// Goes back to what an old snapshot holds of it: of a mark the one from before; anything else that is new is lost. Says
    /// whether there is anything.
    fn is_kept_by_a_snapshot(&mut self, now: Instant) -> bool {
        let is_in_it = |at: Instant| at + NEWEST < now;
        while !is_in_it(self.at)
            && let Some((value, at)) = self.earlier.pop()
        {
            (self.value, self.at) = (value, at);
        }
        is_in_it(self.at)
    }
}

/// What the nodes share.
pub(super) struct SimStore {
    state: Mutex<State>,
    pub(super) appended: Notify,
    began: Instant,
    pub(super) reference: Arc<Mutex<Reference>>,
    breach: Option<Breach>,
    /// When something last began to go wrong with any node's way.
    troubled_at: Mutex<Option<Instant>>,
}

#[derive(Default)]
struct State {
    rows: BTreeMap<String, Row>,
    /// The records that are left, and the number of the first of them.
    log: VecDeque<Bytes>,
    first: usize,
    /// The same of the log in which loads say that they have ended.
    loads: (VecDeque<Bytes>, usize),
    removals: u64,
}

/// Who calls.
#[derive(Clone, Copy)]
pub(super) struct Caller {
    pub(super) node: usize,
}

impl SimStore {
    pub(super) fn new(reference: Arc<Mutex<Reference>>, breach: Option<Breach>) -> Arc<SimStore> {
        Arc::new(SimStore {
            state: Mutex::default(),
            appended: Notify::new(),
            began: Instant::now(),
            reference,
            breach,
            troubled_at: Mutex::default(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().expect("no test panics with this lock");
        let now = Instant::now();
        state.rows.retain(|_, row| row.expires > now);
        state
    }

    fn reference(&self) -> MutexGuard<'_, Reference> {
        self.reference.lock().expect("no test panics with this lock")
    }

    /// The time by a clock that is as far ahead of the store's as said.
    pub(super) fn time(&self, ahead_by: i64) -> Timestamp {
        let elapsed = u64::try_from(self.began.elapsed().as_millis()).expect("a schedule is short");
        Timestamp::from_millis((EPOCH + elapsed).saturating_add_signed(ahead_by))
    }

    fn is_claimed_by(&self, caller: Caller, key: &str) -> bool {
        self.state().rows.get(key).is_some_and(|row| row.by == caller.node && claim_in(&row.value).is_some())
    }

    pub(super) fn get(&self, caller: Caller, key: &str) -> Option<Bytes> {
        if self.breach == Some(Breach::GrantsAgain) && self.is_claimed_by(caller, key) {
            return None;
        }
        let state = self.state();
        let row = state.rows.get(key)?;
        let before = row.before.clone().filter(|_| self.breach == Some(Breach::ReadsBack));
        Some(before.unwrap_or_else(|| row.value.clone()))
    }

    pub(super) fn put(&self, caller: Caller, key: &str, value: Bytes, ttl: Duration) {
        self.write(caller, key, Some((value, ttl)));
    }

    pub(super) fn remove(&self, caller: Caller, keys: &[String]) -> u64 {
        keys.iter().map(|key| u64::from(self.write(caller, key, None))).sum()
    }

    pub(super) fn swap(&self, caller: Caller, swap: Swap) -> Result<bool, StoreError> {
        if swap.is_late(self.time(0)) && self.breach != Some(Breach::IsNeverLate) {
            return Err(StoreError::Late);
        }
        let has_claim = self.breach == Some(Breach::GrantsAgain) && self.is_claimed_by(caller, &swap.key);
        if has_claim && swap.to.as_ref().is_none_or(|(value, _)| claim_in(value).is_some()) {
            return Ok(true);
        }
        let is_expected = swap.is_expected(self.state().rows.get(&swap.key).map(|row| &row.value[..]));
        let is_granted = swap
            .to
            .as_ref()
            .is_some_and(|(value, _)| self.breach == Some(Breach::GrantsEveryClaim) && claim_in(value).is_some());
        if !is_expected && !is_granted && self.breach != Some(Breach::SwapsAlways) {
            return Ok(false);
        }
        self.write(caller, &swap.key, swap.to);
        Ok(true)
    }

    /// Changes a key; says whether it was there.
    fn write(&self, caller: Caller, key: &str, to: Option<(Bytes, Duration)>) -> bool {
        let mut state = self.state();
        let held = state.rows.get(key);
        let (was_there, before) = (held.is_some(), held.map(|row| row.value.clone()));
        let mut earlier = Vec::new();
        if let Some(row) = held.filter(|_| key.starts_with(MARKS)) {
            earlier.extend(row.earlier.iter().cloned().chain([(row.value.clone(), row.at)]));
        }
        if let Some(claim) = to.as_ref().and_then(|(value, _)| claim_in(value))
            && let Some(index) = state.claims(key)
        {
            let held = before.as_ref().and_then(|value| claim_in(value));
            self.reference().claimed(index, held, claim);
        }
        match to {
            Some(_) if self.breach == Some(Breach::DropsWhatIsPut) => {}
            Some((value, _)) if self.breach == Some(Breach::ForgetsClaims) && claim_in(&value).is_some() => {}
            Some((value, ttl)) => {
                let now = Instant::now();
                let row = Row { value, before, earlier, expires: now + ttl, by: caller.node, at: now };
                state.rows.insert(key.to_owned(), row);
            }
            None if self.breach == Some(Breach::KeepsWhatIsRemoved) && state.removals.is_multiple_of(2) => {
                state.removals += 1;
            }
            None => {
                state.removals += 1;
                state.rows.remove(key);
            }
        }
        was_there
    }

    /// The claim that stands for a key.
    pub(super) fn claimed(&self, index: usize) -> Option<Claimed> {
        let state = self.state();
        let key = store_key(index);
        let claim = state.rows.get(&key).map(|row| claims_key(&key, &row.value));
        let rows = [Some(key), claim].into_iter().flatten().filter_map(|key| state.rows.get(&key));
        rows.filter_map(|row| Some(Claimed { id: claim_in(&row.value)?, node: row.by })).next()
    }

    /// Something goes wrong with a node's way to the store.
    pub(super) fn trouble(&self) {
        *self.troubled_at.lock().expect("no test panics with this lock") = Some(Instant::now());
    }

    /// Whether nothing began to go wrong with any node's way for so long.
    pub(super) fn is_well_for(&self, long: Duration) -> bool {
        let troubled_at = *self.troubled_at.lock().expect("no test panics with this lock");
        troubled_at.is_none_or(|at| at.elapsed() > long)
    }

    pub(super) fn list(&self, prefix: &str) -> Vec<String> {
        self.state().rows.keys().filter(|key| key.starts_with(prefix)).cloned().collect()
    }

    pub(super) fn append(&self, record: Bytes) {
        self.state().log.push_back(record);
        self.appended.notify_waiters();
    }

    /// How many records were ever appended.
    pub(super) fn log_end(&self) -> usize {
        let state = self.state();
        state.first + state.log.len()
    }

    /// What follows on the first `after` records, and whether nothing is missing.
    pub(super) fn log_after(&self, after: usize) -> (Vec<Bytes>, usize, bool) {
        let state = self.state();
        let end = state.first + state.log.len();
        let skipped = after.saturating_sub(state.first);
        let mut records: Vec<Bytes> = state.log.iter().skip(skipped).cloned().collect();
        if self.breach == Some(Breach::LosesRecords) && end.is_multiple_of(3) {
            records.pop();
        }
        (records, end, after >= state.first || self.breach == Some(Breach::TrimsInSilence))
    }

    /// A load has ended. This log is never trimmed, and no node is cut off from it alone.
    pub(super) fn append_load(&self, record: Bytes) {
        self.state().loads.0.push_back(record);
        self.appended.notify_waiters();
    }

    /// How many loads have ever ended.
    pub(super) fn loads_end(&self) -> usize {
        let state = self.state();
        state.loads.1 + state.loads.0.len()
    }

    /// As [`SimStore::log_after`], of the loads that have ended.
    pub(super) fn loads_after(&self, after: usize) -> (Vec<Bytes>, usize, bool) {
        let state = self.state();
        let (loads, first) = &state.loads;
        let records = loads.iter().skip(after.saturating_sub(*first)).cloned().collect();
        (records, first + loads.len(), after >= *first)
    }

    /// The log is trimmed: only who has read all of it misses nothing.
    pub(super) fn trim(&self) {
        let mut state = self.state();
        state.first += state.log.len();
        state.log.clear();
    }

    /// The store comes back without its data, or without the newest.
    pub(super) fn restart(&self, loses_all: bool) {
        let mut state = self.state();
        let now = Instant::now();
        state.rows.retain(|_, row| !loses_all && row.is_kept_by_a_snapshot(now));
        // What was appended since the snapshot is gone, and what comes next has its numbers in Redis, too, but not its
        // places.
        state.first += state.log.len() + 1;
        state.log.clear();
        let (loads, first) = &mut state.loads;
        *first += loads.len() + 1;
        loads.clear();
        drop(state);
        (0..KEYS.len()).for_each(|key| self.reference().lost_by_the_store(key));
        if !loses_all {
            self.reference().marks_lost_since(now - NEWEST);
        }
        self.appended.notify_waiters();
    }

    pub(super) fn evict(&self, key: usize) {
        self.state().rows.remove(&store_key(key));
        self.reference().lost_by_the_store(key);
    }
}

impl State {
    /// The key of the claim under `place`: the key itself, or the one named after the value that it holds.
    fn claims(&self, place: &str) -> Option<usize> {
        (0..KEYS.len()).find(|index| {
            let key = store_key(*index);
            place == key || self.rows.get(&key).is_some_and(|row| claims_key(&key, &row.value) == place)
        })
    }
}

/// Where the claim of a load lies that is to replace a value.
fn claims_key(key: &str, value: &[u8]) -> String {
    let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one((key, &Version::of(value)));
    format!("lastgood:@claims:{hash:016x}")
}

/// Places in a log can be issued by a store of the library only; so they are.
static PLACES: LazyLock<Vec<Position>> = LazyLock::new(|| {
    let store = MemoryStore::new(lastgood::Clock::paused_at(Timestamp::from_millis(EPOCH)), 1 << 20);
    let place = || {
        store.append("log", Bytes::new()).now_or_never()?.ok()?;
        store.end("log").now_or_never()?.ok()?
    };
    (0..2_000).map(|_| place().expect("a store in memory answers at once")).collect()
});

pub(super) fn place(number: usize) -> Position {
    PLACES[number].clone()
}

pub(super) fn number_of(place: &Position) -> usize {
    PLACES.iter().position(|known| known == place).expect("the place was issued here")
}
