//! API keys of users, as the chain of symbol lists is asked with them: whose there are, and for how long they are believed.
//!
//! A user's keys are looked up in the sources in turn, of which [`FileKeys`] is one. What was found is remembered for a
//! minute at most, so that a source that is down for less ends nothing, and a key that was changed or removed is not used
//! for longer.

use std::time::Duration;

use async_trait::async_trait;
use http::HeaderValue;
use lastgood::{Error, KeyedMutex};
use quick_cache::sync::Cache;
use ring::digest::{SHA256, digest};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;

use crate::credentials::{Environment, UserId};
use crate::venue::Venue;

mod account;
mod file;
mod refusals;

pub use self::account::AccountKeys;
pub use self::file::FileKeys;
pub(crate) use self::refusals::Refusals;

/// What was found is looked up again after this, by the user's next request.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(30);
/// While it cannot be, it is used until it is this old.
const KEEP_FOR: Duration = Duration::from_secs(60);
/// After a lookup that failed the user's next one waits for this long.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// The most keys remembered: those of 10,000 users, for two markets and two environments each.
const MOST_KEYS: usize = 40_000;

/// An API key as requests carry it. Prints nothing of it.
#[derive(Clone)]
pub struct ApiKey {
    header: HeaderValue,
    id: KeyId,
}

/// Identifies keys without holding any.
pub(crate) type KeyId = [u8; 32];

impl ApiKey {
    /// `None` for what no header can carry.
    pub fn new(key: &SecretString, venue: Venue, environment: Environment) -> Option<ApiKey> {
        let mut header = HeaderValue::from_str(key.expose_secret()).ok().filter(|header| !header.is_empty())?;
        header.set_sensitive(true);
        let hashed = digest(&SHA256, format!("{venue} {environment} {}", key.expose_secret()).as_bytes());
        Some(ApiKey { header, id: hashed.as_ref().try_into().unwrap_or_default() })
    }

    /// The value of `X-MBX-APIKEY`.
    pub fn header(&self) -> &HeaderValue {
        &self.header
    }

    /// Tells it from others without holding it.
    pub(crate) fn id(&self) -> &KeyId {
        &self.id
    }
}

/// The keys that a market's list is asked with: a user's, or the program's own.
#[derive(Clone, Default)]
pub(crate) struct Keys {
    /// Whose they are; `None` for the program's own.
    pub(crate) user: Option<UserId>,
    /// The key for the testnet.
    pub(crate) testnet: Option<ApiKey>,
    /// The key for the exchange itself.
    pub(crate) mainnet: Option<ApiKey>,
}

impl Keys {
    /// The key for an environment.
    pub(crate) fn get(&self, environment: Environment) -> Option<&ApiKey> {
        match environment {
            Environment::Testnet => self.testnet.as_ref(),
            Environment::Mainnet => self.mainnet.as_ref(),
        }
    }

    /// For which environments there are keys.
    pub(crate) fn there(&self) -> [bool; 2] {
        [self.testnet.is_some(), self.mainnet.is_some()]
    }
}

/// Where keys of users are looked up.
#[async_trait]
pub trait KeySource: Send + Sync {
    /// The key of a user for a market in an environment.
    async fn find(&self, user: &UserId, venue: Venue, environment: Environment) -> Result<Option<ApiKey>, Error>;
}

/// The keys of users, by their IDs.
pub struct UserKeys {
    /// Asked in this order; the first that has a key counts.
    sources: Vec<Box<dyn KeySource>>,
    found: Cache<Place, Found>,
    looking_up: KeyedMutex,
}

/// A user, and which of their keys.
type Place = (UserId, Venue, Environment);

/// What the memory holds for it.
#[derive(Clone)]
struct Found {
    key: Option<ApiKey>,
    looked_up_at: Instant,
    ask_again_at: Instant,
}

impl Found {
    /// The key, unless it was found too long ago.
    fn key(&self, now: Instant) -> Option<ApiKey> {
        self.key.clone().filter(|_| now.duration_since(self.looked_up_at) < KEEP_FOR)
    }
}

impl Default for UserKeys {
    /// No user has a key.
    fn default() -> Self {
        UserKeys::new(Vec::new())
    }
}

impl UserKeys {
    /// The keys that these sources have, asked in this order; the first that has one counts.
    pub fn new(sources: Vec<Box<dyn KeySource>>) -> UserKeys {
        UserKeys { sources, found: Cache::new(MOST_KEYS), looking_up: KeyedMutex::default() }
    }

    /// Whether any user may have a key, now or later.
    pub(crate) fn may_be_there(&self) -> bool {
        !self.sources.is_empty()
    }

    /// The keys of a user for a market; none while they cannot be looked up and none are remembered.
    pub(crate) async fn of(&self, user: &UserId, venue: Venue) -> Keys {
        let (testnet, mainnet) = tokio::join!(
            self.key((user.clone(), venue, Environment::Testnet)),
            self.key((user.clone(), venue, Environment::Mainnet))
        );
        Keys { user: Some(user.clone()), testnet, mainnet }
    }

    async fn key(&self, place: Place) -> Option<ApiKey> {
        if let Some(known) = self.remembered(&place) {
            return known;
        }
        // One lookup for all requests of a user.
        let (user, venue, environment) = &place;
        let _held = self.looking_up.lock(&format!("{environment} {user}")).await;
        if let Some(known) = self.remembered(&place) {
            return known;
        }
        let at = Instant::now();
        let found = match self.find(&place).await {
            Ok(key) => Found { key, looked_up_at: at, ask_again_at: at + ASK_AGAIN_AFTER },
            Err(why) => {
                tracing::debug!(%user, market = %venue, %environment, %why, "the user's API key cannot be looked up");
                let earlier = self.found.get(&place);
                let (key, looked_up_at) = earlier.map_or((None, at), |earlier| (earlier.key, earlier.looked_up_at));
                Found { key, looked_up_at, ask_again_at: Instant::now() + RETRY_AFTER }
            }
        };
        let key = found.key(Instant::now());
        self.found.insert(place, found);
        key
    }

    /// The remembered state of a key, if it need not be looked up.
    fn remembered(&self, place: &Place) -> Option<Option<ApiKey>> {
        let now = Instant::now();
        self.found.get(place).filter(|found| now < found.ask_again_at).map(|found| found.key(now))
    }

    async fn find(&self, (user, venue, environment): &Place) -> Result<Option<ApiKey>, Error> {
        for source in &self.sources {
            if let Some(key) = source.find(user, *venue, *environment).await? {
                return Ok(Some(key));
            }
        }
        Ok(None)
    }
}

/// Says things about single users once.
pub struct Once(Cache<String, ()>);

impl Default for Once {
    fn default() -> Self {
        Once::new()
    }
}

impl Once {
    /// Nothing was said yet.
    #[must_use]
    pub fn new() -> Once {
        Once(Cache::new(1_000))
    }

    /// Whether this is said for the first time.
    pub fn is_first(&self, what: String) -> bool {
        let is_first = self.0.get(&what).is_none();
        self.0.insert(what, ());
        is_first
    }
}

#[cfg(test)]
mod tests;
