//! Loads and reads that bring several keys at once: what one answer says about many.

use std::future::Future;
use std::sync::{Arc, OnceLock};

use crate::clock::Timestamp;
use crate::entry::{Entry, Filled, Loaded};
use crate::error::{Error, LoadError, own_error};
use crate::flight::{Landing, Origin};
use crate::lease::{Approach, Next, Right};
use crate::memory::Key;
use crate::metrics::add;
use crate::policy::Times;
use crate::read::{Seen, Stored};
use crate::region::{Answer, Region};

/// Among whom one load at a time runs under a name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Together {
    InProcess,
    InCluster,
}

impl Region {
    /// Runs `load` in a task of its own, unless one is under way under `name`, and waits for whichever it is; says
    /// whether it was this one. What it brings is written together; `name` itself holds nothing.
    ///
    /// As with [`Region::get_or_load`], a load is bounded by the hard timeout, one that failed a moment ago is not
    /// repeated, and an invalidation of `name`, or of a prefix of it, keeps what is under way from being written.
    ///
    /// Processes that share the store load one at a time, too. A loader that waited for another process's finds in the store
    /// what that one brought.
    ///
    /// # Errors
    ///
    /// The loader's error.
    pub async fn fill<F, L>(&self, name: &str, load: F) -> Result<bool, Error>
    where
        F: FnOnce() -> L + Send + 'static,
        L: Future<Output = Result<Filled, LoadError>> + Send + 'static,
    {
        self.fill_together(name, Together::InCluster, || own_error(load())).await
    }

    /// As [`Region::fill`], where what is loaded is this process's own.
    ///
    /// # Errors
    ///
    /// The loader's error.
    pub async fn fill_in_process<F, L>(&self, name: &str, load: F) -> Result<bool, Error>
    where
        F: FnOnce() -> L + Send + 'static,
        L: Future<Output = Result<Filled, LoadError>> + Send + 'static,
    {
        self.fill_together(name, Together::InProcess, || own_error(load())).await
    }

    async fn fill_together<F, L>(&self, name: &str, together: Together, load: F) -> Result<bool, Error>
    where
        F: FnOnce() -> L + Send + 'static,
        L: Future<Output = Result<Filled, Error>> + Send + 'static,
    {
        if let Some(setback) = self.setback(name, self.cache.clock.now()) {
            return Err(setback.as_remembered(self.cache.clock.now()));
        }
        let mut load = Some(load);
        loop {
            let (flight, landing) = self.embark(name);
            let first = landing.is_some();
            if let Some((landing, load)) = landing.and_then(|landing| Some((landing, load.take()?))) {
                tokio::spawn(self.clone().fly_filling(landing, together, load));
            }
            let landed = flight.wait().await;
            // What gave way gave way to this load.
            if load.is_none() || !flight.has_yielded() {
                return landed.map(|_| first).map_err(|error| (*error).clone());
            }
        }
    }

    /// As [`Region::get_or_load_uncounted`]; where the store is asked for `name`, it is asked for the keys `beside` in
    /// the same round trip, and memory keeps what it lacks of them.
    ///
    /// # Errors
    ///
    /// As [`Region::get_or_load`].
    pub async fn get_or_load_beside<F, L>(&self, name: &str, beside: &[String], load: F) -> Result<Answer, Error>
    where
        F: FnOnce() -> L + Send + 'static,
        L: Future<Output = Result<Loaded, LoadError>> + Send + 'static,
    {
        self.read_beside(name, beside, || own_error(load())).await
    }

    /// Which of the names that were read together with `name` ([`Region::get_or_load_beside`]) the store holds nothing of.
    /// For the loader, while its load goes on; nothing where an invalidation has come, or where the store did not answer.
    pub fn absent_beside(&self, name: &str) -> Vec<String> {
        self.cache.flights.absent(&Key::new(self.shared.id, name))
    }

