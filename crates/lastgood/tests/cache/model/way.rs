//! A node's way to the simulated store, with the faults of networks and servers.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use lastgood::Timestamp;
use lastgood::store::{Cursor, Log, Page, Position, Store, StoreError, Swap, Tail, Usage, Version};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use super::reference::Reference;
use super::schedule::{Cut, Once};
use super::store::{Caller, SimStore, number_of, place};

/// The way of one process. A process that crashed does not reach the store any more.
pub(super) struct Way {
    pub(super) node: usize,
    sim: Arc<SimStore>,
    state: Mutex<State>,
    /// The faults changed.
    changed: Notify,
}

pub(super) struct State {
    calls: Cut,
    log: Cut,
    latency: Duration,
    once: VecDeque<Once>,
    is_dead: bool,
    /// It has asked for the end of the log: from there on it reads.
    listens: bool,
    /// When something was last wrong with it.
    pub(super) troubled_at: Option<Instant>,
    /// Since when the log cannot be read, or has not been read since that.
    pub(super) cut_at: Option<Instant>,
    /// Whether it got no answer meanwhile, rather than an error.
    pub(super) was_silent: bool,
    /// When the log could be read again.
    pub(super) healed_at: Instant,
    /// How many records were delivered.
    pub(super) delivered: usize,
    /// How many had been appended when it last learnt that some are missing.
    pub(super) missed: usize,
}

impl State {
    /// Whether nothing keeps the log from being read.
    pub(super) fn can_hear(&self) -> bool {
        self.log == Cut::None
    }
}

impl Way {
    pub(super) fn new(node: usize, sim: &Arc<SimStore>, latency: Duration) -> Arc<Way> {
        let state = State {
            calls: Cut::None,
            log: Cut::None,
            latency,
            once: VecDeque::new(),
            is_dead: false,
            listens: false,
            troubled_at: None,
            cut_at: Some(Instant::now()),
            was_silent: false,
            healed_at: Instant::now(),
            delivered: 0,
            missed: 0,
        };
        Arc::new(Way { node, sim: Arc::clone(sim), state: Mutex::new(state), changed: Notify::new() })
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics with this lock")
    }

    fn reference(&self) -> MutexGuard<'_, Reference> {
        self.sim.reference.lock().expect("no test panics with this lock")
    }

    pub(super) fn cut(&self, calls: Cut, log: Cut) {
        self.sim.trouble();
        let mut state = self.state();
        let now = Instant::now();
        (state.calls, state.troubled_at) = (calls, Some(now));
        if log != Cut::None && state.cut_at.is_none() {
            (state.cut_at, state.was_silent) = (Some(now), false);
        }
        state.was_silent |= log == Cut::Silent;
        if log == Cut::None && state.log != Cut::None {
            state.healed_at = now;
        }
        state.log = log;
        drop(state);
        self.changed.notify_waiters();
    }

    pub(super) fn cuts(&self) -> (Cut, Cut) {
        let state = self.state();
        (state.calls, state.log)
    }

    pub(super) fn heal(&self) {
        self.cut(Cut::None, Cut::None);
        self.state().once.clear();
    }

    pub(super) fn once(&self, fault: Once) {
        let mut state = self.state();
        state.once.push_back(fault);
        state.troubled_at = Some(Instant::now());
        self.sim.trouble();
    }

    pub(super) fn die(&self) {
        self.state().is_dead = true;
        self.changed.notify_waiters();
    }

    /// Whether nothing was wrong with it for so long.
    pub(super) fn is_well_for(&self, long: Duration) -> bool {
        let state = self.state();
        let is_cut = state.calls != Cut::None || state.cut_at.is_some() || !state.once.is_empty();
        !is_cut && state.troubled_at.is_none_or(|at| at.elapsed() > long)
    }

    /// The fault of the next call, if it is to get an answer at all.
    async fn admit(&self, is_write: bool) -> Result<(), StoreError> {
        let (cut, is_dead) = {
            let mut state = self.state();
            if state.calls != Cut::None {
                state.troubled_at = Some(Instant::now());
            }
            (state.calls, state.is_dead)
        };
        match cut {
            _ if is_dead => std::future::pending().await,
            Cut::None => Ok(()),
            Cut::ReadOnly if is_write => Err(StoreError::Refused("read-only".to_owned())),
            Cut::ReadOnly => Ok(()),
            Cut::Refused => Err(StoreError::Unavailable("cut off".to_owned())),
            Cut::Silent => std::future::pending().await,
        }
    }

    async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&SimStore, Caller) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        self.carry(false, work).await
    }

    async fn change<T: Send + 'static>(
        &self,
        work: impl FnOnce(&SimStore, Caller) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        self.carry(true, work).await
    }

    /// One call: on its way, at the store, on its way back.
    async fn carry<T: Send + 'static>(
        &self,
        is_write: bool,
        work: impl FnOnce(&SimStore, Caller) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        let caller = Caller { node: self.node };
        self.admit(is_write).await?;
        let (latency, once) = {
            let mut state = self.state();
            let once = state.once.pop_front();
            if once.is_some() {
                state.troubled_at = Some(Instant::now());
                self.sim.trouble();
            }
            (state.latency, once)
        };
        sleep(latency).await;
        self.admit(is_write).await?;
        match once {
            None => {}
            Some(Once::Delayed(millis)) => {
                sleep(Duration::from_millis(millis)).await;
                self.admit(is_write).await?;
            }
            Some(Once::AnswerLost) => {
                drop(work(&self.sim, caller));
                return std::future::pending().await;
            }
            Some(Once::RequestLost) => return std::future::pending().await,
            Some(Once::EffectLate(millis)) => {
                let sim = Arc::clone(&self.sim);
                tokio::spawn(async move {
                    sleep(Duration::from_millis(millis)).await;
                    drop(work(&sim, caller));
                });
                return std::future::pending().await;
            }
        }
        Ok(work(&self.sim, caller))
    }

    /// Notes that the log could be read as far as `end`.
    fn has_read(&self, end: usize, is_complete: bool) {
        let mut state = self.state();
        (state.delivered, state.cut_at) = (end, None);
        if !is_complete {
            state.missed = end;
        }
    }

    async fn log_faults(&self) -> Result<(), StoreError> {
        let (cut, is_dead) = {
            let state = self.state();
            (state.log, state.is_dead)
        };
        match cut {
            _ if is_dead => std::future::pending().await,
            Cut::None | Cut::ReadOnly => Ok(()),
            Cut::Refused => Err(StoreError::Unavailable("cut off".to_owned())),
            Cut::Silent => std::future::pending().await,
        }
    }
}

