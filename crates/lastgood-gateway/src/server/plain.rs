//! Plain `GET`s, read and answered ahead of hyper: a head that is there as a whole, of usual headers alone, whose answer is there, too.
//!
//! The head is read by the parser that hyper has, into the same request; anything unusual, wrong or unfinished goes to hyper as it
//! came. A test sends what it can think of both ways and compares the answers. PERFORMANCE.md has what it saves.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::Poll;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::{Buf as _, BufMut as _, Bytes};
use http::header::{
    ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST,
    IF_NONE_MATCH, PRAGMA, USER_AGENT,
};
use http::response::Parts;
use http::{HeaderName, HeaderValue, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty};
use httparse::{EMPTY_HEADER, Status};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use crate::response::payload::{Payload, Piece, Reply};
use crate::response::recent::{Recent, numeral};

/// A request without a body.
pub(super) type Plain = Request<Empty<Bytes>>;

/// Headers that do not bear on where a request ends or how the connection goes on, but for a `Connection` other than `keep-alive`.
const USUAL: [HeaderName; 10] = [
    HOST,
    USER_AGENT,
    ACCEPT,
    ACCEPT_ENCODING,
    CONNECTION,
    IF_NONE_MATCH,
    ACCEPT_LANGUAGE,
    CACHE_CONTROL,
    CONTENT_TYPE,
    PRAGMA,
];
/// Of a head with more headers than this hyper is the judge.
const MOST_HEADERS: usize = 16;
/// At most this many parts of an answer are sent by one call: the head, and runs of candles.
const PARTS: usize = 64;
/// A body of up to this size is copied behind its head, and a larger one sent from where it lies.
const COPIED: usize = 2 << 10;

thread_local! {
    /// The request that a thread reads, with room that it has had before, so that a hit takes none.
    static REQUEST: RefCell<Plain> = RefCell::default();
    /// The head of the answer that a thread writes.
    static OUT: RefCell<Vec<u8>> = RefCell::default();
}

/// The answer to the plain request with which `bytes` begin, where `at_once` has one; the request is then taken off them.
pub(super) fn answer(bytes: &mut Bytes, at_once: impl Fn(&Plain) -> Option<Reply>) -> Option<Reply> {
    REQUEST.with_borrow_mut(|request| {
        let length = read(bytes, request);
        let reply = length.and_then(|length| Some((length, at_once(request)?)));
        // It has parts of the bytes.
        *request.uri_mut() = Uri::default();
        request.headers_mut().clear();
        let (length, reply) = reply?;
        // Once all of it is answered, nothing of the thread's room is kept.
        *bytes = if length == bytes.len() { Bytes::new() } else { bytes.slice(length..) };
        Some(reply)
    })
}

/// Reads the plain request with which `bytes` begin, and says how long its head is.
fn read(bytes: &Bytes, request: &mut Plain) -> Option<usize> {
    let mut headers = [EMPTY_HEADER; MOST_HEADERS];
    let mut head = httparse::Request::new(&mut headers);
    let Ok(Status::Complete(length)) = head.parse(bytes) else { return None };
    let (Some("GET"), Some(1), Some(target)) = (head.method, head.version, head.path) else { return None };
    if !target.starts_with('/') {
        return None;
    }
    *request.uri_mut() = Uri::from_maybe_shared(bytes.slice_ref(target.as_bytes())).ok()?;
    for header in head.headers {
        let name = HeaderName::from_bytes(header.name.as_bytes()).ok()?;
        let is_usual =
            USUAL.contains(&name) && (name != CONNECTION || header.value.eq_ignore_ascii_case(b"keep-alive"));
        if !is_usual {
            return None;
        }
        request.headers_mut().append(name, HeaderValue::from_maybe_shared(bytes.slice_ref(header.value)).ok()?);
    }
    Some(length)
}

/// Sends an answer, as hyper does.
pub(super) async fn write(stream: &mut (impl AsyncWrite + Unpin), reply: Reply) -> io::Result<()> {
    let (head, body) = reply.into_parts();
    let mut body = match body {
        Payload::Whole(bytes) => Piece::Whole(bytes),
        Payload::Rows(list) => Piece::Rows(list),
        Payload::Other(body) => Piece::Whole(body.collect().await.map_err(io::Error::other)?.to_bytes()),
    };
    let unwritten = poll_fn(|context| {
        OUT.with_borrow_mut(|out| {
            out.clear();
            put_head(out, &head, body.remaining());
            if body.remaining() <= COPIED {
                out.put(&mut body);
            }
            let mut parts = [IoSlice::new(&[]); PARTS];
            parts[0] = IoSlice::new(out);
            let count = 1 + body.chunks_vectored(&mut parts[1..]);
            let written = match Pin::new(&mut *stream).poll_write_vectored(context, &parts[..count])? {
                Poll::Ready(written) => written,
                Poll::Pending => 0,
            };
            body.advance(written.saturating_sub(out.len()));
            Poll::Ready(io::Result::Ok(Bytes::copy_from_slice(&out[written.min(out.len())..])))
        })
    })
    .await?;
    if !unwritten.is_empty() || body.has_remaining() {
        stream.write_all_buf(&mut unwritten.chain(body)).await?;
    }
    stream.flush().await
}

fn put_head(out: &mut Vec<u8>, head: &Parts, length: usize) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(head.status.as_str().as_bytes());
    out.extend_from_slice(b" ");
    out.extend_from_slice(head.status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
    let mut field = |name: &str, value: &[u8]| {
        for part in [name.as_bytes(), b": ", value, b"\r\n"] {
            out.extend_from_slice(part);
        }
    };
    for (name, value) in &head.headers {
        field(name.as_str(), value.as_bytes());
    }
    // The length of the answer that the client has would be that of the answer itself (RFC 9110, 8.6).
    if head.status != StatusCode::NOT_MODIFIED && !head.headers.contains_key(CONTENT_LENGTH) {
        field("content-length", numeral(length as u64).as_bytes());
    }
    field("date", date().as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// The machine's time as the value of `Date`, made once a second.
#[expect(clippy::disallowed_methods, reason = "as in the answers of hyper")]
fn date() -> HeaderValue {
    thread_local!(static DATES: Recent<u64> = const { Recent::new() });
    let now = SystemTime::now();
    let second = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let value = || HeaderValue::try_from(httpdate::fmt_http_date(now)).unwrap_or(HeaderValue::from_static(""));
    DATES.with(|dates| dates.get(second, second, value))
}

#[cfg(test)]
mod tests;
