//! A connection that asks nothing keeps no buffers. hyper's take 16 KB: they are made once a request is there that is not
//! [plain](super::plain), and given up after an answer as a whole, after any other once the connection is quiet for
//! [`QUIET_AFTER`](crate::activity::QUIET_AFTER).

use std::cell::RefCell;
use std::future::{Future as _, poll_fn};
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::FutureExt as _;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::sync::watch;

use super::answering::Answering;
use super::plain::{self, Plain};
use crate::activity::Activity;
use crate::response::payload::Reply;

/// The first bytes are read together up to this many: the head of most requests.
const FIRST: usize = 4 << 10;

/// Answers the requests of a connection until it ends, or until `ending` changes and no request is under way.
pub(super) async fn converse<S: AsyncRead + AsyncWrite + Unpin + 'static>(
    mut stream: S,
    http: &http1::Builder,
    at_once: impl Fn(&Plain) -> Option<Reply>,
    answer: impl Fn(Request<Incoming>) -> Answering,
    activity: &Activity,
    mut ending: watch::Receiver<()>,
) -> io::Result<()> {
    let end = ending.clone();
    let (mut ended, mut listens) = (pin!(ending.changed()), false);
    let mut poll_end = |context: &mut Context<'_>| {
        // Polled once, it has the waker of this task, which stays the same: a request does not pay for it.
        if std::mem::replace(&mut listens, true) && !end.has_changed().unwrap_or(true) {
            return Poll::Pending;
        }
        ended.as_mut().poll(context).map(drop)
    };
    let (mut is_ending, mut service, mut first) = (false, service_fn(answer), Bytes::new());
    loop {
        if first.is_empty() {
            first = poll_fn(|context| match poll_first(&mut stream, context) {
                Poll::Pending => poll_end(context).map(|()| Ok(Bytes::new())),
                read => read,
            })
            .await?;
        }
        if first.is_empty() {
            return stream.shutdown().await;
        }
        let goes_on = !end.has_changed().unwrap_or(true);
        if let Some(reply) = goes_on.then(|| plain::answer(&mut first, &at_once)).flatten() {
            plain::write(&mut stream, reply).await?;
            continue;
        }
        activity.is_awake();
        // Boxed, so that what rests has no room for it.
        let mut connection = Box::new(http.serve_connection(TokioIo::new(Begun { first, stream }), service));
        let served = poll_fn(|context| {
            // What was read before the end is answered.
            let mut served = connection.poll_unpin(context);
            if served.is_pending() && !is_ending && poll_end(context).is_ready() {
                is_ending = true;
                Pin::new(&mut *connection).graceful_shutdown();
                served = connection.poll_unpin(context);
            }
            match served {
                Poll::Pending if !is_ending && activity.may_rest(context.waker()) => Poll::Ready(None),
                served => served.map(Some),
            }
        });
        if let Some(served) = served.await {
            return served.map_err(io::Error::other);
        }
        let parts = connection.into_parts();
        let begun = parts.io.into_inner();
        // The beginning of a request, if its client is slow.
        first = [parts.read_buf, begun.first].concat().into();
        (stream, service) = (begun.stream, parts.service);
    }
}

thread_local! {
    /// Where the first bytes are read, by one connection after the other: those that wait have no room of their own.
    static ROOM: RefCell<BytesMut> = RefCell::default();
}

/// The first bytes that come; none where none will.
fn poll_first(stream: &mut (impl AsyncRead + Unpin), context: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
    ROOM.with_borrow_mut(|room| {
        // Takes the same place again, where nothing of it is in use.
        room.reserve(FIRST);
        ready!(pin!(stream.read_buf(room)).poll(context))?;
        Poll::Ready(Ok(room.split().freeze()))
    })
}

/// A stream that has begun already.
struct Begun<S> {
    first: Bytes,
    stream: S,
}

impl<S: AsyncRead + Unpin> AsyncRead for Begun<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, into);
        }
        let count = self.first.len().min(into.remaining());
        into.put_slice(&self.first[..count]);
        self.first.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Begun<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests;
