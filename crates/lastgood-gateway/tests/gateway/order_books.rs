//! Order books that are kept from a snapshot of the gateway's and the exchange's own streams.

mod clients;

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt as _;
use lastgood_sim::{SimConfig, Venue};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Exchange, Running, client, get};

/// How many of the best levels are compared: far down a book that began with a snapshot of 500 has holes in time, and a
/// larger book would use up the weight that the gateway needs.
const COMPARED: usize = 100;

/// Where a market is asked for its books, and where it streams them.
#[derive(Clone, Copy, Debug)]
struct Market {
    venue: Venue,
    depth: &'static str,
    stream: &'static str,
    limits: &'static [u64],
}

const SPOT: Market = Market {
    venue: Venue::Spot,
    depth: "/api/v3/depth?symbol=BTCUSDT",
    stream: "/ws/btcusdt@depth@100ms",
    limits: &[500, 1_000, 5_000],
};
const FUTURES: Market = Market {
    venue: Venue::UsdM,
    depth: "/fapi/v1/depth?symbol=BTCUSDT",
    stream: "/public/ws/btcusdt@depth@100ms",
    limits: &[500, 1_000],
};

/// An exchange of few symbols, and a gateway before it as it comes, which has read the exchange's limits: they leave room for
/// all that is asked past the gateway to compare with.
async fn exchange_and_gateway() -> (Exchange, Running) {
    let config = SimConfig {
        seed: 7,
        symbols: 40,
        weight_limit_spot: 60_000,
        weight_limit_futures: 24_000,
        ..SimConfig::default()
    };
    let exchange = Exchange::start_with(config).await;
    let gateway = Running::start(&exchange.url(), &[]).await;
    for path in ["/api/v3/exchangeInfo", "/fapi/v1/exchangeInfo", "/dapi/v1/exchangeInfo"] {
        assert_eq!(get(gateway.url(path)).await.status, 200);
    }
    (exchange, gateway)
}

/// Readers who ask for books again and again, so that a snapshot is always in the gateway's cache.
fn readers(gateway: &Running, depths: &[&str]) -> JoinSet<()> {
    let mut readers = JoinSet::new();
    for depth in depths {
        for (limit, every) in [(5, 150), (1_000, 900)] {
            let url = gateway.url(&format!("{depth}&limit={limit}"));
            readers.spawn(async move {
                loop {
                    // At the end of a test the gateway is gone.
                    let _ = client().get(&url).send().await;
                    tokio::time::sleep(Duration::from_millis(every)).await;
                }
            });
        }
    }
    readers
}

fn number(value: &Value, field: &str) -> u64 {
    value[field].as_u64().unwrap_or_else(|| panic!("{field} in {value}"))
}

/// A book as a client keeps it by the exchange's published rules: quantities by price in hundredths.
struct Book {
    venue: Venue,
    sides: [BTreeMap<u64, String>; 2],
    id: u64,
    is_joined: bool,
}

impl Book {
    fn new(venue: Venue, snapshot: &Value) -> Self {
        let id = number(snapshot, "lastUpdateId");
        let mut book = Book { venue, sides: Default::default(), id, is_joined: false };
        book.apply([&snapshot["bids"], &snapshot["asks"]]);
        book
    }

    fn apply(&mut self, rows: [&Value; 2]) {
        for (side, rows) in self.sides.iter_mut().zip(rows) {
            for row in rows.as_array().unwrap() {
                let price = (row[0].as_str().unwrap().parse::<f64>().unwrap() * 100.0).round() as u64;
                let quantity = row[1].as_str().unwrap();
                match quantity.parse::<f64>().unwrap() == 0.0 {
                    true => drop(side.remove(&price)),
                    false => drop(side.insert(price, quantity.to_owned())),
                }
            }
        }
    }

    /// Takes an event, or says why it does not follow: a client would have to begin again.
    fn hear(&mut self, event: &Value) -> Result<(), String> {
        let (first, last) = (number(event, "U"), number(event, "u"));
        let is_spot = self.venue == Venue::Spot;
        if !self.is_joined && (last < self.id || is_spot && last == self.id) {
            return Ok(());
        }
        let follows = match (is_spot, self.is_joined) {
            (true, false) => first <= self.id + 1,
            (true, true) => first == self.id + 1,
            (false, false) => first <= self.id,
            (false, true) => number(event, "pu") == self.id,
        };
        if !follows {
            let what = if self.is_joined { "event" } else { "snapshot" };
            return Err(format!("the {what} {} is not followed by {first} to {last}", self.id));
        }
        self.apply([&event["b"], &event["a"]]);
        (self.id, self.is_joined) = (last, true);
        Ok(())
    }

