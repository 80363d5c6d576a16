//! `/v1/llm/{analysis_type}`: analyses by a language model, found by what they are of and computed by one caller.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use lastgood::Region;
use lastgood::store::StoreError;
use lastgood_market::RegionName;
use lastgood_market::llm::{self, NoKey};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::watch::Receiver;
use tokio::time::{Instant, timeout_at};

use crate::app::App;
use crate::problem;
use crate::problem::{Answered, Refused};
use crate::query::{Parameters, decoded};
use crate::response::etag::EntityTag;
use crate::stored_value::{self, Kept};

mod watch;

use crate::claims::{Brought, Turn, is_token};

const PREFIX: &str = "/v1/llm/";
const X_CLAIM: HeaderName = HeaderName::from_static("x-claim");
const JSON: &str = "application/json";
const SHORTEST_LEASE: Duration = Duration::from_secs(1);
const LONGEST_LEASE: Duration = Duration::from_secs(600);
const WAIT_BY_DEFAULT: Duration = Duration::from_secs(20);
/// Reading and hashing more than this takes longer than other requests should wait.
const ASIDE_FROM: usize = 128 << 10;

/// The body of a question.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Question<'a> {
    #[serde(borrow)]
    input: &'a RawValue,
}

/// The body of an analysis that is to be stored.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Analysis<'a> {
    #[serde(borrow)]
    input: &'a RawValue,
    #[serde(borrow)]
    analysis: &'a RawValue,
}

/// What the query of a question says.
struct Wish {
    claim: Option<Duration>,
    wait: Duration,
    last_good: bool,
}

impl Wish {
    fn read(app: &App, query: Option<&str>) -> Result<Wish, Refused> {
        let parameters = Parameters::read(query, &["claim", "wait", "last_good"])?;
        let claim = parameters.duration("claim", SHORTEST_LEASE, LONGEST_LEASE)?;
        let longest = app.limits.request_timeout;
        let wait = parameters.duration("wait", Duration::ZERO, longest)?;
        if claim.is_none() && wait.is_some() {
            let value = parameters.get("wait").unwrap_or_default();
            let allowed = "only with claim, such as claim=60s&wait=20s";
            return Err(Refused::parameter(StatusCode::BAD_REQUEST, "wait", value, allowed));
        }
        let last_good = match parameters.get("last_good") {
            None | Some("false") => false,
            Some("true") => true,
            Some(other) => {
                return Err(Refused::parameter(StatusCode::BAD_REQUEST, "last_good", other, "true or false"));
            }
        };
        Ok(Wish { claim, wait: wait.unwrap_or(WAIT_BY_DEFAULT).min(longest), last_good })
    }
}

fn kind_of(uri: &Uri) -> Result<String, Refused> {
    let text = uri.path().strip_prefix(PREFIX).unwrap_or_default();
    let kind = decoded(text).unwrap_or_default();
    match llm::key(&kind, &serde_json::Value::Null) {
        Ok(_) => Ok(kind.into_owned()),
        Err(_) => {
            let allowed = "1 to 64 letters, digits, '_', '-' or '.'";
            Err(Refused::parameter(StatusCode::BAD_REQUEST, "analysis_type", text, allowed))
        }
    }
}

/// Reads a body of named fields. A list of them in their order is none, though a reader of structs would take it for one.
fn fields_of<'a, T: Deserialize<'a>>(body: &'a [u8], example: &str) -> Result<T, Refused> {
    if !body.trim_ascii_start().starts_with(b"{") {
        let detail = format!("The body is no JSON object. Send for example {example}.");
        return Err(Refused::new(StatusCode::BAD_REQUEST, &detail));
    }
    serde_json::from_slice(body).map_err(|why| {
        let detail = format!("The body cannot be read: {why}. Send for example {example}.");
        Refused::new(StatusCode::BAD_REQUEST, &detail)
    })
}

