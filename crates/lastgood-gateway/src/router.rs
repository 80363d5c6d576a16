//! The URL map.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{MethodRouter, get, post};
use http::header::{CONTENT_LENGTH, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Request, StatusCode};
use http_body::Body as HttpBody;
use hyper::body::Incoming;
use tower::ServiceExt as _;

use crate::app::App;
use crate::cache_api::{self, caller::Peer};
use crate::durations::Timed;
use crate::exchange::ExchangeApi;
use crate::exchange::ready::{Target, Targets};
use crate::page::Page;
use crate::response::payload::{Payload, Reply};
use crate::routes::add_to;
use crate::{
    bars, exchange, fast_path, fear_greed, health, kv, llm, metrics, middleware, openapi, own_site, page, problem,
    symbols,
};

/// Every path that the gateway answers: the exchange's, recognised by [`ExchangeApi::of`] alone, and its own. Clones share it all.
#[derive(Clone)]
pub(crate) struct Routes {
    app: Arc<App>,
    own: Router,
    /// How targets of the exchange were answered from memory.
    targets: Arc<Targets>,
}

/// The gateway's own paths, each with an entry in `openapi/own.json`.
fn own_routes() -> Vec<(&'static str, MethodRouter<Arc<App>>)> {
    let others = [
        ("/health", get(health::health)),
        ("/livez", get(health::livez)),
        ("/readyz", get(health::readyz)),
        ("/metrics", get(metrics::metrics)),
        ("/api/openapi.json", get(openapi::openapi)),
        ("/v1/symbols/{market}", get(symbols::symbols)),
        ("/v1/fear-greed", get(fear_greed::fear_greed)),
        ("/fng/", get(fear_greed::facade)),
        ("/fng", get(fear_greed::facade)),
        ("/v1/kv/{region}/{key}", get(kv::get).put(kv::put).delete(kv::delete)),
        ("/v1/bars/{series}/{interval}", get(bars::get).put(bars::put).delete(bars::delete)),
        ("/v1/bars/{series}/{interval}/latest", get(bars::latest)),
        ("/v1/llm/{analysis_type}", post(llm::find).put(llm::store).delete(llm::give_up)),
    ];
    others.into_iter().chain(cache_api::routes()).collect()
}

/// The answer to a path that the gateway does not have, or only where there is an exchange.
async fn unknown_path(State(app): State<Arc<App>>, request: Request<Body>) -> Response {
    let path = request.uri().path();
    if !app.has_exchange && ExchangeApi::of(path, "").is_some() {
        return problem::without_exchange();
    }
    problem::not_found(path)
}

/// An answer of the gateway's own as it is sent. A browser takes none of them for anything but what it says it is. A 304 says nothing of that, and
/// loses the length that axum states: it would have to be that of the answer that the client has (RFC 9110, 8.6).
fn finished(mut answered: Response) -> Reply {
    if answered.status() == StatusCode::NOT_MODIFIED {
        answered.headers_mut().remove(CONTENT_LENGTH);
    } else {
        answered.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    }
    answered.map(Payload::from)
}

#[cfg(test)]
pub(crate) fn own_paths() -> Vec<String> {
    own_routes().into_iter().map(|(path, _)| path.replace("{*", "{")).collect()
}

impl Routes {
    pub(crate) fn new(app: Arc<App>, page: &Arc<Page>) -> Self {
        let own = own_routes()
            .into_iter()
            .chain(page::routes(page))
            .fold(Router::new(), |own, (path, methods)| own.route(path, methods));
        let own = add_to(own, &app.declared, &app.places, &app.known_targets);
        let own =
            own.fallback(unknown_path).method_not_allowed_fallback(problem::wrong_method).with_state(Arc::clone(&app));
        Routes { app, own, targets: Arc::default() }
    }

    /// The answer of the [fast path](fast_path), or what it knows of the request's target, for [`Routes::answer`].
    pub(crate) fn answer_at_once<B: HttpBody>(
        &self,
        peer: SocketAddr,
        request: &Request<B>,
    ) -> Result<Reply, Option<Arc<Target>>> {
        fast_path::answer(&self.app, &self.targets, peer, request)
    }

    /// Answers a request, through the layers of [`middleware`]. `known` holds the known facts of its target.
    pub(crate) async fn answer(
        self,
        peer: SocketAddr,
        request: Request<Incoming>,
        known: Option<Arc<Target>>,
    ) -> Result<Reply, Infallible> {
        let Routes { app, own, targets } = self;
        let uri = request.uri();
        let exchange = ExchangeApi::of(uri.path(), uri.query().unwrap_or_default()).filter(|_| app.has_exchange);
        let timed = Timed::begin(uri.path(), exchange.is_some());
        let routed = async |mut request: Request<Incoming>| {
            match exchange {
                // Boxed, each of them, so that none carries the room that another needs.
                Some(ExchangeApi::Market(venue)) => {
                    Box::pin(exchange::exchange(&app, &targets, venue, request, known)).await
                }
                Some(ExchangeApi::PassOnly(part)) => exchange::pass_only(&app, part, request).await,
                None => {
                    if own_site::is_inside(request.uri().path())
                        && let Some(refusal) = app.admin.check_site(&mut request)
                    {
                        return refusal.map(Payload::from);
                    }
                    request.extensions_mut().insert(Peer(peer));
                    let answered = Box::pin(own.oneshot(request.map(Body::new))).await;
                    finished(answered.unwrap_or_else(|never| match never {}))
                }
            }
        };
        let reply = middleware::admit(&app, peer, request, routed).await;
        app.durations.note(timed, reply.status());
        Ok(reply)
    }
}
