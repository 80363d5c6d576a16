//! The engine: everything that answers questions about the exchange, built once.
//!
//! [`Market`](crate::Market) and the gateway are faces of it: what they add is how they are asked.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use lastgood::{Cache, Clock, Region};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::bars::ApplicationBars;
use crate::candles::Candles;
use crate::fear_greed::FearGreed;
use crate::line::{Doubts, Loader};
use crate::regions::Regions;
use crate::streams::{self, Streams};
use crate::symbol_chain::SymbolChain;
use crate::trouble::Troubles;
use crate::upstream::{
    BaseUrl, BudgetShare, ExchangeLoader, UpstreamError, Upstreams, remember_identities, share_bans, watch_health,
};
use crate::warm::{self, Means, Warmer};
use crate::{Budget, Identities, RegionName, Venue};

mod ask;
mod lone;
mod noting;
mod options;

pub use self::ask::{Answered, Asked, Face};
use self::lone::LoneSymbols;
use self::noting::Noting;
pub use self::options::{EngineOptions, SharedBudget, SharedStore};

/// The parts that answer questions about the exchange, and the tasks behind them, which end with it.
pub struct Engine {
    /// The tiers.
    pub cache: Cache,
    /// Where time comes from.
    pub clock: Clock,
    /// The candles of every series.
    pub candles: Candles,
    /// The bars that applications bring.
    pub bars: ApplicationBars,
    /// The exchange's hosts, budgets, pauses and bans.
    pub upstreams: Arc<Upstreams>,
    /// Loads from them.
    pub(crate) loader: Arc<ExchangeLoader>,
    /// The fear & greed index, where it has a host.
    pub fear_greed: Option<FearGreed>,
    /// Where the lists of symbols come from.
    pub symbols: Arc<SymbolChain>,
    /// The streams that keep entries fresh.
    pub streams: Arc<Streams>,
    /// The warming, and how it goes.
    pub warmer: Arc<Warmer>,
    pub(crate) troubles: Arc<Troubles>,
    regions: Regions,
    /// None where a store is shared: a snapshot serves the other processes, too.
    lone: Option<LoneSymbols>,
    /// The part in the budget that processes on one store spend together; none where each has its own.
    budget_share: Option<Arc<BudgetShare>>,
    behind: JoinSet<()>,
}

/// Why an engine cannot be built.
#[derive(Debug)]
#[non_exhaustive]
pub enum EngineError {
    /// A region's policy is impossible.
    Region(lastgood::BuildError),
    /// The hosts of a venue are of different exchanges, or cannot be asked from here.
    Upstream(UpstreamError),
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Region(why) => why.fmt(f),
            Self::Upstream(why) => why.fmt(f),
        }
    }
}

impl Error for EngineError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Region(why) => why.source(),
            Self::Upstream(why) => why.source(),
        }
    }
}

impl From<lastgood::BuildError> for EngineError {
    fn from(why: lastgood::BuildError) -> Self {
        EngineError::Region(why)
    }
}

impl From<UpstreamError> for EngineError {
    fn from(why: UpstreamError) -> Self {
        EngineError::Upstream(why)
    }
}

impl Engine {
    /// Builds an engine over `cache`, which opens the exchange's regions in it. No exchange needs to be there. Nothing is
    /// warmed before [`Warmer::begin`].
    ///
    /// # Errors
    ///
    /// When a policy is impossible, the hosts of a venue are known to be of different exchanges, or the system's certificate
    /// authorities cannot be read.
    pub async fn build(cache: Cache, clock: Clock, options: EngineOptions) -> Result<Engine, EngineError> {
        let regions = Regions::open(|name| cache.region(name.as_str(), options.policy(name)))?;
        let (upstreams, budget_share) = reach_exchange(&options, &clock).await?;
        let troubles = Troubles::new(clock.clone());
        let fear_greed = options.fear_greed(&regions, &troubles, &clock)?;
        // Without an exchange the next start is compared with the last one that had one.
        if let Some(folder) = options.folder.as_ref().filter(|_| options.upstream.has_exchange()) {
            let index = fear_greed.as_ref().map(FearGreed::name);
            remember_identities(folder, upstreams.identities(), index).await;
        }
        let loader = Arc::new(ExchangeLoader {
            upstreams: Arc::clone(&upstreams),
            clock: clock.clone(),
            preset: options.preset,
            klines_fresh_for: options.fresh_for(RegionName::Klines),
            doubts: Doubts::default(),
        });
        let noting = Noting { loader: Arc::clone(&loader), troubles: Arc::clone(&troubles) };
        let klines = regions.of(RegionName::Klines).clone();
        let candles = Candles::new(klines, cache.status().store.is_some(), clock.clone(), Arc::new(noting));
        let with_streams: Vec<Venue> = options.streams.iter().map(|(venue, _)| *venue).collect();
        let streams = Arc::new(Streams::new(&with_streams, &options.upstream.proxies, &candles, &regions, &clock));
        let testnet_bans = options.bans(None);
        let symbols = SymbolChain::new(options.symbols, testnet_bans, (&loader, &troubles), &regions, &clock)?;
        let symbols = Arc::new(symbols);
        let lone = options.shared.is_none().then(|| LoneSymbols::new(clock.clone()));
        let means = Means {
            cache: cache.clone(),
            regions: regions.clone(),
            candles: candles.clone(),
            loader: Arc::clone(&loader),
            symbols: Arc::clone(&symbols),
            clock: clock.clone(),
            namespace: options.namespace,
            shared: options.shared.map(|shared| shared.store),
        };
        let (warmer, rounds) = Warmer::new(&options.warm, means);
        let engine = Engine {
            bars: ApplicationBars::new(regions.of(RegionName::Bars).clone(), clock.clone()),
            cache,
            clock,
            candles,
            upstreams,
            loader,
            fear_greed,
            symbols,
            streams,
            warmer: Arc::new(warmer),
            troubles,
            regions,
            lone,
            budget_share,
            behind: JoinSet::new(),
        };
        Ok(engine.with_tasks(options.streams, rounds))
    }

