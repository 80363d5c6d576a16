//! Connections: how many, how slow, and how they end.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::config::Limits;
use crate::router::Routes;

mod lingering;

use self::lingering::Lingering;

/// How long requests under way may take when the gateway stops.
const DRAIN_WITHIN: Duration = Duration::from_secs(10);
/// A request head may be this large: the longest URL and as much again for headers.
const HEAD_BYTES: usize = 64 << 10;
/// After an accept that failed for want of file handles, others may free some.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// Serves `routes` on `listener` until `shutdown` ends, then drains.
pub(crate) async fn serve(
    listener: TcpListener,
    routes: Routes,
    limits: &Limits,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let places = Arc::new(Semaphore::new(limits.max_connections.min(Semaphore::MAX_PERMITS)));
    let graceful = GracefulShutdown::new();
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(HEAD_BYTES)
        // Not `pipeline_flush`: that would copy each body into the buffer of its head.
        .writev(true);
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        // With every place taken the next connection waits in the listener's backlog.
        let place = tokio::select! {
            place = Arc::clone(&places).acquire_owned() => place,
            () = &mut shutdown => break,
        };
        let Ok(place) = place else { break };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut shutdown => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(why) => {
                tracing::warn!(%why, "a connection was not accepted");
                tokio::time::sleep(ACCEPT_AGAIN_AFTER).await;
                continue;
            }
        };
        if let Err(why) = stream.set_nodelay(true) {
            tracing::debug!(%why, "TCP_NODELAY was not set");
        }
        let routes = routes.clone();
        let service = service_fn(move |request| routes.clone().answer(peer, request));
        let connection = graceful.watch(http.serve_connection(TokioIo::new(Lingering::new(stream)), service));
        tokio::spawn(async move {
            if let Err(why) = connection.await {
                tracing::debug!(%why, "a connection ended badly");
            }
            drop(place);
        });
    }
    drop(listener);
    if tokio::time::timeout(DRAIN_WITHIN, graceful.shutdown()).await.is_err() {
        tracing::warn!(seconds = DRAIN_WITHIN.as_secs(), "some requests did not end in time and were cut off");
    }
    Ok(())
}
