//! Stocks on SQL, each feature with Redis up, down and stopped.

use lastgood::testing::{PostgresServer, RedisServer};
use serde_json::{Value, json};

use super::{RedisIs, admin, eventually, number_after, path, read_ok, run_once, settings, ttl};
use crate::support::{Running, client, get, read};

const STOCKS: usize = 60;
const LIST: &str = "/v1/stocks";
const DETAIL: &str = "/v1/stocks/AAPL";
const TOP: &str = "/v1/top/gainers";
const BOARD: &str = "/v1/leaderboard";
const ROUTES: [&str; 4] = [LIST, DETAIL, TOP, BOARD];

/// A database with the example's tables, and a Redis.
struct Scene {
    postgres: PostgresServer,
    redis: RedisServer,
}

impl Scene {
    async fn with(redis: RedisIs) -> Scene {
        let postgres = tokio::task::spawn_blocking(|| {
            let postgres = PostgresServer::start();
            for name in ["schema.sql", "seed.sql"] {
                fill(&postgres, name);
            }
            postgres
        });
        Scene { postgres: postgres.await.unwrap(), redis: redis.server() }
    }

    async fn gateway(&self) -> Running {
        let data = tempfile::tempdir().unwrap();
        let (database, redis) = (self.postgres.url("postgres"), self.redis.url());
        let data_dir = data.path().display().to_string();
        let env = [("DATABASE_URL", database.as_str()), ("REDIS_URL", &redis), ("LASTGOOD_DATA_DIR", &data_dir)];
        let settings = settings("vibeapp", &env, &[]);
        Running::serve(&settings, data).await
    }
}

/// Runs a file of the example with `psql`.
fn fill(postgres: &PostgresServer, name: &str) {
    let mut psql = std::process::Command::new("psql");
    psql.args(["-q", "-v", "ON_ERROR_STOP=1", "-d", &postgres.url("postgres"), "-f"]).arg(path("vibeapp", name));
    let done = psql.env("STOCKS", STOCKS.to_string()).env("DAYS", "30").output().expect("psql");
    assert!(done.status.success(), "{name}: {}", String::from_utf8_lossy(&done.stderr));
}

/// The keys that a pattern takes.
async fn keys(gateway: &Running, pattern: &str) -> Vec<String> {
    let listed = get(gateway.url(&format!("/api/cache/keys?pattern={pattern}"))).await.json();
    listed["keys"].as_array().unwrap().iter().map(|row| row["key"].as_str().unwrap().to_owned()).collect()
}

fn items(list: &Value) -> &Vec<Value> {
    list["items"].as_array().unwrap()
}

#[tokio::test]
async fn list_detail_top_and_leaderboard_answer_from_the_tables() {
    for redis in RedisIs::ALL {
        let scene = Scene::with(redis).await;
        let gateway = scene.gateway().await;
        let list = read_ok(&gateway, LIST).await.json();
        assert_eq!((items(&list).len(), &list["total"]), (20, &json!(STOCKS)), "{list}");
        assert_eq!(items(&list)[0]["symbol"], "AAPL");
        let detail = read_ok(&gateway, DETAIL).await.json();
        let close =
            scene.postgres.execute("SELECT close FROM daily_prices WHERE symbol = 'AAPL' ORDER BY day DESC LIMIT 1");
        assert_eq!(detail["close"].to_string().trim_matches('"'), close.trim(), "{detail}");
        let top = read_ok(&gateway, &format!("{TOP}?limit=5")).await.json();
        assert_eq!(top.as_array().unwrap().len(), 5, "{top}");
        let board = read_ok(&gateway, BOARD).await.json();
        let best = scene.postgres.execute(
            "SELECT symbol FROM scores WHERE day > (SELECT max(day) FROM scores) - 30 GROUP BY symbol ORDER BY round(avg(score), 2) DESC, symbol LIMIT 1",
        );
        assert_eq!((board[0]["symbol"].as_str().unwrap(), &board[0]["rank"]), (best.trim(), &json!(1)), "{board}");
        for path in [LIST, DETAIL, "/v1/top/gainers?limit=5", BOARD] {
            assert_eq!(read_ok(&gateway, path).await.cache(), "HIT", "{path}, Redis {redis:?}");
        }
    }
}

