//! The trading bot's symbol lists, each feature with Redis up, down and stopped.

use std::time::Duration;

use lastgood_market::Venue;
use lastgood_market::credentials::Algorithm;
use lastgood_market::credentials::{Credential, CredentialStore, Environment, Label, MasterKey, UserId};
use lastgood_sim::{Sim, SimConfig};
use lastgood_testing::RedisServer;
use secrecy::SecretString;
use serde_json::{Value, json};
use sqlx::{Connection as _, SqliteConnection};

use super::{RedisIs, eventually, number_after, run_once, settings};
use crate::support::{Exchange, Got, Running, Sink, client, get, read};

mod failures;

const MASTER: &str = "8f2b7d1c6e5a4938271605f4e3d2c1b0a99887766554433221100ffeeddccbba";
const TOKEN: &str = "the-token-of-the-backend";
const SPOT: &str = "/v1/symbols/spot";
const FUTURES: &str = "/v1/symbols/futures";
const POPULAR: [&str; 5] = ["BTCUSDT", "ETHUSDT", "BNBUSDT", "SOLUSDT", "XRPUSDT"];

/// So that every read goes through the chain.
const RELOADED: [(&str, &str); 7] = [
    ("warm.markets", ""),
    ("regions.symbols.fresh_for", "0s"),
    ("regions.symbols.stale_while_revalidate", "0s"),
    ("regions.symbols.soft_timeout", "3s"),
    ("regions.exchange_info.fresh_for", "0s"),
    ("regions.exchange_info.stale_while_revalidate", "0s"),
    ("regions.exchange_info.soft_timeout", "3s"),
];

/// The bot's surroundings: the exchange, its testnet, and Redis.
struct Scene {
    exchange: Exchange,
    testnet: Exchange,
    redis: RedisServer,
}

impl Scene {
    async fn with(redis: RedisIs) -> Scene {
        Scene::over(redis.server()).await
    }

    async fn over(redis: RedisServer) -> Scene {
        let exchange = Exchange::start().await;
        let testnet = Exchange::start_with(SimConfig { seed: 9, symbols: 90, ..SimConfig::default() }).await;
        Scene { exchange, testnet, redis }
    }

    /// A gateway on the example's file, whose user has these keys.
    async fn gateway(&self, keys: &[Environment], flags: &[(&str, &str)]) -> Running {
        let data = tempfile::tempdir().unwrap();
        keep_keys(data.path(), keys);
        self.gateway_in(data, flags).await
    }

    /// One with three users: alice with keys for the testnet and the exchange in the credentials file, bob with one for the
    /// exchange in the bot's own table, and carol.
    async fn gateway_with_users(&self, flags: &[(&str, &str)]) -> Running {
        let data = tempfile::tempdir().unwrap();
        keep_keys_of(data.path(), Some("alice"), 0, &BOTH);
        self.gateway_in(data, &[&[("admin.token", TOKEN)], flags].concat()).await
    }

    async fn gateway_in(&self, data: tempfile::TempDir, flags: &[(&str, &str)]) -> Running {
        let (exchange, testnet, redis) = (self.exchange.url(), self.testnet.url(), self.redis.url());
        let users = table_of_users(data.path()).await;
        let env = [
            ("USERS_DATABASE", users.as_str()),
            ("LASTGOOD_BINANCE_SPOT_URL", exchange.as_str()),
            ("LASTGOOD_BINANCE_FUTURES_URL", &exchange),
            ("LASTGOOD_BINANCE_COIN_URL", &exchange),
            ("LASTGOOD_BINANCE_TESTNET_SPOT_URL", &testnet),
            ("LASTGOOD_BINANCE_TESTNET_FUTURES_URL", &testnet),
            ("LASTGOOD_MASTER_KEY", MASTER),
            ("LASTGOOD_DATA_DIR", data.path().to_str().unwrap()),
            ("REDIS_URL", &redis),
        ];
        let settings = settings("tradebot", &env, flags);
        Running::serve(&settings, data).await
    }

