//! The connections to the exchange, and the form of requests and answers.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Uri, header};
use lastgood::http_client::{self, HttpClient, HttpError, HttpOptions, Incoming, NoTls, RequestBody};
use lastgood::proxy::Proxies;
use lastgood::{Error, Reason, Timestamp};

use super::options::BaseUrl;
use crate::validate::Fetched;

const USER_AGENT: &str = concat!("lastgood/", env!("CARGO_PKG_VERSION"));
/// The weight used in a minute, as answers state it.
const USED_WEIGHT: HeaderName = HeaderName::from_static("x-mbx-used-weight-1m");
/// Of a request of our own, `Host` among them.
const MOST_HEADERS: usize = 6;

pub(super) fn no_body() -> RequestBody {
    http_client::body(Bytes::new())
}

pub(super) fn client(connect_timeout: Duration, proxies: &Proxies) -> Result<HttpClient, NoTls> {
    HttpClient::new(&HttpOptions { proxies: proxies.clone(), ..HttpOptions::new(connect_timeout) })
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
    let body = http_client::read(&head.headers, body, max).await.map_err(|why| {
        let malformed = |what: String| Error::new(Reason::Malformed, what);
        match why {
            HttpError::TooLarge => malformed(format!("the answer is larger than upstream.max_answer_bytes, {max}")),
            HttpError::BrokeOff(_) => malformed(format!("the answer broke off: {}", why.in_words())).with_source(why),
            why => malformed(why.to_string()),
        }
    })?;
    let text = |name| head.headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    Ok(Fetched {
        status: head.status.as_u16(),
        content_type: text(header::CONTENT_TYPE).unwrap_or_default().to_owned(),
        retry_after: retry_after(&head.headers, now),
        body,
    })
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
}
