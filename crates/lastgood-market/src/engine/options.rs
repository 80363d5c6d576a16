//! What an engine is built from.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lastgood::store::Store;
use lastgood::{Clock, Policy};

use crate::fear_greed::FearGreed;
use crate::region::PolicyOverride;
use crate::regions::Regions;
use crate::symbol_chain::SymbolOptions;
use crate::trouble::Troubles;
use crate::upstream::{BanMemory, BaseUrl, BudgetShare, Options, SharePace, SiteClient, UpstreamError, Upstreams};
use crate::warm::WarmOptions;
use crate::{Preset, RegionName, Venue};

/// What an engine is built from, besides its cache.
#[derive(Default)]
pub struct EngineOptions {
    /// What the keys of the cache begin with in the store.
    pub namespace: String,
    /// What kind of use the freshness times are for.
    pub preset: Preset,
    /// The configured regions, in place of the preset's.
    pub overrides: HashMap<RegionName, PolicyOverride>,
    /// Where the exchange is, and how it is asked.
    pub upstream: Options,
    /// Where the fear & greed index is. None: there is no index.
    pub fear_greed: Option<BaseUrl>,
    /// Where the streams of venues are, by `wss://` URL. A venue that is not here has none.
    pub streams: Vec<(Venue, Vec<BaseUrl>)>,
    /// Where the exchange's pauses and bans outlive the process. None: nowhere.
    pub folder: Option<PathBuf>,
    /// The store of the cache, where other processes may use it too.
    pub shared: Option<SharedStore>,
    /// How lists of symbols are made.
    pub symbols: SymbolOptions,
    /// What to warm.
    pub warm: WarmOptions,
}

/// A store that other processes may use too.
#[derive(Clone)]
pub struct SharedStore {
    /// The store.
    pub store: Arc<dyn Store>,
    /// Whether the processes on it leave by one public address, so that the exchange's pauses and bans are of all of them.
    pub one_address: bool,
    /// This process's part in the budget that they spend together. None: it spends its own.
    pub budget: Option<SharedBudget>,
}

/// A process's part in the budget of several.
#[derive(Clone, Debug)]
pub struct SharedBudget {
    /// What tells the process from the others.
    pub node: String,
    /// How often they tell each other what they spent.
    pub pace: SharePace,
}

impl EngineOptions {
    /// How long answers of a region are fresh, where that is configured.
    pub(super) fn fresh_for(&self, name: RegionName) -> Option<Duration> {
        self.overrides.get(&name)?.fresh_for
    }

    pub(super) fn policy(&self, name: RegionName) -> Policy {
        let policy = name.policy(self.preset);
        match self.overrides.get(&name) {
            Some(configured) => configured.on(policy),
            None => policy,
        }
    }

    /// The store through which others hear of pauses and bans.
    pub(super) fn store_of_bans(&self) -> Option<Arc<dyn Store>> {
        self.shared.as_ref().filter(|shared| shared.one_address).map(|shared| Arc::clone(&shared.store))
    }

    /// What remembers pauses and bans, in `shared` too if there is such a store.
    pub(super) fn bans(&self, shared: Option<Arc<dyn Store>>) -> BanMemory {
        match self.folder.clone() {
            Some(folder) => BanMemory::new(folder, shared, &self.namespace),
            None => BanMemory::without_file(shared, &self.namespace),
        }
    }

    pub(super) fn budget_share(&self, upstreams: &Arc<Upstreams>, clock: &Clock) -> Option<Arc<BudgetShare>> {
        let SharedStore { store, budget, .. } = self.shared.as_ref()?;
        let SharedBudget { node, pace } = budget.as_ref()?;
        let (upstreams, store) = (Arc::clone(upstreams), Arc::clone(store));
        Some(Arc::new(BudgetShare::new(upstreams, store, &self.namespace, node, *pace, clock.clone())))
    }

    pub(super) fn fear_greed(
        &self,
        regions: &Regions,
        troubles: &Arc<Troubles>,
        clock: &Clock,
    ) -> Result<Option<FearGreed>, UpstreamError> {
        let Some(base) = self.fear_greed.clone() else { return Ok(None) };
        Ok(Some(FearGreed {
            site: Arc::new(SiteClient::new(base, &self.upstream, clock)?),
            region: regions.of(RegionName::FearGreed).clone(),
            dates_itself: self.preset == Preset::Trading && self.fresh_for(RegionName::FearGreed).is_none(),
            troubles: Arc::clone(troubles),
        }))
    }
}
