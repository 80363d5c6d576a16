//! Which paths a declared route answers, and that no spelling of one is the exchange's.

use lastgood_settings::StoreSetting;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::api::{Api, Reply};
use crate::support::{Exchange, Running, get, settings_of};

/// Answers whatever it is asked, and knows what that was.
async fn api_of_anything() -> Api {
    let api = Api::start().await;
    api.answers(Reply::json(json!({ "rows": [] })));
    api
}

/// A file with a route for each of these paths over the same API; `{name}` in a path is a text.
fn routes_at(api: &Api, paths: &[&str]) -> String {
    let mut text = format!("[apis.a]\nurl = \"{}\"\n", api.url());
    for path in paths {
        text += &format!("[[routes]]\npath = \"{path}\"\n");
        if path.contains("{name}") {
            text += "parameters.name = { type = \"text\", pattern = \"[A-Z]{1,5}\", case = \"upper\" }\n";
        }
        text += &format!("sources = [{{ api = \"a\", path = \"{path}\" }}]\n");
    }
    text
}

#[tokio::test]
async fn a_route_below_api_is_its_own_and_leaves_the_exchange_its_paths() {
    let api = api_of_anything().await;
    let gateway = Running::of_file(&routes_at(&api, &["/api/analytics/top"])).await;
    assert_eq!(get(gateway.url("/api/analytics/top")).await.json(), json!({ "rows": [] }));
    let unknown = get(gateway.url("/api/analytics/other")).await;
    assert_eq!((unknown.status, unknown.header("content-type")), (404, "application/problem+json"));
    assert_eq!(get(gateway.url("/api/v3/ping")).await.text(), "{}");
    let exchange = get(gateway.url("/api/v3/depth?symbol=BTCUSDT")).await;
    assert!(exchange.json()["code"].is_i64(), "{}", exchange.text());
    assert_eq!(api.asked().len(), 1);
}

#[tokio::test]
async fn a_path_declared_with_a_slash_at_its_end_answers_with_and_without_it() {
    let api = api_of_anything().await;
    let gateway = Running::of_file(&routes_at(&api, &["/api/stocks/", "/api/stocks/{name}", "/v1/plain"])).await;
    for (at, path) in ["/api/stocks/", "/api/stocks", "/api/stocks/?", "/api/stocks?"].into_iter().enumerate() {
        let got = get(gateway.url(path)).await;
        assert_eq!((got.status, got.cache()), (200, if at == 0 { "MISS" } else { "HIT" }), "{path}");
        assert!(got.header("location").is_empty(), "{path}");
    }
    assert_eq!(api.asked(), ["/api/stocks/"]);
    // Where the slash is not declared, it is another path, and there is nothing.
    for path in ["/v1/plain/", "/api/stocks/AAPL/"] {
        assert_eq!(get(gateway.url(path)).await.status, 404, "{path}");
    }
    let document = get(gateway.url("/api/openapi.json")).await.json();
    assert!(document["paths"]["/api/stocks/"]["get"].is_object() && document["paths"]["/api/stocks"].is_null());
}

#[tokio::test]
async fn fixed_text_in_a_path_wins_over_a_parameter_whatever_the_order_of_declaration() {
    let mut paths = ["/api/stocks/{name}", "/api/stocks/top", "/api/stocks/", "/api/stocks/leaderboard/top"];
    for _ in 0..2 {
        let api = api_of_anything().await;
        let gateway = Running::of_file(&routes_at(&api, &paths)).await;
        for (path, asked) in [
            ("/api/stocks/top", "/api/stocks/top"),
            ("/api/stocks/leaderboard/top", "/api/stocks/leaderboard/top"),
            ("/api/stocks/leaderboard", "refused"),
            ("/api/stocks/topp", "/api/stocks/TOPP"),
            ("/api/stocks/", "/api/stocks/"),
        ] {
            let got = get(gateway.url(path)).await;
            match asked {
                "refused" => assert_eq!(got.status, 400, "{path}: no name is that long: {}", got.text()),
                _ => assert_eq!((got.status, api.asked().pop().unwrap().as_str()), (200, asked), "{path}"),
            }
        }
        paths.reverse();
    }
}

#[tokio::test]
async fn no_spelling_of_a_path_below_api_reaches_the_exchange() {
    let exchange = Exchange::start().await;
    let api = api_of_anything().await;
    let text = routes_at(&api, &["/api/stocks/", "/api/stocks/{name}"]);
    let data = tempfile::tempdir().unwrap();
    let mut settings = settings_of(&text, &[]).unwrap_or_else(|problems| panic!("{problems}"));
    (settings.store, settings.data_dir) = (StoreSetting::Memory, data.path().to_owned());
    settings.binance = crate::support::settings(&exchange.url(), &[]).binance;
    let gateway = Running::serve(&settings, data).await;
    for path in [
        "/api/stocks//",
        "/api//stocks/",
        "/api/stocks///",
        "/api/stocks/AAPL/",
        "/api/stocks/AAPL/x",
        "/api/stocks%2F",
        "/api/stocks%2FAAPL",
        "/api/stocks%2fAAPL",
        "/api/stocks%5CAAPL",
        "/api/%73tocks/AAPL",
        "/api/%73%74%6F%63%6B%73",
        "/api/%2573tocks/AAPL",
        "/api/Stocks/AAPL",
        "/api/STOCKS/",
        "/api/stocks;a=b/AAPL",
        "/api/stocks.json",
        "/api/stocksx",
        "/api/./stocks/AAPL",
        "/api/%2e/stocks/AAPL",
        "/api/x/../stocks/AAPL",
        "/api/stocks/../v3/time",
        "/api/",
        "//api/stocks/",
        "/api%2Fstocks/",
        "/%61pi/stocks/AAPL",
        "/API/stocks/AAPL",
        "/api/cache%2Fstatus",
        "/api/%63ache/status",
        "/api/Cache/status",
    ] {
        for method in ["GET", "POST", "DELETE"] {
            let answer = sent(&gateway, method, path).await;
            assert!(answer.starts_with("HTTP/1.1 404"), "{method} {path}: {answer}");
            assert!(answer.contains("application/problem+json"), "{method} {path}: {answer}");
        }
    }
    // A value in the place of a parameter is judged as one, and another method than GET is refused.
    for (method, path, status) in [
        ("GET", "/api/stocks/%2F", 400),
        ("GET", "/api/stocks/AAPL%2Fx", 400),
        ("GET", "/api/stocks/..", 400),
        ("POST", "/api/stocks/", 405),
        ("DELETE", "/api/stocks", 405),
        ("PUT", "/api/stocks/AAPL", 405),
    ] {
        let answer = sent(&gateway, method, path).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{method} {path}: {answer}");
    }
    assert_eq!((exchange.asked(), api.asked().len()), (0, 0), "{:?}", api.asked());
    assert_eq!(get(gateway.url("/api/v3/time")).await.status, 200);
    assert_eq!(exchange.asked(), 1);
}

/// Sends the path as it stands, which a client's URL parser would tidy up.
async fn sent(gateway: &Running, method: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", gateway.address);
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}
