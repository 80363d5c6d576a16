//! What routes make of the answers and the failures of their sources.

use super::*;

#[tokio::test]
async fn a_note_in_the_place_of_an_answer_is_refused_by_its_words_and_never_kept() {
    let api = Api::start().await;
    let note = "{ refuse = \"(?i)thank you for using|call frequency\" }";
    let fleeting = file(&api).replace("fresh_for = \"1h\"", "fresh_for = \"0s\"\nstale_while_revalidate = \"0s\"");
    let from = fleeting.find("expect = {").unwrap();
    let gateway = Running::of_file(&format!("{}expect = {note}\n", &fleeting[..from])).await;
    let url = gateway.url("/v1/stocks/AAPL/recent");
    api.answers(Reply::json(json!({ "data": [1] })));
    assert_eq!(get(&url).await.json(), json!({ "data": [1] }));
    for said in [
        json!({ "Note": "Thank you for using our API! Our standard call frequency is 5 a minute." }),
        json!({ "data": { "deep": ["THANK YOU FOR USING it"] } }),
        json!("Call frequency exceeded"),
    ] {
        api.answers(Reply::json(said.clone()));
        let kept = get(&url).await;
        assert_eq!((kept.status, kept.cache(), kept.json()), (200, "LAST-GOOD", json!({ "data": [1] })), "{said}");
        assert!(kept.header("cache-status").contains("last-good:malformed"), "{}", kept.header("cache-status"));
        let cold = get(gateway.url("/v1/stocks/MSFT/recent")).await;
        assert_eq!(cold.status, 503, "{}", cold.text());
        assert!(!cold.text().to_lowercase().contains("thank you"), "{}", cold.text());
    }
}

/// Answers each connection with these bytes and closes it.
async fn raw(bytes: &'static [u8]) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(bytes).await;
            let _ = stream.shutdown().await;
        }
    });
    url
}

