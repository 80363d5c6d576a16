//! All declared routes.

use std::collections::BTreeMap;
use std::sync::Arc;

use lastgood::Region;
use lastgood::condition::Condition;

use super::connections::Connections;
use super::error::RouteError;
use super::route::Route;
use super::spec::RouteSpec;

/// The declared routes.
#[derive(Default)]
pub(crate) struct Routes {
    pub(super) routes: Vec<Arc<Route>>,
    conditions: Vec<Arc<Condition>>,
}

impl Routes {
    /// Routes over these connections, each in the region that it names.
    ///
    /// # Errors
    ///
    /// When a route names a region or a source that there is not, or asks what cannot be asked.
    pub(crate) fn new(
        specs: &[RouteSpec],
        connections: &Connections,
        regions: &BTreeMap<String, Region>,
    ) -> Result<Self, RouteError> {
        let routes = specs.iter().map(|spec| connections.route(spec, regions).map(Arc::new));
        let routes = routes.collect::<Result<_, _>>()?;
        Ok(Routes { routes, conditions: connections.conditions().cloned().collect() })
    }

    /// How each declared database, bucket and API answers, as far as it was asked.
    pub(crate) fn conditions(&self) -> &[Arc<Condition>] {
        &self.conditions
    }

    /// Each of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.routes.iter()
    }
}
