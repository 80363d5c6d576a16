//! Tests of the budget as its callers see it.

use super::*;

fn budget() -> Budget {
    Budget::new("spot", Venue::Spot, Clock::paused_with_tokio())
}

fn ask(weight: u32, priority: Priority) -> Ask {
    Ask { bucket: Bucket::Weight, weight, priority, frequency: 0 }
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
async fn a_clock_learnt_at_the_turn_of_the_exchanges_minute_does_not_swallow_the_turn() {
    for (before, after) in [(0, 40), (-40, 0), (59_960, 60_000), (-960, -920), (0, 4_000)] {
        let budget = budget();
        to_the_next_minute(&budget).await;
        tokio::time::advance(Duration::from_secs(10)).await;
        budget.go_by(before);
        assert!(spend(&budget, 100).is_ok());
        let own = |budget: &Budget| budget.standing().buckets[0].own;
        let turn = u64::try_from((60_000 - 20 - 10_000 - before).rem_euclid(60_000)).unwrap();
        tokio::time::advance(Duration::from_millis(turn)).await;
        assert_eq!(own(&budget), 100, "the minute has 20 ms left");
        budget.go_by(after);
        assert_eq!(own(&budget), 0, "{before} {after}: the minute is over by the clock as known now");
        assert!(spend(&budget, 10).is_ok());
        budget.go_by(before);
        assert_eq!(own(&budget), 10, "{before} {after}: a minute does not begin twice");
    }
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
        (0..10_000).filter(|_| budget.spend(Ask { frequency: 1_000_000, ..ask(2, Priority::Refresh) }).is_ok()).count();
    assert!(refreshes > 600, "{refreshes}");
}

#[tokio::test(start_paused = true)]
async fn keys_that_many_ask_for_are_refreshed_when_others_are_not() {
    let budget = budget();
    to_the_next_minute(&budget).await;
    let most = |frequency| {
        let fits = |used: &u32| {
            budget.pass().learn_used(*used);
            budget.spend(Ask { frequency, ..ask(2, Priority::Refresh) }).is_ok()
        };
        (0..6_000).rev().find(fits).unwrap_or(0)
    };
    let rising = [0, 10, 100, 1_000, 100_000].map(most);
    assert!(rising.is_sorted_by(|a, b| a < b), "{rising:?}");
}

#[tokio::test(start_paused = true)]
async fn the_header_corrects_the_count_here_and_keeps_calls_under_way() {
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
            assert!(!budget.feels_its_way(ask(1, Priority::Demand)));
            budget.spend(ask(1, Priority::Demand)).unwrap()
        })
        .collect();
    assert!(budget.feels_its_way(ask(1, Priority::Demand)));
    first[0].answered(200);
    assert!(!budget.feels_its_way(ask(1, Priority::Demand)));
    budget.stop(Reason::RateLimited, Duration::from_secs(1));
    assert!(budget.feels_its_way(ask(1, Priority::Demand)));
    drop(first);
    assert!(!budget.feels_its_way(ask(1, Priority::Demand)));
}

#[tokio::test(start_paused = true)]
async fn a_full_bucket_leaves_the_others_open() {
    let budget = Budget::new("futures", Venue::UsdM, Clock::paused_with_tokio());
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
async fn remembered_stops_are_followed_within_reason() {
    let budget = budget();
    let stop = |until| Stop { reason: Reason::Banned, until };
    assert!(!budget.apply_remembered(stop(budget.now())));
    assert!(budget.apply_remembered(stop(budget.now().plus(Duration::from_secs(60)))));
    assert!(!budget.apply_remembered(stop(budget.now().plus(Duration::from_secs(30)))));
    let ends = budget.stopped().unwrap().until;
    assert!(!budget.apply_remembered(stop(Timestamp::FOREVER)), "no ban lasts for ever");
    assert_eq!(budget.stopped().unwrap().until, ends);
    let longest = budget.now().plus(bounds::LONGEST_BAN);
    assert!(budget.apply_remembered(stop(longest)));
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
            assert!(budget.feels_its_way(ask(1, Priority::Demand)));
            let refused = spend(&budget, 1).unwrap_err();
            assert_eq!((refused.reason, budget.pass_unsigned(Bucket::Weight).is_err()), (Reason::RateLimited, true));
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
    let learn = |limit: u32| {
        let limit =
            format!(r#"{{"rateLimitType":"REQUEST_WEIGHT","interval":"MINUTE","intervalNum":1,"limit":{limit}}}"#);
        budget.learn_limits(format!(r#"{{"rateLimits":[{limit}]}}"#).as_bytes());
    };
    let asks = || budget.spend_on_limits(20).is_some();
    learn(40);
    assert!((0..40).any(|_| spend(&budget, 2).is_err()));
    assert!(!asks(), "not at once");
    tokio::time::advance(Duration::from_secs(61)).await;
    assert!(!asks(), "no call was held back since");
    let held_back = || (0..40).any(|_| spend(&budget, 2).is_err());
    assert!(held_back() && asks() && !asks(), "once");
    // It says the same again, and is believed longer.
    learn(40);
    tokio::time::advance(Duration::from_secs(61)).await;
    assert!(held_back() && !asks());
    tokio::time::advance(Duration::from_secs(600)).await;
    assert!(held_back() && asks());
    learn(6_000);
    assert!(!held_back());
}

#[tokio::test(start_paused = true)]
async fn a_header_that_counts_nothing_does_not_make_the_limit_endless() {
    let budget = budget();
    to_the_next_minute(&budget).await;
    let sent =
        (0..100_000).filter(|_| budget.spend(ask(2, Priority::Demand)).inspect(|spent| spent.learn_used(0)).is_ok());
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
