//! What may still be asked of an exchange: its limits, what is used of them, who comes first, its pauses and its bans.
//!
//! The exchange counts by address and by fixed windows of its clock. So one budget stands for all hosts of one
//! exchange, and has one [`Bucket`] for each thing that is counted. Limits are the exchange's own words wherever it
//! publishes them; what is used is counted here call by call and put right by the exchange's headers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lastgood::{Clock, Error, Reason, Timestamp};

use crate::venue::{Bucket, Venue};

mod heat;
mod learn;
#[cfg(test)]
mod scarcity;
mod spent;
mod window;

pub use self::heat::Heat;
pub use self::spent::Spent;
use self::window::Window;

/// Who comes first when there is not enough for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Priority {
    /// There is nothing to serve instead: whatever is not reserved may be used.
    Demand,
    /// An older answer is served meanwhile: spread over the window, keys that many ask for first.
    Refresh,
    /// Nobody has asked yet: half of what a refresh may use.
    Warm,
}

impl Priority {
    /// Every priority, in the order of their discriminants.
    pub const ALL: [Priority; 3] = [Priority::Demand, Priority::Refresh, Priority::Warm];

    /// That of a load for a reader, by whether an older answer can stand in.
    pub const fn of_load(has_kept: bool) -> Priority {
        if has_kept { Priority::Refresh } else { Priority::Demand }
    }

    /// The word for labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Priority::Demand => "demand",
            Priority::Refresh => "refresh",
            Priority::Warm => "warm",
        }
    }
}

/// A call that somebody wants to make.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    /// Where it counts, besides its weight and the raw requests.
    pub bucket: Bucket,
    /// Its request weight.
    pub weight: u32,
    /// Who wants it.
    pub priority: Priority,
    /// How often its key was asked for since it was last loaded; see [`Heat`].
    pub heat: u32,
}

/// The exchange does not want to be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    /// [`Reason::RateLimited`], [`Reason::Banned`] or [`Reason::Firewall`].
    pub reason: Reason,
    /// Until when.
    pub until: Timestamp,
}

/// How a bucket stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BucketStanding {
    /// Which.
    pub bucket: Bucket,
    /// What the exchange allows in a window.
    pub limit: u32,
    /// The part of it that is left to signed calls and to others on the address.
    pub reserve: u32,
    /// The window.
    pub window: Duration,
    /// Used in the current window, by the exchange's last word and what was asked since.
    pub used: u32,
    /// Spent since the start.
    pub spent: u64,
    /// Whether this bucket alone is left alone.
    pub stop: Option<Stop>,
}

/// How a budget stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Every bucket, in the order of [`Bucket::ALL`].
    pub buckets: [BucketStanding; 4],
    /// Calls sent since the start.
    pub calls: u64,
    /// Calls refused here since the start, in the order of [`Priority::ALL`].
    pub refused: [u64; 3],
    /// Pauses (429) that the exchange asked for since the start.
    pub pauses: u64,
    /// Bans (418) since the start.
    pub bans: u64,
    /// Refusals of the exchange's firewall (403) since the start.
    pub firewalled: u64,
    /// Whether the exchange as a whole wants to be left alone.
    pub stop: Option<Stop>,
}

/// The budget of one exchange.
#[derive(Debug)]
pub struct Budget {
    name: String,
    clock: Clock,
    state: Mutex<State>,
    /// The minute and the weight used in it, for those who only read: every answer states it.
    used: AtomicU64,
}

#[derive(Debug)]
struct State {
    /// In the order of [`Bucket::ALL`].
    windows: [Window; 4],
    stop: Option<Stop>,
    /// Weight of calls that were sent and have not been answered: a header may or may not count them.
    in_flight: u32,
    calls_in_flight: u32,
    /// Good answers since the start or the last stop.
    good: u32,
    calls: u64,
    refused: [u64; 3],
    pauses: u64,
    bans: u64,
    firewalled: u64,
}

/// The part of a limit that is left to signed calls, which nothing here holds back, and to others on the address.
pub const RESERVE: f64 = 0.08;
/// The shortest pause: an exchange that says "in 0 seconds" is not asked again within the same breath.
const SHORTEST_STOP: Duration = Duration::from_secs(1);
/// So many calls are sent at once before the first good answer.
const FIRST_CALLS: u32 = 6;
/// The longest ban that is believed; the exchange's longest is three days.
const LONGEST_STOP: Duration = Duration::from_secs(4 * 86_400);

