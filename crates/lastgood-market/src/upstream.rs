//! The exchange's hosts: the only place that asks them anything.
//!
//! A host comes from the configuration, by venue, and from nowhere else. Redirects are not followed: they are answers
//! like any other. Requests are put on the wire with the bytes they came with, because those are what was signed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use http::HeaderValue;
use lastgood::http_client::{HttpClient, Progress};
use lastgood::{Clock, Error, Reason, Timestamp};
use tokio::sync::Notify;

use crate::budget::{Ask, Frequency, Spent, bounds};
use crate::validate::Fetched;
use crate::{Bucket, Budget, Identities, PassOnly, Priority, Received, RegionName, UpstreamRequest, Venue};

mod bans;
mod client;
mod clock_skew;
mod error;
mod exchange;
mod forward;
mod health;
mod health_check;
mod host;
mod loader;
mod options;
mod refusals;
mod remembered;
mod sent;
mod share;
mod site;
mod unanswered;

pub use self::bans::BanMemory;
pub use self::client::strip_hop_by_hop;
use self::clock_skew::ClockSkew;
pub use self::error::UpstreamError;
use self::exchange::own_name;
pub use self::exchange::{Mixed, exchange_of, mixed};
pub use self::forward::PassedBy;
pub use self::health::CallResult;
pub(crate) use self::health_check::{share_bans, watch_health};
pub use self::host::{Host, VenueUpstream};
pub(crate) use self::loader::{ExchangeLoader, yielded};
pub use self::options::{BaseUrl, NoBaseUrl, Options};
pub(crate) use self::remembered::remember_identities;
pub use self::sent::BadBody;
pub(crate) use self::share::BudgetShare;
pub use self::share::SharePace;
pub use self::site::SiteClient;
pub use lastgood::http_client::RequestBody;

use self::client::{public_request, read, used_weight};
use self::health::not_connected;
use self::refusals::reason_to_stop;

/// Try at most this many hosts per request; all but the last get this long.
const MOST_ATTEMPTS: usize = 3;
const ATTEMPT: Duration = Duration::from_secs(3);
/// A host that has not answered for this long is reported as failing while it is waited for.
const SLOW_AFTER: Duration = Duration::from_secs(1);

/// All venues, behind one connection pool.
pub struct Upstreams {
    client: HttpClient,
    venues: [VenueUpstream; 3],
    pass_only: [VenueUpstream; 2],
    /// How often keys are asked for: under scarcity the hot ones are refreshed first.
    pub frequency: Frequency,
    /// How far the exchange's clock is from ours. One for all: theirs go together.
    pub(crate) clock_skew: ClockSkew,
    clock: Clock,
    /// Which exchange each venue is of.
    identities: Identities,
    /// What outlives this process of the exchange's pauses and bans.
    bans: BanMemory,
    /// Notified of every new one.
    stopped: Notify,
    /// How far the clock of a shared store is ahead of this process's, in ms.
    store_ahead: AtomicI64,
    /// Whether other gateways tell their stops by [`BudgetShare`].
    hears_others: AtomicBool,
    max_answer: usize,
}

/// Why a request was not answered by the exchange.
#[derive(Debug)]
pub enum Unanswered {
    /// We back off from the exchange, and the request is none that is sent all the same.
    HeldBack(Error),
    /// It never reached the exchange, so nothing has happened.
    NotSent(String),
    /// It may have reached the exchange: what became of it is unknown.
    Unknown(String),
    /// The client did not send its body whole, so no exchange has acted upon it.
    BadBody(BadBody),
}

/// The request to a host.
#[derive(Clone, Copy)]
struct Question<'a> {
    request: &'a UpstreamRequest,
    /// Path and query.
    target: &'a str,
    bucket: Bucket,
    priority: Priority,
    /// An API key of a user's, or of the gateway's own.
    key: Option<&'a HeaderValue>,
}

