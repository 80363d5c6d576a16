//! Values that applications keep.

use std::time::Duration;

use lastgood_testing::{Chaos, ChaosProxy, RedisServer};
use reqwest::Method;
use serde_json::json;

use crate::support::{Got, Running, client, eventually, read};

mod store_away;
mod ttl;

async fn start(more: &[(&str, &str)]) -> Running {
    Running::start("http://127.0.0.1:9", more).await
}

async fn send(gateway: &Running, method: Method, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Got {
    let mut request = client().request(method, gateway.url(target)).body(body.to_vec());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    read(request.send().await.expect("an answer")).await
}

async fn put(gateway: &Running, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Got {
    send(gateway, Method::PUT, target, headers, body).await
}

async fn get(gateway: &Running, target: &str) -> Got {
    send(gateway, Method::GET, target, &[], b"").await
}

/// A refusal that names what was wrong, and what may be.
fn refused(got: &Got, status: u16, parameter: &str, allowed: &str) {
    assert_eq!((got.status, got.header("content-type")), (status, "application/problem+json"), "{}", got.text());
    let problem = got.json();
    assert_eq!(problem["parameter"], parameter, "{}", got.text());
    assert!(problem["allowed"].as_str().is_some_and(|text| text.contains(allowed)), "{}", got.text());
    assert!(problem["value"].is_string());
}

#[tokio::test]
async fn a_value_comes_back_with_its_bytes_and_its_type() {
    let gateway = start(&[]).await;
    let bytes: Vec<u8> = (0..=255).collect();
    let target = "/v1/kv/kv/a%2Fb%20%C3%A4:c?fresh_for=5m&tags=one,two";
    let stored = put(&gateway, target, &[("content-type", "image/x-odd; v=1")], &bytes).await;
    assert_eq!(stored.status, 201, "{}", stored.text());
    let got = get(&gateway, "/v1/kv/kv/a%2fb%20%c3%a4:c").await;
    assert_eq!((got.status, got.header("content-type"), &got.body[..]), (200, "image/x-odd; v=1", &bytes[..]));
    assert_eq!((got.cache(), got.header("age")), ("HIT", "0"));
    // Within the same millisecond all of it is left.
    let status = got.header("cache-status");
    assert!(status.contains("hit; ttl=299") || status.contains("hit; ttl=300"), "{status}");
    assert_eq!(got.header("etag"), stored.header("etag"));
    // What was put may be a page, and must not act as one of the gateway's.
    assert_eq!(got.header("x-content-type-options"), "nosniff");
    assert!(got.header("content-security-policy").contains("sandbox"));
    let head = send(&gateway, Method::HEAD, "/v1/kv/kv/a%2Fb%20%C3%A4:c", &[], b"").await;
    assert_eq!((head.status, head.header("content-length"), head.body.len()), (200, "256", 0));
    let again = put(&gateway, "/v1/kv/kv/a%2Fb%20%C3%A4:c", &[], b"").await;
    assert_eq!(again.status, 204);
    let empty = get(&gateway, "/v1/kv/kv/a%2Fb%20%C3%A4:c").await;
    assert_eq!((empty.body.len(), empty.header("content-type")), (0, "application/octet-stream"));
    let packed = "x".repeat(5_000);
    put(&gateway, "/v1/kv/kv/long", &[("content-type", "text/plain")], packed.as_bytes()).await;
    let got = send(&gateway, Method::GET, "/v1/kv/kv/long", &[("accept-encoding", "gzip")], b"").await;
    assert_eq!(got.header("content-encoding"), "gzip");
    assert!(got.header("etag").ends_with("-gzip\"") && got.body.len() < 500);

    // A picture, say, is packed already and goes as it is.
    let mut state = 1_u64;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    });
    let noise: Vec<u8> = noise.take(5_000).collect();
    put(&gateway, "/v1/kv/kv/dense", &[("content-type", "image/png")], &noise).await;
    for coding in ["gzip", "gzip", "zstd", "zstd", "identity"] {
        let got = send(&gateway, Method::GET, "/v1/kv/kv/dense", &[("accept-encoding", coding)], b"").await;
        assert_eq!((got.status, got.header("content-encoding")), (200, ""), "{coding}");
        assert!(got.body == noise && !got.header("etag").contains('-'), "{coding}");
    }
}

