//! The URL map.

use std::sync::Arc;

use axum::Router;
use axum::routing::{any, get};

use crate::app::App;
use crate::{exchange, health, metrics, middleware, problem};

/// Every path that the gateway answers.
pub(crate) fn router(app: Arc<App>) -> Router {
    let router = Router::new()
        .route("/health", get(health::health))
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(metrics::metrics))
        .route("/api/cache/{*rest}", any(problem::not_built))
        .route("/api/{*rest}", any(exchange::exchange))
        .route("/sapi/{*rest}", any(exchange::exchange))
        .route("/fapi/{*rest}", any(exchange::exchange))
        .route("/dapi/{*rest}", any(exchange::exchange))
        .route("/futures/data/{*rest}", any(exchange::exchange))
        .fallback(problem::unknown_path)
        .method_not_allowed_fallback(problem::wrong_method)
        .with_state(Arc::clone(&app));
    middleware::wrap(router, app)
}
