//! Stocks on SQL, each feature with Redis up, down and stopped.

use std::time::Duration;

use lastgood_testing::{PostgresServer, RedisServer};
use serde_json::{Value, json};

use super::{RedisIs, admin, eventually, number_after, path, read_ok, run_once, settings, ttl};
use crate::support::{Exchange, Running, client, get, read};

mod compose;

const STOCKS: usize = 60;
const LIST: &str = "/api/stocks/";
const DETAIL: &str = "/api/stocks/AAPL";
const TOP: &str = "/api/stocks/top";
const BOARD: &str = "/api/stocks/leaderboard/top";
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
        self.gateway_with(&[], &[]).await
    }

    /// The same with more variables and flags.
    async fn gateway_with(&self, variables: &[(&str, &str)], flags: &[(&str, &str)]) -> Running {
        let data = tempfile::tempdir().unwrap();
        let (database, redis) = (self.postgres.url("postgres"), self.redis.url());
        let data_dir = data.path().display().to_string();
        let own = [("DATABASE_URL", database.as_str()), ("REDIS_URL", &redis), ("LASTGOOD_DATA_DIR", &data_dir)];
        let settings = settings("vibeapp", &[&own, variables].concat(), flags);
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
        for path in [LIST, DETAIL, "/api/stocks/top?limit=5", BOARD] {
            assert_eq!(read_ok(&gateway, path).await.cache(), "HIT", "{path}, Redis {redis:?}");
        }
    }
}

#[tokio::test]
async fn each_route_is_fresh_as_long_as_it_says() {
    let scene = Scene::with(RedisIs::Up).await;
    let gateway = scene.gateway().await;
    for (path, seconds) in [(LIST, 300), (DETAIL, 300), (TOP, 300), (BOARD, 600)] {
        read_ok(&gateway, path).await;
        let got = read_ok(&gateway, path).await;
        assert_eq!(got.cache(), "HIT");
        assert!((seconds * 85 / 100..=seconds).contains(&ttl(&got)), "{path}: {}", got.header("cache-status"));
    }
}

#[tokio::test]
async fn cache_ttl_default_and_cache_ttl_scores_say_how_long_answers_are_fresh() {
    let scene = Scene::with(RedisIs::Up).await;
    let seconds = [("CACHE_TTL_DEFAULT", "40"), ("CACHE_TTL_SCORES", "2000")];
    let minutes = [("CACHE_TTL_DEFAULT", "2m"), ("CACHE_TTL_SCORES", "")];
    for (variables, default, scores) in [(seconds, 40, 2000), (minutes, 120, 600)] {
        let gateway = scene.gateway_with(&variables, &[("namespace", &format!("of-{default}"))]).await;
        for (path, promised) in [(LIST, default), (DETAIL, default), (TOP, default), (BOARD, scores)] {
            let got = read_ok(&gateway, path).await;
            assert!((promised * 85 / 100..=promised).contains(&ttl(&got)), "{path}: {}", got.header("cache-status"));
        }
    }
}

