//! Several gateways on one Redis decide together: who computes an analysis, and whose value stands.

use std::collections::BTreeMap;
use std::time::Duration;

use lastgood_testing::{Chaos, ChaosProxy, RedisServer, UpstashFront};
use reqwest::{Client, Method};
use serde_json::json;

use crate::support::{Got, Running, client, eventually, get, read};
use crate::upstash::TOKEN;

const VALUE: &str = "/v1/kv/kv/counter";
const INPUT: &str = r#"{"input": {"symbol": "BTCUSDT"}}"#;
const ANALYSIS: &str = r#"{"input": {"symbol": "BTCUSDT"}, "analysis": {"mood":"calm"}}"#;

/// A store that answers in time even where a busy machine has much else to do.
async fn gateway(store: &str, more: &[(&str, &str)]) -> Running {
    let flags = [("store", store), ("store_budget", "2s")];
    let gateway = Running::start("http://127.0.0.1:9", &[&flags[..], more].concat()).await;
    eventually("it hears the others", async || get(gateway.url("/health")).await.json()["cache"]["log"] == "heard")
        .await;
    gateway
}

async fn two(store: &str, more: &[(&str, &str)]) -> [Running; 2] {
    [gateway(store, more).await, gateway(store, more).await]
}

async fn send(client: &Client, method: Method, url: &str, headers: &[(&str, &str)], body: &str) -> Got {
    let request =
        headers.iter().fold(client.request(method, url), |request, (name, value)| request.header(*name, *value));
    read(request.body(body.to_owned()).send().await.expect("an answer")).await
}

async fn put(gateway: &Running, target: &str, headers: &[(&str, &str)], body: &str) -> Got {
    send(&client(), Method::PUT, &gateway.url(target), headers, body).await
}

async fn claim(gateway: &Running, lease: &str, wait: &str) -> Got {
    let target = format!("/v1/llm/risk?claim={lease}&wait={wait}");
    send(&client(), Method::POST, &gateway.url(&target), &[], INPUT).await
}

/// Reads the number, adds one, and writes it if it is still the same; until that has worked so often.
async fn count_up(client: &Client, url: &str, times: usize) {
    for _ in 0..times {
        loop {
            let got = send(client, Method::GET, url, &[], "").await;
            assert_eq!(got.status, 200, "{}", got.text());
            let next = (got.text().parse::<u64>().unwrap() + 1).to_string();
            match send(client, Method::PUT, url, &[("if-match", got.header("etag"))], &next).await {
                put if put.status == 204 => break,
                put => assert_eq!(put.status, 412, "{}", put.text()),
            }
        }
    }
}

