//! `/v1/fear-greed`, and `/fng/` for clients of the index's own API: the fear & greed index, its bytes untouched.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use lastgood::Error;
use lastgood_market::RegionName;
use lastgood_market::fear_greed::LARGEST_LIMIT;

use crate::app::App;
use crate::problem;
use crate::response::label::label_failure;
use crate::values::{self, Answered, Kept, Parameters, Refused};

pub(crate) mod source;

/// What either path answers: the newest readings, one unless the query says how many. None is all, as the index has it.
pub(crate) async fn fear_greed(State(app): State<Arc<App>>, RawQuery(query): RawQuery, headers: HeaderMap) -> Answered {
    let parameters = Parameters::read(query.as_deref(), &["limit", "format"])?;
    let limit = limit(&parameters)?;
    if let Some(format) = parameters.get("format").filter(|format| !matches!(*format, "" | "json")) {
        return Err(Refused::parameter(StatusCode::BAD_REQUEST, "format", format, "json"));
    }
    match app.fear_greed.ask(app.region(RegionName::FearGreed), limit).await {
        Some(Ok(answer)) => {
            let outcome = answer.outcome();
            Ok(values::respond(&Kept { answer, outcome }, &headers).await)
        }
        Some(Err(error)) => Ok(fail(&error)),
        None => {
            let detail = "No source of the index is configured; set fear_greed.url.";
            Err(Refused::problem(StatusCode::NOT_FOUND, detail))
        }
    }
}

fn limit(parameters: &Parameters) -> Result<u32, Refused> {
    let Some(text) = parameters.get("limit").filter(|text| !text.is_empty()) else { return Ok(1) };
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.then(|| text.parse().ok()).flatten();
    number.filter(|number| *number <= LARGEST_LIMIT).ok_or_else(|| {
        let allowed = format!("a whole number from 0 to {LARGEST_LIMIT}, where 0 is all");
        Refused::parameter(StatusCode::BAD_REQUEST, "limit", text, allowed)
    })
}

/// There is neither a fresh nor a last good answer.
fn fail(error: &Error) -> Response {
    let detail = format!("The fear & greed index could not be loaded, and none is kept: {}.", error.message);
    let mut response = problem::problem(StatusCode::SERVICE_UNAVAILABLE, &detail);
    let headers = response.headers_mut();
    label_failure(headers, error);
    response
}
