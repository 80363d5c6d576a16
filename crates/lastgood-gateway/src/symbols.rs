//! `GET /v1/symbols/{spot|futures}`: the prepared list of a market's trading pairs.

use std::sync::Arc;

use axum::extract::{Path, RawQuery, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use lastgood::{Answer, Error};
use lastgood_market::symbols::{Refusal, Selection};
use lastgood_market::{RegionName, Venue};

use crate::app::App;
use crate::problem;
use crate::response::label::{Accepts, label_failure};

mod answer;
pub(crate) mod chain;

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
    let selection = match Selection::parse(query.as_deref().unwrap_or_default()) {
        Ok(selection) => selection,
        Err(refusal) => return problem::parameter(StatusCode::BAD_REQUEST, &refusal),
    };
    match ask(&app, venue).await {
        Ok(list) => answer::respond(&list, venue, selection, &headers, Accepts::of(&headers)).await,
        Err(error) => fail(venue, &error),
    }
}

async fn ask(app: &App, venue: Venue) -> Result<Answer, Error> {
    let region = app.region(RegionName::Symbols);
    let chain = Arc::clone(&app.symbols);
    let patience = region.policy().hard_timeout;
    region.get_or_load(&app.symbols.name(venue), move || async move { chain.load(venue, patience, None).await }).await
}

/// There is neither a list nor a link that gives one.
fn fail(venue: Venue, error: &Error) -> Response {
    let detail = format!("No list of {venue} symbols could be loaded, and none is kept: {}.", error.message);
    let mut response = problem::problem(StatusCode::SERVICE_UNAVAILABLE, &detail);
    let headers = response.headers_mut();
    label_failure(headers, error);
    response
}
