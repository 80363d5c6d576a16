//! One question, several keys: which of them answers, in every state, under a clock that stands until it is moved.

mod doubts;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use lastgood::store::MemoryStore;
use lastgood::{Answer, Cache, Clock, Error, Loaded, Outcome, Policy, Reason, Region, Tier};
use lastgood_market::line::{Doubts, Keeper, Loader};
use lastgood_market::projection::Index;
use lastgood_market::{Line, Plan, Priority, Request, UpstreamRequest, Venue, plan};
use tokio::time::advance;

const SECOND: Duration = Duration::from_secs(1);

/// A cache of one region before an exchange with scripted answers.
struct Bench {
    region: Region,
    exchange: Arc<Script>,
}

#[derive(Default)]
struct Script {
    answers: Mutex<VecDeque<(Duration, Result<String, Reason>)>>,
    asked: Mutex<Vec<String>>,
    doubts: Doubts,
}

#[async_trait]
impl Loader for Script {
    async fn load_request(&self, request: &UpstreamRequest, _: Priority) -> Result<Loaded, Error> {
        self.asked.lock().unwrap().push(request.query.clone());
        let next = self.answers.lock().unwrap().pop_front();
        let (late, answer) = next.unwrap_or((Duration::ZERO, Err(Reason::Unreachable)));
        tokio::time::sleep(late).await;
        let body = Bytes::from(answer.map_err(|reason| Error::new(reason, "injected"))?);
        let fresh_for = request.fresh_for(&body, Clock::paused_with_tokio().now(), SECOND);
        Ok(Loaded { fresh_for, ..Loaded::from(body) })
    }

    fn doubts(&self) -> &Doubts {
        &self.doubts
    }
}

impl Keeper for Bench {
    fn region(&self, _: &UpstreamRequest) -> &Region {
        &self.region
    }

    fn with_index<R>(&self, answer: &Answer, with: impl FnOnce(Option<&Index>) -> R) -> R {
        with(Index::of(answer.body()).as_ref())
    }

    fn loader(&self) -> Arc<dyn Loader> {
        Arc::clone(&self.exchange) as _
    }
}

impl Bench {
    fn over(cache: &Cache) -> Bench {
        let policy = Policy { jitter: 0.0, ..Policy::fresh_for(2 * SECOND) };
        Bench { region: cache.region("any", policy).unwrap(), exchange: Arc::default() }
    }

    fn new() -> Bench {
        Bench::over(&Cache::builder().clock(Clock::paused_with_tokio()).build().unwrap())
    }

    fn says(&self, body: &str) {
        self.exchange.answers.lock().unwrap().push_back((Duration::ZERO, Ok(body.to_owned())));
    }

    fn fails(&self, reason: Reason) {
        self.exchange.answers.lock().unwrap().push_back((Duration::ZERO, Err(reason)));
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.exchange.asked.lock().unwrap())
    }

    /// The body that is answered from, before it is cut, and where it came from.
    async fn ask(&self, line: &Line) -> Result<(String, Outcome), Reason> {
        let answered = line.answer(self).await.map_err(|error| error.reason)?;
        let body = String::from_utf8(answered.answer.body().to_vec()).unwrap();
        Ok((body, answered.answer.outcome()))
    }
}

fn line(target: &str) -> Line {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    match plan(
        &lastgood_market::Identities::public(),
        Venue::of(path, query).unwrap(),
        Request { is_get: true, path, query, ..Request::default() },
    ) {
        Plan::Cached(line) => line,
        other => panic!("{target}: {other:?}"),
    }
}

