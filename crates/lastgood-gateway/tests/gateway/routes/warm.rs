//! What routes keep warm.

use super::*;
use crate::support::eventually;
use lastgood_testing::{Chaos, ChaosProxy};

#[tokio::test]
async fn declared_arguments_are_kept_warm_ahead_of_their_end() {
    let api = Api::start().await;
    api.answers(Reply::json(json!({ "data": [1] })));
    let text = file(&api)
        .replace("fresh_for = \"1h\"", "fresh_for = \"1s\"\njitter = 0.0\nstale_while_revalidate = \"0s\"")
        .replace(
            "description = ",
            "warm = [{ symbol = \"AAPL\" }, { symbol = \"msft\", days = 5 }]\n        description = ",
        );
    let gateway = Running::of_file(&text).await;
    let warm = async {
        while api.asked().len() < 6 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), warm).await.expect("it is loaded again and again");
    let asked = api.asked();
    assert_eq!(asked[..2], ["/base/daily/AAPL?days=30&apikey=k-123", "/base/daily/MSFT?days=5&apikey=k-123"]);
    assert_eq!(get(gateway.url("/v1/stocks/AAPL/recent")).await.cache(), "HIT");
    assert_eq!(get(gateway.url("/v1/stocks/MSFT/recent?days=5")).await.cache(), "HIT");
}

