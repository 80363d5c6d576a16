//! Answers that are well-formed and wrong, over HTTP and in process.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lastgood_sim::{ClockMode, Lie, Sim, SimConfig, SimRequest};
use serde_json::{Value, json};

use crate::support::{Exchange, HOUR, MINUTE, NOW};

const KLINES: &str = "/api/v3/klines?symbol=BTCUSDT&interval=1h&limit=40";

/// Every kind of public question.
const TARGETS: [&str; 12] = [
    KLINES,
    "/api/v3/klines?symbol=ETHUSDT&interval=1m&startTime=1772500000000&endTime=1772599000000&limit=1000",
    "/fapi/v1/markPriceKlines?symbol=BTCUSDT&interval=1d&limit=20",
    "/dapi/v1/continuousKlines?pair=BTCUSD&contractType=PERPETUAL&interval=1h&limit=30",
    "/api/v3/ticker/price",
    "/api/v3/ticker/24hr?symbol=BTCUSDT",
    "/api/v3/depth?symbol=BTCUSDT",
    "/fapi/v1/depth?symbol=BTCUSDT&limit=100",
    "/api/v3/trades?symbol=BTCUSDT&limit=30",
    "/fapi/v1/fundingRate?symbol=BTCUSDT",
    "/futures/data/openInterestHist?symbol=BTCUSDT&period=5m",
    "/api/v3/exchangeInfo",
];

fn sim() -> Sim {
    let sim = Sim::new(SimConfig { seed: 7, symbols: 60, ..SimConfig::default() });
    sim.set_clock(ClockMode::Frozen(NOW));
    sim
}

fn rows(body: &[u8]) -> Vec<Value> {
    serde_json::from_slice(body).unwrap_or_else(|why| panic!("{why}: {}", String::from_utf8_lossy(body)))
}

#[test]
fn every_lie_is_json_differs_from_the_truth_and_is_the_same_for_a_seed() {
    let sim = sim();
    let mut of_each: Vec<BTreeSet<Lie>> = Vec::new();
    for target in TARGETS {
        let request = SimRequest::of(target);
        let honest = sim.honest(request).body;
        let mut possible = BTreeSet::new();
        for lie in Lie::ALL {
            for seed in 0..3 {
                let Some(body) = sim.lie(lie, seed, request) else { continue };
                serde_json::from_slice::<Value>(&body).unwrap_or_else(|why| panic!("{target} {lie:?}: {why}"));
                assert_ne!(body, honest, "{target} {lie:?}");
                assert_eq!(sim.lie(lie, seed, request), Some(body), "{target} {lie:?}");
                possible.insert(lie);
            }
        }
        of_each.push(possible);
    }
    let of_rows = Lie::ALL.len() - 2;
    assert_eq!(of_each[0].len(), of_rows, "candles: all but those of objects and symbols: {:?}", of_each[0]);
    assert_eq!(of_each[3].len(), of_rows, "COIN-M: {:?}", of_each[3]);
    assert!(of_each[4].contains(&Lie::SymbolMissing) && of_each[11].contains(&Lie::SymbolMissing));
    for (target, lies) in [(5, &[Lie::EmptyObject, Lie::Note, Lie::Older, Lie::OtherSymbol][..]), (6, &[Lie::LowerCap])]
    {
        assert!(lies.iter().all(|lie| of_each[target].contains(lie)), "{:?}", of_each[target]);
    }
    assert!(
        sim.lie(Lie::Note, 1, SimRequest::of("/api/v3/klines?symbol=NOPE&interval=1h")).is_none(),
        "an error is none"
    );
}

