//! Connections: how many, how slow, and how they end.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use lastgood_settings::Limits;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use crate::router::Routes;

mod answering;
pub(crate) mod certificate;
mod connections;
mod lingering;
pub(crate) mod listening;
mod plain;
mod resting;
mod watched;

use self::answering::{answer, answer_at_once};
use self::certificate::Certificate;
use self::connections::{Connections, Place};
use self::lingering::Lingering;
use self::listening::{Incoming, Listening};
use self::plain::Plain;
use self::resting::converse;
use self::watched::Watched;

/// How long requests under way may take when the gateway stops.
const DRAIN_WITHIN: Duration = Duration::from_secs(10);
/// A request head may be this large: the longest URL and as much again for headers.
const HEAD_BYTES: usize = 64 << 10;
/// After an accept that failed for want of file handles, others may free some.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(50);
const REPORT_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// Serves `routes` on all that is listened on until `shutdown` ends, then drains. At most `most` connections are open at once.
pub(crate) async fn serve(
    listening: Listening,
    routes: Routes,
    limits: &Limits,
    most: usize,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let connections = Connections::new(most);
    // Ends with this function.
    let mut watching = JoinSet::new();
    watching.spawn(Arc::clone(&connections).close_slow(limits.request_timeout, limits.header_timeout));
    let (ending, _) = watch::channel(());
    let mut http = http1::Builder::new();
    http.max_buf_size(HEAD_BYTES)
        // Not `pipeline_flush`: that would copy each body into the buffer of its head.
        .writev(true);
    let http = Arc::new(http);
    let mut failures = Failures::default();
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            accepted = listening.accept() => accepted,
            () = &mut shutdown => break,
        };
        let (incoming, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(why) => {
                failures.note(&why);
                tokio::time::sleep(ACCEPT_AGAIN_AFTER).await;
                continue;
            }
        };
        let place = tokio::select! {
            place = connections.place() => place,
            () = &mut shutdown => break,
        };
        let (number, activity) = (place.number(), Arc::clone(&place.activity));
        let client =
            Client { routes: routes.clone(), http: Arc::clone(&http), peer, place, ending: ending.subscribe() };
        let task = match incoming {
            Incoming::Plain(stream) => tokio::spawn(client.serve(stream)),
            Incoming::Unix(stream) => tokio::spawn(client.serve(stream)),
            Incoming::Tls(stream, certificate) => tokio::spawn(client.serve_tls(stream, certificate)),
        };
        connections.register(number, activity, task.abort_handle());
    }
    drop(listening);
    // Each connection ends at its next pause, and has an end of this channel until then.
    let _ = ending.send(());
    if tokio::time::timeout(DRAIN_WITHIN, ending.closed()).await.is_err() {
        tracing::warn!(seconds = DRAIN_WITHIN.as_secs(), "some requests did not end in time and were cut off");
    }
    Ok(())
}

/// A client's connection, before it is served.
struct Client {
    routes: Routes,
    http: Arc<http1::Builder>,
    peer: SocketAddr,
    place: Place,
    ending: watch::Receiver<()>,
}

impl Client {
    async fn serve<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(self, stream: S) {
        let watched = Watched::new(stream, Arc::clone(&self.place.activity));
        self.answer_on(watched).await;
    }

    /// The handshake has to end within the time of a request's head: until then the connection counts as idle.
    async fn serve_tls(self, stream: TcpStream, certificate: Arc<Certificate>) {
        let acceptor = TlsAcceptor::from(certificate.config());
        match acceptor.accept(Watched::new(stream, Arc::clone(&self.place.activity))).await {
            Ok(encrypted) => self.answer_on(encrypted).await,
            Err(why) => tracing::debug!(%why, peer = %self.peer, "a TLS handshake failed"),
        }
    }

    async fn answer_on<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(self, stream: S) {
        let Client { routes, http, peer, place, ending } = self;
        let activity = Arc::clone(&place.activity);
        let at_once = |request: &Plain| answer_at_once(&routes, &activity, peer, request);
        let answer = |request| answer(&routes, &activity, peer, request);
        if let Err(why) = converse(Lingering::new(stream), &http, at_once, answer, &activity, ending).await {
            tracing::debug!(%why, "a connection ended badly");
        }
        drop(place);
    }
}

/// Accepts that failed: logged once, and then once a minute with their number.
#[derive(Default)]
struct Failures {
    unlogged: u64,
    reported_at: Option<Instant>,
}

impl Failures {
    fn note(&mut self, why: &io::Error) {
        self.unlogged += 1;
        if self.reported_at.is_none_or(|reported_at| reported_at.elapsed() >= REPORT_AGAIN_AFTER) {
            tracing::warn!(%why, count = self.unlogged, "connections could not be accepted");
            *self = Failures { unlogged: 0, reported_at: Some(Instant::now()) };
        }
    }
}
