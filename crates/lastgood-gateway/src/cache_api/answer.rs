//! The JSON answers.

use axum::response::Response;
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use serde_json::Value;

use crate::pending::Pending;
use crate::response::plain;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    plain(status, JSON, serde_json::to_vec(body).unwrap_or_default().into())
}

/// The answer to a change: with `status` if the store has it, else 202 and what it does not have.
pub(super) fn change(status: StatusCode, mut report: Value, pending: Option<&Pending>) -> Response {
    let Some(pending) = pending else { return json(status, &report) };
    pending.add_to(&mut report);
    let status = if pending.is_accepted_only() { StatusCode::ACCEPTED } else { status };
    json(status, &report)
}
