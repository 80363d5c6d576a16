//! What answers cost upstream. `cargo nextest run -p lastgood-market truth::requests --no-capture` prints the table.

use std::sync::atomic::Ordering;
use std::time::Duration;

use lastgood_sim::{SimRequest, Venue};

use super::bench::Bench;
use super::judge::opens;
use super::{BEGIN, DAY, HOUR, MINUTE};

const BTC: &str = "/api/v3/klines?symbol=BTCUSDT&interval=1m";

/// How long after the first time each question is asked again.
const AGAIN: [(&str, Duration); 4] = [
    ("+3 min", Duration::from_secs(3 * 60)),
    ("+3 min", Duration::from_secs(3 * 60)),
    ("+2 h", Duration::from_secs(2 * 3_600)),
    ("+2 d", Duration::from_secs(2 * 86_400)),
];

/// A question, or several that are asked one after the other.
struct Case {
    name: &'static str,
    begin: u64,
    targets: Vec<String>,
    /// The most requests each time it is asked.
    bound: [u64; 5],
}

/// A spot symbol that has gaps in its hours, and the begin of one.
fn gap(bench: &Bench) -> (String, u64) {
    let sim = &bench.exchange.sim;
    for symbol in sim.symbols(Venue::Spot) {
        let target = format!("/api/v3/klines?symbol={symbol}&interval=1h&endTime={}&limit=1000", BEGIN - 30 * DAY);
        let body = sim.honest(SimRequest::of(&target)).body;
        let rows = opens(&body);
        let gap = rows.windows(2).find(|pair| pair[1].0 - pair[0].0 > 5 * HOUR && pair[0].0 > rows[0].0 + 150 * HOUR);
        if let Some(pair) = gap.filter(|_| rows.len() == 1_000) {
            return (symbol, pair[0].0);
        }
    }
    panic!("no symbol with a gap");
}

/// When a symbol was listed.
fn listed_at(bench: &Bench, symbol: &str) -> u64 {
    let target = format!("/api/v3/klines?symbol={symbol}&interval=1m&startTime=0&limit=1");
    opens(&bench.exchange.sim.honest(SimRequest::of(&target)).body)[0].0
}

fn cases() -> Vec<Case> {
    let bench = Bench::new();
    let (gapped, gap) = gap(&bench);
    let listed = listed_at(&bench, "LTCUSDT");
    let begin = BEGIN / MINUTE * MINUTE - 3 * DAY;
    let range =
        |from: u64, count: u64| format!("{BTC}&startTime={from}&endTime={}&limit={count}", from + (count - 1) * MINUTE);
    let case = |name, targets: &[String], bound| Case { name, begin: BEGIN, targets: targets.to_vec(), bound };
    vec![
        case("newest 500", &[format!("{BTC}&limit=500")], [1, 2, 2, 2, 2]),
        case("a range of 500", &[range(begin, 500)], [2, 2, 0, 0, 0]),
        case("a range of 1,000", &[range(begin, 1_000)], [2, 2, 0, 0, 0]),
        case(
            "5,000 by pages",
            &(0..5).map(|page| range(begin - DAY + page * 1_000 * MINUTE, 1_000)).collect::<Vec<_>>(),
            [7, 7, 0, 0, 0],
        ),
        case(
            "a range with a gap",
            &[format!(
                "/api/v3/klines?symbol={gapped}&interval=1h&startTime={}&endTime={}",
                gap - 100 * HOUR,
                gap + 100 * HOUR
            )],
            // There are two gaps in it, and each is asked for by itself.
            [3, 3, 0, 2, 2],
        ),
        case(
            "before an end in a gap",
            &[format!("/api/v3/klines?symbol={gapped}&interval=1h&endTime={}&limit=50", gap + 4 * HOUR)],
            [3, 3, 0, 1, 1],
        ),
        Case {
            begin: listed + 5 * HOUR,
            ..case(
                "short history, newest 1,000",
                &["/api/v3/klines?symbol=LTCUSDT&interval=1m&limit=1000".to_owned()],
                [3, 3, 2, 2, 2],
            )
        },
        case("the first candle", &[format!("{BTC}&startTime=0&limit=1")], [2, 2, 0, 1, 1]),
        // More years than a question reaches: it is asked as it stands, less and less often.
        case("before the listing", &[format!("{BTC}&startTime=0&endTime=1400000000000")], [3, 1, 1, 1, 1]),
        case(
            "newest 500 of days",
            &["/fapi/v1/klines?symbol=BTCUSDT&interval=1d&limit=500".to_owned()],
            [1, 2, 2, 2, 2],
        ),
    ]
}