    /// What the store holds for the key of a flight. What it holds for others is kept, unless an invalidation came.
    pub(crate) async fn read_store_with(&self, landing: &Landing, beside: &[String]) -> Stored {
        let names: Vec<&str> = std::iter::once(&*landing.key().name).chain(beside.iter().map(String::as_str)).collect();
        let mut stored = self.read_store_many(&names).await.into_iter();
        let own = stored.next().unwrap_or_default();
        let stored: Vec<Stored> = stored.collect();
        let absent = beside.iter().zip(&stored).filter(|(_, stored)| stored.seen == Seen::Nothing);
        landing.note_absent(absent.map(|(name, _)| name.clone()).collect());
        landing.write(|| {
            for (name, entry) in beside.iter().zip(stored) {
                let Some(entry) = entry.entry else { continue };
                let entry = match self.held(name) {
                    // It was in doubt only because the store was given something older.
                    Some(held) if held.is_doubted() && self.is_at_least_as_good(&held, &entry) => {
                        held.believed(entry.taken_at)
                    }
                    Some(held) if self.is_unverified(&held) => entry,
                    None => entry,
                    // What memory holds was written since, or is as good.
                    Some(_) => continue,
                };
                self.cache.memory.insert(Key::new(self.shared.id, name), Arc::new(entry));
            }
        });
        own
    }

    async fn fly_filling<F, L>(self, landing: Landing, together: Together, load: F)
    where
        F: FnOnce() -> L + Send + 'static,
        L: Future<Output = Result<Filled, Error>> + Send + 'static,
    {
        let mut approach = Approach::waiting(self.longest_wait());
        let right = match together {
            Together::InProcess => Right::Alone,
            Together::InCluster => self.turn_to_fill(&landing.key().name, &mut approach).await,
        };
        let permit = match self.permit() {
            Ok(permit) => permit,
            Err(error) => return landing.land(Err(Arc::new(error))),
        };
        let started = self.cache.clock.now();
        let filled = self.ask_within(approach.left(self.shared.policy.hard_timeout), load).await;
        drop(permit);
        let landed = match filled {
            Ok(filled) => {
                let at = self.cache.clock.now();
                if !landing.write(|| self.keep_filled(&filled, started, at, &right)) {
                    add(&self.shared.counters.dropped_fills);
                }
                Ok((nothing(), Origin::Source))
            }
            Err(error) => {
                let error = Arc::new(error);
                landing.write(|| self.remember_setback(landing.key(), &error));
                Err(error)
            }
        };
        landing.land(landed);
    }

    /// Waits until no other process fills under this name, and takes the lease of it. What that process brought is in the
    /// store by then, where the loader looks first.
    async fn turn_to_fill(&self, name: &str, approach: &mut Approach) -> Right {
        // Nothing ever lies there but claims.
        let mut stored = self.presumed_empty(name).await;
        loop {
            if let Next::Load(right) = self.lease(name, &stored, approach).await {
                return right;
            }
            stored = self.read_store(name).await;
        }
    }

    /// Keeps what a load brought for other keys. Call it only where no invalidation can come between.
    pub(crate) fn keep_filled(&self, filled: &Filled, started: Timestamp, at: Timestamp, right: &Right) {
        for (name, loaded) in &filled.entries {
            let (loaded, is_dated) = (Loaded { beside: Filled::default(), ..loaded.clone() }, loaded.as_of.is_some());
            let mut entry = self.entry(name, loaded, started, at);
            if is_dated {
                entry.note_loaded();
            }
            let entry = Arc::new(entry);
            if !is_dated || self.held_later(name, &entry).is_none() {
                self.keep(name, entry, right);
            }
        }
    }
}

/// What the flight of a filling load lands with.
fn nothing() -> Arc<Entry> {
    static NOTHING: OnceLock<Arc<Entry>> = OnceLock::new();
    let long_gone =
        Times { fresh_until: Timestamp::EPOCH, stale_until: Timestamp::EPOCH, keep_until: Timestamp::EPOCH };
    let entry = || Arc::new(Entry::new(Loaded::default(), Timestamp::EPOCH, Timestamp::EPOCH, long_gone));
    Arc::clone(NOTHING.get_or_init(entry))
}
