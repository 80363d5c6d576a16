//! The WebSocket streams as a subscriber sees them.

mod books;
mod client;
mod faults;
mod limits;

use std::time::Duration;

use lastgood_sim::{ClockMode, SimConfig, Venue};
use serde_json::{Value, json};

use self::client::Client;
use crate::support::{DAY, Exchange, HOUR, MINUTE, NOW, close_time, escape, open_time};

/// The row of a request that a stream's candle stands for.
fn row(candle: &Value) -> Value {
    let field = |name: &str| candle[name].clone();
    json!([
        field("t"),
        field("o"),
        field("h"),
        field("l"),
        field("c"),
        field("v"),
        field("T"),
        field("q"),
        field("n"),
        field("V"),
        field("Q"),
        field("B"),
    ])
}

async fn asked(exchange: &Exchange, candles: &str, event: &Value) -> Value {
    let candle = &event["k"];
    let (symbol, interval) = (escape(candle["s"].as_str().unwrap()), candle["i"].as_str().unwrap());
    let target = format!("{candles}?symbol={symbol}&interval={interval}&startTime={}&limit=1", candle["t"]);
    exchange.rows(&target).await.remove(0)
}

const SPOT: (&str, &str) = ("", "/api/v3/klines");
const FUTURES: (&str, &str) = ("/market", "/fapi/v1/klines");

#[tokio::test]
async fn candles_of_a_stream_are_the_rows_of_the_requests() {
    let exchange = Exchange::start().await;
    for ((prefix, candles), venue) in [(SPOT, Venue::Spot), (FUTURES, Venue::UsdM)] {
        let symbols = exchange.sim.symbols(venue);
        for symbol in symbols.iter().step_by(13).chain(symbols.iter().filter(|symbol| !symbol.is_ascii())) {
            for interval in ["1m", "15m", "1h", "1d", "3d", "1w", "1M"] {
                let name = format!("{}@kline_{interval}", symbol.to_lowercase());
                let mut client = Client::open(&exchange, &format!("{prefix}/ws/{}", escape(&name))).await;
                let mut reply = None;
                for step in [0, 1_000, 17_250] {
                    exchange.sim.advance(step);
                    let now = exchange.sim.now();
                    let target =
                        format!("{candles}?symbol={}&interval={interval}&endTime={now}&limit=1", escape(symbol));
                    let newest = exchange.rows(&target).await.pop();
                    // In a gap there is no candle to tell of, and some stand for a while.
                    let Some(newest) = newest.filter(|row| close_time(row) > now && reply.as_ref() != Some(row)) else {
                        client.assert_silent().await;
                        continue;
                    };
                    let event = client.event().await;
                    assert_eq!(row(&event["k"]), newest, "{name} after {step}");
                    assert_eq!(
                        (&event["e"], &event["s"], &event["k"]["s"], &event["k"]["i"], &event["k"]["x"]),
                        (&json!("kline"), &json!(symbol), &json!(symbol), &json!(interval), &json!(false))
                    );
                    assert_eq!(event["E"], json!(now));
                    reply = Some(newest);
                }
                exchange.sim.set_clock(ClockMode::Frozen(NOW));
            }
        }
    }
}

#[tokio::test]
async fn a_spot_candle_closes_once_and_the_next_follows() {
    let exchange = Exchange::start().await;
    let mut client = Client::open(&exchange, "/ws/btcusdt@kline_1m").await;
    let begin = NOW / MINUTE * MINUTE;
    assert_eq!(client.event().await["k"]["t"], json!(begin));
    exchange.sim.advance(begin + MINUTE - NOW);
    let (closed, next) = (client.event().await, client.event().await);
    assert_eq!((&closed["k"]["t"], &closed["k"]["x"]), (&json!(begin), &json!(true)));
    assert_eq!(closed["E"], json!(begin + MINUTE));
    assert_eq!(row(&closed["k"]), asked(&exchange, SPOT.1, &closed).await);
    assert_eq!((&next["k"]["t"], &next["k"]["x"]), (&json!(begin + MINUTE), &json!(false)));
    exchange.sim.advance(10_000);
    let event = client.event().await;
    assert_eq!((&event["k"]["t"], &event["k"]["x"]), (&json!(begin + MINUTE), &json!(false)));
    client.assert_silent().await;
}

