//! One host of a venue: where it is, how it does, and whose budget it draws on.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lastgood::condition::Condition;
use lastgood::{Clock, Error, Reason, Timestamp};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::health::{CallResult, Health};
use super::options::{BaseUrl, Options};
use crate::budget::Ask;
use crate::{Budget, Priority, Venue};

/// How long a call waits for a place. What has an older answer to serve waits no longer than its readers do (the
/// shortest soft timeout); who has none waits for the burst at a candle's close to pass.
const WAIT_OF_A_REFRESH: Duration = Duration::from_millis(300);
const WAIT_OF_A_DEMAND: Duration = Duration::from_secs(3);
/// How often a call asks whether the first ones were answered.
const FEEL_AGAIN_AFTER: Duration = Duration::from_millis(5);
/// A refusal for want of a place is worth a new try so soon.
const TRY_AGAIN_IN: Duration = Duration::from_millis(500);

/// A host, as it is configured.
pub struct Host {
    /// Where it is.
    pub url: BaseUrl,
    /// Shared with every host of the same exchange: it counts by address, not by host.
    pub budget: Arc<Budget>,
    pub(super) health: Health,
    /// How it answers, by endpoint: as an operator sees it.
    pub condition: Condition,
    places: Places,
    calls: [AtomicU64; CallResult::ALL.len()],
}

/// One venue's hosts, in the order they are preferred.
pub struct VenueUpstream {
    /// The preferred first.
    pub hosts: Vec<Host>,
    /// Whether loads are answered by any host.
    pub condition: Condition,
    /// None without a host.
    budget: Option<Arc<Budget>>,
}

impl VenueUpstream {
    /// The venue of the exchange of that name.
    pub(super) fn new(venue: Venue, exchange: &str, options: &Options, clock: &Clock) -> Self {
        VenueUpstream::at(options.hosts(venue), (venue.as_str(), venue), exchange, options, clock)
    }

    /// What `hosts` are called, whose limits they have until they state their own, and the name of their exchange.
    pub(super) fn at(
        hosts: &[BaseUrl],
        (name, venue): (&str, Venue),
        exchange: &str,
        options: &Options,
        clock: &Clock,
    ) -> Self {
        let budget = Arc::new(Budget::new(format!("{name}@{exchange}"), venue, clock.clone()));
        let host = |url: &BaseUrl| Host {
            url: url.clone(),
            budget: Arc::clone(&budget),
            health: Health::new(),
            condition: Condition::new("host", url.name(), clock.clone()),
            places: Places::new(options.max_concurrent),
            calls: Default::default(),
        };
        let condition = Condition::unlogged("exchange", budget.name(), clock.clone());
        let budget_of = (!hosts.is_empty()).then(|| Arc::clone(&budget));
        VenueUpstream { hosts: hosts.iter().map(host).collect(), condition, budget: budget_of }
    }

    /// The budget of its exchange; none without a host.
    pub fn budgets(&self) -> &[Arc<Budget>] {
        self.budget.as_slice()
    }

    /// The weight used in the minute of `now` at its exchange.
    pub fn used(&self, now: Timestamp) -> u32 {
        self.budget.as_ref().map_or(0, |budget| budget.used(now))
    }

    /// The healthy hosts, the preferred first; where none is, the one that is to be looked at next.
    pub(super) fn in_order(&self) -> Vec<&Host> {
        let healthy: Vec<_> = self.hosts.iter().filter(|host| host.is_healthy()).collect();
        match healthy.is_empty() {
            false => healthy,
            true => self.hosts.iter().min_by_key(|host| host.health.look_at()).into_iter().collect(),
        }
    }
}

/// How many calls to a host are under way. No path has more than three quarters of them, so that one which hangs leaves
/// places to the others.
struct Places {
    all: Arc<Semaphore>,
    of_one: usize,
    by_path: Mutex<HashMap<&'static str, Arc<Semaphore>>>,
}

/// A place among the calls of a path, and among all of the host's.
pub(super) type Place = [OwnedSemaphorePermit; 2];

impl Places {
    fn new(most: usize) -> Places {
        Places { all: Arc::new(Semaphore::new(most)), of_one: most - most / 4, by_path: Mutex::default() }
    }

    /// `None` never: places are not closed.
    async fn of(&self, path: &'static str) -> Option<Place> {
        let of_path = {
            let mut by_path = self.by_path.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(by_path.entry(path).or_insert_with(|| Arc::new(Semaphore::new(self.of_one))))
        };
        Some([of_path.acquire_owned().await.ok()?, Arc::clone(&self.all).acquire_owned().await.ok()?])
    }
}

impl Host {
    /// Whether it is asked in its turn, or passed over.
    pub fn is_healthy(&self) -> bool {
        self.health.is_healthy()
    }

    /// A place among the calls to this host, for one to `path`.
    pub(super) async fn place(&self, ask: Ask, path: &'static str) -> Result<Place, Error> {
        let patience = match ask.priority {
            Priority::Demand => WAIT_OF_A_DEMAND,
            Priority::Refresh | Priority::Warm => WAIT_OF_A_REFRESH,
        };
        let felt = async {
            while self.budget.feels_its_way(ask) {
                tokio::time::sleep(FEEL_AGAIN_AFTER).await;
            }
        };
        // An exchange that says nothing for so long holds no request back: its answers to the first calls are awaited.
        let _ = tokio::time::timeout(patience, felt).await;
        let place = tokio::time::timeout(patience, self.places.of(path)).await;
        place.ok().flatten().ok_or_else(|| {
            let message = format!("too many requests to {} are under way already", self.url.name());
            Error::new(Reason::Overloaded, message).with_retry_after(TRY_AGAIN_IN)
        })
    }

