//! Who may do more than read.

use std::sync::atomic::{AtomicBool, Ordering};

use axum::response::Response;
use http::header::{AUTHORIZATION, HOST, ORIGIN, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use secrecy::{ExposeSecret, SecretString};

use crate::problem::{extended, problem};

/// Names the user whom the application's backend asks for. Nothing that leaves the gateway carries it.
pub(crate) const USER: HeaderName = HeaderName::from_static("x-lastgood-user");

/// The admin API's door.
pub(crate) struct Admin {
    token: Option<SecretString>,
    /// Whether only this machine can ask.
    on_loopback: AtomicBool,
}

impl Admin {
    pub(crate) fn new(token: Option<SecretString>) -> Admin {
        Admin { token, on_loopback: AtomicBool::new(false) }
    }

    /// Notes where the gateway listens: nowhere else than on loopback does the door open without a token.
    pub(crate) fn listens_on_loopback(&self, on_loopback: bool) {
        self.on_loopback.store(on_loopback, Ordering::Relaxed);
    }

    /// Whether there is a token, so that whoever was let in has sent it.
    pub(crate) fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// Lets a request in, or refuses it.
    #[expect(clippy::result_large_err, reason = "the refusal is the answer, made once a request")]
    pub(crate) fn admit(&self, headers: &HeaderMap) -> Result<(), Response> {
        let Some(token) = &self.token else {
            return match self.on_loopback.load(Ordering::Relaxed) {
                true if is_foreign(headers) => {
                    let detail = "A page of another site may not do this; set admin.token, and send it.";
                    Err(problem(StatusCode::FORBIDDEN, detail))
                }
                true => Ok(()),
                false => {
                    Err(problem(StatusCode::FORBIDDEN, "Beyond loopback this takes an admin token; set admin.token."))
                }
            };
        };
        admit_bearer(token, headers)
    }

    /// Lets a request in that speaks for a user. Only the token tells the application's backend from a browser, which may
    /// run on this machine, too.
    #[expect(clippy::result_large_err, reason = "the refusal is the answer, made once a request")]
    pub(crate) fn admit_backend(&self, headers: &HeaderMap) -> Result<(), Response> {
        match &self.token {
            Some(token) => admit_bearer(token, headers),
            None => {
                let detail = "X-Lastgood-User is believed only with the admin token, and the gateway has none.";
                let hint =
                    "set admin.token (LASTGOOD_ADMIN_TOKEN), and send `Authorization: Bearer TOKEN` with the header";
                Err(extended(StatusCode::FORBIDDEN, detail, &[("hint", hint.into())]))
            }
        }
    }

    /// Takes out what is for this gateway alone, from a request that goes on to an upstream.
    pub(crate) fn strip(&self, headers: &mut HeaderMap) {
        let speaks_for_a_user = headers.remove(USER).is_some();
        let is_own = |value: &HeaderValue| {
            let Some(given) = bearer(value.as_bytes()) else { return false };
            let token = self.token.as_ref().map(|token| token.expose_secret().as_bytes());
            speaks_for_a_user || token.is_some_and(|token| is_same(given, token))
        };
        if headers.get_all(AUTHORIZATION).iter().any(is_own) {
            headers.remove(AUTHORIZATION);
        }
    }
}

#[expect(clippy::result_large_err, reason = "the refusal is the answer, made once a request")]
fn admit_bearer(token: &SecretString, headers: &HeaderMap) -> Result<(), Response> {
    match headers.get(AUTHORIZATION).map(HeaderValue::as_bytes).and_then(bearer) {
        Some(given) if is_same(given, token.expose_secret().as_bytes()) => Ok(()),
        Some(_) => Err(unauthorized("The bearer token is not admin.token.")),
        None => Err(unauthorized("This takes the admin token: send `Authorization: Bearer TOKEN`.")),
    }
}

/// Whether a browser sends it for a page that is not of this gateway.
fn is_foreign(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(ORIGIN) else { return false };
    let site = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, site)| site.as_bytes());
    site.is_none() || site != headers.get(HOST).map(HeaderValue::as_bytes)
}

fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

/// Whether two secrets are the same, in a time that tells no more than whether their lengths are.
fn is_same(given: &[u8], kept: &[u8]) -> bool {
    let differing =
        given.iter().zip(kept).fold(0, |differing, (one, other)| std::hint::black_box(differing | (one ^ other)));
    given.len() == kept.len() && differing == 0
}

fn unauthorized(detail: &str) -> Response {
    let mut response = problem(StatusCode::UNAUTHORIZED, detail);
    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"lastgood\""));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(admin: &Admin, headers: &[(&'static str, &'static str)]) -> u16 {
        let headers =
            headers.iter().map(|&(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_static(value)));
        admin.admit(&headers.collect()).map_or_else(|refusal| refusal.status().as_u16(), |()| 200)
    }

    #[test]
    fn the_token_and_nothing_else_opens() {
        let admin = Admin::new(Some(SecretString::from("the-right-token")));
        admin.listens_on_loopback(true);
        assert_eq!(status(&admin, &[("authorization", "Bearer the-right-token")]), 200);
        assert_eq!(status(&admin, &[("authorization", "bearer  the-right-token")]), 200);
        for wrong in ["Bearer the-right-toke", "Bearer the-right-tokem", "Bearer ", "Basic the-right-token", "Bearer"] {
            assert_eq!(status(&admin, &[("authorization", wrong)]), 401, "{wrong}");
        }
        assert_eq!(status(&admin, &[]), 401);
    }

    #[test]
    fn without_a_token_only_this_machine_may_and_no_foreign_page() {
        let admin = Admin::new(None);
        assert_eq!(status(&admin, &[]), 403);
        admin.listens_on_loopback(true);
        assert_eq!(status(&admin, &[]), 200);
        assert_eq!(status(&admin, &[("host", "127.0.0.1:8090"), ("origin", "http://127.0.0.1:8090")]), 200);
        assert_eq!(status(&admin, &[("host", "127.0.0.1:8090"), ("origin", "https://elsewhere.example")]), 403);
        assert_eq!(status(&admin, &[("host", "127.0.0.1:8090"), ("origin", "null")]), 403);
    }

    #[test]
    fn what_is_for_the_gateway_alone_is_taken_out_and_nothing_else() {
        let admin = Admin::new(Some(SecretString::from("the-right-token")));
        let left = |headers: &[(&'static str, &'static str)]| {
            let named = |&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value));
            let mut headers: HeaderMap = headers.iter().map(named).collect();
            admin.strip(&mut headers);
            headers.keys().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(left(&[("x-mbx-apikey", "k"), ("authorization", "Basic eDp5")]), "x-mbx-apikey authorization");
        assert_eq!(left(&[("authorization", "Bearer of-an-upstream")]), "authorization");
        assert_eq!(left(&[("authorization", "Bearer the-right-token"), ("x-mbx-apikey", "k")]), "x-mbx-apikey");
        assert_eq!(left(&[("x-lastgood-user", "alice"), ("authorization", "bearer the-rigth-token")]), "");
    }
}
