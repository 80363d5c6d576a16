//! Loads without a key of their own: what one answer says about many.

use std::future::Future;
use std::sync::{Arc, OnceLock};

use super::Filled;
use crate::clock::Timestamp;
use crate::entry::{Entry, Loaded};
use crate::error::Error;
use crate::flight::{LeaderGuard, Origin};
use crate::lease::{Approach, Next, Right};
use crate::metrics::add;
use crate::policy::Times;
use crate::region::Region;

/// Among whom one load at a time runs under a name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Together {
    InProcess,
    InCluster,
}

impl Region {
    pub(super) async fn fill<F, L, G>(&self, name: &str, together: Together, load: F) -> Result<bool, Error>
    where
        F: FnOnce() -> L + Send + 'static,
        L: Future<Output = Result<Filled<G>, Error>> + Send + 'static,
        G: Send + 'static,
    {
        if let Some(backoff) = self.backoff(name, self.cache.clock.now()) {
            return Err(backoff.as_remembered(self.cache.clock.now()));
        }
        let mut load = Some(load);
        loop {
            let (flight, leader) = self.join_or_lead(name);
            let first = leader.is_some();
            if let Some((leader, load)) = leader.and_then(|leader| Some((leader, load.take()?))) {
                tokio::spawn(self.clone().run_fill(leader, together, load));
            }
            let completed = flight.wait().await;
            // The load under way yielded to this one.
            if load.is_none() || !flight.has_yielded() {
                return completed.map(|_| first).map_err(|error| (*error).clone());
            }
        }
    }

    async fn run_fill<F, L, G>(self, leader: LeaderGuard, together: Together, load: F)
    where
        F: FnOnce() -> L + Send + 'static,
        L: Future<Output = Result<Filled<G>, Error>> + Send + 'static,
        G: Send + 'static,
    {
        let mut approach = Approach::waiting(self.longest_wait());
        let right = match together {
            Together::InProcess => Right::Alone,
            Together::InCluster => self.turn_to_fill(&leader.key().name, &mut approach).await,
        };
        let permit = match self.permit() {
            Ok(permit) => permit,
            Err(error) => return leader.complete(Err(Arc::new(error))),
        };
        let started = self.cache.clock.now();
        let filled = self.run_loader_within(approach.left(self.shared.policy.hard_timeout), load).await;
        drop(permit);
        let completed = match filled {
            Ok(Filled { siblings, guard }) => {
                let at = self.cache.clock.now();
                if !leader.write(|| self.keep_siblings(siblings, started, at, &right)) {
                    add(&self.shared.counters.dropped_fills);
                }
                drop(guard);
                Ok((nothing(), Origin::Source))
            }
            Err(error) => {
                let error = Arc::new(error);
                leader.write(|| self.remember_backoff(leader.key(), &error));
                Err(error)
            }
        };
        leader.complete(completed);
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
}

/// What the flight of a filling load completes with.
fn nothing() -> Arc<Entry> {
    static NOTHING: OnceLock<Arc<Entry>> = OnceLock::new();
    let long_gone =
        Times { fresh_until: Timestamp::EPOCH, stale_until: Timestamp::EPOCH, keep_until: Timestamp::EPOCH };
    let entry = || Arc::new(Entry::new(Loaded::default(), Timestamp::EPOCH, Timestamp::EPOCH, long_gone));
    Arc::clone(NOTHING.get_or_init(entry))
}
