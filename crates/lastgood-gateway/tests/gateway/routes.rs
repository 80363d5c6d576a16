//! Declared routes: what is asked, what is answered, and what happens when a source fails.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{Got, Running, client, get, read};

mod api;
mod configuration;
mod databases;
mod hostile;
mod openapi;
mod parameters;
mod paths;
mod warm;

use self::api::{Api, Reply};

/// A gateway with one route over an API, whose answers are fresh for a second.
fn file(api: &Api) -> String {
    let url = api.url();
    format!(
        r#"
        [apis.quotes]
        url = "{url}/base"
        timeout = "2s"

        [regions.quotes]
        fresh_for = "1h"
        soft_timeout = "5s"

        [[routes]]
        path = "/v1/stocks/{{symbol}}/recent"
        region = "quotes"
        tags = ["stocks", "symbol:{{symbol}}"]
        description = "Daily prices"

        [routes.parameters.symbol]
        type = "text"
        pattern = "[A-Z.]{{1,10}}"
        case = "upper"

        [routes.parameters.days]
        type = "integer"
        min = 1
        max = 365
        default = 30

        [[routes.sources]]
        api = "quotes"
        path = "/daily/{{symbol}}"
        query = {{ days = "{{days}}", apikey = "k-123" }}
        expect = {{ is = "object", fields = ["data"], not_fields = ["Note"] }}
        "#
    )
}

async fn scene() -> (Api, Running) {
    let api = Api::start().await;
    api.answers(Reply::json(json!({ "data": [1, 2, 3] })));
    let gateway = Running::of_file(&file(&api)).await;
    (api, gateway)
}

/// What a problem says about a parameter.
fn refused(got: &Got) -> (Value, Value, Value) {
    assert_eq!((got.status, got.header("content-type")), (400, "application/problem+json"), "{}", got.text());
    let problem = got.json();
    (problem["parameter"].clone(), problem["value"].clone(), problem["allowed"].clone())
}

#[tokio::test]
async fn equal_questions_are_one_key_and_one_load() {
    let (api, gateway) = scene().await;
    let first = get(gateway.url("/v1/stocks/AAPL/recent")).await;
    assert_eq!((first.status, first.cache(), first.json()), (200, "MISS", json!({ "data": [1, 2, 3] })));
    assert_eq!((first.header("content-type"), first.header("age")), ("application/json", "0"));
    assert!(first.header("cache-status").starts_with("lastgood; fwd=miss; stored; ttl="));
    for same in ["/v1/stocks/aapl/recent?days=30", "/v1/stocks/A%41PL/recent?days=030", "/v1/stocks/AAPL/recent?"] {
        let again = get(gateway.url(same)).await;
        assert_eq!((again.status, again.cache(), &again.body), (200, "HIT", &first.body), "{same}");
    }
    assert_eq!(api.asked(), ["/base/daily/AAPL?days=30&apikey=k-123"]);
    assert_eq!(get(gateway.url("/v1/stocks/AAPL/recent?days=31")).await.cache(), "MISS");
    assert_eq!(api.asked().len(), 2);
}

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