#[tokio::test]
async fn each_route_is_fresh_as_long_as_it_says() {
    let scene = Scene::with(RedisIs::Up).await;
    let gateway = scene.gateway().await;
    for (path, seconds) in [(LIST, 300), (DETAIL, 300), (TOP, 120), (BOARD, 600)] {
        read_ok(&gateway, path).await;
        let got = read_ok(&gateway, path).await;
        assert_eq!(got.cache(), "HIT");
        assert!((seconds * 85 / 100..=seconds).contains(&ttl(&got)), "{path}: {}", got.header("cache-status"));
    }
}

#[tokio::test]
async fn the_list_is_sorted_by_what_was_chosen_and_paged() {
    let scene = Scene::with(RedisIs::Up).await;
    let gateway = scene.gateway().await;
    for (sort, order) in [
        ("market_cap", "market_cap DESC"),
        ("symbol", "symbol"),
        ("close", "(SELECT close FROM daily_prices AS p WHERE p.symbol = s.symbol ORDER BY day DESC LIMIT 1) DESC"),
    ] {
        let sql = format!("SELECT string_agg(symbol, ' ' ORDER BY {order}, symbol) FROM stocks AS s");
        let expected = scene.postgres.execute(&sql);
        let mut found = Vec::new();
        for page in 1..=4 {
            let list = read_ok(&gateway, &format!("{LIST}?sort={sort}&per_page=15&page={page}")).await.json();
            found.extend(items(&list).iter().map(|row| row["symbol"].as_str().unwrap().to_owned()));
        }
        assert_eq!(found.join(" "), expected.trim(), "{sort}");
    }
    let beyond = read_ok(&gateway, &format!("{LIST}?page=900")).await.json();
    assert_eq!((items(&beyond).len(), &beyond["total"]), (0, &json!(STOCKS)));
    let energy = read_ok(&gateway, &format!("{LIST}?sector=Energy&per_page=100")).await.json();
    assert!(
        items(&energy).iter().all(|row| row["sector"] == "Energy") && items(&energy).len() == STOCKS / 6,
        "{energy}"
    );
}

#[tokio::test]
async fn equal_questions_have_one_hashed_key() {
    for redis in RedisIs::ALL {
        let scene = Scene::with(redis).await;
        let gateway = scene.gateway().await;
        let same = [
            LIST,
            "/v1/stocks?sort=market_cap",
            "/v1/stocks?page=1&sort=market_cap",
            "/v1/stocks?per_page=20&page=1&sort=MARKET_CAP",
            "/v1/stocks?sort=market%5Fcap&per_page=020",
        ];
        for (at, question) in same.into_iter().enumerate() {
            let expected = if at == 0 { "MISS" } else { "HIT" };
            assert_eq!(read_ok(&gateway, question).await.cache(), expected, "{question}, Redis {redis:?}");
        }
        let found = keys(&gateway, "stock_list:*").await;
        let [key] = found.as_slice() else { panic!("{found:?}") };
        let (before, hash) = key.split_once("sha256=").unwrap_or_else(|| panic!("{key}"));
        assert_eq!((before, hash.len()), ("stock_list:/v1/stocks?", 64));
        assert!(hash.bytes().all(|byte| byte.is_ascii_hexdigit()), "{key}");
        assert_eq!(read_ok(&gateway, "/v1/stocks?page=2").await.cache(), "MISS");
        assert_eq!(keys(&gateway, "stock_list:*").await.len(), 2);
    }
}

#[tokio::test]
async fn status_says_whether_the_cache_is_there() {
    for redis in RedisIs::ALL {
        let scene = Scene::with(redis).await;
        let gateway = scene.gateway().await;
        read_ok(&gateway, DETAIL).await;
        let available = redis == RedisIs::Up;
        eventually("it says so", async || {
            let status = get(gateway.url("/api/cache/status")).await.json();
            status["enabled"] == true && status["available"] == available
        })
        .await;
    }
}

#[tokio::test]
async fn invalidate_by_pattern_reloads_what_it_names_and_nothing_else() {
    for redis in RedisIs::ALL {
        let scene = Scene::with(redis).await;
        let gateway = scene.gateway().await;
        let questions = [LIST, "/v1/stocks?page=2", DETAIL, "/v1/stocks/MSFT", TOP, BOARD];
        for question in questions {
            read_ok(&gateway, question).await;
        }
        let body = json!({ "pattern": "stock_list:*", "hard": true });
        let answer = admin(&gateway, "/api/cache/invalidate", body).await;
        assert_eq!(answer["removed"], 2, "{answer}, Redis {redis:?}");
        for question in questions {
            let expected = if question.starts_with("/v1/stocks?") || question == LIST { "MISS" } else { "HIT" };
            assert_eq!(read_ok(&gateway, question).await.cache(), expected, "{question}, Redis {redis:?}");
        }
    }
}

