//! What the routes of the example answer, and what they refuse.

use super::*;

#[tokio::test]
async fn the_latest_price_says_exactly_how_it_changed_on_the_day_before() {
    let scene = Scene::with(RedisIs::Up).await;
    let gateway = scene.gateway(&[]).await;
    for symbol in POPULAR.into_iter().chain(OTHERS) {
        let got = read_ok(&gateway, &format!("/v1/stocks/{symbol}/latest")).await;
        assert_eq!(got.text(), latest_of(&scene.object(symbol)), "{symbol}");
    }
    let daily = scene.folder.path().join("stock-data/daily");
    let points = [
        (
            r#"[{"date":"d","close":190.50,"volume":1.0e3}]"#,
            r#"190.50,"volume":1.0e3,"change":null,"change_percent":null}"#,
        ),
        (
            r#"[{"close":0},{"date":"d","close":0.3,"volume":7}]"#,
            r#"0.3,"volume":7,"change":0.3,"change_percent":null}"#,
        ),
        (r#"[{"close":0.1},{"date":"d","close":0.3}]"#, r#"0.3,"volume":null,"change":0.2,"change_percent":200}"#),
        (
            r#"[{"close":"8.00"},{"date":"d","close":"8.10","volume":"9"}]"#,
            r#""8.10","volume":"9","change":0.1,"change_percent":1.25}"#,
        ),
        (r#"[{"close":3},{"date":"d","close":2,"volume":1}]"#, r#"2,"volume":1,"change":-1,"change_percent":-33.33}"#),
        (
            r#"[{"close":null},{"date":"d","close":2,"volume":1}]"#,
            r#"2,"volume":1,"change":null,"change_percent":null}"#,
        ),
    ];
    for (at, (points, wanted)) in points.into_iter().enumerate() {
        std::fs::write(daily.join(format!("T{at}.json")), format!(r#"{{"symbol":"T{at}","data_points":{points}}}"#))
            .unwrap();
        let got = read_ok(&gateway, &format!("/v1/stocks/T{at}/latest")).await;
        assert_eq!(got.text(), format!(r#"{{"date":"d","close":{wanted}"#));
    }
}

#[tokio::test]
async fn a_stock_says_its_name_its_currency_and_the_days_there_are() {
    for redis in RedisIs::ALL {
        let scene = Scene::with(redis).await;
        let gateway = scene.gateway(&[]).await;
        assert_eq!(read_ok(&gateway, INFO).await.cache(), "MISS");
        let got = read_ok(&gateway, INFO).await;
        assert_eq!(got.cache(), "HIT", "Redis {redis:?}");
        assert!((18_360..=21_600).contains(&ttl(&got)), "{}", got.header("cache-status"));
        let object = scene.object("BYYF");
        let wanted = json!({
            "symbol": "BYYF", "name": "BYYF Incorporated", "currency": "USD", "data_range": object["data_range"],
            "days": DAYS, "last_updated": object["last_updated"],
        });
        assert_eq!(got.json(), wanted);
        admin(&gateway, "/api/cache/clear/BYYF", json!({})).await;
        assert_eq!(read_ok(&gateway, INFO).await.cache(), "MISS", "it is cleared with its symbol");
    }
}

#[tokio::test]
async fn recent_days_for_an_hour() {
    for redis in RedisIs::ALL {
        let scene = Scene::with(redis).await;
        let gateway = scene.gateway(&[]).await;
        let object = scene.object("BYYF");
        let points = object["data_points"].as_array().unwrap();
        for (query, days) in [("", 30), ("?days=5", 5), ("?days=1", 1), ("?days=1500", DAYS)] {
            let question = format!("{RECENT}{query}");
            assert_eq!(read_ok(&gateway, &question).await.cache(), "MISS", "{question}, Redis {redis:?}");
            let got = read_ok(&gateway, &question).await;
            assert_eq!(got.cache(), "HIT");
            assert!((3_060..=3_600).contains(&ttl(&got)), "{}", got.header("cache-status"));
            assert_eq!(got.json()["data_points"].as_array().unwrap()[..], points[DAYS - days..], "{question}");
        }
        for days in ["0", "1501", "-1", "five", "1e3"] {
            let refused = get(gateway.url(&format!("{RECENT}?days={days}"))).await;
            assert_eq!((refused.status, refused.header("content-type")), (400, "application/problem+json"), "{days}");
        }
    }
}

#[tokio::test]
async fn the_symbol_list_for_six_hours() {
    for redis in RedisIs::ALL {
        let scene = Scene::with(redis).await;
        let gateway = scene.gateway(&[]).await;
        let got = read_ok(&gateway, LIST).await;
        assert_eq!(got.cache(), "HIT", "it is warmed; Redis {redis:?}");
        assert!((18_360..=21_600).contains(&ttl(&got)), "{}", got.header("cache-status"));
        let mut all: Vec<&str> = POPULAR.into_iter().chain(OTHERS).collect();
        all.sort_unstable();
        assert_eq!(symbols(&got.json()), all);
    }
}

#[tokio::test]
async fn path_traversal_in_a_symbol_is_refused() {
    let scene = Scene::with(RedisIs::Up).await;
    std::fs::write(scene.folder.path().join("secret.json"), r#"{"symbol":"secret","data_points":[{"close":1}]}"#)
        .unwrap();
    let gateway = scene.gateway(&[]).await;
    for symbol in [
        "..%2F..%2Fsecret",
        "..%2f..%2fsecret",
        "%2e%2e%2f%2e%2e%2fsecret",
        "..%5C..%5Csecret",
        "..",
        "%2e%2e",
        "..%252F..%252Fsecret",
        "A%00",
        "A%2F..%2F..%2F..%2Fsecret",
        "%2Fetc%2Fpasswd",
        "A%0AB",
        "*",
        "A;B",
        "ABCDEFGHIJKLMNOP",
        "%EF%BC%8E%EF%BC%8E",
        "'",
        "",
    ] {
        for route in ["latest", "recent"] {
            let got = get_as_is(&gateway, &format!("/v1/stocks/{symbol}/{route}")).await;
            assert_eq!(got.0, 400, "{symbol:?} answered {got:?}");
            assert!(!got.1.contains("\"close\"") && !got.1.contains("root:"), "{symbol:?} answered {got:?}");
        }
    }
    assert_eq!(count(&gateway, "misses").await, 0, "none was looked for");
}

/// A request whose path no client has tidied: status and body.
async fn get_as_is(gateway: &Running, target: &str) -> (u16, String) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut connection = tokio::net::TcpStream::connect(gateway.address).await.unwrap();
    let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, answer.split_once("\r\n\r\n").map_or(String::new(), |(_, body)| body.to_owned()))
}

#[tokio::test]
async fn an_unknown_symbol_is_404_and_not_asked_for_again() {
    let scene = Scene::with(RedisIs::Up).await;
    let gateway = scene.gateway(&[]).await;
    for _ in 0..2 {
        let got = get(gateway.url("/v1/stocks/NONE/latest")).await;
        assert_eq!((got.status, got.header("content-type")), (404, "application/problem+json"), "{}", got.text());
    }
}