#[async_trait]
impl Store for Way {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        let key = key.to_owned();
        self.call(move |sim, caller| sim.get(caller, &key)).await
    }

    async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Bytes>>, StoreError> {
        let keys = keys.to_vec();
        self.call(move |sim, caller| keys.iter().map(|key| sim.get(caller, key)).collect()).await
    }

    async fn put(&self, key: &str, value: Bytes, ttl: Duration) -> Result<(), StoreError> {
        let key = key.to_owned();
        self.change(move |sim, caller| sim.put(caller, &key, value, ttl)).await
    }

    async fn remove(&self, keys: &[String]) -> Result<u64, StoreError> {
        let keys = keys.to_vec();
        self.change(move |sim, caller| sim.remove(caller, &keys)).await
    }

    async fn list(&self, prefix: &str, _: Option<Cursor>, _: usize) -> Result<Page, StoreError> {
        let prefix = prefix.to_owned();
        self.call(move |sim, _| Page { keys: sim.list(&prefix), next: None }).await
    }

    async fn probe(&self) -> Result<Usage, StoreError> {
        self.call(|_, _| Usage::default()).await
    }

    async fn remove_if(&self, removals: &[(String, Version)]) -> Result<u64, StoreError> {
        let swaps = removals.iter().cloned().map(|(key, expected)| Swap { key, expected: Some(expected), to: None });
        let swaps: Vec<Swap> = swaps.collect();
        self.change(move |sim, caller| swaps.into_iter().map(|swap| sim.swap(caller, swap).map(u64::from)).sum())
            .await?
    }

    async fn swap(&self, swap: &Swap) -> Result<bool, StoreError> {
        let swap = swap.clone();
        self.change(move |sim, caller| sim.swap(caller, swap)).await?
    }

    async fn now(&self) -> Result<Option<Timestamp>, StoreError> {
        self.call(|sim, _| Some(sim.time(0))).await
    }

    fn log(&self) -> Option<&dyn Log> {
        Some(self)
    }
}

#[async_trait]
impl Log for Way {
    async fn append(&self, name: &str, record: Bytes) -> Result<(), StoreError> {
        match is_of_loads(name) {
            true => self.change(move |sim, _| sim.append_load(record)).await,
            false => self.change(move |sim, _| sim.append(record)).await,
        }
    }

    async fn end(&self, name: &str) -> Result<Option<Position>, StoreError> {
        self.log_faults().await?;
        if is_of_loads(name) {
            return Ok(Some(place(self.sim.loads_end())));
        }
        let end = self.sim.log_end();
        // It begins to listen: of what was said before it knows nothing.
        if !std::mem::replace(&mut self.state().listens, true) {
            self.has_read(end, false);
            self.reference().listens(self.node, end);
        }
        Ok(Some(place(end)))
    }

    async fn read(&self, name: &str, after: Option<&Position>, wait: Duration) -> Result<Tail, StoreError> {
        let after = after.map_or(0, number_of);
        if !is_of_loads(name) {
            self.reference().applied(self.node);
        }
        let something = async {
            loop {
                let (appended, changed) = (self.sim.appended.notified(), self.changed.notified());
                self.log_faults().await?;
                let (records, end, is_complete) = match is_of_loads(name) {
                    true => self.sim.loads_after(after),
                    false => self.sim.log_after(after),
                };
                if end != after || !is_complete {
                    return Ok((records, end, is_complete));
                }
                tokio::select! {
                    () = appended => {}
                    () = changed => {}
                }
            }
        };
        let (records, end, is_complete) = match timeout(wait, something).await {
            Ok(read) => read?,
            Err(_) => {
                self.log_faults().await?;
                (Vec::new(), after, true)
            }
        };
        if is_of_loads(name) {
            return Ok(Tail { records, end: Some(place(end)), is_complete });
        }
        self.has_read(end, is_complete);
        self.reference().heard(self.node, &records, end, is_complete);
        Ok(Tail { records, end: Some(place(end)), is_complete })
    }
}

/// Whether a log is the one in which loads say that they have ended.
fn is_of_loads(name: &str) -> bool {
    name.ends_with(":@loads")
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "simulated, by node {}", self.node)
    }
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
