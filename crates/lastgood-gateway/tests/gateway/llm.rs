//! Analyses by a language model: found by their input, computed once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reqwest::{Client, Method};
use serde_json::json;
use tokio::time::Instant;

use crate::support::{Got, Running, client, get, read};

async fn start(more: &[(&str, &str)]) -> Running {
    Running::start("http://127.0.0.1:9", more).await
}

async fn ask(client: &Client, method: Method, url: &str, body: &str) -> Got {
    read(client.request(method, url).body(body.to_owned()).send().await.expect("an answer")).await
}

async fn post(gateway: &Running, target: &str, body: &str) -> Got {
    ask(&client(), Method::POST, &gateway.url(target), body).await
}

async fn put(gateway: &Running, target: &str, body: &str) -> Got {
    ask(&client(), Method::PUT, &gateway.url(target), body).await
}

async fn delete(gateway: &Running, target: &str) -> Got {
    ask(&client(), Method::DELETE, &gateway.url(target), "").await
}

const INPUT: &str = r#"{"input": {"symbol": "BTCUSDT", "bars": [1, 2.5]}}"#;
const ANALYSIS: &str =
    r#"{"input": {"symbol": "BTCUSDT", "bars": [1, 2.5]}, "analysis": { "mood" : "calm",  "p":0.10 }}"#;