#[tokio::test]
async fn the_futures_tell_the_end_of_a_candle_two_seconds_late() {
    let exchange = Exchange::start().await;
    let mut client = Client::open(&exchange, "/market/ws/btcusdt@kline_1m").await;
    let begin = NOW / MINUTE * MINUTE;
    client.event().await;
    exchange.sim.advance(begin + MINUTE + 1_999 - NOW);
    let last = client.event().await;
    assert_eq!((&last["k"]["t"], &last["k"]["x"]), (&json!(begin), &json!(false)));
    client.assert_silent().await;
    exchange.sim.advance(1);
    let (closed, next) = (client.event().await, client.event().await);
    assert_eq!((&closed["k"]["t"], &closed["k"]["x"]), (&json!(begin), &json!(true)));
    assert_eq!(closed["E"], json!(begin + MINUTE + 2_000));
    assert_eq!(row(&closed["k"]), row(&last["k"]), "the numbers were final");
    assert_eq!((&next["k"]["t"], &next["k"]["x"]), (&json!(begin + MINUTE), &json!(false)));
    assert_eq!(row(&next["k"]), asked(&exchange, FUTURES.1, &next).await);
}

#[tokio::test]
async fn a_jump_of_the_clock_tells_every_end_that_it_passes_and_no_candle_that_is_none() {
    let lifetime = Duration::from_secs(365 * 86_400);
    let config = SimConfig { seed: 7, symbols: 300, stream_lifetime: lifetime, ..SimConfig::default() };
    let exchange = Exchange::start_with(config).await;
    let symbols = exchange.sim.symbols(Venue::Spot);
    // Symbols with gaps and with irregular candles are among them.
    for (interval, length, count) in [("1d", DAY, 30), ("1m", MINUTE, 200)] {
        for symbol in symbols.iter().take(12) {
            let mut client = Client::open(&exchange, &format!("/ws/{}@kline_{interval}", symbol.to_lowercase())).await;
            exchange.sim.advance(count * length);
            let now = exchange.sim.now();
            let target =
                format!("/api/v3/klines?symbol={symbol}&interval={interval}&startTime={}", NOW / length * length);
            let rows = exchange.rows(&target).await;
            let mut reply = Vec::new();
            let closed = rows.iter().filter(|row| open_time(row) / length < now / length).count();
            while reply.len() < rows.len() {
                let event = client.event().await;
                // The first candle was sent before the jump, if it was there.
                if event["k"]["x"] == json!(true) || reply.len() == closed {
                    reply.push(row(&event["k"]));
                }
            }
            assert_eq!(reply, rows, "{symbol} {interval}");
            client.assert_silent().await;
            exchange.sim.set_clock(ClockMode::Frozen(NOW));
        }
    }
}

#[tokio::test]
async fn a_clock_that_goes_back_tells_the_candle_of_that_time() {
    let exchange = Exchange::start().await;
    let mut client = Client::open(&exchange, "/ws/btcusdt@kline_1h").await;
    client.event().await;
    exchange.sim.set_clock(ClockMode::Frozen(NOW - DAY));
    let event = client.event().await;
    let begin = (NOW - DAY) / HOUR * HOUR;
    assert_eq!((&event["k"]["t"], &event["k"]["x"]), (&json!(begin), &json!(false)));
    exchange.sim.advance(HOUR);
    let (closed, next) = (client.event().await, client.event().await);
    assert_eq!((&closed["k"]["t"], &closed["k"]["x"]), (&json!(begin), &json!(true)));
    assert_eq!((&next["k"]["t"], &next["k"]["x"]), (&json!(begin + HOUR), &json!(false)));
    for mode in [ClockMode::Frozen(0), ClockMode::Frozen(u64::MAX), ClockMode::Frozen(NOW)] {
        exchange.sim.set_clock(mode);
    }
    assert_eq!(client.list().await, ["btcusdt@kline_1h"]);
}

#[tokio::test]
async fn a_clock_that_stands_tells_nothing_and_a_running_one_goes_on_by_itself() {
    let exchange = Exchange::start().await;
    let mut client = Client::open(&exchange, "/market/ws/btcusdt@kline_1m").await;
    client.event().await;
    client.assert_silent().await;
    exchange.sim.advance(1);
    client.assert_silent().await;
    exchange.sim.set_clock(ClockMode::Live);
    let mut client = Client::open(&exchange, "/market/ws/btcusdt@kline_1m").await;
    let mut times = Vec::new();
    while times.len() < 4 {
        let event = client.event().await;
        // The end of a candle is sent together with the next one's begin.
        if event["k"]["x"] == false {
            times.push(event["E"].as_u64().unwrap() / 250);
        }
    }
    assert!(times.is_sorted_by(|early, late| early < late), "{times:?}");
}

