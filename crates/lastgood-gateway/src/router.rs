//! The URL map.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use axum::routing::{get, post};
use http::Request;
use hyper::body::Incoming;
use lastgood_market::Venue;
use tower::ServiceExt as _;

use crate::app::App;
use crate::cache_api::{self, Peer};
use crate::{exchange, health, metrics, middleware, problem, symbols, warm};

/// Every path that the gateway answers: the exchange's, told by [`Venue::of`] alone, and its own. Clones share it all.
#[derive(Clone)]
pub(crate) struct Routes {
    app: Arc<App>,
    own: Router,
}

/// Under the exchange's prefix, but the gateway's own.
const CACHE_API: &str = "/api/cache/";

impl Routes {
    pub(crate) fn new(app: Arc<App>) -> Self {
        let own = Router::new()
            .route("/health", get(health::health))
            .route("/livez", get(health::livez))
            .route("/readyz", get(health::readyz))
            .route("/metrics", get(metrics::metrics))
            .route("/v1/symbols/{market}", get(symbols::symbols))
            .route("/api/cache/warm", post(warm::warm))
            .merge(cache_api::routes())
            .fallback(problem::unknown_path)
            .method_not_allowed_fallback(problem::wrong_method)
            .with_state(Arc::clone(&app));
        Routes { app, own }
    }

    /// Answers a request, through the layers of [`middleware`].
    pub(crate) async fn answer(self, peer: SocketAddr, request: Request<Incoming>) -> Result<Response, Infallible> {
        let Routes { app, own } = self;
        let routed = async |mut request: Request<Incoming>| match exchange_of(&request) {
            Some(venue) => exchange::exchange(&app, venue, request).await,
            None => {
                request.extensions_mut().insert(Peer(peer));
                own.oneshot(request.map(Body::new)).await.unwrap_or_else(|never| match never {})
            }
        };
        Ok(middleware::admit(&app, request, routed).await)
    }
}

fn exchange_of(request: &Request<Incoming>) -> Option<Venue> {
    let path = request.uri().path();
    Venue::of(path, request.uri().query().unwrap_or("")).filter(|_| !path.starts_with(CACHE_API))
}