#[tokio::test]
async fn an_analysis_is_found_however_its_input_is_written() {
    let gateway = start(&[]).await;
    let absent = post(&gateway, "/v1/llm/sentiment", INPUT).await;
    assert_eq!((absent.status, absent.cache(), absent.header("x-claim")), (404, "MISS", ""));
    assert_eq!(absent.header("content-type"), "application/problem+json");
    let stored = put(&gateway, "/v1/llm/sentiment?fresh_for=10m&tags=model-7", ANALYSIS).await;
    assert_eq!(stored.status, 201, "{}", stored.text());
    for input in [INPUT, r#"{ "input" : {"bars":[1.0,25e-1], "symbol":"\u0042TCUSDT"} }"#] {
        let got = post(&gateway, "/v1/llm/sentiment", input).await;
        assert_eq!((got.status, got.cache(), got.text()), (200, "HIT", r#"{ "mood" : "calm",  "p":0.10 }"#));
        assert_eq!((got.header("content-type"), got.header("etag")), ("application/json", stored.header("etag")));
    }
    assert_eq!(post(&gateway, "/v1/llm/risk", INPUT).await.status, 404, "another kind is another analysis");
    assert_eq!(put(&gateway, "/v1/llm/sentiment", ANALYSIS).await.status, 204);
}

#[tokio::test]
async fn past_its_freshness_an_analysis_is_given_only_to_those_who_take_the_last_good_one() {
    let gateway = start(&[]).await;
    put(&gateway, "/v1/llm/sentiment?fresh_for=1ms", ANALYSIS).await;
    let ended = async { while post(&gateway, "/v1/llm/sentiment", INPUT).await.status != 404 {} };
    tokio::time::timeout(Duration::from_secs(10), ended).await.expect("its freshness ends");
    let got = post(&gateway, "/v1/llm/sentiment?last_good=true", INPUT).await;
    assert_eq!((got.status, got.cache()), (200, "STALE"), "{}", got.text());
}

#[tokio::test]
async fn fifty_callers_make_one_computation() {
    let gateway = start(&[]).await;
    let computed = Arc::new(AtomicU64::new(0));
    let client = client();
    let url = gateway.url("/v1/llm/sentiment");
    let callers = (0..50).map(|_| {
        let (client, url, computed) = (client.clone(), url.clone(), Arc::clone(&computed));
        let metrics = gateway.url("/metrics");
        tokio::spawn(async move {
            let got = ask(&client, Method::POST, &format!("{url}?claim=60s&wait=20s"), INPUT).await;
            if got.status == 200 {
                return got;
            }
            let claim = got.header("x-claim").to_owned();
            assert_eq!((got.status, got.json()["claim"].as_str()), (404, Some(claim.as_str())), "{}", got.text());
            computed.fetch_add(1, Ordering::SeqCst);
            all_wait(metrics, 49).await;
            let put = ask(&client, Method::PUT, &format!("{url}?claim={claim}"), ANALYSIS).await;
            assert_eq!(put.status, 201);
            ask(&client, Method::POST, &url, INPUT).await
        })
    });
    let mut joined = 0;
    for caller in callers.collect::<Vec<_>>() {
        let got = caller.await.unwrap();
        assert_eq!((got.status, got.text()), (200, r#"{ "mood" : "calm",  "p":0.10 }"#));
        joined += u64::from(got.cache() == "JOINED");
    }
    assert_eq!(computed.load(Ordering::SeqCst), 1);
    assert!(joined > 0, "some waited");
}

/// Waits until this many requests wait at the gateway whose metrics are at `metrics`.
async fn all_wait(metrics: String, count: usize) {
    let line = format!("lastgood_requests_active {count}");
    let waiting = async { while !get(metrics.clone()).await.text().lines().any(|found| found == line) {} };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("all the others wait");
}

async fn claimed(gateway: &Running, lease: &str) -> String {
    let got = post(gateway, &format!("/v1/llm/sentiment?claim={lease}&wait=0s"), INPUT).await;
    assert_eq!(got.status, 404);
    assert!(!got.header("x-claim").is_empty(), "{}", got.text());
    got.header("x-claim").to_owned()
}

/// Callers that wait; the tokens of those who were handed the claim come out.
fn waiters(gateway: &Running, count: usize, wait: &str) -> Vec<tokio::task::JoinHandle<Got>> {
    let url = gateway.url(&format!("/v1/llm/sentiment?claim=60s&wait={wait}"));
    let client = client();
    let waiter = |_| {
        let (client, url) = (client.clone(), url.clone());
        tokio::spawn(async move { ask(&client, Method::POST, &url, INPUT).await })
    };
    (0..count).map(waiter).collect()
}

async fn successors(waiting: Vec<tokio::task::JoinHandle<Got>>) -> usize {
    let mut claims = 0;
    for one in waiting {
        let got = one.await.unwrap();
        assert_eq!(got.status, 404, "{}", got.text());
        match got.header("x-claim") {
            "" => assert!(got.header("retry-after").parse::<u64>().unwrap() > 0, "another computes it"),
            _ => claims += 1,
        }
    }
    claims
}

#[tokio::test]
async fn a_claim_that_is_given_up_goes_to_exactly_one_of_those_who_wait() {
    let gateway = start(&[]).await;
    let token = claimed(&gateway, "10m").await;
    let waiting = waiters(&gateway, 10, "3s");
    all_wait(gateway.url("/metrics"), 10).await;
    assert_eq!(delete(&gateway, &format!("/v1/llm/other?claim={token}")).await.status, 404);
    assert_eq!(delete(&gateway, &format!("/v1/llm/sentiment?claim={token}")).await.status, 204);
    assert_eq!(delete(&gateway, &format!("/v1/llm/sentiment?claim={token}")).await.status, 404);
    assert_eq!(successors(waiting).await, 1);
}

#[tokio::test]
async fn a_claim_that_runs_out_goes_to_exactly_one_of_those_who_wait() {
    let gateway = start(&[]).await;
    let token = claimed(&gateway, "1s").await;
    assert_eq!(successors(waiters(&gateway, 10, "3s")).await, 1);
    // What its holder computed all the same is good.
    assert_eq!(put(&gateway, &format!("/v1/llm/sentiment?claim={token}"), ANALYSIS).await.status, 201);
    assert_eq!(post(&gateway, "/v1/llm/sentiment", INPUT).await.status, 200);
}

#[tokio::test]
async fn no_request_waits_longer_than_it_said() {
    let gateway = start(&[]).await;
    claimed(&gateway, "10m").await;
    let asked = Instant::now();
    let got = post(&gateway, "/v1/llm/sentiment?claim=60s&wait=200ms", INPUT).await;
    assert_eq!((got.status, got.header("x-claim")), (404, ""));
    assert!((Duration::from_millis(200)..Duration::from_secs(3)).contains(&asked.elapsed()), "{:?}", asked.elapsed());
    // Without a claim no request waits at all.
    assert_eq!(post(&gateway, "/v1/llm/sentiment", INPUT).await.status, 404);
}

#[tokio::test]
async fn hostile_bodies_are_refused_and_nothing_of_them_is_kept() {
    let gateway = start(&[]).await;
    let deep = |levels: usize| format!(r#"{{"input": {}{}}}"#, "[".repeat(levels), "]".repeat(levels));
    let long = format!(r#"{{"input": "{}"}}"#, "x".repeat(1 << 20));
    for (body, status) in [
        ("", 400),
        ("null", 400),
        ("{}", 400),
        // A list of the fields in their order is no object, whatever a reader of structs takes it for.
        ("[1]", 400),
        (r#"[{"input": 1}]"#, 400),
        (r#""input""#, 400),
        (r#"{"input": 1, "input": 2}"#, 400),
        (r#"{"input": 1, "inputs": 2}"#, 400),
        (r#"{"input": 1e400}"#, 400),
        (r#"{"input": "\ud800"}"#, 400),
        (r#"{"input": NaN}"#, 400),
        (deep(65).as_str(), 400),
        (deep(200_000).as_str(), 400),
        (long.as_str(), 413),
    ] {
        let got = post(&gateway, "/v1/llm/sentiment", body).await;
        let shown = &body[..body.len().min(60)];
        assert_eq!((got.status, got.header("content-type")), (status, "application/problem+json"), "{shown}");
        assert!(got.body.len() < 2_000, "{shown}");
    }
    assert_eq!(post(&gateway, "/v1/llm/sentiment", &deep(64)).await.status, 404, "so deep it may be");
    // As nearly every reader of JSON does: the last of two names counts.
    put(&gateway, "/v1/llm/a", r#"{"input": {"a": 1, "a": 2}, "analysis": 7}"#).await;
    assert_eq!(post(&gateway, "/v1/llm/a", r#"{"input": {"a": 2}}"#).await.text(), "7");
    let null = put(&gateway, "/v1/llm/a", r#"{"input": {"a": 2}, "analysis": null}"#).await;
    assert_eq!((null.status, &null.json()["parameter"]), (400, &json!("analysis")));
    for list in ["[1, 2]", r#"[{"a": 2}, 8]"#] {
        assert_eq!(put(&gateway, "/v1/llm/a", list).await.status, 400, "{list}");
    }
    assert_eq!(post(&gateway, "/v1/llm/a", r#"{"input": {"a": 2}}"#).await.text(), "7", "the good one stays");
}

#[tokio::test]
async fn what_cannot_be_acted_upon_is_refused_with_what_can() {
    let gateway = start(&[]).await;
    for (target, parameter) in [
        ("/v1/llm/a%20b", "analysis_type"),
        ("/v1/llm/a?claim=0s", "claim"),
        ("/v1/llm/a?claim=11m", "claim"),
        ("/v1/llm/a?claim=60s&wait=31s", "wait"),
        ("/v1/llm/a?wait=1s", "wait"),
        ("/v1/llm/a?last_good=maybe", "last_good"),
        ("/v1/llm/a?fresh_for=1s", "fresh_for"),
    ] {
        let got = post(&gateway, target, INPUT).await;
        assert_eq!((got.status, got.json()["parameter"].as_str()), (400, Some(parameter)), "{target}");
        assert!(got.json()["allowed"].is_string());
    }
    for target in ["/v1/llm/a?claim=xyz", "/v1/llm/a?fresh_for=nonsense", "/v1/llm/a?wait=1s"] {
        assert_eq!(put(&gateway, target, ANALYSIS).await.status, 400, "{target}");
    }
    assert_eq!(delete(&gateway, "/v1/llm/a").await.json()["parameter"], "claim");
    assert_eq!(ask(&client(), Method::GET, &gateway.url("/v1/llm/a"), "").await.status, 405);
}

#[tokio::test]
async fn with_an_admin_token_storing_and_claiming_take_it_and_asking_does_not() {
    let gateway = start(&[("admin.token", "0123456789abcdef")]).await;
    assert_eq!(post(&gateway, "/v1/llm/a", INPUT).await.status, 404);
    assert_eq!(post(&gateway, "/v1/llm/a?claim=60s", INPUT).await.status, 401);
    assert_eq!(put(&gateway, "/v1/llm/a", ANALYSIS).await.status, 401);
    assert_eq!(delete(&gateway, "/v1/llm/a?claim=00000000000000000000000000000000").await.status, 401);
}

#[tokio::test]
async fn analyses_outlive_a_restart() {
    let data = tempfile::tempdir().unwrap();
    let settings = [("store", "embedded:"), ("data_dir", data.path().to_str().unwrap())];
    let gateway = start(&settings).await;
    put(&gateway, "/v1/llm/sentiment", ANALYSIS).await;
    gateway.stop().await;
    let gateway = start(&settings).await;
    let got = post(&gateway, "/v1/llm/sentiment?claim=60s", INPUT).await;
    assert_eq!((got.status, got.cache()), (200, "HIT"), "{}", got.text());
}