async fn counted(gateways: &[Running; 2]) {
    assert_eq!(put(&gateways[0], VALUE, &[("if-none-match", "*")], "0").await.status, 201);
    let client = client();
    let counters = (0..20).map(|number| {
        let (client, url) = (client.clone(), gateways[number % 2].url(VALUE));
        tokio::spawn(async move { count_up(&client, &url, 5).await })
    });
    for counter in counters.collect::<Vec<_>>() {
        counter.await.unwrap();
    }
    for gateway in gateways {
        eventually("it has the sum", async || get(gateway.url(VALUE)).await.text() == "100").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_hundred_increments_at_two_gateways_none_is_lost() {
    let redis = RedisServer::start();
    counted(&two(&redis.url(), &[]).await).await;
    // The sum is in Redis, too: a third gateway has heard of nothing.
    assert_eq!(get(gateway(&redis.url(), &[]).await.url(VALUE)).await.text(), "100");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_upstash_no_increment_is_lost_either() {
    let redis = RedisServer::start();
    let front = UpstashFront::start(&redis, TOKEN).await;
    counted(&two(&front.url(), &[("store_token", TOKEN)]).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_must_not_be_there_yet_is_created_by_exactly_one() {
    let redis = RedisServer::start();
    let gateways = two(&redis.url(), &[]).await;
    for round in 0..10 {
        let target = format!("/v1/kv/kv/once-{round}");
        let writers = (0..20).map(|number| {
            let (client, url) = (client(), gateways[number % 2].url(&target));
            tokio::spawn(async move {
                let body = number.to_string();
                (send(&client, Method::PUT, &url, &[("if-none-match", "*")], &body).await.status, body)
            })
        });
        let mut created = Vec::new();
        for writer in writers.collect::<Vec<_>>() {
            match writer.await.unwrap() {
                (201, body) => created.push(body),
                (status, _) => assert_eq!(status, 412),
            }
        }
        let [created] = &created[..] else { panic!("{created:?} created it") };
        for gateway in &gateways {
            assert_eq!(get(gateway.url(&target)).await.text(), created, "from either gateway");
        }
    }
}

#[tokio::test]
async fn a_value_that_another_gateway_removed_is_not_replaced_and_one_that_it_put_not_removed() {
    let redis = RedisServer::start();
    let [one, other] = two(&redis.url(), &[]).await;
    let first = put(&one, VALUE, &[], "first").await;
    assert_eq!((first.status, get(other.url(VALUE)).await.text()), (201, "first"));
    let second = put(&other, VALUE, &[("if-match", first.header("etag"))], "second").await;
    assert_eq!(second.status, 204, "{}", second.text());
    let late = send(&client(), Method::DELETE, &one.url(VALUE), &[("if-match", first.header("etag"))], "").await;
    assert_eq!((late.status, get(one.url(VALUE)).await.text()), (412, "second"), "who was refused reads what stands");
    let gone = send(&client(), Method::DELETE, &one.url(VALUE), &[("if-match", second.header("etag"))], "").await;
    assert_eq!(gone.status, 204);
    let late = put(&other, VALUE, &[("if-match", "*")], "third").await;
    assert_eq!((late.status, get(other.url(VALUE)).await.status), (412, 404), "{}", late.text());
    assert_eq!(put(&other, VALUE, &[("if-none-match", "*")], "fourth").await.status, 201);
    assert!(redis.command(&["PTTL", "lastgood:kv:v1:counter"]) != ":-1\r\n", "it has a time to live");
}

#[tokio::test]
async fn with_redis_away_conditions_are_refused_and_other_changes_wait() {
    let mut redis = RedisServer::start();
    let [one, other] = two(&redis.url(), &[]).await;
    let first = put(&one, VALUE, &[], "first").await;
    redis.kill();
    for headers in [[("if-match", first.header("etag"))], [("if-match", "*")], [("if-none-match", "*")]] {
        let undecided = put(&one, VALUE, &headers, "second").await;
        assert_eq!((undecided.status, undecided.header("retry-after")), (503, "1"), "{}", undecided.text());
        let report = undecided.json();
        assert!(report["hint"].as_str().is_some_and(|hint| hint.contains("condition")), "{report}");
        let undecided = send(&client(), Method::DELETE, &one.url(VALUE), &headers, "").await;
        assert_eq!(undecided.status, 503, "{}", undecided.text());
    }
    assert_eq!(get(one.url(VALUE)).await.text(), "first", "nothing was changed");
    let bar = r#"[[1735689600000, "94000.1", "94100", "93900.5", "94050", "12.5"]]"#;
    for (target, body) in [(VALUE, "second"), ("/v1/llm/risk", ANALYSIS), ("/v1/bars/mine/1h", bar)] {
        let waits = put(&one, target, &[], body).await;
        let report = waits.json();
        assert_eq!((waits.status, &report["pending"]), (202, &json!(true)), "{target}: {report}");
        assert!(
            report["store"]["reached"] == false && report["store"]["waiting"].as_u64() >= Some(1),
            "{target}: {report}"
        );
    }
    assert_eq!(get(one.url(VALUE)).await.text(), "second");
    redis.restart();
    eventually("the other has it", async || get(other.url(VALUE)).await.text() == "second").await;
    let second = get(other.url(VALUE)).await.header("etag").to_owned();
    assert_eq!(put(&other, VALUE, &[("if-match", &second)], "third").await.status, 204);
    redis.kill();
    for target in [VALUE, "/v1/kv/kv/never-seen", "/v1/bars/mine/1h", "/v1/bars/other/1h"] {
        let waits = send(&client(), Method::DELETE, &one.url(target), &[], "").await;
        assert_eq!((waits.status, &waits.json()["pending"]), (202, &json!(true)), "{target}: {}", waits.text());
    }
    redis.restart();
    eventually("it is gone", async || get(other.url(VALUE)).await.status == 404).await;
}

#[tokio::test]
async fn a_redis_that_does_not_answer_decides_nothing_and_costs_no_more_than_two_seconds() {
    let redis = RedisServer::start();
    let proxy = ChaosProxy::start(format!("127.0.0.1:{}", redis.port())).await;
    let gateway = Running::start("http://127.0.0.1:9", &[("store", &redis.url_through(proxy.port()))]).await;
    eventually("it is attached", async || put(&gateway, VALUE, &[], "first").await.status != 202).await;
    proxy.set(Chaos::BlackHole);
    let asked = tokio::time::Instant::now();
    let undecided = put(&gateway, VALUE, &[("if-match", "*")], "second").await;
    assert_eq!(undecided.status, 503, "{}", undecided.text());
    assert!(asked.elapsed() < Duration::from_millis(3_000), "{:?}", asked.elapsed());
    assert_eq!(put(&gateway, VALUE, &[], "second").await.status, 202);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_hundred_claims_at_two_gateways_one_is_granted() {
    let redis = RedisServer::start();
    let gateways = two(&redis.url(), &[]).await;
    let client = client();
    let callers = (0..200).map(|number| {
        let (client, url) = (client.clone(), gateways[number % 2].url("/v1/llm/risk?claim=60s&wait=0s"));
        tokio::spawn(async move { send(&client, Method::POST, &url, &[], INPUT).await })
    });
    let mut granted = Vec::new();
    for caller in callers.collect::<Vec<_>>() {
        let got = caller.await.unwrap();
        assert_eq!(got.status, 404);
        match got.header("x-claim") {
            "" => {
                let seconds: u64 = got.header("retry-after").parse().expect("another computes it");
                assert!((1..=60).contains(&seconds), "{seconds}");
            }
            token => granted.push(token.to_owned()),
        }
    }
    let [token] = &granted[..] else { panic!("{} were granted", granted.len()) };
    let keys = redis.command(&["KEYS", "lastgood:@claims:*"]);
    let key = keys.lines().find(|line| line.starts_with("lastgood:")).expect("the claim is in Redis");
    let left: i64 = redis.command(&["PTTL", key]).trim().trim_start_matches(':').parse().unwrap();
    assert!((1..=60_000).contains(&left), "{left}");
    // It is brought to the one that did not grant it, or did; each gateway has it.
    let stored = put(&gateways[1], &format!("/v1/llm/risk?claim={token}"), &[], ANALYSIS).await;
    assert_eq!(stored.status, 201, "{}", stored.text());
    for gateway in &gateways {
        let got = claim(gateway, "60s", "0s").await;
        assert_eq!((got.status, got.text()), (200, r#"{"mood":"calm"}"#));
    }
    assert_eq!(redis.command(&["KEYS", "lastgood:@claims:*"]), "*0\r\n", "the claim has ended");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiters_at_one_gateway_get_an_answer_brought_to_another() {
    let redis = RedisServer::start();
    let [one, other] = two(&redis.url(), &[]).await;
    let token = claim(&one, "60s", "0s").await.header("x-claim").to_owned();
    let url = other.url("/v1/llm/risk?claim=60s&wait=20s");
    let waiting: Vec<_> = (0..10)
        .map(|_| {
            let (client, url) = (client(), url.clone());
            tokio::spawn(async move { send(&client, Method::POST, &url, &[], INPUT).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(200)).await;
    put(&one, &format!("/v1/llm/risk?claim={token}"), &[], ANALYSIS).await;
    for waiter in waiting {
        let got = waiter.await.unwrap();
        assert_eq!((got.status, got.text()), (200, r#"{"mood":"calm"}"#), "{}", got.text());
    }
}

/// Ten callers wait at each gateway; how often each answer was given.
async fn waited(gateways: &[&Running]) -> BTreeMap<&'static str, usize> {
    let callers: Vec<_> = gateways
        .iter()
        .flat_map(|gateway| (0..10).map(|_| gateway.url("/v1/llm/risk?claim=60s&wait=4s")))
        .map(|url| tokio::spawn(async move { send(&client(), Method::POST, &url, &[], INPUT).await }))
        .collect();
    let mut answers = BTreeMap::new();
    for caller in callers {
        let got = caller.await.unwrap();
        assert_eq!(got.status, 404, "{}", got.text());
        let answer = if got.header("x-claim").is_empty() { "busy" } else { "yours" };
        *answers.entry(answer).or_default() += 1;
    }
    answers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_whose_gateway_is_gone_goes_to_exactly_one_successor() {
    let redis = RedisServer::start();
    let [one, other] = two(&redis.url(), &[]).await;
    let third = gateway(&redis.url(), &[]).await;
    assert!(!claim(&one, "2s", "0s").await.header("x-claim").is_empty());
    drop(one);
    assert_eq!(claim(&other, "60s", "0s").await.header("x-claim"), "", "it lasts as long as it was taken for");
    assert_eq!(waited(&[&other, &third]).await, BTreeMap::from([("yours", 1), ("busy", 19)]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_is_given_up_at_any_gateway_and_goes_to_exactly_one() {
    let redis = RedisServer::start();
    let [one, other] = two(&redis.url(), &[]).await;
    let token = claim(&one, "10m", "0s").await.header("x-claim").to_owned();
    let give_up = async |kind: &str| {
        send(&client(), Method::DELETE, &other.url(&format!("/v1/llm/{kind}?claim={token}")), &[], "").await.status
    };
    let both = [&one, &other];
    let (answers, ()) = tokio::join!(waited(&both), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(give_up("other").await, 404);
        assert_eq!(give_up("risk").await, 204);
        assert_eq!(give_up("risk").await, 404);
    });
    assert_eq!(answers, BTreeMap::from([("yours", 1), ("busy", 19)]));
}

#[tokio::test]
async fn with_redis_away_each_gateway_has_claims_of_its_own() {
    let mut redis = RedisServer::start();
    let [one, other] = two(&redis.url(), &[]).await;
    redis.kill();
    for gateway in [&one, &other] {
        let token = claim(gateway, "60s", "0s").await.header("x-claim").to_owned();
        assert!(!token.is_empty());
        let busy = claim(gateway, "60s", "0s").await;
        assert_eq!(busy.header("x-claim"), "", "{}", busy.text());
    }
    redis.restart();
    eventually("it is attached again", async || crate::redis::health(&one).await["breaker"] == "closed").await;
    assert_eq!(claim(&one, "60s", "0s").await.header("x-claim"), "", "what was granted still is");
}
