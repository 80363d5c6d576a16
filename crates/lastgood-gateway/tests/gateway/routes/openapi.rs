//! The OpenAPI document, and a client that tries everything it says.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::json;

use super::api::{Api, Reply};
use crate::support::{Exchange, Running, get};

const TOKEN: &str = "0123456789abcdef";

/// Routes with a parameter of every type.
fn file(api: &Api) -> String {
    format!(
        r#"
        [admin]
        token = "{TOKEN}"

        [apis.a]
        url = "{}"

        [[routes]]
        path = "/v1/stocks/{{symbol}}"
        description = "A stock"
        parameters.symbol = {{ type = "text", pattern = "[A-Z.]{{1,10}}", case = "upper" }}
        parameters.days = {{ type = "integer", min = 1, max = 365, default = 30, description = "How far back" }}
        parameters.price = {{ type = "decimal", min = 0, optional = true }}
        sources = [{{ api = "a", path = "/{{symbol}}", query = {{ days = "{{days}}", price = "{{price}}" }} }}]

        [[routes]]
        path = "/api/analytics/{{day}}/{{order}}"
        parameters.day = {{ type = "date", min = "2000-01-01" }}
        parameters.order = {{ type = "choice", choices = ["gain", "loss"] }}
        parameters.active = {{ type = "boolean", default = true }}
        parameters.name = {{ type = "text", max_length = 20, optional = true, pattern = "[a-z ]+" }}
        sources = [{{ api = "a", path = "/{{day}}", query = {{ order = "{{order}}", active = "{{active}}", name = "{{name}}" }} }}]
        "#,
        api.url()
    )
}

#[tokio::test]
async fn the_document_describes_the_declared_routes() {
    let api = Api::start().await;
    let gateway = Running::of_file(&file(&api)).await;
    let got = get(gateway.url("/api/openapi.json")).await;
    assert_eq!((got.status, got.header("content-type")), (200, "application/json"));
    let document = got.json();
    assert_eq!(
        (&document["openapi"], &document["info"]["version"]),
        (&json!("3.1.0"), &json!(env!("CARGO_PKG_VERSION")))
    );
    let stock = &document["paths"]["/v1/stocks/{symbol}"]["get"];
    assert_eq!(stock["summary"], "A stock");
    assert_eq!(
        stock["parameters"],
        json!([
            {
                "name": "symbol", "in": "path", "required": true,
                "description": "1 to 64 characters that match [A-Z.]{1,10}",
                "schema": { "type": "string", "minLength": 1, "maxLength": 64 }
            },
            {
                "name": "days", "in": "query", "required": false,
                "description": "How far back: a whole number from 1 to 365",
                "schema": { "type": "integer", "format": "int64", "minimum": 1, "maximum": 365, "default": 30 }
            },
            {
                "name": "price", "in": "query", "required": false, "description": "a decimal number from 0",
                "schema": { "type": "number", "minimum": 0.0 }
            }
        ])
    );
    let problem = json!({ "$ref": "#/components/responses/Problem" });
    for status in ["400", "404", "503", "504"] {
        assert_eq!(stock["responses"][status], problem);
    }
    let other = &document["paths"]["/api/analytics/{day}/{order}"]["get"]["parameters"];
    assert_eq!(other[0]["schema"], json!({ "type": "string", "format": "date" }));
    assert_eq!(other[1]["schema"], json!({ "type": "string", "enum": ["gain", "loss"] }));
    assert_eq!(other[3]["schema"]["pattern"], "^(?:[a-z ]+)$");
    assert_eq!(other[2]["schema"], json!({ "type": "boolean", "default": true }));
}

/// Whatever of the document a generator of requests comes up with: no answer of 500 or above, and none that is not
/// described.
async fn tried(gateway: &Running, paths: &str, checks: &str) {
    let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/test-tools/venv/bin/schemathesis");
    assert!(tool.exists(), "run tests/install-tools.sh first");
    let data = tempfile::tempdir().unwrap();
    let run = tokio::process::Command::new(&tool)
        .current_dir(data.path())
        .args(["run", &gateway.url("/api/openapi.json"), "--no-color", "--seed", "7", "--max-examples", "40"])
        .args(["--include-path-regex", paths])
        .args(["--header", &format!("Authorization: Bearer {TOKEN}")])
        .args(["--phases", "examples,coverage,fuzzing"])
        .args(["--checks", checks])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .output();
    let ended = tokio::time::timeout(Duration::from_secs(240), run).await.expect("it ends").unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    assert!(ended.status.success(), "{said}");
}

#[tokio::test]
async fn schemathesis_finds_no_server_error_in_declared_routes() {
    let api = Api::start().await;
    api.answers(Reply::json(json!({ "data": [1, 2, 3] })));
    let gateway = Running::of_file(&file(&api)).await;
    let checks = "not_a_server_error,content_type_conformance,response_schema_conformance,status_code_conformance,\
                  negative_data_rejection";
    tried(&gateway, "^/(v1/stocks|api/analytics|health|livez|readyz|metrics|api/openapi)", checks).await;
    assert!(api.asked().len() > 20, "it asked too little");
}

#[tokio::test]
async fn schemathesis_finds_no_server_error_in_the_gateways_own_paths() {
    let exchange = Exchange::start().await;
    let flags = [("admin.token", TOKEN), ("fear_greed.url", &exchange.url()), ("limits.request_timeout", "2s")];
    let gateway = Running::start(&exchange.url(), &flags).await;
    tried(&gateway, "^/(v1/(symbols|kv|llm|fear-greed)|fng|api/cache)", "not_a_server_error,status_code_conformance")
        .await;
}
