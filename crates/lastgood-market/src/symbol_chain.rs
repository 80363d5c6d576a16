//! The source chain: a user's key on the testnet, then on the exchange, then no key, then the last good list. The user is
//! the one whom the request names, with that user's keys; a request that names none is asked with the program's own.
//!
//! Lists are shared by all who have the same links: what an exchange lists is the same for everybody, with any key it is
//! asked with. A single key concerns no other user: one that is refused ends the load without an answer
//! ([`Reason::Yielded`]), so that who waits for it asks with their own, and its user goes on with the links that are left,
//! under the key of those.
//!
//! The last link is the cache's own: when every other fails, the load fails, and the region serves what it keeps. Only
//! where it keeps no list yet, one is made of the last good exchangeInfo.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use lastgood::{Answer, Clock, Error, Loaded, Outcome, Reason, Region, Timestamp, Value};
use tokio::time::timeout;

use crate::api_keys::{AccountKeys, ApiKey, Keys, Refusals, UserKeys};
use crate::credentials::{Environment, UserId};
use crate::plan::{Plan, Request, plan};
use crate::regions::Regions;
use crate::symbols::{Link, Prepared, Stamp, prepare};
use crate::trouble::Troubles;
use crate::upstream::{BanMemory, ExchangeLoader, Options, UpstreamError, Upstreams, yielded};
use crate::{Budget, Identities, Priority, Received, RegionName, UpstreamRequest, Venue};

/// Volumes move slowly: tickers of this age still order a list.
const TICKERS_SERVE_FOR: Duration = Duration::from_secs(600);
/// What was made of an exchangeInfo that is past its freshness is soon made again.
const MADE_OF_STALE: Duration = Duration::from_secs(1);
/// The order is not worth a longer wait.
const TICKERS_WITHIN: Duration = Duration::from_secs(1);
/// The exchange's own testnets: keys of lists leave their names out.
const TESTNETS: [&str; 2] = ["testnet.binance.vision", "testnet.binancefuture.com"];

/// How lists of symbols are made.
#[derive(Default)]
pub struct SymbolOptions {
    /// The pairs that stand first, in this order.
    pub popular: Vec<String>,
    /// The testnets, asked with keys that are for them.
    pub testnet: Options,
    /// The program's own API keys.
    pub account_keys: AccountKeys,
    /// Those of its users.
    pub user_keys: UserKeys,
}

/// Loads the lists of symbols.
pub struct SymbolChain {
    loader: Arc<ExchangeLoader>,
    troubles: Arc<Troubles>,
    /// The testnets, with connections and budgets of their own; none where no user can have a key for them.
    testnet: Option<Upstreams>,
    keys: RwLock<AccountKeys>,
    users: UserKeys,
    refusals: Refusals,
    popular: Vec<String>,
    lists: Region,
    exchange_info: Region,
    tickers: Region,
}

/// An exchangeInfo, and when the exchange was asked for it.
struct Info {
    body: Bytes,
    asked_at: Timestamp,
    /// How old it may be, by where it comes from.
    standing: Standing,
}

enum Standing {
    Fresh,
    /// Being refreshed meanwhile.
    Stale,
    /// The kept list, because the exchange gave none.
    LastGood(Reason),
}

impl SymbolChain {
    /// A chain of these keys, the program's own and those of users; `bans` is what the testnets' pauses and bans are
    /// remembered in.
    pub(crate) fn new(
        options: SymbolOptions,
        bans: BanMemory,
        (loader, troubles): (&Arc<ExchangeLoader>, &Arc<Troubles>),
        regions: &Regions,
        clock: &Clock,
    ) -> Result<Self, UpstreamError> {
        let SymbolOptions { popular, testnet, account_keys, user_keys } = options;
        let testnet = match account_keys.any(Environment::Testnet) || user_keys.may_be_there() {
            true => Some(Upstreams::new(&testnet, clock, bans)?),
            false => None,
        };
        Ok(SymbolChain {
            loader: Arc::clone(loader),
            troubles: Arc::clone(troubles),
            testnet,
            keys: RwLock::new(account_keys),
            users: user_keys,
            refusals: Refusals::new(),
            popular,
            lists: regions.of(RegionName::Symbols).clone(),
            exchange_info: regions.of(RegionName::ExchangeInfo).clone(),
            tickers: regions.of(RegionName::Ticker24hr).clone(),
        })
    }

