//! Targets of declared routes that memory has answered before, found as they are written: their arguments are not read again.

use std::sync::Arc;

use http::{Request, Uri};
use lastgood::{Outcome, Tier};
use lastgood_routes::{Arguments, Route, RouteAnswer};
use quick_cache::sync::Cache;

use super::answer;
use crate::own_site;
use crate::query::target;
use crate::response::payload::Reply;

/// The known targets: the route of each, and the key of its answer.
pub(crate) struct KnownTargets(Cache<Box<str>, Arc<Known>>);

struct Known {
    route: Arc<Route>,
    key: String,
}

/// How many are known; each takes some hundred bytes.
const TARGETS: usize = 8_192;
/// Longer ones are not remembered.
const LONGEST: usize = 512;

impl Default for KnownTargets {
    fn default() -> KnownTargets {
        KnownTargets(Cache::new(TARGETS))
    }
}

impl KnownTargets {
    /// The answer to a `GET` of a known target, where memory holds it fresh. Any other answer is the handler's to give, behind
    /// the router.
    pub(crate) fn answer<B>(&self, request: &Request<B>) -> Option<Reply> {
        let known = self.0.get(target(request.uri()))?;
        known.route.hit(&known.key, |answered| answer::at_once(answered, request.headers()))
    }

    /// Remembers the target of an answer of memory.
    pub(super) fn learn(&self, uri: &Uri, route: &Arc<Route>, arguments: &Arguments, answered: &RouteAnswer) {
        let target = target(uri);
        let is_hit = answered.answer().outcome() == Outcome::Hit(Tier::Memory);
        if is_hit && target.len() <= LONGEST && !own_site::is_inside(uri.path()) && self.0.get(target).is_none() {
            let known = Known { route: Arc::clone(route), key: route.key(arguments) };
            self.0.insert(target.into(), Arc::new(known));
        }
    }
}
