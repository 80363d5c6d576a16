//! The Cache API: what the cache holds and how it does, and what may be done about it.
//!
//! What changes something is never a GET, takes a [`Caller`] and leaves a line in the audit log.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use http::request::Parts;
use http::{HeaderValue, StatusCode};
use lastgood::Region;
use serde::Serialize;

use crate::app::App;
use crate::config::nearest;
use crate::problem;
use crate::response::plain;

mod body;
mod change;
mod explain;
mod glob;
mod key;
mod keys;
mod name;
mod stats;
mod switch;
mod symbol;

pub(crate) use self::body::Fields;
pub(crate) use self::change::Turns;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The paths below `/api/cache`, but that of warming.
pub(crate) fn routes() -> [(&'static str, MethodRouter<Arc<App>>); 10] {
    [
        ("/api/cache/status", get(stats::status)),
        ("/api/cache/stats", get(stats::stats)),
        ("/api/cache/keys", get(keys::keys)),
        ("/api/cache/explain/{*key}", get(explain::explain)),
        ("/api/cache/key/{*key}", get(key::get).put(key::put).delete(key::delete)),
        ("/api/cache/invalidate", post(change::invalidate)),
        ("/api/cache/clear/{symbol}", post(change::clear)),
        ("/api/cache/flush", post(change::flush)),
        ("/api/cache/enable", post(switch::enable)),
        ("/api/cache/disable", post(switch::disable)),
    ]
}

/// Where a request comes from.
#[derive(Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// Somebody whom [`crate::admin::Admin`] let in.
#[derive(Clone, Copy)]
pub(crate) struct Caller {
    peer: Option<SocketAddr>,
    has_token: bool,
}

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Caller, Refused> {
        app.admin.admit(&parts.headers)?;
        let peer = parts.extensions.get::<Peer>().map(|peer| peer.0);
        Ok(Caller { peer, has_token: app.admin.has_token() })
    }
}

impl Caller {
    /// Notes what was changed, and by whom.
    pub(crate) fn audit(self, what: &str, scope: &str, matched: u64, changed: u64) {
        let peer = self.peer.map_or_else(|| "unknown".to_owned(), |peer| peer.to_string());
        // A field named after the token would be masked.
        let admitted_by = if self.has_token { "bearer" } else { "loopback" };
        tracing::info!(target: "lastgood::audit", what, scope = ?scope, matched, changed, peer, admitted_by, "the cache was changed");
    }
}

/// Why a request is not done.
pub(crate) struct Refused(Box<Response>);

impl Refused {
    fn new(status: StatusCode, detail: &str) -> Refused {
        problem::problem(status, detail).into()
    }
}

impl From<Response> for Refused {
    fn from(response: Response) -> Refused {
        Refused(Box::new(response))
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        *self.0
    }
}

type Answered = Result<Response, Refused>;

fn json(status: StatusCode, body: &impl Serialize) -> Response {
    plain(status, JSON, serde_json::to_vec(body).unwrap_or_default().into())
}

/// The region of that name.
fn region(app: &App, name: &str) -> Result<Region, Refused> {
    app.cache.region_named(name).ok_or_else(|| {
        let regions = app.cache.regions();
        let names: Vec<&str> = regions.iter().map(Region::name).collect();
        let shown: String = name.chars().take(64).collect();
        let mend = match nearest(name, names.iter().copied()) {
            Some(meant) => format!("did you mean {meant:?}?"),
            None => format!("there are {}.", names.join(", ")),
        };
        Refused::new(StatusCode::NOT_FOUND, &format!("There is no region {shown:?}; {mend}"))
    })
}
