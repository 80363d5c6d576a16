//! Pages of other origins that may read public answers in a browser (the Fetch standard, 3.2). The cache's inside stays closed
//! to them: `own_site.rs` refuses what a page of another site asks of it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};

use axum::response::Response;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};

use crate::own_site;

const EVERY: HeaderValue = HeaderValue::from_static("*");
/// What a page may send to the exchange through the gateway, orders included: their signatures are the page's.
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, DELETE");
/// What an answer says of itself, and the exchange's own headers by which clients pace themselves.
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "Age, Cache-Status, ETag, Retry-After, X-Cache, X-MBX-USED-WEIGHT, X-MBX-USED-WEIGHT-1M, X-MBX-ORDER-COUNT-10S, \
     X-MBX-ORDER-COUNT-1D",
);
/// How long a browser remembers that it may ask, in seconds.
const REMEMBERED: HeaderValue = HeaderValue::from_static("600");

/// The origins that may read.
pub(crate) struct Cors {
    is_on: AtomicBool,
    origins: RwLock<Vec<String>>,
}

/// What an answer says to the browser.
pub(crate) enum Allowed {
    /// Nothing, but that another origin would be answered otherwise.
    None,
    Origin(HeaderValue),
}

impl Cors {
    pub(crate) fn new(origins: &[String]) -> Cors {
        Cors { is_on: AtomicBool::new(!origins.is_empty()), origins: RwLock::new(origins.to_vec()) }
    }

    /// From now on these may read.
    pub(crate) fn change(&self, origins: &[String]) {
        *self.origins.write().unwrap_or_else(PoisonError::into_inner) = origins.to_vec();
        self.is_on.store(!origins.is_empty(), Ordering::Relaxed);
    }

    /// What the answer to a request is to say; nothing where no origin is configured, and of the cache's inside.
    pub(crate) fn judge<B>(&self, request: &Request<B>) -> Option<Allowed> {
        if !self.is_on.load(Ordering::Relaxed) || own_site::is_inside(request.uri().path()) {
            return None;
        }
        let origins = self.origins.read().unwrap_or_else(PoisonError::into_inner);
        if origins.iter().any(|origin| origin == "*") {
            return Some(Allowed::Origin(EVERY));
        }
        let sent = request.headers().get(ORIGIN);
        let known = sent.filter(|sent| origins.iter().any(|origin| origin.as_bytes() == sent.as_bytes()));
        Some(known.map_or(Allowed::None, |origin| Allowed::Origin(origin.clone())))
    }
}

impl Allowed {
    /// The answer to a browser that asks whether it may ask.
    pub(crate) fn preflight<B>(&self, request: &Request<B>) -> Option<Response> {
        let Allowed::Origin(_) = self else { return None };
        if request.method() != Method::OPTIONS || !request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD) {
            return None;
        }
        let mut response = Response::default();
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        headers.insert(ACCESS_CONTROL_MAX_AGE, REMEMBERED);
        if let Some(asked) = request.headers().get(ACCESS_CONTROL_REQUEST_HEADERS) {
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
        }
        Some(response)
    }

    /// Adds it to an answer. What the exchange said to its own pages is not said to others.
    pub(crate) fn add_to(self, headers: &mut HeaderMap) {
        headers.remove(ACCESS_CONTROL_ALLOW_ORIGIN);
        match self {
            Allowed::Origin(origin) => {
                if origin != EVERY {
                    headers.append(VARY, HeaderValue::from_static("Origin"));
                }
                headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
                headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
            }
            Allowed::None => {
                headers.append(VARY, HeaderValue::from_static("Origin"));
            }
        }
    }
}
