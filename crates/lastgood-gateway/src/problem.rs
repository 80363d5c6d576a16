//! Errors outside the exchange's paths, as problem JSON (RFC 9457); inside them, in the exchange's shape.

use axum::response::Response;
use http::{HeaderValue, Request, StatusCode};
use lastgood_market::{ExchangeError, Venue};

use crate::response::plain;

const PROBLEM: HeaderValue = HeaderValue::from_static("application/problem+json");
const JSON: HeaderValue = HeaderValue::from_static("application/json;charset=UTF-8");

fn problem(status: StatusCode, detail: &str) -> Response {
    let title = status.canonical_reason().unwrap_or("Error");
    let body = serde_json::json!({
        "type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail,
    });
    plain(status, PROBLEM, body.to_string().into())
}

/// A refusal in the shape that the path's users expect.
pub(crate) fn refuse(path: &str, status: StatusCode, detail: &str) -> Response {
    match Venue::of(path, "") {
        Some(_) => {
            let error = ExchangeError::new(status.as_u16(), -1008, detail);
            plain(status, JSON, error.body().into())
        }
        None => problem(status, detail),
    }
}

/// There is nothing at the path.
pub(crate) fn not_found(path: &str) -> Response {
    // Rejected paths come from strangers; they are shown as JSON text, shortened.
    let shown: String = path.chars().take(200).collect();
    problem(
        StatusCode::NOT_FOUND,
        &format!(
            "There is nothing at {shown}. The exchange's paths begin with /api, /sapi, /fapi, /dapi or /futures/data; see also /health and /metrics."
        ),
    )
}

pub(crate) async fn unknown_path(request: Request<axum::body::Body>) -> Response {
    not_found(request.uri().path())
}

pub(crate) async fn wrong_method(request: Request<axum::body::Body>) -> Response {
    problem(StatusCode::METHOD_NOT_ALLOWED, &format!("{} takes GET.", request.uri().path()))
}
