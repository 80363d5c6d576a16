//! `GET /v1/symbols/{spot|futures}`: the prepared list of a market's trading pairs.

use std::pin::pin;
use std::sync::Arc;

use axum::extract::{Path, RawQuery, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use lastgood::{Answer, Error};
use lastgood_market::Venue;
use lastgood_market::credentials::UserId;
use lastgood_market::symbols::{Refusal, Selection};

use crate::app::App;
use crate::problem;
use crate::response::label::label_failure;

mod answer;
pub(crate) mod chain;
mod user;

/// The markets that have a list, by the last part of its path.
const MARKETS: [Venue; 2] = [Venue::Spot, Venue::Futures];

pub(crate) async fn symbols(
    State(app): State<Arc<App>>,
    Path(market): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let Some(venue) = MARKETS.into_iter().find(|venue| venue.as_str() == market) else {
        let value = market.chars().take(64).collect();
        let refusal = Refusal { parameter: "market".to_owned(), value, allowed: "spot or futures".to_owned() };
        return problem::parameter(StatusCode::NOT_FOUND, &refusal);
    };
    let user = match user::user(&app.admin, &headers) {
        Ok(user) => user,
        Err(refusal) => return refusal,
    };
    let selection = match Selection::parse(query.as_deref().unwrap_or_default()) {
        Ok(selection) => selection,
        Err(refusal) => return problem::parameter(StatusCode::BAD_REQUEST, &refusal),
    };
    match read(&app, venue, user.as_ref()).await {
        Ok(list) => answer::respond(&list, venue, selection, &headers).await,
        Err(error) => fail(venue, &error),
    }
}

/// The list; the last good one where it would have to be waited for and no place is left.
async fn read(app: &App, venue: Venue, user: Option<&UserId>) -> Result<Answer, Error> {
    match app.places.wait(pin!(app.symbols.read(venue, user))).await {
        Ok(list) => list,
        Err(full) => app.symbols.last_good(venue, user, full.into()),
    }
}

/// There is neither a list nor a link that gives one.
fn fail(venue: Venue, error: &Error) -> Response {
    let detail =
        format!("No list of {venue} symbols could be loaded, and no earlier one is at hand: {}.", error.message);
    let mut response = problem::problem(StatusCode::SERVICE_UNAVAILABLE, &detail);
    let headers = response.headers_mut();
    label_failure(headers, error);
    response
}