#[tokio::test]
async fn what_routes_keep_warm_is_loaded_on_demand_by_symbol_and_region() {
    let api = Api::start().await;
    api.answers(Reply::json(json!({ "data": [1] })));
    let text = file(&api).replace(
        "description = ",
        "warm = [{ symbol = \"AAPL\" }, { symbol = \"msft\", days = 5 }]\n        description = ",
    );
    let gateway = Running::of_file(&text).await;
    let post = async |path: &str, asked: Value| {
        read(client().post(gateway.url(path)).body(asked.to_string()).send().await.unwrap()).await
    };
    let warm = async |asked: Value| {
        let answer = post("/api/cache/warm", asked).await;
        (answer.status, answer.json())
    };
    // The schedule's own turn comes first.
    while api.asked().len() < 2 || get(gateway.url("/v1/stocks/MSFT/recent?days=5")).await.cache() != "HIT" {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let (status, all) = warm(json!({})).await;
    assert_eq!(
        (status, &all["matched"], &all["warmed"], &all["fresh"]),
        (200, &json!(2), &json!(0), &json!(2)),
        "{all}"
    );
    for path in ["/v1/stocks/AAPL/recent", "/v1/stocks/MSFT/recent?days=5"] {
        assert_eq!(get(gateway.url(path)).await.cache(), "HIT");
    }
    let remove = json!({ "region": "quotes", "hard": true });
    assert_eq!(post("/api/cache/invalidate", remove.clone()).await.status, 200);
    let (_, dry) = warm(json!({ "symbol": "Msft", "dry_run": true })).await;
    assert_eq!((&dry["matched"], &dry["warmed"]), (&json!(1), &json!(1)), "{dry}");
    assert_eq!(api.asked().len(), 2);
    let (_, one) = warm(json!({ "symbol": "Msft", "region": "quotes" })).await;
    assert_eq!((&one["matched"], &one["warmed"]), (&json!(1), &json!(1)), "{one}");
    assert_eq!(api.asked().last().map(String::as_str), Some("/base/daily/MSFT?days=5&apikey=k-123"));
    let (_, none) = warm(json!({ "region": "klines" })).await;
    assert_eq!((&none["matched"], api.asked().len()), (&json!(0), 3));
    let (status, refused) = warm(json!({ "region": "unknown" })).await;
    assert_eq!(status, 400);
    assert!(refused["detail"].as_str().unwrap().contains("quotes"), "{refused}");
    api.answers(Reply::status(500));
    assert_eq!(post("/api/cache/invalidate", remove).await.status, 200);
    let (_, failed) = warm(json!({ "region": "quotes" })).await;
    assert_eq!((&failed["warmed"], &failed["failed"]), (&json!(0), &json!(2)), "{failed}");
}

/// Three gateways of one file, on one Redis.
async fn on_one_store(text: &str, redis: &lastgood_testing::RedisServer) -> [Running; 3] {
    let mut gateways = Vec::new();
    for _ in 0..3 {
        let data = tempfile::tempdir().unwrap();
        let mut settings = crate::support::settings_of(text, &[]).unwrap_or_else(|problems| panic!("{problems}"));
        settings.data_dir = data.path().to_owned();
        let store = redis.url();
        // However slow the machine is: the store can be asked in time.
        let flags = [("store", store.as_str()), ("store_budget", "5s")];
        let others = crate::support::settings("http://127.0.0.1:9", &flags);
        (settings.binance, settings.store) = (others.binance, others.store);
        settings.store_budget = others.store_budget;
        gateways.push(Running::serve(&settings, data).await);
    }
    gateways.try_into().ok().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_gateways_on_one_store_one_loads_a_warmed_route_and_the_others_have_it_too() {
    let (api, mut redis) = (Api::start().await, lastgood_testing::RedisServer::start());
    api.answers(Reply::json(json!({ "data": [1] })));
    let text = file(&api)
        .replace("fresh_for = \"1h\"", "fresh_for = \"3s\"\njitter = 0.0\nstale_while_revalidate = \"0s\"")
        .replace(
            "description = ",
            "warm = [{ symbol = \"AAPL\" }]\n        warm_every = \"2s\"\n        description = ",
        );
    let gateways = on_one_store(&text, &redis).await;
    let began = tokio::time::Instant::now();
    let readers = async {
        // Each has it soon, and from then on never waits for the source.
        for gateway in &gateways {
            while get(gateway.url("/v1/stocks/AAPL/recent")).await.cache() != "HIT" {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        while began.elapsed() < Duration::from_millis(9_000) {
            for gateway in &gateways {
                assert_eq!(get(gateway.url("/v1/stocks/AAPL/recent")).await.cache(), "HIT");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), readers).await.expect("all have it");
    let asked = api.asked().len();
    assert!((4..=6).contains(&asked), "{asked} loads in 9 s, one each 2 s");
    // Without the store each warms for itself.
    redis.kill();
    eventually("each loads", async || api.asked().len() >= asked + 6).await;
    for gateway in &gateways {
        assert_eq!(get(gateway.url("/v1/stocks/AAPL/recent")).await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_gateway_that_warms_a_route_ends_another_goes_on() {
    let (api, redis) = (Api::start().await, lastgood_testing::RedisServer::start());
    api.answers(Reply::json(json!({ "data": [1] })));
    let text = file(&api).replace("fresh_for = \"1h\"", "fresh_for = \"4s\"\njitter = 0.0").replace(
        "description = ",
        "warm = [{ symbol = \"AAPL\" }]\n        warm_every = \"1s\"\n        description = ",
    );
    let mut gateways = Vec::from(on_one_store(&text, &redis).await);
    while gateways.len() > 1 {
        let asked = api.asked().len();
        eventually("it is loaded again", async || api.asked().len() >= asked + 2).await;
        gateways.remove(0).stop().await;
    }
    let asked = api.asked().len();
    eventually("the last one loads it", async || api.asked().len() >= asked + 2).await;
}

/// How long a gateway takes to load twenty questions that a route keeps warm.
async fn warming_of_twenty(store: &str) -> Duration {
    let api = Api::start().await;
    api.answers(Reply::json(json!({ "data": [1] })));
    let questions: Vec<String> = (1..=20).map(|days| format!("{{ symbol = \"AAPL\", days = {days} }}")).collect();
    let text =
        file(&api).replace("description = ", &format!("warm = [{}]\n        description = ", questions.join(", ")));
    let data = tempfile::tempdir().unwrap();
    let mut settings = crate::support::settings_of(&text, &[]).unwrap_or_else(|problems| panic!("{problems}"));
    settings.data_dir = data.path().to_owned();
    let others = crate::support::settings("http://127.0.0.1:9", &[("store", store)]);
    (settings.binance, settings.store) = (others.binance, others.store);
    let began = tokio::time::Instant::now();
    let gateway = Running::serve(&settings, data).await;
    eventually("all are loaded", async || api.asked().len() >= 20).await;
    let took = began.elapsed();
    assert_eq!(get(gateway.url("/v1/stocks/AAPL/recent?days=20")).await.status, 200);
    took
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_or_black_holed_redis_delays_the_warming_of_twenty_questions_by_one_wait() {
    let redis = lastgood_testing::RedisServer::start();
    let proxy = ChaosProxy::start(format!("127.0.0.1:{}", redis.port())).await;
    let well = warming_of_twenty(&redis.url()).await;
    for chaos in [Chaos::Refuse, Chaos::BlackHole] {
        proxy.set(chaos);
        let took = warming_of_twenty(&redis.url_through(proxy.port())).await;
        println!("{took:?} with {chaos:?}, {well:?} with a Redis that is well");
        // Four tries of at most half a second, with a quarter of a second after each, once.
        assert!(took < well + Duration::from_secs(4), "{took:?} with {chaos:?}, {well:?} without");
    }
}