#[tokio::test]
async fn a_value_that_is_said_to_be_encoded_or_a_part_is_refused_and_the_one_before_stays() {
    let gateway = start(&[]).await;
    put(&gateway, "/v1/kv/kv/a", &[], b"whole").await;
    for (name, value, status) in [
        ("content-encoding", "gzip", 415),
        ("content-encoding", "br, gzip", 415),
        ("content-range", "bytes 0-0/5", 400),
    ] {
        let refused = put(&gateway, "/v1/kv/kv/a", &[(name, value)], b"x").await;
        assert_eq!(refused.status, status, "{name}: {value}");
    }
    assert_eq!(put(&gateway, "/v1/kv/kv/b", &[("content-encoding", "identity")], b"x").await.status, 201);
    assert_eq!(get(&gateway, "/v1/kv/kv/a").await.text(), "whole");
}

#[tokio::test]
async fn a_tag_of_a_value_invalidates_it() {
    let gateway = start(&[("regions.analytics.fresh_for", "120s")]).await;
    put(&gateway, "/v1/kv/analytics/a?tags=pipeline,%20other", &[], b"1").await;
    put(&gateway, "/v1/kv/analytics/b", &[], b"2").await;
    let cache = gateway.gateway.cache();
    let scope = lastgood::Selector::Tag("pipeline".to_owned());
    assert_eq!(cache.invalidate(&scope, Some(lastgood::Mode::Remove)).await.unwrap().matched, 1);
    assert_eq!(get(&gateway, "/v1/kv/analytics/a").await.status, 404);
    assert_eq!(get(&gateway, "/v1/kv/analytics/b").await.text(), "2");
}

#[tokio::test]
async fn a_condition_holds_for_exactly_one_of_many_writers() {
    let gateway = start(&[]).await;
    let first = put(&gateway, "/v1/kv/kv/n", &[("if-none-match", "*")], b"0").await;
    assert_eq!(first.status, 201);
    let etag = first.header("etag").to_owned();
    assert!(etag.starts_with('"'), "strong: {etag}");
    let again = put(&gateway, "/v1/kv/kv/n", &[("if-none-match", "*")], b"0").await;
    assert_eq!((again.status, again.header("content-type")), (412, "application/problem+json"));
    let writers = (1..=20).map(|number| {
        let (client, etag, url) = (client(), etag.clone(), gateway.url("/v1/kv/kv/n"));
        tokio::spawn(async move {
            let request = client.put(url).header("if-match", etag).body(number.to_string());
            request.send().await.unwrap().status().as_u16()
        })
    });
    let mut won = 0;
    for writer in writers.collect::<Vec<_>>() {
        match writer.await.unwrap() {
            204 => won += 1,
            status => assert_eq!(status, 412),
        }
    }
    assert_eq!(won, 1);
    let weak = format!("W/{}", get(&gateway, "/v1/kv/kv/n").await.header("etag"));
    assert_eq!(put(&gateway, "/v1/kv/kv/n", &[("if-match", &weak)], b"9").await.status, 412, "a weak tag is no match");
    assert_eq!(send(&gateway, Method::GET, "/v1/kv/kv/n", &[("if-none-match", &weak)], b"").await.status, 304);
    assert_eq!(put(&gateway, "/v1/kv/kv/absent", &[("if-match", "*")], b"9").await.status, 412);
    assert_eq!(send(&gateway, Method::DELETE, "/v1/kv/kv/n", &[("if-match", &etag)], b"").await.status, 412);
    assert_eq!(send(&gateway, Method::DELETE, "/v1/kv/kv/n", &[("if-match", "*")], b"").await.status, 204);
    let gone = get(&gateway, "/v1/kv/kv/n").await;
    assert_eq!((gone.status, gone.cache(), gone.header("content-type")), (404, "MISS", "application/problem+json"));
    assert_eq!(send(&gateway, Method::DELETE, "/v1/kv/kv/n", &[], b"").await.status, 404);
}