/// What came of a question, and of whom the answer is: of no host where none was asked.
struct Answered<'a> {
    host: Option<&'a Host>,
    received: Checked,
}

/// The answer, if it is one to the question; nothing where it refuses the key.
type Checked = Result<Option<Received>, Error>;

/// What came of asking one host.
enum Attempt {
    /// It was not asked: budget or bulkhead said no.
    Refused(Error),
    /// Its answer, or why there is none. A question that may fare better elsewhere can be asked again.
    Ended(Checked, CallResult),
}

/// The answer of a host, not checked yet.
struct Reply {
    fetched: Fetched,
    asked_at: Timestamp,
}

impl Reply {
    fn received(self, request: &UpstreamRequest, now: Timestamp) -> Result<Received, Error> {
        Ok(Received { value: self.fetched.into_value(request, now)?, asked_at: self.asked_at })
    }
}

impl Upstreams {
    /// Upstreams at the hosts of `options`; `bans` remembers their pauses and bans.
    ///
    /// # Errors
    ///
    /// When the hosts of a venue are known to be of different exchanges, or the system's certificate authorities cannot be
    /// read.
    pub fn new(options: &Options, clock: &Clock, bans: BanMemory) -> Result<Self, UpstreamError> {
        let identities = options.identities()?;
        Ok(Upstreams {
            client: client::client(options.connect_timeout, &options.proxies)?,
            venues: Venue::ALL.map(|venue| VenueUpstream::new(venue, identities.name(venue), options, clock)),
            identities,
            pass_only: PassOnly::ALL.map(|part| {
                let (hosts, named) = (options.pass_only_hosts(part), (part.as_str(), Venue::Spot));
                let exchange = hosts.first().map(own_name).unwrap_or_default();
                VenueUpstream::at(hosts, named, &exchange, options, clock)
            }),
            frequency: Frequency::new(),
            clock_skew: ClockSkew::default(),
            clock: clock.clone(),
            bans,
            stopped: Notify::new(),
            store_ahead: AtomicI64::new(0),
            hears_others: AtomicBool::new(false),
            max_answer: usize::try_from(options.max_answer_bytes).unwrap_or(usize::MAX),
        })
    }

    /// Which exchange each venue is of.
    pub fn identities(&self) -> &Identities {
        &self.identities
    }

    /// One venue's hosts and budgets.
    pub fn venue(&self, venue: Venue) -> &VenueUpstream {
        &self.venues[venue as usize]
    }

    /// The budget of every exchange, with its venue.
    pub fn budgets(&self) -> impl Iterator<Item = (Venue, &Arc<Budget>)> {
        Venue::ALL.into_iter().flat_map(|venue| self.venue(venue).budgets().iter().map(move |budget| (venue, budget)))
    }

    /// The same, and those of the parts that are only passed to.
    fn every_budget(&self) -> impl Iterator<Item = &Arc<Budget>> {
        self.venues.iter().chain(&self.pass_only).flat_map(VenueUpstream::budgets)
    }

    /// Takes note of the clock of a shared store. The exchange's windows are by the exchange's clock, and as long as that
    /// is not known by the store's, as other gateways' are.
    fn store_is_ahead(&self, ahead: i64) {
        self.hears_others.store(true, Ordering::Relaxed);
        self.store_ahead.store(ahead, Ordering::Relaxed);
        if !self.clock_skew.is_known() {
            self.every_budget().for_each(|budget| budget.go_by(ahead));
        }
    }

    /// The store does not say what other gateways spend: each goes by the exchange's word.
    fn loses_others(&self) {
        self.hears_others.store(false, Ordering::Relaxed);
        self.every_budget().for_each(|budget| budget.loses_others());
    }

    /// How far the exchange's clock is ahead of this machine's, in ms; negative where it is behind.
    pub fn clock_skew(&self) -> i64 {
        self.clock_skew.millis()
    }

