//! What an answer says of a change that the store does not have, or could not decide about.

use axum::response::Response;
use http::header::ETAG;
use http::{HeaderValue, StatusCode};
use lastgood::Region;
use lastgood::store::StoreError;
use serde_json::json;

use crate::app::App;
use crate::pending::{CONFIRM_WITHIN, Pending};
use crate::problem::Refused;
use crate::response::plain;
use crate::stored_value::ask_again;

/// The note about a removal where the store could not say whether it holds the value.
pub(crate) const IF_IT_IS_THERE: &str = "If the store holds it, it is removed there then.";

/// The answer to a change of `name`: `done` if the store has it, or if there is none; else 202 and what waits.
pub(crate) async fn confirmed(
    app: &App,
    region: &Region,
    name: &str,
    unreached: Option<StoreError>,
    done: Response,
) -> Response {
    let unconfirmed = region.confirmed(&[name], CONFIRM_WITHIN).await;
    let pending = Pending::among(app, unconfirmed, unreached, IF_IT_IS_THERE);
    unless_pending(done, json!({}), pending)
}

/// The answer `done`, or 202 with `report` and what of the change waits for the store. The headers stay.
pub(crate) fn unless_pending(done: Response, mut report: serde_json::Value, pending: Option<Pending>) -> Response {
    let Some(pending) = pending.filter(Pending::is_accepted_only) else { return done };
    pending.add_to(&mut report);
    let mut accepted =
        plain(StatusCode::ACCEPTED, HeaderValue::from_static("application/json"), report.to_string().into());
    if let Some(etag) = done.headers().get(ETAG) {
        accepted.headers_mut().insert(ETAG, etag.clone());
    }
    accepted
}

/// What keeps the store from answering, without the name of the kind.
pub(crate) fn reason(why: &StoreError) -> String {
    match why {
        StoreError::Unavailable(why) | StoreError::Refused(why) => why.clone(),
        why => why.to_string(),
    }
}

/// The answer where the store cannot say whether a condition holds.
pub(crate) fn undecided(why: &StoreError) -> Refused {
    let why = reason(why);
    let detail = format!(
        "The store decides whether the condition holds, because other gateways write there too, and it cannot: {why}. \
         Read the value again before you repeat this: it may have been changed all the same."
    );
    let hint = "Repeat it once the store is back, or leave the condition out: then the value is taken, waits for the store, \
                and replaces what others put meanwhile.";
    ask_again(&detail, hint).into()
}
