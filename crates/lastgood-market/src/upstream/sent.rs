//! How far the body of a request that is passed on was sent: what a client does to its own body is not the host's doing.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt as _, LengthLimitError};
use lastgood::http_client::RequestBody;

/// The problem with the body of a client's request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadBody {
    /// It ended before its end, or is not encoded as it says.
    BrokeOff,
    /// It is larger than the gateway allows.
    TooLarge,
    /// It did not arrive in time.
    TooSlow,
}

/// How far a body was sent; clones share it.
#[derive(Clone)]
pub(super) struct Sending(Arc<AtomicU8>);

const ON_ITS_WAY: u8 = 0;
const WHOLE: u8 = 1;
const BROKE_OFF: u8 = 2;
const TOO_LARGE: u8 = 3;

impl Sending {
    /// The same body, and how far it was sent.
    pub(super) fn of(body: RequestBody) -> (RequestBody, Sending) {
        if body.is_end_stream() {
            return (body, Sending(Arc::new(AtomicU8::new(WHOLE))));
        }
        let sending = Sending(Arc::new(AtomicU8::new(ON_ITS_WAY)));
        (Observed { body, sending: sending.clone() }.boxed_unsync(), sending)
    }

    /// What the client did wrong, if the body failed.
    pub(super) fn failed(&self) -> Option<BadBody> {
        match self.0.load(Ordering::Relaxed) {
            BROKE_OFF => Some(BadBody::BrokeOff),
            TOO_LARGE => Some(BadBody::TooLarge),
            _ => None,
        }
    }

    /// What the client did wrong, if the body has not been sent whole by its deadline.
    pub(super) fn unfinished(&self) -> Option<BadBody> {
        match self.0.load(Ordering::Relaxed) {
            WHOLE => None,
            _ => Some(self.failed().unwrap_or(BadBody::TooSlow)),
        }
    }
}

struct Observed {
    body: RequestBody,
    sending: Sending,
}

impl Body for Observed {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        let state = match &frame {
            None => WHOLE,
            Some(Ok(_)) if self.body.is_end_stream() => WHOLE,
            Some(Ok(_)) => ON_ITS_WAY,
            Some(Err(why)) if why.is::<LengthLimitError>() => TOO_LARGE,
            Some(Err(_)) => BROKE_OFF,
        };
        self.sending.0.store(state, Ordering::Relaxed);
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
