//! Declared HTTP APIs that answer JSON. Only the declared URLs are ever asked: no redirect is followed, and a name that
//! leads to an address that is not public is not.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, header};
use lastgood::http_client::{HttpClient, HttpError, HttpOptions, Incoming, NoTls, Progress, Trust, body, read};
use lastgood::proxy::Proxies;
use lastgood::{Error, Reason};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use url::Url;

use super::error::SourceError;
use super::{Answer, CheckError, ConnectOptions, Held, Loaded, Source, neutral, stays_one_segment, tls};
use crate::arguments::{Argument, Arguments};

mod document;
mod freshness;
mod public;
mod spec;

use self::public::{is_private_host, is_public};
pub use self::spec::{ApiSpec, Expect, Is, QueryValue, RequestSpec};

const USER_AGENT: &str = concat!("lastgood/", env!("CARGO_PKG_VERSION"));
/// Everything else in an argument is sent as `%XX`.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
/// What APIs say of a question that is wrong, such as one about a symbol that they do not know.
const WRONG: u16 = 400;
const WRONG_CONTENT: u16 = 422;
/// A longer entity tag is not kept.
const LONGEST_ETAG: usize = 512;

/// Why there is no answer.
struct Failed {
    error: Error,
    /// How to fix it, where that is known.
    hint: Option<&'static str>,
    /// What TLS or the proxy says, for the operator alone.
    said: Option<String>,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Failed { error, hint: None, said: None }
    }
}

impl Failed {
    /// The same for `lastgood check`, with a hint for the case that none is known yet.
    fn of_check(self, hint: &'static str) -> CheckError {
        CheckError::Api { why: Box::new(self.error), said: self.said, hint: self.hint.unwrap_or(hint) }
    }
}

/// A declared API with its connections.
pub(crate) struct Api {
    name: String,
    client: HttpClient,
    spec: ApiSpec,
    max_bytes: usize,
    places: Semaphore,
}

impl Api {
    /// # Errors
    ///
    /// Why no connections can be made, and how to fix it.
    pub(crate) fn new(name: &str, spec: &ApiSpec, connect: &ConnectOptions) -> Result<Arc<Self>, NoTls> {
        // All that is asked has one origin: either a proxy leads to it or none does.
        let is_proxied = spec.base().parse().is_ok_and(|uri: Uri| connect.proxies.of(&uri).is_some());
        let proxies = if is_proxied { connect.proxies.clone() } else { Proxies::default() };
        // A proxy resolves the names itself: then it is for the proxy to lead to no private address.
        let is_bounded = !spec.allow_private && !is_private_host(&spec.url) && !is_proxied;
        let trust = if is_proxied || spec.url.scheme() == "https" { Trust::System } else { Trust::Nothing };
        let client = HttpClient::new(&HttpOptions {
            proxies,
            trust,
            may_lead_to: is_bounded.then_some(is_public),
            ..HttpOptions::new(connect.connect_timeout)
        })?;
        Ok(Arc::new(Api {
            name: name.to_owned(),
            client,
            spec: spec.clone(),
            max_bytes: connect.max_answer_bytes,
            places: Semaphore::new(connect.max_concurrent),
        }))
    }

    async fn get(
        &self,
        uri: Uri,
        validator: Option<&str>,
        progress: &Progress,
    ) -> Result<Response<Incoming>, HttpError> {
        // Those set here, those declared, and `Host`.
        let mut headers = HeaderMap::with_capacity(self.spec.headers.len() + 5);
        headers.append(header::ACCEPT, HeaderValue::from_static("application/json"));
        for (name, value) in &self.spec.headers {
            headers.append(name, value.clone());
        }
        if let Some(validator) = validator.and_then(|text| HeaderValue::from_str(text).ok()) {
            headers.append(header::IF_NONE_MATCH, validator);
        }
        headers.entry(header::USER_AGENT).or_insert(HeaderValue::from_static(USER_AGENT));
        headers.entry(header::ACCEPT_ENCODING).or_insert(HeaderValue::from_static("gzip"));
        let mut request = Request::new(body(Bytes::new()));
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        self.client.send_with(request, progress).await
    }

