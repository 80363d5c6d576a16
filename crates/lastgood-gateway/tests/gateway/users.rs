//! Lists of symbols for single users of the application behind the gateway, each asked for with the user's own API keys.

use std::path::Path;

use lastgood_market::Venue;
use lastgood_market::credentials::Algorithm;
use lastgood_market::credentials::{Credential, CredentialStore, Environment, Label, MasterKey, UserId};
use lastgood_sim::{Sim, SimConfig};
use secrecy::SecretString;
use serde_json::json;

use crate::support::{
    EVERY_READ_ASKS_THE_CHAIN, Exchange, Got, Running, Sink, client, get, read, settings, settings_of,
};

mod database;

const MASTER: &str = "8f2b7d1c6e5a4938271605f4e3d2c1b0a99887766554433221100ffeeddccbba";
const TOKEN: &str = "the-token-of-the-backend";
const INFO: &str = "/api/v3/exchangeInfo";
const SPOT: &str = "/v1/symbols/spot";
const BOTH: [Environment; 2] = [Environment::Testnet, Environment::Mainnet];

fn user(id: &str) -> UserId {
    UserId::parse(id).unwrap()
}

fn master() -> MasterKey {
    MasterKey::parse(&SecretString::from(MASTER)).unwrap()
}

/// Puts keys of a user into the credentials file; `account` is whose they are at the exchange.
fn keep_keys(data_dir: &Path, id: &str, account: usize, environments: &[Environment]) {
    for environment in environments {
        let account = &Sim::credentials()[account];
        let label = Label {
            name: environment.to_string(),
            user: Some(user(id)),
            venue: Venue::Spot,
            environment: *environment,
            algorithm: Algorithm::HmacSha256,
            added_at: lastgood::Timestamp::EPOCH,
        };
        let (api_key, secret) = (SecretString::from(account.key.clone()), SecretString::from(account.secret.clone()));
        CredentialStore::in_directory(data_dir).add(&master(), &Credential { label, api_key, secret }).unwrap();
    }
}

/// An exchange, its testnet, and a gateway behind which an application has users.
struct Scene {
    exchange: Exchange,
    testnet: Exchange,
    gateway: Running,
    data: tempfile::TempDir,
}

impl Scene {
    async fn start(more: &[(&str, &str)]) -> Scene {
        let data = tempfile::tempdir().unwrap();
        let exchange = Exchange::start().await;
        let testnet = Exchange::start_with(SimConfig { seed: 9, symbols: 90, ..SimConfig::default() }).await;
        let (directory, url) = (data.path().display().to_string(), testnet.url());
        let mut flags = vec![
            ("data_dir", directory.as_str()),
            ("master_key", MASTER),
            ("admin.token", TOKEN),
            ("binance.testnet_spot_url", url.as_str()),
        ];
        flags.extend(more);
        let gateway = Running::start(&exchange.url(), &flags).await;
        Scene { exchange, testnet, gateway, data }
    }

    fn keep_keys(&self, id: &str, account: usize, environments: &[Environment]) {
        keep_keys(self.data.path(), id, account, environments);
    }

    async fn ask(&self, target: &str, headers: &[(&str, &str)]) -> Got {
        ask(&self.gateway, target, headers).await
    }

    /// Where the list of a user comes from now.
    async fn source(&self, id: &str) -> String {
        source(&self.gateway, id).await
    }

    fn testnet_accounts(&self) -> Vec<Option<usize>> {
        accounts(&self.testnet)
    }
}

async fn ask(gateway: &Running, target: &str, headers: &[(&str, &str)]) -> Got {
    let mut request = client().get(gateway.url(target));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    read(request.send().await.unwrap()).await
}

fn as_user(id: &str) -> [(&str, &str); 2] {
    [("x-lastgood-user", id), ("authorization", "Bearer the-token-of-the-backend")]
}