    /// One that has ended its first warming round.
    async fn warm_gateway(&self, keys: &[Environment], flags: &[(&str, &str)]) -> Running {
        let gateway = self.gateway(keys, flags).await;
        rounds(&gateway, 1).await;
        gateway
    }

    fn symbols(&self) -> usize {
        self.exchange.sim.symbols(lastgood_sim::Venue::Spot).len()
    }
}

fn keep_keys(data_dir: &std::path::Path, environments: &[Environment]) {
    keep_keys_of(data_dir, None, 0, environments);
}

/// Keys of a user, or of the gateway's own, at one of the exchange's accounts.
fn keep_keys_of(data_dir: &std::path::Path, user: Option<&str>, account: usize, environments: &[Environment]) {
    let master = MasterKey::parse(&SecretString::from(MASTER)).unwrap();
    let store = CredentialStore::in_directory(data_dir);
    for environment in environments {
        let account = &Sim::credentials()[account];
        let label = Label {
            name: environment.to_string(),
            user: user.map(|id| UserId::parse(id).unwrap()),
            venue: Venue::Spot,
            environment: *environment,
            algorithm: Algorithm::HmacSha256,
            added_at: lastgood::Timestamp::EPOCH,
        };
        let api_key = SecretString::from(account.key.clone());
        let secret = SecretString::from(account.secret.clone());
        store.add(&master, &Credential { label, api_key, secret }).unwrap();
    }
}

/// The bot's own table, with a key of bob's.
async fn table_of_users(data_dir: &std::path::Path) -> String {
    let path = data_dir.join("users.db");
    let mut connection = SqliteConnection::connect(&format!("sqlite:{}?mode=rwc", path.display())).await.unwrap();
    let (account, bob) = (&Sim::credentials()[1], UserId::parse("bob").unwrap());
    let master = MasterKey::parse(&SecretString::from(MASTER)).unwrap();
    let store = CredentialStore::in_directory(data_dir);
    let [key, secret] = [&account.key, &account.secret]
        .map(|text| store.seal(&master, &bob, &SecretString::from(text.as_str())).unwrap());
    for statement in [
        "CREATE TABLE user_keys (user_id TEXT, environment TEXT, api_key TEXT, api_secret TEXT)".to_owned(),
        format!("INSERT INTO user_keys VALUES ('bob', 'mainnet', '{key}', '{secret}')"),
    ] {
        sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&mut connection).await.unwrap();
    }
    format!("sqlite:{}", path.display())
}

async fn rounds(gateway: &Running, at_least: u64) {
    let ended = async || get(gateway.url("/health")).await.json()["warming"]["rounds"].as_u64() >= Some(at_least);
    eventually("warming rounds end", ended).await;
}

async fn list(gateway: &Running, path: &str) -> Got {
    let got = get(gateway.url(path)).await;
    assert_eq!(got.status, 200, "{}", got.text());
    got
}

/// Where the spot list comes from now, and how many symbols it has.
async fn source(gateway: &Running) -> (String, usize) {
    let json = list(gateway, SPOT).await.json();
    (json["source"].as_str().unwrap().to_owned(), json["symbols"].as_array().unwrap().len())
}

fn names(list: &Value) -> Vec<&str> {
    list["symbols"].as_array().unwrap().iter().map(|row| row["symbol"].as_str().unwrap()).collect()
}

async fn metric(gateway: &Running, line: &str) -> f64 {
    number_after(get(gateway.url("/metrics")).await.text(), &format!("\n{line} "))
}

fn lists_in(redis: &RedisServer) -> Vec<String> {
    let reply = redis.command(&["KEYS", "lastgood:symbols:*"]);
    reply.lines().filter(|line| line.starts_with("lastgood:")).map(str::to_owned).collect()
}

