//! Many keys at once: one read of the store and one call of the loader for those that are neither cached nor being
//! loaded.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::sync::Arc;

use futures_util::future::join_all;
use tokio::time::{Instant, timeout_at};

use crate::entry::Loaded;
use crate::error::{Error, LoadError, Reason, own_error};
use crate::flight::{Flight, LeaderGuard, after};
use crate::lease::{Approach, Next, Right};
use crate::metrics::Stopwatch;
use crate::read::Judgement;
use crate::region::{Answer, Composed, Region};
use crate::seen::{Seen, Stored};
use crate::store::{Store, StoreError};

/// What a batch loader gives back: an answer or an error for each key. A key it leaves out was not found.
pub type LoadedMany = HashMap<String, Result<Loaded, Error>>;

/// Where the answer of one key will come from.
enum Seat {
    Ready(Result<Answer, Error>),
    Waiting { flight: Arc<Flight>, first: bool },
}

impl Region {
    /// The answers for `names`, in their order. Like as many calls of [`Region::get_or_load`], but with one read of
    /// the store and one call of `load` for the keys that are missing and that no other caller is loading. A key that
    /// fails fails alone, and an error of `load` as a whole is the error of each key it was to load.
    pub async fn get_or_load_many<F, L>(&self, names: &[&str], load: F) -> Vec<Result<Answer, Error>>
    where
        F: FnOnce(Vec<String>) -> L + Send + 'static,
        L: Future<Output = Result<LoadedMany, LoadError>> + Send + 'static,
    {
        let load = |missing| own_error(load(missing));
        if !self.cache.enabled.load(std::sync::atomic::Ordering::Relaxed) {
            return self.bypass_many(names, load).await;
        }
        let stopwatch = Stopwatch::start();
        let mut leaders = Vec::new();
        let mut seats: HashMap<&str, Seat> = HashMap::with_capacity(names.len());
        for &name in names {
            seats.entry(name).or_insert_with(|| self.seat(name, &mut leaders));
        }
        if !leaders.is_empty() {
            tokio::spawn(self.clone().run_loads(leaders, load));
        }
        let patience = after(self.shared.policy.soft_timeout);
        let answers = join_all(names.iter().map(|name| self.take_seat(name, &seats[name], patience))).await;
        answers.iter().for_each(|answer| self.count(answer, stopwatch));
        answers
    }

    fn seat(&self, name: &str, leaders: &mut Vec<LeaderGuard>) -> Seat {
        let judgement = self.judge(name);
        match judgement {
            Judgement::Serve(answer) => return Seat::Ready(Ok(answer)),
            Judgement::Refuse(error) => return Seat::Ready(Err(error)),
            Judgement::Refresh(_) | Judgement::Load => {}
        }
        let (flight, leader) = self.join_or_lead(name);
        let first = leader.is_some();
        leaders.extend(leader);
        match judgement {
            Judgement::Refresh(answer) => Seat::Ready(Ok(answer)),
            _ => Seat::Waiting { flight, first },
        }
    }

    async fn take_seat(&self, name: &str, seat: &Seat, patience: Instant) -> Result<Answer, Error> {
        match seat {
            Seat::Ready(answer) => answer.clone(),
            Seat::Waiting { flight, first } => self.wait_for(name, flight, *first, patience).await,
        }
    }

    async fn run_loads<F, L>(self, leaders: Vec<LeaderGuard>, load: F)
    where
        F: FnOnce(Vec<String>) -> L + Send + 'static,
        L: Future<Output = Result<LoadedMany, Error>> + Send + 'static,
    {
        let mut approach = Approach::waiting(self.longest_wait());
        let leaders = self.approach_many(leaders, &mut approach).await;
        if leaders.is_empty() {
            return;
        }
        let permit = match self.permit() {
            Ok(permit) => permit,
            Err(error) => return complete_all(leaders, &error),
        };
        let missing = leaders.iter().map(|(leader, _)| leader.key().name.to_string()).collect();
        let started = self.cache.clock.now();
        let limit = approach.left(self.shared.policy.hard_timeout);
        let loaded = self.run_loader_within(limit, || load(missing)).await;
        drop(permit);
        match loaded {
            Err(error) => {
                let complete =
                    |(leader, right)| self.complete_loaded(leader, Err::<Composed, _>(error.clone()), started, &right);
                leaders.into_iter().for_each(complete);
            }
            Ok(mut loaded) => {
                for (leader, right) in leaders {
                    let answer = loaded.remove(&*leader.key().name).unwrap_or_else(|| Err(not_found()));
                    self.complete_loaded(leader, answer.map(Composed::from), started, &right);
                }
            }
        }
    }

