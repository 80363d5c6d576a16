//! Changes of a key on a condition, which the store decides where other processes share it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep};

use super::{Answer, Region};
use crate::entry::{Entry, Loaded};
use crate::flight::{Void, after};
use crate::outcome::{Outcome, Tier};
use crate::publisher::Kind;
use crate::shared::Tier as StoreTier;
use crate::store::{Store, StoreError, Version};
use crate::tags;
use crate::write_behind::{Change, Form, Meanwhile, Removal, Turn};

/// How long the store may take to decide, so that who asked hears of it within a request.
const DECIDED_WITHIN: Duration = Duration::from_millis(1_500);
/// The pause after a call that failed.
const PAUSE: Duration = Duration::from_millis(10);
/// How often a key may be changed by others between the look at it and the change.
const TRIES: usize = 32;

/// What became of a change on a condition.
#[derive(Clone, Debug)]
pub enum Conditional {
    /// It was made, in the store too if there is one that others share.
    Made {
        /// Whether there was something before.
        was_there: bool,
    },
    /// The condition does not hold of this, which is there. Nothing was changed.
    Unmet(Option<Answer>),
}

/// What the store holds under a key, as it tells it from what it held before, and as this process may believe it.
type Seen = (Option<Version>, Option<Arc<Entry>>);

/// A change whose answer was lost: it may have been made.
struct Lost {
    why: StoreError,
    was_there: bool,
}

impl Region {
    /// Puts an answer if `holds` accepts the current entry. Where other processes share the store, the store decides:
    /// what `holds` sees is the entry that the store held when it took the answer, and no put of another is lost.
    /// Otherwise this process does. The store has the answer before memory, and it is published to the others like any
    /// put.
    ///
    ///
    /// # Errors
    ///
    /// When the store cannot say, or does not take the answer. After [`StoreError::Timeout`] and
    /// [`StoreError::Unavailable`] it may have taken it all the same.
    pub async fn put_if(
        &self,
        name: &str,
        loaded: Loaded,
        holds: impl Fn(Option<&Answer>) -> bool + Send + Sync + 'static,
    ) -> Result<Conditional, StoreError> {
        if self.cache.shared_tier().is_none() {
            return self.put_alone(name, loaded, holds).await;
        }
        let now = self.cache.clock.now();
        let entry = Arc::new(self.entry(name, loaded, now, now));
        if !tags::are_storable(entry.tags()) {
            return Err(StoreError::Refused(
                "it has more tags, or longer ones, than an entry may have there".to_owned(),
            ));
        }
        self.change_in_store(name, Some(entry), holds).await
    }

    /// Removes `name` from every tier if `holds` accepts the current entry; as [`Region::put_if`] in all else.
    ///
    /// # Errors
    ///
    /// As [`Region::put_if`].
    pub async fn remove_if(
        &self,
        name: &str,
        holds: impl Fn(Option<&Answer>) -> bool + Send + Sync + 'static,
    ) -> Result<Conditional, StoreError> {
        if self.cache.shared_tier().is_some() {
            return self.change_in_store(name, None, holds).await;
        }
        let change = || {
            self.write_behind(name, Change::Remove(Removal::at(self.cache.clock.now(), true)));
            self.cache.memory.remove(&self.key(name));
        };
        self.change_alone(name, holds, change).await
    }

    /// In a task of its own: a caller who is gone must not leave memory behind the store.
    async fn change_in_store(
        &self,
        name: &str,
        to: Option<Arc<Entry>>,
        holds: impl Fn(Option<&Answer>) -> bool + Send + Sync + 'static,
    ) -> Result<Conditional, StoreError> {
        let (region, name) = (self.clone(), name.to_owned());
        let changed = tokio::spawn(async move {
            let Some(tier) = &region.cache.store else { return Ok(Conditional::Unmet(None)) };
            let deadline = after(DECIDED_WITHIN);
            let turn = tier.behind.turn(region.store_key(&name), deadline).await?;
            region.decide(tier, &name, turn, to, holds, deadline).await
        });
        changed.await.unwrap_or_else(|_| Err(StoreError::Unavailable("the change was broken off".to_owned())))
    }