impl Budget {
    /// A budget with the venue's usual limits. `name` tells it from others in logs and in what is remembered of it.
    pub fn new(name: impl Into<String>, venue: Venue, clock: Clock) -> Self {
        let windows = Bucket::ALL.map(|bucket| {
            let (limit, length) = bucket.usual(venue);
            Window::new(limit, length)
        });
        let state = State {
            windows,
            stop: None,
            in_flight: 0,
            calls_in_flight: 0,
            good: 0,
            calls: 0,
            refused: [0; 3],
            pauses: 0,
            bans: 0,
            firewalled: 0,
        };
        Budget { name: name.into(), clock, state: Mutex::new(state), used: AtomicU64::new(0) }
    }

    /// What tells it from others.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The time that the budget goes by.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn state(&self, now: Timestamp) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.windows.iter_mut().for_each(|window| window.roll(now));
        if state.stop.is_some_and(|stop| stop.until <= now) {
            state.stop = None;
        }
        state
    }

    /// Spends on one call, or says how long not to. Drop or settle what is returned when the call has ended.
    ///
    /// # Errors
    ///
    /// While the exchange wants to be left alone, or when the budget has nothing left for such a call. The time to
    /// wait differs from call to call, so that those refused together do not return together.
    pub fn spend(&self, ask: Ask) -> Result<Spent<'_>, Error> {
        let now = self.clock.now();
        let mut state = self.state(now);
        if let Some(stop) = state.stop.or(state.windows[ask.bucket as usize].stop) {
            state.refused[ask.priority as usize] += 1;
            let error = left_alone(&self.name, stop, now);
            // When the stop ends, not everybody must be back at once.
            let wait = spread(stop.until.since(now), state.refused.iter().sum());
            return Err(error.with_retry_after(wait));
        }
        let costs = Bucket::ALL.map(|bucket| match bucket {
            Bucket::Weight => ask.weight,
            Bucket::Raw => 1,
            own => u32::from(own == ask.bucket),
        });
        let windows = || Bucket::ALL.into_iter().zip(costs).filter(|&(_, cost)| cost > 0);
        for (bucket, cost) in windows() {
            state.windows[bucket as usize].asked(cost);
        }
        let refusal = windows().find_map(|(bucket, cost)| {
            let wait = state.windows[bucket as usize].refuses(cost, ask.priority, ask.heat, now)?;
            Some((bucket, wait))
        });
        if let Some((bucket, wait)) = refusal {
            state.refused[ask.priority as usize] += 1;
            let wait = spread(wait, state.refused.iter().sum());
            let message = format!("the {bucket} budget of {} has nothing left for this now", self.name);
            return Err(Error::new(Reason::RateLimited, message).with_retry_after(wait));
        }
        for (bucket, cost) in windows() {
            state.windows[bucket as usize].spend(cost, ask.priority);
        }
        state.in_flight = state.in_flight.saturating_add(ask.weight);
        state.calls += 1;
        state.calls_in_flight += 1;
        self.publish(&state);
        Ok(Spent { budget: self, calls: 1, weight: ask.weight, window: state.windows[Bucket::Weight as usize].index() })
    }

    /// Notes a call that nothing holds back, so that the headers of its answer can be taken in.
    pub fn pass(&self) -> Spent<'_> {
        let state = self.state(self.clock.now());
        Spent { budget: self, calls: 0, weight: 0, window: state.windows[Bucket::Weight as usize].index() }
    }

    /// Whether enough calls are under way for as little as is known. After the start and after a stop nobody knows
    /// what others on the address have used, or whether the limit is still what it was: a burst sent then might be
    /// refused as a whole, and many refusals are a ban. So a few calls go first, and each good answer lets two more.
    pub fn feels_its_way(&self) -> bool {
        let state = self.state(self.clock.now());
        state.calls_in_flight >= FIRST_CALLS.saturating_add(state.good.saturating_mul(2))
    }

    fn publish(&self, state: &State) {
        let weight = &state.windows[Bucket::Weight as usize];
        self.used.store(weight.index() << 32 | u64::from(weight.used), Ordering::Relaxed);
    }

    /// The weight used in the minute of `now`, without waiting for anybody.
    pub fn used(&self, now: Timestamp) -> u32 {
        let used = self.used.load(Ordering::Relaxed);
        if used >> 32 == now.as_millis() / 60_000 { used as u32 } else { 0 }
    }

    /// Stops every call that can be held back for `wait`; a longer stop stands. Says whether it is news.
    pub fn stop(&self, reason: Reason, wait: Duration) -> bool {
        let now = self.clock.now();
        let stop = Stop { reason, until: now.plus(wait.clamp(SHORTEST_STOP, LONGEST_STOP)) };
        let mut state = self.state(now);
        state.good = 0;
        match reason {
            Reason::Banned => state.bans += 1,
            Reason::Firewall => state.firewalled += 1,
            _ => state.pauses += 1,
        }
        let what = match reason {
            Reason::Firewall => "the exchange's firewall refuses requests from this address (403)",
            _ => "the exchange asks to be left alone",
        };
        self.heed(&mut state, stop, what)
    }

    /// Stops the calls of one bucket, as [`Budget::stop`] does all.
    pub fn stop_bucket(&self, bucket: Bucket, wait: Duration) {
        let now = self.clock.now();
        let until = now.plus(wait.clamp(SHORTEST_STOP, LONGEST_STOP));
        let mut state = self.state(now);
        state.pauses += 1;
        let window = &mut state.windows[bucket as usize];
        if window.stop.is_none_or(|stop| stop.until < until) {
            tracing::warn!(exchange = %self.name, %bucket, seconds = wait.as_secs(), "the exchange asks for a pause");
            window.stop = Some(Stop { reason: Reason::RateLimited, until });
        }
    }

    /// Heeds a stop that another process was told, or this one before a restart. Says whether it is news.
    pub fn heed_remembered(&self, stop: Stop) -> bool {
        let now = self.clock.now();
        let stop = Stop { until: stop.until.min(now.plus(LONGEST_STOP)), ..stop };
        stop.until > now && self.heed(&mut self.state(now), stop, "a ban is remembered: the exchange is left alone")
    }

    fn heed(&self, state: &mut State, stop: Stop, what: &str) -> bool {
        let news = state.stop.is_none_or(|known| known.until < stop.until);
        if news {
            let seconds = stop.until.since(self.clock.now()).as_secs();
            tracing::warn!(exchange = %self.name, reason = %stop.reason, seconds, "{what}");
            state.stop = Some(stop);
        }
        news
    }

    /// The stop in force for every call.
    pub fn stopped(&self) -> Option<Stop> {
        self.state(self.clock.now()).stop
    }

    /// The error of a call that is held back by the stop in force.
    pub fn held_back(&self) -> Option<Error> {
        Some(left_alone(&self.name, self.stopped()?, self.clock.now()))
    }

    /// Takes limits from the `rateLimits` of an exchangeInfo; a body without any changes nothing.
    pub fn learn_limits(&self, exchange_info: &[u8]) {
        for (bucket, limit, length) in learn::stated_limits(exchange_info) {
            self.state(self.clock.now()).windows[bucket as usize].learn(limit, length);
        }
    }

    /// Takes the weight limit from the words of a 429, so that a limit that was lowered is heeded before it is
    /// published to us.
    pub fn learn_from_refusal(&self, message: &str) {
        if let Some(limit) = learn::limit_of_refusal(message) {
            self.state(self.clock.now()).windows[Bucket::Weight as usize].learn(limit, 60_000);
        }
    }

    /// How the budget stands.
    pub fn standing(&self) -> Standing {
        let state = self.state(self.clock.now());
        Standing {
            buckets: Bucket::ALL.map(|bucket| state.windows[bucket as usize].standing(bucket)),
            calls: state.calls,
            refused: state.refused,
            pauses: state.pauses,
            bans: state.bans,
            firewalled: state.firewalled,
            stop: state.stop,
        }
    }
}