async fn source(gateway: &Running, id: &str) -> String {
    let got = ask(gateway, SPOT, &as_user(id)).await;
    assert_eq!(got.status, 200, "{id}: {}", got.text());
    got.json()["source"].as_str().unwrap().to_owned()
}

/// With whose key each exchangeInfo was asked for.
fn accounts(exchange: &Exchange) -> Vec<Option<usize>> {
    exchange.sim.counters().log.iter().filter(|request| request.path == INFO).map(|request| request.account).collect()
}

#[tokio::test]
async fn a_user_is_believed_with_the_admin_token_alone() {
    let scene = Scene::start(&[]).await;
    scene.keep_keys("alice", 0, &BOTH);
    for (headers, status, says) in [
        (&[("x-lastgood-user", "alice")][..], 401, "Authorization: Bearer"),
        (&[("x-lastgood-user", "alice"), ("authorization", "Bearer other")], 401, "is not admin.token"),
        (&[("x-lastgood-user", "alice"), ("authorization", "Basic the-token-of-the-backend")], 401, "Authorization"),
        (&[("x-lastgood-user", ""), ("authorization", "Bearer other")], 401, "is not admin.token"),
        (&as_user(""), 400, "1 to 128"),
        (&as_user("two words"), 400, "1 to 128"),
        (&as_user(&"x".repeat(129)), 400, "1 to 128"),
        (&[as_user("alice"), as_user("bob")].concat(), 400, "more than once"),
    ] {
        let got = scene.ask(SPOT, headers).await;
        assert_eq!(got.status, status, "{headers:?}: {}", got.text());
        assert_eq!(got.header("content-type"), "application/problem+json");
        assert!(got.text().contains(says), "{headers:?}: {}", got.text());
    }
    assert_eq!((scene.testnet.asked(), scene.exchange.asked()), (0, 0), "no host was asked");
    assert_eq!(scene.source("alice").await, "testnet");
    assert_eq!(get(scene.gateway.url(SPOT)).await.json()["source"], "public", "without the header nothing changes");
}

#[tokio::test]
async fn without_an_admin_token_no_user_is_believed_not_even_on_this_machine() {
    let exchange = Exchange::start().await;
    let gateway = Running::start(&exchange.url(), &[("master_key", MASTER)]).await;
    for headers in [&[("x-lastgood-user", "alice")][..], &as_user("alice")] {
        let got = ask(&gateway, SPOT, headers).await;
        assert_eq!((got.status, got.header("content-type")), (403, "application/problem+json"), "{}", got.text());
        assert!(got.json()["hint"].as_str().unwrap().contains("LASTGOOD_ADMIN_TOKEN"), "{}", got.text());
    }
    assert_eq!(exchange.asked(), 0);
}

#[tokio::test]
async fn a_list_is_shared_by_all_with_the_same_links_and_by_no_others() {
    let scene = Scene::start(&[]).await;
    for id in ["alice", "dave"] {
        scene.keep_keys(id, 0, &BOTH);
    }
    scene.keep_keys("bob", 1, &[Environment::Mainnet]);
    for (id, expected, cache) in [
        ("alice", "testnet", "MISS"),
        ("dave", "testnet", "HIT"),
        ("bob", "mainnet", "MISS"),
        ("bob", "mainnet", "HIT"),
        ("carol", "public", "MISS"),
        ("unknown", "public", "HIT"),
    ] {
        let got = scene.ask(SPOT, &as_user(id)).await;
        assert_eq!((got.json()["source"].as_str().unwrap(), got.cache()), (expected, cache), "{id}");
        assert_eq!(got.header("vary"), "accept-encoding, x-lastgood-user");
    }
    let keys = get(scene.gateway.url(SPOT)).await;
    assert_eq!((keys.json()["source"].as_str().unwrap(), keys.cache()), ("public", "HIT"));
    assert_eq!(scene.testnet_accounts(), [Some(0)], "one request for both of them");
    assert_eq!(accounts(&scene.exchange), [Some(1), None]);
    // The request is the same for every account: all of it, and nothing signed.
    for exchange in [&scene.exchange, &scene.testnet] {
        let log = exchange.sim.counters().log;
        assert!(log.iter().filter(|request| request.path == INFO).all(|request| request.query.is_empty()));
    }
}