    /// Looks into the store until it answers the flights, or this process may load the rest. The first of the missing
    /// keys decides whose turn it is: who waits for it holds no other lease, so that no two batches wait for each other.
    async fn approach_many(&self, mut leaders: Vec<LeaderGuard>, approach: &mut Approach) -> Vec<(LeaderGuard, Right)> {
        leaders.sort_by(|one, other| one.key().name.cmp(&other.key().name));
        loop {
            let names: Vec<&str> = leaders.iter().map(|leader| &*leader.key().name).collect();
            let stored = self.read_store_many(&names).await;
            let looked: Vec<Stored> = stored.iter().map(Stored::unread).collect();
            let complete = |(leader, stored): (LeaderGuard, Stored)| self.complete_with_stored(leader, stored.entry);
            let left = leaders.into_iter().zip(stored).map(complete).zip(looked);
            let (left, looked): (Vec<LeaderGuard>, Vec<Stored>) =
                left.filter_map(|(leader, looked)| Some((leader?, looked))).unzip();
            let Some((first, others)) = left.split_first() else { return Vec::new() };
            let Next::Load(right) = self.lease(&first.key().name, &looked[0], approach).await else {
                leaders = left;
                continue;
            };
            let others = others.iter().zip(&looked[1..]).map(|(leader, looked)| async move {
                match self.lease(&leader.key().name, looked, &mut Approach::at_once()).await {
                    Next::Load(right) => right,
                    Next::LookAgain => Right::Unfenced,
                }
            });
            let rights = std::iter::once(right).chain(join_all(others).await);
            return left.into_iter().zip(rights).collect();
        }
    }

    pub(crate) async fn read_store_many(&self, names: &[&str]) -> Vec<Stored> {
        let mut stored: Vec<Stored> = names.iter().map(|_| Stored::default()).collect();
        let Some(tier) = &self.cache.store else {
            return stored;
        };
        let (started, deadline) = (Instant::now(), after(tier.store.budget()));
        // Judged before the store is asked: once a removal is done, what the store said before it looks sound.
        let (mut places, mut keys) = (Vec::with_capacity(names.len()), Vec::with_capacity(names.len()));
        for (place, key) in names.iter().map(|name| self.store_key(name)).enumerate() {
            if tier.behind.readable(&key, deadline).await {
                places.push(place);
                keys.push(key);
            } else {
                stored[place].entry = self.waiting(&key);
            }
        }
        if keys.is_empty() {
            return stored;
        }
        self.cache.verification.listens(deadline).await;
        let asked_at = self.cache.clock.now();
        let asked = async { Ok((tier.store.ahead().await?, tier.store.get_many(&keys).await?)) };
        match timeout_at(deadline, asked).await.unwrap_or(Err(StoreError::Timeout)) {
            Ok((ahead, values)) => {
                let mut entries = Vec::with_capacity(keys.len());
                let (now, policy) = (self.cache.clock.now(), &self.shared.policy);
                for ((place, key), bytes) in places.iter().zip(&keys).zip(values) {
                    let seen = Seen::of(bytes.as_ref());
                    let value = bytes.filter(|_| matches!(seen, Seen::Value(_)));
                    entries.push(value.and_then(|bytes| self.believe(key, &bytes, ahead, asked_at, now)));
                    stored[*place] = Stored { seen, ahead, ..Stored::default() };
                }
                let were_there: Vec<bool> = entries.iter().map(Option::is_some).collect();
                // What cannot be judged is loaded.
                let are_judged = self.cache.tags.apply(&tier.store, &mut entries, deadline, now, policy).await;
                for ((place, entry), was_there) in places.into_iter().zip(entries).zip(were_there) {
                    let is_unknown = !are_judged && was_there && entry.is_none();
                    stored[place].unknown = is_unknown.then_some(StoreError::Timeout);
                    stored[place].entry = entry;
                }
            }
            Err(why) => {
                tracing::trace!(%why, "batch read from the store failed");
                places.into_iter().for_each(|place| stored[place].unknown = Some(why.clone()));
            }
        }
        if stored.iter().any(|stored| stored.entry.is_some()) {
            self.shared.counters.found_in_store(started.elapsed());
        }
        stored
    }

    async fn bypass_many<F, L>(&self, names: &[&str], load: F) -> Vec<Result<Answer, Error>>
    where
        F: FnOnce(Vec<String>) -> L,
        L: Future<Output = Result<LoadedMany, Error>>,
    {
        let started = self.cache.clock.now();
        let mut seen = HashSet::with_capacity(names.len());
        let wanted = names.iter().filter(|name| seen.insert(**name)).map(ToString::to_string).collect();
        let loaded = match self.run_loader(|| load(wanted)).await {
            Ok(loaded) => loaded,
            Err(error) => return names.iter().map(|_| Err(error.clone())).collect(),
        };
        let at = self.cache.clock.now();
        let answer = |name: &&str| {
            let loaded = loaded.get(*name).cloned().unwrap_or_else(|| Err(not_found()))?;
            Ok(self.passed(name, loaded, started, at))
        };
        names.iter().map(answer).collect()
    }
}

fn not_found() -> Error {
    Error::new(Reason::NotFound, "the source knows no such key")
}

fn complete_all(leaders: Vec<(LeaderGuard, Right)>, error: &Error) {
    let error = Arc::new(error.clone());
    leaders.into_iter().for_each(|(leader, _)| leader.complete(Err(Arc::clone(&error))));
}
