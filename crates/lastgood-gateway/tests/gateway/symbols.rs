//! The lists of symbols, and the chain of sources they come from.

use std::path::Path;
use std::time::Duration;

use lastgood_market::Venue;
use lastgood_market::credentials::Algorithm;
use lastgood_market::credentials::{Credential, CredentialStore, Environment, Label, MasterKey};
use lastgood_sim::{LoggedRequest, SimConfig};
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::support::{EVERY_READ_ASKS_THE_CHAIN, Exchange, Got, Running, client, get, read};

const MASTER: &str = "8f2b7d1c6e5a4938271605f4e3d2c1b0a99887766554433221100ffeeddccbba";
const INFO: &str = "/api/v3/exchangeInfo";

/// Puts a key for each environment into a data directory.
fn keep_keys(data_dir: &Path, venue: Venue, environments: &[Environment]) {
    let master = MasterKey::parse(&SecretString::from(MASTER)).unwrap();
    let store = CredentialStore::in_directory(data_dir);
    for (environment, account) in environments.iter().zip(lastgood_sim::Sim::credentials()) {
        let label = Label {
            name: environment.to_string(),
            user: None,
            venue,
            environment: *environment,
            algorithm: Algorithm::HmacSha256,
            added_at: lastgood::Timestamp::EPOCH,
        };
        let (api_key, secret) = (SecretString::from(account.key), SecretString::from(account.secret));
        store.add(&master, &Credential { label, api_key, secret }).unwrap();
    }
}

/// An exchange, its testnet, and a gateway whose user has keys.
struct Scene {
    exchange: Exchange,
    testnet: Exchange,
    gateway: Running,
    _data: tempfile::TempDir,
}

impl Scene {
    async fn with_keys(environments: &[Environment], more: &[(&str, &str)]) -> Scene {
        let data = tempfile::tempdir().unwrap();
        keep_keys(data.path(), Venue::Spot, environments);
        let exchange = Exchange::start().await;
        let testnet = Exchange::start_with(SimConfig { seed: 9, symbols: 90, ..SimConfig::default() }).await;
        let (directory, url) = (data.path().display().to_string(), testnet.url());
        let mut flags =
            vec![("data_dir", directory.as_str()), ("master_key", MASTER), ("binance.testnet_spot_url", url.as_str())];
        flags.extend(EVERY_READ_ASKS_THE_CHAIN);
        flags.extend(more);
        let gateway = Running::start(&exchange.url(), &flags).await;
        Scene { exchange, testnet, gateway, _data: data }
    }

    async fn list(&self) -> Got {
        get(self.gateway.url("/v1/symbols/spot")).await
    }

    /// Where the list comes from now, with the number of its symbols.
    async fn source(&self) -> (String, usize) {
        let got = self.list().await;
        assert_eq!(got.status, 200, "{}", got.text());
        let json = got.json();
        (json["source"].as_str().unwrap().to_owned(), json["symbols"].as_array().unwrap().len())
    }
}

/// The requests for exchangeInfo that an exchange was sent, and whether they had a key.
fn infos(exchange: &Exchange) -> Vec<bool> {
    let has_key = |request: &LoggedRequest| request.headers.iter().any(|name| name == "x-mbx-apikey");
    exchange.sim.counters().log.iter().filter(|request| request.path == INFO).map(has_key).collect()
}

