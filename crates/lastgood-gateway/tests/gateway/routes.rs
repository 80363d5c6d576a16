//! Declared routes: questions, answers, and failing sources.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{Got, Running, client, get, read};

pub(crate) mod api;
mod configuration;
mod databases;
mod hostile;
mod openapi;
mod parameters;
mod paths;
mod reload;
mod sources;
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
async fn many_callers_of_a_cold_question_cost_one_load() {
    let (api, gateway) = scene().await;
    api.answers(Reply::json(json!({ "data": [] })).after(Duration::from_millis(200)));
    let url = gateway.url("/v1/stocks/MSFT/recent");
    let all = join_all((0..50).map(|_| get(&url))).await;
    assert!(all.iter().all(|got| got.status == 200 && got.text() == r#"{"data":[]}"#));
    assert_eq!(api.asked().len(), 1);
}

#[tokio::test]
async fn a_bad_parameter_is_refused_with_name_value_and_range() {
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
async fn an_answer_is_validated_packed_and_recognised_by_its_head() {
    let (api, gateway) = scene().await;
    let long = json!({ "data": vec![12_345; 1_000] });
    api.answers(Reply::json(long.clone()));
    let url = gateway.url("/v1/stocks/AAPL/recent");
    let first = get(&url).await;
    let tag = first.header("etag").to_owned();
    assert!(tag.starts_with("W/\""));
    let known = read(client().get(&url).header("if-none-match", &tag).send().await.unwrap()).await;
    assert_eq!((known.status, known.body.len(), known.header("etag"), known.cache()), (304, 0, tag.as_str(), "HIT"));
    assert_eq!(known.header("content-length"), "", "it would be that of the answer that the client has");
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
async fn answers_of_an_earlier_configuration_are_asked_for_again() {
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
    let again = get(gateway.url("/v1/stocks/AAPL/recent")).await;
    assert_eq!((again.status, again.cache()), (200, "MISS"));
    assert_eq!(api.asked().last().map(String::as_str), Some("/base/weekly/AAPL?days=30&apikey=k-123"));
    gateway.stop().await;
    // The old kept answer is better than nothing.
    let gateway = Running::of_file_in(&text, data.path()).await;
    api.stop().await;
    let kept = get(gateway.url("/v1/stocks/AAPL/recent")).await;
    assert_eq!((kept.status, kept.cache()), (200, "LAST-GOOD"), "{}", kept.text());
}