    async fn decide(
        &self,
        tier: &StoreTier,
        name: &str,
        turn: Turn,
        to: Option<Arc<Entry>>,
        holds: impl Fn(Option<&Answer>) -> bool,
        deadline: Instant,
    ) -> Result<Conditional, StoreError> {
        let form = Form { schema: self.shared.schema, compress_over: self.shared.policy.compress_over };
        let stored_form = match &to {
            Some(entry) => match turn.stored_form(entry, form).await? {
                Some(stored_form) => Some(stored_form),
                None => return Err(StoreError::Refused("it has no form that the store could keep".to_owned())),
            },
            None => None,
        };
        let mut lost: Option<Lost> = None;
        let mut failed = StoreError::Busy;
        for _ in 0..TRIES {
            match self.try_once(tier, name, &turn, stored_form.clone(), &holds, &mut lost).await {
                Ok(Some(Conditional::Made { was_there })) => {
                    return Ok(self.made(tier, name, turn, to, was_there).await);
                }
                Ok(Some(Conditional::Unmet(there))) if lost.is_none() => return Ok(self.unmet(tier, name, turn, there)),
                // It may have been made, and changed by another since.
                Ok(Some(Conditional::Unmet(_))) => break,
                // Another changed it first: read it again.
                Ok(None) => {}
                Err(why) => {
                    let is_last = !is_passing(&why) || Instant::now() >= deadline;
                    failed = why;
                    if is_last {
                        break;
                    }
                    sleep(PAUSE).await;
                }
            }
        }
        if let Some(lost) = lost {
            self.forget(tier, name, turn).await;
            failed = lost.why;
        }
        Err(tier.store.cause(failed))
    }

    /// Looks at what the store holds, and has it changed if `holds` says so. `None` where it was changed meanwhile.
    async fn try_once(
        &self,
        tier: &StoreTier,
        name: &str,
        turn: &Turn,
        to: Option<(Bytes, Duration)>,
        holds: &impl Fn(Option<&Answer>) -> bool,
        lost: &mut Option<Lost>,
    ) -> Result<Option<Conditional>, StoreError> {
        let (version, stored) = self.seen(tier, name).await?;
        if let Some(Lost { was_there, .. }) = *lost
            && version == to.as_ref().map(|(bytes, _)| Version::of(bytes))
        {
            turn.settle().await?;
            return Ok(Some(Conditional::Made { was_there }));
        }
        let there = stored.map(|entry| self.answer(entry, Outcome::Hit(Tier::Store), self.cache.clock.now()));
        if !holds(there.as_ref()) {
            return Ok(Some(Conditional::Unmet(there)));
        }
        let was_there = there.is_some();
        match turn.swap(version, to).await {
            Ok(made) => Ok(made.then_some(Conditional::Made { was_there })),
            Err(why) => {
                if matches!(why, StoreError::Timeout | StoreError::Unavailable(_)) {
                    *lost = Some(Lost { why: why.clone(), was_there });
                }
                Err(why)
            }
        }
    }

    /// What the store holds, and its version.
    async fn seen(&self, tier: &StoreTier, name: &str) -> Result<Seen, StoreError> {
        let key = self.store_key(name);
        self.cache.verification.listens(after(tier.store.budget())).await;
        let asked_at = self.cache.clock.now();
        let ahead = tier.store.ahead().await?;
        let Some(bytes) = tier.store.get(&key).await? else { return Ok((None, None)) };
        let (now, policy) = (self.cache.clock.now(), &self.shared.policy);
        let mut stored = [self.believe(&key, &bytes, ahead, asked_at, now)];
        if !self.cache.tags.apply(&tier.store, &mut stored, after(tier.store.budget()), now, policy).await {
            return Err(StoreError::Timeout);
        }
        let [stored] = stored;
        Ok((Some(Version::of(&bytes)), stored.map(Arc::new)))
    }

