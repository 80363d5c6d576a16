//! What routes declare is loaded ahead of its readers: one question at a time, shortly before its freshness ends.

use std::sync::Arc;
use std::time::Duration;

use lastgood::{Cache, Error, Reason};
use tokio::time::{Instant, sleep_until};

use super::route::Route;
use crate::source::Arguments;

/// After a load that failed the next comes so soon, doubled each time up to the schedule.
const AGAIN_AFTER: Duration = Duration::from_secs(2);
/// Nothing is loaded more often than this.
const SHORTEST: Duration = Duration::from_millis(500);

/// A question that is kept warm.
struct Item {
    route: Arc<Route>,
    arguments: Arguments,
    every: Duration,
    due: Instant,
    failures: u32,
}

/// Keeps warm what the routes declare, until the task is dropped.
pub(crate) async fn keep(routes: Vec<Arc<Route>>, cache: Cache) {
    let mut items = items(&routes);
    while let Some(next) = items.iter_mut().min_by_key(|item| item.due) {
        sleep_until(next.due).await;
        let warmed = match cache.is_enabled() {
            true => next.route.warm(&next.arguments, next.every).await,
            false => Ok(false),
        };
        let pause = match warmed {
            Ok(_) => {
                next.failures = 0;
                next.every
            }
            Err(error) => {
                next.failures = next.failures.saturating_add(1);
                tracing::debug!(path = %next.route.setting.path, why = %error, "not warmed");
                next.every.min(AGAIN_AFTER * 2u32.saturating_pow(next.failures.min(10) - 1))
            }
        };
        next.due = Instant::now() + pause.max(SHORTEST);
    }
}

fn items(routes: &[Arc<Route>]) -> Vec<Item> {
    let now = Instant::now();
    let mut items = Vec::new();
    for route in routes {
        for arguments in &route.setting.warm {
            let (arguments, every) = (arguments.clone(), route.every());
            items.push(Item { route: Arc::clone(route), arguments, every, due: now, failures: 0 });
        }
    }
    items
}

impl Route {
    /// The shortest that an answer is fresh by the policy.
    fn shortest_fresh(&self) -> Duration {
        let policy = self.region.policy();
        policy.fresh_for.mul_f64((1.0 - policy.jitter).clamp(0.0, 1.0))
    }

    /// From one load to the next: shortly before the freshness ends, unless the route says otherwise.
    fn every(&self) -> Duration {
        self.setting.warm_every.unwrap_or_else(|| self.shortest_fresh().mul_f64(0.8)).max(SHORTEST)
    }

    async fn warm(self: &Arc<Self>, arguments: &Arguments, every: Duration) -> Result<bool, Error> {
        let key = self.key(arguments);
        // It should last until the next turn; where nothing lasts so long, it is loaded when it has ended.
        let ahead = every + every / 10;
        let ahead = if self.shortest_fresh() > ahead { ahead } else { Duration::ZERO };
        let (route, name, arguments) = (Arc::clone(self), key.clone(), arguments.clone());
        let load = move || async move {
            route.load(&name, &arguments).await.map_err(|error| match error.reason {
                // Readers have the places; they are not to be told that the source failed.
                Reason::Overloaded => Error { reason: Reason::Yielded, ..error },
                _ => error,
            })
        };
        self.region.refresh(&key, ahead, load).await
    }
}