/// Reads a body, with its key and what else is wanted of it. Much text is read where no other request waits for it.
async fn keyed<T: Send + 'static>(
    kind: String,
    body: Bytes,
    read: fn(&str, &[u8]) -> Result<T, Refused>,
) -> Result<T, Refused> {
    if body.len() < ASIDE_FROM {
        return read(&kind, &body);
    }
    let aside = tokio::task::spawn_blocking(move || read(&kind, &body));
    let broken = || Refused::new(StatusCode::INTERNAL_SERVER_ERROR, "The body could not be read.");
    aside.await.unwrap_or_else(|_| Err(broken()))
}

fn key_of(kind: &str, input: &RawValue) -> Result<String, Refused> {
    let allowed = "JSON of at most 64 levels and 1 MiB, with numbers that fit 64 bits";
    let refuse = |status| Refused::parameter(status, "input", input.get(), allowed);
    let input: serde_json::Value = serde_json::from_str(input.get()).map_err(|_| refuse(StatusCode::BAD_REQUEST))?;
    llm::key(kind, &input).map_err(|why| match why {
        NoKey::TooLarge => refuse(StatusCode::PAYLOAD_TOO_LARGE),
        NoKey::Type | NoKey::TooDeep => refuse(StatusCode::BAD_REQUEST),
    })
}

fn question(kind: &str, body: &[u8]) -> Result<String, Refused> {
    let read: Question<'_> = fields_of(body, r#"{"input": {"symbol": "BTCUSDT"}}"#)?;
    key_of(kind, read.input)
}

fn analysis(kind: &str, body: &[u8]) -> Result<(String, Bytes), Refused> {
    let example = r#"{"input": {"symbol": "BTCUSDT"}, "analysis": {"mood": "calm"}}"#;
    let read: Analysis<'_> = fields_of(body, example)?;
    if read.analysis.get() == "null" {
        // What a computation that failed comes to; it must not replace a good one.
        return Err(Refused::parameter(StatusCode::BAD_REQUEST, "analysis", "null", "anything but null"));
    }
    // Copied, as a slice would keep the input in memory, too.
    Ok((key_of(kind, read.input)?, Bytes::copy_from_slice(read.analysis.get().as_bytes())))
}

pub(crate) async fn find(State(app): State<Arc<App>>, request: Request) -> Answered {
    let kind = kind_of(request.uri())?;
    let wish = Wish::read(&app, request.uri().query())?;
    if wish.claim.is_some() {
        stored_value::admit(&app, request.headers())?;
    }
    let headers = request.headers().clone();
    let body = stored_value::body(&app, request).await?;
    let key = keyed(kind.clone(), body, question).await?;
    let (region, deadline) = (app.region(RegionName::Llm), Instant::now() + wish.wait);
    Ok(Search { app: &app, region, kind, key, wish, headers, deadline }.answer().await)
}

/// A caller's search for an analysis.
struct Search<'a> {
    app: &'a Arc<App>,
    region: &'a Region,
    kind: String,
    key: String,
    wish: Wish,
    headers: HeaderMap,
    /// Until when it waits for another caller's computation.
    deadline: Instant,
}

/// How the wait for another caller's computation ended.
enum Wait {
    Brought(Brought),
    /// The claim was given up, or has run out: the first to look has the next one.
    ClaimEnded,
    TooLong,
}

