use std::sync::Arc;
use std::time::Duration;

use http::Response;
use http_body_util::BodyExt as _;
use lastgood_settings::Tls;
use lastgood_testing::Authority;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt as _, DuplexStream, duplex};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;
use crate::activity::QUIET_AFTER;
use crate::response::payload::Payload;
use crate::server::certificate::Certificate;
use crate::server::lingering::Lingering;
use crate::server::watched::Watched;

const LARGE: usize = 256 << 10;

/// A connection's server, and the bodies of the requests that it was sent.
struct Server {
    activity: Arc<Activity>,
    ending: watch::Sender<()>,
    bodies: UnboundedReceiver<Result<Bytes, hyper::Error>>,
    task: JoinHandle<io::Result<()>>,
}

impl Server {
    fn over<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
        accept: impl Future<Output = S> + Send + 'static,
        activity: Arc<Activity>,
    ) -> Server {
        let (ending, ended) = watch::channel(());
        let (sent, bodies) = unbounded_channel();
        let own = Arc::clone(&activity);
        let task = tokio::spawn(async move {
            let stream = Lingering::new(accept.await);
            let answer = |request| answer(&activity, &sent, request);
            let mut http = http1::Builder::new();
            converse(stream, http.writev(true), |_: &Plain| None, answer, &activity, ended).await
        });
        Server { activity: own, ending, bodies, task }
    }

    /// A client's end of a connection, which takes `room` bytes before they are read.
    fn with_client(room: usize) -> (Server, DuplexStream) {
        let (client, stream) = duplex(room);
        let activity = Arc::new(Activity::since(Instant::now()));
        let watched = Watched::new(stream, Arc::clone(&activity));
        (Server::over(async { watched }, activity), client)
    }

    /// Lets the time pass after which a connection may rest; says whether this one does.
    async fn rests(&self) -> bool {
        tokio::time::advance(QUIET_AFTER + Duration::from_millis(1)).await;
        self.activity.rest_if_quiet();
        // Its task is woken, and does all that it can.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        self.activity.rests()
    }
}

/// Answers at once with the path, or with a large body; a body of the request is read in the background.
fn answer(
    activity: &Activity,
    sent: &UnboundedSender<Result<Bytes, hyper::Error>>,
    request: Request<Incoming>,
) -> Answering {
    let body = match request.uri().path() {
        "/large" => Bytes::from(vec![b'x'; LARGE]),
        path => Bytes::copy_from_slice(path.as_bytes()),
    };
    match hyper::body::Body::is_end_stream(request.body()) {
        true => activity.is_idle(),
        false => {
            activity.is_idle_after_body();
            let sent = sent.clone();
            tokio::spawn(async move {
                let body = request.into_body().collect().await;
                sent.send(body.map(|body| body.to_bytes()))
            });
        }
    }
    Answering::There(Some(Response::new(Payload::Whole(body))))
}

fn request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

/// The next answer's body.
async fn answered(client: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.expect("an answer"));
    }
    let head = String::from_utf8(head).expect("text");
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
    let mut body = vec![0; length.parse().expect("a number")];
    client.read_exact(&mut body).await.expect("the body");
    String::from_utf8(body).expect("text")
}

async fn ask(client: &mut (impl AsyncRead + AsyncWrite + Unpin), path: &str) -> String {
    client.write_all(request(path).as_bytes()).await.expect("it is taken");
    answered(client).await
}

#[tokio::test(start_paused = true)]
async fn a_quiet_connection_rests_and_answers_again() {
    let (server, mut client) = Server::with_client(4 << 10);
    assert!(!server.rests().await, "it was never asked");
    for path in ["/1", "/2", "/3"] {
        assert_eq!(ask(&mut client, path).await, path);
        assert!(!server.activity.rests());
        assert!(server.rests().await, "after {path}");
    }
    // The head of a request that is longer than the first read.
    let long = format!("/{}", "x".repeat(3 * FIRST));
    assert_eq!(ask(&mut client, &long).await, long);
    assert!(server.rests().await);
    drop(client);
    server.task.await.expect("no panic").expect("it ends well");
}