#[tokio::test]
async fn the_symbols_of_both_markets_are_warm_before_anyone_asks() {
    for redis in RedisIs::ALL {
        let scene = Scene::with(redis).await;
        let gateway = scene.warm_gateway(&[], &[]).await;
        scene.exchange.sim.reset_counters();
        for path in [SPOT, FUTURES, "/api/v3/exchangeInfo", "/fapi/v1/exchangeInfo"] {
            assert_eq!(list(&gateway, path).await.cache(), "HIT", "{path}, Redis {redis:?}");
        }
        assert_eq!(scene.exchange.asked(), 0, "Redis {redis:?}");
    }
}

#[tokio::test]
async fn the_lists_are_warmed_every_300_s_without_a_reader() {
    let file = settings("tradebot", &[], &[]);
    let (every, fresh_for) = (file.warm.every, file.region("symbols").policy.fresh_for);
    assert_eq!((every, fresh_for), (Duration::from_secs(300), Some(Duration::from_secs(300))));
    // The same schedule, in seconds.
    let short = [
        ("warm.every", "1s"),
        ("regions.symbols.fresh_for", "1s"),
        ("regions.exchange_info.fresh_for", "1s"),
        ("regions.ticker_24hr.fresh_for", "1s"),
    ];
    for redis in RedisIs::ALL {
        let scene = Scene::with(redis).await;
        let gateway = scene.warm_gateway(&[], &short).await;
        let before = metric(&gateway, "lastgood_loads_total{region=\"symbols\"}").await;
        rounds(&gateway, 3).await;
        let loads = metric(&gateway, "lastgood_loads_total{region=\"symbols\"}").await;
        assert!(loads > before, "Redis {redis:?}");
        assert_eq!(metric(&gateway, "lastgood_reads_total{region=\"symbols\",outcome=\"miss\"}").await, 0.0);
    }
}

#[tokio::test]
async fn popular_pairs_come_first_in_both_markets() {
    for redis in RedisIs::ALL {
        let scene = Scene::with(redis).await;
        let gateway = scene.gateway(&[], &[]).await;
        for (path, venue) in [(SPOT, lastgood_sim::Venue::Spot), (FUTURES, lastgood_sim::Venue::UsdM)] {
            let trading = scene.exchange.sim.symbols(venue);
            let there: Vec<_> = POPULAR.into_iter().filter(|name| trading.iter().any(|other| other == name)).collect();
            assert!(there.len() >= 3, "{there:?}");
            let list = list(&gateway, path).await.json();
            assert_eq!(names(&list)[..there.len()], there, "{path}, Redis {redis:?}");
        }
    }
}

const BOTH: [Environment; 2] = [Environment::Testnet, Environment::Mainnet];

#[tokio::test]
async fn the_users_own_key_is_asked_on_the_testnet_first() {
    for redis in RedisIs::ALL {
        let scene = Scene::with(redis).await;
        let gateway = scene.gateway(&BOTH, &RELOADED).await;
        let on_testnet = scene.testnet.sim.symbols(lastgood_sim::Venue::Spot).len();
        assert_ne!(on_testnet, scene.symbols());
        assert_eq!(source(&gateway).await, ("testnet".to_owned(), on_testnet), "Redis {redis:?}");
        let log = scene.testnet.sim.counters().log;
        let asked = log.iter().find(|request| request.path == "/api/v3/exchangeInfo").expect("the testnet is asked");
        assert!(asked.headers.iter().any(|name| name == "x-mbx-apikey"), "{:?}", asked.headers);
    }
}

#[tokio::test]
async fn without_the_testnet_the_mainnet_answers() {
    for redis in RedisIs::ALL {
        let mut scene = Scene::with(redis).await;
        let gateway = scene.gateway(&BOTH, &RELOADED).await;
        scene.testnet.stop().await;
        assert_eq!(source(&gateway).await, ("mainnet".to_owned(), scene.symbols()), "Redis {redis:?}");
    }
}