#[tokio::test]
async fn combined_connections_wrap_events_with_the_name_of_their_stream() {
    let exchange = Exchange::start().await;
    let names = ["btcusdt@kline_1m", "ethusdt@ticker", "币安人生usdt@miniTicker"];
    let mut client = Client::open(&exchange, &format!("/stream?streams={}", escape(&names.join("/")))).await;
    let mut seen = Vec::new();
    for _ in names {
        let event = client.event().await;
        assert_eq!(event.as_object().unwrap().len(), 2, "{event}");
        let name = event["stream"].as_str().unwrap();
        assert!(name.starts_with(&event["data"]["s"].as_str().unwrap().to_lowercase()), "{event}");
        seen.push(name.to_owned());
    }
    assert_eq!(seen, names);
    let mut raw = Client::open(&exchange, "/ws/btcusdt@ticker/ethusdt@ticker").await;
    assert_eq!((&raw.event().await["s"], &raw.event().await["s"]), (&json!("BTCUSDT"), &json!("ETHUSDT")));
    // The form may be changed on the way.
    assert_eq!(raw.ask(json!({"method": "SET_PROPERTY", "params": ["combined", true], "id": 2})).await["id"], json!(2));
    let reply = raw.ask(json!({"method": "GET_PROPERTY", "params": ["combined"], "id": 3})).await;
    assert_eq!(reply, json!({"result": true, "id": 3}));
    exchange.sim.advance(1_000);
    assert_eq!(raw.event().await["stream"], json!("btcusdt@ticker"));
}

#[tokio::test]
async fn what_a_route_does_not_deliver_is_accepted_and_stays_silent() {
    let exchange = Exchange::start().await;
    for (path, is_delivered) in [
        ("/market/ws/btcusdt@kline_1m", true),
        ("/market/ws/btcusdt@markPrice", true),
        ("/market/ws/btcusdt@markPrice@1s", true),
        ("/market/ws/btcusdt@ticker", true),
        ("/market/ws/btcusdt@miniTicker", true),
        ("/market/ws/!miniTicker@arr", true),
        ("/market/ws/btcusdt@bookTicker", false),
        ("/public/ws/btcusdt@bookTicker", true),
        ("/public/ws/btcusdt@kline_1m", false),
        ("/public/ws/btcusdt@markPrice", false),
        ("/private/ws/btcusdt@kline_1m", false),
        ("/private/stream?streams=btcusdt@bookTicker", false),
        ("/ws/btcusdt@depth", true),
        ("/ws/btcusdt@depth@100ms", true),
        ("/ws/btcusdt@depth@250ms", false),
        ("/ws/btcusdt@depth20@100ms", true),
        ("/ws/btcusdt@depth7", false),
        ("/stream/ws/btcusdt@depth5", true),
        ("/public/ws/btcusdt@depth", true),
        ("/public/ws/btcusdt@depth@500ms", true),
        ("/public/ws/btcusdt@depth@100ms", true),
        ("/public/ws/btcusdt@depth@1000ms", false),
        ("/public/ws/btcusdt@depth10@500ms", true),
        ("/market/ws/btcusdt@depth", false),
        ("/market/ws/btcusdt@depth5", false),
        ("/fstream/ws/btcusdt@depth@100ms", true),
        ("/private/ws/btcusdt@depth", false),
        ("/ws/btcusdt@trade", true),
        ("/ws/btcusdt@aggTrade", true),
        ("/public/ws/btcusdt@trade", true),
        ("/market/ws/btcusdt@trade", false),
        ("/market/ws/btcusdt@aggTrade", true),
        ("/public/ws/btcusdt@aggTrade", false),
        ("/fstream/ws/btcusdt@aggTrade", false),
        ("/fstream/ws/btcusdt@bookTicker", true),
        ("/fstream/ws/btcusdt@kline_1m", false),
        ("/fstream/stream?streams=btcusdt@markPrice", false),
        ("/fstream/market/ws/btcusdt@kline_1m", true),
        ("/market/ws/btcusdt@kline_1s", false),
        ("/ws/btcusdt@kline_1s", true),
        ("/ws/btcusdt@kline_1d@+08:00", true),
        ("/ws/btcusdt@bookTicker", true),
        ("/ws/btcusdt@markPrice", false),
        ("/ws/BTCUSDT@kline_1m", false),
        ("/ws/btcusdt@kline_1x", false),
        ("/ws/nosuchusdt@kline_1m", false),
        ("/ws/btcusdt", false),
    ] {
        let mut client = Client::open(&exchange, path).await;
        exchange.sim.advance(1_000);
        let first = client.ask_first(json!({"method": "LIST_SUBSCRIPTIONS", "id": 9})).await;
        assert_eq!(first.get("id").is_none(), is_delivered, "{path}: {first}");
        if !is_delivered {
            assert_eq!(first["result"].as_array().unwrap().len(), 1, "{path} is listed: {first}");
        }
    }
}

