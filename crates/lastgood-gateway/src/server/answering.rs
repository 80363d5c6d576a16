//! Answers to the requests of a connection, and whether it is of use meanwhile.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::CONNECTION;
use http::{HeaderValue, Request, Version};
use hyper::body::{Body, Incoming};

use crate::activity::{Activity, Streamed};
use crate::response::payload::Reply;
use crate::router::Routes;

/// An answer, there or to come.
pub(super) enum Answering {
    /// There, until it is given.
    There(Option<Reply>),
    ToCome(Pin<Box<dyn Future<Output = Result<Reply, Infallible>> + Send>>),
}

/// The answer of the fast path to a request after which the connection goes on.
pub(super) fn answer_at_once<B: Body>(
    routes: &Routes,
    activity: &Activity,
    peer: SocketAddr,
    request: &Request<B>,
) -> Option<Reply> {
    let reply = routes.answer_at_once(peer, request).ok()?;
    activity.is_idle_after_whole();
    Some(reply)
}

/// Answers a request: at once, and without the room that others need, where the fast path can.
pub(super) fn answer(
    routes: &Routes,
    activity: &Arc<Activity>,
    peer: SocketAddr,
    request: Request<Incoming>,
) -> Answering {
    let after = After::of(&request);
    match routes.answer_at_once(peer, &request) {
        Ok(reply) => {
            after.note(activity, &reply);
            Answering::There(Some(reply))
        }
        Err(known) => {
            let (routes, activity) = (routes.clone(), Arc::clone(activity));
            Answering::ToCome(Box::pin(async move {
                activity.is_busy();
                Ok(finish(activity, after, routes.answer(peer, request, known).await?))
            }))
        }
    }
}

/// The connection is of use until now; and, where the answer is streamed, until that has ended.
fn finish(activity: Arc<Activity>, after: After, mut response: Reply) -> Reply {
    match response.extensions_mut().remove::<Streamed>() {
        Some(streamed) => streamed.keep_busy(activity, after.has_body),
        None if response.body().size_hint().exact().is_none() => activity.is_idle_though_endless(),
        None => after.note(&activity, &response),
    }
    response
}

/// What of a request bears on its connection after the answer.
#[derive(Clone, Copy)]
pub(super) struct After {
    has_body: bool,
    goes_on: bool,
}

impl After {
    pub(super) fn of<B: Body>(request: &Request<B>) -> After {
        let keeps = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"keep-alive");
        let goes_on = request.headers().get_all(CONNECTION).iter().all(keeps) && request.version() == Version::HTTP_11;
        After { has_body: !request.body().is_end_stream(), goes_on }
    }

    /// The request has its answer. A connection that goes on after an answer as a whole needs hyper no more; one that is closed has yet
    /// to wait for its client.
    pub(super) fn note(self, activity: &Activity, reply: &Reply) {
        match self {
            After { has_body: true, .. } => activity.is_idle_after_body(),
            After { goes_on: true, .. } if reply.body().is_whole() => activity.is_idle_after_whole(),
            After { .. } => activity.is_idle(),
        }
    }
}

impl Future for Answering {
    type Output = Result<Reply, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Answering::There(reply) => reply.take().map_or(Poll::Pending, |reply| Poll::Ready(Ok(reply))),
            Answering::ToCome(answer) => answer.as_mut().poll(context),
        }
    }
}