#[tokio::test(start_paused = true)]
async fn requests_that_come_together_after_a_rest_are_answered_in_their_order() {
    let (server, mut client) = Server::with_client(4 << 10);
    assert_eq!(ask(&mut client, "/0").await, "/0");
    assert!(server.rests().await);
    let together = ["/1", "/2", "/3"].map(request).concat();
    client.write_all(together.as_bytes()).await.unwrap();
    for path in ["/1", "/2", "/3"] {
        assert_eq!(answered(&mut client).await, path);
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_that_comes_in_pieces_is_kept_over_every_pause() {
    let (server, mut client) = Server::with_client(4 << 10);
    assert_eq!(ask(&mut client, "/0").await, "/0");
    for piece in request("/pieces").as_bytes().chunks(9) {
        server.rests().await;
        client.write_all(piece).await.unwrap();
    }
    assert_eq!(answered(&mut client).await, "/pieces");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_slow_to_take_its_answer_gets_all_of_it() {
    let (server, mut client) = Server::with_client(1 << 10);
    client.write_all(request("/large").as_bytes()).await.unwrap();
    for _ in 0..3 {
        assert!(!server.rests().await, "an answer is under way");
    }
    assert_eq!(answered(&mut client).await.len(), LARGE);
    assert!(server.rests().await);
    assert_eq!(ask(&mut client, "/1").await, "/1");
}

#[tokio::test(start_paused = true)]
async fn a_connection_whose_request_had_a_body_rests_after_the_next_request() {
    let (server, mut client) = Server::with_client(4 << 10);
    let head = "POST /sent HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n";
    client.write_all([head, "12345"].concat().as_bytes()).await.unwrap();
    assert_eq!(answered(&mut client).await, "/sent");
    assert!(!server.rests().await, "half of the body is to come");

    let (mut server, mut client) = Server::with_client(4 << 10);
    client.write_all([head, "1234567890"].concat().as_bytes()).await.unwrap();
    assert_eq!(answered(&mut client).await, "/sent");
    assert!(!server.rests().await, "it is not known that all was read");
    let body = tokio::time::timeout(QUIET_AFTER, server.bodies.recv()).await.expect("it comes to its end");
    assert_eq!(body.expect("there is one").expect("it is whole"), "1234567890");
    assert_eq!(ask(&mut client, "/1").await, "/1");
    assert!(server.rests().await, "the last request had no body");
}

#[tokio::test(start_paused = true)]
async fn at_the_end_a_resting_connection_is_closed_and_a_slow_answer_is_given() {
    let (resting, mut client) = Server::with_client(4 << 10);
    assert_eq!(ask(&mut client, "/0").await, "/0");
    assert!(resting.rests().await);
    resting.ending.send(()).unwrap();
    assert_eq!(client.read(&mut [0; 9]).await.unwrap(), 0);
    resting.task.await.expect("no panic").expect("it ends well");

    let (slow, mut client) = Server::with_client(1 << 10);
    client.write_all(request("/large").as_bytes()).await.unwrap();
    assert!(!slow.rests().await);
    slow.ending.send(()).unwrap();
    assert!(!slow.rests().await);
    assert_eq!(answered(&mut client).await.len(), LARGE);
    assert_eq!(client.read(&mut [0; 9]).await.unwrap(), 0, "and then it is closed");
    slow.task.await.expect("no panic").expect("it ends well");
}

#[tokio::test(start_paused = true)]
async fn a_resting_connection_over_tls_answers_again() {
    let authority = Authority::new();
    let (certificate, key) = authority.issue("gateway", "DNS:localhost");
    let settings = Tls { certificate: Some(certificate.into()), key: Some(key.into()) };
    let acceptor =
        TlsAcceptor::from(Certificate::read(&settings).expect("it is sound").expect("there is one").config());
    let (client, stream) = duplex(16 << 10);
    let activity = Arc::new(Activity::since(Instant::now()));
    let watched = Watched::new(stream, Arc::clone(&activity));
    let server = Server::over(async move { acceptor.accept(watched).await.expect("a handshake") }, activity);

    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority.certificate()).expect("a certificate")).expect("of an authority");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.expect("versions").with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from("localhost").expect("a name");
    let mut client = TlsConnector::from(Arc::new(config)).connect(name, client).await.expect("a handshake");
    for path in ["/1", "/2", "/3"] {
        assert_eq!(ask(&mut client, path).await, path);
        assert!(server.rests().await, "after {path}");
    }
    let together = ["/4", "/5"].map(request).concat();
    client.write_all(together.as_bytes()).await.unwrap();
    assert_eq!((answered(&mut client).await, answered(&mut client).await), ("/4".to_owned(), "/5".to_owned()));
}
