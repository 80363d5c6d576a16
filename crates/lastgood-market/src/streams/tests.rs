//! What streams bring, in any order and under any name, next to REST's answers: a served value never goes back, and is
//! never another symbol's.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use lastgood::{Cache, Error, Policy};
use proptest::prelude::*;

use super::*;
use crate::candles::{Exchange, Question};
use crate::plan::{Plan, Request, plan};
use crate::{Identities, Preset, Priority, Received};

const MINUTE: u64 = 60_000;

/// An exchange whose every number is the time at which it said it, so that an answer tells how old it is.
struct Tower(Clock);

impl Tower {
    fn now(&self) -> u64 {
        self.0.now().as_millis()
    }
}

/// The candle of the minute of `at`, as of then.
fn row(open: u64, at: u64) -> String {
    let (trades, close) = ((at - open).min(MINUTE), at.min(open + MINUTE));
    format!(r#"[{open},"{open}","{close}","{open}","{close}","1",{},"1",{trades},"1","1","0"]"#, open + MINUTE - 1)
}

#[async_trait]
impl Exchange for Tower {
    async fn receive(&self, request: UpstreamRequest, _: Priority) -> Result<Received, Error> {
        let asked_at = self.0.now();
        let now = self.now();
        let asked = |name: &str| {
            let mut fields = request.query.split('&').filter_map(|field| field.split_once('='));
            fields.find(|(known, _)| *known == name).map(|(_, value)| value.parse::<u64>().unwrap())
        };
        let (limit, end) = (asked("limit").unwrap_or(500), asked("endTime").unwrap_or(now).min(now) / MINUTE);
        let (from, to) = match asked("startTime") {
            Some(start) => (start.div_ceil(MINUTE), (start.div_ceil(MINUTE) + limit - 1).min(end)),
            None => (end + 1 - limit, end),
        };
        let rows: Vec<String> = (from..=to).map(|minute| row(minute * MINUTE, now)).collect();
        let value = Value::new(format!("[{}]", rows.join(","))).with_meta("application/json");
        Ok(Received { value, asked_at })
    }

    fn forming_fresh_for(&self, _: &str) -> Duration {
        Duration::from_millis(500)
    }
}

struct Bench {
    clock: Clock,
    streams: Streams,
    question: Arc<Question>,
    tickers: [Arc<UpstreamRequest>; 2],
    wanted: Wanted,
}

fn planned(target: &str) -> Plan {
    let (path, query) = target.split_once('?').unwrap();
    plan(&Identities::public(), Venue::Spot, Request { is_get: true, path, query, ..Request::default() })
}

fn ticker(target: &str) -> Arc<UpstreamRequest> {
    match planned(target) {
        Plan::Cached(line) => Arc::clone(line.question()),
        other => panic!("{other:?}"),
    }
}

impl Bench {
    fn new() -> Bench {
        let clock = Clock::paused_with_tokio();
        let cache = Cache::builder().clock(clock.clone()).build().unwrap();
        let regions = Regions::open(|name| {
            let policy = Policy { soft_timeout: Duration::from_secs(1), ..name.policy(Preset::Trading) };
            cache.region(name.as_str(), policy)
        });
        let regions = regions.unwrap();
        let klines = regions.of(RegionName::Klines).clone();
        let candles = Candles::new(klines, false, clock.clone(), Arc::new(Tower(clock.clone())));
        let streams = Streams::new(&[Venue::Spot], &Proxies::default(), &candles, &regions, &clock);
        let Plan::Candles(question) = planned("/api/v3/klines?symbol=BTCUSDT&interval=1m&limit=3") else {
            panic!("no candles")
        };
        let tickers = ["/api/v3/ticker/24hr?symbol=BTCUSDT", "/api/v3/ticker/bookTicker?symbol=BTCUSDT"].map(ticker);
        let named =
            tickers.iter().map(|request| (ticker_stream(request).unwrap(), Target::Ticker(Arc::clone(request))));
        let series = (candle_stream(&question.series).unwrap(), Target::Candles(Arc::clone(&question.series)));
        let wanted = named.chain([series]).collect();
        Bench { clock, streams, question, tickers, wanted }
    }

    fn now(&self) -> u64 {
        self.clock.now().as_millis()
    }

    /// A message comes from a connection.
    async fn hear(&self, text: &str) -> bool {
        match self.streams.read(Venue::Spot, text) {
            Some(message) => self.streams.take(Venue::Spot, &self.wanted, message).await,
            None => false,
        }
    }

    /// REST answers a question for a ticker.
    async fn rest(&self, request: &UpstreamRequest) {
        let body = rest_body(request, self.now());
        self.streams.regions.of(request.region()).put(&request.key, Loaded::from(Value::new(body))).await;
    }

    /// The served ticker, as the time at which the exchange said it.
    fn served(&self, request: &UpstreamRequest) -> Option<u64> {
        let kept = self.streams.regions.of(request.region()).peek(&request.key)?;
        let body: serde_json::Value = serde_json::from_slice(kept.body()).unwrap();
        assert_eq!(body["symbol"], "BTCUSDT", "{body}");
        let price = body.get("lastPrice").or(body.get("bidPrice")).unwrap();
        Some(price.as_str().unwrap().parse().unwrap())
    }

    /// The same for the newest candle.
    async fn served_candle(&self) -> u64 {
        let slice = self.streams.candles.answer(&self.question).await.unwrap();
        let text: Vec<Bytes> = slice.runs.to_vec();
        let text = format!("[{}]", text.iter().map(|run| str::from_utf8(run).unwrap()).collect::<Vec<_>>().join(","));
        let rows: Vec<Vec<serde_json::Value>> = serde_json::from_str(&text).unwrap();
        let last = rows.last().unwrap();
        assert_eq!(rows.len(), 3, "{text}");
        assert_eq!(last[1].as_str().unwrap(), last[0].to_string(), "another symbol's: {text}");
        last[4].as_str().unwrap().parse().unwrap()
    }
}

fn rest_body(request: &UpstreamRequest, at: u64) -> String {
    let message = match request.region() {
        RegionName::BookTicker => book_ticker("BTCUSDT", at),
        _ => day_ticker("BTCUSDT", at),
    };
    match stream::read(Venue::Spot, &message) {
        Some(Message::Ticker { body, .. }) => body,
        other => panic!("{other:?}"),
    }
}

fn day_ticker(symbol: &str, at: u64) -> String {
    format!(
        r#"{{"e":"24hrTicker","E":{at},"s":"{symbol}","p":"1","P":"1","w":"1","x":"1","c":"{at}","Q":"1","b":"1","B":"1","a":"1","A":"1","o":"1","h":"1","l":"1","v":"1","q":"1","O":1,"C":{at},"F":1,"L":2,"n":2}}"#
    )
}

fn book_ticker(symbol: &str, at: u64) -> String {
    format!(r#"{{"u":{at},"s":"{symbol}","b":"{at}","B":"1","a":"{at}","A":"1"}}"#)
}

/// Another symbol's candles open at another price.
fn candle(symbol: &str, at: u64) -> String {
    let (open, price) = (at / MINUTE * MINUTE, if symbol == "BTCUSDT" { at / MINUTE * MINUTE } else { 7 });
    format!(
        r#"{{"e":"kline","E":{at},"s":"{symbol}","k":{{"t":{open},"T":{},"s":"{symbol}","i":"1m","f":1,"L":2,"o":"{price}","c":"{at}","h":"{at}","l":"{price}","v":"1","n":{},"x":false,"q":"1","V":"1","Q":"1","B":"0"}}}}"#,
        open + MINUTE - 1,
        at - open
    )
}

const STREAMS: [&str; 3] = ["btcusdt@ticker", "btcusdt@bookTicker", "btcusdt@kline_1m"];

fn message(kind: usize, symbol: &str, at: u64) -> String {
    [day_ticker, book_ticker, candle][kind](symbol, at)
}

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    /// A message of that stream, of so long ago.
    Tick {
        kind: usize,
        ago: u64,
        raw: bool,
        times: usize,
    },
    /// Messages of something else, or broken ones.
    Wrong {
        kind: usize,
        how: usize,
    },
    Rest,
    /// The connection is made again.
    Reconnect,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => prop_oneof![0u64..900, 0u64..9_000, 50_000u64..70_000].prop_map(Step::Wait),
        6 => (0usize..3, prop_oneof![0u64..900, 0u64..120_000], any::<bool>(), 1usize..3)
            .prop_map(|(kind, ago, raw, times)| Step::Tick { kind, ago, raw, times }),
        3 => (0usize..3, 0usize..8).prop_map(|(kind, how)| Step::Wrong { kind, how }),
        2 => Just(Step::Rest),
        1 => Just(Step::Reconnect),
    ];
    prop::collection::vec(step, 1..60)
}