/// The values lie in a store that takes its time to answer, so that every writer of a round could find its condition
/// true before the first of them has written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_writers_with_one_condition_exactly_one_wins_each_round() {
    let redis = RedisServer::start();
    let proxy = ChaosProxy::start(format!("127.0.0.1:{}", redis.port())).await;
    let before = start(&[("store", &redis.url())]).await;
    let targets: Vec<String> = (0..8).map(|round| format!("/v1/kv/kv/{round}")).collect();
    let mut etags = Vec::new();
    for target in &targets {
        etags.push(put(&before, target, &[], target.as_bytes()).await.header("etag").to_owned());
    }
    let written = async { while !before.gateway.cache().sync(Duration::from_millis(200)).await {} };
    tokio::time::timeout(Duration::from_secs(20), written).await.expect("they are written");
    before.stop().await;

    let gateway = start(&[("store", &redis.url_through(proxy.port())), ("store_budget", "5s")]).await;
    put(&gateway, "/v1/kv/kv/canary", &[], b"").await;
    let attached = async { while !gateway.gateway.cache().sync(Duration::from_millis(200)).await {} };
    tokio::time::timeout(Duration::from_secs(20), attached).await.expect("the store is attached");
    proxy.set(Chaos::Delay(Duration::from_millis(50)));
    let rounds = targets.iter().zip(&etags).map(async |(target, etag)| {
        let writers = (0..16).map(|number: u32| {
            // Some remove it, and win as well as those who replace it.
            let method = if number.is_multiple_of(4) { Method::DELETE } else { Method::PUT };
            let request = client().request(method, gateway.url(target)).header("if-match", etag);
            tokio::spawn(async move { read(request.body(number.to_string()).send().await.unwrap()).await.status })
        });
        let mut winners = Vec::new();
        for (number, writer) in writers.collect::<Vec<_>>().into_iter().enumerate() {
            match writer.await.unwrap() {
                204 => winners.push(number),
                status => assert_eq!(status, 412, "{target}"),
            }
        }
        let [winner] = winners[..] else { panic!("{target}: {winners:?} won") };
        let left = get(&gateway, target).await;
        match winner % 4 {
            0 => assert_eq!(left.status, 404, "{target}"),
            _ => assert_eq!((left.status, left.text()), (200, winner.to_string().as_str()), "{target}"),
        }
    });
    futures_util::future::join_all(rounds).await;
}

