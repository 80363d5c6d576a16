//! HTTP: requests in, faults and limits applied, answers out.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::Body;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::catalogue::Catalogue;
use crate::content::Content;
use crate::counters::LoggedRequest;
use crate::endpoints::{self, Context, Endpoint};
use crate::faults::FaultKind;
use crate::fear_greed;
use crate::limits::{Refusal, banned};
use crate::params::{ApiError, Params};
use crate::signed::{self, SignedRequest};
use crate::streams::{Handover, Route, upgrade};
use crate::{Sim, State, Venue, control, lies};

/// No request of the exchange has a body larger than this.
const LARGEST_BODY: usize = 1 << 20;
/// Bodies smaller than this are not packed.
const GZIP_FROM: usize = 1_400;

/// Boxed here, so that what awaits it need not be compiled with the server.
pub(crate) fn serve(
    state: Arc<State>,
    listener: TcpListener,
    shutdown: BoxFuture<'_, ()>,
) -> BoxFuture<'_, io::Result<()>> {
    Box::pin(accept(state, listener, shutdown))
}

async fn accept(state: Arc<State>, listener: TcpListener, mut shutdown: BoxFuture<'_, ()>) -> io::Result<()> {
    // Dropped at the end, which closes every connection.
    let mut connections = JoinSet::new();
    loop {
        let (stream, address) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) if is_passing(&error) => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                }
                Err(error) => return Err(error),
            },
            Some(_) = connections.join_next() => continue,
            () = &mut shutdown => return Ok(()),
        };
        // Small answers should not wait for each other.
        let _ = stream.set_nodelay(true);
        let state = Arc::clone(&state);
        connections.spawn(async move {
            let handover = Handover::default();
            let caller = Caller { address: address.ip(), handover: handover.clone() };
            let service = service_fn(move |request| answer(Arc::clone(&state), caller.clone(), request));
            // A fault that breaks the connection ends here too.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades().await;
            handover.run().await;
        });
    }
}

/// Whether only one connection failed, or there are too many at the moment.
fn is_passing(error: &io::Error) -> bool {
    const TOO_MANY_FILES: [i32; 2] = [23, 24];
    let of_one = [io::ErrorKind::ConnectionAborted, io::ErrorKind::ConnectionReset, io::ErrorKind::Interrupted];
    of_one.contains(&error.kind()) || error.raw_os_error().is_some_and(|code| TOO_MANY_FILES.contains(&code))
}

/// What breaks the connection without an answer.
type Broken = Box<dyn std::error::Error + Send + Sync>;

/// Who asks, and where a stream connection is left for them.
#[derive(Clone)]
struct Caller {
    address: IpAddr,
    handover: Handover,
}

async fn answer(state: Arc<State>, caller: Caller, request: Request<Incoming>) -> Result<Response<Body>, Broken> {
    let (mut head, body) = request.into_parts();
    let body = match Limited::new(body, LARGEST_BODY).collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => return Ok(respond(413, "text/plain", "the body is too large".into(), &head.headers)),
    };
    let path = head.uri.path().to_owned();
    if path == "/_sim" || path.starts_with("/_sim/") {
        let (status, content_type, body) = control::control(&Sim { state }, &head.method, &path, &body);
        return Ok(respond(status, content_type, body.into(), &head.headers));
    }
    let query = head.uri.query().unwrap_or("").to_owned();
    state.counters().remember(LoggedRequest::new(&head.method, &path, &query, &head.headers));
    let faults = state.faults.strike(&path);
    for fault in &faults {
        match fault {
            FaultKind::Latency { ms } => tokio::time::sleep(Duration::from_millis(*ms)).await,
            FaultKind::Hang => std::future::pending::<()>().await,
            FaultKind::Reset => return Err("the connection is reset on demand".into()),
            _ => {}
        }
    }
    let asked = Asked { method: &head.method, path: &path, query: &query, headers: &head.headers, body: &body };
    let made = match (faulty(&state, &faults, &asked), Route::parse(&path, &query)) {
        (Some(made), _) => made,
        (None, Some(route)) => {
            let is_refused = state.faults.strike_upgrade(&path);
            let response = upgrade(&state, &mut head, route, is_refused, caller.address, &caller.handover);
            state.counters().count_status(response.status().as_u16());
            return Ok(response);
        }
        (None, None) => made(&state, &faults, &asked),
    };
    state.counters().count_status(made.status);
    Ok(finish(&state, made, &faults, &head.headers))
}

