//! The exchange's hosts: the only place that opens connections to them.
//!
//! A host comes from the configuration, by venue, and from nowhere else. Redirects are not followed: they are answers
//! like any other. Requests are put on the wire with the bytes they came with, because those are what was signed.

use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Request, Response, Uri, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use lastgood::{Clock, Error, Reason};
use lastgood_market::plan::Source;
use lastgood_market::validate::Fetched;
use lastgood_market::{Budget, Venue};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::{BaseUrl, Settings};

const USER_AGENT: &str = concat!("lastgood/", env!("CARGO_PKG_VERSION"));
/// A WAF that answers 403 wants less of us; it names no time.
const WAF_PAUSE: Duration = Duration::from_secs(10);
/// A pause that names no time.
const PAUSE_BY_DEFAULT: Duration = Duration::from_secs(60);

/// All venues, behind one connection pool.
pub(crate) struct Upstreams {
    client: Client<HttpsConnector<HttpConnector>, Body>,
    venues: [VenueUpstream; 3],
    max_answer: usize,
}

/// One venue's hosts and limits.
pub(crate) struct VenueUpstream {
    bases: Vec<BaseUrl>,
    permits: Arc<Semaphore>,
    /// What may still be asked.
    pub(crate) budget: Budget,
}

/// Why a request was not answered by the exchange.
#[derive(Debug)]
pub(crate) enum Unanswered {
    /// It never reached the exchange, so nothing has happened.
    NotSent(String),
    /// It may have reached the exchange: what became of it is unknown.
    Unknown(String),
}

impl Upstreams {
    pub(crate) fn new(settings: &Settings, clock: &Clock) -> Result<Self, String> {
        let venue = |venue: Venue, bases: &[BaseUrl]| VenueUpstream {
            bases: bases.to_vec(),
            permits: Arc::new(Semaphore::new(settings.upstream.max_concurrent)),
            budget: Budget::new(venue, clock.clone()),
        };
        let binance = &settings.binance;
        Ok(Upstreams {
            client: client(settings)?,
            venues: [
                venue(Venue::Spot, &binance.spot_url),
                venue(Venue::Futures, &binance.futures_url),
                venue(Venue::Coin, &binance.coin_url),
            ],
            max_answer: usize::try_from(settings.upstream.max_answer_bytes).unwrap_or(usize::MAX),
        })
    }

    pub(crate) fn venue(&self, venue: Venue) -> &VenueUpstream {
        &self.venues[venue as usize]
    }

    /// The hosts of a venue, in the order they are tried.
    pub(crate) fn hosts(&self, venue: Venue) -> Vec<String> {
        self.venue(venue).bases.iter().map(|base| base.host().to_owned()).collect()
    }

    /// Fetches a public answer, whole, from the first base that can be reached.
    pub(crate) async fn fetch(&self, source: &Source) -> Result<Fetched, Error> {
        self.fetch_as(source, None).await
    }

    /// As [`Upstreams::fetch`], with an API key of the gateway's own user.
    pub(crate) async fn fetch_as(&self, source: &Source, key: Option<&HeaderValue>) -> Result<Fetched, Error> {
        let venue = self.venue(source.endpoint.venue);
        let _permit = venue.permit()?;
        venue.budget.spend(source.weight)?;
        let target = match source.query.as_str() {
            "" => source.endpoint.path.to_owned(),
            query => format!("{}?{query}", source.endpoint.path),
        };
        let mut unreachable = Error::new(Reason::Unreachable, "no upstream is configured");
        for base in &venue.bases {
            let request = public_request(base, &target, source.micros, key)
                .map_err(|why| Error::new(Reason::NotFound, format!("not a request that can be sent: {why}")))?;
            match self.client.request(request).await {
                Ok(response) => return self.read(response, source, venue).await,
                // Only what was never sent may be asked of the next base, or one question would cost two weights.
                Err(why) if why.is_connect() => {
                    unreachable = Error::new(Reason::Unreachable, format!("{} cannot be reached", base.host()));
                }
                Err(_) => return Err(Error::new(Reason::Unreachable, format!("{} broke off", base.host()))),
            }
        }
        Err(unreachable)
    }