    /// Fetches a public answer, whole, from the first host that gives one, and checks that it is what was asked for.
    ///
    /// # Errors
    ///
    /// Why there is none; [`Fetched::into_value`] says what counts as none.
    pub async fn load(&self, request: &UpstreamRequest, priority: Priority) -> Result<Received, Error> {
        let received = self.load_with(request, priority, None).await?;
        received.ok_or_else(|| Error::new(Reason::Upstream, "the exchange refuses a question without an API key"))
    }

    /// As [`Upstreams::load`], with an API key of a user's or of the gateway's own. `None` where the answer refuses the key
    /// ([`Fetched::refuses_key`]), which says nothing of the host and asks for no pause.
    ///
    /// # Errors
    ///
    /// As [`Upstreams::load`].
    pub(crate) async fn load_as(
        &self,
        request: &UpstreamRequest,
        priority: Priority,
        key: &HeaderValue,
    ) -> Result<Option<Received>, Error> {
        self.load_with(request, priority, Some(key)).await
    }

    async fn load_with(
        &self,
        request: &UpstreamRequest,
        priority: Priority,
        key: Option<&HeaderValue>,
    ) -> Result<Option<Received>, Error> {
        let venue = self.venue(request.endpoint.venue);
        let exchange = venue.condition.begin(request.endpoint.path);
        match self.fetch(request, priority, key).await {
            // Our own budget is no fault of the exchange's.
            Answered { host: None, received } => {
                exchange.not_begun();
                received
            }
            Answered { host: Some(host), received } => {
                host.condition.ended(request.endpoint.path, &received);
                exchange.ended(&received);
                received
            }
        }
    }

