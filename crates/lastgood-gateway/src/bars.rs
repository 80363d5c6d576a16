//! `/v1/bars/{series}/{interval}`: bars that applications bring, kept apart from the exchange's candles.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use lastgood::store::StoreError;
use lastgood::{Value, WasThere};
use lastgood_market::bars::{BarFault, BarSeries, Checked, KeptBars, MOST_BARS, NotBars, Range};
use serde_json::json;

use crate::app::App;
use crate::pending::{CONFIRM_WITHIN, Pending};
use crate::problem;
use crate::problem::{Answered, Refused};
use crate::query::{Parameters, decoded};
use crate::response::label::CACHE_STATUS;
use crate::response::plain;
use crate::stored_value;

const PREFIX: &str = "/v1/bars/";
const LATEST: &str = "/latest";
const JSON: &str = "application/json";
/// How many bars are given where no limit is named.
const LIMIT_BY_DEFAULT: usize = 500;
const LONGEST_FRESHNESS: Duration = Duration::from_secs(365 * 86_400);
/// Reading more than this takes longer than other requests should wait.
const ASIDE_FROM: usize = 128 << 10;
const EXAMPLE: &str = r#"[[1735689600000, "94000.1", "94100", "93900.5", "94050", "12.5"]]"#;

/// The series that a path names.
fn series_of(uri: &Uri) -> Result<BarSeries, Refused> {
    let path = uri.path().strip_prefix(PREFIX).unwrap_or_default();
    let path = path.strip_suffix(LATEST).unwrap_or(path);
    let (name, interval) = path.split_once('/').unwrap_or((path, ""));
    let refuse =
        |parameter, value: &str, allowed| Err(Refused::parameter(StatusCode::BAD_REQUEST, parameter, value, allowed));
    let Some(name) = decoded(name).filter(|name| BarSeries::is_name(name)) else {
        return refuse("series", name, BarSeries::NAMES);
    };
    match decoded(interval).and_then(|interval| BarSeries::new(&name, &interval).ok()) {
        Some(series) => Ok(series),
        None => refuse("interval", interval, BarSeries::INTERVALS),
    }
}

fn range(query: Option<&str>) -> Result<Range, Refused> {
    let parameters = Parameters::read(query, &["limit", "start", "end"])?;
    let time = |name: &str| parameters.number(name, 0..=u64::MAX, "milliseconds since 1970");
    let (start, end) = (time("start")?, time("end")?);
    let limit = parameters.number("limit", 1..=MOST_BARS as u64, &format!("1 to {MOST_BARS}"))?;
    if let (Some(start), Some(end)) = (start, end)
        && start > end
    {
        let allowed = format!("a time that is not after end, {end}");
        return Err(Refused::parameter(StatusCode::BAD_REQUEST, "start", &start.to_string(), allowed));
    }
    let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(LIMIT_BY_DEFAULT);
    Ok(Range { start, end, limit })
}

pub(crate) async fn get(State(app): State<Arc<App>>, uri: Uri, headers: HeaderMap) -> Answered {
    let series = series_of(&uri)?;
    let range = range(uri.query())?;
    match app.engine.bars.find(&series).await {
        Ok(Some(kept)) => Ok(respond(kept.in_range(&range), &kept, &headers).await),
        Ok(None) => Ok(absent(&series)),
        Err(why) => Ok(unknown(&series, &why)),
    }
}

pub(crate) async fn latest(State(app): State<Arc<App>>, uri: Uri, headers: HeaderMap) -> Answered {
    let series = series_of(&uri)?;
    Parameters::read_none(uri.query())?;
    let kept = match app.engine.bars.find(&series).await {
        Ok(kept) => kept,
        Err(why) => return Ok(unknown(&series, &why)),
    };
    match kept.as_ref().and_then(|kept| Some((kept, kept.latest()?))) {
        Some((kept, latest)) => Ok(respond(latest, kept, &headers).await),
        None => Ok(absent(&series)),
    }
}