fn book(id: u64) -> String {
    format!(r#"{{"lastUpdateId":{id},"bids":[["2","1"]],"asks":[["3","1"]]}}"#)
}

fn day(symbols: &[(&str, u64)]) -> String {
    let rows: Vec<_> =
        symbols.iter().map(|(symbol, at)| format!(r#"{{"symbol":"{symbol}","closeTime":{at}}}"#)).collect();
    format!("[{}]", rows.join(","))
}

const HIT: Outcome = Outcome::Hit(Tier::Memory);

#[tokio::test(start_paused = true)]
async fn the_newest_key_answers_while_fresh_and_when_nothing_is() {
    let bench = Bench::new();
    let (shallow, deeper) = (line("/api/v3/depth?symbol=X&limit=5"), line("/api/v3/depth?symbol=X&limit=400"));
    bench.says(&book(1));
    assert_eq!(bench.ask(&shallow).await, Ok((book(1), Outcome::Miss)));
    advance(SECOND).await;
    bench.says(&book(2));
    assert_eq!(bench.ask(&deeper).await, Ok((book(2), Outcome::Miss)));
    assert_eq!(bench.ask(&shallow).await, Ok((book(2), HIT)), "both are fresh");
    advance(3 * SECOND).await;
    bench.fails(Reason::Upstream);
    assert_eq!(bench.ask(&shallow).await, Ok((book(2), Outcome::LastGood(Reason::Upstream))), "neither is");
    advance(10 * SECOND).await;
    bench.says(&book(3));
    assert_eq!(bench.ask(&shallow).await, Ok((book(3), Outcome::Miss)));
    assert_eq!(bench.asked(), ["symbol=X", "limit=500&symbol=X", "symbol=X", "symbol=X"]);
}

#[tokio::test(start_paused = true)]
async fn a_key_whose_freshness_lasts_longer_does_not_win_over_a_newer_one() {
    let bench = Bench::new();
    let (one, all) = (line("/api/v3/ticker/24hr?symbol=A"), line("/api/v3/ticker/24hr"));
    // The exchange's list may be behind a stream of one symbol.
    let own = r#"{"symbol":"A","closeTime":100}"#;
    let name = &one.question().key;
    bench.region.put(name, Loaded::from(Bytes::from_static(own.as_bytes())).fresh_for(SECOND)).await;
    advance(SECOND / 2).await;
    bench.says(&day(&[("A", 98), ("B", 99)]));
    bench.ask(&all).await.unwrap();
    assert_eq!(bench.ask(&one).await, Ok((own.to_owned(), HIT)));
    advance(SECOND).await;
    bench.fails(Reason::Upstream);
    assert_eq!(bench.ask(&one).await, Ok((own.to_owned(), Outcome::LastGood(Reason::Upstream))), "98 is fresh");
    advance(4 * SECOND).await;
    bench.says(&day(&[("A", 101), ("B", 101)]));
    bench.ask(&all).await.unwrap();
    assert_eq!(bench.ask(&one).await, Ok((day(&[("A", 101), ("B", 101)]), HIT)));
}

#[tokio::test(start_paused = true)]
async fn a_key_that_does_not_hold_the_answer_is_passed_over() {
    let bench = Bench::new();
    let one = line("/api/v3/ticker/price?symbol=A");
    bench.says(r#"[{"symbol":"B","price":"1"}]"#);
    bench.says(r#"{"symbol":"A","price":"2"}"#);
    let own = r#"{"symbol":"A","price":"2"}"#.to_owned();
    assert_eq!(bench.ask(&one).await, Ok((own.clone(), Outcome::Miss)));
    assert_eq!(bench.asked(), ["", "symbol=A"]);
    assert_eq!(bench.ask(&one).await, Ok((own.clone(), HIT)));
    advance(3 * SECOND).await;
    bench.says(r#"[{"symbol":"B","price":"3"}]"#);
    bench.fails(Reason::Unreachable);
    assert_eq!(bench.ask(&one).await, Ok((own, Outcome::LastGood(Reason::Unreachable))));
}

#[tokio::test(start_paused = true)]
async fn of_symbols_that_two_lists_in_a_row_lack_each_has_its_newest_row() {
    let bench = Bench::new();
    let prices = |rows: &[(&str, u64)]| {
        let row = |(symbol, price): &(&str, u64)| format!(r#"{{"symbol":"{symbol}","price":"{price}"}}"#);
        format!("[{}]", rows.iter().map(row).collect::<Vec<_>>().join(","))
    };
    let one = |symbol: &str| line(&format!("/api/v3/ticker/price?symbol={symbol}"));
    for list in [prices(&[("A", 1), ("B", 1), ("C", 1)]), prices(&[("A", 2), ("C", 2), ("D", 2)])] {
        bench.says(&list);
        assert_eq!(bench.ask(&one("A")).await, Ok((list, Outcome::Miss)));
        advance(3 * SECOND).await;
    }
    bench.says(&prices(&[("D", 3)]));
    let before = prices(&[("A", 2), ("B", 1), ("C", 2), ("D", 2)]);
    for symbol in ["A", "B", "C"] {
        bench.fails(Reason::Unreachable);
        let kept = Ok((before.clone(), Outcome::LastGood(Reason::Unreachable)));
        assert_eq!(bench.ask(&one(symbol)).await, kept, "{symbol}");
    }
    let answered = one("A");
    let kept = answered.last_good(&bench, Error::new(Reason::Unreachable, "injected")).unwrap();
    assert_eq!(kept.answer.age(), 6 * SECOND, "as old as its oldest row");
}

#[tokio::test(start_paused = true)]
async fn a_row_of_a_list_from_before_counts_by_its_own_time_though_another_row_is_older() {
    let bench = Bench::new();
    let (one, all) = (line("/fapi/v1/ticker/price?symbol=A"), line("/fapi/v1/ticker/price"));
    let began = Clock::paused_with_tokio().now().as_millis();
    let price = |symbol: &str, seconds: u64| {
        format!(r#"{{"symbol":"{symbol}","price":"1","time":{}}}"#, began + seconds * 1_000)
    };
    for list in [vec![price("A", 0), price("B", 0)], vec![price("A", 60)]] {
        bench.says(&format!("[{}]", list.join(",")));
        bench.ask(&all).await.unwrap();
        advance(60 * SECOND).await;
    }
    // The next list lacks the symbol, and by itself it is given as it was half a minute before.
    bench.says(&format!("[{}]", price("C", 120)));
    bench.says(&price("A", 30));
    let before = format!("[{},{}]", price("A", 60), price("B", 0));
    assert_eq!(bench.ask(&one).await, Ok((before, Outcome::LastGood(Reason::Outdated))));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_the_exchanges_answer_and_a_broken_list_is_no_reason_not_to_ask() {
    let bench = Bench::new();
    let one = line("/api/v3/ticker/price?symbol=A");
    bench.says(r#"[{"symbol":"A","price":"1"}]"#);
    bench.ask(&one).await.unwrap();
    advance(3 * SECOND).await;
    bench.fails(Reason::Malformed);
    let own = r#"{"symbol":"A","price":"2"}"#.to_owned();
    bench.says(&own);
    assert_eq!(bench.ask(&one).await, Ok((own, Outcome::Miss)));
    advance(20 * SECOND).await;
    bench.fails(Reason::NotFound);
    bench.fails(Reason::NotFound);
    assert_eq!(bench.ask(&one).await, Err(Reason::NotFound));
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_lags_is_asked_once_more_and_then_not_believed_for_half_a_minute() {
    let bench = Bench::new();
    let shallow = line("/api/v3/depth?symbol=X&limit=5");
    bench.says(&book(100));
    bench.ask(&shallow).await.unwrap();
    advance(3 * SECOND).await;
    bench.says(&book(90));
    bench.says(&book(110));
    assert_eq!(bench.ask(&shallow).await, Ok((book(110), Outcome::Miss)), "another replica is up to date");
    advance(3 * SECOND).await;
    bench.says(&book(91));
    bench.says(&book(92));
    assert_eq!(bench.ask(&shallow).await, Ok((book(110), Outcome::LastGood(Reason::Outdated))));
    // An exchange that has begun again says the same for ever.
    advance(30 * SECOND).await;
    bench.says(&book(1));
    bench.says(&book(2));
    assert_eq!(bench.ask(&shallow).await, Ok((book(2), Outcome::Miss)));
    assert_eq!(bench.ask(&shallow).await, Ok((book(2), HIT)));
}

#[tokio::test(start_paused = true)]
async fn after_a_new_beginning_of_the_exchange_no_deeper_book_from_before_comes_back() {
    let bench = Bench::new();
    let (shallow, deeper) = (line("/api/v3/depth?symbol=X&limit=5"), line("/api/v3/depth?symbol=X&limit=400"));
    bench.says(&book(1_000_000));
    bench.ask(&deeper).await.unwrap();
    advance(31 * SECOND).await;
    bench.says(&book(1));
    bench.says(&book(2));
    assert_eq!(bench.ask(&shallow).await, Ok((book(2), Outcome::Miss)), "two answers agree");
    advance(3 * SECOND).await;
    bench.says(&book(3));
    assert_eq!(bench.ask(&shallow).await, Ok((book(3), Outcome::Miss)));
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_the_newest_of_the_store_answers_under_whatever_key_it_lies() {
    let clock = Clock::paused_with_tokio();
    let store = MemoryStore::new(clock.clone(), 1 << 20);
    let cache = || Cache::builder().store(Arc::new(store.clone())).clock(clock.clone()).build().unwrap();
    let (shallow, deeper) = (line("/api/v3/depth?symbol=X&limit=5"), line("/api/v3/depth?symbol=X&limit=400"));
    let first = cache();
    let bench = Bench::over(&first);
    for (line, id) in [(&shallow, 1), (&deeper, 2)] {
        bench.says(&book(id));
        bench.ask(line).await.unwrap();
        advance(SECOND).await;
    }
    assert!(first.sync(SECOND).await);
    advance(3 * SECOND).await;
    let bench = Bench::over(&cache());
    bench.fails(Reason::Unreachable);
    assert_eq!(bench.ask(&shallow).await, Ok((book(2), Outcome::LastGood(Reason::Unreachable))));
    // And a book that is to start finds what there is when the exchange fails.
    let bench = Bench::over(&cache());
    bench.fails(Reason::Unreachable);
    let books = line("/api/v3/depth?symbol=X&limit=500");
    assert_eq!(bench.ask(&books).await, Ok((book(2), Outcome::LastGood(Reason::Unreachable))));
}

#[tokio::test(start_paused = true)]
async fn a_reader_with_something_to_serve_waits_no_longer_than_for_its_own_key() {
    let bench = Bench::new();
    let (shallow, deeper) = (line("/api/v3/depth?symbol=X&limit=5"), line("/api/v3/depth?symbol=X&limit=400"));
    bench.says(&book(1));
    bench.ask(&deeper).await.unwrap();
    advance(3 * SECOND).await;
    bench.exchange.answers.lock().unwrap().push_back((5 * SECOND, Ok(book(2))));
    let begun = tokio::time::Instant::now();
    assert_eq!(bench.ask(&shallow).await, Ok((book(1), Outcome::LastGood(Reason::Slow))));
    assert!(begun.elapsed() < SECOND);
    tokio::time::sleep(5 * SECOND).await;
    assert_eq!(bench.ask(&shallow).await, Ok((book(2), HIT)), "the load went on behind");
}

#[tokio::test(start_paused = true)]
async fn a_reader_with_something_to_serve_waits_for_the_load_once_that_was_removed() {
    let bench = Bench::new();
    let (shallow, deeper) = (line("/api/v3/depth?symbol=X&limit=5"), line("/api/v3/depth?symbol=X&limit=400"));
    bench.says(&book(1));
    bench.ask(&deeper).await.unwrap();
    advance(3 * SECOND).await;
    bench.exchange.answers.lock().unwrap().push_back((5 * SECOND, Ok(book(2))));
    let removing = async {
        tokio::time::sleep(SECOND / 10).await;
        bench.region.clear().await;
    };
    let (answered, ()) = tokio::join!(bench.ask(&shallow), removing);
    assert_eq!(answered, Ok((book(2), Outcome::Miss)));
}

#[tokio::test(start_paused = true)]
async fn one_question_never_goes_back_whatever_the_exchange_and_others_do() {
    let bench = Bench::new();
    let lines: Vec<Line> =
        [5, 50, 200, 500, 700, 5_000].map(|limit| line(&format!("/api/v3/depth?symbol=X&limit={limit}"))).into();
    let mut latest = vec![0; lines.len()];
    let (mut now, mut random) = (1_000_u64, 0x9E37_79B9_u64);
    for step in 0..3_000 {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let millis = random % 700;
        advance(Duration::from_millis(millis)).await;
        now += millis;
        bench.exchange.answers.lock().unwrap().clear();
        // The exchange, a replica that is up to ten seconds behind, or none.
        for shift in [9, 17] {
            match (random >> shift) % 4 {
                0 => bench.says(&book(now.saturating_sub((random >> 23) % 10_000))),
                1 => bench.fails(Reason::Upstream),
                _ => bench.says(&book(now)),
            }
        }
        let which = (random >> 40) as usize % lines.len();
        let Ok((body, outcome)) = bench.ask(&lines[which]).await else { continue };
        let id: u64 = body[16..].split(',').next().unwrap().parse().unwrap();
        assert!(
            id >= latest[which],
            "step {step}: {id} ({outcome}) after {} for {}",
            latest[which],
            lines[which].load().key
        );
        latest[which] = id;
    }
    assert!(latest.iter().all(|latest| *latest > now - 60_000), "{latest:?} at {now}");
}
