//! A browser and a proxy on the gateway's machine are not its operator, and no secret of the gateway's goes to the
//! exchange.

use http::Method;
use lastgood_sim::SimConfig;

use crate::support::{Exchange, Running, client, get, read};
use crate::word::Stub;

/// Each way into the cache's inside: method, path and body.
const INSIDE: [(Method, &str, &str); 26] = [
    (Method::GET, "/api/cache/status", ""),
    (Method::GET, "/api/cache/stats", ""),
    (Method::GET, "/api/cache/keys?pattern=*", ""),
    (Method::GET, "/api/cache/explain/kv:report", ""),
    (Method::POST, "/api/cache/flush", "{\"confirm\":true}"),
    (Method::POST, "/api/cache/invalidate", "{\"tag\":\"daily\"}"),
    (Method::POST, "/api/cache/clear/BTCUSDT", ""),
    (Method::POST, "/api/cache/warm", ""),
    (Method::POST, "/api/cache/disable", ""),
    (Method::POST, "/api/cache/enable", ""),
    (Method::DELETE, "/api/cache/key/kv:report", ""),
    (Method::GET, "/v1/kv/kv/report", ""),
    (Method::PUT, "/v1/kv/kv/report", "42"),
    (Method::DELETE, "/v1/kv/kv/report", ""),
    (Method::POST, "/v1/llm/sentiment", "{\"input\":1}"),
    (Method::PUT, "/v1/llm/sentiment", "{\"input\":1,\"analysis\":2}"),
    (Method::DELETE, "/v1/llm/sentiment", "{\"input\":1}"),
    (Method::GET, "/v1/bars/my:BTC/1h", ""),
    (Method::GET, "/v1/bars/my:BTC/1h/latest", ""),
    (Method::PUT, "/v1/bars/my:BTC/1h", "[]"),
    (Method::DELETE, "/v1/bars/my:BTC/1h", ""),
    (Method::GET, "/cache/stats", ""),
    (Method::GET, "/api/cache/key/kv:report", ""),
    (Method::GET, "/page/history", ""),
    (Method::GET, "/page/main.js", ""),
    (Method::HEAD, "/v1/kv/kv/report", ""),
];

async fn status(gateway: &Running, (method, path, body): &(Method, &str, &str), headers: &[(&str, &str)]) -> u16 {
    let mut request = client().request(method.clone(), gateway.url(path)).body((*body).to_owned());
    for (name, values) in headers {
        for value in values.split('\n') {
            request = request.header(*name, value);
        }
    }
    read(request.send().await.unwrap()).await.status
}

