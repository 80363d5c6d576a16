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

pub mod bounds;
mod heat;
mod learn;
#[cfg(test)]
mod scarcity;
mod spent;
mod stops;
mod window;

pub use self::heat::Heat;
pub use self::spent::Spent;
pub use self::stops::Stop;
use self::stops::left_alone;
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
    pub buckets: [BucketStanding; 5],
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
    windows: [Window; 5],
    stop: Option<Stop>,
    /// Weight of calls that were sent and have not been answered: a header may or may not count them.
    in_flight: u32,
    calls_in_flight: u32,
    /// Good answers since the start or the last stop.
    good: u32,
    /// Stops since the exchange last answered anything else.
    stops_in_a_row: u32,
    /// After a stop that may have ended too early, one call goes at a time until the exchange has answered one.
    is_probing: bool,
    /// A limit that is doubted has held a call back.
    wants_limits: bool,
    /// When the exchange may be asked for its limits again.
    ask_limits_at: Timestamp,
    calls: u64,
    refused: [u64; 3],
    pauses: u64,
    bans: u64,
    firewalled: u64,
}

/// The part of a limit that is left to signed calls, which nothing here holds back, and to others on the address.
pub const RESERVE: f64 = 0.08;
/// So many calls are sent at once before the first good answer.
const FIRST_CALLS: u32 = 6;
/// How long a call waits for the one that finds out whether a stop is over.
const PROBED_WITHIN: Duration = Duration::from_secs(1);
/// The exchange is asked for its limits out of turn at most once in so long.
const ASK_LIMITS_EVERY: Duration = Duration::from_secs(60);

impl Budget {
    /// A budget with the venue's usual limits. `name` tells it from others in logs and in what is remembered of it.
    pub fn new(name: impl Into<String>, venue: Venue, clock: Clock) -> Self {
        let windows = Bucket::ALL.map(|bucket| Window::new(bucket, bucket.usual(venue)));
        let state = State {
            windows,
            stop: None,
            in_flight: 0,
            calls_in_flight: 0,
            good: 0,
            stops_in_a_row: 0,
            is_probing: false,
            wants_limits: false,
            ask_limits_at: Timestamp::EPOCH,
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
        state.stop = state.stop.filter(|stop| stop.is_in_force(now));
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
        if let Some(error) = self.refusal_of_stop(&state, ask.bucket, now) {
            return Err(state.refuse(ask.priority, error));
        }
        let windows = || costs(ask).into_iter().filter(|&(_, cost)| cost > 0);
        for (bucket, cost) in windows() {
            state.windows[bucket as usize].asked(cost);
        }
        let refusal = windows().find_map(|(bucket, cost)| {
            let wait = state.windows[bucket as usize].refuses(cost, ask.priority, ask.heat, now)?;
            Some((bucket, wait))
        });
        if let Some((bucket, wait)) = refusal {
            state.wants_limits |= state.windows[bucket as usize].is_doubtful(now);
            let message = format!("the {bucket} budget of {} has nothing left for this now", self.name);
            let error = Error::new(Reason::RateLimited, message).with_retry_after(wait);
            return Err(state.refuse(ask.priority, error));
        }
        Ok(self.send(&mut state, ask))
    }

    /// Spends on asking for the limits again, where one that is doubted holds calls back: out of turn, because a limit
    /// that is too low by mistake would never let itself be put right. At most once a minute, and not during a stop.
    pub fn spend_on_limits(&self, weight: u32) -> Option<Spent<'_>> {
        let now = self.clock.now();
        let mut state = self.state(now);
        let ask = Ask { bucket: Bucket::Weight, weight, priority: Priority::Refresh, heat: 0 };
        if !state.wants_limits || state.ask_limits_at > now || self.refusal_of_stop(&state, ask.bucket, now).is_some() {
            return None;
        }
        state.wants_limits = false;
        state.ask_limits_at = now.plus(ASK_LIMITS_EVERY);
        Some(self.send(&mut state, ask))
    }