    async fn read(
        &self,
        response: Response<Incoming>,
        source: &Source,
        venue: &VenueUpstream,
    ) -> Result<Fetched, Error> {
        let (head, body) = response.into_parts();
        if let Some(used) = used_weight(&head.headers).filter(|_| source.endpoint.states_weight) {
            venue.budget.learn_used(used);
        }
        let body = self.collect(body).await?;
        let body = match head.headers.get(header::CONTENT_ENCODING).map(HeaderValue::as_bytes) {
            None | Some(b"identity") => body,
            Some(b"gzip") => gunzip(&body, self.max_answer)?,
            Some(_) => return Err(Error::new(Reason::Malformed, "the answer has an encoding nobody asked for")),
        };
        let text = |name| head.headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let fetched = Fetched {
            status: head.status.as_u16(),
            content_type: text(header::CONTENT_TYPE).unwrap_or_default().to_owned(),
            retry_after: retry_after(&head.headers),
            body,
        };
        venue.heed(fetched.status, || {
            let error = fetched.clone().into_error(venue.budget.now());
            error.retry_after.unwrap_or(PAUSE_BY_DEFAULT)
        });
        Ok(fetched)
    }

    async fn collect(&self, mut body: Incoming) -> Result<Bytes, Error> {
        let mut collected = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Error::new(Reason::Malformed, "the answer broke off"))?;
            let Ok(data) = frame.into_data() else { continue };
            if collected.len() + data.len() > self.max_answer {
                return Err(too_large(self.max_answer));
            }
            collected.extend_from_slice(&data);
        }
        Ok(collected.freeze())
    }

    /// Sends a request on as it came, to the first base that can be reached, and gives back the answer's head with
    /// its body still to come.
    pub(crate) async fn forward(&self, venue: Venue, request: Request<Body>) -> Result<Response<Incoming>, Unanswered> {
        let venue = self.venue(venue);
        let (mut head, body) = request.into_parts();
        let target = head.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        strip_hop_by_hop(&mut head.headers);
        head.headers.remove(header::HOST);
        let mut body = Some(body);
        let mut not_sent = "no upstream is configured".to_owned();
        for base in &venue.bases {
            head.uri = join(base, target.as_str()).map_err(Unanswered::NotSent)?;
            // A body can be sent once; without one the next base may be tried.
            let body_now = body.take().unwrap_or_default();
            let is_empty = http_body::Body::is_end_stream(&body_now);
            match self.client.request(Request::from_parts(head.clone(), body_now)).await {
                Ok(response) => {
                    if let Some(used) = used_weight(response.headers()) {
                        venue.budget.learn_used(used);
                    }
                    venue.heed(response.status().as_u16(), || {
                        retry_after(response.headers()).unwrap_or(PAUSE_BY_DEFAULT)
                    });
                    return Ok(response);
                }
                Err(why) if why.is_connect() => {
                    not_sent = format!("{} cannot be reached", base.host());
                    if !is_empty {
                        break;
                    }
                }
                Err(_) => return Err(Unanswered::Unknown(format!("{} broke off before it answered", base.host()))),
            }
        }
        Err(Unanswered::NotSent(not_sent))
    }
}

impl VenueUpstream {
    fn permit(&self) -> Result<OwnedSemaphorePermit, Error> {
        Arc::clone(&self.permits)
            .try_acquire_owned()
            .map_err(|_| Error::new(Reason::Overloaded, "too many requests to the exchange are under way already"))
    }

    /// Stops asking when the exchange says so.
    fn heed(&self, status: u16, wait: impl FnOnce() -> Duration) {
        match status {
            418 => self.budget.stop(Reason::Banned, wait()),
            429 => self.budget.stop(Reason::RateLimited, wait()),
            403 => self.budget.stop(Reason::RateLimited, WAF_PAUSE),
            _ => {}
        }
    }
}