#[tokio::test]
async fn where_the_keys_fail_the_public_list_is_served() {
    for redis in RedisIs::ALL {
        let mut scene = Scene::with(redis).await;
        let gateway = scene.gateway(&BOTH, &RELOADED).await;
        scene.testnet.stop().await;
        scene
            .exchange
            .fault(json!({"kind": "status", "status": 401, "path_prefix": "/api/v3/exchangeInfo", "times": 1}));
        assert_eq!(source(&gateway).await, ("public".to_owned(), scene.symbols()), "Redis {redis:?}");
    }
}

#[tokio::test]
async fn where_all_links_fail_the_last_good_list_is_served() {
    for redis in RedisIs::ALL {
        let mut scene = Scene::with(redis).await;
        let gateway = scene.gateway(&BOTH, &RELOADED).await;
        let good = list(&gateway, SPOT).await.json();
        scene.testnet.stop().await;
        scene.exchange.stop().await;
        let kept = list(&gateway, SPOT).await;
        assert_eq!(kept.cache(), "LAST-GOOD", "Redis {redis:?}");
        let kept = kept.json();
        assert_eq!((&kept["source"], &kept["symbols"]), (&json!("last-good"), &good["symbols"]), "Redis {redis:?}");
    }
}

/// What a user is given: the link that serves the list, and the one it came from.
async fn list_of(gateway: &Running, user: &str) -> (String, String) {
    let request = client().get(gateway.url(SPOT)).header("x-lastgood-user", user).bearer_auth(TOKEN);
    let got = read(request.send().await.unwrap()).await;
    assert_eq!(got.status, 200, "{user}: {}", got.text());
    let json = got.json();
    let word = |field: &str| json[field].as_str().unwrap().to_owned();
    (word("source"), word("loaded_from"))
}

async fn sources_of_all(gateway: &Running) -> [String; 3] {
    [list_of(gateway, "alice").await.0, list_of(gateway, "bob").await.0, list_of(gateway, "carol").await.0]
}

#[tokio::test]
async fn each_user_goes_through_the_chain_with_their_own_keys() {
    for redis in RedisIs::ALL {
        let mut scene = Scene::with(redis).await;
        let gateway = scene.gateway_with_users(&RELOADED).await;
        assert_eq!(sources_of_all(&gateway).await, ["testnet", "mainnet", "public"], "Redis {redis:?}");
        scene.testnet.fault(json!({"kind": "status", "status": 503}));
        assert_eq!(sources_of_all(&gateway).await, ["mainnet", "mainnet", "public"], "Redis {redis:?}");
        // The exchange refuses alice's key, which is no concern of bob's.
        let [alice, _] = &Sim::credentials()[..] else { panic!("two accounts") };
        scene.exchange.fault(json!({"kind": "key_refused", "key": alice.key}));
        assert_eq!(sources_of_all(&gateway).await, ["public", "mainnet", "public"], "Redis {redis:?}");
        scene.exchange.fault(json!({"kind": "key_refused"}));
        assert_eq!(sources_of_all(&gateway).await, ["public", "public", "public"], "Redis {redis:?}");
        scene.exchange.stop().await;
        assert_eq!(sources_of_all(&gateway).await, ["last-good", "last-good", "last-good"], "Redis {redis:?}");
        for (user, from) in [("alice", "public"), ("bob", "public"), ("carol", "public")] {
            assert_eq!(list_of(&gateway, user).await.1, from, "{user}, Redis {redis:?}");
        }
    }
}