    /// From now on these are the program's own keys. Those for a testnet count only where it was set up at the start.
    pub fn change_keys(&self, keys: AccountKeys) {
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
    }

    fn account_keys(&self, venue: Venue) -> Keys {
        let mut keys = self.keys.read().unwrap_or_else(PoisonError::into_inner).of(venue);
        if self.testnet.is_none() {
            keys.testnet = None;
        }
        keys
    }

    /// The gateway's own keys for a venue, without those that the exchange refuses.
    pub(crate) fn own(&self, venue: Venue) -> Keys {
        self.refusals.without_refused(&self.account_keys(venue))
    }

    /// The region's key for the list of a venue, as it is loaded with the program's own keys.
    pub(crate) fn name(&self, venue: Venue) -> String {
        self.name_with(venue, &self.own(venue))
    }

    /// The region's key for the list of a venue that is loaded with these keys. It names the exchange and the links, because
    /// what a store holds may come from a gateway, from a time, or for a user with others. It names no user: the list of the
    /// same links is the same for all.
    fn name_with(&self, venue: Venue, keys: &Keys) -> String {
        let links = Link::CHAIN.into_iter().filter(|link| has(*link, keys)).map(|link| self.link_name(link, venue));
        format!("{}/{}", self.identities().of(venue), links.collect::<Vec<_>>().join(","))
    }

    /// A link as keys name it: a testnet that is not the exchange's own has its name added.
    fn link_name(&self, link: Link, venue: Venue) -> String {
        let testnet = self.testnet.as_ref().map(|testnet| testnet.identities().name(venue));
        match testnet.filter(|name| link == Link::Testnet && !TESTNETS.contains(name)) {
            Some(name) => format!("{link}@{name}"),
            None => link.to_string(),
        }
    }

    fn identities(&self) -> &Identities {
        self.loader.upstreams.identities()
    }

    /// The list of a venue that memory keeps, as it is loaded with the program's own keys.
    pub(crate) fn kept(&self, venue: Venue) -> Option<Answer> {
        self.lists.peek(&self.name(venue))
    }

    /// The last good list of a venue, for a reader who cannot wait; `error` where memory keeps none. Which list a user's
    /// is takes a look at the keys, and that may be a wait.
    pub fn last_good(&self, venue: Venue, user: Option<&UserId>, error: Error) -> Result<Answer, Error> {
        let kept = self.kept(venue).filter(|_| user.is_none() && self.lists.is_enabled());
        let outcome = Outcome::LastGood(error.reason);
        match &kept {
            Some(_) => self.lists.composite().count(outcome),
            None => self.lists.composite().count_failed(&error),
        }
        kept.map(|kept| kept.given_as(outcome)).ok_or(error)
    }

    /// The list of a venue for a user, or with the program's own keys.
    pub async fn read(self: &Arc<Self>, venue: Venue, user: Option<&UserId>) -> Result<Answer, Error> {
        let stopwatch = self.lists.composite().stopwatch();
        let keys = match user {
            Some(user) => self.users.of(user, venue).await,
            None => self.account_keys(venue),
        };
        let answer = self.read_with(venue, &keys).await;
        match &answer {
            Ok(answer) => self.lists.composite().count_timed(answer.outcome(), stopwatch),
            Err(error) => self.lists.composite().count_failed(error),
        }
        answer
    }

    /// Goes through the chain with the keys that are not refused, and again without each that turns out to be.
    async fn read_with(self: &Arc<Self>, venue: Venue, keys: &Keys) -> Result<Answer, Error> {
        let patience = self.lists.policy().hard_timeout;
        let mut usable = self.refusals.without_refused(keys);
        loop {
            let (chain, with) = (Arc::clone(self), usable.clone());
            let load = move || async move { Ok(chain.load(venue, &with, patience, None).await?.into()) };
            let answer = self.lists.composite().get_or_load(&self.name_with(venue, &usable), &[], load).await;
            let before = usable.there();
            usable = self.refusals.without_refused(&usable);
            match answer {
                Ok(answer) if answer.outcome() != Outcome::LastGood(Reason::Yielded) => return Ok(answer),
                Err(error) if error.reason != Reason::Yielded => return self.kept_for_refused(venue, keys, error),
                // Nothing is left to leave out.
                answer if usable.there() == before => return answer,
                _ => {}
            }
        }
    }