fn left_alone(name: &str, stop: Stop, now: Timestamp) -> Error {
    let message = match stop.reason {
        Reason::Firewall => format!("the firewall of {name} refuses requests from this address"),
        _ => format!("{name} is left alone for now"),
    };
    Error::new(stop.reason, message).with_retry_after(stop.until.since(now))
}

/// Lengthens a wait by up to a half, or up to a few seconds, by another part for each number in turn.
fn spread(wait: Duration, number: u64) -> Duration {
    const GOLDEN: f64 = 0.618_033_988_749_895;
    const AT_MOST: Duration = Duration::from_secs(3);
    wait + (wait / 2).min(AT_MOST).mul_f64((number as f64 * GOLDEN).fract())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget() -> Budget {
        Budget::new("spot", Venue::Spot, Clock::paused_with_tokio())
    }

    fn ask(weight: u32, priority: Priority) -> Ask {
        Ask { bucket: Bucket::Weight, weight, priority, heat: 0 }
    }

    fn spend(budget: &Budget, weight: u32) -> Result<(), Error> {
        budget.spend(ask(weight, Priority::Demand)).map(drop)
    }

    async fn to_the_next_minute(budget: &Budget) {
        let left = 60_000 - budget.clock.now().as_millis() % 60_000;
        tokio::time::advance(Duration::from_millis(left)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_minutes_weight_is_not_exceeded_and_comes_back() {
        let budget = budget();
        to_the_next_minute(&budget).await;
        budget.pass().learn_used(5_510);
        assert!(spend(&budget, 10).is_ok());
        let refused = spend(&budget, 10).unwrap_err();
        assert_eq!(refused.reason, Reason::RateLimited);
        assert!(refused.retry_after >= Some(Duration::from_secs(60)), "{refused:?}");
        to_the_next_minute(&budget).await;
        assert_eq!(budget.used(budget.now()), 0);
        assert!(spend(&budget, 10).is_ok());
        assert_eq!((budget.standing().buckets[0].used, budget.used(budget.now())), (10, 10));
    }

    #[tokio::test(start_paused = true)]
    async fn a_ban_outlasts_a_shorter_pause() {
        let budget = budget();
        assert!(budget.stop(Reason::Banned, Duration::from_secs(120)));
        assert!(!budget.stop(Reason::RateLimited, Duration::from_secs(5)));
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(spend(&budget, 1).unwrap_err().reason, Reason::Banned);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(spend(&budget, 1).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn warming_yields_first_then_refreshes_and_the_reserve_is_nobodys() {
        let budget = budget();
        to_the_next_minute(&budget).await;
        tokio::time::advance(Duration::from_secs(30)).await;
        let fits = |used, priority| {
            budget.pass().learn_used(used);
            budget.spend(ask(2, priority)).is_ok()
        };
        let [demand, refresh, warm] =
            Priority::ALL.map(|priority| (0..6_000).rev().find(|&used| fits(used, priority)).unwrap_or(0));
        assert!(warm < refresh && refresh < demand, "{warm} {refresh} {demand}");
        assert_eq!(demand, 6_000 - 480 - 2);
        assert!(warm > 1_000, "{warm}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_crawl_of_new_keys_leaves_refreshes_their_part() {
        let budget = budget();
        to_the_next_minute(&budget).await;
        let crawl = || (0..10_000).filter(|_| spend(&budget, 2).is_ok()).count();
        assert_eq!(crawl(), 5_520 / 2, "in a calm minute all of it");
        to_the_next_minute(&budget).await;
        assert_eq!(crawl(), 5_520 / 2 / 4 * 3, "after a scarce one a quarter less");
        tokio::time::advance(Duration::from_secs(59)).await;
        let refreshes =
            (0..10_000).filter(|_| budget.spend(Ask { heat: 1_000_000, ..ask(2, Priority::Refresh) }).is_ok()).count();
        assert!(refreshes > 600, "{refreshes}");
    }

    #[tokio::test(start_paused = true)]
    async fn keys_that_many_ask_for_are_refreshed_when_others_are_not() {
        let budget = budget();
        to_the_next_minute(&budget).await;
        let most = |heat| {
            let fits = |used: &u32| {
                budget.pass().learn_used(*used);
                budget.spend(Ask { heat, ..ask(2, Priority::Refresh) }).is_ok()
            };
            (0..6_000).rev().find(fits).unwrap_or(0)
        };
        let rising = [0, 10, 100, 1_000, 100_000].map(most);
        assert!(rising.is_sorted_by(|a, b| a < b), "{rising:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_header_corrects_what_is_counted_here_and_keeps_what_is_under_way() {
        let budget = budget();
        to_the_next_minute(&budget).await;
        let first = budget.spend(ask(100, Priority::Demand)).unwrap();
        let _second = budget.spend(ask(40, Priority::Demand)).unwrap();
        // The first was answered with less than was thought; the second is still on its way.
        first.learn_used(60);
        assert_eq!(budget.used(budget.now()), 100);
        let third = budget.spend(ask(1, Priority::Demand)).unwrap();
        to_the_next_minute(&budget).await;
        third.learn_used(5_000);
        assert_eq!(budget.used(budget.now()), 0, "the last minute's word counts in this one");
    }

    #[tokio::test(start_paused = true)]
    async fn a_few_calls_go_first_and_good_answers_let_more_follow() {
        let budget = budget();
        to_the_next_minute(&budget).await;
        let first: Vec<_> = (0..FIRST_CALLS)
            .map(|_| {
                assert!(!budget.feels_its_way());
                budget.spend(ask(1, Priority::Demand)).unwrap()
            })
            .collect();
        assert!(budget.feels_its_way());
        first[0].answered_well();
        assert!(!budget.feels_its_way());
        budget.stop(Reason::RateLimited, Duration::from_secs(1));
        assert!(budget.feels_its_way());
        drop(first);
        assert!(!budget.feels_its_way());
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_bucket_leaves_the_others_open() {
        let budget = Budget::new("futures", Venue::Futures, Clock::paused_with_tokio());
        let funding = Ask { bucket: Bucket::Funding, ..ask(0, Priority::Demand) };
        let sent = (0..1_000).filter(|_| budget.spend(funding).is_ok()).count();
        assert_eq!(sent, 460);
        assert!(spend(&budget, 10).is_ok());
        budget.stop_bucket(Bucket::Statistics, Duration::from_secs(30));
        assert!(budget.spend(Ask { bucket: Bucket::Statistics, ..funding }).is_err());
        assert!(spend(&budget, 10).is_ok());
        tokio::time::advance(Duration::from_secs(30)).await;
        assert!(budget.spend(Ask { bucket: Bucket::Statistics, ..funding }).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn those_refused_together_do_not_return_together() {
        let budget = budget();
        to_the_next_minute(&budget).await;
        budget.pass().learn_used(6_000);
        let waits: std::collections::HashSet<_> = (0..100)
            .map(|_| budget.spend(ask(2, Priority::Refresh)).unwrap_err().retry_after.unwrap().as_millis())
            .collect();
        assert!(waits.len() > 90, "{}", waits.len());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_remembered_is_heeded_within_reason() {
        let budget = budget();
        let stop = |until| Stop { reason: Reason::Banned, until };
        assert!(!budget.heed_remembered(stop(budget.now())));
        assert!(budget.heed_remembered(stop(budget.now().plus(Duration::from_secs(60)))));
        assert!(!budget.heed_remembered(stop(budget.now().plus(Duration::from_secs(30)))));
        budget.heed_remembered(stop(Timestamp::FOREVER));
        assert_eq!(budget.stopped().unwrap().until, budget.now().plus(LONGEST_STOP));
    }

    #[test]
    fn limits_are_learnt() {
        let budget = budget();
        budget.learn_limits(
            br#"{"rateLimits":[{"rateLimitType":"REQUEST_WEIGHT","interval":"MINUTE","intervalNum":1,"limit":600},
            {"rateLimitType":"RAW_REQUESTS","interval":"MINUTE","intervalNum":5,"limit":61000},
            {"rateLimitType":"ORDERS","interval":"SECOND","intervalNum":10,"limit":1}]}"#,
        );
        let limits = || budget.standing().buckets.map(|bucket| bucket.limit);
        assert_eq!(limits(), [600, 500, 1_000, 61_000]);
        for body in [&b"{}"[..], b"garbage", br#"{"rateLimits":[{"limit":0}]}"#] {
            budget.learn_limits(body);
        }
        assert_eq!(limits(), [600, 500, 1_000, 61_000]);
        budget.learn_from_refusal("Too much request weight used; current limit is 300 request weight per 1 MINUTE. x");
        assert_eq!(limits()[0], 300);
    }
}
