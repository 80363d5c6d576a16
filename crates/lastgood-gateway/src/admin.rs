//! Who may do more than read.

use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use axum::response::Response;
use http::header::{AUTHORIZATION, COOKIE, HeaderName, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use secrecy::{ExposeSecret, SecretString};

use crate::own_site::{self, OwnSite};
use crate::problem::{extended, problem};

/// Names the user whom the application's backend asks for. Nothing that leaves the gateway carries it.
pub(crate) const USER: HeaderName = HeaderName::from_static("x-lastgood-user");

/// Marks, within the gateway, a request that came through a proxy.
const PROXIED: HeaderName = HeaderName::from_static("lastgood-proxied");

/// Takes out the headers for this gateway alone, from a request that goes on to an upstream. No exchange has a use for
/// `Authorization`, and a mistyped path of the Cache API would send the admin token in it. Cookies that a browser has for
/// this host are of other programs at it, whatever their port.
pub(crate) fn strip(headers: &mut HeaderMap) {
    headers.remove(USER);
    headers.remove(AUTHORIZATION);
    headers.remove(COOKIE);
}

/// The admin API's door.
pub(crate) struct Admin {
    token: RwLock<Option<SecretString>>,
    site: OwnSite,
}

impl Admin {
    pub(crate) fn new(token: Option<SecretString>, site: OwnSite) -> Admin {
        Admin { token: RwLock::new(token), site }
    }

    /// From now on this is the token, and these are the gateway's names. A token is not taken away: a file that was cut short
    /// would open the door. Says whether one stays that is no longer configured.
    pub(crate) fn change(&self, token: Option<SecretString>, hosts: &[String]) -> bool {
        self.site.is_named(hosts);
        let mut own = self.token.write().unwrap_or_else(PoisonError::into_inner);
        match token {
            Some(token) => *own = Some(token),
            None => return own.is_some(),
        }
        false
    }

    fn token(&self) -> RwLockReadGuard<'_, Option<SecretString>> {
        self.token.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes where the gateway listens: nowhere else than on loopback does the door open without a token.
    pub(crate) fn listens_on_loopback(&self, on_loopback: bool) {
        self.site.listens_on_loopback(on_loopback);
    }

    /// Whether there is a token, so that every admitted request has sent it.
    pub(crate) fn has_token(&self) -> bool {
        self.token().is_some()
    }

    /// Refuses a request to the cache's inside that a page of another site sent, or that was sent to a name which is not the
    /// gateway's. The token proves more than either. What a proxy passed on is marked for [`Admin::admit`].
    pub(crate) fn check_site<B>(&self, request: &mut Request<B>) -> Option<Response> {
        if own_site::is_proxied(request.version(), request.headers()) {
            request.headers_mut().insert(PROXIED, HeaderValue::from_static("1"));
        } else {
            request.headers_mut().remove(PROXIED);
        }
        self.refusal(request)
    }

    /// As [`Admin::check_site`], for a request that changes nothing and goes no further.
    pub(crate) fn refusal<B>(&self, request: &Request<B>) -> Option<Response> {
        match self.is_sent_with(request.headers()) {
            Some(true) => None,
            _ => self.site.refusal(request.uri(), request.headers()),
        }
    }

    /// Lets a request in, or refuses it.
    #[expect(clippy::result_large_err, reason = "the refusal is the answer, made once a request")]
    pub(crate) fn admit(&self, headers: &HeaderMap) -> Result<(), Response> {
        if self.token().is_none() {
            let refuse = |detail| Err(problem(StatusCode::FORBIDDEN, detail));
            return match self.site.is_on_loopback() {
                true if headers.contains_key(PROXIED) => {
                    refuse("What comes through a proxy takes an admin token; set admin.token, and send it.")
                }
                true => Ok(()),
                false => refuse("Beyond loopback this takes an admin token; set admin.token."),
            };
        }
        self.admit_bearer(headers)
    }

    /// Lets a request in that speaks for a user. Only the token distinguishes the application's backend from a browser, which may
    /// run on this machine, too.
    #[expect(clippy::result_large_err, reason = "the refusal is the answer, made once a request")]
    pub(crate) fn admit_backend(&self, headers: &HeaderMap) -> Result<(), Response> {
        if self.token().is_some() {
            return self.admit_bearer(headers);
        }
        let detail = "X-Lastgood-User is believed only with the admin token, and the gateway has none.";
        let hint = "set admin.token (LASTGOOD_ADMIN_TOKEN), and send `Authorization: Bearer TOKEN` with the header";
        Err(extended(StatusCode::FORBIDDEN, detail, &[("hint", hint.into())]))
    }

    #[expect(clippy::result_large_err, reason = "the refusal is the answer, made once a request")]
    fn admit_bearer(&self, headers: &HeaderMap) -> Result<(), Response> {
        match self.is_sent_with(headers) {
            Some(true) => Ok(()),
            Some(false) => Err(unauthorized("The token that was sent is not admin.token.")),
            None => Err(unauthorized("This takes the admin token, sent as `Authorization: Bearer TOKEN`.")),
        }
    }

    /// Whether the bearer token that comes with a request is the admin token; `None` without one.
    fn is_sent_with(&self, headers: &HeaderMap) -> Option<bool> {
        let given = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes).and_then(bearer)?;
        let token = self.token();
        Some(token.as_ref().is_some_and(|token| is_same(given, token.expose_secret().as_bytes())))
    }
}

fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

/// Whether two secrets are the same, in a time that reveals no more than whether their lengths are.
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
        let admin = Admin::new(Some(SecretString::from("the-right-token")), OwnSite::new(&[]));
        admin.listens_on_loopback(true);
        assert_eq!(status(&admin, &[("authorization", "Bearer the-right-token")]), 200);
        assert_eq!(status(&admin, &[("authorization", "bearer  the-right-token")]), 200);
        for wrong in ["Bearer the-right-toke", "Bearer the-right-tokem", "Bearer ", "Basic the-right-token", "Bearer"] {
            assert_eq!(status(&admin, &[("authorization", wrong)]), 401, "{wrong}");
        }
        assert_eq!(status(&admin, &[]), 401);
    }

    #[test]
    fn without_a_token_only_this_machine_may_and_no_client_behind_a_proxy() {
        let admin = Admin::new(None, OwnSite::new(&[]));
        assert_eq!(status(&admin, &[]), 403);
        admin.listens_on_loopback(true);
        assert_eq!(status(&admin, &[]), 200);
        assert_eq!(status(&admin, &[("lastgood-proxied", "1")]), 403);
    }

    #[test]
    fn the_token_opens_by_any_name_and_no_client_marks_its_own_request() {
        let admin = Admin::new(Some(SecretString::from("the-right-token")), OwnSite::new(&[]));
        let with = |name, value| Request::get("/api/cache/stats").header("host", "evil.example").header(name, value);
        let mut right = with("authorization", "Bearer the-right-token").body(()).unwrap();
        assert!(admin.check_site(&mut right).is_none());
        let mut wrong = with("authorization", "Bearer the-wrong-token").body(()).unwrap();
        assert!(admin.check_site(&mut wrong).is_some());
        let mut marked = with("lastgood-proxied", "1").body(()).unwrap();
        admin.check_site(&mut marked);
        assert!(!marked.headers().contains_key(PROXIED));
    }

    #[test]
    fn headers_for_the_gateway_alone_are_taken_out_and_no_others() {
        let left = |headers: &[(&'static str, &'static str)]| {
            let named = |&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value));
            let mut headers: HeaderMap = headers.iter().map(named).collect();
            strip(&mut headers);
            headers.keys().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(left(&[("x-mbx-apikey", "k"), ("authorization", "Bearer the-right-token")]), "x-mbx-apikey");
        assert_eq!(left(&[("x-lastgood-user", "alice"), ("authorization", "bearer the-rigth-token")]), "");
    }
}
