//! Who computes which analysis, so that others wait for it instead of computing it, too.
//!
//! A claim is held in the store where gateways share one, and here for the callers who wait for it. While the store is away,
//! or refuses to decide, each gateway has claims of its own.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lastgood::Value;
use lastgood::store::StoreError;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::watch;
use tokio::time::Instant;

use self::shared::{Holder, SharedClaims};

pub(crate) mod shared;

/// Beyond it an analysis is computed without a claim, by each that asks.
const MOST: usize = 10_000;
const SECRET_BYTES: usize = 16;
/// The hash of an input, in hexadecimal.
const HASH_LENGTH: usize = 64;
/// How often a claim may end while it is asked for.
const TRIES: usize = 4;

/// The claims that this process knows of.
#[derive(Default)]
pub(crate) struct Claims {
    known: Mutex<HashMap<String, Claim>>,
    /// The tasks that have looked after a claim so far.
    watches: AtomicU64,
    shared: Option<SharedClaims>,
}

struct Claim {
    token: String,
    until: Instant,
    held: Held,
    /// The task that looks after it, if one does.
    watched_by: Option<u64>,
    /// Receives the analysis; dropped where the claim ends without one.
    outcome: watch::Sender<Option<Brought>>,
}

/// Where a claim is held.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Held {
    /// In this process, while the store is asked.
    Asking,
    /// In this process alone.
    Here,
    /// In the store, by a caller of this gateway or of another.
    Store,
}

/// An analysis that was stored while others waited for it.
#[derive(Clone, Debug)]
pub(crate) struct Brought {
    pub(crate) value: Value,
    pub(crate) fresh_for: Duration,
}

/// What a claim comes to.
#[derive(Debug)]
pub(crate) enum Turn {
    /// The caller is to compute it.
    Yours(String),
    /// Another does, until then at most.
    Taken(watch::Receiver<Option<Brought>>, Instant),
    /// There are too many claims already.
    Full,
}

/// How a claim is that callers wait for.
pub(crate) enum Watched {
    Held,
    /// No caller waits for it any more, or another task looks after it.
    ByNobody,
    /// It has ended, in the store at least. It had this token.
    Ended(String),
}

/// What this process knows of a claim.
enum Known {
    New,
    /// Another has it; for sure, or as far as this process knows.
    Taken {
        token: String,
        turn: Turn,
        is_sure: bool,
    },
    Full,
}

impl Claims {
    /// Claims that are held in the store, if gateways share one.
    pub(crate) fn new(shared: Option<SharedClaims>) -> Claims {
        Claims { shared, ..Claims::default() }
    }