    /// The store has the change: so do memory and, soon, the others.
    async fn made(
        &self,
        tier: &StoreTier,
        name: &str,
        turn: Turn,
        to: Option<Arc<Entry>>,
        was_there: bool,
    ) -> Conditional {
        let kind = if to.is_some() { Kind::Changed } else { Kind::Removed };
        // It was decided by the store a moment ago.
        let asked_at = Some(self.cache.clock.now());
        self.invalidate(name, &Void::Removed(self.cache.clock.now()), || match (turn.end(), to) {
            (Meanwhile::ChangedHere, _) => {}
            (Meanwhile::Nothing, Some(entry)) => self.cache.memory.insert(&self.key(name), entry),
            // Which came last, the store knows.
            (Meanwhile::ChangedElsewhere, _) | (Meanwhile::Nothing, None) => {
                self.cache.memory.remove(&self.key(name));
            }
        });
        let key = self.store_key(name);
        self.cache.publisher.publish(&tier.store, kind, std::iter::once((key.as_str(), asked_at))).await;
        Conditional::Made { was_there }
    }

    /// The condition does not hold. What memory holds must not be what the caller reads next if the store holds something
    /// else.
    fn unmet(&self, tier: &StoreTier, name: &str, turn: Turn, there: Option<Answer>) -> Conditional {
        let largest = tier.store.largest_value().unwrap_or(u64::MAX);
        self.distrust(name, turn, |held| {
            let is_same = there.as_ref().is_some_and(|there| {
                (there.entry.fetch_started_at, there.entry.written_at) == (held.fetch_started_at, held.written_at)
            });
            // A body too large for the store is in memory alone.
            !is_same && held.body.len() as u64 <= largest
        });
        Conditional::Unmet(there)
    }

    /// The change may have been made or not: no memory, here or elsewhere, is believed about the key.
    async fn forget(&self, tier: &StoreTier, name: &str, turn: Turn) {
        self.distrust(name, turn, |_| true);
        let key = self.store_key(name);
        self.cache.publisher.publish(&tier.store, Kind::Changed, std::iter::once((key.as_str(), None))).await;
    }

    /// Ends a turn, and has the next reader of what memory holds ask the store.
    fn distrust(&self, name: &str, turn: Turn, is_meant: impl FnOnce(&Entry) -> bool) {
        self.invalidate(name, &Void::Removed(self.cache.clock.now()), || {
            let held = self.held(name).filter(|held| is_meant(held));
            // What this process put later is no older than the store.
            if turn.end() != Meanwhile::ChangedHere
                && let Some(held) = held
            {
                self.cache.memory.insert(&self.key(name), Arc::new(held.superseded()));
            }
        });
    }

    /// Where this process has the store, if any, to itself.
    async fn put_alone(
        &self,
        name: &str,
        loaded: Loaded,
        holds: impl Fn(Option<&Answer>) -> bool,
    ) -> Result<Conditional, StoreError> {
        let room = self.room(loaded.value.body.len()).await;
        let now = self.cache.clock.now();
        let entry = Arc::new(self.entry(name, loaded, now, now));
        self.change_alone(name, holds, || self.keep_with(name, Arc::clone(&entry), true, room.as_ref(), None)).await
    }

    async fn change_alone(
        &self,
        name: &str,
        holds: impl Fn(Option<&Answer>) -> bool,
        change: impl Fn(),
    ) -> Result<Conditional, StoreError> {
        for _ in 0..TRIES {
            let before = self.held(name);
            let there = self.newest(name).await?;
            if !holds(there.as_ref()) {
                return Ok(Conditional::Unmet(there));
            }
            let made = self.invalidate(name, &Void::Removed(self.cache.clock.now()), || {
                let is_same = match (&before, &self.held(name)) {
                    (Some(before), Some(held)) => Arc::ptr_eq(before, held),
                    (before, held) => before.is_none() && held.is_none(),
                };
                if is_same {
                    change();
                }
                is_same
            });
            if made {
                return Ok(Conditional::Made { was_there: there.is_some() });
            }
        }
        Err(StoreError::Busy)
    }
}

/// Whether another try may go better.
fn is_passing(why: &StoreError) -> bool {
    matches!(
        why,
        StoreError::Timeout | StoreError::Busy | StoreError::Unavailable(_) | StoreError::PartlyUnavailable(_)
    )
}
