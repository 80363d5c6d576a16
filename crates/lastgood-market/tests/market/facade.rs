//! The market as a Rust program has it: over real HTTP, with a real Redis where the store matters.

mod ahead;
mod lone;
mod overload;
mod stores;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lastgood::{Error, Loaded, Outcome, Reason, Tier, WasThere};
use lastgood_market::bars::{BarSeries, Ohlcv};
use lastgood_market::market::{Confirm, Found, MarketBuilder};
use lastgood_market::{Market, Plan, Preset, RegionName, Request, Venue, plan};
use lastgood_sim::{Fault, FaultKind, Sim, SimConfig};
use lastgood_testing::{RedisCluster, RedisSentinels, RedisServer, eventually};
use rust_decimal::Decimal;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// An exchange on a free port.
struct Exchange {
    sim: Sim,
    url: String,
    _stop: oneshot::Sender<()>,
}

impl Exchange {
    async fn start() -> Exchange {
        Exchange::of_seed(7).await
    }

    async fn of_seed(seed: u64) -> Exchange {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let sim = Sim::new(SimConfig { seed, symbols: 50, ..SimConfig::default() });
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = sim.clone();
        tokio::spawn(async move { serving.serve(listener, async { drop(stopped.await) }).await });
        Exchange { sim, url, _stop: stop }
    }

    fn builder(&self) -> MarketBuilder {
        let long = Duration::from_secs(3_600);
        let regions = [RegionName::Klines, RegionName::Ticker24hr, RegionName::PremiumIndex, RegionName::FundingRate];
        let builder = Market::builder().namespace("iftb").exchange(&self.url).unwrap();
        regions.into_iter().fold(builder, |builder, region| builder.fresh_for(region, long))
    }

    fn break_down(&self, kind: FaultKind) {
        self.sim.fault(Fault { kind, path_prefix: String::new(), times: None });
    }

    fn asked(&self) -> u64 {
        self.sim.counters().total
    }

    /// The exchange's own words.
    async fn says(&self, path: &str) -> Value {
        // The market's client is the only one at hand.
        let base = lastgood_market::upstream::BaseUrl::parse(&self.url).unwrap();
        let site =
            lastgood_market::upstream::SiteClient::new(base, &Default::default(), &lastgood::Clock::system()).unwrap();
        serde_json::from_slice(&site.get(path, Ok).await.unwrap()).unwrap()
    }
}