    /// Whether other gateways take part.
    pub(crate) fn are_shared(&self) -> bool {
        self.shared.is_some()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Claim>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Claims `key` for `lease`, unless another holds it.
    pub(crate) async fn claim(&self, key: &str, lease: Duration) -> Turn {
        let Some(token) = token(key) else { return Turn::Full };
        for _ in 0..TRIES {
            let (ended, turn) = match (self.claim_here(key, &token, lease), &self.shared) {
                (Known::Full, _) => return Turn::Full,
                (Known::New, None) => return Turn::Yours(token),
                (Known::Taken { turn, .. }, None) | (Known::Taken { turn, is_sure: true, .. }, _) => return turn,
                (Known::Taken { token, turn, is_sure: false }, Some(shared)) => {
                    let holder = shared.holder(key).await;
                    (holder.map(|holder| holder.map(|holder| self.note(key, &token, holder))), (token, turn))
                }
                (Known::New, Some(shared)) => match shared.take(key, &token, lease).await {
                    Ok(true) => {
                        self.change(key, &token, |claim| claim.held = Held::Store);
                        return Turn::Yours(token);
                    }
                    Ok(false) => {
                        let holder = shared.holder(key).await;
                        // Another holds it, if not known how long.
                        let left = lease.min(Duration::from_secs(1));
                        let holder = holder.or(Ok(Some(Holder { token: String::new(), left })));
                        let unknown = Turn::Taken(watch::channel(None).1, Instant::now() + left);
                        (
                            holder.map(|holder| holder.map(|holder| self.note(key, &token, holder))),
                            (token.clone(), unknown),
                        )
                    }
                    Err(why) => {
                        tracing::debug!(%why, "an analysis is claimed in this gateway alone");
                        self.change(key, &token, |claim| claim.held = Held::Here);
                        return Turn::Yours(token);
                    }
                },
            };
            match ended {
                Ok(Some(Some(taken))) => return taken,
                // It ended here meanwhile.
                Ok(Some(None)) => {}
                Ok(None) => self.forget(key, &turn.0),
                Err(_) => return turn.1,
            }
        }
        Turn::Full
    }

    /// The same among the callers of this process.
    fn claim_here(&self, key: &str, token: &str, lease: Duration) -> Known {
        let now = Instant::now();
        let mut claims = self.lock();
        if claims.len() >= MOST && !claims.contains_key(key) {
            claims.retain(|_, claim| claim.until > now);
            if claims.len() >= MOST {
                return Known::Full;
            }
        }
        let outcome = watch::channel(None).0;
        let held = Held::Asking;
        let new = Claim { token: token.to_owned(), until: now + lease, held, watched_by: None, outcome };
        match claims.entry(key.to_owned()) {
            Entry::Occupied(held) if held.get().until > now => return held.get().known(),
            // Those who wait for the claim that ran out look again, and find this one.
            Entry::Occupied(mut expired) => drop(expired.insert(new)),
            Entry::Vacant(free) => drop(free.insert_entry(new)),
        }
        Known::New
    }

    /// Changes a claim, if it is still known by this token.
    fn change<T>(&self, key: &str, token: &str, change: impl FnOnce(&mut Claim) -> T) -> Option<T> {
        self.lock().get_mut(key).filter(|claim| claim.token == token).map(change)
    }

    /// Notes who holds the claim that was known by `token`. `None` if that has ended.
    fn note(&self, key: &str, token: &str, holder: Holder) -> Option<Turn> {
        self.change(key, token, |claim| {
            claim.held = Held::Store;
            claim.until = Instant::now() + holder.left;
            claim.token = holder.token;
            Turn::Taken(claim.outcome.subscribe(), claim.until)
        })
    }

    /// Has the caller look after the claim of `key` for all who wait for it, unless another does. Gives the number of the
    /// watch.
    pub(crate) fn begin_watch(&self, key: &str) -> Option<u64> {
        self.shared.as_ref()?;
        let mut claims = self.lock();
        let claim = claims.get_mut(key).filter(|claim| claim.watched_by.is_none())?;
        claim.watched_by = Some(self.watches.fetch_add(1, Ordering::Relaxed));
        claim.watched_by
    }

    /// Asks the store about a claim that is looked after.
    pub(crate) async fn look(&self, key: &str, watch: u64) -> Watched {
        let Some(shared) = &self.shared else { return Watched::ByNobody };
        let token = {
            let mut claims = self.lock();
            let claim = claims.get_mut(key).filter(|claim| claim.watched_by == Some(watch));
            let Some(claim) = claim else { return Watched::ByNobody };
            if claim.outcome.receiver_count() == 0 {
                claim.watched_by = None;
                return Watched::ByNobody;
            }
            if claim.held != Held::Store {
                return Watched::Held;
            }
            claim.token.clone()
        };
        match shared.holder(key).await {
            Ok(None) => Watched::Ended(token),
            Ok(Some(holder)) => {
                self.note(key, &token, holder);
                Watched::Held
            }
            // Those who wait look for themselves at its end.
            Err(_) => Watched::Held,
        }
    }

    /// Ends the claim of `key` with the analysis, from any client: all who wait here have it.
    pub(crate) fn fulfil(&self, key: &str, brought: Brought) {
        let claim = self.lock().remove(key);
        if let Some(claim) = claim {
            claim.outcome.send_replace(Some(brought));
        }
    }

    /// Ends the claim of `key` for the other gateways. One that the store does not take note of runs out.
    pub(crate) async fn release(&self, key: &str) {
        if let Some(shared) = &self.shared
            && let Err(why) = shared.end(key).await
        {
            tracing::debug!(%why, "the claim of an analysis that was stored ends by itself");
        }
    }

    /// Ends a claim here that is known by this token; those who wait look again.
    pub(crate) fn forget(&self, key: &str, token: &str) {
        let mut claims = self.lock();
        if claims.get(key).is_some_and(|claim| claim.token == token) {
            claims.remove(key);
        }
    }

    /// Ends a claim on an analysis of this kind without one; one of those who wait has the next. Says whether it was
    /// held.
    ///
    /// # Errors
    ///
    /// When it is not known here, and the store does not say.
    pub(crate) async fn give_up(&self, kind: &str, token: &str) -> Result<bool, StoreError> {
        let Some(hash) = token.get(2 * SECRET_BYTES..) else { return Ok(false) };
        let key = format!("{kind}:{hash}");
        let here = {
            let mut claims = self.lock();
            let is_held = claims.get(&key).is_some_and(|claim| claim.token == token);
            if is_held { claims.remove(&key) } else { None }
        };
        let here = here.filter(|claim| claim.until > Instant::now()).map(|claim| claim.held);
        match &self.shared {
            // One that was taken while the store was away is known here alone. Of every other the store has the say: who
            // asked it just before this claim was given up may note it here just after.
            Some(shared) => match shared.give_up(&key, token).await {
                Ok(was_held) => Ok(was_held || here.is_some_and(|held| held != Held::Store)),
                Err(_) if here.is_some() => Ok(true),
                Err(why) => Err(why),
            },
            None => Ok(here.is_some()),
        }
    }
}

impl Claim {
    fn known(&self) -> Known {
        let turn = Turn::Taken(self.outcome.subscribe(), self.until);
        let is_sure = self.held != Held::Store || self.watched_by.is_some();
        Known::Taken { token: self.token.clone(), turn, is_sure }
    }
}

/// It cannot be guessed: a client that has it was given the claim. It says which input it is of, so that every gateway finds its
/// claim.
fn token(key: &str) -> Option<String> {
    let (_, hash) = key.split_once(':')?;
    let mut bytes = [0; SECRET_BYTES];
    SystemRandom::new().fill(&mut bytes).ok()?;
    let secret: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Some(secret + hash)
}

/// Whether a text can be a token.
pub(crate) fn is_token(text: &str) -> bool {
    text.len() == 2 * SECRET_BYTES + HASH_LENGTH && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use lastgood::Clock;
    use lastgood::store::{Guard, GuardedStore, MemoryStore};

    use super::*;

    const LEASE: Duration = Duration::from_secs(60);

    const KEY: &str = "risk:00000000000000000000000000000000000000000000000000000000000000ff";

    async fn taken(claims: &Claims) -> watch::Receiver<Option<Brought>> {
        match claims.claim(KEY, LEASE).await {
            Turn::Taken(outcome, _) => outcome,
            turn => panic!("{turn:?}"),
        }
    }

    async fn yours(claims: &Claims) -> String {
        match claims.claim(KEY, LEASE).await {
            Turn::Yours(token) => token,
            turn => panic!("{turn:?}"),
        }
    }

    fn brought() -> Brought {
        Brought { value: Value::new("x"), fresh_for: LEASE }
    }

    #[tokio::test(start_paused = true)]
    async fn one_holds_a_claim_and_who_waits_has_what_it_brings() {
        let claims = Claims::default();
        assert!(is_token(&yours(&claims).await));
        let mut waiting = taken(&claims).await;
        claims.fulfil(KEY, brought());
        assert_eq!(waiting.wait_for(Option::is_some).await.unwrap().as_ref().unwrap().value, Value::new("x"));
        yours(&claims).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_claim_that_is_given_up_or_runs_out_goes_to_exactly_one() {
        let claims = Claims::default();
        let first = yours(&claims).await;
        let mut waiting = taken(&claims).await;
        assert_eq!(claims.give_up("other", &first).await, Ok(false), "a token is good for its kind alone");
        assert_eq!(claims.give_up("risk", &first).await, Ok(true));
        assert!(waiting.changed().await.is_err(), "waiters are released at once");
        let second = yours(&claims).await;
        assert_ne!(first, second);
        assert_eq!(claims.give_up("risk", &first).await, Ok(false), "who gave up has no claim any more");
        let mut waiting = taken(&claims).await;
        tokio::time::advance(LEASE).await;
        yours(&claims).await;
        assert!(waiting.changed().await.is_err());
        taken(&claims).await;
        assert_eq!(claims.give_up("risk", &second).await, Ok(false));
    }

    #[tokio::test(start_paused = true)]
    async fn a_claim_that_was_given_up_elsewhere_is_not_given_up_once_more_where_it_is_still_known() {
        let clock = Clock::system();
        let memory = Arc::new(MemoryStore::new(clock.clone(), 1 << 20));
        let store = GuardedStore::new(memory, Guard::default());
        let [one, other] =
            [(); 2].map(|()| Claims::new(Some(SharedClaims::new(Arc::clone(&store), "test", clock.clone()))));
        let token = yours(&one).await;
        let _waiting = taken(&other).await;
        assert_eq!(one.give_up("risk", &token).await, Ok(true));
        assert_eq!(other.give_up("risk", &token).await, Ok(false));
    }

    #[tokio::test(start_paused = true)]
    async fn claims_are_bounded_and_those_that_ran_out_make_room() {
        let claims = Claims::default();
        for number in 0..MOST {
            assert!(matches!(claims.claim(&format!("risk:{number}"), LEASE).await, Turn::Yours(_)));
        }
        assert!(matches!(claims.claim("risk:more", LEASE).await, Turn::Full));
        assert!(matches!(claims.claim("risk:1", LEASE).await, Turn::Taken(..)), "those that are held still are");
        tokio::time::advance(LEASE).await;
        assert!(matches!(claims.claim("risk:more", LEASE).await, Turn::Yours(_)));
        assert_eq!(claims.lock().len(), 1);
    }
}