#[tokio::test]
async fn a_refused_key_costs_its_user_one_link_and_no_other_user_anything() {
    let sink = Sink::of_the_log("debug");
    let scene = Scene::start(&EVERY_READ_ASKS_THE_CHAIN).await;
    scene.keep_keys("mallory", 1, &BOTH);
    scene.keep_keys("alice", 0, &BOTH);
    let refused = json!({"kind": "key_refused", "key": Sim::credentials()[1].key});
    scene.testnet.fault(refused.clone());
    scene.exchange.fault(refused);
    for _ in 0..3 {
        assert_eq!(scene.source("mallory").await, "public");
        assert_eq!(scene.source("alice").await, "testnet");
    }
    let [one, two] = [Some(0), Some(1)];
    assert_eq!(scene.testnet_accounts(), [two, one, one, one], "the refused key was tried once");
    assert_eq!(accounts(&scene.exchange), [two, None, None, None]);
    let health = get(scene.gateway.url("/health")).await.json();
    assert_eq!(health["status"], "ok", "{health}");
    assert!(!health.to_string().contains("\"stopped\":true"), "{health}");
    let log = sink.text();
    assert_eq!(log.matches("the exchange refuses this API key").count(), 2, "once for each link: {log}");
    assert!(log.contains("mallory"), "with its user");
    for account in Sim::credentials() {
        assert!(!log.contains(&account.key) && !log.contains(&account.key[..7]), "no part of a key: {log}");
        assert!(!log.contains(&account.secret));
    }
}

#[tokio::test]
async fn every_form_of_a_refused_key_is_the_users_own_trouble() {
    for status in [401, 403] {
        let scene = Scene::start(&EVERY_READ_ASKS_THE_CHAIN).await;
        scene.keep_keys("mallory", 1, &BOTH);
        scene.keep_keys("alice", 0, &BOTH);
        for exchange in [&scene.testnet, &scene.exchange] {
            exchange.fault(json!({"kind": "status", "status": status, "path_prefix": INFO, "times": 1}));
        }
        assert_eq!(scene.source("mallory").await, "public", "{status}");
        assert_eq!(scene.source("alice").await, "testnet", "{status}: neither budget nor host was stopped");
        assert_eq!(get(scene.gateway.url(INFO)).await.status, 200, "{status}");
    }
}

#[tokio::test]
async fn good_and_bad_keys_at_once_do_not_mix() {
    let scene = Scene::start(&[]).await;
    let good: Vec<String> = (0..20).map(|number| format!("good-{number}")).collect();
    let bad: Vec<String> = (0..20).map(|number| format!("bad-{number}")).collect();
    for (id, account) in good.iter().map(|id| (id, 0)).chain(bad.iter().map(|id| (id, 1))) {
        scene.keep_keys(id, account, &[Environment::Testnet]);
    }
    scene.testnet.fault(json!({"kind": "key_refused", "key": Sim::credentials()[1].key}));
    scene.testnet.fault(json!({"kind": "latency", "ms": 50, "path_prefix": INFO}));
    let asked = bad.iter().zip(&good).flat_map(|(bad, good)| [bad, good]);
    let asked: Vec<_> = asked.map(|id| async { (id.clone(), scene.source(id).await) }).collect();
    for (id, from) in futures_util::future::join_all(asked).await {
        // With the list there, no key is looked up.
        match id.starts_with("good") {
            true => assert_eq!(from, "testnet", "{id}"),
            false => assert!(from == "public" || from == "testnet", "{id}: {from}"),
        }
    }
    assert!(scene.testnet_accounts().len() <= 2, "{:?}", scene.testnet_accounts());
}