#[tokio::test]
async fn the_paths_of_the_original_answer_with_their_slash_and_no_spelling_of_them_reaches_the_exchange() {
    let (scene, exchange) = (Scene::with(RedisIs::Up).await, Exchange::start().await);
    let upstream = exchange.url();
    let flags = ["spot_url", "futures_url", "coin_url"].map(|name| (format!("binance.{name}"), upstream.as_str()));
    let flags = flags.each_ref().map(|(name, url)| (name.as_str(), *url));
    let gateway = scene.gateway_with(&[], &flags).await;
    let with_slash = read_ok(&gateway, "/api/stocks/").await;
    let without = read_ok(&gateway, "/api/stocks").await;
    assert_eq!((without.cache(), &without.body), ("HIT", &with_slash.body));
    assert_eq!(items(&with_slash.json()).len(), 20);
    assert_eq!(read_ok(&gateway, "/api/stocks/aapl").await.json()["symbol"], "AAPL");
    // Not the stock TOP, which there is not.
    assert_eq!(read_ok(&gateway, "/api/stocks/top").await.json().as_array().map(Vec::len), Some(20));
    assert_eq!(read_ok(&gateway, "/api/stocks/leaderboard/top").await.json()[0]["rank"], 1);
    for by in ["gainers", "losers", "active"] {
        assert_eq!(
            read_ok(&gateway, &format!("/api/stocks/top?by={by}&limit=3")).await.json().as_array().unwrap().len(),
            3
        );
    }
    for strange in [
        "/api/stocks//",
        "/api/stocks//AAPL",
        "/api/stocks/AAPL/",
        "/api/stocks/AAPL/x",
        "/api/stocks/x/y",
        "/api/stocks/leaderboard",
        "/api/stocks/leaderboard/",
        "/api/stocks/leaderboard/top/x",
        "/api/stocks/NOSUCH",
        "/api/stocks%2F",
        "/api/stocks%2FAAPL",
        "/api/%73tocks/",
        "/api/STOCKS/",
        "/api/stocksx",
    ] {
        let got = get(gateway.url(strange)).await;
        assert!(matches!(got.status, 400 | 404), "{strange}: {}", got.text());
        assert_eq!(got.header("content-type"), "application/problem+json", "{strange}");
        // Eleven letters are no ticker.
        assert_eq!(got.status == 400, strange == "/api/stocks/leaderboard", "{strange}: {}", got.text());
    }
    assert_eq!(exchange.asked(), 0);
}

#[tokio::test]
async fn with_redis_enabled_false_every_request_passes_through_to_the_database() {
    for redis in RedisIs::ALL {
        let scene = Scene::with(redis).await;
        let gateway = scene.gateway_with(&[("REDIS_ENABLED", "false")], &[]).await;
        for path in ROUTES {
            for _ in 0..2 {
                assert_eq!(read_ok(&gateway, path).await.cache(), "PASS", "{path}, Redis {redis:?}");
            }
        }
        scene.postgres.execute("UPDATE stocks SET name = 'Renamed' WHERE symbol = 'AAPL'");
        assert_eq!(read_ok(&gateway, DETAIL).await.json()["name"], "Renamed");
        assert_eq!(get(gateway.url("/api/cache/status")).await.json()["enabled"], false);
        assert!(keys(&gateway, "stock_*").await.is_empty());
    }
}

#[tokio::test]
async fn clear_all_takes_a_confirmation_and_then_every_page_is_loaded_again() {
    for redis in RedisIs::ALL {
        let scene = Scene::with(redis).await;
        let gateway = scene.gateway().await;
        for path in ROUTES {
            read_ok(&gateway, path).await;
        }
        let flush = async |body: Value| {
            read(client().post(gateway.url("/api/cache/flush")).body(body.to_string()).send().await.unwrap())
                .await
                .status
        };
        assert_eq!(flush(json!({})).await, 400);
        for path in ROUTES {
            assert_eq!(read_ok(&gateway, path).await.cache(), "HIT", "{path}, Redis {redis:?}");
        }
        assert!(matches!(flush(json!({ "confirm": true })).await, 200 | 202), "Redis {redis:?}");
        for path in ROUTES {
            assert_eq!(read_ok(&gateway, path).await.cache(), "MISS", "{path}, Redis {redis:?}");
            assert_eq!(read_ok(&gateway, path).await.cache(), "HIT", "{path}, Redis {redis:?}");
        }
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
            "/api/stocks/?sort=market_cap",
            "/api/stocks/?page=1&sort=market_cap",
            "/api/stocks/?per_page=20&page=1&sort=MARKET_CAP",
            "/api/stocks",
            "/api/stocks?page=1",
            "/api/stocks/?sort=market%5Fcap&per_page=020",
        ];
        for (at, question) in same.into_iter().enumerate() {
            let expected = if at == 0 { "MISS" } else { "HIT" };
            assert_eq!(read_ok(&gateway, question).await.cache(), expected, "{question}, Redis {redis:?}");
        }
        let found = keys(&gateway, "stock_list:*").await;
        let [key] = found.as_slice() else { panic!("{found:?}") };
        let (before, hash) = key.split_once("sha256=").unwrap_or_else(|| panic!("{key}"));
        assert_eq!((before, hash.len()), ("stock_list:/api/stocks/?", 64));
        assert!(hash.bytes().all(|byte| byte.is_ascii_hexdigit()), "{key}");
        assert_eq!(read_ok(&gateway, "/api/stocks/?page=2").await.cache(), "MISS");
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
            status == json!({ "enabled": true, "available": available, "store": scene.redis.url() })
        })
        .await;
    }
}