    /// Starts what goes on behind the questions.
    fn with_tasks(mut self, streamed: Vec<(Venue, Vec<BaseUrl>)>, rounds: mpsc::Receiver<warm::Request>) -> Engine {
        self.behind.spawn(watch_health(Arc::clone(&self.upstreams)));
        self.behind.spawn(share_bans(Arc::clone(&self.upstreams)));
        if let Some(share) = &self.budget_share {
            self.behind.spawn(Arc::clone(share).keep());
        }
        for (venue, hosts) in streamed {
            self.behind.spawn(streams::keep(Arc::clone(&self.streams), venue, hosts));
        }
        self.behind.spawn(warm::keep(Arc::clone(&self.warmer), rounds));
        self
    }

    /// A region of the exchange's.
    pub fn region(&self, name: RegionName) -> &Region {
        self.regions.of(name)
    }

    /// What loads from the exchange.
    pub fn loader(&self) -> Arc<dyn Loader> {
        Arc::clone(&self.loader) as _
    }

    /// Which exchange each venue is of.
    pub fn identities(&self) -> &Identities {
        self.upstreams.identities()
    }

    /// The budget of every exchange that is asked, those of the testnets included. Each has a name of its own.
    pub fn budgets(&self) -> Vec<(Venue, &Arc<Budget>)> {
        let mut budgets: Vec<_> = self.upstreams.budgets().collect();
        for (venue, budget) in self.symbols.testnet_budgets() {
            if budgets.iter().all(|(_, other)| other.name() != budget.name()) {
                budgets.push((venue, budget));
            }
        }
        budgets
    }

    /// Remembers the exchange's pauses and bans, and leaves the budget that others spend too: what comes before
    /// [`Engine::close`].
    pub async fn leave(&self) {
        self.upstreams.remember_stops().await;
        if let Some(share) = &self.budget_share {
            share.leave().await;
        }
    }

    /// Writes the queued changes, for at most `within`, and closes the store.
    pub async fn close(&self, within: Duration) {
        if let Err(why) = self.cache.close(within).await {
            tracing::warn!(%why, "the store was not closed in order; its last writes may be lost");
        }
    }
}

/// The exchange's hosts, with their remembered pauses and bans, and the budgets that others spent.
async fn reach_exchange(
    options: &EngineOptions,
    clock: &Clock,
) -> Result<(Arc<Upstreams>, Option<Arc<BudgetShare>>), EngineError> {
    let bans = options.bans(options.store_of_bans());
    let upstreams = Arc::new(Upstreams::new(&options.upstream, clock, bans)?);
    let budget_share = options.budget_share(&upstreams, clock);
    if let Some(share) = &budget_share {
        share.begin().await;
    }
    upstreams.recall_stops().await;
    Ok((upstreams, budget_share))
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("cache", &self.cache).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use lastgood::http_client::NoTls;
    use lastgood::{Cache, error_chain};
    use lastgood_testing::says_each_part_once;

    use super::*;
    use crate::upstream::Mixed;

    #[test]
    fn why_there_is_no_engine_is_said_once_in_each_part() {
        let mixed = || Mixed { one: "api.binance.com".to_owned(), other: "testnet.binance.vision".to_owned() };
        let refused = || UpstreamError::Tls(NoTls::Authorities(io::Error::other("no such folder")));
        let region = Cache::builder().memory_limit(0).build().err();
        let region = region.map(EngineError::Region);
        let errors = [EngineError::Upstream(mixed().into()), EngineError::Upstream(refused())];
        for error in errors.into_iter().chain(region) {
            says_each_part_once(&error);
            assert_eq!(error_chain(&error), error.to_string());
        }
    }
}
