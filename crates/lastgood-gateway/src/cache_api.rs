//! The Cache API: what the cache holds and how it does, and what may be done about it.
//!
//! What changes something is never a GET, takes a [`caller::Caller`] and leaves a line in the audit log.

use std::sync::Arc;

use axum::routing::{MethodRouter, get, post};

use crate::app::App;

mod answer;
mod body;
pub(crate) mod caller;
mod change;
mod explain;
mod glob;
mod key;
mod keys;
mod name;
pub(crate) mod selector;
pub(crate) mod stats;
mod switch;
mod symbol;
mod warm;

/// The paths below `/api/cache`, and the statistics in one body, where other caches have them.
pub(crate) fn routes() -> [(&'static str, MethodRouter<Arc<App>>); 12] {
    [
        ("/api/cache/status", get(stats::status)),
        ("/api/cache/stats", get(stats::stats)),
        ("/cache/stats", get(stats::summary)),
        ("/api/cache/keys", get(keys::keys)),
        ("/api/cache/explain/{*key}", get(explain::explain)),
        ("/api/cache/key/{*key}", get(key::get).delete(key::delete)),
        ("/api/cache/invalidate", post(change::invalidate)),
        ("/api/cache/clear/{symbol}", post(change::clear)),
        ("/api/cache/flush", post(change::flush)),
        ("/api/cache/warm", post(warm::warm)),
        ("/api/cache/enable", post(switch::enable)),
        ("/api/cache/disable", post(switch::disable)),
    ]
}