#[tokio::test]
async fn a_web_page_reads_and_changes_nothing_by_any_name_or_site() {
    let exchange = Exchange::start().await;
    let gateway = Running::start(&exchange.url(), &[]).await;
    let put = client().put(gateway.url("/v1/kv/kv/report")).body("secret").send().await.unwrap();
    assert_eq!(put.status(), 201);
    for way in &INSIDE {
        for foreign in [
            ("host", "evil.example"),
            ("host", "127.0.0.1.evil.example:8090"),
            ("host", "192.168.0.7:8090"),
            ("origin", "https://evil.example"),
            ("origin", "http://localhost:3000"),
            ("origin", "null"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
            // A second one, after one that would be let in.
            ("sec-fetch-site", "same-origin\ncross-site"),
        ] {
            assert_eq!(status(&gateway, way, &[foreign]).await, 403, "{way:?} {foreign:?}");
        }
    }
    let kept = get(gateway.url("/v1/kv/kv/report")).await;
    assert_eq!((kept.status, kept.text()), (200, "secret"), "nothing was changed by any of them");
    assert_eq!(get(gateway.url("/api/cache/status")).await.json()["enabled"], true);
}

#[tokio::test]
async fn a_client_behind_a_proxy_of_the_machine_changes_nothing_without_the_token() {
    let exchange = Exchange::start().await;
    let gateway = Running::start(&exchange.url(), &[]).await;
    let with_token = Running::start(&exchange.url(), &[("admin.token", "a-long-enough-token")]).await;
    // What everybody may read.
    let is_open = |(method, path, _): &&(Method, &str, &str)| {
        let is_read = *method != Method::PUT && *method != Method::DELETE;
        let is_value = ["/v1/kv/", "/v1/llm/", "/v1/bars/", "/page/main.js"].iter().any(|open| path.starts_with(open));
        is_read && (is_value || *path == "/api/cache/status")
    };
    for way in INSIDE.iter().filter(|way| !is_open(way)) {
        for header in [
            "forwarded",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-client-cert",
            "x-original-forwarded-for",
            "x-real-ip",
            "via",
            "cf-connecting-ip",
            "fastly-client-ip",
            "x-envoy-external-address",
            "x-envoy-attempt-count",
            "x_forwarded_for",
            "x-nginx-proxy",
            "x-rewrite-url",
            "x-amzn-trace-id",
            "tailscale-user-login",
        ] {
            assert_eq!(status(&gateway, way, &[(header, "203.0.113.9")]).await, 403, "{way:?} {header}");
        }
        let sent = [("x-forwarded-for", "203.0.113.9"), ("authorization", "Bearer a-long-enough-token")];
        assert_ne!(status(&with_token, way, &sent).await, 403, "{way:?}");
    }
}

#[tokio::test]
async fn market_data_health_and_metrics_are_for_everybody_by_any_name() {
    let exchange = Exchange::start().await;
    let gateway = Running::start(&exchange.url(), &[("hosts", "cache.example")]).await;
    for path in
        ["/api/v3/ticker/price?symbol=BTCUSDT", "/health", "/livez", "/readyz", "/metrics", "/v1/symbols/spot?limit=1"]
    {
        let way = (Method::GET, path, "");
        for headers in
            [("host", "gateway.example"), ("x-forwarded-for", "203.0.113.9"), ("origin", "https://chart.example")]
        {
            assert_eq!(status(&gateway, &way, &[headers]).await, 200, "{path} {headers:?}");
        }
    }
    let way = (Method::GET, "/api/cache/stats", "");
    assert_eq!(status(&gateway, &way, &[("host", "cache.example:8443")]).await, 200, "a configured name is its own");
}

#[tokio::test]
async fn no_answer_but_the_page_s_own_files_is_one_that_a_browser_would_show_as_a_page() {
    let exchange = Exchange::start().await;
    let gateway = Running::start(&exchange.url(), &[("regions.kv.fresh_for", "1h")]).await;
    let html = "<script>alert(1)</script>";
    let put = client().put(gateway.url("/v1/kv/kv/page")).header("content-type", "text/html").body(html);
    assert_eq!(put.send().await.unwrap().status(), 201);
    let analysis = client().put(gateway.url("/v1/llm/mood")).body(format!("{{\"input\":1,\"analysis\":\"{html}\"}}"));
    assert_eq!(analysis.send().await.unwrap().status(), 201);
    let price = "/api/v3/ticker/price?symbol=BTCUSDT";
    let candles = "/api/v3/klines?symbol=BTCUSDT&interval=1h&endTime=1600000000000";
    let targets = [
        "/v1/kv/kv/page",
        "/api/cache/key/kv:page",
        price,
        candles,
        "/api/v3/klines?symbol=<script>&interval=1h",
        "/api/v3/account?signature=1",
        "/v1/symbols/spot?limit=1",
        "/nothing/<script>",
        "/v1/kv/none/<script>",
        "/api/cache/keys",
        "/health",
        "/metrics",
        "/api/openapi.json",
    ];
    // Twice, and once through hyper: as a miss, and as a hit by each path.
    for said in ["x-unusual", "accept", "accept"] {
        for target in targets {
            let request = client().get(gateway.url(&target.replace('<', "%3C").replace('>', "%3E")));
            let got = read(request.header(said, "*/*").send().await.unwrap()).await;
            assert_eq!(got.header("x-content-type-options"), "nosniff", "{target}: {} {}", got.status, got.text());
            let is_page = got.header("content-type").contains("html");
            let policy = got.header("content-security-policy");
            assert!(!is_page || policy.contains("sandbox"), "{target}: {policy}");
        }
    }
    let found = client().post(gateway.url("/v1/llm/mood")).body("{\"input\":1}").send().await.unwrap();
    assert_eq!(read(found).await.header("x-content-type-options"), "nosniff");
}

#[tokio::test]
async fn the_admin_token_reaches_no_exchange_however_a_path_is_mistyped() {
    let exchange = Exchange::start_with(SimConfig::default()).await;
    let token = "a-long-enough-token";
    let gateway = Running::start(&exchange.url(), &[("admin.token", token)]).await;
    let asked = exchange.asked();
    for path in [
        "/api/caches/stats",
        "/api/cach/stats",
        "/api/Cache/stats",
        "/api/cache%2Fstats",
        "/api/%63ache/stats",
        "/api/cache;x/stats",
        "/api/.cache/stats",
        "/api/cache.json",
        "/api/v/stats",
        "/api/v3x/stats",
        "/api/",
        "/api",
        "/api//cache/stats",
        "/API/cache/stats",
    ] {
        for method in [Method::GET, Method::POST, Method::DELETE] {
            let request =
                client().request(method.clone(), gateway.url(path)).header("authorization", format!("Bearer {token}"));
            let got = read(request.send().await.unwrap()).await;
            assert!((400..500).contains(&got.status), "{method} {path}: {} {}", got.status, got.text());
        }
    }
    assert_eq!(exchange.asked(), asked, "none of them reached the exchange");
}

#[tokio::test]
async fn no_authorization_and_no_cookie_is_forwarded_to_the_exchange_on_any_path() {
    let echo = Echo::start().await;
    let gateway = Running::start(&echo.url, &[("admin.token", "a-long-enough-token")]).await;
    for path in
        ["/api/v3/account?signature=1", "/sapi/v1/capital/config/getall?signature=1", "/fapi/v1/order", "/dapi/v1/what"]
    {
        let request = client().get(gateway.url(path)).header("authorization", "Bearer a-long-enough-token");
        let request = request.header("cookie", "session=of-another-program-at-this-host");
        let got = read(request.header("x-mbx-apikey", "mine").send().await.unwrap()).await;
        assert!(got.text().contains("x-mbx-apikey: mine"), "the request arrives: {}", got.text());
        assert!(!got.text().to_lowercase().contains("authorization"), "{path}: {}", got.text());
        assert!(!got.text().to_lowercase().contains("cookie"), "{path}: {}", got.text());
        assert_eq!(got.header("x-content-type-options"), "nosniff");
        assert!(got.header("content-security-policy").contains("sandbox"), "what an upstream sends is no page of ours");
    }
}

#[tokio::test]
async fn what_the_exchange_says_of_its_own_site_is_not_said_under_the_gateway_s_name() {
    const OF_ITS_SITE: [(&str, &str); 17] = [
        ("access-control-allow-origin", "*"),
        ("access-control-allow-credentials", "true"),
        ("set-cookie", "session=chosen; Path=/"),
        ("strict-transport-security", "max-age=31536000; includeSubDomains"),
        ("alt-svc", "h3=\":443\""),
        ("clear-site-data", "\"*\""),
        ("refresh", "0;url=//evil.example"),
        ("x-accel-redirect", "/internal/"),
        ("x-sendfile", "/etc/passwd"),
        ("www-authenticate", "Basic realm=\"exchange\""),
        ("nel", "{\"report_to\":\"x\"}"),
        ("report-to", "{}"),
        ("permissions-policy", "geolocation=*"),
        ("timing-allow-origin", "*"),
        ("sourcemap", "//evil.example/map"),
        ("x-lastgood-user", "42"),
        ("x-of-next-year", "whatever it will mean"),
    ];
    let stub = Stub::start(|_: &str| {
        let said = OF_ITS_SITE.iter().map(|(name, value)| (*name, (*value).to_owned()));
        let headers = said.chain([("x-mbx-used-weight-1m", "7".to_owned())]).collect();
        (200, headers, r#"{"mins":5,"price":"9.35","closeTime":1700000000000}"#.to_owned())
    })
    .await;
    let gateway = Running::start(&stub.url, &[]).await;
    for path in ["/api/v3/avgPrice?symbol=BTCUSDT", "/api/v3/somethingNew", "/api/v3/account?signature=1", "/sapi/v1/x"]
    {
        for method in [Method::GET, Method::HEAD, Method::OPTIONS, Method::POST] {
            let request = client().request(method.clone(), gateway.url(path)).header("origin", "https://evil.example");
            let got = read(request.send().await.unwrap()).await;
            assert_eq!(got.status, 200, "{method} {path}: {}", got.text());
            for (name, _) in OF_ITS_SITE {
                assert_eq!(got.header(name), "", "{method} {path}");
            }
        }
    }
    let passed = get(gateway.url("/api/v3/somethingNew")).await;
    assert_eq!((passed.cache(), passed.header("x-mbx-used-weight-1m")), ("PASS", "7"), "what a client paces itself by");
}

/// An upstream that answers the head of each request as a page of HTML.
struct Echo {
    url: String,
}

impl Echo {
    async fn start() -> Echo {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut head, mut part) = (Vec::new(), [0; 4096]);
                    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
                        match stream.read(&mut part).await {
                            Ok(0) | Err(_) => return,
                            Ok(read) => head.extend_from_slice(&part[..read]),
                        }
                    }
                    let length = head.len();
                    let answer = format!(
                        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
                    );
                    let _ = stream.write_all(answer.as_bytes()).await;
                    let _ = stream.write_all(&head).await;
                });
            }
        });
        Echo { url }
    }
}