fn names(list: &Value) -> Vec<&str> {
    list["symbols"].as_array().unwrap().iter().map(|row| row["symbol"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn the_chain_is_testnet_then_exchange_then_public_then_last_good() {
    let scene = Scene::with_keys(&[Environment::Testnet, Environment::Mainnet], &[]).await;
    let on_testnet = scene.testnet.sim.symbols(lastgood_sim::Venue::Spot).len();
    let on_exchange = scene.exchange.sim.symbols(lastgood_sim::Venue::Spot).len();
    assert_ne!(on_testnet, on_exchange);

    assert_eq!(scene.source().await, ("testnet".to_owned(), on_testnet));
    assert_eq!((infos(&scene.testnet), infos(&scene.exchange)), (vec![true], vec![]));
    let health = get(scene.gateway.url("/health")).await.json();
    let name = health["upstreams"][0]["budgets"][1]["exchange"].as_str().unwrap_or_default();
    let address = scene.testnet.url().replace("http://", "spot@");
    assert_eq!(name, address, "the testnet's budget is listed next to the exchange's: {health}");
    assert!(
        health["upstreams"][0]["budgets"][2].is_null() && health["upstreams"][2]["budgets"][1].is_null(),
        "{health}"
    );

    scene.testnet.fault(json!({"kind": "status", "status": 500, "path_prefix": INFO}));
    assert_eq!(scene.source().await, ("mainnet".to_owned(), on_exchange));
    assert_eq!((infos(&scene.testnet), infos(&scene.exchange)), (vec![true, true], vec![true]));

    scene.exchange.fault(json!({"kind": "error_in_200", "path_prefix": INFO, "times": 1}));
    assert_eq!(scene.source().await, ("public".to_owned(), on_exchange));
    assert_eq!(infos(&scene.exchange), [true, true, false]);

    scene.exchange.fault(json!({"kind": "status", "status": 503, "path_prefix": INFO}));
    let kept = scene.list().await;
    assert_eq!((kept.status, kept.cache()), (200, "LAST-GOOD"), "{}", kept.header("cache-status"));
    assert!(kept.header("cache-status").contains("last-good:upstream-error"), "{}", kept.header("cache-status"));
    let kept = kept.json();
    assert_eq!((&kept["source"], &kept["loaded_from"]), (&json!("last-good"), &json!("public")));
    assert_eq!(names(&kept).len(), on_exchange);
    assert_eq!(infos(&scene.exchange), [true, true, false, true, false], "each link was tried once");
}

#[tokio::test]
async fn a_key_for_one_environment_leaves_the_other_link_out() {
    let scene = Scene::with_keys(&[Environment::Mainnet], &[]).await;
    assert_eq!(scene.source().await.0, "mainnet");
    assert_eq!((infos(&scene.testnet), infos(&scene.exchange)), (vec![], vec![true]));
    // The key is for spot: the futures are asked without one.
    let futures = get(scene.gateway.url("/v1/symbols/futures")).await.json();
    assert_eq!((&futures["market"], &futures["source"]), (&json!("futures"), &json!("public")));
    assert_eq!(futures["symbols"][0]["contractType"], "PERPETUAL");
}

#[tokio::test]
async fn without_credentials_no_key_and_no_testnet_are_used() {
    let scene = Scene::with_keys(&[], &[]).await;
    assert_eq!(scene.source().await.0, "public");
    assert_eq!((scene.testnet.asked(), infos(&scene.exchange)), (0, vec![false]));
}

#[tokio::test]
async fn a_hanging_or_absent_testnet_gives_way() {
    let mut scene = Scene::with_keys(&[Environment::Testnet], &[("regions.symbols.hard_timeout", "4s")]).await;
    scene.testnet.fault(json!({"kind": "hang", "path_prefix": INFO}));
    let got = tokio::time::timeout(Duration::from_secs(3), scene.source()).await.expect("a list in time");
    assert_eq!(got.0, "public");
    scene.testnet.stop().await;
    assert_eq!(scene.source().await.0, "public");
}

#[tokio::test]
async fn a_key_that_does_not_open_is_no_reason_not_to_serve() {
    let other = MASTER.replace('8', "9");
    for master in [other.as_str(), "", "a passphrase of some length"] {
        let scene = Scene::with_keys(&[Environment::Testnet], &[("master_key", master)]).await;
        assert_eq!(scene.source().await.0, "public", "{master:?}");
        assert_eq!(scene.testnet.asked(), 0);
    }
}

#[tokio::test]
async fn the_last_good_list_outlives_a_restart() {
    let data = tempfile::tempdir().unwrap();
    let mut exchange = Exchange::start().await;
    let directory = data.path().display().to_string();
    let flags = [
        ("data_dir", directory.as_str()),
        ("store", "embedded:"),
        ("store_budget", "5s"),
        ("regions.symbols.fresh_for", "0s"),
        ("regions.symbols.stale_while_revalidate", "0s"),
        ("regions.exchange_info.fresh_for", "0s"),
        ("regions.exchange_info.stale_while_revalidate", "0s"),
    ];
    let gateway = Running::start(&exchange.url(), &flags).await;
    let first = get(gateway.url("/v1/symbols/spot")).await.json();
    gateway.stop().await;
    exchange.stop().await;
    let gateway = Running::start(&exchange.url(), &flags).await;
    let kept = get(gateway.url("/v1/symbols/spot")).await;
    assert_eq!((kept.status, kept.cache()), (200, "LAST-GOOD"), "{}", kept.header("cache-status"));
    let kept = kept.json();
    assert_eq!((&kept["version"], &kept["symbols"]), (&first["version"], &first["symbols"]));
    assert_eq!((&kept["refreshed_at"], &kept["source"]), (&first["refreshed_at"], &json!("last-good")));
}

#[tokio::test]
async fn a_list_of_other_keys_is_not_taken_from_the_store() {
    let data = tempfile::tempdir().unwrap();
    keep_keys(data.path(), Venue::Spot, &[Environment::Testnet]);
    let (exchange, testnet) = (Exchange::start().await, Exchange::start().await);
    let (directory, url) = (data.path().display().to_string(), testnet.url());
    let flags = [
        ("data_dir", directory.as_str()),
        ("store", "embedded:"),
        ("master_key", MASTER),
        ("binance.testnet_spot_url", url.as_str()),
    ];
    for expected in ["testnet", "public"] {
        let gateway = Running::start(&exchange.url(), &flags).await;
        assert_eq!(get(gateway.url("/v1/symbols/spot")).await.json()["source"], expected);
        gateway.stop().await;
        CredentialStore::in_directory(data.path())
            .remove("testnet", None)
            .unwrap_or_else(|why| panic!("{expected}: {why}"));
        keep_keys(data.path(), Venue::UsdM, &[Environment::Testnet]);
    }
}

#[tokio::test]
async fn where_no_list_is_kept_one_is_made_of_the_last_good_exchange_info() {
    let scene = Scene::with_keys(&[], &[]).await;
    assert_eq!(get(scene.gateway.url(INFO)).await.cache(), "MISS");
    scene.exchange.fault(json!({"kind": "status", "status": 503, "path_prefix": INFO}));
    let on_exchange = scene.exchange.sim.symbols(lastgood_sim::Venue::Spot).len();
    assert_eq!(scene.source().await, ("last-good".to_owned(), on_exchange));
}

#[tokio::test]
async fn a_list_made_of_a_stale_exchange_info_does_not_last() {
    let exchange = Exchange::start().await;
    let flags = [("regions.exchange_info.fresh_for", "0s"), ("regions.exchange_info.stale_while_revalidate", "1h")];
    let gateway = Running::start(&exchange.url(), &flags).await;
    get(gateway.url(INFO)).await;
    let list = get(gateway.url("/v1/symbols/spot")).await;
    assert_eq!(list.json()["source"], "public");
    let ttl = list.header("cache-status").strip_prefix("lastgood; fwd=miss; stored; ttl=");
    assert!(matches!(ttl, Some("0" | "1")), "{}", list.header("cache-status"));
}

#[tokio::test]
async fn the_list_holds_trading_pairs_popular_ones_first() {
    let exchange = Exchange::start().await;
    let gateway = Running::start(&exchange.url(), &[("symbols.popular", "ethusdt,NOSUCH,BTCUSDT")]).await;
    let got = get(gateway.url("/v1/symbols/spot")).await;
    assert_eq!((got.status, got.cache(), got.header("content-type")), (200, "MISS", "application/json;charset=UTF-8"));
    let list = got.json();
    let names = names(&list);
    assert_eq!(names[..2], ["ETHUSDT", "BTCUSDT"]);
    let (mut sorted, mut trading) = (names.clone(), exchange.sim.symbols(lastgood_sim::Venue::Spot));
    sorted.sort_unstable();
    trading.sort_unstable();
    assert_eq!(sorted, trading);
    assert_eq!(list["count"], names.len());
    // Behind the popular ones the volume decides, in one measure; among pairs of one quote it is the exchange's own.
    let tickers = get(gateway.url("/api/v3/ticker/24hr")).await.json();
    let volume = |name: &str| {
        let row = tickers.as_array().unwrap().iter().find(|row| row["symbol"] == name).unwrap();
        row["quoteVolume"].as_str().unwrap().parse::<f64>().unwrap()
    };
    let in_usdt: Vec<f64> = names[2..].iter().filter(|name| name.ends_with("USDT")).map(|name| volume(name)).collect();
    assert!(in_usdt.len() > 20 && in_usdt.is_sorted_by(|one, next| one >= next), "{in_usdt:?}");
}

#[tokio::test]
async fn a_hundred_readers_and_the_drop_in_api_share_one_exchange_info() {
    let exchange = Exchange::start().await;
    let gateway = Running::start(&exchange.url(), &[]).await;
    let reads = (0..100).map(|_| get(gateway.url("/v1/symbols/spot?limit=3")));
    for got in futures_util::future::join_all(reads).await {
        assert_eq!((got.status, got.json()["count"].as_u64()), (200, Some(3)));
    }
    assert_eq!(get(gateway.url(INFO)).await.cache(), "HIT");
    assert_eq!(infos(&exchange).len(), 1);
    let again = get(gateway.url("/v1/symbols/spot")).await;
    assert_eq!(again.cache(), "HIT");
    assert!(again.header("cache-status").starts_with("lastgood; hit; ttl="), "{}", again.header("cache-status"));
    assert!(!again.header("age").is_empty());
    let metrics = get(gateway.url("/metrics")).await;
    assert!(metrics.text().contains(r#"lastgood_reads_total{region="symbols",outcome="hit_memory"} 1"#));
}

#[tokio::test]
async fn without_tickers_the_list_is_there_all_the_same() {
    let exchange = Exchange::start().await;
    exchange.fault(json!({"kind": "status", "status": 500, "path_prefix": "/api/v3/ticker"}));
    let gateway = Running::start(&exchange.url(), &[]).await;
    let list = get(gateway.url("/v1/symbols/spot")).await.json();
    assert_eq!(list["symbols"][0]["symbol"], "BTCUSDT");
    assert_eq!(list["count"], exchange.sim.symbols(lastgood_sim::Venue::Spot).len());
}

#[tokio::test]
async fn a_client_that_has_the_list_gets_a_304() {
    let exchange = Exchange::start().await;
    let gateway = Running::start(&exchange.url(), &[]).await;
    let url = gateway.url("/v1/symbols/spot?quote=USDT&limit=5");
    let first = get(&url).await;
    let etag = first.header("etag").to_owned();
    assert!(etag.starts_with("W/\""), "{etag}");
    let with = async |tag: &str| read(client().get(&url).header("if-none-match", tag).send().await.unwrap()).await;
    for tag in [etag.as_str(), &etag[2..], "*", &format!("\"x\", {etag}")] {
        let same = with(tag).await;
        assert_eq!((same.status, same.body.len(), same.header("etag")), (304, 0, etag.as_str()), "{tag}");
        assert_eq!(same.cache(), "HIT");
    }
    assert_eq!(with("W/\"other\"").await.body, first.body);
    let other = get(gateway.url("/v1/symbols/spot?quote=USDT&limit=6")).await;
    assert_ne!(other.header("etag"), etag);
}

#[tokio::test]
async fn a_packed_list_is_the_same_list() {
    let exchange = Exchange::start().await;
    let gateway = Running::start(&exchange.url(), &[]).await;
    let url = gateway.url("/v1/symbols/spot");
    let plain = get(&url).await;
    let sent = client().get(&url).header("accept-encoding", "gzip").send();
    let packed = read(sent.await.unwrap()).await;
    assert_eq!(
        (packed.header("content-encoding"), packed.header("vary")),
        ("gzip", "accept-encoding, x-lastgood-user")
    );
    let mut unpacked = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&packed.body[..]), &mut unpacked).unwrap();
    assert_eq!(unpacked, plain.body);
}

#[tokio::test]
async fn what_cannot_be_asked_is_a_problem_that_names_it() {
    let exchange = Exchange::start().await;
    let gateway = Running::start(&exchange.url(), &[]).await;
    for (target, status, parameter, value) in [
        ("/v1/symbols/spot?limit=0", 400, "limit", "0"),
        ("/v1/symbols/spot?limit=10001", 400, "limit", "10001"),
        ("/v1/symbols/spot?limit=ten", 400, "limit", "ten"),
        ("/v1/symbols/spot?quote=U%20S", 400, "quote", "U S"),
        ("/v1/symbols/spot?sort=name", 400, "sort", "name"),
        ("/v1/symbols/coin", 404, "market", "coin"),
    ] {
        let got = get(gateway.url(target)).await;
        assert_eq!((got.status, got.header("content-type")), (status, "application/problem+json"), "{target}");
        let problem = got.json();
        assert_eq!((&problem["parameter"], &problem["value"]), (&json!(parameter), &json!(value)), "{target}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(parameter) && detail.contains(problem["allowed"].as_str().unwrap()), "{detail}");
    }
    assert_eq!(exchange.asked(), 0);
}

#[tokio::test]
async fn with_nothing_kept_a_failing_chain_is_a_problem() {
    let exchange = Exchange::start().await;
    exchange.fault(json!({"kind": "html", "path_prefix": INFO}));
    let gateway = Running::start(&exchange.url(), &[]).await;
    let got = get(gateway.url("/v1/symbols/spot")).await;
    assert_eq!((got.status, got.header("content-type"), got.cache()), (503, "application/problem+json", "ERROR"));
    assert!(got.json()["detail"].as_str().unwrap().contains("403"), "{}", got.text());
}