#[tokio::test]
async fn what_one_users_key_brought_is_shared_where_the_list_is_the_same() {
    let scene = Scene::with(RedisIs::Up).await;
    let patient = [("warm.markets", ""), ("store_budget", "5s")];
    let first = scene.gateway_with_users(&patient).await;
    assert_eq!(sources_of_all(&first).await, ["testnet", "mainnet", "public"]);
    eventually("three lists are in Redis", async || lists_in(&scene.redis).len() == 3).await;
    let mut names = lists_in(&scene.redis);
    names.sort();
    for (name, links) in names.iter().zip(["/mainnet,public", "/public", "/testnet@"]) {
        assert!(name.contains(links), "{names:?}");
        assert!(!name.contains("alice") && !name.contains("bob"), "{names:?}");
    }
    let infos = |exchange: &Exchange| exchange.sim.counters().paths.get("/api/v3/exchangeInfo").copied();
    let asked = || [&scene.exchange, &scene.testnet].map(infos);
    assert_eq!(asked(), [Some(2), Some(1)]);
    assert_eq!(sources_of_all(&first).await, ["testnet", "mainnet", "public"]);
    let second = scene.gateway_with_users(&patient).await;
    eventually("attached", async || second.gateway.cache().probe_store().await.is_some_and(|probe| probe.is_ok()))
        .await;
    assert_eq!(sources_of_all(&second).await, ["testnet", "mainnet", "public"]);
    assert_eq!(asked(), [Some(2), Some(1)], "neither again nor by another gateway");
}

#[tokio::test]
async fn the_users_own_keys_are_kept_encrypted() {
    let data = tempfile::tempdir().unwrap();
    keep_keys(data.path(), &BOTH);
    let account = &Sim::credentials()[0];
    let kept = std::fs::read(CredentialStore::in_directory(data.path()).path()).unwrap();
    let kept = String::from_utf8_lossy(&kept);
    assert!(!kept.contains(&account.key) && !kept.contains(&account.secret));
}

#[tokio::test]
async fn hits_misses_and_the_last_refresh_are_readable() {
    for redis in RedisIs::ALL {
        let scene = Scene::with(redis).await;
        let gateway = scene.gateway(&[], &[("warm.markets", "")]).await;
        for _ in 0..4 {
            list(&gateway, SPOT).await;
        }
        let reads = async |outcome: &str| {
            metric(&gateway, &format!("lastgood_reads_total{{region=\"symbols\",outcome=\"{outcome}\"}}")).await
        };
        assert_eq!((reads("miss").await, reads("hit_memory").await), (1.0, 3.0), "Redis {redis:?}");
        let age = metric(&gateway, "lastgood_refresh_age_seconds{region=\"symbols\"}").await;
        assert!((0.0..60.0).contains(&age), "{age}");
        let refreshed_at = list(&gateway, SPOT).await.json()["refreshed_at"].clone();
        assert!(refreshed_at.as_str().unwrap().ends_with('Z'), "{refreshed_at}");
    }
}

#[tokio::test]
async fn the_keys_in_redis_carry_a_version_and_an_expiry() {
    let scene = Scene::with(RedisIs::Up).await;
    let gateway = scene.warm_gateway(&[], &[]).await;
    // Both lists: the rest of the version is the venue and the links it came through.
    eventually("both lists are in Redis", async || lists_in(&scene.redis).len() == 2).await;
    for key in lists_in(&scene.redis) {
        assert!(key.starts_with("lastgood:symbols:v1:"), "{key}");
        let ttl = number_after(&scene.redis.command(&["TTL", &key]), ":");
        assert!(ttl > 86_400.0, "{key}: {ttl}");
    }
    gateway.stop().await;
}

/// It asks for quiet (`.config/nextest.toml`): it measures the gateway, not the tests that run with it.
#[tokio::test]
async fn the_run_command_shows_the_chain_the_table_and_the_load() {
    let output = run_once("tradebot", &[]).await;
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}{complained}");
    for row in [
        "all is well                         testnet     mainnet     public",
        "the testnet fails                   mainnet     mainnet     public",
        "alice's keys are refused            public      mainnet     public",
        "all keys are refused                public      public      public",
        "the exchange fails                  last-good   last-good   last-good",
    ] {
        assert!(said.contains(row), "{row}: {said}");
    }
    assert!(!said.contains("BROKEN") && said.trim_end().ends_with("promises held"), "{said}");
    let load = &said[said.find("load: ").expect("a load")..];
    assert!(number_after(load, "hit rate ") > 80.0, "{load}");
    assert!(number_after(load, ", p99 ") < 50.0, "{load}");
}
