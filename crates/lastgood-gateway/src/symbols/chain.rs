//! The source chain: the user's own key on the testnet, then on the exchange, then no key, then the last good list.
//!
//! The last link is the cache's own: when every other fails, the load fails, and the region serves what it keeps. Only
//! where it keeps no list yet, one is made of the last good exchangeInfo.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use lastgood::{Answer, Clock, Error, Loaded, Outcome, Reason, Region, Timestamp, Value};
use lastgood_market::credentials::Environment;
use lastgood_market::symbols::{Link, Prepared, Stamp, prepare};
use lastgood_market::upstream::{Asker, BanMemory, Upstreams};
use lastgood_market::{Budget, Priority, RegionName, Venue};
use lastgood_market::{Plan, Request, Source, plan};
use tokio::time::timeout;

use crate::config::Settings;
use crate::own_keys::OwnKeys;
use crate::regions::Regions;

/// Volumes move slowly: tickers of this age still order a list.
const TICKERS_SERVE_FOR: Duration = Duration::from_secs(600);
/// What was made of an exchangeInfo that is past its freshness is soon made again.
const MADE_OF_STALE: Duration = Duration::from_secs(1);
/// The order is not worth a longer wait.
const TICKERS_WITHIN: Duration = Duration::from_secs(1);

/// Loads the lists of symbols.
pub(crate) struct SymbolChain {
    asker: Arc<Asker>,
    /// The testnets, with connections and budgets of their own; none without a key for them.
    testnet: Option<Upstreams>,
    keys: OwnKeys,
    popular: Vec<String>,
    lists: Region,
    exchange_info: Region,
    tickers: Region,
    clock: Clock,
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
    /// What is kept, because the exchange gave none.
    LastGood(Reason),
}

impl SymbolChain {
    /// A chain of the settings' hosts and these keys.
    pub(crate) fn new(
        settings: &Settings,
        keys: OwnKeys,
        asker: &Arc<Asker>,
        regions: &Regions,
        clock: &Clock,
    ) -> Result<Self, String> {
        let bans = BanMemory::new(settings.data_dir.clone(), None, &settings.namespace);
        let testnet = match keys.any(Environment::Testnet) {
            true => Some(Upstreams::new(&on_testnet(settings).upstreams(), clock, bans)?),
            false => None,
        };
        Ok(SymbolChain {
            asker: Arc::clone(asker),
            testnet,
            keys,
            popular: settings.symbols.popular.clone(),
            lists: regions.of(RegionName::Symbols).clone(),
            exchange_info: regions.of(RegionName::ExchangeInfo).clone(),
            tickers: regions.of(RegionName::Ticker24hr).clone(),
            clock: clock.clone(),
        })
    }

    /// The region's key for a venue's list. It names the links, because what a store holds may come from a gateway, or
    /// from a time, with other keys.
    pub(crate) fn name(&self, venue: Venue) -> String {
        let links = Link::CHAIN.into_iter().filter(|link| self.has(*link, venue)).map(Link::as_str);
        format!("{venue}/{}", links.collect::<Vec<_>>().join(","))
    }

    /// The list of a venue that memory keeps.
    pub(crate) fn kept(&self, venue: Venue) -> Option<Answer> {
        self.lists.peek(&self.name(venue))
    }

    /// The list of a venue from the first link that gives one; all of them together take no longer than `patience`.
    /// `priority` is that of every load it takes; by default that of a reader's.
    pub(crate) async fn load(
        self: &Arc<Self>,
        venue: Venue,
        patience: Duration,
        priority: Option<Priority>,
    ) -> Result<Loaded, Error> {
        let tickers = timeout(TICKERS_WITHIN.min(patience / 4), self.tickers(venue, priority)).await.ok().flatten();
        let mut last = Error::new(Reason::Unreachable, "no link of the chain is configured");
        let mut kept = None;
        for link in Link::CHAIN.into_iter().filter(|link| self.has(*link, venue)) {
            let tried = timeout(patience / 4, self.info(link, venue, priority)).await;
            let tried = tried.unwrap_or_else(|_| Err(Error::new(Reason::TimedOut, "no answer in time")));
            let made = match tried {
                Ok(info @ Info { standing: Standing::LastGood(reason), .. }) => {
                    kept = Some(info);
                    Err(Error::new(reason, "the exchange gives no newer exchangeInfo"))
                }
                Ok(info) => self.list(link, info, tickers.clone()).await,
                Err(error) => Err(error),
            };
            match made {
                Ok(loaded) => return Ok(loaded),
                Err(error) => {
                    tracing::warn!(market = %venue, %link, why = %error, "no symbols from this link");
                    last = error;
                }
            }
        }
        match kept.filter(|_| self.kept(venue).is_none()) {
            Some(info) => self.list(Link::LastGood, info, tickers).await,
            // No refusal is a verdict on the list: the last good one stands in for it.
            None if last.reason == Reason::NotFound => Err(Error { reason: Reason::Upstream, ..last }),
            None => Err(last),
        }
    }