    fn top(&self) -> [Vec<(u64, String)>; 2] {
        let copy = |(price, quantity): (&u64, &String)| (*price, quantity.clone());
        let [bids, asks] = &self.sides;
        [bids.iter().rev().take(COMPARED).map(copy).collect(), asks.iter().take(COMPARED).map(copy).collect()]
    }
}

struct Stream(WebSocketStream<TcpStream>);

impl Stream {
    async fn open(exchange: std::net::SocketAddr, path: &str) -> Stream {
        let stream = TcpStream::connect(exchange).await.unwrap();
        let (socket, _) = tokio_tungstenite::client_async(format!("ws://{exchange}{path}"), stream).await.unwrap();
        Stream(socket)
    }

    async fn event(&mut self) -> Value {
        let next = async {
            loop {
                if let Message::Text(text) = self.0.next().await.expect("it goes on").expect("a message") {
                    return serde_json::from_str(&text).unwrap();
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(30), next).await.expect("an event")
    }
}

/// Joins a stream and a snapshot of the gateway's as the exchange tells clients to, and follows it until the book was
/// compared with the exchange's own a few times.
async fn join(market: Market, exchange: std::net::SocketAddr, depth: String) -> Result<(), String> {
    let mut stream = Stream::open(exchange, market.stream).await;
    let snapshot = get(&depth).await;
    if snapshot.status != 200 {
        return Err(format!("{depth}: {} {}", snapshot.status, snapshot.text()));
    }
    let label = format!("{} ({})", snapshot.cache(), snapshot.header("cache-status"));
    let mut book = Book::new(market.venue, &snapshot.json());
    let own = format!("http://{exchange}{}&limit={COMPARED}", market.depth);
    let mut compared = 0;
    for _ in 0..40 {
        let own = get(&own).await;
        // While the exchange is ill on purpose it is not compared with.
        let own = if own.status == 200 { Book::new(market.venue, &own.json()) } else { continue };
        while book.id < own.id {
            book.hear(&stream.event().await).map_err(|why| format!("{label}: {why}"))?;
        }
        if book.id == own.id && book.is_joined {
            if book.top() != own.top() {
                return Err(format!("{label}: the book is another than the exchange's at {}", own.id));
            }
            compared += 1;
        }
        if compared == 4 {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(120)).await;
    }
    Err(format!("{label}: compared only {compared} times"))
}

/// Twenty clients join at moments of no order while the exchange is well, slow and well again; says which could not.
async fn joins(market: Market) -> Vec<String> {
    let (exchange, gateway) = exchange_and_gateway().await;
    let _readers = readers(&gateway, &[market.depth]);
    let mut joins = JoinSet::new();
    for number in 0_u64..20 {
        let after = Duration::from_millis(300 + number * 7_919 % 5_000);
        let limit = market.limits[number as usize % market.limits.len()];
        let (address, depth) = (exchange.address, gateway.url(&format!("{}&limit={limit}", market.depth)));
        joins.spawn(async move {
            tokio::time::sleep(after).await;
            join(market, address, depth).await.map_err(|why| format!("after {after:?}, limit {limit}: {why}"))
        });
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    exchange.fault(json!({"kind": "latency", "ms": 700, "path_prefix": market.depth.split('?').next()}));
    tokio::time::sleep(Duration::from_secs(2)).await;
    exchange.sim.clear_faults();
    joins.join_all().await.into_iter().filter_map(Result::err).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_of_spot_joins_the_stream_whenever_it_is_asked_for() {
    assert_eq!(joins(SPOT).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_of_the_futures_joins_the_stream_whenever_it_is_asked_for() {
    assert_eq!(joins(FUTURES).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_book_to_start_from_is_never_older_than_its_question() {
    let (exchange, gateway) = exchange_and_gateway().await;
    let coin = "/dapi/v1/depth?symbol=BTCUSD_PERP";
    let _readers = readers(&gateway, &[SPOT.depth, FUTURES.depth, coin]);
    let mut asking = JoinSet::new();
    for depth in [SPOT.depth, FUTURES.depth, coin] {
        for limit in [500, 1_000] {
            let now = format!("{}{depth}&limit=5", exchange.url());
            let url = gateway.url(&format!("{depth}&limit={limit}"));
            asking.spawn(async move {
                let mut older = Vec::new();
                for _ in 0..12 {
                    let before = number(&get(&now).await.json(), "lastUpdateId");
                    let got = get(&url).await;
                    let id = number(&got.json(), "lastUpdateId");
                    if id < before {
                        older.push(format!("{} {url}: {id} after {before}", got.cache()));
                    }
                    tokio::time::sleep(Duration::from_millis(170)).await;
                }
                older
            });
        }
    }
    assert_eq!(asking.join_all().await.concat(), Vec::<String>::new());
}
