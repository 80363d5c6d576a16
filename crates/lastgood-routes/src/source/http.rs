//! Declared HTTP APIs that answer JSON. Only the declared URLs are ever asked: no redirect is followed, and a name that
//! leads to an address that is not public is not.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode, Version, header};
use lastgood::{Error, Reason};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Client, Url, redirect};
use tokio::sync::Semaphore;

use super::error::SourceError;
use super::tls::NoClient;
use super::{Answer, CheckError, ConnectOptions, Held, Loaded, Source, neutral, proxy, stays_one_segment, tls};
use crate::arguments::{Argument, Arguments};

mod document;
mod freshness;
mod resolver;
mod spec;

use self::resolver::{NotPublic, Public, is_private_host};
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
    /// What TLS says, for the operator alone.
    tls: Option<String>,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Failed { error, hint: None, tls: None }
    }
}

impl Failed {
    /// The same for `lastgood check`, with a hint for the case that none is known yet.
    fn of_check(self, hint: &'static str) -> CheckError {
        CheckError::Api { why: Box::new(self.error), tls: self.tls, hint: self.hint.unwrap_or(hint) }
    }
}

/// A declared API with its connections.
pub(crate) struct Api {
    name: String,
    client: Client,
    spec: ApiSpec,
    /// Whether a proxy leads to it.
    proxied: bool,
    max_bytes: usize,
    places: Semaphore,
}

impl Api {
    /// # Errors
    ///
    /// Why no connections can be made, and how to fix it.
    pub(crate) fn new(name: &str, spec: &ApiSpec, connect: &ConnectOptions) -> Result<Arc<Self>, NoClient> {
        // reqwest takes the provider of the process; the first to install one decides.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // A proxy resolves the names itself: then it is for the proxy to lead to no private address.
        let proxied = proxy::of(&connect.proxies, spec.base()).is_some();
        let client = match proxied {
            true => proxy::by(Client::builder(), &connect.proxies),
            // All that is asked has one origin, so that not each request has to look for its proxy.
            false => Client::builder().no_proxy(),
        };
        let mut client = client
            .user_agent(USER_AGENT)
            .redirect(redirect::Policy::none())
            .connect_timeout(connect.connect_timeout)
            .timeout(spec.timeout);
        if !spec.allow_private && !is_private_host(&spec.url) && !proxied {
            client = client.dns_resolver(Arc::new(Public));
        }
        let client = client.build().map_err(NoClient)?;
        Ok(Arc::new(Api {
            name: name.to_owned(),
            client,
            spec: spec.clone(),
            proxied,
            max_bytes: connect.max_answer_bytes,
            places: Semaphore::new(connect.max_concurrent),
        }))
    }

    async fn get(&self, url: Url, validator: Option<&str>) -> Result<reqwest::Response, Failed> {
        let mut request = self.client.get(url).header(header::ACCEPT, "application/json");
        for (name, value) in &self.spec.headers {
            request = request.header(name, value);
        }
        if let Some(validator) = validator {
            request = request.header(header::IF_NONE_MATCH, validator);
        }
        request.send().await.map_err(|why| self.unanswered(&why))
    }

    /// Never the error's own text: it holds the URL, and so its secrets.
    fn unanswered(&self, why: &reqwest::Error) -> Failed {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(why);
        while let Some(one) = cause {
            if one.is::<NotPublic>() {
                let message = format!("the name of api {} leads to no public address", self.name);
                return Error::new(Reason::Unreachable, message).into();
            }
            cause = one.source();
        }
        if why.is_timeout() {
            let message = format!("api {} did not answer within {} ms", self.name, self.spec.timeout.as_millis());
            return Error::new(Reason::TimedOut, message).into();
        }
        if let Some(failed) = by_proxy(why).filter(|_| self.proxied) {
            let message = format!("api {} cannot be reached: {failed}", self.name);
            return Failed { error: Error::new(Reason::Unreachable, message), hint: Some(proxy::HINT), tls: None };
        }
        let tls = tls::failure(why);
        let how = if tls.is_some() { "cannot be reached over TLS" } else { "cannot be reached, or broke off" };
        Failed { error: Error::new(Reason::Unreachable, format!("api {} {how}", self.name)), hint: None, tls }
    }

    async fn read(&self, mut response: reqwest::Response) -> Result<Bytes, Error> {
        let too_large = || {
            let message = format!("the answer of api {} is larger than upstream.max_answer_bytes", self.name);
            Error::new(Reason::Malformed, message)
        };
        if response.content_length().is_some_and(|length| length > self.max_bytes as u64) {
            return Err(too_large());
        }
        let mut body = BytesMut::new();
        while let Some(part) = response.chunk().await.map_err(|why| self.unanswered(&why).error)? {
            if body.len() + part.len() > self.max_bytes {
                return Err(too_large());
            }
            body.extend_from_slice(&part);
        }
        Ok(body.freeze())
    }
}

/// The error for a proxy that an API was asked by in vain.
fn by_proxy(why: &reqwest::Error) -> Option<&'static str> {
    let failed = proxy::failure(why);
    failed.or_else(|| {
        (why.is_connect() && tls::failure(why).is_none()).then_some("the proxy, or the API behind it, does not answer")
    })
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
            200..=299 => None,
            404 | 410 => error(Reason::NotFound, "has no such thing"),
            429 => {
                let error = Error::new(Reason::RateLimited, format!("api {api} asks to wait"));
                Some(match freshness::retry_after(headers) {
                    Some(wait) => error.with_retry_after(wait),
                    None => error,
                })
            }
            407 if self.api.proxied => {
                error(Reason::Unreachable, "cannot be reached: the proxy wants a user and a password, or others (407)")
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
        let Some(url) = self.url(arguments) else {
            return Err(Error::new(Reason::NotFound, format!("api {} has no such path", api.name)).into());
        };
        let Ok(_place) = api.places.try_acquire() else {
            let message = format!("api {} is being asked too much already", api.name);
            return Err(Error::new(Reason::Overloaded, message).into());
        };
        let held = held.filter(|held| held.validator.is_some());
        let mut response = api.get(url, held.and_then(|held| held.validator.as_deref())).await?;
        let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
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
        let is_whole = response.version() >= Version::HTTP_2
            || headers.contains_key(header::CONTENT_LENGTH)
            || headers.contains_key(header::TRANSFER_ENCODING);
        let body = api.read(response).await?;
        let answer = self.answer(&headers, body, is_whole)?;
        Ok(Loaded::Answer(self.selected(answer, arguments).await?))
    }
}

#[async_trait]
impl Source for HttpSource {
    async fn load(&self, arguments: &Arguments, held: Option<&Held>) -> Result<Loaded, Error> {
        self.fetch(arguments, held).await.map_err(|failed| match failed.tls {
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
        let response = self.api.get(self.api.spec.url.clone(), None).await;
        let status = response.map_err(|why| why.of_check("check its url and the network"))?.status();
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