impl Search<'_> {
    async fn answer(&self) -> Response {
        loop {
            let looked = stored_value::kept(self.region, &self.key).await;
            let is_known = looked.is_ok();
            let absent = |token, busy| self.absent(is_known, token, busy);
            if let Some(kept) = looked.ok().flatten().filter(|kept| kept.is_fresh() || self.wish.last_good) {
                return found(self.region, &kept, &self.headers).await;
            }
            let Some(lease) = self.wish.claim.filter(|_| self.app.cache.is_enabled()) else {
                return absent(None, None);
            };
            let (outcome, until) = match self.app.claims.claim(&self.key, lease).await {
                Turn::Full => return absent(None, None),
                Turn::Yours(token) => {
                    let Some(kept) = self.stored_meanwhile().await else { return absent(Some(&token), None) };
                    // A claim that the store does not take back runs out.
                    drop(self.app.claims.give_up(&self.kind, &token).await);
                    return found(self.region, &kept, &self.headers).await;
                }
                Turn::Taken(outcome, until) => (outcome, until),
            };
            match self.wait(outcome, until).await {
                Wait::Brought(Brought { value, fresh_for }) => {
                    self.region.composite().count(lastgood::Outcome::Joined);
                    return stored_value::respond_joined(&value, fresh_for, &self.headers).await;
                }
                Wait::ClaimEnded => {}
                Wait::TooLong => return absent(None, Some(until)),
            }
        }
    }

    /// The analysis, where it was stored between the look and the claim, here or by another gateway, and its claim ended
    /// with that.
    async fn stored_meanwhile(&self) -> Option<Kept> {
        match self.app.claims.are_shared() {
            true => stored_value::kept(self.region, &self.key).await.ok().flatten().filter(Kept::is_fresh),
            false => stored_value::fresh_in_memory(self.region, &self.key),
        }
    }

    /// Waits for the caller whose claim ends at `until` at the latest.
    async fn wait(&self, mut outcome: Receiver<Option<Brought>>, until: Instant) -> Wait {
        let Search { app, key, deadline, .. } = self;
        if *deadline > Instant::now()
            && let Some(watch) = app.claims.begin_watch(key)
        {
            tokio::spawn(watch::until_it_ends(Arc::downgrade(app), key.clone(), watch));
        }
        let waited = pin!(async {
            let brought = timeout_at(until.min(*deadline), outcome.wait_for(Option::is_some)).await;
            brought.map(|brought| brought.ok().and_then(|brought| brought.clone()))
        });
        match app.places.wait(waited).await {
            Ok(Ok(Some(brought))) => Wait::Brought(brought),
            Ok(Ok(None)) => Wait::ClaimEnded,
            Ok(Err(_)) if until <= *deadline => Wait::ClaimEnded,
            Ok(Err(_)) | Err(_) => Wait::TooLong,
        }
    }

    /// To the application a miss like any other: it computes the analysis. But where the store did not say, neither does
    /// the answer.
    fn absent(&self, is_known: bool, token: Option<&str>, busy: Option<Instant>) -> Response {
        match is_known {
            true => absent(self.region, token, busy),
            false => stored_value::unasked(unknown(self.region, token, busy)),
        }
    }
}

async fn found(region: &Region, kept: &Kept, headers: &HeaderMap) -> Response {
    stored_value::count(region, Some(kept));
    stored_value::respond(kept, headers).await
}

/// There is no analysis. `token` is the caller's claim; `busy` is until when at most another computes it.
fn absent(region: &Region, token: Option<&str>, busy: Option<Instant>) -> Response {
    let detail = match (token, busy) {
        (Some(_), _) => {
            "No analysis of this input is kept. Compute it and PUT it here; others wait for it until the claim ends."
        }
        (None, Some(_)) => "No analysis of this input is kept; another caller is computing it. Ask again.",
        (None, None) => "No analysis of this input is kept. Compute it and PUT it here.",
    };
    stored_value::absent(missing(region, detail, token, busy))
}

/// The same where the store, which would have to say so, does not. To the application it is a miss.
fn unknown(region: &Region, token: Option<&str>, busy: Option<Instant>) -> Response {
    let detail = match busy {
        Some(_) => {
            "Whether an analysis of this input is kept is not known now: the store does not say. Another caller is computing \
             it. Ask again."
        }
        None => {
            "Whether an analysis of this input is kept is not known now: the store does not say. Compute it and PUT it here, \
             or ask again once /health says that the store is back."
        }
    };
    missing(region, detail, token, busy)
}