#[tokio::test]
async fn an_answer_over_http_that_ends_before_its_end_is_none() {
    for (bytes, status) in [
        (&b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 20\r\n\r\n[1, 2, 3]"[..], 503),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\n[1, 2, 3]\r\n", 503),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\n[1, 2, 3]\r\n0\r\n\r\n", 200),
        // Where the end of the body is that of the connection, a list shows that it is whole, and a number does not.
        (b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n[1, 2, 3]", 200),
        (b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n[1, 2", 503),
        (b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n12", 503),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n12", 200),
    ] {
        let url = raw(bytes).await;
        let file = format!(
            "[apis.a]\nurl = \"{url}\"\n[[routes]]\npath = \"/v1/one\"\nsources = [{{ api = \"a\", path = \"/x\" }}]\n"
        );
        let gateway = Running::of_file(&file).await;
        let got = get(gateway.url("/v1/one")).await;
        assert_eq!(got.status, status, "{}: {}", String::from_utf8_lossy(bytes), got.text());
    }
}

/// A route over two APIs, in an order.
pub(super) fn chain(first: &Api, second: &Api, more: &str) -> String {
    format!(
        r#"
        [apis.first]
        url = "{}"
        timeout = "500ms"
        [apis.second]
        url = "{}"
        [regions.chain]
        fresh_for = "0s"
        stale_while_revalidate = "0s"
        soft_timeout = "9s"
        [[routes]]
        path = "/v1/chain"
        region = "chain"
        [[routes.sources]]
        api = "first"
        path = "/a"
        {more}
        [[routes.sources]]
        api = "second"
        path = "/b"
        "#,
        first.url(),
        second.url()
    )
}

#[tokio::test]
async fn the_next_source_is_asked_when_one_fails_and_not_when_it_has_no_such_thing() {
    let (mut first, second) = (Api::start().await, Api::start().await);
    let gateway = Running::of_file(&chain(&first, &second, "")).await;
    let url = gateway.url("/v1/chain");
    first.answers(Reply::json(json!("first")));
    second.answers(Reply::json(json!("second")));
    assert_eq!(get(&url).await.json(), "first");
    for bad in [
        Reply::status(500),
        Reply::status(429),
        Reply::status(403),
        Reply::text("<html>"),
        Reply::text(""),
        Reply::json(json!(1)).after(Duration::from_secs(3)),
        Reply::redirect("/elsewhere"),
        Reply::json(json!("accepted")).with_status(202),
        Reply::json(json!("another's")).with_status(203),
        Reply::json(json!("a part")).with_status(206).header("content-range", "bytes 0-7/9000"),
    ] {
        first.answers(bad.clone());
        let got = get(&url).await;
        assert_eq!((got.status, got.cache(), got.json()), (200, "MISS", json!("second")), "{bad:?}");
    }
    let asked = second.asked().len();
    first.answers(Reply::status(404));
    let missing = get(&url).await;
    assert_eq!((missing.status, missing.cache()), (404, "ERROR"), "{}", missing.text());
    let again = get(&url).await;
    assert_eq!((again.status, again.cache()), (404, "ERROR"));
    assert_eq!(again.header("cache-status"), "lastgood; hit; detail=not-found", "a missing thing is remembered");
    assert_eq!(second.asked().len(), asked);
    first.stop().await;

    let third = Api::start().await;
    third.answers(Reply::status(404));
    let gateway = Running::of_file(&chain(&third, &second, "next_on_missing = true")).await;
    assert_eq!(get(gateway.url("/v1/chain")).await.json(), "second");
    // The failed source may have it, so that it is not said to be missing.
    third.answers(Reply::status(500));
    second.answers(Reply::status(404));
    let gateway = Running::of_file(&chain(&third, &second, "")).await;
    let failed = get(gateway.url("/v1/chain")).await;
    assert_eq!((failed.status, failed.header("retry-after")), (503, "1"), "{}", failed.text());
}

#[tokio::test]
async fn the_last_good_answer_outlives_its_source_and_no_error_tells_of_it() {
    let mut api = Api::start().await;
    api.answers(Reply::json(json!({ "data": [1] })));
    let text = file(&api).replace("fresh_for = \"1h\"", "fresh_for = \"0s\"\nstale_while_revalidate = \"0s\"");
    let gateway = Running::of_file(&text).await;
    let url = gateway.url("/v1/stocks/AAPL/recent");
    assert_eq!(get(&url).await.cache(), "MISS");
    api.answers(Reply::json(json!({ "Note": "our limit is 5 calls", "data": [] })));
    let noted = get(&url).await;
    assert_eq!((noted.status, noted.cache(), noted.json()), (200, "LAST-GOOD", json!({ "data": [1] })));
    assert!(noted.header("cache-status").ends_with("detail=last-good:malformed"), "{}", noted.header("cache-status"));
    let never = get(gateway.url("/v1/stocks/MSFT/recent")).await;
    assert_eq!((never.status, never.header("content-type")), (503, "application/problem+json"));
    assert_eq!(never.header("retry-after"), "1");
    assert!(!never.text().contains("limit") && !never.text().contains("k-123") && !never.text().contains("127.0.0.1"));
    api.stop().await;
    let gone = get(&url).await;
    assert_eq!((gone.status, gone.cache(), gone.json()), (200, "LAST-GOOD", json!({ "data": [1] })));
    let nothing = get(gateway.url("/v1/stocks/TSLA/recent")).await;
    assert_eq!(nothing.status, 503);
    assert!(!nothing.text().contains("127.0.0.1") && !nothing.text().contains("k-123"), "{}", nothing.text());
}

#[tokio::test]
async fn a_source_that_hangs_is_given_up_with_504_and_one_that_is_slow_gives_way() {
    let api = Api::start().await;
    api.answers(Reply::json(json!({ "data": 1 })).after(Duration::from_secs(30)));
    let text = file(&api).replace("soft_timeout = \"5s\"", "soft_timeout = \"100ms\"\nhard_timeout = \"400ms\"");
    let gateway = Running::of_file(&text).await;
    let hung = get(gateway.url("/v1/stocks/AAPL/recent")).await;
    assert_eq!((hung.status, hung.header("retry-after")), (504, "1"), "{}", hung.text());
    assert_eq!(hung.header("content-type"), "application/problem+json");
}

#[tokio::test]
async fn what_did_not_change_is_not_sent_again() {
    let api = Api::start().await;
    api.answers(Reply::json(json!({ "data": [7] })).header("etag", "\"v1\""));
    let text = file(&api).replace("fresh_for = \"1h\"", "fresh_for = \"0s\"\nstale_while_revalidate = \"0s\"");
    let gateway = Running::of_file(&text).await;
    let url = gateway.url("/v1/stocks/AAPL/recent");
    assert_eq!(get(&url).await.cache(), "MISS");
    api.answers(Reply::status(304).header("cache-control", "max-age=600"));
    let again = get(&url).await;
    assert_eq!((again.status, again.cache(), again.json()), (200, "MISS", json!({ "data": [7] })));
    assert_eq!(api.last_header("if-none-match").as_deref(), Some("\"v1\""));
    assert_eq!(get(&url).await.cache(), "HIT", "its freshness is the newer one");
}

#[tokio::test]
async fn the_answer_of_an_api_is_cut_to_its_last_row_with_its_computed_fields() {
    let api = Api::start().await;
    let prices = r#"{"data": [{"day": "mon", "close": "99.50"}, {"day": "tue", "close": "104.475"}]}"#;
    api.answers(Reply::text(prices).header("etag", "\"v1\""));
    let text = file(&api).replace("fresh_for = \"1h\"", "fresh_for = \"0s\"\nstale_while_revalidate = \"0s\"");
    let select = r#"select = { path = "data", take = "last", fields = { day = "day", close = "close", change = "close - previous.close" } }"#;
    let gateway = Running::of_file(&format!("{text}\n{select}\n")).await;
    let url = gateway.url("/v1/stocks/AAPL/recent");
    let latest = r#"{"day":"tue","close":"104.475","change":4.975}"#;
    for _ in 0..2 {
        let got = get(&url).await;
        assert_eq!((got.cache(), got.text()), ("MISS", latest));
        assert_eq!(api.last_header("if-none-match"), None, "a part could not be judged by an answer of 304");
    }
    for malformed in [r#"{"data": []}"#, r#"{"data": {}}"#, r#"{"data": [7]}"#, r#"{"data": [{}]}"#, r#"{"rows": []}"#]
    {
        api.answers(Reply::text(malformed));
        let got = get(&url).await;
        assert_eq!((got.cache(), got.text()), ("LAST-GOOD", latest), "{malformed}");
    }
}

#[tokio::test]
async fn a_source_says_itself_how_long_its_answer_is_fresh() {
    let api = Api::start().await;
    let gateway = Running::of_file(&format!(
        r#"
        [apis.a]
        url = "{}"
        [[routes]]
        path = "/v1/index/{{kind}}"
        [routes.parameters.kind]
        type = "text"
        [[routes.sources]]
        api = "a"
        path = "/{{kind}}"
        fresh_for_field = "data.0.time_until_update"
        "#,
        api.url()
    ))
    .await;
    let ttl = |got: &Got| {
        let status = got.header("cache-status").to_owned();
        status.split("ttl=").nth(1).and_then(|ttl| ttl.split(';').next()?.parse::<u64>().ok()).unwrap_or_default()
    };
    for (kind, reply, expected) in [
        ("field", Reply::json(json!({ "data": [{ "time_until_update": "3600" }] })), 3_600),
        ("header", Reply::json(json!({ "data": [] })).header("cache-control", "public, max-age=77"), 77),
        (
            "both",
            Reply::json(json!({ "data": [{ "time_until_update": 50 }] })).header("cache-control", "max-age=7"),
            50,
        ),
        ("clamped", Reply::json(json!({ "data": [{ "time_until_update": 1e12 }] })), 86_400),
    ] {
        api.answers(reply);
        let got = get(gateway.url(&format!("/v1/index/{kind}"))).await;
        assert!((expected - 1..=expected).contains(&ttl(&got)), "{kind}: {}", got.header("cache-status"));
    }
    api.answers(Reply::json(json!({})).header("cache-control", "no-store"));
    let policy = get(gateway.url("/v1/index/silent")).await;
    assert!((260..=300).contains(&ttl(&policy)), "the region's own: {}", policy.header("cache-status"));
}

#[tokio::test]
async fn what_another_host_answered_is_not_served_even_as_the_last_good_answer() {
    let (api, mut other) = (Api::start().await, Api::start().await);
    api.answers(Reply::json(json!({ "data": ["of the first"] })));
    other.answers(Reply::json(json!({ "data": ["of the second"] })));
    let data = tempfile::tempdir().unwrap();
    let target = "/v1/stocks/AAPL/recent";
    let gateway = Running::of_file_in(&file(&api), data.path()).await;
    assert_eq!(get(gateway.url(target)).await.cache(), "MISS");
    gateway.stop().await;
    let gateway = Running::of_file_in(&file(&other), data.path()).await;
    let own = get(gateway.url(target)).await;
    assert_eq!((own.cache(), own.json()), ("MISS", json!({ "data": ["of the second"] })));
    gateway.stop().await;
    // The first is asked for its own, and then stands in for itself alone.
    let gateway = Running::of_file_in(&file(&api), data.path()).await;
    assert_eq!(get(gateway.url(target)).await.json(), json!({ "data": ["of the first"] }));
    gateway.stop().await;
    other.stop().await;
    let gateway = Running::of_file_in(&file(&other), data.path()).await;
    let none = get(gateway.url(target)).await;
    assert_eq!(none.status, 503, "{}", none.text());
}
