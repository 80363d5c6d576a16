//! `POST /api/cache/warm`: a round now.

use std::sync::Arc;

use axum::extract::{Request, State};
use http::StatusCode;
use lastgood_market::RegionName;
use lastgood_market::symbols::Refusal;
use serde::Serialize;

use super::answer::{Answered, Refused, json};
use super::body::Fields;
use super::caller::Caller;
use crate::app::App;
use crate::problem;
use crate::warm::progress::Tally;
use crate::warm::run;
use crate::warm::set::Filter;

const EXAMPLE: &str = "{\"symbol\": \"BTCUSDT\"}";
/// The longest name of a symbol, in bytes.
const LONGEST_SYMBOL: usize = 64;

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

pub(super) async fn warm(State(app): State<Arc<App>>, caller: Caller, request: Request) -> Answered {
    let asked = read(request).await?;
    let dry_run = asked.dry_run;
    let only = filter(asked).map_err(|refusal| problem::parameter(StatusCode::BAD_REQUEST, &refusal))?;
    if dry_run {
        let (matched, warmed) = run::preview(&app.warmer, &only);
        let warmed = Warmed { matched, warmed, fresh: matched - warmed, refused: 0, failed: 0, dry_run };
        return Ok(json(StatusCode::OK, &warmed));
    }
    if !app.cache.is_enabled() {
        let detail = "The cache is switched off, so nothing can be kept warm.";
        return Err(Refused::new(StatusCode::CONFLICT, detail));
    }
    let scope = format!("{only:?}");
    let ended = app.warmer.round_now(only).await;
    let tally = ended.map_err(|detail| Refused::new(StatusCode::SERVICE_UNAVAILABLE, detail))?;
    caller.audit("warm", &scope, tally.of, tally.loaded);
    Ok(json(StatusCode::OK, &Warmed::of(tally)))
}

async fn read(request: Request) -> Result<Asked, Refused> {
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
