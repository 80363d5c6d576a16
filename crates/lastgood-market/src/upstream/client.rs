//! The connections to the exchange, and the form of requests and answers.

use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Uri, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use lastgood::proxy::{Proxies, ProxyConnector};
use lastgood::{Error, Reason, Timestamp};
use rustls::ClientConfig;

use super::error::UpstreamError;
use super::options::BaseUrl;
use crate::validate::Fetched;

const USER_AGENT: &str = concat!("lastgood/", env!("CARGO_PKG_VERSION"));
/// The weight used in a minute, as answers state it.
const USED_WEIGHT: HeaderName = HeaderName::from_static("x-mbx-used-weight-1m");
/// Of a request of our own, `Host` among them.
const MOST_HEADERS: usize = 6;

/// The body of a request that is sent on.
pub type RequestBody = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

pub(super) type HttpClient = Client<HttpsConnector<ProxyConnector>, RequestBody>;

pub(super) fn no_body() -> RequestBody {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

pub(super) fn client(connect_timeout: Duration, proxies: &Proxies) -> Result<HttpClient, UpstreamError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let tls = tls.map_err(UpstreamError::Tls)?.with_native_roots();
    let tls = tls.map_err(UpstreamError::Authorities)?.with_no_client_auth();
    let connector = ProxyConnector::new(proxies.clone(), tls.clone(), connect_timeout);
    let connector =
        HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(connector);
    Ok(Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(Duration::from_secs(60))
        .set_host(true)
        .build(connector))
}

pub(super) fn public_request(
    host: &BaseUrl,
    target: &str,
    micros: bool,
    key: Option<&HeaderValue>,
) -> Result<Request<RequestBody>, http::Error> {
    let mut headers = HeaderMap::with_capacity(MOST_HEADERS);
    headers.insert(header::HOST, host.host_header().clone());
    headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
    if micros {
        headers.insert("x-mbx-time-unit", HeaderValue::from_static("MICROSECOND"));
    }
    if let Some(key) = key {
        headers.insert("x-mbx-apikey", key.clone());
    }
    let mut request = Request::new(no_body());
    *request.uri_mut() = join(host, target)?;
    *request.headers_mut() = headers;
    Ok(request)
}

/// Reads an answer to its end, at most `max` bytes of it.
pub(super) async fn read(response: Response<Incoming>, max: usize, now: Timestamp) -> Result<Fetched, Error> {
    let (head, body) = response.into_parts();
    let body = collect(body, max).await?;
    let body = match head.headers.get(header::CONTENT_ENCODING).map(HeaderValue::as_bytes) {
        None | Some(b"identity") => body,
        Some(b"gzip") => gunzip(&body, max)?,
        Some(_) => return Err(Error::new(Reason::Malformed, "the answer has an encoding that was not asked for")),
    };
    let text = |name| head.headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    Ok(Fetched {
        status: head.status.as_u16(),
        content_type: text(header::CONTENT_TYPE).unwrap_or_default().to_owned(),
        retry_after: retry_after(&head.headers, now),
        body,
    })
}

async fn collect(mut body: Incoming, max: usize) -> Result<Bytes, Error> {
    let mut collected = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Error::new(Reason::Malformed, "the answer broke off"))?;
        let Ok(data) = frame.into_data() else { continue };
        if collected.len() + data.len() > max {
            return Err(too_large(max));
        }
        collected.extend_from_slice(&data);
    }
    Ok(collected.freeze())
}

/// The host with the request's own path and query behind it. The parts are never re-encoded.
pub(super) fn join(host: &BaseUrl, target: &str) -> Result<Uri, http::Error> {
    Ok(Uri::try_from([host.as_str(), target].concat())?)
}

pub(super) fn used_weight(headers: &HeaderMap) -> Option<u32> {
    headers.get(USED_WEIGHT)?.to_str().ok()?.trim().parse().ok()
}

/// The wait that `Retry-After` names, in seconds or as a date (RFC 9110, 10.2.3); `now` is the exchange's time where the
/// answer does not state it. How far it is believed is another's business.
pub(super) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).map(str::trim);
    let named = text(header::RETRY_AFTER)?;
    if !named.is_empty() && named.bytes().all(|byte| byte.is_ascii_digit()) {
        // More seconds than can be counted are many, and not none.
        return Some(Duration::from_secs(named.parse().unwrap_or(u64::MAX)));
    }
    let millis = |date: &str| {
        let since = httpdate::parse_http_date(date).ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
        u64::try_from(since.as_millis()).ok()
    };
    let now = text(header::DATE).and_then(millis).unwrap_or(now.as_millis());
    millis(named).map(|until| Duration::from_millis(until.saturating_sub(now)))
}

/// Takes out what concerns one connection only (RFC 9110, 7.6.1).
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
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
    fn a_wait_is_named_in_seconds_or_by_a_date() {
        // 1994-11-06T08:49:37Z
        let now = Timestamp::from_millis(784_111_777_000);
        let wait = |fields: &[(&'static str, &'static str)]| {
            let fields = fields
                .iter()
                .map(|(name, value)| (header::HeaderName::from_static(name), HeaderValue::from_static(value)));
            retry_after(&fields.collect(), now).map(|wait| wait.as_secs())
        };
        assert_eq!(wait(&[("retry-after", "30")]), Some(30));
        assert_eq!(wait(&[("retry-after", "Sun, 06 Nov 1994 08:50:37 GMT")]), Some(60));
        assert_eq!(wait(&[("retry-after", "Sunday, 06-Nov-94 08:50:37 GMT")]), Some(60));
        let date = ("date", "Sun, 06 Nov 1994 08:50:07 GMT");
        assert_eq!(wait(&[("retry-after", "Sun, 06 Nov 1994 08:50:37 GMT"), date]), Some(30), "by its own clock");
        assert_eq!(wait(&[("retry-after", "Sun, 06 Nov 1994 08:00:00 GMT")]), Some(0), "long ago");
        assert_eq!(wait(&[("retry-after", "99999999999999999999999999")]), Some(u64::MAX));
        for none in ["", "-5", "soon", "1.5", "1e9", "0x10", "Sun, 99 Nov 1994"] {
            assert_eq!(wait(&[("retry-after", none)]), None, "{none}");
        }
        assert_eq!(wait(&[]), None);
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
