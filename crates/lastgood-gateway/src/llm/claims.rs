//! Who computes which analysis, so that others wait for it instead of computing it, too.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lastgood::Value;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::watch;
use tokio::time::Instant;

/// Beyond it an analysis is computed without a claim, by whoever asks.
const MOST: usize = 10_000;
const TOKEN_BYTES: usize = 16;

/// The claims of this process.
#[derive(Default)]
pub(crate) struct Claims(Mutex<HashMap<String, Claim>>);

struct Claim {
    token: String,
    until: Instant,
    /// Told the analysis; dropped where the claim ends without one.
    outcome: watch::Sender<Option<Brought>>,
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

impl Claims {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Claim>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Claims `key` for `lease`, unless another holds it.
    pub(crate) fn claim(&self, key: &str, lease: Duration) -> Turn {
        let now = Instant::now();
        let mut claims = self.lock();
        if claims.len() >= MOST && !claims.contains_key(key) {
            claims.retain(|_, claim| claim.until > now);
            if claims.len() >= MOST {
                return Turn::Full;
            }
        }
        let Some(token) = token() else { return Turn::Full };
        let new = || Claim { token: token.clone(), until: now + lease, outcome: watch::channel(None).0 };
        match claims.entry(key.to_owned()) {
            Entry::Occupied(held) if held.get().until > now => {
                let held = held.get();
                return Turn::Taken(held.outcome.subscribe(), held.until);
            }
            // Those who wait for the claim that ran out look again, and find this one.
            Entry::Occupied(mut expired) => drop(expired.insert(new())),
            Entry::Vacant(free) => drop(free.insert_entry(new())),
        }
        Turn::Yours(token)
    }

    /// Ends the claim of `key` with the analysis, whoever brought it: all who wait have it.
    pub(crate) fn fulfil(&self, key: &str, brought: Brought) {
        let claim = self.lock().remove(key);
        if let Some(claim) = claim {
            claim.outcome.send_replace(Some(brought));
        }
    }

    /// Ends a claim on an analysis of this kind without one; one of those who wait has the next. Says whether it was
    /// held.
    pub(crate) fn give_up(&self, kind: &str, token: &str) -> bool {
        let mut claims = self.lock();
        let of_kind = |key: &str| key.split(':').next() == Some(kind);
        let held = claims.iter().find(|(key, claim)| claim.token == token && of_kind(key)).map(|(key, _)| key.clone());
        held.and_then(|key| claims.remove(&key)).is_some_and(|claim| claim.until > Instant::now())
    }
}

/// Nobody guesses it: whoever has it was given the claim.
fn token() -> Option<String> {
    let mut bytes = [0; TOKEN_BYTES];
    SystemRandom::new().fill(&mut bytes).ok()?;
    Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Whether a text can be a token.
pub(crate) fn is_token(text: &str) -> bool {
    text.len() == 2 * TOKEN_BYTES && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(60);

    fn taken(claims: &Claims) -> watch::Receiver<Option<Brought>> {
        match claims.claim("risk:1", LEASE) {
            Turn::Taken(outcome, _) => outcome,
            turn => panic!("{turn:?}"),
        }
    }

    fn yours(claims: &Claims) -> String {
        match claims.claim("risk:1", LEASE) {
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
        assert!(is_token(&yours(&claims)));
        let mut waiting = taken(&claims);
        claims.fulfil("risk:1", brought());
        assert_eq!(waiting.wait_for(Option::is_some).await.unwrap().as_ref().unwrap().value, Value::new("x"));
        yours(&claims);
    }

    #[tokio::test(start_paused = true)]
    async fn a_claim_that_is_given_up_or_runs_out_goes_to_exactly_one() {
        let claims = Claims::default();
        let first = yours(&claims);
        let mut waiting = taken(&claims);
        assert!(!claims.give_up("other", &first), "a token is good for its kind alone");
        assert!(claims.give_up("risk", &first));
        assert!(waiting.changed().await.is_err(), "who waits is told at once");
        let second = yours(&claims);
        assert_ne!(first, second);
        assert!(!claims.give_up("risk", &first), "who gave up has no claim any more");
        let mut waiting = taken(&claims);
        tokio::time::advance(LEASE).await;
        yours(&claims);
        assert!(waiting.changed().await.is_err());
        taken(&claims);
        assert!(!claims.give_up("risk", &second));
    }

    #[tokio::test(start_paused = true)]
    async fn claims_are_bounded_and_those_that_ran_out_make_room() {
        let claims = Claims::default();
        for number in 0..MOST {
            assert!(matches!(claims.claim(&format!("risk:{number}"), LEASE), Turn::Yours(_)));
        }
        assert!(matches!(claims.claim("risk:more", LEASE), Turn::Full));
        assert!(matches!(claims.claim("risk:1", LEASE), Turn::Taken(..)), "those that are held still are");
        tokio::time::advance(LEASE).await;
        assert!(matches!(claims.claim("risk:more", LEASE), Turn::Yours(_)));
        assert_eq!(claims.lock().len(), 1);
    }
}
