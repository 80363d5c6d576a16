//! A declared route, as its parts know it.

use std::sync::Arc;

use lastgood::Region;
use lastgood::condition::Condition;

use crate::config::routes::RouteSetting;
use crate::source::Source;

/// A route: what may be asked, and whom.
pub(crate) struct Route {
    pub(crate) setting: RouteSetting,
    pub(super) region: Region,
    pub(super) links: Vec<Link>,
    /// What distinguishes these sources from others: what was loaded before they were changed is not what they say.
    pub(super) definition: String,
}

impl Route {
    /// The names of its databases, buckets and APIs, as `/health` has them, in the order that they are asked.
    pub(crate) fn sources(&self) -> impl Iterator<Item = &str> {
        self.links.iter().map(|link| link.condition.name())
    }
}

/// A source of a route.
pub(super) struct Link {
    pub(super) source: Arc<dyn Source>,
    /// How the database, bucket or API answers, for all routes over it together.
    pub(super) condition: Arc<Condition>,
    /// Which database, bucket or API it is.
    pub(super) place: String,
    /// Whether the next source is asked when this one says that there is no such thing.
    pub(super) next_on_missing: bool,
}
