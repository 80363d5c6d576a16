//! One base of a venue: where it is, how it does, and whose budget it draws on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lastgood::{Clock, Error, Reason, Timestamp};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::health::{CallResult, Health};
use super::options::{BaseUrl, Options};
use crate::{Budget, Priority, Venue};

/// How long a call waits for a place. What has an older answer to serve waits no longer than its readers do (the
/// shortest soft timeout); who has none waits for the burst at a candle's close to pass.
const WAIT_OF_A_REFRESH: Duration = Duration::from_millis(300);
const WAIT_OF_A_DEMAND: Duration = Duration::from_secs(3);
/// How often a call asks whether the first ones were answered.
const FEEL_AGAIN_AFTER: Duration = Duration::from_millis(5);
/// A refusal for want of a place is worth a new try so soon.
const TRY_AGAIN_IN: Duration = Duration::from_millis(500);

/// A base, as it is configured.
pub struct Base {
    /// Where it is.
    pub url: BaseUrl,
    /// Shared with every base of the same exchange: it counts by address, not by host.
    pub budget: Arc<Budget>,
    /// How it does.
    pub health: Health,
    permits: Arc<Semaphore>,
    calls: [AtomicU64; CallResult::ALL.len()],
}

/// One venue's bases, in the order they are preferred.
pub struct VenueUpstream {
    /// The preferred first.
    pub bases: Vec<Base>,
    budgets: Vec<Arc<Budget>>,
}

impl VenueUpstream {
    pub(super) fn new(venue: Venue, options: &Options, clock: &Clock) -> Self {
        VenueUpstream::at(options.bases(venue), (venue.as_str(), venue), options, clock)
    }

    /// What `bases` are called, and whose limits they have until they state their own.
    pub(super) fn at(bases: &[BaseUrl], (name, venue): (&str, Venue), options: &Options, clock: &Clock) -> Self {
        let mut budgets: Vec<(bool, Arc<Budget>)> = Vec::new();
        let mut budget_of = |url: &BaseUrl| {
            let is_test = is_test_exchange(url.host());
            if let Some((_, budget)) = budgets.iter().find(|(other, _)| *other == is_test) {
                return Arc::clone(budget);
            }
            let budget = Arc::new(Budget::new(format!("{name}@{}", domain(url)), venue, clock.clone()));
            budgets.push((is_test, Arc::clone(&budget)));
            budget
        };
        let base = |url: &BaseUrl| Base {
            url: url.clone(),
            budget: budget_of(url),
            health: Health::new(),
            permits: Arc::new(Semaphore::new(options.max_concurrent)),
            calls: Default::default(),
        };
        let bases = bases.iter().map(base).collect();
        VenueUpstream { bases, budgets: budgets.into_iter().map(|(_, budget)| budget).collect() }
    }

    /// The budgets of its exchanges: one, but where testnets are among its bases.
    pub fn budgets(&self) -> &[Arc<Budget>] {
        &self.budgets
    }

    /// The weight used in the minute of `now` at the preferred base's exchange.
    pub fn used(&self, now: Timestamp) -> u32 {
        self.budgets.first().map_or(0, |budget| budget.used(now))
    }

    /// The error of a call to the preferred base that the exchange's pause or ban holds back.
    pub fn held_back(&self) -> Option<Error> {
        self.budgets.first()?.held_back()
    }

    /// The healthy bases, the preferred first; where none is, the one that is to be looked at next.
    pub(super) fn in_order(&self) -> Vec<&Base> {
        let healthy: Vec<_> = self.bases.iter().filter(|base| base.health.is_healthy()).collect();
        match healthy.is_empty() {
            false => healthy,
            true => self.bases.iter().min_by_key(|base| base.health.look_at()).into_iter().collect(),
        }
    }
}

impl Base {
    /// A place among the calls to this base.
    pub(super) async fn permit(&self, priority: Priority) -> Result<OwnedSemaphorePermit, Error> {
        let patience = match priority {
            Priority::Demand => WAIT_OF_A_DEMAND,
            Priority::Refresh | Priority::Warm => WAIT_OF_A_REFRESH,
        };
        let felt = async {
            while self.budget.feels_its_way() {
                tokio::time::sleep(FEEL_AGAIN_AFTER).await;
            }
        };
        // An exchange that says nothing for so long holds nobody back: its answers to the first calls are awaited.
        let _ = tokio::time::timeout(patience, felt).await;
        let place = tokio::time::timeout(patience, Arc::clone(&self.permits).acquire_owned()).await;
        place.ok().and_then(Result::ok).ok_or_else(|| {
            let message = format!("too many requests to {} are under way already", self.url.host());
            Error::new(Reason::Overloaded, message).with_retry_after(TRY_AGAIN_IN)
        })
    }

