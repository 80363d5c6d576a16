//! `/v1/fear-greed`, and `/fng/` for clients of the index's own API: the fear & greed index, its bytes untouched.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use lastgood::Error;
use lastgood_market::fear_greed::{DATE_FORMATS, Form, LARGEST_LIMIT};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::app::App;
use crate::problem;
use crate::problem::{Answered, Refused};
use crate::query::{Parameters, fields};
use crate::response::label::label_failure;
use crate::stored_value::{self, Kept};

/// `/v1/fear-greed`: the newest readings, one unless the query says how many. None is all, as the index has it.
pub(crate) async fn fear_greed(State(app): State<Arc<App>>, RawQuery(query): RawQuery, headers: HeaderMap) -> Answered {
    let parameters = Parameters::read(query.as_deref(), &["limit", "format"])?;
    let allowed = format!("a whole number from 0 to {LARGEST_LIMIT}, where 0 is all");
    let limit = parameters.number("limit", 0..=u64::from(LARGEST_LIMIT), &allowed)?.unwrap_or(1);
    if let Some(format) = parameters.get("format").filter(|format| *format != "json") {
        return Err(Refused::parameter(StatusCode::BAD_REQUEST, "format", format, "json"));
    }
    answer(&app, format!("limit={limit}&format=json"), Form::Json, &headers).await
}

/// `/fng/`: what the index itself would answer, which ignores what it does not know.
pub(crate) async fn facade(State(app): State<Arc<App>>, RawQuery(query): RawQuery, headers: HeaderMap) -> Answered {
    let (query, form) = as_the_index_reads(query.as_deref().unwrap_or_default())?;
    answer(&app, query, form, &headers).await
}

async fn answer(app: &App, query: String, form: Form, headers: &HeaderMap) -> Answered {
    let Some(index) = &app.engine.fear_greed else {
        let detail = "No source of the index is configured; set fear_greed.url.";
        return Err(Refused::new(StatusCode::NOT_FOUND, detail));
    };
    match app.places.answer(index.region(), &index.key(&query), index.answer(&query, form)).await {
        Ok(answer) => {
            let outcome = answer.outcome();
            Ok(stored_value::respond(&Kept { answer, outcome }, headers).await)
        }
        Err(error) => Ok(fail(&error)),
    }
}

/// A longer `limit` is no number of days in any language.
const LONGEST_LIMIT: usize = 24;

/// The query to ask the index with, and the form of its answer: of each parameter that it knows the last value, where
/// that says anything. A value that is no number of days is for the index to judge.
fn as_the_index_reads(query: &str) -> Result<(String, Form), Refused> {
    let value = |name: &str| {
        let given = fields(query).rev().filter(|(known, _)| *known == name);
        given
            .filter_map(|(_, value)| value.ok())
            .next()
            .map(|value| value.trim().to_owned())
            .filter(|value| !value.is_empty())
    };
    let limit = value("limit").unwrap_or_else(|| "1".to_owned());
    let days = limit.bytes().all(|byte| byte.is_ascii_digit()).then(|| limit.parse::<u32>().unwrap_or(LARGEST_LIMIT));
    let limit = match days {
        // The index has fewer days.
        Some(days) => days.min(LARGEST_LIMIT).to_string(),
        None if limit.len() > LONGEST_LIMIT => {
            let allowed = format!("a whole number from 0 to {LARGEST_LIMIT}, where 0 is all");
            return Err(Refused::parameter(StatusCode::BAD_REQUEST, "limit", &limit, allowed));
        }
        None => utf8_percent_encode(&limit, NON_ALPHANUMERIC).to_string(),
    };
    let dates = value("date_format").filter(|format| DATE_FORMATS.contains(&format.as_str()));
    let is_table = value("format").is_some_and(|format| format == "csv");
    let (format, form) = match (is_table, &dates) {
        (true, _) => ("csv", Form::Table),
        (false, Some(_)) => ("json", Form::Dated),
        (false, None) => ("json", Form::Json),
    };
    let dates = dates.map(|dates| format!("&date_format={dates}")).unwrap_or_default();
    Ok((format!("limit={limit}&format={format}{dates}"), form))
}

/// There is neither a fresh nor a last good answer.
fn fail(error: &Error) -> Response {
    let detail =
        format!("The fear & greed index could not be loaded, and no earlier one is at hand: {}.", error.message);
    let mut response = problem::problem(StatusCode::SERVICE_UNAVAILABLE, &detail);
    let headers = response.headers_mut();
    label_failure(headers, error);
    response
}
