//! The streams of books and trades against the requests.

use std::collections::BTreeMap;

use lastgood_sim::{ClockMode, Venue};
use serde_json::{Value, json};

use super::client::Client;
use crate::support::{Chance, Exchange, HOUR, NOW, escape};

/// A book as a subscriber keeps it: quantities by price, as they were written.
type Side = BTreeMap<String, String>;

/// Where a market is asked for its books, and where it streams them.
struct Market {
    venue: Venue,
    depth: &'static str,
    streams: &'static str,
    speeds: &'static [&'static str],
    /// The most levels that can be asked for: the whole book.
    whole: usize,
}

const MARKETS: [Market; 2] = [
    Market {
        venue: Venue::Spot,
        depth: "/api/v3/depth",
        streams: "/ws",
        speeds: &["@depth", "@depth@100ms"],
        whole: 5_000,
    },
    Market {
        venue: Venue::UsdM,
        depth: "/fapi/v1/depth",
        streams: "/public/ws",
        speeds: &["@depth", "@depth@100ms", "@depth@500ms"],
        whole: 1_000,
    },
];

/// A book that is kept by the exchange's published rules.
struct Kept<'a> {
    market: &'a Market,
    sides: [Side; 2],
    id: u64,
    is_begun: bool,
}

fn number(value: &Value, field: &str) -> u64 {
    value[field].as_u64().unwrap_or_else(|| panic!("{field} in {value}"))
}

fn apply(side: &mut Side, rows: &Value) {
    for row in rows.as_array().unwrap() {
        let (price, quantity) = (row[0].as_str().unwrap(), row[1].as_str().unwrap());
        match quantity.parse::<f64>().unwrap() == 0.0 {
            true => drop(side.remove(price)),
            false => drop(side.insert(price.to_owned(), quantity.to_owned())),
        }
    }
}

fn sides(snapshot: &Value) -> [Side; 2] {
    ["bids", "asks"].map(|name| {
        let mut side = Side::new();
        apply(&mut side, &snapshot[name]);
        side
    })
}

impl<'a> Kept<'a> {
    fn new(market: &'a Market, snapshot: &Value) -> Self {
        Kept { market, sides: sides(snapshot), id: number(snapshot, "lastUpdateId"), is_begun: false }
    }

    fn hear(&mut self, event: &Value) {
        let (first, last) = (number(event, "U"), number(event, "u"));
        let is_spot = self.market.venue == Venue::Spot;
        if !self.is_begun && (last < self.id || is_spot && last == self.id) {
            return;
        }
        let follows = match (is_spot, self.is_begun) {
            (true, false) => first <= self.id + 1,
            (true, true) => first == self.id + 1,
            (false, false) => first <= self.id,
            (false, true) => number(event, "pu") == self.id,
        };
        assert!(follows, "{} is not followed by {first} to {last}", self.id);
        for (side, name) in self.sides.iter_mut().zip(["b", "a"]) {
            apply(side, &event[name]);
        }
        (self.id, self.is_begun) = (last, true);
    }
}

#[tokio::test]
async fn a_snapshot_and_the_differences_after_it_make_every_later_snapshot() {
    let exchange = Exchange::start().await;
    let mut chance = Chance(3);
    for market in &MARKETS {
        let symbols = exchange.sim.symbols(market.venue);
        for round in 0..9 {
            let symbol = if round == 0 { "BTCUSDT" } else { chance.pick(&symbols) };
            let speed = market.speeds[round % market.speeds.len()];
            let name = escape(&format!("{}{speed}", symbol.to_lowercase()));
            let target = format!("{}?symbol={}&limit={}", market.depth, escape(symbol), market.whole);
            exchange.sim.set_clock(ClockMode::Frozen(NOW + chance.below(1_000)));
            let mut client = Client::open(&exchange, &format!("{}/{name}", market.streams)).await;
            // Some events are older than the snapshot, and are dropped by the rules.
            for _ in 0..chance.below(3) {
                exchange.sim.advance(1 + chance.below(300));
            }
            let mut kept = Kept::new(market, &exchange.json(&target).await);
            for step in 0..6 {
                exchange.sim.advance(if step == 5 { HOUR } else { 50 + chance.below(700) });
                let later = exchange.json(&target).await;
                while kept.id < number(&later, "lastUpdateId") {
                    kept.hear(&client.event().await);
                }
                assert_eq!(kept.id, number(&later, "lastUpdateId"), "{symbol}{speed}");
                assert!(kept.sides == sides(&later), "{symbol}{speed} after {step}");
            }
            client.assert_silent().await;
        }
    }
}

#[tokio::test]
async fn all_connections_get_the_same_differences_while_the_clock_runs() {
    let exchange = Exchange::start().await;
    exchange.sim.set_clock(ClockMode::Live);
    for market in &MARKETS {
        let path = format!("{}/btcusdt@depth@100ms", market.streams);
        let mut first = Client::open(&exchange, &path).await;
        // In the middle of a period.
        first.event().await;
        tokio::time::sleep(std::time::Duration::from_millis(40)).await;
        let mut second = Client::open(&exchange, &path).await;
        let (mut early, mut late) = (Vec::new(), Vec::new());
        for _ in 0..6 {
            early.push(first.event().await);
            late.push(second.event().await);
        }
        // The first of a connection reaches back by one update more.
        let begin = early.iter().position(|event| event["u"] == late[1]["u"]).expect("the same period");
        assert_eq!(early[begin..], late[1..][..early.len() - begin]);
        assert!(early.iter().all(|event| number(event, "E").is_multiple_of(100)), "they end with a period: {early:?}");
    }
}