#[tokio::test(start_paused = true)]
async fn settled_candles_are_asked_for_once_and_their_gaps_a_few_times() {
    let head: Vec<String> = AGAIN.iter().map(|(name, _)| format!("{name:>8}")).collect();
    let mut table = vec![format!("{:<30}{:>8}{}", "requests (weight)", "cold", head.join(""))];
    let mut too_many = Vec::new();
    for Case { name, begin, targets, bound } in cases() {
        let mut bench = Bench::at(begin);
        let mut counts = Vec::new();
        for wait in [Duration::ZERO].into_iter().chain(AGAIN.map(|(_, wait)| wait)) {
            bench.wait(wait).await;
            for target in &targets {
                bench.is_exact(target).await;
            }
            counts.push(bench.exchange.asked());
        }
        let cells: Vec<String> =
            counts.iter().map(|(requests, weight)| format!("{:>8}", format!("{requests} ({weight})"))).collect();
        table.push(format!("{name:<30}{}", cells.join("")));
        if counts.iter().zip(bound).any(|((requests, _), most)| *requests > most) {
            too_many.push(format!("{name}: {counts:?}, at most {bound:?}"));
        }
    }
    report(&table);
    assert!(too_many.is_empty(), "{}", too_many.join("\n"));
}

#[tokio::test(start_paused = true)]
async fn polling_a_dead_pair_costs_no_more_than_a_live_one_and_less_as_time_goes_on() {
    let hour = |seconds: u64| 3_600 / seconds;
    let mut table = vec![format!("{:<30}{:>10}{:>10}", "newest 20 of minutes", "requests", "weight")];
    let mut of_hours = Vec::new();
    for (name, halted) in [("a live pair", None), ("a dead pair", Some(BEGIN / HOUR * HOUR - 30 * DAY - 1))] {
        let mut bench = Bench::new();
        bench.exchange.remembers.store(false, Ordering::SeqCst);
        if let Some(at) = halted {
            bench.exchange.halt(at);
        }
        let mut first = (0, 0);
        // Each two seconds for an hour, then once a minute for the rest of a day.
        for (what, polls, every) in [("an hour, each 2 s", hour(2), 2), ("23 hours, each 60 s", 23 * hour(60), 60)] {
            for _ in 0..polls {
                let _ = bench.reader.ask(&format!("{BTC}&limit=20")).await.expect("an answer");
                bench.wait(Duration::from_secs(every)).await;
            }
            let (requests, weight) = bench.exchange.asked();
            table.push(format!("{:<30}{requests:>10}{weight:>10}", format!("{name}, {what}")));
            first = if first == (0, 0) { (requests, requests) } else { (first.0, requests) };
        }
        of_hours.push(first);
    }
    report(&table);
    let [(live, live_day), (dead, dead_day)] = of_hours[..] else { unreachable!("two pairs") };
    assert!(dead <= live && dead_day <= live_day, "dead {dead} and {dead_day}, live {live} and {live_day}");
    assert!(dead_day * 5 <= live_day, "less as time goes on: dead {dead} and {dead_day}, live {live} and {live_day}");
}

#[expect(clippy::print_stderr, reason = "a table to be read")]
fn report(table: &[String]) {
    eprintln!("{}", table.join("\n"));
}