    /// What comes of asking it, in the time that all of an answer may take.
    async fn in_time<T>(
        &self,
        asked: impl Future<Output = Result<T, HttpError>>,
        progress: &Progress,
    ) -> Result<T, Failed> {
        let Ok(asked) = timeout(self.spec.timeout, asked).await else {
            let (name, within, late) = (&self.name, self.spec.timeout.as_millis(), progress.stage().late());
            let message = format!("api {name} did not answer within {within} ms: {late}");
            return Err(Error::new(Reason::TimedOut, message).into());
        };
        asked.map_err(|why| self.unanswered(why))
    }

    /// Its message names no address.
    fn unanswered(&self, why: HttpError) -> Failed {
        let name = &self.name;
        let failed = |reason, message| Failed::from(Error::new(reason, message));
        match &why {
            HttpError::NotAllowed => {
                failed(Reason::Unreachable, format!("the name of api {name} leads to no public address"))
            }
            HttpError::Proxy(failure) => Failed {
                error: Error::new(Reason::Unreachable, format!("api {name} cannot be reached by the proxy")),
                hint: Some(failure.hint()),
                // What follows a semicolon is read as the hint.
                said: Some(failure.to_string().replace("; ", ", ")),
            },
            HttpError::TooLarge => {
                let message = format!("the answer of api {name} is larger than upstream.max_answer_bytes");
                failed(Reason::Malformed, message)
            }
            HttpError::Encoding | HttpError::Damaged => {
                failed(Reason::Malformed, format!("the answer of api {name} cannot be unpacked"))
            }
            _ => {
                let said = tls::failure(&why);
                let how = match (&said, why.is_unsent()) {
                    (Some(_), _) => "cannot be reached over TLS",
                    (None, true) => "cannot be reached",
                    (None, false) => "broke off",
                };
                let reason = if why.is_timeout() { Reason::TimedOut } else { Reason::Unreachable };
                let message = format!("api {name} {how}: {}", why.in_words());
                let hint = said.is_some().then_some(tls::HINT);
                Failed { error: Error::new(reason, message).with_source(why), hint, said }
            }
        }
    }
}

/// One path of an API.
pub(crate) struct HttpSource {
    api: Arc<Api>,
    spec: RequestSpec,
    /// Its URL, where no argument is in the path.
    fixed: Option<Url>,
}

impl HttpSource {
    /// # Errors
    ///
    /// When the path does not stay what it is in a URL.
    pub(crate) fn new(api: Arc<Api>, spec: RequestSpec) -> Result<Self, SourceError> {
        let source = HttpSource { api, spec, fixed: None };
        let path = source.spec.path.fill(&Arguments::default(), str::to_owned);
        // Without its arguments it may hold an empty part, which is no harm to any URL.
        match source.below_base(&path) {
            Some(url) => {
                let is_fixed = source.spec.path.places().next().is_none();
                Ok(HttpSource { fixed: is_fixed.then_some(url), ..source })
            }
            None => Err(SourceError::Path(source.spec.path.to_string())),
        }
    }

    /// The URL of a path below the base; `None` where the path means another one to URLs.
    fn below_base(&self, path: &str) -> Option<Url> {
        let base = &self.api.spec.url;
        let url = Url::parse(&format!("{}{path}", self.api.spec.base())).ok()?;
        let same_place = url.origin() == base.origin() && url.username().is_empty() && url.password().is_none();
        let unchanged = url.as_str() == format!("{}{path}", self.api.spec.base());
        (same_place && unchanged && url.query().is_none() && url.fragment().is_none()).then_some(url)
    }