    fn key(&self, link: Link, venue: Venue) -> Option<&HeaderValue> {
        match link {
            Link::Testnet => self.keys.get(venue, Environment::Testnet),
            Link::Mainnet => self.keys.get(venue, Environment::Mainnet),
            Link::Public | Link::LastGood => None,
        }
    }

    /// The budgets of the testnets, where they are asked.
    pub(crate) fn testnet_budgets(&self) -> impl Iterator<Item = (Venue, &Arc<Budget>)> {
        // COIN-M has no list.
        self.testnet.iter().flat_map(Upstreams::budgets).filter(|(venue, _)| *venue != Venue::Coin)
    }

    fn has(&self, link: Link, venue: Venue) -> bool {
        link == Link::Public || self.key(link, venue).is_some()
    }

    async fn info(self: &Arc<Self>, link: Link, venue: Venue, priority: Option<Priority>) -> Result<Info, Error> {
        let source = source(venue, "exchangeInfo")?;
        let upstreams = match (link, &self.testnet) {
            (Link::Public | Link::LastGood, _) => return self.public_info(&source, priority).await,
            (Link::Testnet, Some(testnet)) => testnet,
            (Link::Testnet, None) => return Err(Error::new(Reason::Unreachable, "no testnet is configured")),
            (Link::Mainnet, _) => &self.asker.upstreams,
        };
        let asked_at = self.clock.now();
        let priority = priority.unwrap_or_else(|| self.priority(venue));
        let fetched = upstreams.fetch_as(&source, priority, self.key(link, venue)).await?;
        let body = fetched.into_value(&source, self.clock.now())?.body;
        Ok(Info { body, asked_at, standing: Standing::Fresh })
    }

    fn priority(&self, venue: Venue) -> Priority {
        Priority::of_load(self.kept(venue).is_some())
    }

    /// The exchangeInfo that the drop-in API serves, too: whoever comes first loads it for both.
    async fn public_info(self: &Arc<Self>, source: &Arc<Source>, priority: Option<Priority>) -> Result<Info, Error> {
        let (chain, asked) = (Arc::clone(self), Arc::clone(source));
        let load = move || async move {
            let has_kept = chain.exchange_info.peek(&asked.key).is_some();
            chain.asker.load(&asked, priority.unwrap_or(Priority::of_load(has_kept))).await
        };
        let answer = self.exchange_info.get_or_load(&source.key, load).await?;
        let standing = match answer.outcome() {
            Outcome::Stale => Standing::Stale,
            Outcome::LastGood(reason) => Standing::LastGood(reason),
            Outcome::Hit(_) | Outcome::Miss | Outcome::Joined | Outcome::Bypass(_) => Standing::Fresh,
        };
        let age = u64::try_from(answer.age().as_millis()).unwrap_or(u64::MAX);
        let asked_at = Timestamp::from_millis(answer.given_at().as_millis().saturating_sub(age));
        Ok(Info { body: answer.body().clone(), asked_at, standing })
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
        let source = source(venue, "ticker/24hr").ok()?;
        let held = self.tickers.peek(&source.key).filter(|held| held.age() < TICKERS_SERVE_FOR);
        if let Some(held) = held {
            return Some(held.body().clone());
        }
        let (chain, asked) = (Arc::clone(self), Arc::clone(&source));
        let load = move || async move {
            let has_kept = chain.tickers.peek(&asked.key).is_some();
            chain.asker.load(&asked, priority.unwrap_or(Priority::of_load(has_kept))).await
        };
        match self.tickers.get_or_load(&source.key, load).await {
            Ok(tickers) => Some(tickers.body().clone()),
            Err(why) => {
                tracing::debug!(market = %venue, %why, "no tickers: symbols are not ordered by volume");
                None
            }
        }
    }
}

/// The source of all symbols at an endpoint of a venue.
pub(crate) fn source(venue: Venue, endpoint: &str) -> Result<Arc<Source>, Error> {
    let base = match venue {
        Venue::Spot => "/api/v3/",
        Venue::Futures => "/fapi/v1/",
        Venue::Coin => "/dapi/v1/",
    };
    let path = [base, endpoint].concat();
    match plan(venue, Request { is_get: true, path: &path, ..Request::default() }) {
        Plan::Cached(line) => Ok(Arc::clone(line.load())),
        Plan::Local(_) | Plan::Pass(_) | Plan::Candles(_) => {
            Err(Error::new(Reason::NotFound, format!("{path} is not cached")))
        }
    }
}

/// The settings with the testnets in the place of the exchange.
fn on_testnet(settings: &Settings) -> Settings {
    let mut settings = settings.clone();
    settings.binance.spot_url = settings.binance.testnet_spot_url.clone();
    settings.binance.futures_url = settings.binance.testnet_futures_url.clone();
    settings.binance.coin_url = Vec::new();
    settings
}
