//! `GET /api/openapi.json`: the gateway's own paths from `openapi/own.json`, and the declared routes.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use lastgood_routes::parameter::{Case, Kind, Parameter};
use lastgood_routes::{Argument, Route};
use serde_json::{Map, Value, json};

use crate::app::App;
use crate::response::plain;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// Every path that is the gateway's own. One that the URL map has and this has not fails a test.
const OWN: &str = include_str!("openapi/own.json");

/// The first parameter there is a region: which there are, the configuration says.
const VALUES: &str = "/v1/kv/{region}/{key}";

/// A text without control characters.
const NO_CONTROLS: &str = "^[^\\u0000-\\u001f\\u007f-\\u009f]+$";

pub(crate) async fn openapi(State(app): State<Arc<App>>) -> Response {
    plain(StatusCode::OK, JSON, document(app.declared.iter(), app.named.keys()))
}

fn document<'a>(
    routes: impl Iterator<Item = &'a Arc<Route>>,
    regions: impl Iterator<Item = &'a String> + Clone,
) -> Bytes {
    let mut document: Value = serde_json::from_str(OWN).unwrap_or_default();
    for method in document["paths"][VALUES].as_object_mut().into_iter().flat_map(Map::values_mut) {
        method["parameters"][0]["schema"]["enum"] = regions.clone().cloned().collect::<Vec<_>>().into();
    }
    document["info"]["version"] = env!("CARGO_PKG_VERSION").into();
    for route in routes {
        document["paths"][route.spec().path.to_string()] = json!({ "get": operation(route) });
    }
    let paths = document["paths"].as_object_mut().into_iter().flat_map(Map::values_mut);
    for operation in paths.filter_map(Value::as_object_mut).flat_map(Map::values_mut) {
        // limits.max_url_bytes holds everywhere.
        operation["responses"]["414"] = json!({ "$ref": "#/components/responses/Problem" });
    }
    document.to_string().into()
}

fn operation(route: &Route) -> Value {
    let spec = route.spec();
    let in_path: Vec<&str> = spec.path.parameters().collect();
    let parameters = spec.parameters.iter();
    let parameters: Vec<Value> = parameters.map(|one| parameter(one, in_path.contains(&one.name.as_str()))).collect();
    let problem = json!({ "$ref": "#/components/responses/Problem" });
    let header = |name: &str| (name.to_owned(), json!({ "$ref": format!("#/components/headers/{name}") }));
    let headers: Map<String, Value> = ["X-Cache", "Cache-Status", "Age", "ETag"].into_iter().map(header).collect();
    let mut operation = json!({
        "operationId": spec.path.to_string().trim_start_matches('/').replace(['/', '{', '}'], "_"),
        "tags": ["routes"],
        "x-lastgood-region": spec.region,
        "x-lastgood-sources": route.sources().collect::<Vec<_>>(),
        "parameters": parameters,
        "responses": {
            "200": {
                "description": "The answer of a source, fresh, stale or the last good one: X-Cache says which.",
                "headers": headers,
                "content": { "application/json": { "schema": {} } }
            },
            "304": { "description": "The answer that the client has is this one." },
            "400": problem, "404": problem, "503": problem, "504": problem
        }
    });
    if let Some(description) = &spec.description {
        operation["summary"] = description.as_str().into();
    }
    operation
}

fn parameter(parameter: &Parameter, in_path: bool) -> Value {
    let mut schema = schema(&parameter.kind);
    if let Some(default) = &parameter.default {
        schema["default"] = match default {
            Argument::Integer(number) => (*number).into(),
            Argument::Boolean(truth) => (*truth).into(),
            Argument::Decimal(_) => number(&default.to_string()),
            other => other.to_string().into(),
        };
    }
    let allowed = parameter.kind.allowed();
    let description =
        parameter.description.as_ref().map_or_else(|| allowed.clone(), |text| format!("{text}: {allowed}"));
    json!({
        "name": parameter.name,
        "in": if in_path { "path" } else { "query" },
        "required": parameter.is_required(),
        "description": description,
        "schema": schema,
    })
}

fn schema(kind: &Kind) -> Value {
    let mut schema = match kind {
        Kind::Text { max_length, pattern, case } => {
            let mut schema = json!({ "type": "string", "minLength": 1, "maxLength": max_length });
            // Where letters are changed first, the pattern says nothing of what may be given.
            match pattern {
                Some(pattern) if *case == Case::AsGiven => schema["pattern"] = format!("^(?:{})$", pattern.text).into(),
                Some(_) => {}
                None => schema["pattern"] = NO_CONTROLS.into(),
            }
            schema
        }
        Kind::Integer { min, max } => json!({ "type": "integer", "format": "int64", "minimum": min, "maximum": max }),
        Kind::Decimal { .. } => json!({ "type": "number" }),
        Kind::Boolean => json!({ "type": "boolean" }),
        Kind::Date { .. } => json!({ "type": "string", "format": "date" }),
        Kind::Choice(choices) => json!({ "type": "string", "enum": choices }),
    };
    if let Kind::Decimal { min, max } = kind {
        for (name, bound) in [("minimum", min), ("maximum", max)] {
            if let Some(bound) = bound {
                schema[name] = number(&bound.to_string());
            }
        }
    }
    schema
}

/// A decimal as JSON writes it.
fn number(text: &str) -> Value {
    text.parse::<f64>().ok().and_then(serde_json::Number::from_f64).map_or(Value::Null, Value::Number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::router;

    #[test]
    fn the_document_lists_every_path_of_the_url_map() {
        let document: Value = serde_json::from_slice(&document([].into_iter(), [].into_iter())).unwrap();
        let listed = document["paths"].as_object().unwrap();
        let mut listed: Vec<&str> = listed.keys().map(String::as_str).collect();
        let mut there = router::own_paths();
        listed.sort_unstable();
        there.sort_unstable();
        assert_eq!(listed, there);
    }

    #[test]
    fn every_operation_is_named_once_and_answers_something() {
        let document: Value = serde_json::from_slice(&document([].into_iter(), [].into_iter())).unwrap();
        let mut names = Vec::new();
        for (path, methods) in document["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                assert!(!operation["responses"].as_object().unwrap().is_empty(), "{method} {path}");
                names.push(operation["operationId"].as_str().unwrap().to_owned());
                let places = path.matches('{').count();
                let declared = operation["parameters"].as_array().into_iter().flatten();
                assert_eq!(declared.filter(|one| one["in"] == "path").count(), places, "{method} {path}");
            }
        }
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