#[tokio::test]
async fn invalidate_by_pattern_reloads_what_it_names_and_nothing_else() {
    for redis in RedisIs::ALL {
        let scene = Scene::with(redis).await;
        let gateway = scene.gateway().await;
        let questions = [LIST, "/api/stocks/?page=2", DETAIL, "/api/stocks/MSFT", TOP, BOARD];
        for question in questions {
            read_ok(&gateway, question).await;
        }
        let body = json!({ "pattern": "stock_list:*", "hard": true });
        let answer = admin(&gateway, "/api/cache/invalidate", body).await;
        assert_eq!(answer["removed"], 2, "{answer}, Redis {redis:?}");
        for question in questions {
            let is_a_list = question == LIST || question.starts_with("/api/stocks/?");
            let expected = if is_a_list { "MISS" } else { "HIT" };
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
        read_ok(&gateway, "/api/stocks/MSFT").await;
        let key: String = key.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let delete = || client().delete(gateway.url(&format!("/api/cache/key/{key}"))).send();
        let is_up = matches!(redis, RedisIs::Up);
        assert_eq!(read(delete().await.unwrap()).await.status, if is_up { 200 } else { 202 }, "Redis {redis:?}");
        assert_eq!(read(delete().await.unwrap()).await.status, 404, "it is gone");
        assert_eq!(read_ok(&gateway, "/api/stocks/MSFT").await.cache(), "HIT");
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
        // A question not asked before has no last good answer, and says so.
        let never = get(gateway.url("/api/stocks/MSFT")).await;
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
    assert_eq!(read_ok(&gateway, "/api/stocks/MSFT").await.cache(), "MISS");
}

#[tokio::test]
async fn injection_is_inert() {
    let scene = Scene::with(RedisIs::Up).await;
    let gateway = scene.gateway().await;
    for (question, status) in [
        ("/api/stocks/?sort=symbol%3BDROP%20TABLE%20stocks", 400),
        ("/api/stocks/?sort=1", 400),
        ("/api/stocks/?sort=symbol%20DESC%2C(SELECT%20pg_sleep(9))", 400),
        ("/api/stocks/?sector=Energy'%20OR%20'1'%3D'1", 400),
        ("/api/stocks/?page=1%20OFFSET%200", 400),
        ("/api/stocks/?per_page=20--", 400),
        ("/api/stocks/AAPL'%20OR%20'1'%3D'1", 400),
        ("/api/stocks/X'%3BDELETE%20FROM%20scores%3B--", 400),
        ("/api/stocks/%27", 400),
        ("/api/stocks/top?by=gainers'%3B--", 400),
        ("/api/stocks/leaderboard/top?limit=1%3BSELECT%201", 400),
        ("/api/stocks/NULL", 404),
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
async fn the_example_runs_and_meets_what_it_promises() {
    let ended = run_once("vibeapp", &["--size", "small"]).await;
    let (out, err) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    assert!(ended.status.success(), "{out}{err}");
    assert!(number_after(&out, "hit rate ") > 80.0, "{out}");
    assert!(number_after(&out, ", p99 ") < 50.0, "{out}");
}
