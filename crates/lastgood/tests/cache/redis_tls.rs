//! Sentinels and clusters over TLS, and client certificates: every server is checked by the name that it is announced by.

use lastgood::store::{RedisOptions, Store, StoreError};
use lastgood::testing::conformance::{self, Capabilities};
use lastgood_testing::{Authority, RedisCluster, RedisSentinels, RedisServer};
use tokio::task::spawn_blocking;

use crate::redis_faults::{HOUR, open, until, until_put, until_read};

/// Runs what blocks without holding up what else the runtime has to do.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    spawn_blocking(work).await.expect("the task ends")
}

fn server_of(authority: &Authority) -> RedisServer {
    let args = authority.redis_arguments("DNS:localhost");
    RedisServer::start_with_tls(&args.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Waits until the store's error is one of these texts.
async fn trouble_of(url: &str, parts: &[&str]) {
    let store = open(url);
    let answer = async || store.get("key").await.expect_err("no connection").to_string();
    until(answer, |text| parts.iter().any(|part| text.contains(part))).await;
}

#[tokio::test]
async fn a_server_that_wants_a_client_certificate_is_used_with_one_and_says_what_it_wants_without() {
    let authority = Authority::new();
    let server = server_of(&authority);
    let at = format!("rediss://localhost:{}", server.announced_port());
    let store = open(&format!("{at}?{}", authority.redis_parameters()));
    until_put(&store).await;
    until_read(&store).await;
    trouble_of(
        &format!("{at}?ca={}", authority.certificate()),
        &["CertificateRequired", "it may want a client certificate"],
    )
    .await;
    let other = Authority::new();
    let (cert, key) = other.issue("stranger", "DNS:client");
    trouble_of(&format!("{at}?ca={}&cert={cert}&key={key}", authority.certificate()), &["alert", "may not accept"])
        .await;
    // Its own name is not the one that it is reached by.
    let by_address = format!("rediss://127.0.0.1:{}?{}", server.announced_port(), authority.redis_parameters());
    trouble_of(&by_address, &["certificate not valid for name"]).await;
    trouble_of(&format!("{at}?ca={}", other.certificate()), &["UnknownIssuer"]).await;
}

#[tokio::test]
async fn a_renewed_client_certificate_is_used_by_the_next_connection() {
    let authority = Authority::new();
    let mut server = server_of(&authority);
    let stranger = Authority::new();
    let (cert, key) = stranger.issue("client", "DNS:client");
    let at = format!("rediss://localhost:{}?ca={}", server.announced_port(), authority.certificate());
    let store = open(&format!("{at}&cert={cert}&key={key}"));
    until(
        async || store.get("key").await,
        |answer| answer.as_ref().is_err_and(|why| why.to_string().contains("alert")),
    )
    .await;
    let (good_cert, good_key) = authority.issue("good", "DNS:client");
    std::fs::copy(good_key, &key).expect("a file is copied");
    std::fs::copy(good_cert, &cert).expect("a file is copied");
    until_put(&store).await;
    // A connection that is lost while the files are away is made again once they are back.
    std::fs::rename(&cert, format!("{cert}.old")).expect("a file is moved");
    server.restart();
    until(
        async || store.get("key").await,
        |answer| answer.as_ref().is_err_and(|why| why.to_string().contains("client.pem cannot be read")),
    )
    .await;
    std::fs::rename(format!("{cert}.old"), &cert).expect("a file is moved");
    until_put(&store).await;
}

#[tokio::test]
async fn the_redis_store_keeps_the_contract_over_sentinels_with_tls_and_follows_a_failover() {
    let authority = Authority::new();
    let parameters = authority.redis_parameters();
    let servers = aside(move || {
        let servers = RedisSentinels::start_with_tls(&authority);
        (servers, authority)
    });
    let (mut servers, _authority) = servers.await;
    let hosts: Vec<String> =
        servers.sentinels().iter().map(|sentinel| format!("localhost:{}", sentinel.announced_port())).collect();
    let store = open(&format!("rediss+sentinel://{}/main?{parameters}", hosts.join(",")));
    until_put(&store).await;
    conformance::run(&store, Capabilities::default(), tokio::time::sleep).await;
    servers.servers()[0].kill();
    let servers = aside(move || {
        servers.primary_after(0);
        servers
    });
    let _servers = servers.await;
    until_put(&store).await;
    until_read(&store).await;
}

#[tokio::test]
async fn the_redis_store_keeps_the_contract_over_a_cluster_with_tls_and_follows_its_slots() {
    let authority = Authority::new();
    let parameters = authority.redis_parameters();
    let (mut cluster, _authority) = aside(move || {
        let cluster = RedisCluster::start_with_tls(&authority, "DNS:localhost", "localhost");
        (cluster, authority)
    })
    .await;
    // The other two are known by what this one announces.
    let seed = cluster.servers()[0].announced_port();
    let store = open(&format!("rediss+cluster://localhost:{seed}?{parameters}"));
    until(async || store.trouble(), Option::is_none).await;
    conformance::run(&store, Capabilities::default(), tokio::time::sleep).await;
    let slot = cluster.slot_of("key");
    let from = cluster.owner_of(slot);
    store.put("key", "value".into(), HOUR).await.expect("a put succeeds");
    store.remove(&["key".to_owned()]).await.expect("a removal succeeds");
    let cluster = aside(move || {
        cluster.begin_move(slot, (from + 1) % 3);
        cluster.finish_move(slot, (from + 1) % 3);
        cluster
    })
    .await;
    store.put("key", "value".into(), HOUR).await.expect("the redirection is followed");
    assert_eq!(store.get("key").await, Ok(Some("value".into())));
    assert_ne!(cluster.owner_of(slot), from);
}

#[tokio::test]
async fn a_member_of_a_cluster_is_checked_by_the_address_that_it_is_announced_by() {
    let authority = Authority::new();
    let parameters = authority.redis_parameters();
    let (mut cluster, authority) = aside(move || {
        let cluster = RedisCluster::start_with_tls(&authority, "DNS:localhost", "127.0.0.1");
        (cluster, authority)
    })
    .await;
    let seed = cluster.servers()[0].announced_port();
    let store = open(&format!("rediss+cluster://localhost:{seed}?{parameters}"));
    let why = async || store.get("key").await.map_err(|why| why.to_string());
    until(why, |answer| {
        answer.as_ref().is_err_and(|why| {
            why.contains("not valid for name \"127.0.0.1\"") && why.contains("cluster-announce-hostname")
        })
    })
    .await;
    drop((cluster, authority));
}

#[test]
fn what_cannot_be_used_for_tls_is_refused_with_a_hint() {
    let (authority, other) = (Authority::new(), Authority::new());
    let (ca, (cert, key)) = (authority.certificate(), authority.issue("client", "DNS:client"));
    let (_, foreign) = other.issue("client", "DNS:client");
    for (url, part) in [
        (format!("redis://h?cert={cert}&key={key}"), "cert= is for TLS; write rediss://"),
        (format!("unix:///run/redis.sock?ca={ca}"), "ca= is for TLS"),
        (format!("redis+sentinel://h/main?ca={ca}"), "ca= is for TLS"),
        (format!("redis+cluster://h?ca={ca}"), "ca= is for TLS"),
        (format!("rediss://h?cert={cert}"), "add key=FILE"),
        (format!("rediss+cluster://h?key={key}"), "add cert=FILE"),
        (format!("rediss+sentinel://h/main?cert={cert}"), "add key=FILE"),
        (format!("rediss://h?cert={cert}&key={foreign}"), "is not that of the certificate"),
        (format!("rediss://h?cert={key}&key={cert}"), "holds no certificate in PEM form"),
        (format!("rediss://h?cert={cert}&key={ca}"), "holds no private key in PEM form"),
        (format!("rediss://h?ca={key}"), "holds no certificate in PEM form"),
        ("rediss://h?ca=/no/such/file".to_owned(), "/no/such/file cannot be read"),
        ("rediss://h?ca=".to_owned(), "ca= names no file"),
        (format!("rediss://h?ca={ca}&ca={ca}"), "ca= twice"),
        (format!("rediss://h?ssl_ca_certs={ca}"), "the parameter is called ca=FILE"),
        (format!("rediss+cluster://h?sslcert={cert}"), "the parameter is called cert=FILE"),
        ("rediss://h#insecure".to_owned(), "ca=FILE"),
    ] {
        match RedisOptions::parse(&url) {
            Err(StoreError::Unavailable(why)) => assert!(why.contains(part), "{url}: {why}"),
            other => panic!("{url}: {other:?}"),
        }
    }
    for (url, shown) in [
        (format!("rediss+cluster://:s3cret@h?ca={ca}"), "rediss+cluster://h:6379"),
        (format!("rediss+sentinel://h/main?db=1&ca={ca}"), "rediss+sentinel://h:26379/main?db=1"),
        (format!("rediss://h?ssl_cert_reqs=required&cert={cert}&key={key}"), "rediss://h:6379/0"),
        (format!("rediss://h?ca={}", ca.replace('/', "%2F")), "rediss://h:6379/0"),
    ] {
        assert_eq!(RedisOptions::parse(&url).expect("a good URL").to_string(), shown);
    }
}