#[tokio::test]
async fn many_callers_of_a_cold_question_cost_one_load() {
    let (api, gateway) = scene().await;
    api.answers(Reply::json(json!({ "data": [] })).after(Duration::from_millis(200)));
    let url = gateway.url("/v1/stocks/MSFT/recent");
    let all = join_all((0..50).map(|_| get(&url))).await;
    assert!(all.iter().all(|got| got.status == 200 && got.text() == r#"{"data":[]}"#));
    assert_eq!(api.asked().len(), 1);
}

#[tokio::test]
async fn a_bad_parameter_is_told_by_name_value_and_range() {
    let api = Api::start().await;
    api.answers(Reply::json(json!({})));
    let gateway = Running::of_file(&format!(
        r#"
        [apis.a]
        url = "{}"
        [[routes]]
        path = "/v1/things/{{day}}"
        [routes.parameters.day]
        type = "date"
        min = "2020-01-01"
        [routes.parameters.price]
        type = "decimal"
        max = 10.5
        default = "1.50"
        [routes.parameters.active]
        type = "boolean"
        optional = true
        [routes.parameters.order]
        type = "choice"
        choices = ["gain", "loss"]
        [routes.parameters.name]
        type = "text"
        max_length = 5
        default = "x"
        [[routes.sources]]
        api = "a"
        path = "/{{day}}"
        query = {{ price = "{{price}}", active = "{{active}}", order = "{{order}}", name = "{{name}}" }}
        "#,
        api.url()
    ))
    .await;
    let long = "y".repeat(70);
    for (target, parameter, value, allowed) in [
        ("2019-12-31?order=gain", "day", "2019-12-31", "a day such as 2025-01-31 from 2020-01-01"),
        ("20200101?order=gain", "day", "20200101", "a day such as 2025-01-31 from 2020-01-01"),
        ("2020-01-01?order=gain&price=11", "price", "11", "a decimal number up to 10.5"),
        ("2020-01-01?order=gain&active=maybe", "active", "maybe", "true or false"),
        ("2020-01-01?order=both", "order", "both", "one of gain, loss"),
        ("2020-01-01", "order", "", "one of gain, loss"),
        (
            "2020-01-01?order=gain&name=toolong",
            "name",
            "toolong",
            "1 to 5 characters of text, none of them a control character",
        ),
        ("2020-01-01?order=gain&name=%00", "name", "\0", "1 to 5 characters of text, none of them a control character"),
        (
            "2020-01-01?order=gain&name=%ff",
            "name",
            "%ff",
            "1 to 5 characters of text, none of them a control character",
        ),
        ("2020-01-01?order=gain&order=gain", "order", "gain", "it once, not twice"),
        ("2020-01-01?order=gain&day=2020-01-01", "day", "2020-01-01", "the parameters price, active, order, name"),
        (
            &format!("2020-01-01?order=gain&colour={long}"),
            "colour",
            &long[..64],
            "the parameters price, active, order, name",
        ),
    ] {
        let got = get(gateway.url(&format!("/v1/things/{target}"))).await;
        assert_eq!(refused(&got), (json!(parameter), json!(value), json!(allowed)), "{target}");
    }
    assert!(api.asked().is_empty(), "nothing that is refused is asked");
    let good = get(gateway.url("/v1/things/2020-01-01?name=a+b%2B&order=LOSS")).await;
    assert_eq!(good.status, 200, "{}", good.text());
    assert_eq!(api.asked(), ["/2020-01-01?price=1.5&order=loss&name=a%20b%2B"]);
}

#[tokio::test]
async fn an_answer_is_validated_packed_and_told_by_its_head() {
    let (api, gateway) = scene().await;
    let long = json!({ "data": vec![12_345; 1_000] });
    api.answers(Reply::json(long.clone()));
    let url = gateway.url("/v1/stocks/AAPL/recent");
    let first = get(&url).await;
    let tag = first.header("etag").to_owned();
    assert!(tag.starts_with("W/\""));
    let known = read(client().get(&url).header("if-none-match", &tag).send().await.unwrap()).await;
    assert_eq!((known.status, known.body.len(), known.header("etag"), known.cache()), (304, 0, tag.as_str(), "HIT"));
    let packed = read(client().get(&url).header("accept-encoding", "gzip").send().await.unwrap()).await;
    assert_eq!((packed.status, packed.header("content-encoding")), (200, "gzip"));
    let mut unpacked = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&packed.body[..]), &mut unpacked).unwrap();
    assert_eq!(unpacked, first.body);
    let head = read(client().head(&url).send().await.unwrap()).await;
    assert_eq!((head.status, head.body.len(), head.header("etag")), (200, 0, tag.as_str()));
    assert_eq!(head.header("content-length"), first.body.len().to_string());
    let posted = read(client().post(&url).send().await.unwrap()).await;
    assert_eq!((posted.status, posted.header("content-type")), (405, "application/problem+json"));
    assert_eq!(api.asked().len(), 1);
}

/// A route over two APIs, in an order.
fn chain(first: &Api, second: &Api, more: &str) -> String {
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
    // What failed may have had it, so that nobody says it does not exist.
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
async fn the_answer_of_an_api_is_cut_to_its_last_row_with_what_is_computed_of_it() {
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
async fn with_the_cache_off_every_question_goes_to_the_source() {
    let (api, gateway) = scene().await;
    let url = gateway.url("/v1/stocks/AAPL/recent");
    get(&url).await;
    gateway.gateway.cache().set_enabled(false);
    let passed = get(&url).await;
    assert_eq!((passed.status, passed.cache()), (200, "PASS"));
    assert_eq!(api.asked().len(), 2);
}

#[tokio::test]
async fn what_an_earlier_configuration_loaded_is_asked_for_anew() {
    let api = Api::start().await;
    api.answers(Reply::json(json!({ "data": [1] })));
    let data = tempfile::tempdir().unwrap();
    let text = file(&api);
    let gateway = Running::of_file_in(&text, data.path()).await;
    assert_eq!(get(gateway.url("/v1/stocks/AAPL/recent")).await.cache(), "MISS");
    gateway.stop().await;
    let gateway = Running::of_file_in(&text, data.path()).await;
    assert_eq!(get(gateway.url("/v1/stocks/AAPL/recent")).await.cache(), "HIT", "the store has it");
    gateway.stop().await;
    let changed = text.replace("/daily/", "/weekly/");
    let mut api = api;
    let gateway = Running::of_file_in(&changed, data.path()).await;
    let anew = get(gateway.url("/v1/stocks/AAPL/recent")).await;
    assert_eq!((anew.status, anew.cache()), (200, "MISS"));
    assert_eq!(api.asked().last().map(String::as_str), Some("/base/weekly/AAPL?days=30&apikey=k-123"));
    gateway.stop().await;
    // What is kept of the old is better than nothing.
    let gateway = Running::of_file_in(&text, data.path()).await;
    api.stop().await;
    let kept = get(gateway.url("/v1/stocks/AAPL/recent")).await;
    assert_eq!((kept.status, kept.cache()), (200, "LAST-GOOD"), "{}", kept.text());
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
