//! The bodies of responses. Those of hits are known as a whole, and handed to the connection as such: none is boxed, and each is
//! sent with its head by one call.

use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::{Buf, Bytes};
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::list::List;

/// A response as a connection sends it.
pub(crate) type Reply = http::Response<Payload>;

/// The body of a response.
pub(crate) enum Payload {
    /// Bytes, empty once they are handed on.
    Whole(Bytes),
    /// Rows that are sent from where they lie.
    Rows(List),
    /// Any other.
    Other(Body),
}

impl Payload {
    /// Whether all of it is there.
    pub(crate) fn is_whole(&self) -> bool {
        !matches!(self, Payload::Other(_))
    }
}

impl From<Body> for Payload {
    fn from(body: Body) -> Payload {
        Payload::Other(body)
    }
}

impl From<Payload> for Body {
    fn from(payload: Payload) -> Body {
        match payload {
            Payload::Whole(bytes) => Body::from(bytes),
            Payload::Rows(list) => Body::from(list.collect()),
            Payload::Other(body) => body,
        }
    }
}

impl HttpBody for Payload {
    type Data = Piece;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Piece>, axum::Error>>> {
        let piece = match self.get_mut() {
            Payload::Whole(bytes) => Piece::Whole(std::mem::take(bytes)),
            Payload::Rows(list) => Piece::Rows(std::mem::take(list)),
            Payload::Other(body) => {
                let frame = Pin::new(body).poll_frame(context);
                return frame.map(|frame| frame.map(|frame| frame.map(|frame| frame.map_data(Piece::Whole))));
            }
        };
        Poll::Ready(piece.has_remaining().then(|| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Payload::Whole(bytes) => bytes.is_empty(),
            Payload::Rows(list) => !list.has_remaining(),
            Payload::Other(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Payload::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Payload::Rows(list) => SizeHint::with_exact(list.remaining() as u64),
            Payload::Other(body) => body.size_hint(),
        }
    }
}

/// A piece of a body.
pub(crate) enum Piece {
    Whole(Bytes),
    Rows(List),
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        match self {
            Piece::Whole(bytes) => bytes.len(),
            Piece::Rows(list) => list.remaining(),
        }
    }

    fn chunk(&self) -> &[u8] {
        match self {
            Piece::Whole(bytes) => bytes,
            Piece::Rows(list) => list.chunk(),
        }
    }

    fn advance(&mut self, count: usize) {
        match self {
            Piece::Whole(bytes) => bytes.advance(count),
            Piece::Rows(list) => list.advance(count),
        }
    }

    fn chunks_vectored<'a>(&'a self, into: &mut [IoSlice<'a>]) -> usize {
        match self {
            Piece::Whole(bytes) => bytes.chunks_vectored(into),
            Piece::Rows(list) => list.chunks_vectored(into),
        }
    }
}
