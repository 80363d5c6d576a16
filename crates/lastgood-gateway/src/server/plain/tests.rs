//! Requests that are read and answered here get the answers of hyper, to the letter, whatever is sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Waker;

use http::header::ETAG;
use http::{HeaderMap, Response, Version};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, duplex};
use tokio::sync::watch;
use tokio::time::Instant;

use super::*;
use crate::activity::Activity;
use crate::server::answering::{After, Answering};
use crate::server::lingering::Lingering;
use crate::server::resting::converse;

/// Says what was asked, as it was understood.
fn reply(uri: &Uri, headers: &HeaderMap) -> Reply {
    let mut body = format!("{uri}\n");
    for (name, value) in headers {
        body.push_str(&format!("{name}: {:?}\n", value.as_bytes()));
    }
    if uri.path() == "/large" {
        body.push_str(&"x".repeat(100_000));
    }
    let is_known = headers.contains_key(IF_NONE_MATCH);
    let body = if is_known { Bytes::new() } else { Bytes::from(body) };
    let mut reply = Response::new(Payload::Whole(body));
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    reply.headers_mut().append(ETAG, HeaderValue::from_static("\"1\""));
    if is_known {
        *reply.status_mut() = StatusCode::NOT_MODIFIED;
    }
    reply
}

/// All that a connection answers to what a client sends in these pieces, but for the time; and how many requests were plain.
async fn answered(pieces: &[Vec<u8>], takes_plain: bool) -> (String, usize) {
    let (mut client, stream) = duplex(1 << 20);
    let (_ending, ended) = watch::channel(());
    let plain = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&plain);
    let server = tokio::spawn(async move {
        let activity = Activity::since(Instant::now());
        let at_once = |request: &Plain| {
            takes_plain.then(|| {
                counted.fetch_add(1, Ordering::Relaxed);
                activity.is_idle_after_whole();
                reply(request.uri(), request.headers())
            })
        };
        let answer = |request: Request<Incoming>| {
            let reply = reply(request.uri(), request.headers());
            // Without plain requests hyper has the connection to its end.
            match takes_plain {
                true => After::of(&request).note(&activity, &reply),
                false => activity.is_idle(),
            }
            Answering::There(Some(reply))
        };
        let stream = Lingering::new(stream);
        converse(stream, http1::Builder::new().writev(true), at_once, answer, &activity, ended).await
    });
    for piece in pieces {
        // The server may have closed it.
        if client.write_all(piece).await.is_err() {
            break;
        }
        tokio::task::yield_now().await;
    }
    let _ = client.shutdown().await;
    let mut said = Vec::new();
    // A connection that ends badly is compared by what it said before.
    let _ = client.read_to_end(&mut said).await;
    let _ = server.await.expect("no panic");
    let said = String::from_utf8_lossy(&said).into_owned();
    let said = said.split_inclusive('\n').filter(|line| !line.starts_with("date: ")).collect();
    (said, plain.load(Ordering::Relaxed))
}

fn compare(pieces: &[Vec<u8>]) -> usize {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    runtime.block_on(async {
        let (by_hand, plain) = answered(pieces, true).await;
        let (by_hyper, _) = answered(pieces, false).await;
        assert_eq!(
            by_hand,
            by_hyper,
            "{:?}",
            pieces.iter().map(|piece| String::from_utf8_lossy(piece)).collect::<Vec<_>>()
        );
        plain
    })
}

fn any_of(texts: &'static [&'static [u8]]) -> impl Strategy<Value = Vec<u8>> {
    prop::sample::select(texts).prop_map(<[u8]>::to_vec)
}

