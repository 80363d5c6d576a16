//! Who asks.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::request::Parts;

use crate::app::App;
use crate::problem::Refused;

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
        tracing::info!(target: "lastgood::audit", what, scope, matched, changed, peer, admitted_by, "the cache was changed");
    }
}
