//! Answers to the requests of a connection, and whether it is of use meanwhile.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Request;
use hyper::body::{Body, Incoming};

use crate::activity::{Activity, Streamed};
use crate::exchange::ready::Target;
use crate::response::payload::Reply;
use crate::router::Routes;

/// An answer, there or to come.
pub(super) enum Answering {
    /// There, until it is given.
    There(Option<Reply>),
    ToCome(Pin<Box<dyn Future<Output = Result<Reply, Infallible>> + Send>>),
}

/// The answer of the fast path, after which the connection is of no use until it asks again.
pub(super) fn answer_at_once<B: Body>(
    routes: &Routes,
    activity: &Activity,
    peer: SocketAddr,
    request: &Request<B>,
) -> Result<Reply, Option<Arc<Target>>> {
    let reply = routes.answer_at_once(peer, request)?;
    activity.is_idle_after_whole();
    Ok(reply)
}

/// Answers a request: at once, and without the room that others need, where the fast path can.
pub(super) fn answer(
    routes: &Routes,
    activity: &Arc<Activity>,
    peer: SocketAddr,
    request: Request<Incoming>,
) -> Answering {
    match answer_at_once(routes, activity, peer, &request) {
        Ok(reply) => Answering::There(Some(reply)),
        Err(known) => {
            let (routes, activity) = (routes.clone(), Arc::clone(activity));
            let has_body = !request.body().is_end_stream();
            Answering::ToCome(Box::pin(async move {
                activity.is_busy();
                Ok(finish(activity, has_body, routes.answer(peer, request, known).await?))
            }))
        }
    }
}

/// The connection is of use until now; and, where the answer is streamed, until that has ended.
fn finish(activity: Arc<Activity>, has_body: bool, mut response: Reply) -> Reply {
    match response.extensions_mut().remove::<Streamed>() {
        Some(streamed) => streamed.keep_busy(activity, has_body),
        None if response.body().size_hint().exact().is_none() => activity.is_idle_though_endless(),
        None if has_body => activity.is_idle_after_body(),
        None if response.body().is_whole() => activity.is_idle_after_whole(),
        None => activity.is_idle(),
    }
    response
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
