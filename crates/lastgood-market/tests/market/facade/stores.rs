//! A market on a store: Redis in all its forms, a file, or none that can be used.

use super::*;

/// All keys in a Redis database.
pub(super) fn keys(redis: &RedisServer, database: u8) -> Vec<String> {
    let script = format!("redis.call('SELECT', {database}) return redis.call('KEYS', '*')");
    let reply = redis.command(&["EVAL", &script, "0"]);
    assert!(reply.starts_with('*'), "{reply}");
    reply.lines().filter(|line| !line.starts_with(['*', '$'])).map(str::to_owned).collect()
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
        assert!(market.sync(Duration::from_secs(10)).await);
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
    assert!(market.sync(Duration::from_secs(10)).await);
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
        assert!(market.sync(Duration::from_secs(10)).await);
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
    assert!(theirs.sync(Duration::from_secs(10)).await);
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
        assert!(market.sync(Duration::from_secs(10)).await, "{how}");
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
    assert_eq!(exchange.asked(), before, "a ban holds across a restart");
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
        let opens = market.get_bars(Venue::UsdM, "BTCUSDT", "1d", 50).await.unwrap();
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
        assert!(market.sync(Duration::from_secs(20)).await);
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