    fn send(&self, state: &mut State, ask: Ask) -> Spent<'_> {
        for (bucket, cost) in costs(ask) {
            state.windows[bucket as usize].spend(cost, ask.priority);
        }
        state.in_flight = state.in_flight.saturating_add(ask.weight);
        state.calls += 1;
        state.calls_in_flight += 1;
        self.publish(state);
        Spent { budget: self, calls: 1, weight: ask.weight, window: state.windows[Bucket::Weight as usize].index() }
    }

    /// Why no call at all may be made that counts in `bucket`.
    fn refusal_of_stop(&self, state: &State, bucket: Bucket, now: Timestamp) -> Option<Error> {
        if let Some(stop) = state.stop.or(state.windows[bucket as usize].stop) {
            return Some(left_alone(&self.name, stop, now));
        }
        (state.is_probing && state.calls_in_flight > 0).then(|| {
            let message = format!("one request finds out whether {} answers again", self.name);
            Error::new(Reason::RateLimited, message).with_retry_after(PROBED_WITHIN)
        })
    }

    /// Notes a call that nothing holds back, so that the headers of its answer can be taken in.
    pub fn pass(&self) -> Spent<'_> {
        self.passing(&self.state(self.clock.now()), 0)
    }

    /// As [`Budget::pass`], of a call that every stop holds back.
    ///
    /// # Errors
    ///
    /// While the exchange wants to be left alone, or what counts in `bucket` does.
    pub fn pass_unsigned(&self, bucket: Bucket) -> Result<Spent<'_>, Error> {
        let now = self.clock.now();
        let mut state = self.state(now);
        if let Some(error) = self.refusal_of_stop(&state, bucket, now) {
            return Err(error);
        }
        state.calls_in_flight += 1;
        Ok(self.passing(&state, 1))
    }

    fn passing(&self, state: &State, calls: u32) -> Spent<'_> {
        Spent { budget: self, calls, weight: 0, window: state.windows[Bucket::Weight as usize].index() }
    }

    /// Whether enough calls are under way for as little as is known. After the start and after a stop nobody knows
    /// what others on the address have used, or whether the limit is still what it was: a burst sent then might be
    /// refused as a whole, and many refusals are a ban. So a few calls go first, and each good answer lets two more.
    pub fn feels_its_way(&self) -> bool {
        let state = self.state(self.clock.now());
        let most = if state.is_probing { 1 } else { FIRST_CALLS.saturating_add(state.good.saturating_mul(2)) };
        state.calls_in_flight >= most
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

    /// Takes limits from the `rateLimits` of an exchangeInfo; a body without any changes nothing. A limit that cannot be
    /// one, by [`bounds`], is not believed.
    pub fn learn_limits(&self, exchange_info: &[u8]) {
        let now = self.clock.now();
        for (bucket, limit, length) in learn::stated_limits(exchange_info) {
            if !self.state(now).windows[bucket as usize].learn(limit, length, now) {
                tracing::warn!(exchange = %self.name, %bucket, limit, "the exchange states a limit that cannot be one");
            }
        }
    }

    /// Takes the weight limit from the words of a 429, so that a limit that was lowered is known before it is
    /// published to us. A limit above the usual one is given up: it has just been refused.
    pub fn learn_from_refusal(&self, message: &str) {
        let now = self.clock.now();
        let mut state = self.state(now);
        let weight = &mut state.windows[Bucket::Weight as usize];
        weight.disbelieve_more();
        if let Some(limit) = learn::limit_of_refusal(message) {
            weight.learn(limit, 60_000, now);
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

impl State {
    /// Counts a refusal, and lengthens its wait: those refused together must not be back together.
    fn refuse(&mut self, priority: Priority, error: Error) -> Error {
        self.refused[priority as usize] += 1;
        let wait = spread(error.retry_after.unwrap_or_default(), self.refused.iter().sum());
        error.with_retry_after(wait)
    }
}

/// What a call costs in each bucket.
fn costs(ask: Ask) -> [(Bucket, u32); 5] {
    Bucket::ALL.map(|bucket| match bucket {
        Bucket::Weight => (bucket, ask.weight),
        Bucket::Raw => (bucket, 1),
        own => (own, u32::from(own == ask.bucket)),
    })
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
        first[0].answered(200);
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
        let ends = budget.stopped().unwrap().until;
        assert!(!budget.heed_remembered(stop(Timestamp::FOREVER)), "no ban lasts for ever");
        assert_eq!(budget.stopped().unwrap().until, ends);
        let longest = budget.now().plus(bounds::LONGEST_BAN);
        assert!(budget.heed_remembered(stop(longest)));
        assert_eq!(budget.stopped().unwrap().until, longest);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_of_no_real_length_is_cut_and_one_request_finds_out() {
        let nonsense = Duration::from_secs(345_600_000);
        for (reason, first, second) in [
            (Reason::Banned, bounds::SHORTEST_BAN, bounds::SHORTEST_BAN * 2),
            (Reason::RateLimited, bounds::LONGEST_PAUSE, bounds::LONGEST_PAUSE),
        ] {
            let budget = budget();
            for wait in [first, second] {
                budget.stop(reason, nonsense);
                assert_eq!(budget.stopped().unwrap().until, budget.now().plus(wait));
                assert_eq!(budget.pass_unsigned(Bucket::Weight).unwrap_err().reason, reason);
                tokio::time::advance(wait).await;
                let probe = budget.spend(ask(1, Priority::Demand)).unwrap();
                assert!(budget.feels_its_way());
                let refused = spend(&budget, 1).unwrap_err();
                assert_eq!(
                    (refused.reason, budget.pass_unsigned(Bucket::Weight).is_err()),
                    (Reason::RateLimited, true)
                );
                probe.answered(if reason == Reason::Banned { 418 } else { 429 });
            }
            // The exchange answers: all is as before.
            budget.spend(ask(1, Priority::Demand)).unwrap().answered(400);
            let _others = [(); 3].map(|()| budget.spend(ask(1, Priority::Demand)).unwrap());
            budget.stop(reason, nonsense);
            assert_eq!(budget.stopped().unwrap().until, budget.now().plus(first), "counted from the beginning again");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_was_set_back_does_not_make_a_pause_longer() {
        let budget = budget();
        budget.stop(Reason::RateLimited, Duration::from_secs(60));
        let mut state = budget.state(budget.now());
        state.stop = Some(Stop { reason: Reason::RateLimited, until: budget.now().plus(Duration::from_secs(86_400)) });
        drop(state);
        assert_eq!(budget.stopped(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_that_is_far_too_low_is_asked_for_again_when_it_holds_calls_back() {
        let budget = budget();
        let told = |limit: u32| {
            let limit =
                format!(r#"{{"rateLimitType":"REQUEST_WEIGHT","interval":"MINUTE","intervalNum":1,"limit":{limit}}}"#);
            budget.learn_limits(format!(r#"{{"rateLimits":[{limit}]}}"#).as_bytes());
        };
        let asks = || budget.spend_on_limits(20).is_some();
        told(40);
        assert!((0..40).any(|_| spend(&budget, 2).is_err()));
        assert!(!asks(), "not at once");
        tokio::time::advance(Duration::from_secs(61)).await;
        assert!(!asks(), "nobody was held back since");
        let held_back = || (0..40).any(|_| spend(&budget, 2).is_err());
        assert!(held_back() && asks() && !asks(), "once");
        // It says the same again, and is believed longer.
        told(40);
        tokio::time::advance(Duration::from_secs(61)).await;
        assert!(held_back() && !asks());
        tokio::time::advance(Duration::from_secs(600)).await;
        assert!(held_back() && asks());
        told(6_000);
        assert!(!held_back());
    }

    #[tokio::test(start_paused = true)]
    async fn a_header_that_counts_nothing_does_not_make_the_limit_endless() {
        let budget = budget();
        to_the_next_minute(&budget).await;
        let sent = (0..100_000)
            .filter(|_| budget.spend(ask(2, Priority::Demand)).inspect(|spent| spent.learn_used(0)).is_ok());
        assert!(sent.count() * 2 <= 2 * 6_000);
        budget.pass().learn_used(u32::MAX);
        assert!(spend(&budget, 1).is_err());
        to_the_next_minute(&budget).await;
        assert!(spend(&budget, 1).is_ok(), "no count outlasts its minute");
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
        assert_eq!(limits(), [600, 500, 1_000, 61_000, 12_000]);
        for body in [&b"{}"[..], b"garbage", br#"{"rateLimits":[{"limit":0}]}"#] {
            budget.learn_limits(body);
        }
        assert_eq!(limits(), [600, 500, 1_000, 61_000, 12_000]);
        budget.learn_from_refusal("Too much request weight used; current limit is 300 request weight per 1 MINUTE. x");
        assert_eq!(limits()[0], 300);
        for (kind, interval, number) in [("REQUEST_WEIGHT", "MINUTE", "1"), ("RAW_REQUESTS", "MINUTE", "5")] {
            for limit in ["0", "1", "-1", "1.5", "null", "\"600\"", "99999999999999999999"] {
                let limit = format!(
                    r#"{{"rateLimitType":"{kind}","interval":"{interval}","intervalNum":{number},"limit":{limit}}}"#
                );
                budget.learn_limits(format!(r#"{{"rateLimits":[{limit}]}}"#).as_bytes());
                assert_eq!(limits(), [300, 500, 1_000, 61_000, 12_000], "{limit}");
            }
        }
        // What cannot be read takes nothing else with it.
        budget.learn_limits(
            br#"{"rateLimits":[7,{"limit":-1},{"rateLimitType":"REQUEST_WEIGHT","interval":"MINUTE","intervalNum":1,"limit":12000}]}"#,
        );
        assert_eq!(limits()[0], 12_000);
        budget.learn_from_refusal("Too much request weight used.");
        assert_eq!(limits()[0], 6_000, "what was refused was too much");
        for limit in ["4294967295", "18446744073709551615"] {
            budget.learn_limits(
                format!(r#"{{"rateLimits":[{{"rateLimitType":"REQUEST_WEIGHT","interval":"MINUTE","intervalNum":1,"limit":{limit}}}]}}"#)
                    .as_bytes(),
            );
            assert_eq!(limits()[0], 60_000, "no more than ten times the usual");
        }
    }
}
