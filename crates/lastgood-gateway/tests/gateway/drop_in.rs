//! The gateway in the exchange's place.

use crate::support::{Exchange, Running, client, get, half_past, read};
use lastgood_sim::ClockMode;

/// Every cacheable question, some of them twice in other words.
const QUESTIONS: &[&str] = &[
    "/api/v3/exchangeInfo",
    "/api/v3/exchangeInfo?symbol=BTCUSDT",
    "/api/v3/exchangeInfo?symbols=%5B%22BTCUSDT%22,%22ETHUSDT%22%5D",
    "/api/v3/depth?symbol=BTCUSDT",
    "/api/v3/depth?symbol=BTCUSDT&limit=5",
    STARTS_A_BOOK,
    "/api/v3/trades?symbol=BTCUSDT&limit=20",
    "/api/v3/historicalTrades?symbol=BTCUSDT&limit=20",
    "/api/v3/aggTrades?symbol=BTCUSDT&limit=20",
    "/api/v3/klines?symbol=BTCUSDT&interval=4h",
    "/api/v3/klines?symbol=ETHUSDT&interval=1h&limit=3",
    "/api/v3/klines?symbol=BTCUSDT&interval=1d&limit=3&timeZone=8",
    "/api/v3/uiKlines?symbol=BTCUSDT&interval=1w&limit=3",
    "/api/v3/avgPrice?symbol=BTCUSDT",
    "/api/v3/ticker/24hr?symbol=BTCUSDT",
    "/api/v3/ticker/24hr?symbols=[%22BTCUSDT%22,%22ETHUSDT%22]",
    "/api/v3/ticker/24hr",
    "/api/v3/ticker/24hr?type=MINI&symbol=ETHUSDT",
    "/api/v3/ticker/price?symbol=BTCUSDT",
    "/api/v3/ticker/price?symbols=[%22ETHUSDT%22,%22BTCUSDT%22]",
    "/api/v3/ticker/price",
    "/api/v3/ticker/bookTicker?symbol=BTCUSDT",
    "/api/v3/ticker/tradingDay?symbol=BTCUSDT",
    "/api/v3/ticker?symbol=BTCUSDT&windowSize=1h",
    "/fapi/v1/exchangeInfo",
    "/fapi/v1/depth?symbol=BTCUSDT&limit=20",
    "/fapi/v1/trades?symbol=BTCUSDT&limit=5",
    "/fapi/v1/aggTrades?symbol=BTCUSDT&limit=5",
    "/fapi/v1/klines?symbol=BTCUSDT&interval=1h&limit=10",
    "/fapi/v1/continuousKlines?pair=BTCUSDT&contractType=PERPETUAL&interval=1h&limit=10",
    "/fapi/v1/indexPriceKlines?pair=BTCUSDT&interval=1h&limit=10",
    "/fapi/v1/markPriceKlines?symbol=BTCUSDT&interval=1h&limit=10",
    "/fapi/v1/premiumIndexKlines?symbol=BTCUSDT&interval=1h&limit=10",
    "/fapi/v1/premiumIndex?symbol=BTCUSDT",
    "/fapi/v1/premiumIndex",
    "/fapi/v1/fundingRate?symbol=BTCUSDT&limit=5",
    "/fapi/v1/fundingInfo",
    "/fapi/v1/openInterest?symbol=BTCUSDT",
    "/fapi/v1/ticker/24hr?symbol=BTCUSDT",
    "/fapi/v1/ticker/price?symbol=BTCUSDT",
    "/fapi/v2/ticker/price?symbol=BTCUSDT",
    "/fapi/v1/ticker/bookTicker?symbol=BTCUSDT",
    "/futures/data/openInterestHist?symbol=BTCUSDT&period=5m",
    "/futures/data/globalLongShortAccountRatio?symbol=BTCUSDT&period=1h&limit=3",
    "/dapi/v1/exchangeInfo",
    "/dapi/v1/depth?symbol=BTCUSD_PERP&limit=10",
    "/dapi/v1/klines?symbol=BTCUSD_PERP&interval=1h&limit=5",
    "/dapi/v1/ticker/24hr?symbol=BTCUSD_PERP",
    "/dapi/v1/ticker/price?symbol=BTCUSD_PERP",
    "/dapi/v1/premiumIndex?symbol=BTCUSD_PERP",
    "/dapi/v1/openInterest?symbol=BTCUSD_PERP",
];