/// A head, mostly such as clients send, with a body or a wrong end now and then.
fn any_request() -> impl Strategy<Value = Vec<u8>> {
    let method = prop_oneof![12 => any_of(&[b"GET"]), 1 => any_of(&[b"HEAD", b"POST", b"get", b"GET ", b"\r\nGET", b"G\0T", b"OPTIONS"])];
    let target = prop_oneof![
        6 => any_of(&[b"/", b"/api/v3/ticker/price?symbol=BTCUSDT", b"/large", b"/a%20b?c=%zz"]),
        1 => any_of(&[b"//x", b"*", b"http://other/x", b"/\xc3\xbc", b"/a b", b"", b"/x#y", b"/\"", b"/?a={b}", b"other:80"]),
    ];
    let version = prop_oneof![12 => any_of(&[b"HTTP/1.1"]), 1 => any_of(&[b"HTTP/1.0", b"HTTP/2.0", b"HTTP/1.1 ", b"http/1.1", b"HTTP/1.2"])];
    let name = prop_oneof![
        8 => any_of(&[b"Host", b"host", b"Accept", b"User-Agent", b"Accept-Encoding", b"If-None-Match", b"Connection", b"Content-Type"]),
        1 => any_of(&[b"Content-Length", b"Transfer-Encoding", b"Upgrade", b"Expect", b"Origin", b"X-Own", b"Cookie", b"Te", b"Host ", b" Host", b"", b"X\0"]),
    ];
    let value = prop_oneof![
        6 => any_of(&[b"localhost", b"keep-alive", b"Keep-Alive", b"gzip, br", b"\"1\""]),
        1 => any_of(&[b"", b"close", b"keep-alive, close", b"upgrade", b"chunked", b"0", b"5", b"-1", b"100-continue", b"\xff", b"a\tb", b"a\0b", b"x\r\n y"]),
    ];
    let between = prop_oneof![10 => any_of(&[b": "]), 1 => any_of(&[b":", b" : ", b":  ", b""])];
    let end = prop_oneof![20 => any_of(&[b"\r\n"]), 1 => any_of(&[b"\n", b"\r", b"\r\r\n"])];
    let field = (name, between, value, end.clone())
        .prop_map(|(name, between, value, end)| [name, between, value, end].concat());
    let fields = prop::collection::vec(field, 0..5).prop_map(|fields| fields.concat());
    let last = prop_oneof![20 => any_of(&[b"\r\n"]), 1 => any_of(&[b"\n", b"", b"\r\nhello"])];
    (method, target, version, end, fields, last).prop_map(|(method, target, version, end, fields, last)| {
        [method, b" ".to_vec(), target, b" ".to_vec(), version, end, fields, last].concat()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn whatever_is_sent_is_answered_as_by_hyper(requests in prop::collection::vec(any_request(), 1..5), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..3)) {
        let sent = requests.concat();
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.index(sent.len())).collect();
        cuts.extend([0, sent.len()]);
        cuts.sort_unstable();
        let pieces: Vec<Vec<u8>> = cuts.windows(2).map(|cut| sent[cut[0]..cut[1]].to_vec()).collect();
        compare(&pieces);
    }
}

#[test]
fn what_the_usual_clients_send_is_plain() {
    for fields in [
        "Host: 127.0.0.1:8090\r\n",
        "Host: localhost\r\nUser-Agent: python-requests/2.32\r\nAccept-Encoding: gzip, deflate\r\nAccept: */*\r\nConnection: keep-alive\r\n",
        "host: localhost\r\naccept: */*\r\naccept-language: *\r\nif-none-match: \"1\"\r\nContent-Type: application/json;charset=utf-8\r\n",
    ] {
        let request = format!("GET /api/v3/ticker/price?symbol=BTCUSDT HTTP/1.1\r\n{fields}\r\n").into_bytes();
        assert_eq!(compare(&[[request.clone(), request].concat()]), 2, "{fields}");
    }
}

#[test]
fn what_bears_on_the_connection_is_left_for_hyper() {
    for head in [
        "HEAD / HTTP/1.1\r\n",
        "GET / HTTP/1.0\r\n",
        "GET http://other/ HTTP/1.1\r\n",
        "GET / HTTP/1.1\r\nConnection: close\r\n",
        "GET / HTTP/1.1\r\nContent-Length: 0\r\n",
        "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n",
        "GET / HTTP/1.1\r\nExpect: 100-continue\r\n",
        "GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: upgrade\r\n",
        "GET / HTTP/1.1\r\nOrigin: http://elsewhere\r\n",
        "GET / HTTP/1.1\r\nHost : x\r\n",
    ] {
        assert_eq!(compare(&[format!("{head}\r\n").into_bytes()]), 0, "{head}");
    }
}

#[test]
fn a_connection_that_goes_on_after_an_answer_as_a_whole_needs_hyper_no_more_and_any_other_does() {
    for (version, connection, needs_none) in [
        (Version::HTTP_11, None, true),
        (Version::HTTP_11, Some("Keep-Alive"), true),
        (Version::HTTP_11, Some("close"), false),
        (Version::HTTP_11, Some("keep-alive, close"), false),
        (Version::HTTP_10, Some("keep-alive"), false),
    ] {
        let mut request = Request::new(Empty::<Bytes>::new());
        *request.version_mut() = version;
        if let Some(value) = connection {
            request.headers_mut().insert(CONNECTION, HeaderValue::from_static(value));
        }
        let activity = Activity::since(Instant::now());
        After::of(&request).note(&activity, &Response::new(Payload::Whole(Bytes::new())));
        assert_eq!(activity.may_rest(Waker::noop()), needs_none, "{version:?} {connection:?}");
        activity.is_awake();
        assert!(!activity.may_rest(Waker::noop()), "hyper has it again, and has not answered yet");
    }
}
