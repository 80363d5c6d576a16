//! The URL map.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use axum::routing::{MethodRouter, get, post};
use http::Request;
use hyper::body::Incoming;
use lastgood_market::{PassOnly, Venue};
use tower::ServiceExt as _;

use crate::app::App;
use crate::cache_api::{self, caller::Peer};
use crate::{exchange, fear_greed, health, kv, llm, metrics, middleware, openapi, own_site, problem, symbols};

/// Every path that the gateway answers: the exchange's, told by [`Venue::of`] and [`PassOnly::of`] alone, and its own. Clones share it all.
#[derive(Clone)]
pub(crate) struct Routes {
    app: Arc<App>,
    own: Router,
}

/// Under the exchange's prefix, but the gateway's own.
const CACHE_API: &str = "/api/cache";
const OPENAPI: &str = "/api/openapi.json";

/// The gateway's own paths, each with an entry in `openapi/own.json`.
fn own_routes() -> Vec<(&'static str, MethodRouter<Arc<App>>)> {
    let others = [
        ("/health", get(health::health)),
        ("/livez", get(health::livez)),
        ("/readyz", get(health::readyz)),
        ("/metrics", get(metrics::metrics)),
        (OPENAPI, get(openapi::openapi)),
        ("/v1/symbols/{market}", get(symbols::symbols)),
        ("/v1/fear-greed", get(fear_greed::fear_greed)),
        ("/fng/", get(fear_greed::facade)),
        ("/fng", get(fear_greed::facade)),
        ("/v1/kv/{region}/{key}", get(kv::get).put(kv::put).delete(kv::delete)),
        ("/v1/llm/{analysis_type}", post(llm::find).put(llm::store).delete(llm::give_up)),
    ];
    others.into_iter().chain(cache_api::routes()).collect()
}

#[cfg(test)]
pub(crate) fn own_paths() -> Vec<String> {
    own_routes().into_iter().map(|(path, _)| path.replace("{*", "{")).collect()
}

impl Routes {
    pub(crate) fn new(app: Arc<App>) -> Self {
        let own = own_routes().into_iter().fold(Router::new(), |own, (path, methods)| own.route(path, methods));
        let own = app.declared.add_to(own);
        let own = own
            .fallback(problem::unknown_path)
            .method_not_allowed_fallback(problem::wrong_method)
            .with_state(Arc::clone(&app));
        Routes { app, own }
    }

    /// Answers a request, through the layers of [`middleware`].
    pub(crate) async fn answer(self, peer: SocketAddr, request: Request<Incoming>) -> Result<Response, Infallible> {
        let Routes { app, own } = self;
        let routed = async |mut request: Request<Incoming>| match exchange_of(&app, &request) {
            Some(Part::Market(venue)) => exchange::exchange(&app, venue, request).await,
            Some(Part::PassOnly(part)) => exchange::pass_only(&app, part, request).await,
            None => {
                if own_site::is_inside(request.uri().path())
                    && let Some(refusal) = app.admin.check_site(&mut request)
                {
                    return refusal;
                }
                request.extensions_mut().insert(Peer(peer));
                own.oneshot(request.map(Body::new)).await.unwrap_or_else(|never| match never {})
            }
        };
        Ok(middleware::admit(&app, request, routed).await)
    }
}

/// A part of the exchange.
enum Part {
    Market(Venue),
    PassOnly(PassOnly),
}

fn exchange_of(app: &App, request: &Request<Incoming>) -> Option<Part> {
    let path = request.uri().path();
    let is_of_cache_api = path.strip_prefix(CACHE_API).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let is_own = is_of_cache_api || path == OPENAPI || app.declared.owns(path);
    let market = Venue::of(path, request.uri().query().unwrap_or("")).map(Part::Market);
    market.or_else(|| PassOnly::of(path).map(Part::PassOnly)).filter(|_| !is_own)
}