fn missing(region: &Region, detail: &str, token: Option<&str>, busy: Option<Instant>) -> Response {
    stored_value::count(region, None);
    let mut response = problem::extended(StatusCode::NOT_FOUND, detail, &[("claim", token.into())]);
    let headers = response.headers_mut();
    if let Some(token) = token.and_then(|token| HeaderValue::from_str(token).ok()) {
        headers.insert(X_CLAIM, token);
    }
    if let Some(until) = busy {
        let seconds = until.saturating_duration_since(Instant::now()).as_millis().div_ceil(1_000).max(1);
        headers.insert(RETRY_AFTER, HeaderValue::from(u64::try_from(seconds).unwrap_or(u64::MAX)));
    }
    response
}

pub(crate) async fn store(State(app): State<Arc<App>>, request: Request) -> Answered {
    stored_value::admit(&app, request.headers())?;
    let kind = kind_of(request.uri())?;
    let parameters = Parameters::read(request.uri().query(), &["fresh_for", "ttl", "tags", "claim"])?;
    let mut loaded = parameters.to_keep()?;
    // A claim that ran out is no reason to throw away what was computed; only what can be none is refused.
    claim_of(&parameters)?;
    let body = stored_value::body(&app, request).await?;
    let (key, bytes) = keyed(kind, body, analysis).await?;
    let is_storable = stored_value::check_room(&app, &bytes)?;
    let region = app.region(RegionName::Llm);
    let was_there = stored_value::is_there(region, &key).await.unwrap_or(false);
    let etag = EntityTag::of_value(&HeaderValue::from_static(JSON), &bytes);
    loaded.value = lastgood::Value::new(bytes).with_meta(JSON);
    let fresh_for = loaded.fresh_for.unwrap_or(region.policy().fresh_for);
    let fresh_for = loaded.ttl.map_or(fresh_for, |ttl| ttl.min(fresh_for));
    let brought = Brought { value: loaded.value.clone(), fresh_for };
    region.put(&key, loaded).await;
    app.claims.fulfil(&key, brought);
    let stored = stored_value::stored(was_there, &etag);
    let stored = match is_storable {
        true => stored_value::confirmed(&app, region, &key, None, stored).await,
        false => stored_value::in_memory_alone(stored),
    };
    // Not before the store has the analysis: the next to claim it must find it.
    app.claims.release(&key).await;
    Ok(stored)
}

pub(crate) async fn give_up(State(app): State<Arc<App>>, uri: Uri, headers: HeaderMap) -> Answered {
    stored_value::admit(&app, &headers)?;
    let kind = kind_of(&uri)?;
    let parameters = Parameters::read(uri.query(), &["claim"])?;
    let Some(token) = claim_of(&parameters)? else {
        return Err(Refused::parameter(StatusCode::BAD_REQUEST, "claim", "", TOKEN));
    };
    match app.claims.give_up(&kind, token).await {
        Ok(true) => Ok(stored_value::gone()),
        Ok(false) => Err(Refused::new(StatusCode::NOT_FOUND, "This claim is not held, or not any more.")),
        Err(why) => Err(claim_unknown(&why)),
    }
}

fn claim_unknown(why: &StoreError) -> Refused {
    let detail = format!(
        "Whether this claim is held is not known now: this gateway does not know it, and the store, where another may have \
         taken it, did not answer: {}.",
        stored_value::reason(why)
    );
    stored_value::ask_again(&detail, "Ask again once the store is back, or leave it: the claim runs out by itself.")
        .into()
}

const TOKEN: &str = "the token from X-Claim";

fn claim_of(parameters: &Parameters) -> Result<Option<&str>, Refused> {
    match parameters.get("claim") {
        Some(text) if !is_token(text) => Err(Refused::parameter(StatusCode::BAD_REQUEST, "claim", text, TOKEN)),
        given => Ok(given),
    }
}
