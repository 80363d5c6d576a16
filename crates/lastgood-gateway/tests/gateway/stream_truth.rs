//! A stream's message is taken only if it is valid, and newer than the kept answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpListener;
use tokio::sync::{broadcast, oneshot};
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Running, Sink, eventually, get};
use crate::word::Stub;

/// An exchange's streams that say what a test wants them to.
struct Streams {
    url: String,
    texts: broadcast::Sender<Option<String>>,
    subscribed: Arc<AtomicU64>,
    _end: oneshot::Sender<()>,
}

impl Streams {
    async fn start() -> Streams {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}", listener.local_addr().unwrap());
        let (texts, _) = broadcast::channel::<Option<String>>(64);
        let (subscribed, (end, mut ended)) = (Arc::new(AtomicU64::new(0)), oneshot::channel());
        let (sender, counted) = (texts.clone(), Arc::clone(&subscribed));
        tokio::spawn(async move {
            loop {
                let (stream, _) = tokio::select! {
                    accepted = listener.accept() => accepted.unwrap(),
                    _ = &mut ended => return,
                };
                let (mut texts, counted) = (sender.subscribe(), Arc::clone(&counted));
                tokio::spawn(async move {
                    let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
                    loop {
                        tokio::select! {
                            text = texts.recv() => match text {
                                Ok(Some(text)) => socket.send(Message::text(text)).await.unwrap(),
                                _ => return,
                            },
                            heard = socket.next() => match heard {
                                Some(Ok(Message::Text(_))) => drop(counted.fetch_add(1, Ordering::Relaxed)),
                                Some(Ok(_)) => {}
                                _ => return,
                            },
                        }
                    }
                });
            }
        });
        Streams { url, texts, subscribed, _end: end }
    }

    fn say(&self, text: impl Into<String>) {
        self.texts.send(Some(text.into())).expect("a connection");
    }

    /// The connections break off.
    fn hang_up(&self) {
        self.texts.send(None).expect("a connection");
    }

    async fn subscribed(&self, times: u64) {
        eventually("it subscribes", async || self.subscribed.load(Ordering::Relaxed) >= times).await;
    }
}

fn now() -> u64 {
    lastgood::Clock::system().now().as_millis()
}

fn day(symbol: &str, price: u64, at: u64) -> String {
    format!(
        r#"{{"e":"24hrTicker","E":{at},"s":"{symbol}","p":"1","P":"1","w":"1","x":"1","c":"{price}","Q":"1","b":"1","B":"1","a":"1","A":"1","o":"1","h":"1","l":"1","v":"1","q":"1","O":1,"C":{at},"F":1,"L":2,"n":2}}"#
    )
}