    pub(crate) fn url(&self, arguments: &Arguments) -> Option<Url> {
        let mut url = self.fixed.clone().or_else(|| self.filled(arguments))?;
        let mut query = String::new();
        for (name, value) in &self.spec.query {
            let Some(value) = value.fill(arguments) else { continue };
            query.push_str(if query.is_empty() { "" } else { "&" });
            query.extend(utf8_percent_encode(name, ENCODED));
            query.push('=');
            query.extend(utf8_percent_encode(&value, ENCODED));
        }
        url.set_query(Some(query.as_str()).filter(|query| !query.is_empty()));
        Some(url)
    }

    /// The URL of its path with these arguments in it.
    fn filled(&self, arguments: &Arguments) -> Option<Url> {
        let encode = |text: &str| utf8_percent_encode(text, ENCODED).to_string();
        let path = &self.spec.path;
        // Each by itself, as a slash in one would make two segments of it; and what they come to where two stand together.
        let given = path.places().filter_map(|name| arguments.get(name)).filter(|value| **value != Argument::Absent);
        let segments = given.map(ToString::to_string).chain(path.filled_segments(arguments, neutral));
        if !{ segments }.all(|text| stays_one_segment(&text)) {
            return None;
        }
        self.below_base(&path.fill(arguments, encode))
    }

    /// What the status says where it brings no answer.
    fn refused(&self, status: StatusCode, headers: &HeaderMap) -> Option<Error> {
        let api = &self.api.name;
        let error = |reason, what: &str| Some(Error::new(reason, format!("api {api} {what}")));
        match status.as_u16() {
            200 => None,
            code @ 201..=299 => {
                error(Reason::Malformed, &format!("answers with {code}, which is no whole answer of its own"))
            }
            404 | 410 => error(Reason::NotFound, "has no such thing"),
            429 => {
                let error = Error::new(Reason::RateLimited, format!("api {api} asks to wait"));
                Some(match freshness::retry_after(headers) {
                    Some(wait) => error.with_retry_after(wait),
                    None => error,
                })
            }
            300..=399 => error(Reason::Malformed, "answers with a redirect, which is not followed"),
            401 | 403 => error(Reason::Upstream, "refuses the key that it is asked with, or lacks one"),
            code @ (WRONG | WRONG_CONTENT) => error(Reason::Upstream, &format!("refuses the question ({code})")),
            code => error(Reason::Upstream, &format!("answers with the error {code}")),
        }
    }

    /// `is_whole`: whether HTTP said where the body ends.
    fn answer(&self, headers: &HeaderMap, body: Bytes, is_whole: bool) -> Result<Answer, Error> {
        let name = &self.api.name;
        let expect = &self.spec.expect;
        let document = document::checked(&body, expect)
            .map_err(|unfit| Error::new(Reason::Malformed, format!("the answer of api {name} {unfit}")))?;
        if !is_whole && !document::shows_its_end(document) {
            return Err(Error::new(Reason::Malformed, format!("the answer of api {name} may have broken off")));
        }
        let said = self.spec.fresh_for_field.as_ref();
        let fresh_for = match said.and_then(|steps| document::seconds(document, steps)) {
            Some(seconds) => Some(freshness::bounded(seconds)),
            None => freshness::of_headers(headers),
        };
        let validator = headers.get(header::ETAG).and_then(|tag| tag.to_str().ok());
        let validator = validator.filter(|tag| tag.len() <= LONGEST_ETAG).map(str::to_owned);
        Ok(Answer { body, content_type: "application/json".to_owned(), validator, fresh_for })
    }

    /// The part of an answer that is declared. It goes without the whole answer's validator: what `expect` and
    /// `fresh_for_field` look at is not kept, so that an answer of 304 could not be judged.
    async fn selected(&self, answer: Answer, arguments: &Arguments) -> Result<Answer, Error> {
        let select = &self.spec.select;
        if select.is_whole() {
            return Ok(answer);
        }
        let body = select.select(answer.body, arguments).await.map_err(|why| {
            Error::new(Reason::Malformed, format!("the answer of api {} is not as declared: {why}", self.api.name))
        })?;
        Ok(Answer { body, validator: None, ..answer })
    }
}