    /// Notes the beginning of a load's call. Loads run in tasks of their own: only their deadline drops one.
    pub(super) fn call(&self) -> Call<'_> {
        Call { host: self, result: CallResult::TimedOut }
    }

    /// Notes the beginning of a call for a client, who may hang up.
    pub(super) fn call_for_client(&self) -> Call<'_> {
        Call { host: self, result: CallResult::GivenUp }
    }

    /// Calls that ended so since the start.
    pub fn calls(&self, result: CallResult) -> u64 {
        self.calls[result as usize].load(Ordering::Relaxed)
    }
}

/// A call under way, and how it ended where it is dropped before its end.
pub(super) struct Call<'a> {
    host: &'a Host,
    result: CallResult,
}

impl Call<'_> {
    pub(super) fn ended(mut self, result: CallResult) {
        self.result = result;
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.host.calls[self.result as usize].fetch_add(1, Ordering::Relaxed);
        if self.host.health.note(self.result) {
            let (host, result) = (self.host.url.name(), self.result.as_str());
            match self.host.health.is_healthy() {
                true => tracing::debug!(host, "the host is asked in its turn again"),
                false => tracing::debug!(host, result, "the host is passed over where there are others"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::super::{BanMemory, Upstreams, exchange_of};
    use super::*;
    use crate::Bucket;

    fn venue(urls: &str) -> VenueUpstream {
        let spot = urls.split(',').map(|url| BaseUrl::parse(url).unwrap()).collect();
        let options = Options { spot, max_concurrent: 2, ..Options::default() };
        let exchange = exchange_of(&options.spot).unwrap();
        VenueUpstream::new(Venue::Spot, &exchange, &options, &Clock::paused_with_tokio())
    }

    #[tokio::test]
    async fn hosts_of_one_exchange_share_a_budget_and_testnets_do_not() {
        let name = |urls: &str| venue(urls).budgets().iter().map(|budget| budget.name().to_owned()).collect::<String>();
        let spot = venue("https://api.binance.com,https://api-gcp.binance.com");
        spot.hosts[1].budget.stop(Reason::Banned, Duration::from_secs(60));
        assert!(spot.hosts[0].budget.stopped().is_some());
        assert_eq!(spot.budgets().len(), 1);
        assert_eq!(name("https://api.binance.com,https://mirror.example"), "spot@binance.com");
        assert_eq!(name("https://testnet.binance.vision"), "spot@testnet.binance.vision");
        assert_eq!(name("http://127.0.0.1:8091"), "spot@127.0.0.1:8091");
        assert_eq!(name("http://localhost:80,http://[::1]:81"), "spot@localhost:80");
        let mixed = "https://api.binance.com,https://testnet.binance.vision";
        let spot = mixed.split(',').map(|url| BaseUrl::parse(url).unwrap()).collect();
        let options = Options { spot, ..Options::default() };
        let bans = BanMemory::without_file(None, "lastgood");
        let upstreams = Upstreams::new(&options, &Clock::paused_with_tokio(), bans);
        assert!(upstreams.is_err_and(|why| why.to_string().contains("different exchanges")));
    }

    #[tokio::test]
    async fn healthy_bases_come_first_and_one_is_always_left() {
        let spot = venue("http://a:1,http://b:1,http://c:1");
        let order = || spot.in_order().iter().map(|host| host.url.host().to_owned()).collect::<String>();
        assert_eq!(order(), "abc");
        spot.hosts[0].call().ended(CallResult::Unreachable);
        assert_eq!(order(), "bc");
        spot.hosts[1].call().ended(CallResult::Unreachable);
        (0..3).for_each(|_| drop(spot.hosts[2].call()));
        assert_eq!(order(), "a");
        assert_eq!(spot.hosts[2].calls(CallResult::TimedOut), 3);
        spot.hosts[0].call().ended(CallResult::Answered);
        (0..10).for_each(|_| drop(spot.hosts[0].call_for_client()));
        assert_eq!(order(), "a", "clients that hang up say nothing of the host");
        assert_eq!(spot.hosts[0].calls(CallResult::GivenUp), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_bulkhead_waits_a_while_and_then_says_so() {
        let spot = venue("http://a:1");
        let host = &spot.hosts[0];
        let ask = |priority| Ask { bucket: Bucket::Weight, weight: 1, priority, frequency: 0 };
        let first = host.place(ask(Priority::Demand), "/a").await.unwrap();
        let _second = host.place(ask(Priority::Demand), "/a").await.unwrap();
        let refused = host.place(ask(Priority::Refresh), "/b").await.unwrap_err();
        assert_eq!((refused.reason, refused.retry_after), (Reason::Overloaded, Some(TRY_AGAIN_IN)));
        let freed = async {
            tokio::time::sleep(Duration::from_secs(2)).await;
            drop(first);
        };
        let (waited, ()) = tokio::join!(host.place(ask(Priority::Demand), "/a"), freed);
        assert!(waited.is_ok());
    }

    #[test]
    fn a_path_that_hangs_leaves_places_to_the_others() {
        let places = Places::new(64);
        let taken: Vec<_> = (0..).map_while(|_| places.of("/hangs").now_or_never()).collect();
        assert_eq!(taken.len(), 48);
        let others: Vec<_> = (0..).map_while(|_| places.of("/other").now_or_never()).collect();
        assert_eq!(others.len(), 16);
        drop(taken);
        assert!(places.of("/hangs").now_or_never().is_some(), "each place is given back");
        assert!([1, 2, 3].map(|most| Places::new(most).of_one).into_iter().eq([1, 2, 3]), "never none");
    }
}
