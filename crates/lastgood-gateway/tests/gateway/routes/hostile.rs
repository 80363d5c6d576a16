//! Requests that want to reach something that is not declared.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::api::{Api, Reply};
use crate::support::{Running, get};

/// A route that passes its parameters on, in path and query.
fn file(url: &str, more: &str) -> String {
    format!(
        r#"
        [apis.a]
        url = "{url}"
        {more}
        [regions.fleeting]
        fresh_for = "0s"
        stale_while_revalidate = "0s"
        [[routes]]
        path = "/v1/pass/{{name}}"
        region = "fleeting"
        parameters.name = {{ type = "text" }}
        parameters.url = {{ type = "text", max_length = 200, default = "x" }}
        sources = [{{ api = "a", path = "/below/{{name}}", query = {{ url = "{{url}}" }} }}]
        "#
    )
}

/// Sends bytes as they are and reads what comes back.
async fn raw(gateway: &Running, request: &str) -> String {
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn no_request_leads_to_another_server_or_out_of_the_declared_path() {
    let (api, victim) = (Api::start().await, Api::start().await);
    api.answers(Reply::json(serde_json::json!({ "good": true })));
    victim.answers(Reply::json(serde_json::json!({ "stolen": true })));
    let gateway = Running::of_file(&file(&format!("{}/base", api.url()), "")).await;
    let evil = victim.url();
    let host = evil.trim_start_matches("http://").to_owned();
    let encoded = evil.replace(':', "%3A").replace('/', "%2F");
    // The rest of them that is asked is one segment, to every server that decodes it.
    let harmless = [
        format!("/v1/pass/x?url={encoded}"),
        format!("/v1/pass/@{host}"),
        "/v1/pass/%40x%3A1".to_owned(),
        "/v1/pass/100%25".to_owned(),
        "/v1/pass/a%26b=c".to_owned(),
    ];
    let refused = [
        format!("/v1/pass/{encoded}"),
        "/v1/pass/..%2f..%2fsecret".to_owned(),
        "/v1/pass/..%2Fsecret".to_owned(),
        "/v1/pass/%2e%2e".to_owned(),
        "/v1/pass/%2e".to_owned(),
        "/v1/pass/%2e%2e%5c".to_owned(),
        "/v1/pass/a%5Cb".to_owned(),
        "/v1/pass/%252e%252e%252f".to_owned(),
        "/v1/pass/%25252fsecret".to_owned(),
        "/v1/pass/%25c0%25afsecret".to_owned(),
        "/v1/pass/a%3Bb".to_owned(),
        "/v1/pass/..%3b%2Fsecret".to_owned(),
        "/v1/pass/%25u002fsecret".to_owned(),
        // Slashes, dots and a per cent sign of full width, and a slash that divides.
        "/v1/pass/%EF%BC%8Fsecret".to_owned(),
        "/v1/pass/%EF%BC%8E%EF%BC%8E".to_owned(),
        "/v1/pass/%EF%BC%852fsecret".to_owned(),
        "/v1/pass/%E2%88%95secret".to_owned(),
        "/v1/pass/%E2%80%A5".to_owned(),
        "/v1/pass/.%20".to_owned(),
        format!("/v1/pass/%40{host}%2F"),
        format!("/v1/pass/x%23@{host}"),
        "/v1/pass/a%3Fb=c".to_owned(),
        format!("//{host}/v1/pass/x"),
        format!("/v1/pass//{host}"),
    ];
    for target in refused.iter().chain(&harmless) {
        for (form, line) in [("origin", target.clone()), ("absolute", format!("{evil}{target}"))] {
            for sent in [&host, &gateway.address.to_string()] {
                let request = format!("GET {line} HTTP/1.1\r\nhost: {sent}\r\nconnection: close\r\n\r\n");
                let answer = raw(&gateway, &request).await;
                assert!(answer.starts_with("HTTP/1.1 "), "{form} {line}: {answer}");
                assert!(!answer.contains("stolen"), "{form} {line}: {answer}");
                assert!(!answer.starts_with("HTTP/1.1 5"), "{form} {line}: {answer}");
                assert_eq!(answer.starts_with("HTTP/1.1 4"), refused.contains(target), "{form} {line}: {answer}");
            }
        }
    }
    assert!(victim.asked().is_empty(), "{:?}", victim.asked());
    assert_eq!(api.asked().len(), harmless.len() * 4, "refused requests reach no source: {:?}", api.asked());
    for asked in api.asked() {
        let (path, query) = asked.split_once('?').unwrap();
        let one = path.strip_prefix("/base/below/").unwrap_or_else(|| panic!("{asked}"));
        assert!(!one.contains(['/', '\\', '@', '#', ':']) && one != ".." && one != ".", "{asked}");
        assert!(query.starts_with("url=") && !query.contains(['&', '/', ':', '@']), "{asked}");
    }
}

#[tokio::test]
async fn values_that_stand_together_in_a_path_stay_in_their_segment() {
    let api = Api::start().await;
    api.answers(Reply::json(serde_json::json!({ "good": true })));
    let file = format!(
        r#"
        [apis.a]
        url = "{}"
        [[routes]]
        path = "/v1/pair/{{base}}/{{quote}}"
        parameters.base = {{ type = "text" }}
        parameters.quote = {{ type = "text" }}
        sources = [{{ api = "a", path = "/x;v=1/{{base}}{{quote}}" }}]
        "#,
        api.url()
    );
    let gateway = Running::of_file(&file).await;
    assert_eq!(get(gateway.url("/v1/pair/BTC/USDT")).await.status, 200);
    assert_eq!(api.asked(), ["/x;v=1/BTCUSDT"]);
    for target in ["/v1/pair/%252/fsecret", "/v1/pair/%25/2fsecret", "/v1/pair/..%252/f", "/v1/pair/%25u00/2fsecret"] {
        assert_eq!(get(gateway.url(target)).await.status, 404, "{target}");
    }
    assert_eq!(api.asked().len(), 1, "{:?}", api.asked());
}

#[tokio::test]
async fn a_redirect_is_followed_nowhere() {
    let (api, victim) = (Api::start().await, Api::start().await);
    victim.answers(Reply::json(serde_json::json!({ "stolen": true })));
    api.answers(Reply::redirect(&format!("{}/secret", victim.url())));
    let gateway = Running::of_file(&file(&api.url(), "")).await;
    let got = get(gateway.url("/v1/pass/x")).await;
    assert_eq!(got.status, 503, "{}", got.text());
    assert!(victim.asked().is_empty());
}

#[tokio::test]
async fn a_name_that_leads_home_is_not_followed_unless_that_is_allowed() {
    // The name that this machine goes by.
    let name = std::fs::read_to_string("/etc/hostname").unwrap_or_default().trim().to_owned();
    let mut addresses = tokio::net::lookup_host((name.as_str(), 0)).await.expect("the machine's name is known");
    let address = addresses.next().unwrap().ip();
    let api = Api::start_at(address).await;
    api.answers(Reply::json(serde_json::json!({ "private": true })));
    let url = format!("http://{name}:{}", api.port());
    let gateway = Running::of_file(&file(&url, "")).await;
    let refused = get(gateway.url("/v1/pass/x")).await;
    assert_eq!(refused.status, 503);
    assert!(refused.text().contains("leads to no public address"), "{address}: {}", refused.text());
    assert!(api.asked().is_empty());
    let gateway = Running::of_file(&file(&url, "allow_private = true")).await;
    assert_eq!(get(gateway.url("/v1/pass/x")).await.status, 200);
    // The name of loopback itself, and its number, say what they mean.
    let api = Api::start().await;
    api.answers(Reply::json(serde_json::json!({ "private": true })));
    for host in ["localhost", "127.0.0.1"] {
        let gateway = Running::of_file(&file(&format!("http://{host}:{}", api.port()), "")).await;
        assert_eq!(get(gateway.url("/v1/pass/x")).await.status, 200, "{host}");
    }
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_no_answer() {
    let api = Api::start().await;
    api.answers(Reply::text(&format!("[{}1]", "1,".repeat(600_000))));
    let text = format!("{}\n[upstream]\nmax_answer_bytes = \"1MiB\"\n", file(&api.url(), ""));
    let gateway = Running::of_file(&text).await;
    let got = get(gateway.url("/v1/pass/x")).await;
    assert_eq!(got.status, 503, "{}", got.text());
    assert!(got.text().contains("larger than upstream.max_answer_bytes"), "{}", got.text());
}
