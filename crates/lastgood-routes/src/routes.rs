//! All declared routes.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use lastgood::condition::Condition;
use lastgood::{Error, Region};

use crate::answer::RouteAnswer;
use crate::connections::Connections;
use crate::error::{RouteError, RouteFault};
use crate::refusal::Refusal;
use crate::route::Route;
use crate::spec::RouteSpec;

/// Why a question has no answer.
#[derive(Clone, Debug)]
pub enum AskError {
    /// No route has the path.
    NoRoute,
    /// A parameter cannot be acted upon.
    Refused(Refusal),
    /// No source answers, and there is no last good answer.
    Failed(Error),
}

impl fmt::Display for AskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRoute => f.write_str("no route has this path"),
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Failed(why) => why.fmt(f),
        }
    }
}

impl std::error::Error for AskError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NoRoute => None,
            // Displayed, it says what these say.
            Self::Refused(refusal) => refusal.source(),
            Self::Failed(why) => why.source(),
        }
    }
}

impl From<Refusal> for AskError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Error> for AskError {
    fn from(why: Error) -> Self {
        Self::Failed(why)
    }
}

/// The declared routes.
#[derive(Default)]
pub struct Routes {
    pub(crate) routes: Vec<Arc<Route>>,
    conditions: Vec<Arc<Condition>>,
}

impl Routes {
    /// Routes over these connections, each in the region that it names.
    ///
    /// # Errors
    ///
    /// When a route names a region or a source that there is not, or asks what cannot be asked, and when two match the same
    /// paths.
    pub fn new(
        specs: &[RouteSpec],
        connections: &Connections,
        regions: &BTreeMap<String, Region>,
    ) -> Result<Self, RouteError> {
        for (at, spec) in specs.iter().enumerate() {
            if let Some(other) = specs[..at].iter().find(|other| other.path.is_ambiguous_with(&spec.path)) {
                return Err(RouteFault::Ambiguous(other.path.to_string(), spec.path.to_string()).into());
            }
        }
        let routes = specs.iter().map(|spec| connections.route(spec, regions).map(Arc::new));
        let routes = routes.collect::<Result<_, RouteFault>>()?;
        Ok(Routes { routes, conditions: connections.conditions().cloned().collect() })
    }

    /// From now on the sources are asked by these connections, with what `specs` say. Kept answers and the
    /// known state of their sources stay; a route that is not among `specs`, or whose sources are asked something else, stays as
    /// it is.
    ///
    /// # Errors
    ///
    /// When a route's source is not among the connections or cannot be asked; then nothing changes.
    pub fn use_connections(&self, specs: &[RouteSpec], connections: &Connections) -> Result<(), RouteError> {
        let mut all = Vec::new();
        for route in &self.routes {
            let spec = specs.iter().find(|spec| spec.path == route.spec.path);
            let spec = spec.filter(|spec| format!("{:?}", spec.sources) == format!("{:?}", route.spec.sources));
            let spec = spec.unwrap_or(&route.spec);
            for (link, source) in route.links.iter().zip(&spec.sources) {
                all.push((link, connections.asked(spec, source)?));
            }
        }
        all.into_iter().for_each(|(link, asked)| link.set_asked(asked));
        Ok(())
    }

    /// What the route of a path answers to a query: from the cache, or from its sources.
    ///
    /// # Errors
    ///
    /// When no route has the path, the query says what cannot be acted upon, or no source answers and there is no last good
    /// answer.
    pub async fn ask(&self, path: &str, query: &str) -> Result<RouteAnswer, AskError> {
        let matching = self.routes.iter().filter(|route| route.spec.path.matches(path));
        // Where two match, one is the special case of the other.
        let route = matching.max_by_key(|route| route.spec.path.fixed_parts()).ok_or(AskError::NoRoute)?;
        let arguments = route.arguments(path, query)?;
        Ok(route.answer(&arguments).await?)
    }

    /// How each declared database, bucket and API answers, as far as it was asked.
    pub fn conditions(&self) -> &[Arc<Condition>] {
        &self.conditions
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.routes.iter()
    }
}
