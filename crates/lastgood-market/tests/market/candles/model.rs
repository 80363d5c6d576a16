//! Any questions in any order, against the list of candles itself.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    /// Start and end as minutes before now, and the limit.
    Ask(Option<u64>, Option<u64>, Option<usize>),
    /// Several at once.
    Burst(Vec<(Option<u64>, Option<u64>, Option<usize>)>),
    Wait(u64),
    Restart,
}

fn asks() -> impl Strategy<Value = (Option<u64>, Option<u64>, Option<usize>)> {
    let ago = || prop::option::of(prop_oneof![3 => 0u64..120_000, 3 => 0u64..10_000_000, 1 => 0u64..60_000_000]);
    (ago(), ago(), prop::option::of(prop_oneof![1usize..5, 1usize..60, 400usize..1_000]))
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => asks().prop_map(|(start, end, limit)| Step::Ask(start, end, limit)),
        2 => prop::collection::vec(asks(), 2..6).prop_map(Step::Burst),
        3 => prop_oneof![0u64..2_500, 0u64..90_000, 0u64..7_200_000].prop_map(Step::Wait),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..25)
}

async fn play(at: At, venue: Venue, steps: Vec<Step>) {
    let mut bench = Bench::new(at, venue, 20);
    let mut questions = 0;
    for step in steps {
        questions += match &step {
            Step::Ask(..) => 1,
            Step::Burst(asks) => asks.len() as u64,
            Step::Wait(_) | Step::Restart => 0,
        };
        let range = |(start, end, limit): (Option<u64>, Option<u64>, Option<usize>)| {
            let now = bench.now();
            let (start, end) = (start.map(|ago| now - ago), end.map(|ago| now + 30_000 - ago));
            match (start, end) {
                // What COIN-M means by a start alone it is asked itself.
                (Some(start), None) if venue == Venue::CoinM => Range { start: Some(start), end: Some(now), limit },
                (Some(start), Some(end)) if start > end => Range { start: Some(end), end: Some(start), limit },
                _ => Range { start, end, limit },
            }
        };
        match step {
            Step::Ask(start, end, limit) => check(&bench, range((start, end, limit))).await,
            Step::Burst(asks) => {
                let ranges: Vec<Range> = asks.into_iter().map(range).collect();
                *bench.ledger.latency.lock().unwrap() = Duration::from_millis(1);
                futures_util::future::join_all(ranges.into_iter().map(|range| check(&bench, range))).await;
                *bench.ledger.latency.lock().unwrap() = Duration::ZERO;
            }
            Step::Wait(millis) => tokio::time::advance(Duration::from_millis(millis)).await,
            Step::Restart => bench.restart().await,
        }
    }
    // Each candle may come once more, to be confirmed. Those at the edge of the missing ones may come again, to show
    // that nothing lies between, or because a gap makes the newest reach further back; on COIN-M some more, where a
    // question ends in a gap.
    let sent = bench.ledger.sent.lock().unwrap();
    let again: u64 = sent.values().map(|times| times - 1).sum();
    let edges = if venue == Venue::CoinM { 25 } else { 10 };
    let allowed = edges * questions + sent.len() as u64 * 6 / 5;
    assert!(again <= allowed, "{again} candles of {} were sent again for {questions} questions", sent.len());
}

/// The same settled candles as the exchange gives; the forming one may be as old as its freshness.
async fn check(bench: &Bench, range: Range) {
    let (asked_at, truth) = (bench.now(), bench.truth(range));
    let slice = match bench.ask(range).await {
        Ok(slice) => slice,
        Err(error) => {
            panic!("{range:?}: {error:?}; asked {:?}", &bench.ledger.asked().iter().collect::<Vec<_>>())
        }
    };
    let settled = |answer: &str, now: u64| {
        let rows: Vec<serde_json::Value> = serde_json::from_str(answer).unwrap();
        let opens: Vec<u64> = rows.iter().map(|row| row[0].as_u64().unwrap()).collect();
        let texts = rows.into_iter().filter(|row| row[6].as_u64().unwrap() < now - 3_000).map(|row| row.to_string());
        (opens, texts.collect::<Vec<_>>())
    };
    let given = text(&slice);
    // A candle may have begun while the question was being answered.
    if settled(&given, asked_at) != settled(&truth, asked_at) {
        let (given, expected) = (settled(&given, bench.now()), settled(&bench.truth(range), bench.now()));
        assert_eq!(given, expected, "{range:?}: asked {:?}", bench.ledger.asked());
    }
}

proptest! {
    // Each case plays hours of candles.
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn any_questions_in_any_order_are_answered_as_the_exchange_answers(
        spot in any::<bool>(), minute in 0..BLOCK, milli in 0..MINUTE, steps in steps(),
    ) {
        let at = At { begin: At::block("1m") + minute * MINUTE + milli, interval: "1m" };
        let venue = if spot { Venue::Spot } else { Venue::CoinM };
        in_paused_time(at, &async |at| play(at, venue, steps.clone()).await);
    }
}