    /// The last good list of the links that a refused key stood for, where those that are left give none.
    fn kept_for_refused(&self, venue: Venue, keys: &Keys, error: Error) -> Result<Answer, Error> {
        let kept = self.lists.peek(&self.name_with(venue, keys));
        kept.map(|kept| kept.given_as(Outcome::LastGood(error.reason))).ok_or(error)
    }

    /// The list of a venue from the first link that gives one; all of them together take no longer than `patience`.
    /// `priority` is that of every load it takes; by default that of a reader's.
    ///
    /// # Errors
    ///
    /// [`Reason::Yielded`] when the exchange refuses a key: the chain without it has a list of its own.
    pub(crate) async fn load(
        self: &Arc<Self>,
        venue: Venue,
        keys: &Keys,
        patience: Duration,
        priority: Option<Priority>,
    ) -> Result<Loaded, Error> {
        let loaded = self.load_from_links(venue, keys, patience, priority).await;
        let loaded = if priority == Some(Priority::Warm) { loaded.map_err(yielded) } else { loaded };
        self.troubles.note(RegionName::Symbols, loaded)
    }

    async fn load_from_links(
        self: &Arc<Self>,
        venue: Venue,
        keys: &Keys,
        patience: Duration,
        priority: Option<Priority>,
    ) -> Result<Loaded, Error> {
        let name = self.name_with(venue, keys);
        let tickers = timeout(TICKERS_WITHIN.min(patience / 4), self.tickers(venue, priority)).await.ok().flatten();
        let mut last = Error::new(Reason::Unreachable, "no link of the chain is configured");
        let mut kept = None;
        for link in Link::CHAIN.into_iter().filter(|link| has(*link, keys)) {
            let tried = timeout(patience / 4, self.info(link, venue, keys, priority)).await;
            let tried = tried.unwrap_or_else(|_| Err(Error::new(Reason::TimedOut, "no answer in time")));
            let made = match tried {
                Ok(None) => return Err(Error::new(Reason::Yielded, "the exchange refuses the API key")),
                Ok(Some(info @ Info { standing: Standing::LastGood(reason), .. })) => {
                    kept = Some(info);
                    Err(Error::new(reason, "the exchange gives no newer exchangeInfo"))
                }
                Ok(Some(info)) => self.list(link, info, tickers.clone()).await,
                Err(error) => Err(error),
            };
            match made {
                Ok(loaded) => return Ok(loaded),
                Err(error) => {
                    tracing::debug!(market = %venue, %link, why = %error, "no symbols from this link");
                    last = error;
                }
            }
        }
        match kept.filter(|_| self.lists.peek(&name).is_none()) {
            Some(info) => self.list(Link::LastGood, info, tickers).await,
            // No refusal is a verdict on the list: the last good one stands in for it.
            None if last.reason == Reason::NotFound => Err(last.with_reason(Reason::Upstream)),
            None => Err(last),
        }
    }

    /// The budgets of the testnets, where they are asked.
    pub(crate) fn testnet_budgets(&self) -> impl Iterator<Item = (Venue, &Arc<Budget>)> {
        // COIN-M has no list.
        self.testnet.iter().flat_map(Upstreams::budgets).filter(|(venue, _)| *venue != Venue::CoinM)
    }

    /// What a link has; `None` when the exchange refuses its key.
    async fn info(
        self: &Arc<Self>,
        link: Link,
        venue: Venue,
        keys: &Keys,
        priority: Option<Priority>,
    ) -> Result<Option<Info>, Error> {
        // The whole list, for every user: with `permissions`, or signed, it would be one account's.
        let request = request(self.identities(), venue, "exchangeInfo")?;
        let Some(key) = key(link, keys) else { return self.public_info(&request, priority).await.map(Some) };
        // It may have been refused while this load waited for another with the same key.
        if self.refusals.is_refused(key) {
            return Ok(None);
        }
        let upstreams = match (link, &self.testnet) {
            (Link::Testnet, Some(testnet)) => testnet,
            (Link::Testnet, None) => return Err(Error::new(Reason::Unreachable, "no testnet is configured")),
            _ => &self.loader.upstreams,
        };
        let is_kept = || self.lists.peek(&self.name_with(venue, keys)).is_some();
        let priority = priority.unwrap_or_else(|| Priority::of_load(is_kept()));
        let Some(Received { value, asked_at }) = upstreams.load_as(&request, priority, key.header()).await? else {
            self.refusals.note(key, keys, venue, link);
            return Ok(None);
        };
        let body = value.body;
        self.refusals.forget(key);
        Ok(Some(Info { body, asked_at, standing: Standing::Fresh }))
    }