#[tokio::test]
async fn delete_a_key_and_only_that_is_loaded_again() {
    for redis in RedisIs::ALL {
        let scene = Scene::with(redis).await;
        let gateway = scene.gateway().await;
        read_ok(&gateway, DETAIL).await;
        let [key] = &keys(&gateway, "stock_detail:*").await[..] else { panic!() };
        read_ok(&gateway, "/v1/stocks/MSFT").await;
        let key: String = key.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let delete = || client().delete(gateway.url(&format!("/api/cache/key/{key}"))).send();
        assert_eq!(read(delete().await.unwrap()).await.status, 200);
        assert_eq!(read(delete().await.unwrap()).await.status, 404, "it is gone");
        assert_eq!(read_ok(&gateway, "/v1/stocks/MSFT").await.cache(), "HIT");
        assert_eq!(read_ok(&gateway, DETAIL).await.cache(), "MISS", "Redis {redis:?}");
    }
}

#[tokio::test]
async fn a_database_outage_is_served_from_last_good() {
    for redis in RedisIs::ALL {
        let mut scene = Scene::with(redis).await;
        let gateway = scene.gateway().await;
        let mut before = Vec::new();
        for path in ROUTES {
            before.push(read_ok(&gateway, path).await.body);
        }
        for tag in ["stocks", "scores"] {
            admin(&gateway, "/api/cache/invalidate", json!({ "tag": tag })).await;
        }
        scene.postgres.kill();
        for (path, before) in ROUTES.into_iter().zip(&before) {
            let got = read_ok(&gateway, path).await;
            assert_eq!((got.cache(), &got.body), ("LAST-GOOD", before), "{path}, Redis {redis:?}");
        }
        // What nobody asked before has no last good answer, and says so.
        let never = get(gateway.url("/v1/stocks/MSFT")).await;
        assert_eq!((never.status, never.header("content-type")), (503, "application/problem+json"));
        assert!(!never.header("retry-after").is_empty());
        assert!(!never.text().contains("127.0.0.1") && !never.text().contains("SELECT"), "{}", never.text());
        scene.postgres.restart();
        eventually("the database is asked again", async || read_ok(&gateway, DETAIL).await.cache() != "LAST-GOOD")
            .await;
    }
}

#[tokio::test]
async fn a_killed_redis_is_noticed_by_no_reader() {
    let mut scene = Scene::with(RedisIs::Up).await;
    let gateway = scene.gateway().await;
    for path in ROUTES {
        read_ok(&gateway, path).await;
    }
    scene.redis.kill();
    for path in ROUTES {
        assert_eq!(read_ok(&gateway, path).await.cache(), "HIT", "{path}");
    }
    assert_eq!(read_ok(&gateway, "/v1/stocks/MSFT").await.cache(), "MISS");
}

#[tokio::test]
async fn injection_is_inert() {
    let scene = Scene::with(RedisIs::Up).await;
    let gateway = scene.gateway().await;
    for (question, status) in [
        ("/v1/stocks?sort=symbol%3BDROP%20TABLE%20stocks", 400),
        ("/v1/stocks?sort=1", 400),
        ("/v1/stocks?sort=symbol%20DESC%2C(SELECT%20pg_sleep(9))", 400),
        ("/v1/stocks?sector=Energy'%20OR%20'1'%3D'1", 400),
        ("/v1/stocks?page=1%20OFFSET%200", 400),
        ("/v1/stocks?per_page=20--", 400),
        ("/v1/stocks/AAPL'%20OR%20'1'%3D'1", 400),
        ("/v1/stocks/X'%3BDELETE%20FROM%20scores%3B--", 400),
        ("/v1/stocks/%27", 400),
        ("/v1/top/gainers'%3B--", 400),
        ("/v1/leaderboard?limit=1%3BSELECT%201", 400),
        ("/v1/stocks/NULL", 404),
    ] {
        let got = get(gateway.url(question)).await;
        assert_eq!(
            (got.status, got.header("content-type")),
            (status, "application/problem+json"),
            "{question}: {}",
            got.text()
        );
    }
    for table in ["stocks", "daily_prices", "scores"] {
        assert_ne!(scene.postgres.execute(&format!("SELECT count(*) FROM {table}")).trim(), "0");
    }
    assert_eq!(read_ok(&gateway, LIST).await.json()["total"], STOCKS);
}

