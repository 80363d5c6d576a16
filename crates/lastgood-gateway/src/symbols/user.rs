//! For whom a list is asked: a user whom the application's backend names.

use http::{HeaderMap, HeaderValue, StatusCode};
use lastgood_market::credentials::UserId;
use serde_json::json;

use crate::admin::{Admin, USER};
use crate::problem::Refused;

/// The user in the header `X-Lastgood-User`; `None` without the header.
///
/// # Errors
///
/// The answer to a header that is not to be believed, or names no user.
pub(super) fn user(admin: &Admin, headers: &HeaderMap) -> Result<Option<UserId>, Refused> {
    let mut given = headers.get_all(USER).iter();
    let Some(value) = given.next() else { return Ok(None) };
    admin.admit_backend(headers)?;
    if given.next().is_some() {
        return Err(Refused::new(StatusCode::BAD_REQUEST, "X-Lastgood-User was sent more than once."));
    }
    match UserId::parse(value.to_str().unwrap_or_default()) {
        Ok(user) => Ok(Some(user)),
        Err(why) => Err(refused(value, &why.to_string())),
    }
}

fn refused(value: &HeaderValue, why: &str) -> Refused {
    let shown: String = String::from_utf8_lossy(value.as_bytes()).chars().take(64).collect();
    let detail = format!("X-Lastgood-User is {shown:?}: {why}.");
    Refused::extended(StatusCode::BAD_REQUEST, &detail, &[("parameter", json!("X-Lastgood-User"))])
}