#[tokio::test]
async fn tickers_books_and_marks_hold_the_numbers_of_the_requests() {
    let exchange = Exchange::start().await;
    for (stream, target, pairs) in [
        (
            "/ws/ethusdt@ticker",
            "/api/v3/ticker/24hr?symbol=ETHUSDT",
            "e= E= s=symbol p=priceChange P=priceChangePercent w=weightedAvgPrice x=prevClosePrice c=lastPrice Q=lastQty b=bidPrice B=bidQty a=askPrice A=askQty o=openPrice h=highPrice l=lowPrice v=volume q=quoteVolume O=openTime C=closeTime F=firstId L=lastId n=count",
        ),
        (
            "/market/ws/ethusdt@ticker",
            "/fapi/v1/ticker/24hr?symbol=ETHUSDT",
            "e= E= s=symbol p=priceChange P=priceChangePercent w=weightedAvgPrice c=lastPrice Q=lastQty o=openPrice h=highPrice l=lowPrice v=volume q=quoteVolume O=openTime C=closeTime F=firstId L=lastId n=count",
        ),
        (
            "/ws/ethusdt@miniTicker",
            "/api/v3/ticker/24hr?symbol=ETHUSDT&type=MINI",
            "e= E= s=symbol c=lastPrice o=openPrice h=highPrice l=lowPrice v=volume q=quoteVolume",
        ),
        (
            "/ws/ethusdt@bookTicker",
            "/api/v3/ticker/bookTicker?symbol=ETHUSDT",
            "u= s=symbol b=bidPrice B=bidQty a=askPrice A=askQty",
        ),
        (
            "/public/ws/ethusdt@bookTicker",
            "/fapi/v1/ticker/bookTicker?symbol=ETHUSDT",
            "e= E= u=lastUpdateId s=symbol b=bidPrice B=bidQty a=askPrice A=askQty T=time",
        ),
        (
            "/market/ws/ethusdt@markPrice",
            "/fapi/v1/premiumIndex?symbol=ETHUSDT",
            "e= E= s=symbol p=markPrice i=indexPrice P=estimatedSettlePrice r=lastFundingRate T=nextFundingTime",
        ),
    ] {
        let mut client = Client::open(&exchange, stream).await;
        for _ in 0..3 {
            let (event, answer) = (client.event().await, exchange.json(target).await);
            assert_eq!(event.as_object().unwrap().len(), pairs.split(' ').count(), "{event}");
            for (short, long) in pairs.split(' ').map(|pair| pair.split_once('=').unwrap()) {
                assert!(!event[short].is_null(), "{stream} {short}: {event}");
                if !long.is_empty() {
                    assert_eq!(event[short], answer[long], "{stream} {short}");
                }
            }
            exchange.sim.advance(3_000);
        }
    }
}

#[tokio::test]
async fn the_stream_of_all_mini_tickers_holds_only_what_changed() {
    let exchange = Exchange::start().await;
    let symbols = exchange.sim.symbols(Venue::Spot);
    let mut client = Client::open(&exchange, "/ws/!miniTicker@arr").await;
    client.event().await;
    let mut before = exchange.rows("/api/v3/ticker/price").await;
    for _ in 0..3 {
        exchange.sim.advance(1_000);
        let Value::Array(event) = client.event().await else { panic!("no array") };
        let after = exchange.rows("/api/v3/ticker/price").await;
        let changed: Vec<_> = before.iter().zip(&after).filter(|(old, new)| old != new).map(|(_, new)| new).collect();
        let reply: Vec<_> = event.iter().map(|mini| json!({"symbol": mini["s"], "price": mini["c"]})).collect();
        assert_eq!(reply.iter().collect::<Vec<_>>(), changed);
        assert!(!changed.is_empty() && changed.len() < symbols.len(), "{} of {}", changed.len(), symbols.len());
        assert!(event.iter().all(|mini| mini["e"] == json!("24hrMiniTicker")));
        before = after;
    }
}
