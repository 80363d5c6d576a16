use std::net::SocketAddr;

use http::{StatusCode, header};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::*;

const LONG: Duration = Duration::from_secs(30);

fn client(options: HttpOptions) -> HttpClient {
    HttpClient::new(&HttpOptions { trust: Trust::Nothing, ..options }).unwrap()
}

fn to(url: &str) -> Request<RequestBody> {
    Request::get(url).header(header::ACCEPT_ENCODING, "gzip").body(body("")).unwrap()
}

/// A server that answers every request with these bytes, `times` on one connection, which it then closes. Tells the heads of
/// the requests.
async fn server(answer: &'static [u8], times: usize) -> (SocketAddr, UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, heads) = unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let tell = tell.clone();
            tokio::spawn(async move {
                for _ in 0..times {
                    let Some(head) = head(&mut client).await else { return };
                    _ = tell.send(head);
                    client.write_all(answer).await.unwrap();
                }
                if times == usize::MAX {
                    std::future::pending::<()>().await;
                }
            });
        }
    });
    (address, heads)
}

async fn head(client: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.ok()?);
    }
    String::from_utf8(head).ok()
}

#[tokio::test]
async fn a_request_goes_out_as_it_is_and_no_redirect_is_followed() {
    let answer = b"HTTP/1.1 302 Found\r\nLocation: /other\r\nContent-Length: 2\r\n\r\nno";
    let (address, mut heads) = server(answer, 9).await;
    let client = client(HttpOptions::new(LONG));
    let answer = client.fetch(to(&format!("http://{address}/a%2fb?x=%5b1%5D&y=|'")), 9, LONG).await.unwrap();
    assert_eq!((answer.status(), answer.body().as_ref()), (StatusCode::FOUND, b"no".as_slice()));
    let head = heads.recv().await.unwrap();
    let expected = format!("GET /a%2fb?x=%5b1%5D&y=|' HTTP/1.1\r\naccept-encoding: gzip\r\nhost: {address}\r\n\r\n");
    assert_eq!(head, expected);
    assert!(heads.try_recv().is_err());
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_costs_no_request() {
    let (address, _heads) = server(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 1).await;
    let client = client(HttpOptions::new(LONG));
    for round in 0..20 {
        let answer = client.fetch(to(&format!("http://{address}/")), 9, LONG).await;
        assert_eq!(answer.unwrap().into_body(), "ok", "{round}");
    }
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_refused_where_its_length_is_known_before_it_is_read() {
    // The body never comes.
    let (address, _heads) = server(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", usize::MAX).await;
    let url = format!("http://{address}/");
    let client = client(HttpOptions::new(LONG));
    assert!(matches!(client.fetch(to(&url), 9, LONG).await, Err(HttpError::TooLarge)));
    let soon = Duration::from_millis(50);
    let late = client.fetch(to(&url), 10, soon).await.unwrap_err();
    assert!(late.is_timeout() && !late.is_unsent(), "{late:?}");
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n5\r\n56789\r\n0\r\n\r\n";
    let (address, _heads) = server(chunked, 9).await;
    let url = format!("http://{address}/");
    assert!(matches!(client.fetch(to(&url), 9, LONG).await, Err(HttpError::TooLarge)));
    assert_eq!(client.fetch(to(&url), 10, LONG).await.unwrap().into_body(), "0123456789");
}

#[tokio::test]
async fn gzip_is_unpacked_and_what_was_not_asked_for_or_breaks_off_is_an_error() {
    // `printf ok | gzip`
    let packed = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 22\r\n\r\n\
        \x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xcb\xcf\x06\x00\x47\xdd\xdc\x79\x02\x00\x00\x00";
    let brotli = b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 2\r\n\r\nok";
    let broken = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok";
    let client = client(HttpOptions::new(LONG));
    let fetch = async |answer| {
        let (address, _heads) = server(answer, 1).await;
        client.fetch(to(&format!("http://{address}/")), 1 << 10, LONG).await
    };
    assert_eq!(fetch(packed).await.unwrap().into_body(), "ok");
    assert!(matches!(fetch(brotli).await, Err(HttpError::Encoding)));
    assert!(matches!(fetch(broken).await, Err(HttpError::BrokeOff(_))));
}

#[tokio::test]
async fn what_has_no_connection_says_why() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = listener.local_addr().unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let why = async |options: HttpOptions, url: String| {
        let why = client(options).fetch(to(&url), 9, LONG).await.unwrap_err();
        assert!(why.is_unsent(), "{why:?}");
        why
    };
    let refused = why(HttpOptions::new(LONG), format!("http://{closed}/secret")).await;
    assert!(matches!(refused, HttpError::Connect(_)) && !refused.is_timeout(), "{refused:?}");
    assert_eq!(refused.in_words(), "the connection is refused");
    assert!(refused.cause().contains("refused") && !format!("{refused:?}").contains("secret"), "{refused:?}");
    let hangs = why(HttpOptions::new(Duration::from_millis(50)), format!("https://{silent}/")).await;
    assert!(hangs.is_timeout(), "a handshake is not waited for without end: {hangs:?}");
    assert_eq!(hangs.in_words(), "timed out while connecting");
    let unknown = why(HttpOptions::new(LONG), "http://no.such.host.invalid/".to_owned()).await;
    assert!(matches!(unknown, HttpError::Unresolved(_)), "{unknown:?}");
    assert!(unknown.in_words().starts_with("its name "), "{unknown:?}");
    let public = HttpOptions { may_lead_to: Some(|address| !address.is_loopback()), ..HttpOptions::new(LONG) };
    let private = why(public, format!("http://localhost:{}/", silent.port())).await;
    assert!(matches!(private, HttpError::NotAllowed), "{private:?}");
    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", plain.local_addr().unwrap());
    let accepted = async {
        let (mut client, _) = plain.accept().await.unwrap();
        client.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        client
    };
    let (no_tls, _client) = tokio::join!(why(HttpOptions::new(LONG), url), accepted);
    assert!(matches!(no_tls, HttpError::Tls(_)), "{no_tls:?}");
    assert_eq!(no_tls.in_words(), "it does not speak TLS");
    [refused, hangs, private, no_tls].iter().for_each(|why| lastgood_testing::says_each_part_once(why));
}

#[tokio::test]
async fn a_request_that_is_given_up_says_how_far_it_had_come() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (says_nothing, _heads) = server(b"", usize::MAX).await;
    let (breaks_in, _heads) = server(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", usize::MAX).await;
    let client = client(HttpOptions::new(LONG));
    for (url, stage) in [
        // A handshake is awaited that does not come.
        (format!("https://{}/", silent.local_addr().unwrap()), Stage::Connecting),
        (format!("http://{says_nothing}/"), Stage::Waiting),
        (format!("http://{breaks_in}/"), Stage::Reading),
    ] {
        let progress = Progress::default();
        assert_eq!(progress.stage(), Stage::Connecting, "nothing was sent yet");
        let asked = async {
            let (head, body) = client.send_with(to(&url), &progress).await?.into_parts();
            read(&head.headers, body, 99).await
        };
        let stays = async {
            while progress.stage() != stage {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        tokio::select! {
            ended = asked => panic!("{ended:?}"),
            () = stays => assert_eq!(progress.stage(), stage),
            () = tokio::time::sleep(LONG) => panic!("{stage:?} is not reached: {:?}", progress.stage()),
        }
    }
}

#[tokio::test]
async fn an_answer_that_ends_early_differs_from_one_that_is_no_http() {
    let client = client(HttpOptions::new(LONG));
    for (answer, words) in [
        (b"".as_slice(), "the connection was closed early"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "the connection was closed early"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", "the connection was closed early"),
        (b"220 mail.example ESMTP\r\n\r\n", "its answer is not HTTP"),
    ] {
        let (address, _heads) = server(answer, 1).await;
        let why = client.fetch(to(&format!("http://{address}/?apiKey=s3cret")), 99, LONG).await.unwrap_err();
        assert_eq!(why.in_words(), words, "{why:?}");
        let said = crate::error_chain(&why);
        assert!(!why.is_unsent() && !said.contains("s3cret") && !said.contains(&address.to_string()), "{said}");
    }
}