const STARTS_A_BOOK: &str = "/api/v3/depth?symbol=BTCUSDT&limit=500";

#[tokio::test]
async fn every_answer_is_the_exchanges_byte_for_byte_and_costs_it_nothing_the_second_time() {
    let exchange = Exchange::start().await;
    exchange.sim.set_clock(ClockMode::Frozen(half_past()));
    let regions = ["klines", "depth", "ticker_price", "ticker_24hr", "book_ticker", "ticker_window", "trades"];
    let regions =
        regions.into_iter().chain(["agg_trades", "avg_price", "premium_index", "open_interest", "funding_rate"]);
    let long: Vec<(String, &str)> = regions.map(|name| (format!("regions.{name}.fresh_for"), "5m")).collect();
    let long: Vec<(&str, &str)> = long.iter().map(|(key, value)| (key.as_str(), *value)).collect();
    let gateway = Running::start(&exchange.url(), &long).await;
    for question in QUESTIONS {
        let direct = get(exchange.url() + question).await;
        assert_eq!(direct.status, 200, "{question}: {}", direct.text());
        let first = get(gateway.url(question)).await;
        assert_eq!((first.status, &first.body), (200, &direct.body), "{question}");
        assert_eq!(first.header("content-type"), direct.header("content-type"), "{question}");
        assert!(!first.header("cache-status").is_empty() && !first.header("age").is_empty(), "{question}");
        exchange.sim.reset_counters();
        let second = get(gateway.url(question)).await;
        // A book that is kept by streams can only start from a snapshot taken after its question.
        let (cache, asked) = if *question == STARTS_A_BOOK { ("MISS", 1) } else { ("HIT", 0) };
        assert_eq!((second.cache(), &second.body), (cache, &direct.body), "{question}");
        assert_eq!(exchange.asked(), asked, "{question}: {:?}", exchange.sim.counters());
    }
}

#[tokio::test]
async fn a_thousand_spellings_of_one_question_are_one_question() {
    let exchange = Exchange::start().await;
    let gateway = Running::start(&exchange.url(), &[("regions.klines.fresh_for", "5m")]).await;
    for spelling in [
        "symbol=BTCUSDT&interval=1h&limit=10",
        "limit=10&interval=1h&symbol=BTCUSDT",
        "interval=1h&&limit=10&symbol=%42TCUSDT",
    ] {
        get(gateway.url(&format!("/api/v3/klines?{spelling}"))).await;
    }
    assert_eq!(exchange.asked(), 1);
}

#[tokio::test]
async fn five_hundred_cold_requests_are_one_upstream_call() {
    let exchange = Exchange::start().await;
    exchange.sim.set_clock(ClockMode::Frozen(half_past()));
    exchange.fault(serde_json::json!({"kind": "latency", "ms": 200}));
    // Not so short that the last of them find the end of its freshness.
    let gateway = Running::start(&exchange.url(), &[("regions.klines.fresh_for", "5m")]).await;
    let client = client();
    let asks = (0..500).map(|_| {
        let request = client.get(gateway.url("/api/v3/klines?symbol=BTCUSDT&interval=1m")).send();
        tokio::spawn(async move { read(request.await.expect("an answer")).await })
    });
    let answers = futures_util::future::join_all(asks).await;
    let answers: Vec<_> = answers.into_iter().map(|answer| answer.expect("no panic")).collect();
    assert!(answers.iter().all(|answer| answer.status == 200 && answer.body == answers[0].body));
    assert_eq!(exchange.asked(), 1);
    assert_eq!(answers.iter().filter(|answer| answer.cache() == "MISS").count(), 1);
}