/// A request, read to its end.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) method: &'a Method,
    pub(crate) path: &'a str,
    pub(crate) query: &'a str,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: &'a Bytes,
}

/// An answer before its headers.
pub(crate) struct Made {
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    pub(crate) body: Content,
    pub(crate) venue: Venue,
    pub(crate) retry_after: Option<u64>,
}

pub(crate) const JSON: &str = "application/json;charset=UTF-8";

pub(crate) fn venue_of(path: &str, query: &str) -> Venue {
    match path.split('/').nth(1) {
        Some("fapi") => Venue::UsdM,
        Some("dapi") => Venue::CoinM,
        Some("futures") if query.split('&').any(|field| field.starts_with("pair=") && field.ends_with("USD")) => {
            Venue::CoinM
        }
        Some("futures") => Venue::UsdM,
        _ => Venue::Spot,
    }
}

/// The answer of a fault that replaces the real one.
pub(crate) fn faulty(state: &State, faults: &[FaultKind], asked: &Asked<'_>) -> Option<Made> {
    let venue = venue_of(asked.path, asked.query);
    let made =
        |status, content_type, body: &str| Made { status, content_type, body: body.into(), venue, retry_after: None };
    faults.iter().find_map(|fault| match fault {
        FaultKind::Status { status } => {
            Some(made(if (400..600).contains(status) { *status } else { 500 }, JSON, r#"{"code":-1001,"msg":"Internal error; unable to process your request. Please try again."}"#))
        }
        FaultKind::KeyRefused { key } => {
            let given = asked.headers.get("x-mbx-apikey").filter(|given| !given.is_empty())?;
            let is_struck = key.is_empty() || given.as_bytes() == key.as_bytes();
            is_struck.then(|| made(401, JSON, &signed::invalid_key().body()))
        }
        FaultKind::Html => Some(made(403, "text/html", "<html><head><title>403 Forbidden</title></head><body>Request blocked.</body></html>")),
        FaultKind::Empty => Some(made(200, JSON, "")),
        FaultKind::ErrorIn200 => Some(made(200, JSON, r#"{"code":-1000,"msg":"An unknown error occurred while processing the request."}"#)),
        FaultKind::Garbage => Some(made(200, JSON, "\u{1}not json at all <<<")),
        FaultKind::RateLimited => Some(Made {
            retry_after: Some(30),
            ..made(429, JSON, r#"{"code":-1003,"msg":"Too much request weight used; current limit is 6000 request weight per 1 MINUTE. Please use WebSocket Streams for live updates to avoid polling the API."}"#)
        }),
        FaultKind::BannedSpot => Some(refused(Venue::Spot, banned(Venue::Spot, state.clock.now() + 120_000, state.clock.now()))),
        FaultKind::BannedFutures => Some(refused(Venue::UsdM, banned(Venue::UsdM, state.clock.now() + 120_000, state.clock.now()))),
        _ => None,
    })
}

fn refused(venue: Venue, refusal: Refusal) -> Made {
    Made {
        status: refusal.error.status,
        content_type: JSON,
        body: refusal.error.body().into(),
        venue,
        retry_after: Some(refusal.retry_after),
    }
}

/// The real answer, or what a lie makes of it.
pub(crate) fn made(state: &State, faults: &[FaultKind], asked: &Asked<'_>) -> Made {
    let venue = venue_of(asked.path, asked.query);
    let answered = answered(state, faults, venue, asked).map(|body| lies::spoiled(state, faults, asked, body));
    match answered {
        Ok(body) => Made { status: 200, content_type: JSON, body, venue, retry_after: None },
        Err(Failed::Api(error)) => {
            Made { status: error.status, content_type: JSON, body: error.body().into(), venue, retry_after: None }
        }
        Err(Failed::Refused(refusal)) => refused(venue, refusal),
    }
}

enum Failed {
    Api(ApiError),
    Refused(Refusal),
}

impl From<ApiError> for Failed {
    fn from(error: ApiError) -> Self {
        Failed::Api(error)
    }
}

fn answered(state: &State, faults: &[FaultKind], venue: Venue, asked: &Asked<'_>) -> Result<Content, Failed> {
    let now = state.clock.now();
    let config = state.config();
    let limit = if venue == Venue::Spot { config.weight_limit_spot } else { config.weight_limit_futures };
    let method = asked.method.as_str();
    if fear_greed::PATHS.contains(&asked.path) && method == "GET" {
        return Ok(fear_greed::answer(asked.query, config.seed, now).into());
    }
    if let Some(weight) = signed::weight(method, asked.path) {
        state.limits(venue).count(venue, weight, None, limit, now).map_err(Failed::Refused)?;
        state.counters().count_weight(venue, weight);
        let request = SignedRequest {
            method,
            path: asked.path,
            query: asked.query,
            body: std::str::from_utf8(asked.body).unwrap_or(""),
            key: asked.headers.get("x-mbx-apikey").and_then(|key| key.to_str().ok()),
            now,
            catalogue: &state.catalogue,
        };
        return Ok(state.accounts.answer(&request)?.into());
    }
    let Some((name, version, endpoint)) = found(venue, asked.path).filter(|_| method == "GET") else {
        return Err(ApiError::new(404, -1000, "Path not found.").into());
    };
    let params = Params::parse(asked.query);
    let weight = params.as_ref().map_or(1, |params| (endpoint.weight)(venue, params));
    let bucket = endpoints::bucket(name, version);
    state.limits(venue).count(venue, weight, bucket, limit, now).map_err(Failed::Refused)?;
    state.counters().count_weight(venue, weight);
    Ok(public(state, &state.catalogue, asked, now, faults)?)
}

/// The answer of a public endpoint as of `now`, with the symbols of `catalogue`. It counts against no limit.
pub(crate) fn public(
    state: &State,
    catalogue: &Catalogue,
    asked: &Asked<'_>,
    now: u64,
    faults: &[FaultKind],
) -> Result<Content, ApiError> {
    let venue = venue_of(asked.path, asked.query);
    let (name, _, endpoint) = found(venue, asked.path).ok_or_else(|| ApiError::new(404, -1000, "Path not found."))?;
    let params = Params::parse(asked.query)?;
    params.read_only(venue, endpoint.params)?;
    let unit = asked.headers.get("x-mbx-time-unit").and_then(|unit| unit.to_str().ok());
    let context = Context {
        catalogue,
        config: &state.config(),
        venue,
        name,
        params: &params,
        now,
        micros: venue == Venue::Spot && unit.is_some_and(|unit| unit.eq_ignore_ascii_case("microsecond")),
        tail_missing: faults.contains(&FaultKind::StaleTail),
        revised: faults.contains(&FaultKind::ReviseClosedCandle),
    };
    (endpoint.answer)(&context)
}

/// The endpoint of a path: its name behind prefix and version, the version, and its line in the table.
fn found(venue: Venue, path: &str) -> Option<(&str, u8, &'static Endpoint)> {
    let (name, version) = split(path);
    Some((name?, version, endpoints::endpoint(venue, version, name?)?))
}

/// The endpoint's name behind prefix and version, and the version.
fn split(path: &str) -> (Option<&str>, u8) {
    let versions = [("/api/v3/", 3), ("/fapi/v1/", 1), ("/fapi/v2/", 2), ("/dapi/v1/", 1), ("/futures/data/", 0)];
    let found = versions.into_iter().find_map(|(prefix, version)| Some((path.strip_prefix(prefix)?, version)));
    match found {
        None if path == "/sapi/v1/system/status" => (Some(endpoints::SYSTEM_STATUS), 1),
        Some((endpoints::SYSTEM_STATUS, version)) => (None, version),
        // Only prices have a second version.
        Some((name, 2)) if name != "ticker/price" => (None, 2),
        Some((name, version)) => (Some(name), version),
        None => (None, 0),
    }
}

/// The headers that every answer has, and the faults that spoil a good one.
fn finish(state: &State, made: Made, faults: &[FaultKind], asked: &HeaderMap) -> Response<Body> {
    let content_type = match faults.contains(&FaultKind::WrongContentType) {
        true => "text/plain",
        false => made.content_type,
    };
    let truncated = faults.contains(&FaultKind::Truncated);
    let mut response = match truncated {
        true => cut_off(made.status, content_type, made.body.plain()),
        false => respond(made.status, content_type, made.body, asked),
    };
    let used = state.limits(made.venue).used(state.clock.now());
    let headers = response.headers_mut();
    let now = UNIX_EPOCH + Duration::from_millis(state.clock.now());
    headers.insert(header::DATE, date(now));
    headers.insert("x-mbx-uuid", header::HeaderValue::from_static("00000000-0000-4000-8000-000000000000"));
    headers.insert("x-mbx-used-weight", used.into());
    headers.insert("x-mbx-used-weight-1m", used.into());
    if let Some(seconds) = made.retry_after {
        headers.insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

/// Its own time, which a test may have set.
fn date(now: SystemTime) -> header::HeaderValue {
    // A clock beyond the year 9999 has no date on the wire.
    let latest = UNIX_EPOCH + Duration::from_secs(253_402_300_799);
    let text = httpdate::fmt_http_date(now.min(latest));
    header::HeaderValue::from_str(&text).unwrap_or_else(|_| header::HeaderValue::from_static(""))
}

fn respond(status: u16, content_type: &'static str, body: Content, asked: &HeaderMap) -> Response<Body> {
    let packed = body.len() >= GZIP_FROM && takes_gzip(asked);
    let bytes = if packed { body.gzip() } else { body.plain() };
    let mut response = bare(status, content_type, Body::from(bytes));
    if packed {
        response.headers_mut().insert(header::CONTENT_ENCODING, header::HeaderValue::from_static("gzip"));
    }
    response
}

fn bare(status: u16, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    response
}

/// Whether a client takes gzip: it says so, and not with a quality of nothing.
fn takes_gzip(asked: &HeaderMap) -> bool {
    let accepted = asked.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|coding| {
        let (name, quality) = coding.split_once(';').unwrap_or((coding, "q=1"));
        let quality = quality.trim().strip_prefix("q=").and_then(|quality| quality.parse::<f32>().ok());
        name.trim().eq_ignore_ascii_case("gzip") && quality.is_none_or(|quality| quality > 0.0)
    })
}

/// The first half of a body under the length of the whole; then the connection breaks.
fn cut_off(status: u16, content_type: &'static str, body: Bytes) -> Response<Body> {
    let half = body.slice(..body.len() / 2);
    let chunks = futures_util::stream::iter([Ok::<_, io::Error>(half)]).chain(futures_util::stream::once(async {
        // What was written so far must have left before the connection breaks.
        tokio::time::sleep(Duration::from_millis(20)).await;
        Err(io::Error::other("broken off on demand"))
    }));
    let mut response = bare(status, content_type, Body::from_stream(chunks));
    response.headers_mut().insert(header::CONTENT_LENGTH, body.len().into());
    response
}