#[tokio::test]
async fn the_links_of_a_user_fail_in_turn_down_to_the_last_good_list() {
    let scene = Scene::start(&EVERY_READ_ASKS_THE_CHAIN).await;
    scene.keep_keys("alice", 0, &BOTH);
    assert_eq!(scene.source("alice").await, "testnet");
    scene.testnet.fault(json!({"kind": "status", "status": 500, "path_prefix": INFO}));
    assert_eq!(scene.source("alice").await, "mainnet");
    scene.exchange.fault(json!({"kind": "key_refused"}));
    assert_eq!(scene.source("alice").await, "public");
    scene.exchange.fault(json!({"kind": "status", "status": 503, "path_prefix": INFO}));
    assert_eq!(scene.source("alice").await, "last-good");
    let log = scene.testnet_accounts();
    assert!(log.iter().all(|account| *account == Some(0)) && log.len() > 3, "{log:?}");
}

#[tokio::test]
async fn a_user_whose_key_is_refused_while_all_else_fails_keeps_the_last_good_list() {
    let scene = Scene::start(&EVERY_READ_ASKS_THE_CHAIN).await;
    scene.keep_keys("alice", 0, &[Environment::Testnet]);
    assert_eq!(scene.source("alice").await, "testnet");
    scene.testnet.fault(json!({"kind": "key_refused"}));
    scene.exchange.fault(json!({"kind": "status", "status": 503, "path_prefix": INFO}));
    let got = scene.ask(SPOT, &as_user("alice")).await;
    assert_eq!((got.status, got.cache()), (200, "LAST-GOOD"), "{}", got.text());
    assert_eq!(got.json()["loaded_from"], "testnet");
}

#[tokio::test]
async fn neither_user_nor_token_goes_upstream() {
    let scene = Scene::start(&EVERY_READ_ASKS_THE_CHAIN).await;
    scene.keep_keys("alice", 0, &BOTH);
    let headers = as_user("alice");
    for target in [
        SPOT,
        INFO,
        "/api/v3/klines?symbol=BTCUSDT&interval=1m",
        "/api/v3/ticker/price?symbol=BTCUSDT",
        "/api/v3/time",
        "/api/v3/account?timestamp=1&signature=ab",
        "/api/v3/somethingNew",
        "/fapi/v1/historicalTrades?symbol=BTCUSDT",
        "/sapi/v1/capital/config/getall",
    ] {
        scene.ask(target, &headers).await;
        scene.ask(target, &[("x-lastgood-user", "alice")]).await;
        scene.ask(target, &[("authorization", "bearer the-token-of-the-backend")]).await;
    }
    for exchange in [&scene.exchange, &scene.testnet] {
        let log = exchange.sim.counters().log;
        assert!(!log.is_empty());
        for request in log {
            let leaks = request.headers.iter().any(|name| name == "x-lastgood-user" || name == "authorization");
            assert!(!leaks, "{request:?}");
        }
    }
    // An admin token that is mistyped is nearly one; no exchange has a use for the header. Its own is passed on.
    scene.ask("/api/v3/account", &[("authorization", "Bearer of-another"), ("x-mbx-apikey", "key")]).await;
    let last = scene.exchange.sim.counters().log.pop_back().unwrap();
    assert!(!last.headers.iter().any(|name| name == "authorization"), "{last:?}");
    assert!(last.headers.iter().any(|name| name == "x-mbx-apikey"), "{last:?}");
}

#[tokio::test]
async fn keys_that_are_added_and_removed_while_the_gateway_runs_are_taken_up() {
    let scene = Scene::start(&EVERY_READ_ASKS_THE_CHAIN).await;
    scene.keep_keys("alice", 0, &[Environment::Testnet]);
    assert_eq!(scene.source("alice").await, "testnet");
    scene.keep_keys("bob", 1, &[Environment::Testnet]);
    assert_eq!(scene.source("bob").await, "testnet");
    // A file that cannot be opened is no reason not to serve.
    std::fs::write(scene.data.path().join("credentials"), "{").unwrap();
    assert_eq!(scene.source("carol").await, "public");
}