fn decimal(value: &Value) -> Decimal {
    value.as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn every_kind_is_exact_and_asked_for_once() {
    let exchange = Exchange::start().await;
    exchange.sim.set_clock(lastgood_sim::ClockMode::Frozen(exchange.sim.now()));
    let market = exchange.builder().build().await.unwrap();
    let ticker = market.ticker(Venue::Spot, "BTCUSDT").await.unwrap();
    let says = exchange.says("/api/v3/ticker/24hr?symbol=BTCUSDT").await;
    assert_eq!(ticker.value.last_price, decimal(&says["lastPrice"]));
    assert_eq!(ticker.value.last_price.to_string(), says["lastPrice"], "to the last zero");
    assert_eq!(ticker.value.quote_volume, Some(decimal(&says["quoteVolume"])));
    assert_eq!(ticker.outcome, Outcome::Miss);
    let funding = market.funding(Venue::UsdM, "BTCUSDT").await.unwrap();
    let says = exchange.says("/fapi/v1/premiumIndex?symbol=BTCUSDT").await;
    assert_eq!(funding.value.last_funding_rate, Some(decimal(&says["lastFundingRate"])));
    assert_eq!(funding.value.next_funding_time.map(|time| time.as_millis()), says["nextFundingTime"].as_u64());
    let rates = market.funding_rates(Venue::UsdM, "BTCUSDT", 3).await.unwrap();
    assert_eq!(rates.value.len(), 3);
    assert!(rates.value[0].funding_time < rates.value[2].funding_time);
    for symbol in ["BTCUSD_PERP"] {
        assert_eq!(market.ticker(Venue::CoinM, symbol).await.unwrap().value.symbol, symbol);
        assert_eq!(market.funding(Venue::CoinM, symbol).await.unwrap().value.symbol, symbol);
    }
    let bars = market.get_bars(Venue::Spot, "BTCUSDT", "1h", 100).await.unwrap();
    let says = exchange.says("/api/v3/klines?symbol=BTCUSDT&interval=1h&limit=100").await;
    assert_eq!((bars.bars.len(), bars.outcome), (100, Outcome::Miss));
    assert_eq!(bars.bars[40].close.to_string(), says[40][4]);
    for (venue, its) in [(Venue::Spot, lastgood_sim::Venue::Spot), (Venue::UsdM, lastgood_sim::Venue::UsdM)] {
        let listed = market.symbols(venue).await.unwrap();
        let mut trading = exchange.sim.symbols(its);
        trading.sort();
        assert_eq!(listed.value.iter().map(|row| row.symbol.clone()).collect::<Vec<_>>(), trading);
        assert!(listed.value.iter().all(|row| row.tick_size.is_some() && row.step_size.is_some()));
    }
    let mood = market.fear_greed(2).await.unwrap();
    let says = exchange.says("/fng/?limit=2").await;
    assert_eq!(mood.value[0].value.to_string(), says["data"][0]["value"]);
    assert_eq!(mood.value[1].classification, says["data"][1]["value_classification"]);

    let before = exchange.asked();
    for outcome in [
        market.ticker(Venue::Spot, "BTCUSDT").await.unwrap().outcome,
        market.funding(Venue::UsdM, "BTCUSDT").await.unwrap().outcome,
        market.funding_rates(Venue::UsdM, "BTCUSDT", 3).await.unwrap().outcome,
        market.symbols(Venue::Spot).await.unwrap().outcome,
        market.fear_greed(2).await.unwrap().outcome,
        market.get_bars(Venue::Spot, "BTCUSDT", "1h", 100).await.unwrap().outcome,
    ] {
        assert_eq!(outcome.tier(), Some(Tier::Memory));
    }
    assert_eq!(exchange.asked(), before, "the second time is free");
    assert_eq!(market.latest_bar(Venue::Spot, "BTCUSDT", "1h").await.unwrap().as_ref(), bars.bars.last());
}

#[tokio::test]
async fn with_the_exchange_away_the_last_good_is_given_with_the_reason() {
    let exchange = Exchange::start().await;
    let regions = [RegionName::Ticker24hr, RegionName::PremiumIndex, RegionName::FearGreed, RegionName::Llm];
    let stale = |builder: MarketBuilder, region| builder.fresh_for(region, Duration::ZERO);
    let market = regions.into_iter().fold(exchange.builder(), stale).build().await.unwrap();
    let ticker = market.ticker(Venue::Spot, "BTCUSDT").await.unwrap();
    let funding = market.funding(Venue::UsdM, "BTCUSDT").await.unwrap();
    let mood = market.fear_greed(1).await.unwrap();
    market.llm::<Value>("sentiment").unwrap().put(&json!({"a": 1}), &json!("calm")).await.unwrap();
    exchange.break_down(FaultKind::Status { status: 503 });

    let kept = market.ticker(Venue::Spot, "BTCUSDT").await.unwrap();
    assert_eq!((kept.value, kept.outcome), (ticker.value, Outcome::LastGood(Reason::Upstream)));
    let kept = market.funding(Venue::UsdM, "BTCUSDT").await.unwrap();
    assert_eq!((kept.value, kept.outcome), (funding.value, Outcome::LastGood(Reason::Upstream)));
    let kept = market.fear_greed(1).await.unwrap();
    assert_eq!((kept.value, kept.outcome), (mood.value, Outcome::LastGood(Reason::Upstream)));
    let fails = || async { Err(Error::new(Reason::Upstream, "the model is busy").into()) };
    let analyses = market.llm::<Value>("sentiment").unwrap();
    let kept = analyses.get_or_compute(&json!({"a": 1}), fails).await.unwrap();
    assert_eq!((&*kept.value, kept.outcome), (&json!("calm"), Outcome::LastGood(Reason::Upstream)));
    assert!(matches!(analyses.get(&json!({"a": 1})).await.unwrap(), Found::Absent), "it is fresh no more");

    // What was never known is an error, never an invention.
    let unknown = market.ticker(Venue::Spot, "ETHUSDT").await.unwrap_err();
    assert_eq!(unknown.reason, Reason::Upstream);
    let health = market.health().await;
    let troubled: Vec<RegionName> = health.last_errors.iter().map(|trouble| trouble.region).collect();
    assert!(regions.iter().all(|region| troubled.contains(region)), "{troubled:?}");
    assert!(health.last_errors.iter().any(|trouble| trouble.message.contains("the model is busy")));
}

#[tokio::test]
async fn an_invalid_answer_never_takes_the_place_of_a_valid_one() {
    let exchange = Exchange::start().await;
    let stale = |builder: MarketBuilder, region| builder.fresh_for(region, Duration::ZERO);
    let regions = [RegionName::Ticker24hr, RegionName::FearGreed];
    let market = regions.into_iter().fold(exchange.builder(), stale).build().await.unwrap();
    let ticker = market.ticker(Venue::Spot, "BTCUSDT").await.unwrap();
    let mood = market.fear_greed(1).await.unwrap();
    for kind in [FaultKind::ErrorIn200, FaultKind::Garbage, FaultKind::Empty, FaultKind::Truncated] {
        exchange.sim.clear_faults();
        exchange.break_down(kind.clone());
        let kept = market.ticker(Venue::Spot, "BTCUSDT").await.unwrap();
        assert_eq!(kept.value, ticker.value, "{kind:?}");
        assert!(matches!(kept.outcome, Outcome::LastGood(_)), "{kind:?}: {}", kept.outcome);
        let kept = market.fear_greed(1).await.unwrap();
        assert_eq!(kept.value, mood.value, "{kind:?}");
        assert!(matches!(kept.outcome, Outcome::LastGood(_)), "{kind:?}: {}", kept.outcome);
    }
    assert_eq!(market.funding(Venue::Spot, "BTCUSDT").await.unwrap_err().reason, Reason::NotFound);
    assert_eq!(market.get_bars(Venue::Spot, "BTCUSDT", "7h", 1).await.unwrap_err().reason, Reason::NotFound);
}

#[tokio::test]
async fn an_answer_of_the_right_shape_without_its_numbers_is_none() {
    // A host that answers every question with the same words.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let body = r#"{"symbol":"BTCUSDT","lastPrice":"cheap"}"#;
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close";
            let answer = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            let _ = stream.read(&mut [0; 4_096]).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    let market = Market::builder().exchange(&url).unwrap().build().await.unwrap();
    assert_eq!(market.ticker(Venue::Spot, "BTCUSDT").await.unwrap_err().reason, Reason::Malformed);
    assert_eq!(market.funding(Venue::UsdM, "BTCUSDT").await.unwrap_err().reason, Reason::Malformed);
    assert_eq!(market.symbols(Venue::Spot).await.unwrap_err().reason, Reason::Malformed);
    assert_eq!(market.fear_greed(1).await.unwrap_err().reason, Reason::Malformed);
    for name in RegionName::ALL {
        assert_eq!(market.stats(name).keys, 0, "{name} keeps nothing");
    }
    assert!(market.health().await.last_errors.iter().any(|trouble| trouble.region == RegionName::Ticker24hr));
}

#[tokio::test]
async fn the_index_names_the_time_of_its_next_update_and_dashboards_ignore_it() {
    let exchange = Exchange::start().await;
    // Ten hours before midnight, whatever the hour is.
    let day = 86_400_000;
    exchange.sim.set_clock(lastgood_sim::ClockMode::Frozen(exchange.sim.now() / day * day + 14 * 3_600_000));
    for (preset, seconds) in [(Preset::Trading, 36_000), (Preset::Dashboard, 300)] {
        let market = exchange.builder().preset(preset).build().await.unwrap();
        market.fear_greed(1).await.unwrap();
        let key = format!("fng@{}?limit=1&format=json", exchange.url.trim_start_matches("http://"));
        let held = market.region(RegionName::FearGreed).peek(&key).unwrap();
        let left = held.fresh_for().as_secs_f64();
        // A policy's freshness is spread a little.
        assert!((left - f64::from(seconds)).abs() <= f64::from(seconds) * 0.11, "{preset:?}: {left}");
    }
}

#[tokio::test]
async fn the_index_is_left_alone_when_it_says_so() {
    let exchange = Exchange::start().await;
    exchange.break_down(FaultKind::RateLimited);
    let market = exchange.builder().build().await.unwrap();
    assert_eq!(market.fear_greed(1).await.unwrap_err().reason, Reason::RateLimited);
    exchange.sim.clear_faults();
    let before = exchange.asked();
    assert_eq!(market.fear_greed(7).await.unwrap_err().reason, Reason::RateLimited, "another question");
    assert_eq!(exchange.asked(), before);
    assert!(market.health().await.fear_greed_stopped.is_some());
}

#[tokio::test]
async fn many_callers_of_one_analysis_compute_it_once() {
    let exchange = Exchange::start().await;
    let market = exchange.builder().build().await.unwrap();
    let computed = Arc::new(AtomicU64::new(0));
    let calls = (0..50).map(|caller: u32| {
        let (market, computed) = (market.clone(), Arc::clone(&computed));
        tokio::spawn(async move {
            let analyses = market.llm::<String>("sentiment").unwrap();
            // Every other caller writes its input in another order.
            let input = match caller % 2 {
                0 => r#"{"symbol":"BTCUSDT","bars":[1,2.0]}"#,
                _ => r#"{"bars":[1.0,2],"symbol":"BTCUSDT"}"#,
            };
            let input: Value = serde_json::from_str(input).unwrap();
            let compute = move || async move {
                computed.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(50)).await;
                Ok("bullish".to_owned())
            };
            analyses.get_or_compute(&input, compute).await.unwrap().value.to_string()
        })
    });
    for call in calls.collect::<Vec<_>>() {
        assert_eq!(call.await.unwrap(), "bullish");
    }
    assert_eq!(computed.load(Ordering::SeqCst), 1);
    let analyses = market.llm::<String>("sentiment").unwrap();
    let input = json!({"symbol": "BTCUSDT", "bars": [1, 2]});
    assert_eq!(analyses.get(&input).await.unwrap().kept().unwrap().outcome, Outcome::Hit(Tier::Memory));
    let of_another_kind = market.llm::<String>("risk").unwrap().get(&input).await.unwrap();
    assert!(matches!(of_another_kind, Found::Absent));
    let of_another_type = market.llm::<u64>("sentiment").unwrap().get(&input).await.unwrap();
    assert!(matches!(of_another_type, Found::Absent), "no number");
    assert_eq!(market.llm::<u64>("no kind").unwrap_err().reason, Reason::NotFound);
}

#[test]
fn what_cannot_be_meant_is_refused_without_repeating_a_password() {
    for store in ["", "mongo://h", "embedded:", "redis://u:hunter2@", "memory:x"] {
        let refused = Market::builder().store(store).expect_err(store).to_string();
        assert!(!refused.contains("hunter2"), "{refused}");
    }
    for host in ["binance.com", "ftp://h", "https://u:hunter2@h", "https://h?x=1", "ws://h", ""] {
        let refused = Market::builder().exchange(host).expect_err(host).to_string();
        assert!(refused.contains("https://host") && !refused.contains("hunter2"), "{refused}");
    }
    assert!(Market::builder().hosts(Venue::Spot, &[]).is_err());
}
