//! What routes declare is loaded ahead of its readers: one question at a time, shortly before its freshness ends.

use std::sync::Arc;
use std::time::Duration;

use lastgood::store::Store;
use lastgood::warm::{Lease, TRIES, Tally, Turn, some_of};
use lastgood::{Cache, Clock, Error, Freshness, Reason};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::arguments::{Argument, Arguments};
use crate::key::definition;
use crate::route::Route;
use crate::routes::Routes;

/// After a load that failed the next comes so soon, doubled each time up to the schedule.
const AGAIN_AFTER: Duration = Duration::from_secs(2);
/// Nothing is loaded more often than this.
const SHORTEST: Duration = Duration::from_millis(500);

/// A part of what routes keep warm; all of it by default.
#[derive(Debug, Default)]
pub struct Wanted {
    /// Of this region.
    pub region: Option<String>,
    /// With this value of a parameter, in whatever case.
    pub value: Option<String>,
}

impl Wanted {
    fn takes(&self, item: &Item) -> bool {
        let is =
            |value: &String| item.arguments.0.iter().any(|(_, other)| other.to_string().eq_ignore_ascii_case(value));
        self.region.as_deref().is_none_or(|region| region == item.route.region.name())
            && self.value.as_ref().is_none_or(is)
    }
}

impl Routes {
    /// The regions that are kept warm.
    pub fn warm_regions(&self) -> impl Iterator<Item = &str> {
        self.iter().filter(|route| !route.spec.warm.is_empty()).map(|route| route.region.name())
    }

    /// Loads now the questions that `wanted` takes and that are not fresh for long enough; those not reached within
    /// `time` are refused. Why something was left out is said of the last that was.
    pub async fn warm(&self, wanted: &Wanted, time: Duration) -> (Tally, Option<String>) {
        let items = self.wanted(wanted);
        let (mut tally, end) = (Tally { of: items.len() as u64, ..Tally::default() }, Instant::now() + time);
        let mut why = None;
        for item in items {
            match timeout_at(end, item.route.warm(&item.arguments, item.every)).await {
                Ok(Ok(true)) => tally.loaded += 1,
                Ok(Ok(false)) => tally.fresh += 1,
                Ok(Err(error)) => {
                    *if error.reason == Reason::Yielded { &mut tally.refused } else { &mut tally.failed } += 1;
                    why = Some(format!("{}: {error}", item.words()));
                }
                Err(_) => {
                    tally.refused += 1;
                    why = Some(format!("{}: there was no time for it within {} s", item.words(), time.as_secs()));
                }
            }
        }
        (tally, why)
    }

    /// How much `wanted` takes, and how much of it would be loaded, by what memory holds.
    pub fn to_be_warmed(&self, wanted: &Wanted) -> (u64, u64) {
        let items = self.wanted(wanted);
        let due = items.iter().filter(|item| !item.route.is_warm(&item.arguments, item.every)).count();
        (items.len() as u64, due as u64)
    }

    /// Keeps the declared questions warm, until it is dropped. Of processes that share a store one at a time loads a
    /// question; the others take what it put there.
    pub fn keep_warm(
        &self,
        cache: Cache,
        clock: Clock,
        shared: Option<SharedTurns>,
    ) -> impl Future<Output = ()> + Send + use<> {
        keep(self.routes.clone(), cache, clock, shared)
    }

    fn wanted(&self, wanted: &Wanted) -> Vec<Item> {
        items(&self.routes).into_iter().filter(|item| wanted.takes(item)).collect()
    }
}

/// A question that is kept warm.
struct Item {
    route: Arc<Route>,
    arguments: Arguments,
    every: Duration,
    due: Instant,
    failures: u32,
    /// Whose turn it is to load it, among gateways that share a store.
    lease: Option<Lease>,
}

/// The store that other gateways may use, too, and the namespace of its keys.
pub struct SharedTurns {
    /// The store.
    pub store: Arc<dyn Store>,
    /// Before each of the keys.
    pub namespace: String,
}

impl SharedTurns {
    fn of(&self, item: &Item) -> Lease {
        let Item { route, arguments, every, .. } = item;
        let asked = [route.region.name(), &route.definition, &route.key(arguments), &every.as_millis().to_string()];
        Lease::new(Arc::clone(&self.store), &self.namespace, &definition(&asked.join("\n")))
    }
}

