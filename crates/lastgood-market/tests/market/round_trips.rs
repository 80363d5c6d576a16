//! What a cold load asks a real Redis before it asks the exchange, as Redis itself tells it.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lastgood::store::{Guard, RedisOptions, RedisStore};
use lastgood::{Cache, Clock, Error, Loaded, Outcome, Region, Value};
use lastgood_market::candles::{Candles, Exchange};
use lastgood_market::{
    Identities, Plan, Preset, Priority, Received, RegionName, Request, UpstreamRequest, Venue, plan,
};
use lastgood_testing::RedisServer;

use crate::ledger::{Ledger, MINUTE, Range};

const ASKED: &str = "the-exchange-is-asked";
const ENOUGH: Duration = Duration::from_secs(20);

/// An exchange that tells Redis when it is asked.
struct Marking(Arc<Ledger>, Arc<RedisServer>);

#[async_trait]
impl Exchange for Marking {
    async fn receive(&self, request: UpstreamRequest, priority: Priority) -> Result<Received, Error> {
        self.1.command(&["ECHO", ASKED]);
        self.0.receive(request, priority).await
    }

    fn forming_fresh_for(&self, _: &str) -> Duration {
        ENOUGH
    }
}

struct Node {
    server: Arc<RedisServer>,
    _cache: Cache,
    region: Region,
    candles: Candles,
}

impl Node {
    /// A process over a Redis of its own that has spoken with it already.
    async fn start(has_leases: bool) -> Node {
        let server = Arc::new(RedisServer::start());
        let store = RedisStore::connect(RedisOptions::parse(&server.url()).unwrap());
        // What a busy machine takes is not the subject.
        let guard = Guard { budget: ENOUGH, write_budget: ENOUGH, ..Guard::default() };
        let cache = Cache::builder().store(Arc::new(store)).guard(guard).leases(has_leases).build().unwrap();
        let region = cache.region("klines", RegionName::Klines.policy(Preset::Trading)).unwrap();
        let clock = Clock::system();
        let ledger = Ledger::new(clock.clone(), clock.now().as_millis() - 3_000 * MINUTE, false);
        let exchange = Arc::new(Marking(ledger, Arc::clone(&server)));
        let candles = Candles::new(region.clone(), true, clock, exchange);
        region.get_or_load("first", || async { Ok(Loaded::from(Value::new("1"))) }).await.unwrap();
        assert!(cache.sync(ENOUGH).await);
        Node { server, _cache: cache, region, candles }
    }

    async fn candles(&self, symbol: &str, range: Range) {
        let query = range.query("1m").replace("BTCUSDT", symbol);
        let request = Request { is_get: true, path: "/api/v3/klines", query: &query, ..Request::default() };
        let Plan::Candles(question) = plan(&Identities::public(), Venue::Spot, request) else { panic!("{range:?}") };
        assert_eq!(self.candles.answer(&question).await.unwrap().outcome, Outcome::Miss);
    }

    async fn plain(&self) {
        let server = Arc::clone(&self.server);
        let load = move || async move {
            server.command(&["ECHO", ASKED]);
            Ok(Loaded::from(Value::new("1")))
        };
        assert_eq!(self.region.get_or_load("plain", load).await.unwrap().outcome(), Outcome::Miss);
    }
}

/// The commands that Redis got, from its own record of them.
struct Record(BufReader<TcpStream>);

impl Record {
    fn of(server: &RedisServer) -> Record {
        let mut connection = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
        connection.set_read_timeout(Some(ENOUGH)).unwrap();
        connection.write_all(b"MONITOR\r\n").unwrap();
        let mut record = Record(BufReader::new(connection));
        assert_eq!(record.line(), "+OK");
        record
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// The names of the commands about some keys up to the first request to the exchange, but for what scripts call.
    fn until_the_exchange_is_asked(mut self, about: &str) -> Vec<String> {
        let mut commands = Vec::new();
        loop {
            let line = self.line();
            if line.contains(ASKED) {
                return commands;
            }
            let (from, words) = line.split_once("] ").unwrap();
            if words.contains(about) && !from.ends_with("lua") {
                commands.push(words.split('"').nth(1).unwrap().to_owned());
            }
        }
    }
}

/// What a cold load sends Redis one after the other, of the newest candles, of a range of old ones, and of a plain key.
async fn asked_before_the_exchange(has_leases: bool) -> Vec<Vec<String>> {
    let node = Node::start(has_leases).await;
    let mut asked = Vec::new();
    let ago = |minutes: u64| Clock::system().now().as_millis() - minutes * MINUTE;
    let newest = |limit| Range { limit: Some(limit), ..Range::default() };
    let old = Range { start: Some(ago(2_000)), end: Some(ago(1_900)), limit: Some(500) };
    // Each under keys of its own: what the one before writes behind is not counted.
    for (about, range) in [("ONE", Some(newest(500))), ("TWO", Some(newest(2))), ("THREE", Some(old)), ("plain", None)]
    {
        let record = Record::of(&node.server);
        match range {
            Some(range) => node.candles(about, range).await,
            None => node.plain().await,
        }
        asked.push(record.until_the_exchange_is_asked(about));
    }
    asked
}

/// The same, up to three times: a process that got no time for a while takes its connection for dead, and asks nothing of Redis.
async fn asked_of_redis(has_leases: bool) -> Vec<Vec<String>> {
    let mut asked = Vec::new();
    for _ in 0..3 {
        asked = asked_before_the_exchange(has_leases).await;
        if asked.iter().all(|commands| !commands.is_empty()) {
            break;
        }
    }
    asked
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_costs_a_cold_load_one_round_trip_to_redis() {
    let (without, with) = (asked_of_redis(false).await, asked_of_redis(true).await);
    assert_eq!(without, [vec!["MGET"], vec!["MGET"], vec!["MGET"], vec!["GET"]]);
    assert_eq!(with, [vec!["MGET", "EVAL"], vec!["MGET", "EVAL"], vec!["EVAL", "MGET"], vec!["GET", "EVAL"]]);
}
