//! `POST /api/cache/enable` and `/api/cache/disable`: the switch at run time. What the settings say counts again at the
//! next start.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde_json::json;

use super::answer;
use super::caller::Caller;
use crate::app::App;

pub(super) async fn enable(State(app): State<Arc<App>>, caller: Caller) -> Response {
    switch(&app, caller, true)
}

pub(super) async fn disable(State(app): State<Arc<App>>, caller: Caller) -> Response {
    switch(&app, caller, false)
}

fn switch(app: &App, caller: Caller, enabled: bool) -> Response {
    let changes = app.cache.is_enabled() != enabled;
    app.cache.set_enabled(enabled);
    caller.audit(if enabled { "enable" } else { "disable" }, "all", 1, u64::from(changes));
    answer::json(StatusCode::OK, &json!({ "enabled": enabled }))
}
