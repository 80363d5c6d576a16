//! What is answered: JSON.

use axum::response::Response;
use http::{HeaderValue, StatusCode};
use serde::Serialize;

use crate::response::plain;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    plain(status, JSON, serde_json::to_vec(body).unwrap_or_default().into())
}
