//! Closes a connection so that the client gets its last answer whole (RFC 9112, 9.6).
//!
//! A socket that is closed with bytes of the client's unread, or that more of them reach afterwards, is reset, and what of an
//! answer had not left yet is thrown away. That is so wherever a body is refused unread, or more requests stand behind the
//! last one that is answered.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// How long the client may take for the end of its answer.
const WITHIN: Duration = Duration::from_secs(1);
/// Bytes that are read and thrown away meanwhile.
const MOST: usize = 4 << 20;

/// A socket that is shut down in two steps: it says that no more comes, then waits a little for the client to say the same,
/// and throws away what the client sends meanwhile.
pub(super) struct Lingering<S> {
    socket: S,
    dropped: usize,
    /// From the first step on.
    until: Option<Pin<Box<Sleep>>>,
}

impl<S> Lingering<S> {
    pub(super) fn new(socket: S) -> Lingering<S> {
        Lingering { socket, dropped: 0, until: None }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lingering<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(context, into)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Lingering<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.until.is_none() {
            ready!(Pin::new(&mut self.socket).poll_shutdown(context))?;
            self.until = Some(Box::pin(tokio::time::sleep(WITHIN)));
        }
        let is_late = self.until.as_mut().is_some_and(|until| until.as_mut().poll(context).is_ready());
        let mut buffer = [0; 8 << 10];
        while !is_late && self.dropped < MOST {
            let mut unread = ReadBuf::new(&mut buffer);
            match ready!(Pin::new(&mut self.socket).poll_read(context, &mut unread)) {
                Ok(()) if !unread.filled().is_empty() => self.dropped += unread.filled().len(),
                // The client has its answer, or is gone.
                _ => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}