#[tokio::test]
async fn the_compose_file_waits_for_a_healthy_redis() {
    let compose = compose().await;
    let services = &compose["services"];
    let waits_for = &services["lastgood"]["depends_on"];
    for service in ["redis", "postgres"] {
        assert_eq!(waits_for[service]["condition"], "service_healthy", "{waits_for}");
        let check = &services[service]["healthcheck"];
        assert!(check["test"].is_array() && check["retries"].as_u64() > Some(0), "{check}");
    }
    assert!(services["redis"]["image"].as_str().unwrap().starts_with("redis:7"), "{services}");
    let volume = services["redis"]["volumes"][0].as_str().unwrap();
    let (name, place) = volume.split_once(':').unwrap();
    assert!(place == "/data" && compose["volumes"].get(name).is_some(), "{compose}");
    // Redis would be open to the network; only the gateway is, and to this machine alone.
    assert!(services["redis"]["ports"].is_null() && services["postgres"]["ports"].is_null());
    assert!(services["lastgood"]["ports"][0].as_str().unwrap().starts_with("127.0.0.1:"));
}

/// The health check of the compose file, run as it stands on Redis in each state.
#[tokio::test]
async fn the_health_check_of_redis_tells_a_good_one_from_the_others() {
    let compose = compose().await;
    let check = &compose["services"]["redis"]["healthcheck"]["test"];
    assert_eq!(check[0], "CMD-SHELL");
    for redis in RedisIs::ALL {
        let server = redis.server();
        let command =
            check[1].as_str().unwrap().replace("redis-cli", &format!("timeout 2 redis-cli -p {}", server.port()));
        let done = tokio::process::Command::new("sh").args(["-c", &command]).output().await.expect("sh");
        assert_eq!(done.status.success(), redis == RedisIs::Up, "Redis {redis:?}: {done:?}");
    }
}

/// The settings that the gateway's container is given, read as the gateway reads them.
#[tokio::test]
async fn the_compose_files_settings_are_settings_of_the_gateway() {
    let compose = compose().await;
    let service = &compose["services"]["lastgood"];
    let set = |value: &Value| {
        let text = value.as_str().unwrap();
        // `${NAME:?why}` is what somebody chose.
        match text.find("${") {
            Some(at) => format!("{}chosen{}", &text[..at], text[at..].split_once('}').unwrap().1),
            None => text.to_owned(),
        }
    };
    let env: Vec<(String, String)> =
        service["environment"].as_object().unwrap().iter().map(|(name, value)| (name.clone(), set(value))).collect();
    let env: Vec<(&str, &str)> = env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let settings = settings("vibeapp", &env, &[]);
    assert_eq!(settings.listen.to_string(), "0.0.0.0:8090");
    let mounted = service["volumes"][0].as_str().unwrap();
    let config = env.iter().find(|(name, _)| *name == "LASTGOOD_CONFIG").unwrap().1;
    assert_eq!(mounted, format!("./lastgood.toml:{config}:ro"));
    let dockerfile = path("vibeapp", service["build"]["context"].as_str().unwrap()).join("Dockerfile");
    assert!(dockerfile.exists(), "{}", dockerfile.display());
}

/// The compose file, as YAML has it.
async fn compose() -> Value {
    let script = "import json, sys, yaml; json.dump(yaml.safe_load(open(sys.argv[1])), sys.stdout)";
    let python = path("vibeapp", "../../target/test-tools/venv/bin/python");
    let mut command = tokio::process::Command::new(python);
    let done = command.args(["-c", script]).arg(path("vibeapp", "compose.yaml")).output().await.expect("python");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    serde_json::from_slice(&done.stdout).unwrap()
}

#[tokio::test]
async fn the_example_runs_and_meets_what_it_promises() {
    let ended = run_once("vibeapp", &["--size", "small"]).await;
    let (out, err) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    assert!(ended.status.success(), "{out}{err}");
    assert!(number_after(&out, "hit rate ") > 80.0, "{out}");
    assert!(number_after(&out, ", p99 ") < 50.0, "{out}");
}