async fn keep(routes: Vec<Arc<Route>>, cache: Cache, clock: Clock, shared: Option<SharedTurns>) {
    let mut items = items(&routes);
    for item in &mut items {
        item.lease = shared.as_ref().map(|shared| shared.of(item));
    }
    // The store may not be connected when a gateway starts: it is waited for once, not by each question.
    let mut tries = TRIES;
    while let Some(next) = items.iter_mut().min_by_key(|item| item.due) {
        sleep_until(next.due).await;
        let warmed = match cache.is_enabled() {
            true => next.warm_in_turn(&clock, std::mem::replace(&mut tries, 1)).await,
            false => Ok(next.every),
        };
        let pause = match warmed {
            Ok(pause) => {
                next.failures = 0;
                pause
            }
            Err(error) => {
                next.failures = next.failures.saturating_add(1);
                tracing::debug!(path = %next.route.spec.path, why = %error, "not warmed");
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
        for arguments in &route.spec.warm {
            let (arguments, every) = (arguments.clone(), route.every());
            items.push(Item { route: Arc::clone(route), arguments, every, due: now, failures: 0, lease: None });
        }
    }
    items
}

impl Item {
    /// Its region, and what of it, for people.
    fn words(&self) -> String {
        let given = self.arguments.0.iter().filter(|(_, value)| *value != Argument::Absent);
        let values: Vec<String> = given.map(|(name, value)| format!("{name} = {value}")).collect();
        let with = if values.is_empty() { String::new() } else { format!(" with {}", values.join(", ")) };
        format!("{} of {}{with}", self.route.region.name(), self.route.spec.path)
    }

    /// Loads the answer if it is this gateway's turn, else takes what another put into the store. Says how long to wait for
    /// the next turn.
    async fn warm_in_turn(&mut self, clock: &Clock, tries: usize) -> Result<Duration, Error> {
        let Some(lease) = &self.lease else {
            return self.route.warm(&self.arguments, self.every).await.map(|_| self.every);
        };
        let began = clock.now();
        if let Turn::Theirs(wait) = lease.take(clock, self.every, tries).await {
            self.route.take_stored(&self.arguments, self.every).await;
            let wait = wait.min(self.every);
            // A little later than the other's next turn, so that it stays the other's while that is up.
            return Ok(wait + wait / 20 + some_of(wait / 5));
        }
        let warmed = lease.while_ours(clock, self.route.warm(&self.arguments, self.every)).await;
        lease.give_up(clock, warmed.is_ok().then_some(began), self.every).await;
        warmed.map(|_| self.every.saturating_sub(clock.now().since(began)))
    }
}

impl Route {
    /// The shortest that an answer is fresh by the policy.
    fn shortest_fresh(&self) -> Duration {
        let policy = self.region.policy();
        self.spec.fresh_for.unwrap_or(policy.fresh_for).mul_f64((1.0 - policy.jitter).clamp(0.0, 1.0))
    }

    /// From one load to the next: shortly before the freshness ends, unless the route says otherwise.
    fn every(&self) -> Duration {
        self.spec.warm_every.unwrap_or_else(|| self.shortest_fresh().mul_f64(0.8)).max(SHORTEST)
    }

    /// For how long an answer should stay fresh to be left alone: until the next turn; where nothing lasts so long, it is
    /// loaded when it has ended.
    fn ahead(&self, every: Duration) -> Duration {
        let ahead = every + every / 10;
        if self.shortest_fresh() > ahead { ahead } else { Duration::ZERO }
    }

    fn is_warm(&self, arguments: &Arguments, every: Duration) -> bool {
        let held = self.region.peek(&self.key(arguments)).filter(|held| held.freshness() == Freshness::Fresh);
        held.is_some_and(|held| held.fresh_for() > self.ahead(every))
    }

    /// Takes the answer of the store into memory, if it is fresh for long enough. Asks no source.
    async fn take_stored(&self, arguments: &Arguments, every: Duration) {
        if self.is_warm(arguments, every) {
            return;
        }
        let found = self.region.newest(&self.key(arguments)).await;
        if !self.is_warm(arguments, every) {
            let why = found.err().map(|why| why.to_string());
            tracing::debug!(path = %self.spec.path, why, "another gateway has not loaded it yet");
        }
    }

    async fn warm(self: &Arc<Self>, arguments: &Arguments, every: Duration) -> Result<bool, Error> {
        let (key, ahead) = (self.key(arguments), self.ahead(every));
        let (route, name, arguments) = (Arc::clone(self), key.clone(), arguments.clone());
        let load = move || async move {
            let loaded = route.load(&name, &arguments).await.map_err(|error| match error.reason {
                // Readers have the places; they must not see a failure of the source.
                Reason::Overloaded => error.with_reason(Reason::Yielded),
                _ => error,
            });
            Ok(loaded?)
        };
        self.region.refresh(&key, ahead, load).await
    }
}