async fn respond(body: Bytes, kept: &KeptBars, headers: &HeaderMap) -> Response {
    let part = Value::new(body).with_meta(JSON);
    let mut response = stored_value::respond_part(&part, kept.answer(), headers).await;
    // No exchange answered this.
    if let Some(status) = response.headers().get(CACHE_STATUS).and_then(|status| status.to_str().ok())
        && let Ok(status) = HeaderValue::try_from(format!("{status}; source=application"))
    {
        response.headers_mut().insert(CACHE_STATUS, status);
    }
    response
}

fn absent(series: &BarSeries) -> Response {
    let detail = format!("No application has put bars of {} {}.", series.name(), series.interval());
    stored_value::absent(problem::problem(StatusCode::NOT_FOUND, &detail))
}

fn unknown(series: &BarSeries, why: &StoreError) -> Response {
    stored_value::unknown(&format!("a series of bars of {} {}", series.name(), series.interval()), why)
}

pub(crate) async fn put(State(app): State<Arc<App>>, request: Request) -> Answered {
    stored_value::admit(&app, request.headers())?;
    let series = series_of(request.uri())?;
    let parameters = Parameters::read(request.uri().query(), &["fresh_for"])?;
    let fresh_for = parameters.duration("fresh_for", Duration::from_millis(1), LONGEST_FRESHNESS)?;
    let body = stored_value::body(&app, request).await?;
    let checked = check(&app, &series, body).await?.map_err(|why| not_bars(&why))?;
    let set = app.engine.bars.put(&series, checked, fresh_for).await;
    let refusal = |(index, fault): &(usize, BarFault)| json!({ "index": index, "reason": fault.to_string() });
    let refused: Vec<serde_json::Value> = set.refused.iter().map(refusal).collect();
    if set.stored == 0 {
        let detail = "None of these bars can be kept; refused says why of each.";
        let members = [("stored", 0.into()), ("refused", refused.into())];
        return Ok(problem::extended(StatusCode::UNPROCESSABLE_ENTITY, detail, &members));
    }
    let report = json!({ "stored": set.stored, "refused": refused, "dropped": set.dropped });
    let done = plain(StatusCode::OK, HeaderValue::from_static(JSON), report.to_string().into());
    let unconfirmed = app.engine.bars.confirmed(&series, CONFIRM_WITHIN).await;
    Ok(stored_value::unless_pending(done, report, Pending::among(&app, unconfirmed, None, "")))
}

/// Checks the bars of a body. Much text is read where it keeps no other request waiting.
async fn check(app: &Arc<App>, series: &BarSeries, body: Bytes) -> Result<Result<Checked, NotBars>, Refused> {
    if body.len() < ASIDE_FROM {
        return Ok(app.engine.bars.check(series, &body));
    }
    let (bars, series) = (app.engine.bars.clone(), series.clone());
    let aside = tokio::task::spawn_blocking(move || bars.check(&series, &body));
    aside.await.map_err(|_| Refused::new(StatusCode::INTERNAL_SERVER_ERROR, "The body could not be read."))
}

fn not_bars(why: &NotBars) -> Refused {
    let status = match why {
        NotBars::TooMany(_) => StatusCode::PAYLOAD_TOO_LARGE,
        _ => StatusCode::BAD_REQUEST,
    };
    Refused::new(status, &format!("The body is {why}. Send for example {EXAMPLE}."))
}

pub(crate) async fn delete(State(app): State<Arc<App>>, uri: Uri, headers: HeaderMap) -> Answered {
    stored_value::admit(&app, &headers)?;
    let series = series_of(&uri)?;
    Parameters::read_none(uri.query())?;
    let unreached = match app.engine.bars.invalidate(&series).await {
        WasThere::No => return Ok(absent(&series)),
        WasThere::Yes => None,
        WasThere::Unknown(why) => Some(why),
    };
    let unconfirmed = app.engine.bars.confirmed(&series, CONFIRM_WITHIN).await;
    let pending = Pending::among(&app, unconfirmed, unreached, stored_value::IF_IT_IS_THERE);
    Ok(stored_value::unless_pending(stored_value::gone(), json!({}), pending))
}
