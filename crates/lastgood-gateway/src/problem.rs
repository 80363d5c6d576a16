//! Errors outside the exchange's paths, as problem JSON (RFC 9457).

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, Request, StatusCode};
pub(crate) use lastgood_routes::Refusal;

use crate::response::plain;

const PROBLEM: HeaderValue = HeaderValue::from_static("application/problem+json");

/// A problem of this status.
pub(crate) fn problem(status: StatusCode, detail: &str) -> Response {
    plain(status, PROBLEM, described(status, detail).to_string().into())
}

fn described(status: StatusCode, detail: &str) -> serde_json::Value {
    let title = status.canonical_reason().unwrap_or("Error");
    serde_json::json!({ "type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail })
}

/// A problem with members of its own.
pub(crate) fn extended(status: StatusCode, detail: &str, members: &[(&str, serde_json::Value)]) -> Response {
    let mut body = described(status, detail);
    for (name, value) in members {
        body[*name] = value.clone();
    }
    plain(status, PROBLEM, body.to_string().into())
}

/// A parameter that cannot be acted upon: which, what was given, and what may be.
pub(crate) fn parameter(status: StatusCode, refusal: &Refusal) -> Response {
    let Refusal { parameter, value, allowed } = refusal;
    let given = if value.is_empty() { "missing or empty".to_owned() } else { format!("{value:?}") };
    let mut body = described(status, &format!("The parameter {parameter} is {given}; allowed: {allowed}."));
    body["parameter"] = parameter.as_str().into();
    body["value"] = value.as_str().into();
    body["allowed"] = allowed.as_str().into();
    plain(status, PROBLEM, body.to_string().into())
}

/// The answer to a request that is not acted upon.
#[derive(Debug)]
pub(crate) struct Refused(Box<Response>);

pub(crate) type Answered = Result<Response, Refused>;

impl Refused {
    pub(crate) fn new(status: StatusCode, detail: &str) -> Refused {
        problem(status, detail).into()
    }

    /// A problem with members of its own.
    pub(crate) fn extended(status: StatusCode, detail: &str, members: &[(&str, serde_json::Value)]) -> Refused {
        extended(status, detail, members).into()
    }

    /// A parameter that cannot be acted upon.
    pub(crate) fn parameter(status: StatusCode, name: &str, value: &str, allowed: impl Into<String>) -> Refused {
        parameter(status, &Refusal::new(name, value, allowed)).into()
    }
}

impl From<Response> for Refused {
    fn from(response: Response) -> Self {
        Refused(Box::new(response))
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        *self.0
    }
}

/// There is nothing at the path.
pub(crate) fn not_found(path: &str) -> Response {
    // Rejected paths come from strangers; they are shown as JSON text, shortened.
    let shown: String = path.chars().take(200).collect();
    problem(
        StatusCode::NOT_FOUND,
        &format!(
            "There is nothing at {shown}. The exchange's paths begin with /api/v3, /sapi, /fapi, /dapi or /futures/data; see also /v1/symbols/spot, /api/cache/stats, /health and /metrics."
        ),
    )
}

/// The answer to what takes an exchange, where the gateway has none.
pub(crate) fn without_exchange() -> Response {
    problem(StatusCode::NOT_FOUND, "This gateway has no exchange: its configuration says binance = \"off\".")
}

pub(crate) async fn wrong_method(request: Request<axum::body::Body>) -> Response {
    let (path, method) = (request.uri().path(), request.method());
    let shown: String = path.chars().take(200).collect();
    let detail = format!("{shown} does not take {method}; the header Allow says what it takes.");
    problem(StatusCode::METHOD_NOT_ALLOWED, &detail)
}
