//! The exchange's word about its limits, however wrong: no answer stops it for longer, or raises a limit higher, than the
//! bounds say.

use std::time::Duration;

use bytes::Bytes;
use lastgood::{Clock, Reason, Timestamp};
use lastgood_market::budget::bounds::{LEAST_PART, LONGEST_BAN, LONGEST_PAUSE, MOST_TIMES, longest};
use lastgood_market::budget::{Ask, Stop};
use lastgood_market::validate::Fetched;
use lastgood_market::{Bucket, Budget, Priority, Venue};
use proptest::prelude::*;

/// One thing that an exchange, or who stands before it, says.
#[derive(Clone, Debug)]
enum Word {
    /// A 403, 418 or 429, and the wait that it names.
    Stop(Reason, Duration),
    StopOfBucket(Bucket, Duration),
    /// The body of an exchangeInfo with this limit.
    Limits(&'static str, String, String),
    /// The words of a 429.
    Refusal(String),
    UsedWeight(u32),
    /// A ban that another process, or an older version, wrote down.
    Remembered(Reason, u64),
    /// An answer, good or bad.
    Answered(u16),
    Later(Duration),
    Calls(u32),
}

fn reasons() -> impl Strategy<Value = Reason> {
    prop_oneof![Just(Reason::Banned), Just(Reason::RateLimited), Just(Reason::Firewall)]
}

fn seconds() -> impl Strategy<Value = u64> {
    prop_oneof![0u64..400, 0u64..400_000, any::<u64>(), Just(u64::MAX), Just(345_600)]
}

fn waits() -> impl Strategy<Value = Duration> {
    seconds().prop_map(Duration::from_secs)
}

fn numbers() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        (0u64..100_000).prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| number.to_string()),
        Just("18446744073709551616".to_owned()),
        Just("\"6000\"".to_owned()),
        Just("null".to_owned()),
        Just("1".to_owned()),
        Just("5".to_owned()),
    ]
}

fn words() -> impl Strategy<Value = Word> {
    let buckets = prop_oneof![Just(Bucket::Funding), Just(Bucket::Statistics), Just(Bucket::Sapi)];
    let kinds = prop_oneof![Just("REQUEST_WEIGHT"), Just("RAW_REQUESTS"), Just("ORDERS")];
    prop_oneof![
        (reasons(), waits()).prop_map(|(reason, wait)| Word::Stop(reason, wait)),
        (buckets, waits()).prop_map(|(bucket, wait)| Word::StopOfBucket(bucket, wait)),
        (kinds, numbers(), numbers()).prop_map(|(kind, number, limit)| Word::Limits(kind, number, limit)),
        numbers().prop_map(|limit| {
            Word::Refusal(format!(
                "Too much request weight used; current limit is {limit} request weight per 1 MINUTE."
            ))
        }),
        any::<u32>().prop_map(Word::UsedWeight),
        (reasons(), any::<u64>()).prop_map(|(reason, until)| Word::Remembered(reason, until)),
        prop_oneof![Just(200u16), Just(400), Just(418), Just(503)].prop_map(Word::Answered),
        (0u64..4_000).prop_map(|wait| Word::Later(Duration::from_secs(wait))),
        (0u32..10_000).prop_map(Word::Calls),
    ]
}

fn ask(weight: u32) -> Ask {
    Ask { bucket: Bucket::Weight, weight, priority: Priority::Demand, frequency: 0 }
}

async fn say(budget: &Budget, word: &Word) {
    match word {
        Word::Stop(reason, wait) => {
            budget.stop(*reason, *wait);
        }
        Word::StopOfBucket(bucket, wait) => budget.stop_bucket(*bucket, *wait),
        Word::Limits(kind, number, limit) => {
            let limit =
                format!(r#"{{"rateLimitType":"{kind}","interval":"MINUTE","intervalNum":{number},"limit":{limit}}}"#);
            budget.learn_limits(format!(r#"{{"rateLimits":[{limit}]}}"#).as_bytes());
        }
        Word::Refusal(message) => budget.learn_from_refusal(message),
        Word::UsedWeight(used) => budget.pass().learn_used(*used),
        Word::Remembered(reason, until) => {
            budget.apply_remembered(Stop { reason: *reason, until: Timestamp::from_millis(*until) });
        }
        Word::Answered(status) => budget.pass().answered(*status),
        Word::Later(wait) => tokio::time::advance(*wait).await,
        Word::Calls(calls) => (0..*calls).for_each(|_| drop(budget.spend(ask(1)))),
    }
}

/// What must hold at any time.
fn check(budget: &Budget, venue: Venue) {
    let (now, standing) = (budget.now(), budget.standing());
    if let Some(Stop { reason, until }) = standing.stop {
        assert!(until.since(now) <= longest(reason), "{reason} for {:?}", until.since(now));
    }
    for bucket in standing.buckets {
        let left = bucket.stop.map_or(Duration::ZERO, |stop| stop.until.since(now));
        assert!(left <= LONGEST_PAUSE && bucket.window <= LONGEST_PAUSE, "{bucket:?}");
    }
    let usual = u64::from(venue.default_weight_limit());
    let limit = u64::from(standing.buckets[Bucket::Weight as usize].limit);
    assert!((usual / LEAST_PART..=usual * MOST_TIMES).contains(&limit), "a limit of {limit}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_answer_however_wrong_stops_a_venue_for_longer_or_raises_a_limit_beyond_the_bounds(
        said in prop::collection::vec(words(), 1..40),
        is_spot in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let venue = if is_spot { Venue::Spot } else { Venue::UsdM };
            let budget = Budget::new("exchange", venue, Clock::paused_with_tokio());
            for word in &said {
                say(&budget, word).await;
                check(&budget, venue);
            }
            // Then it says nothing any more. When the stop in force is over, and the window with it, it is asked.
            let left = budget.stopped().map_or(Duration::ZERO, |stop| stop.until.since(budget.now()));
            assert!(left <= LONGEST_BAN);
            tokio::time::advance(left + LONGEST_PAUSE).await;
            let costly = budget.spend(ask(if is_spot { 20 } else { 1 }));
            assert!(costly.is_ok(), "an exchangeInfo can be loaded: {costly:?}");
        });
    }

    #[test]
    fn no_answer_however_wrong_names_a_wait_beyond_the_bounds(
        status in prop_oneof![Just(403u16), Just(418), Just(429), Just(500), Just(503), Just(200)],
        header in prop::option::of(seconds()),
        digits in "[0-9]{0,20}",
        code in prop_oneof![Just(-1003i64), Just(-1000), any::<i64>()],
    ) {
        let msg = format!("Way too much request weight used; IP(1.2.3.4) banned until {digits}.");
        let answer = Fetched {
            status,
            content_type: "application/json".to_owned(),
            retry_after: header.map(Duration::from_secs),
            body: Bytes::from(format!(r#"{{"code":{code},"msg":"{msg}"}}"#)),
        };
        let error = answer.into_error(Timestamp::from_millis(1_772_600_767_250));
        let wait = error.retry_after.unwrap_or_default();
        prop_assert!(wait <= longest(error.reason), "{wait:?} after {:?}", error.reason);
    }
}