#[test]
fn each_lie_about_candles_is_what_it_is_called() {
    let sim = sim();
    let request = SimRequest::of(KLINES);
    let honest = rows(&sim.honest(request).body);
    let lied = |lie| rows(&sim.lie(lie, 5, request).unwrap());
    assert_eq!(lied(Lie::EmptyList), Vec::<Value>::new());
    let first = lied(Lie::FirstRows);
    assert!(!first.is_empty() && first[..] == honest[..first.len()] && first.len() < 40);
    let last = lied(Lie::LastRows);
    assert!(!last.is_empty() && last[..] == honest[40 - last.len()..] && last.len() < 40);
    let holed = lied(Lie::Holed);
    assert!((holed.first(), holed.last()) == (honest.first(), honest.last()) && holed.len() < 40);
    assert_eq!(lied(Lie::FirstMissing), honest[1..]);
    assert_eq!(lied(Lie::LastMissing), honest[..39]);
    assert_eq!(lied(Lie::CutAfterRow), honest[..26]);
    assert_eq!(lied(Lie::LowerCap), honest[20..], "the newest of half the limit");
    let back = lied(Lie::ShiftedBack);
    assert_eq!((back.len(), &back[1..]), (40, &honest[..39]));
    let older = lied(Lie::Older);
    assert!((1..=30).any(|minutes| older == rows(&sim.honest_at(request, NOW - minutes * MINUTE).body)), "{older:?}");
    let twice = lied(Lie::DuplicatedRow);
    assert_eq!(twice.len(), 41);
    let unordered = lied(Lie::UnorderedRows);
    assert!(unordered != honest && unordered.iter().all(|row| honest.contains(row)));
    for lie in [Lie::ForeignRow, Lie::OtherSymbolsRow] {
        let mixed = lied(lie);
        let other: Vec<_> = mixed.iter().zip(&honest).filter(|(lied, true_one)| lied != true_one).collect();
        assert!(other.len() == 1 && other[0].0[0] == other[0].1[0], "{lie:?}: one row, of the same time");
    }
    assert!(lied(Lie::OtherSymbol).iter().all(|row| !honest.contains(row)));
    let bounded = format!("{KLINES}&startTime={}&endTime={}", NOW - 30 * HOUR, NOW - 10 * HOUR);
    let (bounded, whole) = (SimRequest::of(&bounded), rows(&sim.honest(SimRequest::of(&bounded)).body));
    let later = rows(&sim.lie(Lie::ShiftedForward, 1, bounded).unwrap());
    assert_eq!(later[..later.len() - 1], whole[1..]);
}

#[test]
fn a_question_in_process_is_counted_and_limited_as_over_http() {
    let sim = Sim::new(SimConfig { seed: 7, symbols: 60, weight_limit_spot: 5, ..SimConfig::default() });
    let time = Arc::new(AtomicU64::new(NOW));
    let reply = Arc::clone(&time);
    sim.follow_clock(move || reply.load(Ordering::SeqCst));
    let request = SimRequest::of(KLINES);
    let first = sim.answer(request);
    assert_eq!((first.status, first.content_type, first.used_weight), (200, "application/json;charset=UTF-8", 2));
    assert_eq!(sim.honest(request).body, first.body);
    assert_eq!(sim.answer(request).used_weight, 4);
    let refused = sim.answer(request);
    assert_eq!((refused.status, refused.retry_after), (429, Some(53)));
    assert_eq!(sim.counters().paths["/api/v3/klines"], 3, "reading the truth is not counted");
    time.fetch_add(MINUTE, Ordering::SeqCst);
    assert_eq!(sim.answer(request).used_weight, 2, "its clock is the test's");
    assert_eq!(sim.honest_at(request, NOW).body, first.body);
    let micros = SimRequest { micros: true, ..request };
    assert_eq!(
        rows(&sim.honest(micros).body)[0][0].as_u64(),
        rows(&first.body)[0][0].as_u64().map(|open| open * 1_000)
    );
}

#[tokio::test]
async fn lies_are_faults_that_strike_as_often_as_given() {
    let exchange = Exchange::start().await;
    let honest = exchange.rows(KLINES).await;
    let fault = json!({"kind": "lie", "lie": "last_missing", "path_prefix": "/api/v3/klines", "times": 2});
    assert_eq!(exchange.post("/_sim/faults", &fault.to_string()).await.status, 200);
    assert_eq!(
        exchange.rows("/api/v3/ticker/price").await.len(),
        exchange.sim.symbols(lastgood_sim::Venue::Spot).len()
    );
    for count in [39, 39, 40] {
        assert_eq!(exchange.rows(KLINES).await.len(), count);
    }
    // A lie that does not apply leaves the answer as it is.
    exchange.fault(json!({"kind": "lie", "lie": "empty_object", "times": 1}));
    assert_eq!(exchange.rows(KLINES).await, honest);
    exchange.fault(json!({"kind": "lies", "one_in": 4, "seed": 3}));
    let mut wrong = 0;
    for _ in 0..200 {
        wrong += usize::from(exchange.json(KLINES).await != Value::from(honest.clone()));
    }
    assert!((25..80).contains(&wrong), "{wrong} of 200");
    let help = exchange.get("/_sim/").await;
    assert!(["lie", "one_in", "older", "other_symbols_row"].iter().all(|word| help.text().contains(word)));
    for body in [r#"{"kind":"lie"}"#, r#"{"kind":"lie","lie":"white"}"#, r#"{"kind":"lies"}"#] {
        assert_eq!(exchange.post("/_sim/faults", body).await.status, 400, "{body}");
    }
}