    /// The exchangeInfo that the drop-in API serves, too: the first that needs it loads it for both.
    async fn public_info(
        self: &Arc<Self>,
        request: &Arc<UpstreamRequest>,
        priority: Option<Priority>,
    ) -> Result<Info, Error> {
        let (chain, asked) = (Arc::clone(self), Arc::clone(request));
        let load = move || async move {
            let has_kept = chain.exchange_info.peek(&asked.key).is_some();
            Ok(chain.loader.load(&asked, priority.unwrap_or(Priority::of_load(has_kept))).await?)
        };
        let answer = self.exchange_info.get_or_load(&request.key, load).await?;
        let standing = match answer.outcome() {
            Outcome::Stale => Standing::Stale,
            Outcome::LastGood(reason) => Standing::LastGood(reason),
            Outcome::Hit(_) | Outcome::Miss | Outcome::Joined | Outcome::Bypass(_) => Standing::Fresh,
        };
        Ok(Info { body: answer.body().clone(), asked_at: answer.source_time(), standing })
    }

    async fn list(&self, link: Link, info: Info, tickers: Option<Bytes>) -> Result<Loaded, Error> {
        let Info { body, asked_at, standing } = info;
        let popular = self.popular.clone();
        // Megabytes of JSON take longer than other requests should wait.
        let made = tokio::task::spawn_blocking(move || prepare(&body, tickers.as_deref(), &popular)).await;
        let made = made.map_err(|why| Error::new(Reason::Panicked, why.to_string()))?;
        let Prepared { rows, count, version } = made.map_err(|why| Error::new(Reason::Malformed, why.to_string()))?;
        tracing::debug!(%link, version, count, "symbols loaded");
        let stamp = Stamp { version, link, refreshed_at: asked_at };
        let loaded = Loaded::from(Value::new(rows).with_meta(stamp.to_text()));
        Ok(match standing {
            Standing::Fresh => loaded,
            Standing::Stale | Standing::LastGood(_) => loaded.fresh_for(MADE_OF_STALE),
        })
    }

    /// The 24 h tickers of all symbols, from the cache if it has any that are young enough.
    async fn tickers(self: &Arc<Self>, venue: Venue, priority: Option<Priority>) -> Option<Bytes> {
        let request = request(self.identities(), venue, "ticker/24hr").ok()?;
        let held = self.tickers.peek(&request.key).filter(|held| held.age() < TICKERS_SERVE_FOR);
        if let Some(held) = held {
            return Some(held.body().clone());
        }
        let (chain, asked) = (Arc::clone(self), Arc::clone(&request));
        let load = move || async move {
            let has_kept = chain.tickers.peek(&asked.key).is_some();
            Ok(chain.loader.load(&asked, priority.unwrap_or(Priority::of_load(has_kept))).await?)
        };
        match self.tickers.get_or_load(&request.key, load).await {
            Ok(tickers) => Some(tickers.body().clone()),
            Err(why) => {
                tracing::debug!(market = %venue, %why, "no tickers: symbols are not ordered by volume");
                None
            }
        }
    }
}

/// The key that a link is asked with.
fn key(link: Link, keys: &Keys) -> Option<&ApiKey> {
    match link {
        Link::Testnet => keys.get(Environment::Testnet),
        Link::Mainnet => keys.get(Environment::Mainnet),
        Link::Public | Link::LastGood => None,
    }
}

/// Whether a link can be asked with these keys.
fn has(link: Link, keys: &Keys) -> bool {
    link == Link::Public || key(link, keys).is_some()
}

/// The request of all symbols at an endpoint of a venue.
pub(crate) fn request(identities: &Identities, venue: Venue, endpoint: &str) -> Result<Arc<UpstreamRequest>, Error> {
    let base = match venue {
        Venue::Spot => "/api/v3/",
        Venue::UsdM => "/fapi/v1/",
        Venue::CoinM => "/dapi/v1/",
    };
    let path = [base, endpoint].concat();
    match plan(identities, venue, Request { is_get: true, path: &path, ..Request::default() }) {
        Plan::Cached(line) => Ok(Arc::clone(line.load())),
        Plan::Local(_) | Plan::Pass(_) | Plan::Candles(_) => {
            Err(Error::new(Reason::NotFound, format!("{path} is not cached")))
        }
    }
}