#[tokio::test]
async fn past_its_freshness_a_value_is_served_and_says_so() {
    let gateway = start(&[("regions.kv.stale_while_revalidate", "1s"), ("regions.analytics.fresh_for", "120s")]).await;
    for (target, label, detail) in
        [("/v1/kv/analytics/a", "STALE", "stale"), ("/v1/kv/kv/a", "LAST-GOOD", "last-good:")]
    {
        put(&gateway, &format!("{target}?fresh_for=1ms"), &[], b"x").await;
        let ends = async {
            loop {
                let got = get(&gateway, target).await;
                if got.cache() == label {
                    return got;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let got = tokio::time::timeout(Duration::from_secs(20), ends).await.unwrap_or_else(|_| panic!("never {label}"));
        assert_eq!((got.status, &got.body[..]), (200, &b"x"[..]));
        assert!(got.header("cache-status").contains(detail), "{}", got.header("cache-status"));
    }
}

#[tokio::test]
async fn what_cannot_be_acted_upon_is_refused_with_what_can() {
    let gateway = start(&[("limits.max_body_bytes", "1KiB")]).await;
    refused(&get(&gateway, "/v1/kv/nowhere/a").await, 404, "region", "kv, routes");
    refused(&get(&gateway, "/v1/kv/nowhere/a").await, 404, "region", "[regions.NAME]");
    for market in ["klines", "ticker_price", "llm", "fear_greed"] {
        refused(&put(&gateway, &format!("/v1/kv/{market}/a"), &[], b"1").await, 403, "region", "a client may not set");
    }
    let long = "k".repeat(513);
    for key in [long.as_str(), "a%00b", "a%0Ab", "%FF"] {
        refused(&put(&gateway, &format!("/v1/kv/kv/{key}"), &[], b"1").await, 400, "key", "512 bytes");
    }
    assert_eq!(put(&gateway, &format!("/v1/kv/kv/{}", &long[1..]), &[], b"1").await.status, 201);
    for (query, parameter) in [
        ("fresh_for=5", "fresh_for"),
        ("fresh_for=0s", "fresh_for"),
        ("fresh_for=400d", "fresh_for"),
        ("fresh_for=-1s", "fresh_for"),
        ("fresh_for=1s&fresh_for=2s", "fresh_for"),
        ("ttl=5", "ttl"),
        ("ttl=0s", "ttl"),
        ("ttl=366d", "ttl"),
        ("ttl=1s&ttl=2s", "ttl"),
        ("expires=5m", "expires"),
        ("tags=a%00", "tags"),
        ("tags=%FF", "tags"),
    ] {
        refused(&put(&gateway, &format!("/v1/kv/kv/a?{query}"), &[], b"1").await, 400, parameter, "");
    }
    let many: Vec<String> = (0..17).map(|tag| tag.to_string()).collect();
    for tags in [many.join(","), "t".repeat(257)] {
        refused(&put(&gateway, &format!("/v1/kv/kv/a?tags={tags}"), &[], b"1").await, 400, "tags", "16 tags");
    }
    let bad = put(&gateway, "/v1/kv/kv/a", &[("content-type", "nonsense")], b"1").await;
    refused(&bad, 400, "Content-Type", "application/json");
    let large = put(&gateway, "/v1/kv/kv/a", &[], &[b'x'; 1_025]).await;
    assert_eq!((large.status, large.header("content-type")), (413, "application/problem+json"));
    assert_eq!(get(&gateway, "/v1/kv/kv/a").await.status, 404, "nothing that was refused is kept");
    let wrong = send(&gateway, Method::POST, "/v1/kv/kv/a", &[], b"").await;
    assert_eq!(wrong.status, 405);
}

#[tokio::test]
async fn with_an_admin_token_writing_takes_it_and_reading_does_not() {
    let gateway = start(&[("admin.token", "0123456789abcdef")]).await;
    let token = ("authorization", "Bearer 0123456789abcdef");
    assert_eq!(put(&gateway, "/v1/kv/kv/a", &[], b"1").await.status, 401);
    assert_eq!(put(&gateway, "/v1/kv/kv/a", &[token], b"1").await.status, 201);
    assert_eq!(get(&gateway, "/v1/kv/kv/a").await.status, 200);
    assert_eq!(send(&gateway, Method::DELETE, "/v1/kv/kv/a", &[], b"").await.status, 401);
    let open = start(&[]).await;
    let foreign = ("origin", "https://elsewhere.example");
    assert_eq!(put(&open, "/v1/kv/kv/a", &[foreign], b"1").await.status, 403, "a page of another site writes nothing");
}

#[tokio::test]
async fn switched_off_nothing_is_given_and_changes_count_afterwards() {
    let gateway = start(&[]).await;
    for key in ["a", "b"] {
        put(&gateway, &format!("/v1/kv/kv/{key}"), &[], b"1").await;
    }
    gateway.gateway.cache().set_enabled(false);
    assert_eq!(put(&gateway, "/v1/kv/kv/a", &[], b"2").await.status, 204, "it replaces another");
    assert_eq!(put(&gateway, "/v1/kv/kv/new", &[], b"3").await.status, 201);
    assert_eq!(send(&gateway, Method::DELETE, "/v1/kv/kv/b", &[], b"").await.status, 204);
    assert_eq!(send(&gateway, Method::DELETE, "/v1/kv/kv/none", &[], b"").await.status, 404);
    assert_eq!(put(&gateway, "/v1/kv/kv/new", &[("if-none-match", "*")], b"4").await.status, 412);
    for key in ["a", "b", "new"] {
        assert_eq!(get(&gateway, &format!("/v1/kv/kv/{key}")).await.status, 404);
    }
    assert_eq!(send(&gateway, Method::POST, "/api/cache/enable", &[], b"{}").await.status, 200);
    for (key, value) in [("a", "2"), ("new", "3")] {
        let got = get(&gateway, &format!("/v1/kv/kv/{key}")).await;
        assert_eq!((got.text(), got.cache()), (value, "HIT"));
    }
    assert_eq!(get(&gateway, "/v1/kv/kv/b").await.status, 404);
}

#[tokio::test]
async fn a_declared_region_takes_values() {
    let file = "[regions.scores]\nfresh_for = \"10m\"\n";
    let gateway = Running::of_file(file).await;
    assert_eq!(put(&gateway, "/v1/kv/scores/a", &[], json!({"a": 1}).to_string().as_bytes()).await.status, 201);
    assert!(get(&gateway, "/v1/kv/scores/a").await.header("cache-status").contains("ttl=5"), "ten minutes, jittered");
}

/// The size that the refusal of a value names as the largest.
fn largest(refused: &Got) -> usize {
    let text = refused.text();
    let (_, rest) = text.split_once("values of at most ").unwrap_or_else(|| panic!("{text}"));
    rest.split(' ').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_value_that_cannot_be_kept_is_refused_and_any_that_is_stored_comes_back() {
    for store in ["memory:", "embedded:"] {
        for limit in ["8MiB", "64MiB"] {
            let more = [("store", store), ("memory.limit", limit), ("limits.max_body_bytes", "100MiB")];
            let gateway = start(&more).await;
            assert_eq!(put(&gateway, "/v1/kv/kv/big", &[], b"small").await.status, 201);
            let huge = put(&gateway, "/v1/kv/kv/big", &[], &vec![b'x'; 50 << 20]).await;
            assert_eq!(
                (huge.status, huge.header("content-type")),
                (413, "application/problem+json"),
                "{store} {limit}"
            );
            assert!(huge.text().contains("memory.limit"), "{}", huge.text());
            assert_eq!(get(&gateway, "/v1/kv/kv/big").await.text(), "small", "what was there stays");
            let largest = largest(&huge);
            for (size, status) in [(largest, 204), (largest / 2, 204), (largest + 1, 413)] {
                // Bytes that cannot be packed.
                let value: Vec<u8> =
                    (0..size as u64).map(|n| (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect();
                let stored = put(&gateway, "/v1/kv/kv/big", &[], &value).await;
                assert_eq!(stored.status, status, "{size} of {largest} in {store} {limit}: {}", stored.text());
                if status == 204 {
                    assert_eq!(get(&gateway, "/v1/kv/kv/big").await.body.len(), size, "{store} {limit}");
                }
            }
        }
    }
    let gateway = start(&[("limits.max_body_bytes", "1KiB")]).await;
    let refused = put(&gateway, "/v1/kv/kv/big", &[], &[0; 1_025]).await;
    assert_eq!(refused.status, 413);
    assert!(refused.text().contains("limits.max_body_bytes"), "{}", refused.text());
}

#[tokio::test]
async fn a_value_that_memory_keeps_and_the_store_never_will_says_so() {
    let more = [("store", "embedded:"), ("memory.limit", "2GiB"), ("limits.max_body_bytes", "200MiB")];
    let gateway = start(&more).await;
    let stored = put(&gateway, "/v1/kv/kv/big", &[], &vec![b'x'; 65 << 20]).await;
    // With many cores memory is split into more parts, and has no room for it either.
    match stored.status {
        413 => assert!(largest(&stored) < 65 << 20),
        _ => {
            assert_eq!((stored.status, stored.header("cache-status")), (201, "lastgood; stored; detail=memory-only"));
            assert_eq!(get(&gateway, "/v1/kv/kv/big").await.body.len(), 65 << 20);
        }
    }
    let stored = put(&gateway, "/v1/kv/kv/small", &[], b"x").await;
    assert_eq!((stored.status, stored.header("cache-status")), (201, ""));
}