fn labelled(stream: &str, data: &str) -> String {
    format!(r#"{{"stream":"{stream}","data":{data}}}"#)
}

async fn count(gateway: &Running, became: &str) -> u64 {
    let metrics = get(gateway.url("/metrics")).await;
    let name = format!(r#"lastgood_stream_messages_total{{venue="spot",became="{became}"}} "#);
    metrics.text().lines().find_map(|line| line.strip_prefix(&name)).map_or(0, |count| count.parse().unwrap())
}

#[tokio::test]
async fn a_tick_of_another_symbol_or_an_older_one_is_never_served() {
    const TICKER: &str = "/api/v3/ticker/24hr?symbol=BTCUSDT";
    let log = Sink::of_the_log("warn");
    let begun = now();
    let rest = Stub::start(move |_: &str| {
        let body = format!(
            r#"{{"symbol":"BTCUSDT","priceChange":"1","priceChangePercent":"1","weightedAvgPrice":"1","prevClosePrice":"1","lastPrice":"100","lastQty":"1","bidPrice":"1","bidQty":"1","askPrice":"1","askQty":"1","openPrice":"1","highPrice":"1","lowPrice":"1","volume":"1","quoteVolume":"1","openTime":1,"closeTime":{begun},"firstId":1,"lastId":2,"count":2}}"#
        );
        (200, Vec::new(), body)
    })
    .await;
    let streams = Streams::start().await;
    let gateway = Running::start(&rest.url, &[("binance.ws_url", streams.url.as_str())]).await;
    let price = async || {
        let got = get(gateway.url(TICKER)).await.json();
        assert_eq!(got["symbol"], "BTCUSDT", "{got}");
        got["lastPrice"].as_str().unwrap().parse::<u64>().unwrap()
    };
    assert_eq!(price().await, 100);
    streams.subscribed(1).await;
    const NAME: &str = "btcusdt@ticker";
    let bad = || {
        [
            labelled(NAME, &day("ETHUSDT", 1, now())),
            labelled(NAME, &day("btcusdt", 1, now())),
            labelled("ethusdt@ticker", &day("BTCUSDT", 1, now())),
            labelled(NAME, &day("BTCUSDT", 1, now()).replace("24hrTicker", "24hrMiniTicker")),
            labelled(NAME, &day("BTCUSDT", 2, begun - 60_000)),
            labelled(NAME, &day("BTCUSDT", 3, now() + 3_600_000)),
            labelled(NAME, &day("BTCUSDT", 4, now()).replace(r#""4""#, r#""NaN""#)),
            labelled(NAME, &day("BTCUSDT", 5, now()).replace(r#""5""#, "5")),
            labelled(NAME, "{}"),
            "not json".to_owned(),
            day("BTCUSDT", 6, begun - 60_000),
        ]
    };
    bad().into_iter().for_each(|text| streams.say(text));
    eventually("they are dropped", async || count(&gateway, "unreadable").await >= 3).await;
    for _ in 0..10 {
        assert_eq!(price().await, 100);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(count(&gateway, "mislabelled").await >= 3 && count(&gateway, "outdated").await >= 2);
    assert_eq!((count(&gateway, "ahead").await, count(&gateway, "taken").await), (1, 0));
    let at = now();
    streams.say(labelled(NAME, &day("BTCUSDT", 300, at)));
    eventually("a good tick is taken", async || price().await == 300).await;
    // Neither what comes late nor what comes after a break of the connection goes back, and REST does not either.
    let (subscriptions, outdated) = (streams.subscribed.load(Ordering::Relaxed), count(&gateway, "outdated").await);
    streams.say(labelled(NAME, &day("BTCUSDT", 200, at - 1)));
    streams.hang_up();
    streams.subscribed(subscriptions + 1).await;
    streams.say(labelled(NAME, &day("BTCUSDT", 200, at - 1)));
    eventually("both are dropped", async || count(&gateway, "outdated").await >= outdated + 2).await;
    for _ in 0..10 {
        assert_eq!(price().await, 300);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(log.text().matches("stream messages are dropped").count(), 1, "once a minute: {}", log.text());
}

#[tokio::test]
async fn a_best_offer_with_a_lower_number_is_never_served() {
    const BOOK: &str = "/api/v3/ticker/bookTicker?symbol=BTCUSDT";
    let rest = Stub::start(|_: &str| {
        let body = r#"{"symbol":"BTCUSDT","bidPrice":"100","bidQty":"1","askPrice":"101","askQty":"1"}"#;
        (200, Vec::new(), body.to_owned())
    })
    .await;
    let streams = Streams::start().await;
    let more = [("binance.ws_url", streams.url.as_str()), ("regions.book_ticker.fresh_for", "1m")];
    let gateway = Running::start(&rest.url, &more).await;
    let bid = async || get(gateway.url(BOOK)).await.json()["bidPrice"].as_str().unwrap().to_owned();
    assert_eq!(bid().await, "100");
    streams.subscribed(1).await;
    let offer =
        |number: u64, bid: u64| format!(r#"{{"u":{number},"s":"BTCUSDT","b":"{bid}","B":"1","a":"999","A":"1"}}"#);
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    streams.say(labelled("btcusdt@bookTicker", &offer(10, 110)));
    eventually("it is taken", async || bid().await == "110").await;
    for number in [9, 10, 1] {
        streams.say(labelled("btcusdt@bookTicker", &offer(number, 90)));
        streams.say(offer(number, 90));
    }
    eventually("they are dropped", async || count(&gateway, "outdated").await >= 6).await;
    // Once the streamed one is no longer fresh, the exchange is asked.
    assert!(["100", "110"].contains(&bid().await.as_str()));
    streams.say(offer(11, 111));
    eventually("a raw one is taken as well", async || bid().await == "111").await;
}
