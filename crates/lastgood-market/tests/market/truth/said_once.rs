//! A wrong answer of the exchange is gone in bounded time, whatever it was and whatever was asked.

use std::time::Duration;

use lastgood_sim::{Fault, FaultKind, Lie, SimRequest};

use super::bench::Bench;
use super::exchange::Mood;
use super::judge::opens;
use super::questions::{Chance, Group, others};
use super::{BEGIN, DAY, HEALED_WITHIN, HOUR, MINUTE, healed_within};

/// 2021-01-01.
const IN_2021: u64 = 1_609_459_200_000;

/// A series on each market. Spot's second one has gaps.
const SERIES: [&str; 4] = [
    "/api/v3/klines?symbol=BTCUSDT&interval=1m",
    "/api/v3/klines?symbol=DOGEUSDT&interval=1h",
    "/fapi/v1/klines?symbol=BTCUSDT&interval=5m",
    "/dapi/v1/klines?symbol=BTCUSD_PERP&interval=1h",
];

/// The bounds of every form of a question, each by its name.
fn forms(series: &str) -> Vec<(&'static str, String)> {
    let is_coin = series.starts_with("/dapi");
    let settled = BEGIN - 9 * DAY;
    // COIN-M answers for 200 days at most, and means something of its own by a start alone.
    let since = if is_coin {
        format!("startTime={}&endTime={BEGIN}", BEGIN - 150 * DAY)
    } else {
        format!("startTime={IN_2021}")
    };
    let first = if is_coin { "endTime=1400000000000&limit=1".to_owned() } else { "startTime=0&limit=1".to_owned() };
    vec![
        ("the newest", "limit=50".to_owned()),
        ("since long ago", format!("{since}&limit=60")),
        ("a range", format!("startTime={}&endTime={settled}&limit=100", settled - 40 * HOUR + 77)),
        ("before an end", format!("endTime={}&limit=40", settled - 100 * HOUR)),
        ("the first", first),
        ("until now", format!("endTime={BEGIN}&limit=30")),
        ("a day from now back", format!("startTime={}&limit=30", BEGIN - 29 * MINUTE)),
    ]
}

