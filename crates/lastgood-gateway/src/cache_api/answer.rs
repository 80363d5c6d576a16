//! What is answered: JSON, or why a request is not done.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode};
use serde::Serialize;

use crate::problem;
use crate::response::plain;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Why a request is not done.
pub(crate) struct Refused(pub(super) Box<Response>);

impl Refused {
    pub(super) fn new(status: StatusCode, detail: &str) -> Refused {
        problem::problem(status, detail).into()
    }

    /// A problem with members of its own.
    pub(super) fn extended(status: StatusCode, detail: &str, members: &[(&str, serde_json::Value)]) -> Refused {
        problem::extended(status, detail, members).into()
    }
}

impl From<Response> for Refused {
    fn from(response: Response) -> Refused {
        Refused(Box::new(response))
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        *self.0
    }
}

pub(super) type Answered = Result<Response, Refused>;

pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    plain(status, JSON, serde_json::to_vec(body).unwrap_or_default().into())
}