impl HttpSource {
    async fn fetch(&self, arguments: &Arguments, held: Option<&Held>) -> Result<Loaded, Failed> {
        let api = &self.api;
        let uri = self.url(arguments).and_then(|url| Uri::try_from(String::from(url)).ok());
        let Some(uri) = uri else {
            return Err(Error::new(Reason::NotFound, format!("api {} has no such path", api.name)).into());
        };
        let Ok(_place) = api.places.try_acquire() else {
            let message = format!("api {} is being asked too much already", api.name);
            return Err(Error::new(Reason::Overloaded, message).into());
        };
        let held = held.filter(|held| held.validator.is_some());
        let progress = Progress::default();
        let asked = async {
            let validator = held.and_then(|held| held.validator.as_deref());
            let (head, body) = api.get(uri, validator, &progress).await?.into_parts();
            let body = match head.status.is_success() {
                true => read(&head.headers, body, api.max_bytes).await?,
                false => Bytes::new(),
            };
            Ok((head.status, head.headers, body))
        };
        let (status, headers, body) = api.in_time(asked, &progress).await?;
        if let (StatusCode::NOT_MODIFIED, Some(held)) = (status, held) {
            // Its freshness may be another one now.
            let answer = self.answer(&headers, held.body.clone(), true)?;
            let validator = answer.validator.or_else(|| held.validator.clone());
            return Ok(Loaded::Answer(Answer { validator, ..answer }));
        }
        if let Some(error) = self.refused(status, &headers) {
            return match status.as_u16() {
                WRONG | WRONG_CONTENT => Ok(Loaded::Refused(error)),
                _ => Err(error.into()),
            };
        }
        let is_whole = headers.contains_key(header::CONTENT_LENGTH) || headers.contains_key(header::TRANSFER_ENCODING);
        let answer = self.answer(&headers, body, is_whole)?;
        Ok(Loaded::Answer(self.selected(answer, arguments).await?))
    }
}

#[async_trait]
impl Source for HttpSource {
    async fn load(&self, arguments: &Arguments, held: Option<&Held>) -> Result<Loaded, Error> {
        self.fetch(arguments, held).await.map_err(|failed| match failed.said {
            Some(why) => failed.error.with_detail(why),
            None => failed.error,
        })
    }

    async fn check(&self) -> Result<(), CheckError> {
        let places =
            self.spec.path.places().count() + self.spec.query.iter().filter(|(_, value)| value.has_places()).count();
        if places == 0 {
            let loaded = self.fetch(&Arguments::default(), None).await;
            let loaded = match loaded {
                Ok(Loaded::Refused(error)) => Err(error.into()),
                loaded => loaded,
            };
            return loaded.map(drop).map_err(|why| why.of_check("check its url, path and headers"));
        }
        // What to ask for is not known, but whether anybody answers is.
        let hint = "check its url and the network";
        let api = &self.api;
        let uri = Uri::try_from(api.spec.url.as_str()).map_err(|_| {
            let message = format!("the url of api {} cannot be asked", api.name);
            Failed::from(Error::new(Reason::Unreachable, message)).of_check(hint)
        })?;
        let progress = Progress::default();
        let response = api.in_time(api.get(uri, None, &progress), &progress).await;
        let status = response.map_err(|why| why.of_check(hint))?.status();
        match status.is_server_error() {
            true => Err(CheckError::ApiStatus { api: self.api.name.clone(), status: status.as_u16() }),
            false => Ok(()),
        }
    }
}

impl fmt::Display for HttpSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "api {} {}", self.api.name, self.spec.path)
    }
}

impl fmt::Debug for HttpSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpSource({self})")
    }
}
