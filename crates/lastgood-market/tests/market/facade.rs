//! The market as a Rust program has it: over real HTTP, with a real Redis where the store matters.

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
        let site = lastgood_market::upstream::Site::new(base, &Default::default(), &lastgood::Clock::system()).unwrap();
        serde_json::from_slice(&site.get(path, Ok).await.unwrap()).unwrap()
    }
}

fn decimal(value: &Value) -> Decimal {
    value.as_str().unwrap().parse().unwrap()
}

/// All keys in a Redis database.
fn keys(redis: &RedisServer, database: u8) -> Vec<String> {
    let script = format!("redis.call('SELECT', {database}) return redis.call('KEYS', '*')");
    let reply = redis.command(&["EVAL", &script, "0"]);
    assert!(reply.starts_with('*'), "{reply}");
    reply.lines().filter(|line| !line.starts_with(['*', '$'])).map(str::to_owned).collect()
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
    let funding = market.funding(Venue::Futures, "BTCUSDT").await.unwrap();
    let says = exchange.says("/fapi/v1/premiumIndex?symbol=BTCUSDT").await;
    assert_eq!(funding.value.last_funding_rate, Some(decimal(&says["lastFundingRate"])));
    assert_eq!(funding.value.next_funding_time.map(|time| time.as_millis()), says["nextFundingTime"].as_u64());
    let rates = market.funding_rates(Venue::Futures, "BTCUSDT", 3).await.unwrap();
    assert_eq!(rates.value.len(), 3);
    assert!(rates.value[0].funding_time < rates.value[2].funding_time);
    for symbol in ["BTCUSD_PERP"] {
        assert_eq!(market.ticker(Venue::Coin, symbol).await.unwrap().value.symbol, symbol);
        assert_eq!(market.funding(Venue::Coin, symbol).await.unwrap().value.symbol, symbol);
    }
    let bars = market.get_bars(Venue::Spot, "BTCUSDT", "1h", 100).await.unwrap();
    let says = exchange.says("/api/v3/klines?symbol=BTCUSDT&interval=1h&limit=100").await;
    assert_eq!((bars.bars.len(), bars.outcome), (100, Outcome::Miss));
    assert_eq!(bars.bars[40].close.to_string(), says[40][4]);
    for (venue, its) in [(Venue::Spot, lastgood_sim::Venue::Spot), (Venue::Futures, lastgood_sim::Venue::Futures)] {
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
        market.funding(Venue::Futures, "BTCUSDT").await.unwrap().outcome,
        market.funding_rates(Venue::Futures, "BTCUSDT", 3).await.unwrap().outcome,
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
    let funding = market.funding(Venue::Futures, "BTCUSDT").await.unwrap();
    let mood = market.fear_greed(1).await.unwrap();
    market.llm::<Value>("sentiment").unwrap().put(&json!({"a": 1}), &json!("calm")).await.unwrap();
    exchange.break_down(FaultKind::Status { status: 503 });

    let kept = market.ticker(Venue::Spot, "BTCUSDT").await.unwrap();
    assert_eq!((kept.value, kept.outcome), (ticker.value, Outcome::LastGood(Reason::Upstream)));
    let kept = market.funding(Venue::Futures, "BTCUSDT").await.unwrap();
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
async fn what_is_no_answer_never_takes_the_place_of_one() {
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
    assert_eq!(market.funding(Venue::Futures, "BTCUSDT").await.unwrap_err().reason, Reason::Malformed);
    assert_eq!(market.symbols(Venue::Spot).await.unwrap_err().reason, Reason::Malformed);
    assert_eq!(market.fear_greed(1).await.unwrap_err().reason, Reason::Malformed);
    for name in RegionName::ALL {
        assert_eq!(market.stats(name).keys, 0, "{name} keeps nothing");
    }
    assert!(market.health().await.last_errors.iter().any(|trouble| trouble.region == RegionName::Ticker24hr));
}

#[tokio::test]
async fn the_index_names_the_time_of_its_next_update_and_screens_do_not_heed_it() {
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

#[tokio::test]
async fn what_one_market_stored_over_sentinels_or_in_a_cluster_is_found_by_the_next() {
    let started = tokio::task::spawn_blocking(|| (RedisSentinels::start(), RedisCluster::start())).await;
    let (sentinels, cluster) = started.unwrap();
    for url in [sentinels.url(), cluster.url()] {
        let exchange = Exchange::start().await;
        let market = exchange.builder().store(&url).unwrap().build().await.unwrap();
        eventually("the store answers", async || matches!(market.health().await.store, Some(Ok(_)))).await;
        let ticker = market.ticker(Venue::Spot, "BTCUSDT").await.unwrap();
        assert!(market.flush(Duration::from_secs(10)).await);
        exchange.break_down(FaultKind::Status { status: 503 });
        let next = exchange.builder().store(&url).unwrap().build().await.unwrap();
        eventually("the store answers", async || matches!(next.health().await.store, Some(Ok(_)))).await;
        let found = next.ticker(Venue::Spot, "BTCUSDT").await.unwrap();
        assert_eq!((found.value, found.outcome), (ticker.value, Outcome::Hit(Tier::Store)));
    }
    let wrong = MarketBuilder::store(Market::builder(), "redis+sentinel://u:hunter2@a:1").unwrap_err().to_string();
    assert!(wrong.contains("names no service") && !wrong.contains("hunter2"), "{wrong}");
}

#[tokio::test]
async fn the_database_of_the_url_is_used_and_no_other() {
    let exchange = Exchange::start().await;
    let redis = RedisServer::start();
    let url = redis.url().replace("/0", "/5");
    // Fresh for as long as the test takes, whatever the time is: the newest candle closes in an hour or later.
    let hour = 3_600_000;
    exchange.sim.set_clock(lastgood_sim::ClockMode::Frozen((exchange.sim.now() / hour + 1) * hour + hour / 2));
    let calm = || exchange.builder().preset(Preset::Dashboard).store(&url).unwrap().build();
    let market = calm().await.unwrap();
    eventually("the store answers", async || matches!(market.health().await.store, Some(Ok(_)))).await;
    let ticker = market.ticker(Venue::Spot, "BTCUSDT").await.unwrap();
    let bars = market.get_bars(Venue::Spot, "BTCUSDT", "1h", 10).await.unwrap();
    let input = json!(["BTCUSDT"]);
    market.llm("sentiment").unwrap().put(&input, &"calm".to_owned()).await.unwrap();
    assert!(market.flush(Duration::from_secs(10)).await);
    assert!(keys(&redis, 0).is_empty());
    assert!(keys(&redis, 5).len() >= 3, "{:?}", keys(&redis, 5));
    assert!(keys(&redis, 5).iter().all(|key| key.starts_with("iftb:")));

    // The next process finds it there.
    exchange.break_down(FaultKind::Status { status: 503 });
    let next = calm().await.unwrap();
    eventually("the store answers", async || matches!(next.health().await.store, Some(Ok(_)))).await;
    let found = next.ticker(Venue::Spot, "BTCUSDT").await.unwrap();
    assert_eq!((found.value, found.outcome), (ticker.value, Outcome::Hit(Tier::Store)));
    assert_eq!(next.get_bars(Venue::Spot, "BTCUSDT", "1h", 10).await.unwrap().bars, bars.bars);
    let analysis = next.llm::<String>("sentiment").unwrap().get(&input).await.unwrap().kept().unwrap();
    assert_eq!((analysis.value.as_str(), analysis.outcome), ("calm", Outcome::Hit(Tier::Store)));
}

#[tokio::test]
async fn clearing_takes_a_confirmation_and_its_own_namespace_alone() {
    let exchange = Exchange::start().await;
    let redis = RedisServer::start();
    let market = |namespace: &str| exchange.builder().namespace(namespace).store(&redis.url()).unwrap().build();
    let (mine, theirs) = (market("mine").await.unwrap(), market("mine2").await.unwrap());
    redis.command(&["set", "mine", "somebody else's"]);
    redis.command(&["set", "other:key", "somebody else's"]);
    for market in [&mine, &theirs] {
        eventually("the store answers", async || matches!(market.health().await.store, Some(Ok(_)))).await;
        market.ticker(Venue::Spot, "BTCUSDT").await.unwrap();
        market.fear_greed(1).await.unwrap();
        assert!(market.flush(Duration::from_secs(10)).await);
    }
    let of = |prefix: &str| keys(&redis, 0).into_iter().filter(|key| key.starts_with(prefix)).count();
    // Two answers, and the log of loads.
    assert_eq!((of("mine:"), of("mine:@loads"), of("mine2:")), (3, 1, 3));
    let cleared = mine.clear(Confirm::YesClearEverything).await;
    assert_eq!((cleared.from_memory, cleared.store_done), (2, true));
    // What tells the other processes of it stays.
    assert_eq!((of("mine:"), of("mine:@log"), of("mine:@loads"), of("mine2:"), of("mine")), (2, 1, 1, 3, 6));
    assert_eq!(of("other:key"), 1);
    let before = exchange.asked();
    assert_eq!(mine.ticker(Venue::Spot, "BTCUSDT").await.unwrap().outcome, Outcome::Miss);
    assert_eq!(theirs.ticker(Venue::Spot, "BTCUSDT").await.unwrap().outcome, Outcome::Hit(Tier::Memory));
    assert_eq!(exchange.asked(), before + 1);
}

#[tokio::test]
async fn what_a_frozen_or_lost_redis_cannot_be_asked_for_is_neither_found_nor_absent() {
    let exchange = Exchange::start().await;
    let mut redis = RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let url = redis.url();
    let start = async || {
        let market = exchange.builder().store(&url).unwrap().build().await.unwrap();
        eventually("the store answers", async || market.health().await.is_well()).await;
        market
    };
    let series = |name: &str| BarSeries::new(name, "1h").unwrap();
    let bar = Ohlcv {
        open_time: lastgood::Timestamp::from_millis(0),
        open: Decimal::ONE,
        high: Decimal::TWO,
        low: Decimal::ONE,
        close: Decimal::TWO,
        volume: Decimal::ONE,
    };
    let theirs = start().await;
    theirs.llm("sentiment").unwrap().put(&json!("theirs"), &"calm".to_owned()).await.unwrap();
    assert_eq!(theirs.own_bars().set_bars(&series("theirs"), std::slice::from_ref(&bar)).await.stored, 1);
    assert!(theirs.flush(Duration::from_secs(10)).await);
    for how in ["frozen", "gone"] {
        let market = start().await;
        let (analyses, own) = (market.llm::<String>("sentiment").unwrap(), market.own_bars());
        assert!(matches!(analyses.get(&json!("nobodys")).await.unwrap(), Found::Absent), "{how}");
        match how {
            "frozen" => redis.stop(),
            _ => redis.kill(),
        }
        // First each question is waited for, and then the breaker is open.
        for _ in 0..20 {
            for name in ["theirs", "nobodys"] {
                let found = analyses.get(&json!(name)).await.unwrap();
                assert!(matches!(found, Found::Unknown(_)), "{how} {name}: {found:?}");
                assert!(found.kept().is_none());
                assert!(own.get_bars(&series(name), 5).await.is_err(), "{how} {name}");
                assert!(own.latest_bar(&series(name)).await.is_err(), "{how} {name}");
                assert!(own.exists(&series(name)).await.is_err(), "{how} {name}");
                assert!(own.find(&series(name)).await.is_err(), "{how} {name}");
            }
        }
        assert!(matches!(own.invalidate(&series("nobodys")).await, WasThere::Unknown(_)), "{how}");
        assert_eq!(own.exists(&series("nobodys")).await, Ok(false), "{how}: it is removed here");
        // Who wants an analysis in any case has one.
        let computed = analyses.get_or_compute(&json!("nobodys"), || async { Ok("angry".to_owned()) }).await.unwrap();
        assert_eq!(*computed.value, "angry", "{how}");
        match how {
            "frozen" => redis.cont(),
            _ => redis.restart(),
        }
        eventually("it is found", async || {
            let found = analyses.get(&json!("theirs")).await.unwrap().kept();
            found.is_some_and(|found| *found.value == "calm") && own.exists(&series("theirs")).await == Ok(true)
        })
        .await;
        market
            .region(RegionName::Llm)
            .remove(&lastgood_market::llm::key("sentiment", &json!("nobodys")).unwrap())
            .await;
        assert!(market.flush(Duration::from_secs(10)).await, "{how}");
    }
}

#[tokio::test]
async fn with_redis_down_everything_is_answered_and_health_says_so() {
    let exchange = Exchange::start().await;
    let mut redis = RedisServer::start();
    let market = exchange.builder().store(&redis.url()).unwrap().build().await.unwrap();
    eventually("the store answers", async || market.health().await.is_well()).await;
    redis.kill();
    let ticker = market.ticker(Venue::Spot, "BTCUSDT").await.unwrap();
    assert_eq!(ticker.outcome, Outcome::Miss);
    assert_eq!(market.ticker(Venue::Spot, "BTCUSDT").await.unwrap().outcome, Outcome::Hit(Tier::Memory));
    assert_eq!(market.get_bars(Venue::Spot, "BTCUSDT", "1h", 10).await.unwrap().bars.len(), 10);
    market.fear_greed(1).await.unwrap();
    let analyses = market.llm::<String>("sentiment").unwrap();
    analyses.get_or_compute(&json!(1), || async { Ok("calm".to_owned()) }).await.unwrap();
    assert_eq!(*analyses.get(&json!(1)).await.unwrap().kept().unwrap().value, "calm");
    let health = market.health().await;
    assert!(!health.is_well());
    assert!(matches!(health.store, Some(Err(_))));
    // And back: what was written meanwhile goes there.
    redis.restart();
    eventually("the store is back", async || market.health().await.is_well()).await;
}

#[tokio::test]
async fn an_embedded_store_outlives_the_process_and_remembers_bans() {
    let exchange = Exchange::start().await;
    let folder = tempfile::tempdir().unwrap();
    let url = format!("embedded:{}", folder.path().join("data/bot.redb").display());
    let market = exchange.builder().store(&url).unwrap().build().await.unwrap();
    let ticker = market.ticker(Venue::Spot, "BTCUSDT").await.unwrap();
    exchange.break_down(FaultKind::BannedSpot);
    assert_eq!(market.ticker(Venue::Spot, "ETHUSDT").await.unwrap_err().reason, Reason::Banned);
    market.close(Duration::from_secs(10)).await;
    drop(market);
    exchange.sim.clear_faults();
    let before = exchange.asked();
    let next = exchange.builder().store(&url).unwrap().build().await.unwrap();
    assert_eq!(next.health().await.no_store, None);
    assert_eq!(next.ticker(Venue::Spot, "BTCUSDT").await.unwrap().value, ticker.value);
    assert_eq!(next.ticker(Venue::Spot, "ETHUSDT").await.unwrap_err().reason, Reason::Banned);
    assert_eq!(exchange.asked(), before, "a ban is heeded across a restart");
    let health = next.health().await;
    assert!(!health.venues[0].stops.is_empty() && !health.is_well());
}

#[tokio::test]
async fn an_embedded_store_that_cannot_be_used_is_done_without() {
    let exchange = Exchange::start().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let market = exchange.builder().store(&format!("embedded:{}/x.redb", file.path().display())).unwrap();
    let market = market.build().await.unwrap();
    market.ticker(Venue::Spot, "BTCUSDT").await.unwrap();
    let health = market.health().await;
    assert!(health.no_store.is_some() && !health.is_well());
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

#[tokio::test]
async fn a_folder_that_is_used_with_another_exchange_gives_none_of_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("embedded:{}", folder.path().join("market.redb").display());
    let exchanges = [Exchange::of_seed(7).await, Exchange::of_seed(8).await];
    let now = lastgood::Clock::system().now().as_millis();
    exchanges.iter().for_each(|exchange| exchange.sim.set_clock(lastgood_sim::ClockMode::Frozen(now)));
    for exchange in [&exchanges[0], &exchanges[1], &exchanges[0]] {
        let market = exchange.builder().store(&store).unwrap().build().await.unwrap();
        let ticker = market.ticker(Venue::Spot, "BTCUSDT").await.unwrap();
        let opens = market.get_bars(Venue::Futures, "BTCUSDT", "1d", 50).await.unwrap();
        let mood = market.fear_greed(30).await.unwrap();
        assert!(market.symbols(Venue::Spot).await.is_ok());
        let path = "/fapi/v1/klines?symbol=BTCUSDT&interval=1d&limit=50";
        let (rows, index) = (exchange.says(path).await, exchange.says("/fng/?limit=30&format=json").await);
        for (bar, row) in opens.bars.iter().zip(rows.as_array().unwrap()).take(49) {
            assert_eq!((bar.open, bar.high), (decimal(&row[1]), decimal(&row[2])));
        }
        let says = exchange.says("/api/v3/ticker/24hr?symbol=BTCUSDT").await;
        assert_eq!(ticker.value.open_price, decimal(&says["openPrice"]));
        let values = index["data"].as_array().unwrap().iter().map(|row| row["value"].as_str().unwrap().to_owned());
        assert_eq!(mood.value.iter().map(|day| day.value.to_string()).collect::<Vec<_>>(), values.collect::<Vec<_>>());
        assert!(market.flush(Duration::from_secs(20)).await);
        market.close(Duration::from_secs(20)).await;
    }
    let kept = std::fs::read_to_string(folder.path().join("exchanges.json")).unwrap();
    assert!(kept.contains(exchanges[0].url.trim_start_matches("http://")), "{kept}");
}

#[tokio::test]
async fn a_ticker_is_read_from_a_list_of_all_that_a_gateway_left_in_the_store() {
    let exchange = Exchange::start().await;
    let list = exchange.says("/api/v3/ticker/24hr").await;
    let market = exchange.builder().build().await.unwrap();
    let path = "/api/v3/ticker/24hr";
    let Plan::Cached(line) =
        plan(market.identities(), Venue::Spot, Request { is_get: true, path, ..Request::default() })
    else {
        panic!("not cached")
    };
    let loaded = Loaded::from(bytes::Bytes::from(list.to_string())).fresh_for(Duration::ZERO);
    market.region(RegionName::Ticker24hr).put(&line.load().key, loaded).await;
    exchange.break_down(FaultKind::Status { status: 503 });
    let ticker = market.ticker(Venue::Spot, "BTCUSDT").await.unwrap();
    let row = list.as_array().unwrap().iter().find(|row| row["symbol"] == "BTCUSDT").unwrap();
    assert_eq!(ticker.value.last_price, decimal(&row["lastPrice"]));
    assert_eq!(ticker.outcome, Outcome::LastGood(Reason::Upstream));
    assert_eq!(market.ticker(Venue::Spot, "NOSUCHCOIN").await.unwrap_err().reason, Reason::Upstream);
}