/// What `bots` pollers of forty symbols cost in three rounds, each bot with one connection. Freshness ends between rounds and
/// not within one, so that the machine's speed has no say.
async fn weight_of(bots: usize) -> u64 {
    let exchange = Exchange::start().await;
    let gateway = Running::start(&exchange.url(), &[("regions.ticker_price.fresh_for", "5m")]).await;
    let symbols: Vec<String> = exchange.sim.symbols(lastgood_sim::Venue::Spot).into_iter().take(40).collect();
    let client = client();
    for round in 0..3 {
        let polls = (0..bots).map(async |bot| {
            // Half of them begin with the next symbol: some ask for the same one at once, others for one that was just loaded.
            for symbol in symbols.iter().cycle().skip(bot % 2).take(symbols.len()) {
                let request = client.get(gateway.url(&format!("/api/v3/ticker/price?symbol={symbol}"))).send();
                let got = read(request.await.expect("an answer")).await;
                assert_eq!(got.status, 200, "bot {bot} in round {round}: {symbol}");
            }
        });
        futures_util::future::join_all(polls).await;
        gateway.gateway.cache().regions().iter().find(|r| r.name() == "ticker_price").expect("a region").clear().await;
    }
    gateway.traffic().weight_spent
}

#[tokio::test]
async fn fifty_bots_polling_forty_symbols_weigh_as_much_as_one() {
    let (one, fifty) = (weight_of(1).await, weight_of(50).await);
    assert!(fifty * 10 <= one * 11, "one bot spent {one}, fifty {fifty}");
}

#[tokio::test]
async fn bad_questions_get_the_exchanges_own_words() {
    let exchange = Exchange::start().await;
    let gateway = Running::start(&exchange.url(), &[]).await;
    for question in [
        "/api/v3/klines?symbol=NOSUCHCOIN&interval=1m",
        "/api/v3/klines?symbol=BTCUSDT&interval=7m",
        "/api/v3/klines?symbol=BTCUSDT",
        "/api/v3/ticker/price?symbol=NOSUCHCOIN",
        "/api/v3/ticker/price?symbol=BTCUSDT&symbols=[%22ETHUSDT%22]",
        "/api/v3/ticker/price?symbol=btc%20usdt",
        "/api/v3/depth?limit=5",
        "/api/v3/avgPrice?symbol=BTCUSDT&symbol=ETHUSDT",
        "/fapi/v1/klines?symbol=BTCUSDT&interval=1m&limit=9999",
        "/fapi/v1/klines?symbol=BTCUSDT&interval=1m&startTime=2000&endTime=1000",
    ] {
        let direct = get(exchange.url() + question).await;
        let through = get(gateway.url(question)).await;
        assert_eq!((through.status, &through.body), (direct.status, &direct.body), "{question}");
        assert_eq!(direct.status, 400, "{question}: {}", direct.text());
        exchange.sim.reset_counters();
        let again = get(gateway.url(question)).await;
        assert_eq!((again.status, &again.body), (direct.status, &direct.body), "{question}");
        assert_eq!(exchange.asked(), 0, "{question} is remembered");
    }
}

