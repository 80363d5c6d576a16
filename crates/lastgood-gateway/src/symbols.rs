//! `GET /v1/symbols/{spot|futures}`: the prepared list of a market's trading pairs.

use std::pin::pin;
use std::sync::Arc;

use axum::extract::{Path, RawQuery, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use lastgood::{Answer, Error};
use lastgood_market::Venue;
use lastgood_market::credentials::UserId;
use lastgood_market::symbols::Selection;

use crate::app::App;
use crate::problem;
use crate::problem::{Answered, Refused};
use crate::query::Parameters;
use crate::response::label::label_failure;

mod answer;
mod user;

/// The markets that have a list, by the last part of its path.
const MARKETS: [Venue; 2] = [Venue::Spot, Venue::UsdM];
/// The largest `limit`.
const LARGEST_LIMIT: u64 = 10_000;
/// The longest name of an asset, in bytes.
const LONGEST_ASSET: usize = 32;

pub(crate) async fn symbols(
    State(app): State<Arc<App>>,
    Path(market): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Answered {
    let Some(venue) = MARKETS.into_iter().find(|venue| venue.as_str() == market) else {
        return Err(Refused::parameter(StatusCode::NOT_FOUND, "market", &market, "spot or futures"));
    };
    if !app.has_exchange {
        return Err(problem::without_exchange().into());
    }
    let user = user::user(&app.admin, &headers)?;
    let selection = selection(query.as_deref())?;
    Ok(match read(&app, venue, user.as_ref()).await {
        Ok(list) => answer::respond(&list, venue, selection, &headers).await,
        Err(error) => fail(venue, &error),
    })
}

/// The part of a list that a query asks for.
fn selection(query: Option<&str>) -> Result<Selection, Refused> {
    let parameters = Parameters::read(query, &["limit", "quote"])?;
    let limit = parameters.number("limit", 1..=LARGEST_LIMIT, &format!("a whole number from 1 to {LARGEST_LIMIT}"))?;
    let quote = match parameters.get("quote") {
        // Assets may have names outside ASCII.
        Some(text) if text.is_empty() || text.len() > LONGEST_ASSET || !text.chars().all(char::is_alphanumeric) => {
            let allowed = format!("an asset such as USDT, 1 to {LONGEST_ASSET} bytes of letters and digits");
            return Err(Refused::parameter(StatusCode::BAD_REQUEST, "quote", text, allowed));
        }
        quote => quote.map(str::to_uppercase),
    };
    Ok(Selection { quote, limit: limit.and_then(|limit| usize::try_from(limit).ok()) })
}

/// The list; the last good one where it would have to be waited for and no place is left.
async fn read(app: &App, venue: Venue, user: Option<&UserId>) -> Result<Answer, Error> {
    match app.places.wait(pin!(app.engine.symbols.read(venue, user))).await {
        Ok(list) => list,
        Err(full) => app.engine.symbols.last_good(venue, user, full.into()),
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

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse as _;
    use http_body_util::BodyExt as _;

    use super::*;

    async fn refused(query: &str) -> serde_json::Value {
        let response = selection(Some(query)).unwrap_err().into_response();
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{query}");
        serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap()
    }

    #[tokio::test]
    async fn a_refusal_names_parameter_value_and_range() {
        for (query, parameter, value) in [
            ("limit=0", "limit", "0"),
            ("limit=10001", "limit", "10001"),
            ("limit=-1", "limit", "-1"),
            ("limit=%2B5", "limit", "+5"),
            ("limit=", "limit", ""),
            ("limit=1&limit=2", "limit", "2"),
            ("quote=", "quote", ""),
            ("quote=US%20DT", "quote", "US DT"),
            ("quote=US+DT", "quote", "US DT"),
            ("quote=%FF", "quote", "%FF"),
            ("qoute=USDT", "qoute", "USDT"),
        ] {
            let refusal = refused(query).await;
            assert_eq!((&refusal["parameter"], &refusal["value"]), (&parameter.into(), &value.into()), "{query}");
            assert!(refusal["allowed"].as_str().is_some_and(|allowed| !allowed.is_empty()));
        }
        assert!(refused("limit=0").await["allowed"].as_str().unwrap().contains("1 to 10000"));
        let all = selection(Some("limit=10000&quote=%E5%B8%81")).unwrap();
        assert_eq!(all, Selection { quote: Some("币".to_owned()), limit: Some(10_000) });
        assert_eq!(selection(Some("quote=usdt")).unwrap().quote.as_deref(), Some("USDT"));
        assert_eq!(selection(None).unwrap(), Selection::default());
    }
}
