//! Requests that are passed on as they came. Nothing is kept of them, and what was sent is never sent again.

use std::time::Duration;

use http::uri::PathAndQuery;
use http::{Request, Response, header};
use lastgood::http_client::{Incoming, Progress, RequestBody};
use lastgood::{Error, Reason};

use super::client::{self, join, retry_after, strip_hop_by_hop, used_weight};
use super::host::Call;
use super::sent::Sending;
use super::{
    CallResult, Host, Unanswered, Upstreams, VenueUpstream, bounds, not_connected, reason_to_stop, unanswered,
};
use crate::budget::Spent;
use crate::{Bucket, PassOnly, Venue};

/// Which host answers a request that was passed on: with the answer, whose body is still to come.
#[derive(Clone, Copy, Debug)]
pub struct PassedBy {
    to: To,
    host: usize,
}

#[derive(Clone, Copy, Debug)]
enum To {
    Market(Venue),
    Only(PassOnly),
}

/// What the conditions of hosts and exchanges call the answers, whose heads and bodies may fail by themselves.
const PASSED: &str = "requests passed on";
const BODIES: &str = "answers passed on";
/// The exchange does not serve this place of the world. No question of a client's is the reason.
const NOT_FROM_HERE: u16 = 451;

impl Upstreams {
    /// Sends a request on as it came, to the first host that can be reached, and gives back the answer's head with
    /// its body still to come, if that begins `within` so long. What was sent is never sent again. No budget holds it
    /// back; the exchange's pauses and bans do, unless `is_signed`.
    ///
    /// # Errors
    ///
    /// When no host answered, and whether the request may have reached one.
    pub async fn forward(
        &self,
        venue: Venue,
        request: Request<RequestBody>,
        is_signed: bool,
        within: Duration,
    ) -> Result<Response<Incoming>, Unanswered> {
        self.forward_to(To::Market(venue), request, is_signed, within).await
    }

    /// As [`Upstreams::forward`], to a part of the exchange that is only passed to.
    ///
    /// # Errors
    ///
    /// As [`Upstreams::forward`].
    pub async fn forward_only(
        &self,
        part: PassOnly,
        request: Request<RequestBody>,
        is_signed: bool,
        within: Duration,
    ) -> Result<Response<Incoming>, Unanswered> {
        self.forward_to(To::Only(part), request, is_signed, within).await
    }

    fn passed_to(&self, to: To) -> &VenueUpstream {
        match to {
            To::Market(venue) => self.venue(venue),
            To::Only(part) => &self.pass_only[part as usize],
        }
    }

    /// Takes note of how the body of an answer ended that was passed on: whole, or broken off by its host.
    pub fn body_ended(&self, by: PassedBy, is_whole: bool) {
        let upstream = self.passed_to(by.to);
        let Some(host) = upstream.hosts.get(by.host) else { return };
        let broke_off = || Error::new(Reason::Unreachable, format!("{} broke off its answer", host.url.name()));
        let judged = if is_whole { Ok(()) } else { Err(broke_off()) };
        host.condition.ended(BODIES, &judged);
        upstream.condition.ended(BODIES, &judged);
    }

    /// Whether there is a host to pass requests of this part to.
    pub fn passes(&self, part: PassOnly) -> bool {
        !self.pass_only[part as usize].hosts.is_empty()
    }