    async fn fetch(&self, request: &UpstreamRequest, priority: Priority, key: Option<&HeaderValue>) -> Answered<'_> {
        let target = match request.query.as_str() {
            "" => request.endpoint.path.to_owned(),
            query => [request.endpoint.path, "?", query].concat(),
        };
        let bucket = request.endpoint.bucket();
        let question = Question { request, target: &target, bucket, priority, key };
        let hosts = self.venue(request.endpoint.venue).in_order();
        let attempts = hosts.len().min(MOST_ATTEMPTS);
        let mut outcome =
            Answered { host: None, received: Err(Error::new(Reason::Unreachable, "no upstream is configured")) };
        for (number, host) in hosts.into_iter().take(attempts).enumerate() {
            let is_last = number + 1 == attempts;
            let (ended, result) = match self.attempt(host, question, is_last).await {
                Attempt::Refused(error) if number == 0 => return Answered { host: None, received: Err(error) },
                Attempt::Refused(_) => break,
                Attempt::Ended(ended, result) => (ended, result),
            };
            if let (Some(host), Err(error)) = (outcome.host, &outcome.received) {
                host.condition.failed(request.endpoint.path, error);
            }
            outcome = Answered { host: Some(host), received: ended };
            // An answer or a refusal would be the same elsewhere; trouble of the host's own, such as garbage, may not be.
            if matches!(result, CallResult::Answered | CallResult::HeldOff) {
                break;
            }
        }
        outcome
    }

    async fn attempt(&self, host: &Host, question: Question<'_>, is_last: bool) -> Attempt {
        let Question { request, bucket, priority, key, .. } = question;
        let slot = self.frequency.slot(&request.key);
        let ask = Ask { bucket, weight: request.weight, priority, frequency: self.frequency.of_at(slot) };
        let _place = match host.place(ask, request.endpoint.path).await {
            Ok(place) => place,
            Err(error) => return Attempt::Refused(error),
        };
        let ask = Ask { frequency: self.frequency.of_at(slot), ..ask };
        let spent = match host.budget.spend(ask) {
            Ok(spent) => spent,
            Err(error) => return Attempt::Refused(error),
        };
        self.frequency.reset_at(slot);
        let call = host.call();
        let progress = Progress::default();
        let condition = host.condition.begin(request.endpoint.path).late_because({
            let progress = progress.clone();
            move || progress.stage().late()
        });
        let mut asked = std::pin::pin!(self.ask_host(host, question, &spent, &progress));
        let name = host.url.name();
        let asked = async {
            if let Ok(answered) = tokio::time::timeout(SLOW_AFTER, &mut asked).await {
                return answered;
            }
            let (seconds, doing) = (SLOW_AFTER.as_secs(), progress.stage().doing());
            let message = format!("{name} has not answered for {seconds} s, while {doing}");
            condition.is_slow(&Error::new(Reason::Slow, message));
            asked.await
        };
        let (ended, result) = match is_last {
            true => asked.await,
            false => tokio::time::timeout(ATTEMPT, asked).await.unwrap_or_else(|_| {
                let message = unanswered::late(name, ATTEMPT, &progress);
                (Err(Error::new(Reason::TimedOut, message)), CallResult::TimedOut)
            }),
        };
        let checked = match ended {
            Ok(reply) if key.is_some() && reply.fetched.refuses_key() => Ok(None),
            Ok(reply) => reply.received(request, self.exchange_now()).map(Some),
            Err(error) => Err(error),
        };
        let result = if is_no_answer(&checked, result) { CallResult::Failed } else { result };
        call.ended(result);
        // How it ended is noted once it is known whether another host is asked.
        condition.is_over();
        Attempt::Ended(checked, result)
    }

    async fn ask_host(
        &self,
        host: &Host,
        question: Question<'_>,
        spent: &Spent<'_>,
        progress: &Progress,
    ) -> (Result<Reply, Error>, CallResult) {
        let Question { request, target, bucket, key, .. } = question;
        let sent = match public_request(&host.url, target, request.micros, key) {
            Ok(sent) => sent,
            Err(why) => {
                let message = format!("not a request that can be sent: {why}");
                return (Err(Error::new(Reason::NotFound, message)), CallResult::Answered);
            }
        };
        let asked_at = self.clock.now();
        let response = match self.client.send_with(sent, progress).await {
            Ok(response) => response,
            Err(why) => {
                let result = if why.is_unsent() { not_connected(&why) } else { CallResult::BrokeOff };
                return (Err(unanswered::error(host.url.name(), why)), result);
            }
        };
        self.clock_skew.learn(response.headers(), asked_at, self.clock.now());
        if self.clock_skew.is_known() {
            self.every_budget().for_each(|budget| budget.go_by(self.clock_skew.millis()));
        }
        if let Some(used) = used_weight(response.headers()).filter(|_| request.endpoint.states_weight) {
            spent.learn_used(used);
        }
        let fetched = match read(response, self.max_answer, self.exchange_now()).await {
            Ok(fetched) => fetched,
            // An answer that is too large or wrongly compressed is so on every host.
            Err(error) => return (Err(error), CallResult::Answered),
        };
        spent.answered(fetched.status);
        if fetched.status == 200 && request.region() == RegionName::ExchangeInfo {
            host.budget.learn_limits(&fetched.body);
        }
        // A refused key says nothing of the host, and asks for no pause: others may have better ones.
        if key.is_some() && fetched.refuses_key() {
            return (Ok(Reply { fetched, asked_at }), CallResult::Answered);
        }
        self.apply_refusal(host, bucket, &fetched);
        let result = CallResult::of(fetched.status, fetched.is_page());
        (Ok(Reply { fetched, asked_at }), result)
    }

    /// The exchange's time, as far as its answers tell.
    pub(super) fn exchange_now(&self) -> Timestamp {
        let now = self.clock.now().as_millis();
        Timestamp::from_millis(now.saturating_add_signed(self.clock_skew.millis()))
    }
}

/// Whether a host that answered gave none to the question, and no verdict on it or on us either.
fn is_no_answer(checked: &Checked, result: CallResult) -> bool {
    let is_none = |error: &Error| matches!(error.reason, Reason::Malformed | Reason::Upstream);
    result == CallResult::Answered && checked.as_ref().is_err_and(is_none)
}