/// A message that is not what it should be.
fn wrong(kind: usize, how: usize, now: u64) -> String {
    let good = message(kind, "BTCUSDT", now);
    let labelled = |data: &str| format!(r#"{{"stream":"{}","data":{data}}}"#, STREAMS[kind]);
    match how {
        0 => labelled(&message(kind, "ETHUSDT", now)),
        1 => labelled(&good.replacen("\"s\":\"BTCUSDT\"", "\"s\":\"ETHUSDT\"", 1)),
        2 => labelled(&message((kind + 1) % 3, "BTCUSDT", now)),
        3 => labelled(&message(kind, "BTCUSDT", now + 3_600_000)).replace("\"u\"", "\"E\""),
        4 => labelled(&good.replace(&format!("\"{now}\""), "\"NaN\"")),
        5 => labelled(&good.replace(&format!("\"{now}\""), "{}")),
        6 => labelled(&good[..good.len() / 2]),
        _ => message(kind, "ETHUSDT", now),
    }
}

async fn play(steps: &[Step]) {
    let bench = Bench::new();
    bench.served_candle().await;
    let mut before = [0; 3];
    for step in steps {
        match *step {
            Step::Wait(millis) => tokio::time::advance(Duration::from_millis(millis)).await,
            Step::Tick { kind, ago, raw, times } => {
                // Spot's best offers bear no time: one that is late by more than a second looks like one that is not.
                let ago = if kind == 1 { ago % 900 } else { ago };
                let data = message(kind, "BTCUSDT", bench.now() - ago);
                let text = if raw { data } else { format!(r#"{{"stream":"{}","data":{data}}}"#, STREAMS[kind]) };
                for _ in 0..times {
                    bench.hear(&text).await;
                }
            }
            Step::Wrong { kind, how } => {
                let text = wrong(kind, how, bench.now());
                assert!(!bench.hear(&text).await, "{text}");
            }
            Step::Rest => {
                // No answer begins in the millisecond in which a message is taken.
                tokio::time::advance(Duration::from_millis(1)).await;
                for request in &bench.tickers {
                    bench.rest(request).await;
                }
            }
            // The subscribed symbol is read again, and all else is as it was.
            Step::Reconnect => bench.streams.keep_order_of(Venue::Spot, &bench.wanted),
        }
        let served =
            [bench.served(&bench.tickers[0]), bench.served(&bench.tickers[1]), Some(bench.served_candle().await)];
        for (before, served) in before.iter_mut().zip(served) {
            let served = served.unwrap_or(0);
            assert!(served >= *before, "{step:?}: {served} after {before}, {} ms back", *before - served);
            assert!(served <= bench.now(), "{step:?}: of a time that is still to come");
            *before = served;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn served_values_never_go_back_and_are_never_another_symbol_s(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(play(&steps));
    }
}

#[tokio::test(start_paused = true)]
async fn what_streams_bring_in_order_is_taken_and_what_they_should_not_bring_is_counted() {
    let bench = Bench::new();
    bench.served_candle().await;
    bench.rest(&bench.tickers[0]).await;
    for _ in 0..5 {
        tokio::time::advance(Duration::from_millis(1_200)).await;
        for kind in 0..3 {
            assert!(bench.hear(&message(kind, "BTCUSDT", bench.now())).await, "{kind}");
        }
        assert_eq!(bench.served(&bench.tickers[0]), Some(bench.now()));
        assert_eq!(bench.served(&bench.tickers[1]), Some(bench.now()));
        assert_eq!(bench.served_candle().await, bench.now());
    }
    let counted = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let counters = bench.streams.counters(Venue::Spot);
    assert!(counted(&counters.taken) >= 14, "{counters:?}");
    for kind in 0..3 {
        assert!(!bench.hear(&wrong(kind, 0, bench.now())).await);
        bench.hear(&message(kind, "BTCUSDT", bench.now() - 500)).await;
    }
    bench.hear(&wrong(0, 3, bench.now())).await;
    bench.hear(&wrong(0, 4, bench.now())).await;
    let counts = [&counters.mislabelled, &counters.outdated, &counters.ahead, &counters.unreadable].map(counted);
    assert_eq!(counts, [3, 3, 1, 1], "{counters:?}");
}