fn client(settings: &Settings) -> Result<Client<HttpsConnector<HttpConnector>, Body>, String> {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_keepalive(Some(Duration::from_secs(30)));
    connector.set_connect_timeout(Some(settings.upstream.connect_timeout));
    let provider = rustls::crypto::ring::default_provider();
    let connector = HttpsConnectorBuilder::new()
        .with_provider_and_native_roots(provider)
        .map_err(|why| format!("the system's certificate authorities cannot be read: {why}; install ca-certificates"))?
        .https_or_http()
        .enable_http1()
        .wrap_connector(connector);
    Ok(Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(Duration::from_secs(60))
        .set_host(true)
        .build(connector))
}

fn public_request(
    base: &BaseUrl,
    target: &str,
    micros: bool,
    key: Option<&HeaderValue>,
) -> Result<Request<Body>, String> {
    let mut request = Request::get(join(base, target)?)
        .header(header::USER_AGENT, USER_AGENT)
        .header(header::ACCEPT, "application/json")
        .header(header::ACCEPT_ENCODING, "gzip");
    if micros {
        request = request.header("x-mbx-time-unit", "MICROSECOND");
    }
    if let Some(key) = key {
        request = request.header("x-mbx-apikey", key);
    }
    request.body(Body::empty()).map_err(|why| why.to_string())
}

/// The base with the request's own path and query behind it. The parts are never re-encoded.
fn join(base: &BaseUrl, target: &str) -> Result<Uri, String> {
    format!("{}{target}", base.as_str()).parse().map_err(|why: http::uri::InvalidUri| why.to_string())
}

fn used_weight(headers: &HeaderMap) -> Option<u32> {
    headers.get("x-mbx-used-weight-1m")?.to_str().ok()?.trim().parse().ok()
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// Takes out what concerns one connection only (RFC 9110, 7.6.1).
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<_> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| header::HeaderName::try_from(name.trim()).ok())
        .collect();
    const ALWAYS: [header::HeaderName; 7] = [
        header::CONNECTION,
        header::PROXY_AUTHENTICATE,
        header::PROXY_AUTHORIZATION,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ];
    for name in named.iter().chain(&ALWAYS) {
        headers.remove(name);
    }
    headers.remove("keep-alive");
    headers.remove("proxy-connection");
}

fn gunzip(packed: &[u8], max: usize) -> Result<Bytes, Error> {
    let mut body = Vec::with_capacity(packed.len().saturating_mul(4).min(max));
    let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    let read = flate2::read::MultiGzDecoder::new(packed).take(limit).read_to_end(&mut body);
    match read {
        Ok(length) if length > max => Err(too_large(max)),
        Ok(_) => Ok(body.into()),
        Err(_) => Err(Error::new(Reason::Malformed, "the answer's compression is damaged")),
    }
}

fn too_large(max: usize) -> Error {
    Error::new(Reason::Malformed, format!("the answer is larger than upstream.max_answer_bytes, {max}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_concerns_one_connection_is_not_sent_on() {
        let mut headers = HeaderMap::new();
        for (name, value) in
            [("connection", "close, X-Private-Hop"), ("x-private-hop", "1"), ("keep-alive", "5"), ("x-mbx-apikey", "k")]
        {
            headers.append(name, HeaderValue::from_static(value));
        }
        strip_hop_by_hop(&mut headers);
        assert_eq!(headers.keys().map(header::HeaderName::as_str).collect::<Vec<_>>(), ["x-mbx-apikey"]);
    }

    #[test]
    fn a_small_body_that_unpacks_to_too_much_is_refused() {
        use std::io::Write as _;
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        packer.write_all(&vec![b'0'; 1 << 20]).unwrap();
        let packed = packer.finish().unwrap();
        assert_eq!(gunzip(&packed, 1 << 20).unwrap().len(), 1 << 20);
        assert_eq!(gunzip(&packed, (1 << 20) - 1).unwrap_err().reason, Reason::Malformed);
        assert!(gunzip(&packed[..packed.len() / 2], 1 << 21).is_err());
    }
}
