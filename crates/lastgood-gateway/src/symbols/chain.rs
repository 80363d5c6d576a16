//! The source chain: the user's own key on the testnet, then on the exchange, then no key, then the last good list.
//!
//! The last link is the cache's own: when every other fails, the load fails, and the region serves what it keeps.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use lastgood::{Clock, Error, Freshness, Loaded, Reason, Region, Timestamp, Value};
use lastgood_market::credentials::Environment;
use lastgood_market::plan::{Plan, Request, Source, plan};
use lastgood_market::symbols::{Link, Prepared, Stamp, prepare};
use lastgood_market::{RegionName, Venue};
use tokio::time::timeout;

use crate::config::Settings;
use crate::own_keys::OwnKeys;
use crate::upstream::Upstreams;

/// Volumes move slowly: tickers of this age still order a list.
const TICKERS_SERVE_FOR: Duration = Duration::from_secs(600);
/// The order is not worth a longer wait.
const TICKERS_WITHIN: Duration = Duration::from_secs(1);

/// Loads the lists of symbols.
pub(crate) struct SymbolChain {
    exchange: Arc<Upstreams>,
    /// The testnets, with connections and budgets of their own; none without a key for them.
    testnet: Option<Upstreams>,
    keys: OwnKeys,
    popular: Vec<String>,
    exchange_info: Region,
    tickers: Region,
    clock: Clock,
}

/// An exchangeInfo and when the exchange was asked for it.
struct Info {
    body: Bytes,
    asked_at: Timestamp,
}

impl SymbolChain {
    /// A chain of the settings' hosts and these keys; `regions` are in the order of [`RegionName::ALL`].
    pub(crate) fn new(
        settings: &Settings,
        keys: OwnKeys,
        exchange: &Arc<Upstreams>,
        regions: &[Region],
        clock: &Clock,
    ) -> Result<Self, String> {
        let testnet = match keys.any(Environment::Testnet) {
            true => Some(Upstreams::new(&on_testnet(settings), clock)?),
            false => None,
        };
        Ok(SymbolChain {
            exchange: Arc::clone(exchange),
            testnet,
            keys,
            popular: settings.symbols.popular.clone(),
            exchange_info: regions[RegionName::ExchangeInfo as usize].clone(),
            tickers: regions[RegionName::Ticker24hr as usize].clone(),
            clock: clock.clone(),
        })
    }

    /// The list of a venue from the first link that gives one; all of them together take no longer than `patience`.
    pub(super) async fn load(self: &Arc<Self>, venue: Venue, patience: Duration) -> Result<Loaded, Error> {
        let tickers = timeout(TICKERS_WITHIN.min(patience / 4), self.tickers(venue)).await.ok().flatten();
        let mut last = Error::new(Reason::Unreachable, "no link of the chain is configured");
        for link in Link::ALL.into_iter().filter(|link| self.has(*link, venue)) {
            let tried = timeout(patience / 4, self.info(link, venue)).await;
            let tried = tried.unwrap_or_else(|_| Err(Error::new(Reason::TimedOut, "no answer in time")));
            let made = match tried {
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
        // No refusal is a verdict on the list: the last good one stands in for it.
        if last.reason == Reason::NotFound {
            last.reason = Reason::Upstream;
        }
        Err(last)
    }

    fn key(&self, link: Link, venue: Venue) -> Option<&HeaderValue> {
        match link {
            Link::Testnet => self.keys.get(venue, Environment::Testnet),
            Link::Mainnet => self.keys.get(venue, Environment::Mainnet),
            Link::Public => None,
        }
    }

    fn has(&self, link: Link, venue: Venue) -> bool {
        link == Link::Public || self.key(link, venue).is_some()
    }

    async fn info(&self, link: Link, venue: Venue) -> Result<Info, Error> {
        let source = source(venue, "exchangeInfo")?;
        let held = match link {
            Link::Public => self.exchange_info.peek(&source.key),
            Link::Testnet | Link::Mainnet => None,
        };
        if let Some(held) = held.filter(|held| held.freshness() == Freshness::Fresh) {
            let asked_at = Timestamp::from_millis(held.given_at().as_millis() - held.age().as_millis() as u64);
            return Ok(Info { body: held.body().clone(), asked_at });
        }
        let upstreams = match (link, &self.testnet) {
            (Link::Testnet, Some(testnet)) => testnet,
            (Link::Testnet, None) => return Err(Error::new(Reason::Unreachable, "no testnet is configured")),
            (Link::Mainnet | Link::Public, _) => &self.exchange,
        };
        let asked_at = self.clock.now();
        let fetched = upstreams.fetch_as(&source, self.key(link, venue)).await?;
        let value = fetched.into_value(&source, self.clock.now())?;
        upstreams.venue(venue).budget.learn_limit(&value.body);
        let body = value.body.clone();
        if link == Link::Public {
            // What was fetched without a key is what the drop-in API serves, too.
            self.exchange_info.put(&source.key, Loaded::from(value)).await;
        }
        Ok(Info { body, asked_at })
    }

    async fn list(&self, link: Link, info: Info, tickers: Option<Bytes>) -> Result<Loaded, Error> {
        let Info { body, asked_at } = info;
        let popular = self.popular.clone();
        // Megabytes of JSON take longer than other requests should wait.
        let made = tokio::task::spawn_blocking(move || prepare(&body, tickers.as_deref(), &popular)).await;
        let made = made.map_err(|why| Error::new(Reason::Panicked, why.to_string()))?;
        let Prepared { rows, count, version } = made.map_err(|why| Error::new(Reason::Malformed, why.to_string()))?;
        tracing::debug!(%link, version, count, "symbols loaded");
        let stamp = Stamp { version, link, refreshed_at: asked_at };
        Ok(Loaded::from(Value::new(rows).with_meta(stamp.to_text())))
    }

    /// The 24 h tickers of all symbols, from the cache if it has any that are young enough.
    async fn tickers(self: &Arc<Self>, venue: Venue) -> Option<Bytes> {
        let source = source(venue, "ticker/24hr").ok()?;
        let held = self.tickers.peek(&source.key).filter(|held| held.age() < TICKERS_SERVE_FOR);
        if let Some(held) = held {
            return Some(held.body().clone());
        }
        let (chain, asked) = (Arc::clone(self), Arc::clone(&source));
        let load = move || async move {
            let fetched = chain.exchange.fetch(&asked).await?;
            Ok(Loaded::from(fetched.into_value(&asked, chain.clock.now())?))
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
fn source(venue: Venue, endpoint: &str) -> Result<Arc<Source>, Error> {
    let base = match venue {
        Venue::Spot => "/api/v3/",
        Venue::Futures => "/fapi/v1/",
        Venue::Coin => "/dapi/v1/",
    };
    let path = [base, endpoint].concat();
    match plan(venue, Request { is_get: true, path: &path, ..Request::default() }) {
        Plan::Cached { load, .. } => Ok(load),
        Plan::Local(_) | Plan::Pass(_) => Err(Error::new(Reason::NotFound, format!("{path} is not cached"))),
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