    async fn forward_to(
        &self,
        to: To,
        request: Request<RequestBody>,
        is_signed: bool,
        within: Duration,
    ) -> Result<Response<Incoming>, Unanswered> {
        let upstream = self.passed_to(to);
        let (mut head, body) = request.into_parts();
        let bucket = Bucket::of_path(head.uri.path());
        let target = head.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        strip_hop_by_hop(&mut head.headers);
        head.headers.remove(header::HOST);
        let is_empty = http_body::Body::is_end_stream(&body);
        let (body, sending) = Sending::of(body);
        let mut body = Some(body);
        let (deadline, mut not_sent) = (tokio::time::Instant::now() + within, "no upstream is configured".to_owned());
        for host in upstream.in_order() {
            head.uri = join(&host.url, target.as_str()).map_err(|why| Unanswered::NotSent(why.to_string()))?;
            // A body can be sent once; without one the next host may be tried.
            let body_now = body.take().unwrap_or_else(client::no_body);
            let passing = match is_signed {
                true => host.budget.pass(),
                false => host.budget.pass_unsigned(bucket).map_err(Unanswered::HeldBack)?,
            };
            let call = host.call_for_client();
            let (name, progress) = (host.url.name(), Progress::default());
            let asked = self.client.send_with(Request::from_parts(head.clone(), body_now), &progress);
            match tokio::time::timeout_at(deadline, asked).await {
                Ok(Ok(mut response)) => {
                    self.answered(to, host, call, &response);
                    self.learn_from(host, &passing, bucket, &response);
                    // An answer that comes before the question's end may break off because of that.
                    let is_it = |one: &Host| std::ptr::eq(one, host) && sending.unfinished().is_none();
                    let by = upstream.hosts.iter().position(is_it);
                    response.extensions_mut().insert(by.map(|host| PassedBy { to, host }));
                    return Ok(response);
                }
                Ok(Err(why)) if why.is_unsent() => {
                    let result = not_connected(&why);
                    call.ended(result);
                    not_sent = unanswered::words(name, &why);
                    self.judge_passed(upstream, host, result, &not_sent);
                    if !is_empty {
                        break;
                    }
                }
                Ok(Err(why)) => {
                    let lost = || self.lost(upstream, host, call, CallResult::BrokeOff, unanswered::words(name, &why));
                    return Err(sending.failed().map_or_else(lost, Unanswered::BadBody));
                }
                Err(_) => {
                    let what = unanswered::late(name, within, &progress);
                    let lost = || self.lost(upstream, host, call, CallResult::TimedOut, what);
                    return Err(sending.unfinished().map_or_else(lost, Unanswered::BadBody));
                }
            }
        }
        Err(Unanswered::NotSent(not_sent))
    }

    /// Takes note of what the head of an answer says of its host.
    fn answered(&self, to: To, host: &Host, call: Call<'_>, response: &Response<Incoming>) {
        let status = response.status().as_u16();
        let result = CallResult::of(status, false);
        call.ended(result);
        let judged = if status == NOT_FROM_HERE { CallResult::Failed } else { result };
        self.judge_passed(self.passed_to(to), host, judged, &format!("{} answered {status}", host.url.name()));
    }

    /// Takes note of the weight, and of a pause or ban, that an answer speaks of.
    fn learn_from(&self, host: &Host, passing: &Spent<'_>, bucket: Bucket, response: &Response<Incoming>) {
        if let Some(used) = used_weight(response.headers()) {
            passing.learn_used(used);
        }
        let status = response.status().as_u16();
        passing.answered(status);
        if let Some(reason) = reason_to_stop(status) {
            let wait = retry_after(response.headers(), self.exchange_now());
            let bucket = Some(bucket).filter(|bucket| *bucket == Bucket::Sapi);
            self.stop(host, reason, bucket, wait.unwrap_or(bounds::usual(reason)));
        }
    }

    /// A request that a host has, and may have acted upon.
    fn lost(
        &self,
        upstream: &VenueUpstream,
        host: &Host,
        call: Call<'_>,
        result: CallResult,
        what: String,
    ) -> Unanswered {
        call.ended(result);
        self.judge_passed(upstream, host, result, &what);
        Unanswered::Unknown(what)
    }

    /// Takes note of what a request that was passed on says of its host.
    fn judge_passed(&self, upstream: &VenueUpstream, host: &Host, result: CallResult, what: &str) {
        let judged = match result {
            CallResult::Answered => Ok(()),
            // Its refusals go to the client; pauses and bans are logged as such.
            CallResult::HeldOff | CallResult::GivenUp => return,
            CallResult::Failed => Err(Error::new(Reason::Upstream, what)),
            CallResult::TimedOut => Err(Error::new(Reason::TimedOut, what)),
            CallResult::Unreachable | CallResult::BrokeOff => Err(Error::new(Reason::Unreachable, what)),
        };
        host.condition.ended(PASSED, &judged);
        upstream.condition.ended(PASSED, &judged);
    }
}
