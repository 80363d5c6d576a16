//! `POST /api/cache/warm`: a round now.

use std::sync::Arc;

use axum::extract::{Request, State};
use http::StatusCode;
use lastgood::warm::Tally;
use lastgood_market::RegionName;
use lastgood_market::warm::{Filter, NoRound, ON_DEMAND_WITHIN};
use lastgood_routes::warm::Wanted;
use percent_encoding::percent_decode_str;
use serde::Serialize;

use super::answer::json;
use super::body::Fields;
use super::caller::Caller;
use crate::app::App;
use crate::problem;
use crate::problem::{Answered, Refusal, Refused};

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
    /// Why something was refused or failed, of the last that was; why nothing is matched.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

impl Warmed {
    fn of(tally: Tally, why: Option<String>) -> Warmed {
        let Tally { of, loaded, fresh, refused, failed } = tally;
        Warmed { matched: of, warmed: loaded, fresh, refused, failed, dry_run: false, why }
    }
}

/// What a request names, of the exchange's data and of that of routes.
struct Scope {
    exchange: Option<Filter>,
    routes: Wanted,
}

pub(super) async fn warm(State(app): State<Arc<App>>, caller: Caller, request: Request) -> Answered {
    let asked = read(&app, request).await?;
    let dry_run = asked.dry_run;
    let wording = wording(&asked);
    let scope = scope(&app, asked).map_err(|refusal| problem::parameter(StatusCode::BAD_REQUEST, &refusal))?;
    let of_exchange = scope.exchange.as_ref().map_or((0, 0), |only| app.engine.warmer.preview(only));
    let of_routes = app.declared.to_be_warmed(&scope.routes);
    let (matched, due) = (of_exchange.0 + of_routes.0, of_exchange.1 + of_routes.1);
    if !dry_run && !app.cache.is_enabled() {
        let detail = "The cache is switched off, so nothing can be kept warm.";
        return Err(Refused::new(StatusCode::CONFLICT, detail));
    }
    // Where nothing is declared there is no round.
    if dry_run || matched == 0 {
        if !dry_run {
            caller.audit("warm", &wording, 0, 0);
        }
        let why = (matched == 0).then(|| why_nothing(&app, &scope));
        let warmed = Warmed { matched, warmed: due, fresh: matched - due, refused: 0, failed: 0, dry_run, why };
        return Ok(json(StatusCode::OK, &warmed));
    }
    let of_exchange = async {
        match scope.exchange.clone() {
            Some(only) => app.engine.warmer.round_now(only).await,
            None => Ok(Tally::default()),
        }
    };
    let asks_exchange = scope.exchange.is_some();
    let (of_exchange, (of_routes, why)) = tokio::join!(of_exchange, app.declared.warm(&scope.routes, ON_DEMAND_WITHIN));
    let of_exchange = of_exchange.map_err(no_round)?;
    let tally = of_exchange.and(of_routes);
    caller.audit("warm", &wording, tally.of, tally.loaded);
    let why = why.or_else(|| app.engine.warmer.why().filter(|_| asks_exchange && tally.refused + tally.failed > 0));
    Ok(json(StatusCode::OK, &Warmed::of(tally, why)))
}

/// Why a request names nothing that is kept warm.
fn why_nothing(app: &App, scope: &Scope) -> String {
    match &scope.exchange {
        Some(only) => app.engine.warmer.why_nothing(only),
        None => {
            format!("no route keeps a question with the value {} warm", scope.routes.value.as_deref().unwrap_or("*"))
        }
    }
}

/// What was asked for, for the log.
fn wording(asked: &Asked) -> String {
    let part = |name: &str, value: &Option<String>| value.as_ref().map(|value| format!("{name} {value}"));
    let parts: Vec<String> =
        [part("symbol", &asked.symbol), part("region", &asked.region)].into_iter().flatten().collect();
    if parts.is_empty() { "everything".to_owned() } else { parts.join(", ") }
}

fn no_round(why: NoRound) -> Refused {
    let detail = match why {
        NoRound::Stopping => "The gateway is stopping.",
        NoRound::TooMany => "Too many rounds are asked for already; ask again when they have ended.",
    };
    Refused::new(StatusCode::SERVICE_UNAVAILABLE, detail)
}

async fn read(app: &App, request: Request) -> Result<Asked, Refused> {
    let fields = Fields::read(app, request, &["symbol", "region", "dry_run"], EXAMPLE).await?;
    Ok(Asked { symbol: fields.text("symbol")?, region: fields.text("region")?, dry_run: fields.flag("dry_run")? })
}

fn scope(app: &App, asked: Asked) -> Result<Scope, Refusal> {
    let market = asked.region.as_deref().map(|word| RegionName::ALL.into_iter().find(|name| name.as_str() == word));
    let of_routes = || app.declared.warm_regions();
    if let (Some(None), Some(word)) = (market, &asked.region)
        && of_routes().all(|region| region != word)
    {
        let names = RegionName::ALL.map(RegionName::as_str).into_iter().chain(of_routes());
        return Err(Refusal::new("region", word, names.collect::<Vec<_>>().join(", ")));
    }
    let symbol = asked.symbol.map(|symbol| {
        // Copied from a key or an address, it may be percent-encoded.
        let decoded = percent_decode_str(&symbol).decode_utf8().unwrap_or_default();
        decoded.trim().to_uppercase()
    });
    let sound = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    if let Some(symbol) = &symbol
        && (symbol.is_empty() || symbol.len() > LONGEST_SYMBOL || !symbol.chars().all(sound))
    {
        return Err(Refusal::new("symbol", symbol, "a name such as BTCUSDT"));
    }
    let exchange = match market {
        // A region of routes.
        Some(None) => None,
        Some(Some(region)) => Some(Filter { symbol: symbol.clone(), regions: Some(vec![region]) }),
        None => Some(Filter { symbol: symbol.clone(), regions: None }),
    };
    Ok(Scope { exchange, routes: Wanted { region: asked.region, value: symbol } })
}