#[tokio::test]
async fn a_book_of_a_running_clock_joins_its_stream() {
    let exchange = Exchange::start().await;
    exchange.sim.set_clock(ClockMode::Live);
    for market in &MARKETS {
        let mut client = Client::open(&exchange, &format!("{}/ethusdt@depth@100ms", market.streams)).await;
        let target = format!("{}?symbol=ETHUSDT&limit={}", market.depth, market.whole);
        let mut kept = Kept::new(market, &exchange.json(&target).await);
        // Books are answered faster than they change, and each of this depth has its weight.
        let mut books = 0;
        while books < 5 || !kept.is_begun {
            books += 1;
            assert!(books < 20, "no difference joins {}", kept.id);
            tokio::time::sleep(std::time::Duration::from_millis(25)).await;
            let later = exchange.json(&target).await;
            while kept.id < number(&later, "lastUpdateId") {
                kept.hear(&client.event().await);
            }
            if kept.id == number(&later, "lastUpdateId") {
                assert!(kept.sides == sides(&later));
            }
        }
    }
}

#[tokio::test]
async fn differences_have_the_exchanges_fields() {
    let exchange = Exchange::start().await;
    for (path, name, fields) in [
        ("/ws/ethusdt@depth", "depthUpdate", "E U a b e s u"),
        ("/public/ws/ethusdt@depth", "depthUpdate", "E T U a b e pu s u"),
        ("/public/ws/ethusdt@depth20", "depthUpdate", "E T U a b e pu s u"),
        ("/ws/ethusdt@trade", "trade", "E M T e m p q s t"),
        ("/ws/ethusdt@aggTrade", "aggTrade", "E M T a e f l m p q s"),
        ("/public/ws/ethusdt@trade", "trade", "E T X e m p q s t"),
        ("/market/ws/ethusdt@aggTrade", "aggTrade", "E T a e f l m p q s"),
    ] {
        let mut client = Client::open(&exchange, path).await;
        exchange.sim.advance(1_000);
        let event = client.event().await;
        let mut keys: Vec<&str> = event.as_object().unwrap().keys().map(String::as_str).collect();
        keys.sort_unstable();
        assert_eq!(keys.join(" "), fields, "{path}");
        assert_eq!((&event["e"], &event["s"]), (&json!(name), &json!("ETHUSDT")), "{path}");
    }
}

#[tokio::test]
async fn partial_books_are_the_top_of_the_book() {
    let exchange = Exchange::start().await;
    for (path, target, [bids, asks, id]) in [
        ("/ws/ethusdt@depth5", "/api/v3/depth?symbol=ETHUSDT&limit=5", ["bids", "asks", "lastUpdateId"]),
        ("/ws/ethusdt@depth20@100ms", "/api/v3/depth?symbol=ETHUSDT&limit=20", ["bids", "asks", "lastUpdateId"]),
        ("/public/ws/ethusdt@depth10@100ms", "/fapi/v1/depth?symbol=ETHUSDT&limit=10", ["b", "a", "u"]),
    ] {
        let mut client = Client::open(&exchange, path).await;
        let mut seen = Vec::new();
        // The first comes at once, though it may be of the period's begin.
        client.event().await;
        for _ in 0..3 {
            exchange.sim.advance(1_000);
            let (event, book) = (client.event().await, exchange.json(target).await);
            assert_eq!(
                (&event[bids], &event[asks], &event[id]),
                (&book["bids"], &book["asks"], &book["lastUpdateId"]),
                "{path}"
            );
            seen.push(event[bids].clone());
        }
        assert!(seen.windows(2).any(|pair| pair[0] != pair[1]), "{path} moves");
    }
}

#[tokio::test]
async fn trades_of_a_stream_are_those_of_the_requests() {
    let exchange = Exchange::start().await;
    for (path, target, pairs) in [
        ("/ws/ethusdt@trade", "/api/v3/trades?symbol=ETHUSDT", "t=id p=price q=qty T=time m=isBuyerMaker"),
        ("/public/ws/ethusdt@trade", "/fapi/v1/trades?symbol=ETHUSDT", "t=id p=price q=qty T=time m=isBuyerMaker"),
        ("/ws/ethusdt@aggTrade", "/api/v3/aggTrades?symbol=ETHUSDT", "a=a p=p q=q f=f l=l T=T m=m M=M"),
        ("/market/ws/ethusdt@aggTrade", "/fapi/v1/aggTrades?symbol=ETHUSDT", "a=a p=p q=q f=f l=l T=T m=m"),
    ] {
        let mut client = Client::open(&exchange, path).await;
        client.assert_silent().await;
        let before = exchange.rows(target).await.len();
        exchange.sim.advance(6_000);
        let count = if path.ends_with("@trade") { 30 } else { 10 };
        let rows = exchange.rows(&format!("{target}&limit={count}")).await;
        assert!(before >= count);
        for row in rows {
            let event = client.event().await;
            for (short, long) in pairs.split(' ').map(|pair| pair.split_once('=').unwrap()) {
                assert_eq!(event[short], row[long], "{path} {short}");
            }
        }
        client.assert_silent().await;
        // After a long jump only the newest, and none twice when the clock goes back.
        exchange.sim.advance(HOUR);
        client.send(json!({"method": "LIST_SUBSCRIPTIONS", "id": 5}).to_string()).await;
        let mut count = 0;
        while client.event().await.get("id").is_none() {
            count += 1;
        }
        assert_eq!(count, 1_000, "{path}");
        exchange.sim.set_clock(ClockMode::Frozen(NOW));
        client.assert_silent().await;
    }
}
