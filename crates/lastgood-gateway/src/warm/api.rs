//! `POST /api/cache/warm`: a round now.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderValue, Request, StatusCode};
use lastgood_market::RegionName;
use lastgood_market::symbols::Refusal;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use super::progress::Tally;
use super::run;
use super::set::Filter;
use crate::app::App;
use crate::cache_api::answer::Refused;
use crate::cache_api::body::Fields;
use crate::cache_api::caller::Caller;
use crate::problem;
use crate::response::plain;

const EXAMPLE: &str = "{\"symbol\": \"BTCUSDT\"}";
/// The longest name of a symbol, in bytes.
const LONGEST_SYMBOL: usize = 64;
const JSON: HeaderValue = HeaderValue::from_static("application/json");

struct Asked {
    symbol: Option<String>,
    region: Option<String>,
    dry_run: bool,
}

/// What came of it.
#[derive(Serialize)]
struct Warmed {
    /// Items that the request names.
    matched: u64,
    /// Those that were loaded, or would be.
    warmed: u64,
    /// Those that were fresh already.
    fresh: u64,
    refused: u64,
    failed: u64,
    dry_run: bool,
}

impl Warmed {
    fn of(tally: Tally) -> Warmed {
        let Tally { of, loaded, fresh, refused, failed } = tally;
        Warmed { matched: of, warmed: loaded, fresh, refused, failed, dry_run: false }
    }
}

pub(crate) async fn warm(State(app): State<Arc<App>>, caller: Caller, request: Request<Body>) -> Response {
    let asked = match read(request).await {
        Ok(asked) => asked,
        Err(refused) => return refused.into_response(),
    };
    let dry_run = asked.dry_run;
    let only = match filter(asked) {
        Ok(only) => only,
        Err(refusal) => return problem::parameter(StatusCode::BAD_REQUEST, &refusal),
    };
    if dry_run {
        let (matched, warmed) = run::preview(&app.warmer, &only);
        return answer(&Warmed { matched, warmed, fresh: matched - warmed, refused: 0, failed: 0, dry_run });
    }
    if !app.cache.is_enabled() {
        return problem::problem(StatusCode::CONFLICT, "The cache is switched off, so nothing can be kept warm.");
    }
    let scope = format!("{only:?}");
    match round(&app, only).await {
        Ok(tally) => {
            caller.audit("warm", &scope, tally.of, tally.loaded);
            answer(&Warmed::of(tally))
        }
        Err(detail) => problem::problem(StatusCode::SERVICE_UNAVAILABLE, detail),
    }
}

/// A round now, or the one under way; or why there is none.
async fn round(app: &App, only: Filter) -> Result<Tally, &'static str> {
    const STOPPING: &str = "The gateway is stopping.";
    let mut progress = app.warmer.progress.subscribe();
    let now = *progress.borrow_and_update();
    if only.is_all() && now.running {
        let ended = progress.wait_for(|progress| progress.rounds > now.rounds).await;
        return ended.map(|progress| progress.round).map_err(|_| STOPPING);
    }
    let (done, ended) = oneshot::channel();
    match app.warmer.requests.try_send(super::Request { only, done }) {
        Ok(()) => ended.await.map_err(|_| STOPPING),
        Err(mpsc::error::TrySendError::Full(_)) => {
            Err("Too many rounds are asked for already; ask again when they have ended.")
        }
        Err(mpsc::error::TrySendError::Closed(_)) => Err(STOPPING),
    }
}

async fn read(request: Request<Body>) -> Result<Asked, Refused> {
    let fields = Fields::read(request, &["symbol", "region", "dry_run"], EXAMPLE).await?;
    Ok(Asked { symbol: fields.text("symbol")?, region: fields.text("region")?, dry_run: fields.flag("dry_run")? })
}

fn filter(asked: Asked) -> Result<Filter, Refusal> {
    let refusal = |parameter: &str, value: &str, allowed: String| Refusal {
        parameter: parameter.to_owned(),
        value: value.chars().take(LONGEST_SYMBOL).collect(),
        allowed,
    };
    let region = match asked.region {
        None => None,
        Some(word) => Some(RegionName::ALL.into_iter().find(|name| name.as_str() == word).ok_or_else(|| {
            let names = RegionName::ALL.map(RegionName::as_str).join(", ");
            refusal("region", &word, names)
        })?),
    };
    let symbol = asked.symbol.map(|symbol| symbol.trim().to_uppercase());
    let sound = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
    match symbol {
        Some(symbol) if symbol.is_empty() || symbol.len() > LONGEST_SYMBOL || !symbol.chars().all(sound) => {
            Err(refusal("symbol", &symbol, "a name such as BTCUSDT".to_owned()))
        }
        symbol => Ok(Filter { symbol, region }),
    }
}

fn answer(warmed: &Warmed) -> Response {
    plain(StatusCode::OK, JSON, serde_json::to_vec(warmed).unwrap_or_default().into())
}