#[tokio::test]
async fn a_packed_answer_unpacks_to_the_same_bytes() {
    let exchange = Exchange::start().await;
    exchange.sim.set_clock(ClockMode::Frozen(half_past()));
    let gateway = Running::start(&exchange.url(), &[]).await;
    for question in [
        "/api/v3/exchangeInfo",
        "/api/v3/exchangeInfo?symbol=BTCUSDT",
        "/api/v3/depth?symbol=BTCUSDT&limit=90",
        "/api/v3/klines?symbol=BTCUSDT&interval=1h&limit=701",
    ] {
        let plain = get(gateway.url(question)).await;
        for (coding, takes) in [("gzip", "gzip, deflate, br"), ("zstd", "gzip, deflate, br, zstd")] {
            let packed = client().get(gateway.url(question)).header("accept-encoding", takes).send().await.unwrap();
            assert_eq!(packed.headers()["content-encoding"], coding, "{question}");
            assert_eq!(packed.headers()["vary"], "accept-encoding", "{question}");
            let packed = read(packed).await;
            assert!(packed.body.len() < plain.body.len(), "{question}");
            let unpacked = match coding {
                "gzip" => {
                    let mut unpacked = Vec::new();
                    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&packed.body[..]), &mut unpacked)
                        .unwrap();
                    unpacked
                }
                // In one frame, since not all clients read on after the first.
                _ => zstd::bulk::decompress(&packed.body, plain.body.len()).unwrap(),
            };
            assert!(unpacked == plain.body, "{question} {coding}");
        }
    }
}

#[tokio::test]
async fn the_used_weight_is_the_exchanges_and_a_hit_adds_nothing() {
    let exchange = Exchange::start().await;
    // In the middle of a minute of its weight, which a moving clock might end.
    exchange.sim.set_clock(ClockMode::Frozen(half_past()));
    let gateway = Running::start(&exchange.url(), &[("regions.klines.fresh_for", "5m")]).await;
    let question = "/api/v3/klines?symbol=BTCUSDT&interval=1h";
    let miss = get(gateway.url(question)).await;
    let hit = get(gateway.url(question)).await;
    assert_eq!((miss.cache(), hit.cache()), ("MISS", "HIT"));
    assert_eq!(miss.header("x-mbx-used-weight-1m"), "2");
    assert_eq!(hit.header("x-mbx-used-weight-1m"), "2");
}

#[tokio::test]
async fn time_is_never_cached_and_ping_never_asked() {
    let exchange = Exchange::start().await;
    let gateway = Running::start(&exchange.url(), &[]).await;
    for path in ["/api/v3/time", "/fapi/v1/time", "/dapi/v1/time"] {
        assert_eq!(get(gateway.url(path)).await.cache(), "PASS");
        assert_eq!(get(gateway.url(path)).await.cache(), "PASS");
    }
    assert_eq!(exchange.asked(), 6);
    for path in ["/api/v3/ping", "/fapi/v1/ping", "/dapi/v1/ping"] {
        assert_eq!(get(gateway.url(path)).await.text(), "{}");
    }
    assert_eq!(exchange.asked(), 6);
}

#[tokio::test]
async fn microseconds_are_another_answer() {
    let exchange = Exchange::start().await;
    exchange.sim.set_clock(ClockMode::Frozen(half_past()));
    let gateway = Running::start(&exchange.url(), &[]).await;
    let question = "/api/v3/klines?symbol=BTCUSDT&interval=1h&limit=1";
    let millis = get(gateway.url(question)).await;
    let micros = client().get(gateway.url(question)).header("x-mbx-time-unit", "MICROSECOND").send().await.unwrap();
    let micros = read(micros).await;
    let opened = |got: &crate::support::Got| got.json()[0][0].as_u64().unwrap();
    assert_eq!(opened(&micros), opened(&millis) * 1_000);
}

#[tokio::test]
async fn with_the_cache_off_everything_passes() {
    let exchange = Exchange::start().await;
    let gateway = Running::start(&exchange.url(), &[("enabled", "false")]).await;
    for asked in 1..=3 {
        let got = get(gateway.url("/api/v3/ticker/price?symbol=BTCUSDT")).await;
        assert_eq!((got.status, got.cache()), (200, "PASS"));
        assert_eq!(exchange.asked(), asked);
    }
    assert_eq!(get(gateway.url("/health")).await.json()["status"], "disabled");
    gateway.gateway.cache().set_enabled(true);
    assert_eq!(get(gateway.url("/api/v3/ticker/price?symbol=BTCUSDT")).await.cache(), "MISS");
}
