//! `/v1/fear-greed`, and `/fng/` for clients of the index's own API: the fear & greed index, its bytes untouched.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use lastgood::{Answer, Clock, Error, Loaded, Reason, Value};
use lastgood_market::fear_greed::{LARGEST_LIMIT, PATH, check};
use lastgood_market::upstream::Site;
use lastgood_market::{Preset, RegionName};

use crate::app::App;
use crate::config::Settings;
use crate::problem;
use crate::response::label::label_failure;
use crate::values::{self, Answered, Kept, Parameters, Refused};

/// Where the index comes from.
pub(crate) struct FearGreed {
    site: Option<Arc<Site>>,
    /// Whether an answer is fresh until the update that it names.
    dates_itself: bool,
}

impl FearGreed {
    /// # Errors
    ///
    /// When the system's certificate authorities cannot be read.
    pub(crate) fn new(settings: &Settings, clock: &Clock) -> Result<FearGreed, String> {
        let site = settings.fear_greed.url.clone().map(|base| Site::new(base, &settings.upstreams(), clock));
        let is_configured = settings.region(RegionName::FearGreed.as_str()).fresh_for.is_some();
        let dates_itself = settings.preset == Preset::Trading && !is_configured;
        Ok(FearGreed { site: site.transpose()?.map(Arc::new), dates_itself })
    }
}

/// What either path answers: the newest readings, one unless the query says how many. None is all, as the index has it.
pub(crate) async fn fear_greed(State(app): State<Arc<App>>, RawQuery(query): RawQuery, headers: HeaderMap) -> Answered {
    let parameters = Parameters::read(query.as_deref(), &["limit", "format"])?;
    let limit = limit(&parameters)?;
    if let Some(format) = parameters.get("format").filter(|format| !matches!(*format, "" | "json")) {
        return Err(Refused::parameter(StatusCode::BAD_REQUEST, "format", format, "json"));
    }
    let Some(site) = app.fear_greed.site.clone() else {
        return Err(Refused::problem(
            StatusCode::NOT_FOUND,
            "No source of the index is configured; set fear_greed.url.",
        ));
    };
    match ask(&app, site, limit).await {
        Ok(answer) => {
            let outcome = answer.outcome();
            Ok(values::respond(&Kept { answer, outcome }, &headers).await)
        }
        Err(error) => Ok(fail(&error)),
    }
}

fn limit(parameters: &Parameters) -> Result<u32, Refused> {
    let Some(text) = parameters.get("limit").filter(|text| !text.is_empty()) else { return Ok(1) };
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.then(|| text.parse().ok()).flatten();
    number.filter(|number| *number <= LARGEST_LIMIT).ok_or_else(|| {
        let allowed = format!("a whole number from 0 to {LARGEST_LIMIT}, where 0 is all");
        Refused::parameter(StatusCode::BAD_REQUEST, "limit", text, allowed)
    })
}

async fn ask(app: &App, site: Arc<Site>, limit: u32) -> Result<Answer, Error> {
    let query = format!("limit={limit}&format=json");
    let (target, dates_itself) = (format!("{PATH}?{query}"), app.fear_greed.dates_itself);
    let load = move || async move {
        let body = site.get(&target).await?;
        let left = check(&body).map_err(|why| Error::new(Reason::Malformed, why))?;
        let loaded = Loaded::from(Value::new(body).with_meta("application/json"));
        Ok(if dates_itself { loaded.fresh_for(left) } else { loaded })
    };
    app.region(RegionName::FearGreed).get_or_load(&query, load).await
}

/// There is neither a fresh nor a last good answer.
fn fail(error: &Error) -> Response {
    let detail = format!("The fear & greed index could not be loaded, and none is kept: {}.", error.message);
    let mut response = problem::problem(StatusCode::SERVICE_UNAVAILABLE, &detail);
    let headers = response.headers_mut();
    label_failure(headers, error);
    response
}
