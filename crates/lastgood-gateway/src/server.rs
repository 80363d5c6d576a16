//! Connections: how many, how slow, and how they end.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::Request;
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::config::Limits;
use crate::response::payload::Reply;
use crate::router::Routes;

mod connections;
mod lingering;
mod watched;

use self::connections::{Activity, Connections};
use self::lingering::Lingering;
use self::watched::Watched;

/// How long requests under way may take when the gateway stops.
const DRAIN_WITHIN: Duration = Duration::from_secs(10);
/// A request head may be this large: the longest URL and as much again for headers.
const HEAD_BYTES: usize = 64 << 10;
/// After an accept that failed for want of file handles, others may free some.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(50);
const REPORT_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// Serves `routes` on `listener` until `shutdown` ends, then drains. At most `most` connections are open at once.
pub(crate) async fn serve(
    listener: TcpListener,
    routes: Routes,
    limits: &Limits,
    most: usize,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let connections = Connections::new(most);
    // Ends with this function.
    let mut watching = JoinSet::new();
    watching.spawn(Arc::clone(&connections).close_slow(limits.request_timeout, limits.header_timeout));
    let graceful = GracefulShutdown::new();
    let mut http = http1::Builder::new();
    http.max_buf_size(HEAD_BYTES)
        // Not `pipeline_flush`: that would copy each body into the buffer of its head.
        .writev(true);
    let mut failures = Failures::default();
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut shutdown => break,
        };
        let (stream, peer) = match accepted {
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
        if let Err(why) = stream.set_nodelay(true) {
            tracing::debug!(%why, "TCP_NODELAY was not set");
        }
        let (routes, activity, number) = (routes.clone(), Arc::clone(&place.activity), place.number());
        let service = service_fn(move |request| answer(routes.clone(), Arc::clone(&activity), peer, request));
        let activity = Arc::clone(&place.activity);
        let socket = TokioIo::new(Lingering::new(Watched::new(stream, Arc::clone(&activity))));
        let connection = graceful.watch(http.serve_connection(socket, service));
        let task = tokio::spawn(async move {
            let _place = place;
            if let Err(why) = connection.await {
                tracing::debug!(%why, "a connection ended badly");
            }
        });
        connections.register(number, activity, task.abort_handle());
    }
    drop(listener);
    if tokio::time::timeout(DRAIN_WITHIN, graceful.shutdown()).await.is_err() {
        tracing::warn!(seconds = DRAIN_WITHIN.as_secs(), "some requests did not end in time and were cut off");
    }
    Ok(())
}

/// Answers a request of a connection that is of use meanwhile; and, where the answer is streamed, until it has ended.
async fn answer(
    routes: Routes,
    activity: Arc<Activity>,
    peer: SocketAddr,
    request: Request<Incoming>,
) -> Result<Reply, Infallible> {
    activity.is_busy();
    let mut response = routes.answer(peer, request).await?;
    match response.extensions_mut().remove::<Streamed>() {
        Some(streamed) => drop(streamed.0.set(Busy(activity))),
        None if response.body().size_hint().exact().is_none() => activity.is_idle_though_endless(),
        None => activity.is_idle(),
    }
    Ok(response)
}

/// Goes with an answer whose body is still to come, which holds the other end: the connection is busy until both are
/// dropped.
#[derive(Clone, Default)]
pub(crate) struct Streamed(Arc<OnceLock<Busy>>);

struct Busy(Arc<Activity>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.is_idle();
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
