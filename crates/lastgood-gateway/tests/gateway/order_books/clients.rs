//! Clients from PyPI and npm that keep order books, unmodified: their snapshots come from the gateway, their streams from
//! the exchange, as for any bot that is pointed at a gateway.

use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};

use super::{FUTURES, SPOT, exchange_and_gateway, readers};
use crate::clients::{hint, script};
use crate::support::Exchange;

/// When bots start, in seconds: while all is well, while the exchange is slow, while it fails, and after it healed.
const STARTS: [f64; 8] = [0.0, 0.7, 1.4, 3.3, 4.1, 8.3, 9.1, 13.5];
const SECONDS: f64 = 24.0;
const SLOW: (f64, f64) = (3.0, 5.0);
const FAILING: (f64, f64) = (8.0, 10.0);
/// How long a bot may take to have a good book, from its last snapshot or from when the exchange is well again.
const SETTLED: f64 = 2.0;
/// How many snapshots a bot needs directly: python-binance asks for one before it has its stream, and for another then.
const MOST_SNAPSHOTS: u64 = 2;
/// How long the gateway may take to notice that the exchange is well again.
const NOTICED: f64 = 1.5;

/// What came of a bot, times in seconds; made by tests/clients/books.py.
#[derive(Debug, Deserialize)]
struct Kept {
    name: String,
    started: f64,
    /// When its last snapshot came.
    joined: f64,
    updates: usize,
    snapshots: u64,
    errors: Vec<(f64, String)>,
    /// When its book was compared with the exchange's own, and was the same.
    matched: Vec<f64>,
    mismatched: Vec<f64>,
}

/// Runs a script's bots through the plan.
async fn run(name: &str) -> Vec<Kept> {
    let (exchange, gateway) = exchange_and_gateway().await;
    let _readers = readers(&gateway, &[SPOT.depth, FUTURES.depth]);
    let plan = json!({"seconds": SECONDS, "starts": STARTS}).to_string();
    let mut running = script(name, &exchange, &gateway)
        .env("PLAN", plan)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|why| panic!("{name}: {why}; run tests/install-tools.sh"));
    let mut said = BufReader::new(running.stdout.take().expect("piped")).lines();
    let mut complaints = running.stderr.take().expect("piped");
    let complained = tokio::spawn(async move {
        let mut text = String::new();
        let _ = complaints.read_to_string(&mut text).await;
        text
    });
    let done = async {
        let first = said.next_line().await.expect("a line");
        if first.as_deref() == Some("go") {
            moods(&exchange).await;
        }
        let mut last = String::new();
        while let Some(line) = said.next_line().await.expect("a line") {
            last = line;
        }
        last
    };
    let last = tokio::time::timeout(Duration::from_secs(120), done).await.unwrap_or_else(|_| panic!("{name} ends"));
    let complained = complained.await.expect("read");
    serde_json::from_str(&last).unwrap_or_else(|why| panic!("{name}: {why}: {last}{complained}{}", hint(&complained)))
}

/// The exchange's moods by the plan.
async fn moods(exchange: &Exchange) {
    let pause = |(from, to): (f64, f64)| tokio::time::sleep(Duration::from_secs_f64(to - from));
    let paths = ["/api/v3/depth", "/fapi/v1/depth"];
    pause((0.0, SLOW.0)).await;
    paths.iter().for_each(|path| exchange.fault(json!({"kind": "latency", "ms": 900, "path_prefix": path})));
    pause(SLOW).await;
    exchange.sim.clear_faults();
    pause((SLOW.1, FAILING.0)).await;
    paths.iter().for_each(|path| exchange.fault(json!({"kind": "status", "status": 503, "path_prefix": path})));
    pause(FAILING).await;
    exchange.sim.clear_faults();
}

/// The problem with a bot's result.
fn wrong(kept: &Kept) -> Option<String> {
    // Those that begin while the exchange fails get errors directly, too.
    let from = if began_while_failing(kept) { FAILING.1 + NOTICED + SETTLED } else { kept.started };
    let errors: Vec<_> = kept.errors.iter().filter(|(at, _)| *at >= from).collect();
    let settled = from.max(kept.joined + SETTLED);
    let wrong: Vec<_> = kept.mismatched.iter().filter(|at| **at > settled).collect();
    let right: Vec<_> = kept.matched.iter().filter(|at| **at > settled).collect();
    let last = right.last().map_or(0.0, |at| **at);
    let what = if !errors.is_empty() {
        format!("{} errors, the first {:?}", errors.len(), errors[0])
    } else if kept.snapshots > MOST_SNAPSHOTS && !began_while_failing(kept) {
        "it began again and again".to_owned()
    } else if !wrong.is_empty() {
        format!("its book was wrong {} times, first after {} s", wrong.len(), wrong[0])
    } else if right.len() < 4 || last < SECONDS - 8.0 {
        // A busy machine compares seldom.
        format!("its book was right {} times, the last after {last} s", right.len())
    } else {
        return None;
    };
    let Kept { name, started, joined, updates, snapshots, .. } = kept;
    let counts = format!("{snapshots} snapshots, the last after {joined} s, {updates} updates");
    Some(format!("{name}, started after {started} s ({counts}): {what}"))
}

fn began_while_failing(kept: &Kept) -> bool {
    FAILING.0 <= kept.started && kept.started < FAILING.1 + NOTICED
}

/// No bot gets an error that it would not get from the exchange directly, and every book is the exchange's.
async fn every_bot_keeps_the_exchanges_book(name: &str, bots: usize, judged: fn(&Kept) -> bool) {
    let kept = run(name).await;
    assert_eq!(kept.len(), bots, "{kept:?}");
    let wrong: Vec<_> = kept.iter().filter(|kept| judged(kept)).filter_map(wrong).collect();
    assert_eq!(wrong, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_book_of_ccxt_pro_is_the_exchanges() {
    every_bot_keeps_the_exchanges_book("ccxt_books.py", STARTS.len() + STARTS.len() / 2, |_| true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_book_of_python_binance_is_the_exchanges() {
    // It joins any snapshot with any event. One that begins while the exchange fails begins with the last good snapshot,
    // and keeps its wrong levels until the exchange sends them again.
    let judged = |kept: &Kept| !began_while_failing(kept);
    every_bot_keeps_the_exchanges_book("python_binance_books.py", STARTS.len(), judged).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_book_of_node_binance_api_is_the_exchanges() {
    // It asks for a snapshot once: one that does not join, or an error, is its end.
    let judged = |kept: &Kept| !began_while_failing(kept);
    every_bot_keeps_the_exchanges_book("node_binance_books.mjs", STARTS.len(), judged).await;
}