    /// Notes the beginning of a call.
    pub(super) fn call(&self) -> Call<'_> {
        Call { base: self, result: CallResult::TimedOut }
    }

    /// Calls that ended so since the start.
    pub fn calls(&self, result: CallResult) -> u64 {
        self.calls[result as usize].load(Ordering::Relaxed)
    }
}

/// A call under way. One that is dropped before its end was given up.
pub(super) struct Call<'a> {
    base: &'a Base,
    result: CallResult,
}

impl Call<'_> {
    pub(super) fn ended(mut self, result: CallResult) {
        self.result = result;
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.base.calls[self.result as usize].fetch_add(1, Ordering::Relaxed);
        if self.base.health.note(self.result) {
            let (host, result) = (self.base.url.host(), self.result.as_str());
            match self.base.health.is_healthy() {
                true => tracing::info!(host, "the upstream answers again"),
                false => {
                    tracing::warn!(host, result, "the upstream is unhealthy; others are asked where there are any")
                }
            }
        }
    }
}

/// Whether a host is of an exchange for trying things out, which counts for itself.
fn is_test_exchange(host: &str) -> bool {
    host.split(['.', '-']).any(|word| matches!(word, "testnet" | "demo" | "sandbox"))
}

/// What names an exchange in logs and in what is remembered of its bans: the registered domain, or the address.
fn domain(url: &BaseUrl) -> String {
    let host = url.host();
    let is_name = host.rsplit('.').next().is_some_and(|last| last.chars().any(|c| c.is_ascii_alphabetic()));
    let mut from_the_end = host.rsplitn(3, '.');
    match (from_the_end.next(), from_the_end.next()) {
        (Some(last), Some(name)) if is_name && is_test_exchange(host) => format!("testnet.{name}.{last}"),
        (Some(last), Some(name)) if is_name => format!("{name}.{last}"),
        _ => format!("{host}:{}", url.port()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn venue(urls: &str) -> VenueUpstream {
        let spot = urls.split(',').map(|url| BaseUrl::parse(url).unwrap()).collect();
        let options = Options { spot, max_concurrent: 2, ..Options::default() };
        VenueUpstream::new(Venue::Spot, &options, &Clock::paused_with_tokio())
    }

    #[tokio::test]
    async fn hosts_of_one_exchange_share_a_budget_and_testnets_do_not() {
        let spot = venue("https://api.binance.com,https://api-gcp.binance.com,https://testnet.binance.vision");
        assert_eq!(
            spot.budgets().iter().map(|budget| budget.name()).collect::<Vec<_>>(),
            ["spot@binance.com", "spot@testnet.binance.vision"]
        );
        spot.bases[1].budget.stop(Reason::Banned, Duration::from_secs(60));
        assert!(spot.bases[0].budget.stopped().is_some() && spot.bases[2].budget.stopped().is_none());
        assert_eq!(venue("http://127.0.0.1:8091").budgets()[0].name(), "spot@127.0.0.1:8091");
        assert_eq!(venue("http://localhost:80,http://[::1]:81").budgets()[0].name(), "spot@localhost:80");
    }

    #[tokio::test]
    async fn healthy_bases_come_first_and_one_is_always_left() {
        let spot = venue("http://a:1,http://b:1,http://c:1");
        let order = || spot.in_order().iter().map(|base| base.url.host().to_owned()).collect::<String>();
        assert_eq!(order(), "abc");
        spot.bases[0].call().ended(CallResult::Unreachable);
        assert_eq!(order(), "bc");
        spot.bases[1].call().ended(CallResult::Unreachable);
        (0..3).for_each(|_| drop(spot.bases[2].call()));
        assert_eq!(order(), "a");
        assert_eq!(spot.bases[2].calls(CallResult::TimedOut), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_bulkhead_waits_a_while_and_then_says_so() {
        let spot = venue("http://a:1");
        let base = &spot.bases[0];
        let first = base.permit(Priority::Demand).await.unwrap();
        let _second = base.permit(Priority::Demand).await.unwrap();
        let refused = base.permit(Priority::Refresh).await.unwrap_err();
        assert_eq!((refused.reason, refused.retry_after), (Reason::Overloaded, Some(TRY_AGAIN_IN)));
        let freed = async {
            tokio::time::sleep(Duration::from_secs(2)).await;
            drop(first);
        };
        let (waited, ()) = tokio::join!(base.permit(Priority::Demand), freed);
        assert!(waited.is_ok());
    }
}
