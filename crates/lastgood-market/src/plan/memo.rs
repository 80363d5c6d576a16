//! Plans that were made before: what bots ask, they ask again in the same words.

use std::sync::Arc;

use quick_cache::sync::Cache;

use super::{Plan, Request, plan};
use crate::identity::Identities;
use crate::venue::Venue;

/// Plans by the words of their questions. A plan follows from the question and the exchange alone, so it may be shared by all
/// who ask.
#[derive(Debug)]
pub struct Plans {
    known: Cache<Box<str>, Arc<Plan>>,
    identities: Identities,
}

/// How many plans are kept; a plan takes one or two kilobytes.
const PLANS: usize = 8_192;
/// Longer questions are planned each time, so that the plans' keys stay small.
const LONGEST: usize = 512;

impl Plans {
    /// No plans yet; answers will be kept as those of these exchanges.
    pub fn new(identities: Identities) -> Self {
        Plans { known: Cache::new(PLANS), identities }
    }

    /// The exchanges whose answers are planned for.
    pub fn identities(&self) -> &Identities {
        &self.identities
    }

    /// The plan of [`plan()`](super::plan()) for a request whose path and query together read `target`.
    pub fn plan(&self, venue: Venue, target: &str, request: Request<'_>) -> Arc<Plan> {
        if !request.is_all_in_target() || target.len() > LONGEST {
            return Arc::new(plan(&self.identities, venue, request));
        }
        if let Some(known) = self.known.get(target) {
            return known;
        }
        let made = Arc::new(plan(&self.identities, venue, request));
        // What passes through may be signed, and no signature is kept anywhere.
        if matches!(*made, Plan::Cached(_) | Plan::Candles(_)) {
            self.known.insert(target.into(), Arc::clone(&made));
        }
        made
    }

    /// How many plans are kept.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether none are.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan_of(plans: &Plans, target: &str, time_unit: Option<&str>) -> Arc<Plan> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        plans.plan(Venue::Spot, target, Request { is_get: true, path, query, time_unit, binary: false })
    }

    #[test]
    fn a_question_is_planned_once() {
        let plans = Plans::new(Identities::public());
        let first = plan_of(&plans, "/api/v3/avgPrice?symbol=X", None);
        assert!(Arc::ptr_eq(&first, &plan_of(&plans, "/api/v3/avgPrice?symbol=X", None)));
        assert_ne!(first, plan_of(&plans, "/api/v3/avgPrice?symbol=Y", None));
        assert_ne!(first, plan_of(&plans, "/api/v3/avgPrice?symbol=X", Some("MICROSECOND")));
    }

    #[test]
    fn nothing_signed_or_long_is_kept_and_the_rest_is_bounded() {
        let plans = Plans::new(Identities::public());
        plan_of(&plans, "/api/v3/account?timestamp=1&signature=abc", None);
        plan_of(&plans, &format!("/api/v3/avgPrice?symbol={}", "X".repeat(600)), None);
        assert!(plans.is_empty());
        for number in 0..3 * PLANS {
            plan_of(&plans, &format!("/api/v3/avgPrice?symbol=X{number}"), None);
        }
        assert!(plans.len() <= PLANS);
    }
}