/// The exchange lies once, to one question on a cold or a warm node, and is well again.
async fn said_once(lie: Lie) {
    let mut failures = Vec::new();
    for series in SERIES {
        let targets: Vec<(&str, String)> =
            forms(series).into_iter().map(|(name, bounds)| (name, format!("{series}&{bounds}"))).collect();
        for (asked, target) in &targets {
            for is_warm in [false, true] {
                if let Err(why) = said_once_to(lie, target, &targets, is_warm).await {
                    let warmth = if is_warm { "warm" } else { "cold" };
                    failures.push(format!("{lie:?} to {asked}, {warmth}: {why}"));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

async fn said_once_to(lie: Lie, target: &str, all: &[(&str, String)], is_warm: bool) -> Result<(), String> {
    let mut bench = Bench::new();
    let newest = &all[0].1;
    if is_warm {
        bench.exact(newest).await?;
        bench.wait(Duration::from_secs(3)).await;
    }
    bench.lie_once(lie, 11);
    bench.judged(target).await.map_err(|why| format!("at once: {why}"))?;
    bench.heal();
    // The newest candles are not touched by an answer about something else.
    if is_warm && target != newest {
        bench.judged(newest).await.map_err(|why| format!("well again: {why}"))?;
        if target.contains("startTime=1609459200000") {
            bench.exact(newest).await.map_err(|why| format!("well again: {why}"))?;
        }
    }
    bench.convalesce(HEALED_WITHIN).await;
    for round in ["in time", "after a restart"] {
        for (name, target) in all {
            bench.exact(target).await.map_err(|why| format!("{round}, {name}: {why}"))?;
        }
        bench.restart().await;
    }
    Ok(())
}

macro_rules! said_once {
    ($($name:ident: $lie:ident,)*) => {
        $(#[tokio::test(start_paused = true)]
        async fn $name() {
            said_once(Lie::$lie).await;
        })*
    };
}

said_once! {
    an_empty_list_is_gone_in_time: EmptyList,
    only_the_first_rows_are_gone_in_time: FirstRows,
    only_the_last_rows_are_gone_in_time: LastRows,
    a_hole_is_gone_in_time: Holed,
    a_list_cut_after_a_row_is_gone_in_time: CutAfterRow,
    a_missing_first_row_is_back_in_time: FirstMissing,
    a_missing_last_row_is_back_in_time: LastMissing,
    missing_newest_rows_are_back_in_time: TailMissing,
    half_a_limit_is_gone_in_time: LowerCap,
    rows_of_an_interval_earlier_are_gone_in_time: ShiftedBack,
    rows_of_an_interval_later_are_gone_in_time: ShiftedForward,
    an_older_snapshot_is_gone_in_time: Older,
    a_row_twice_is_gone_in_time: DuplicatedRow,
    rows_out_of_order_are_gone_in_time: UnorderedRows,
    another_exchanges_row_is_gone_in_time: ForeignRow,
    another_symbols_row_is_gone_in_time: OtherSymbolsRow,
    another_symbols_list_is_gone_in_time: OtherSymbol,
    a_list_of_an_empty_object_is_gone_in_time: EmptyRow,
    a_note_is_gone_in_time: Note,
}

/// The same for everything but candles: each question of a group, each lie, on a cold and a warm node.
async fn said_once_of(group: Group) {
    let mut failures = Vec::new();
    let targets = others(group, BEGIN, &mut Chance { seed: 1, drawn: 0 });
    for target in &targets {
        for (lie, is_warm) in Lie::ALL.into_iter().flat_map(|lie| [(lie, false), (lie, true)]) {
            let mut bench = Bench::new();
            let outcome = async {
                if is_warm {
                    bench.judged(target).await?;
                    bench.wait(Duration::from_secs(40)).await;
                }
                bench.lie_once(lie, 11);
                bench.judged(target).await.map_err(|why| format!("at once: {why}"))?;
                bench.convalesce(healed_within(group)).await;
                for round in ["in time", "after a restart"] {
                    bench.judged(target).await.map_err(|why| format!("{round}: {why}"))?;
                    bench.restart().await;
                }
                Ok::<_, String>(())
            };
            if let Err(why) = outcome.await {
                let warmth = if is_warm { "warm" } else { "cold" };
                failures.push(format!("{lie:?}, {warmth}: {}", why.chars().take(300).collect::<String>()));
            }
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

#[tokio::test(start_paused = true)]
async fn wrong_answers_about_tickers_are_gone_in_time() {
    said_once_of(Group::Tickers).await;
}

#[tokio::test(start_paused = true)]
async fn wrong_answers_about_books_are_gone_in_time() {
    said_once_of(Group::Books).await;
}

#[tokio::test(start_paused = true)]
async fn wrong_answers_about_trades_are_gone_in_time() {
    said_once_of(Group::Trades).await;
}

#[tokio::test(start_paused = true)]
async fn wrong_answers_about_statistics_and_symbols_are_gone_in_time() {
    said_once_of(Group::Statistics).await;
}

#[tokio::test(start_paused = true)]
async fn one_empty_answer_to_a_question_about_2021_leaves_the_newest_as_they_are() {
    let newest = "/api/v3/klines?symbol=BTCUSDT&interval=1m&limit=50";
    for restarts in [false, true] {
        let mut bench = Bench::new();
        bench.is_exact(newest).await;
        bench.lie_once(Lie::EmptyList, 1);
        let _ = bench.ask("/api/v3/klines?symbol=BTCUSDT&interval=1m&startTime=1609459200000").await;
        bench.heal();
        if restarts {
            bench.restart().await;
        }
        bench.is_exact(newest).await;
        bench.is_exact("/api/v3/klines?symbol=BTCUSDT&interval=1m&limit=400").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_cap_that_is_lowered_for_weeks_costs_no_candle() {
    for (cap, largest) in [(500, "1000"), (30, "110")] {
        for series in SERIES {
            let mut bench = Bench::new();
            bench.exchange.mood(Mood { cap: Some(cap), ..Mood::default() });
            for _ in 0..4 {
                for (_, bounds) in forms(series) {
                    bench.is_exact(&format!("{series}&{bounds}")).await;
                }
                bench.is_exact(&format!("{series}&limit={largest}")).await;
                bench.wait(Duration::from_secs(5 * 86_400)).await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_that_lags_for_a_minute_takes_no_poller_back() {
    for series in SERIES {
        let mut bench = Bench::new();
        let newest = format!("{series}&limit=20");
        for _ in 0..10 {
            bench.is_exact(&newest).await;
            bench.wait(Duration::from_secs(7)).await;
        }
        bench.fall_ill(Mood {
            lies: vec![Lie::Older, Lie::TailMissing, Lie::LastMissing],
            one_in: 2,
            left: 40,
            seed: 5,
            cap: None,
        });
        for _ in 0..10 {
            if let Err(why) = bench.judged(&newest).await {
                panic!("{why}\n{}", bench.story());
            }
            bench.wait(Duration::from_secs(7)).await;
        }
        bench.convalesce(HEALED_WITHIN).await;
        bench.is_exact(&newest).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_history_that_was_corrected_is_noticed_by_who_polls_the_newest() {
    let mut bench = Bench::new();
    let newest = "/api/v3/klines?symbol=BTCUSDT&interval=1m&limit=100";
    let settled = format!(
        "/api/v3/klines?symbol=BTCUSDT&interval=1m&startTime={}&endTime={}",
        BEGIN - 5 * HOUR,
        BEGIN - 2 * HOUR
    );
    for _ in 0..4 {
        bench.is_exact(newest).await;
        bench.is_exact(&settled).await;
        bench.wait(super::CLAIM_BELIEVED + Duration::from_secs(5)).await;
    }
    bench.exchange.sim.fault(Fault { kind: FaultKind::ReviseClosedCandle, path_prefix: String::new(), times: None });
    bench.exchange.answers_with_faults();
    for _ in 0..20 {
        let _ = bench.ask(newest).await;
        bench.wait(Duration::from_secs(30)).await;
    }
    for target in [newest, &settled] {
        let answer = bench.ask(target).await.expect("an answer");
        let truth = bench.exchange.sim.answer(SimRequest::of(target)).body;
        assert!(opens(&truth) == opens(&answer), "{target} is still of the history before\n{}", bench.story());
    }
}
