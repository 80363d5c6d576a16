//! What goes on behind the requests: looks at unhealthy hosts, and the sharing of bans.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;
use http::{Request, header};
use lastgood::http_client::Progress;
use lastgood::store::StoreError;
use lastgood::{Error, Reason};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::Upstreams;
use super::bans::Stops;
use super::client::{join, no_body, public_request, read, used_weight};
use super::host::Host;
use crate::budget::Ask;
use crate::{Bucket, Priority, Venue};

/// How often it is asked whether a look is due.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A host that does not answer a ping within this is not well.
const PING_PATIENCE: Duration = Duration::from_secs(2);
/// An exchangeInfo is megabytes.
const LIMITS_WITHIN: Duration = Duration::from_secs(10);
/// How often the store is asked for bans that others learnt: in use, and idle, because hosted stores bill by the
/// command.
const ASK_EVERY: Duration = Duration::from_secs(5);
const IDLE_TICKS: u32 = 6;
/// The same while others tell their bans with what they spend.
const FOLLOWING_TICKS: u32 = 120;
/// How long a start waits for a shared store, so that the first call already knows its bans.
const RECALL_WITHIN: Duration = Duration::from_millis(500);
const RECALL_AGAIN_AFTER: Duration = Duration::from_millis(20);

/// Looks at unhealthy hosts of venues that have others, with pings, and asks for limits that are doubted, until it is
/// aborted.
pub(crate) async fn watch_health(upstreams: Arc<Upstreams>) {
    let mut tick = interval(LOOK_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let looks = Venue::ALL.into_iter().flat_map(|venue| {
            let hosts = &upstreams.venue(venue).hosts;
            // A lone host is found well again by the next request: no other check would take it.
            let due = |host: &&Host| host.health.look_at().is_some_and(|at| at <= Instant::now());
            let hosts = hosts.iter().filter(move |_| hosts.len() > 1).filter(due);
            hosts.map(move |host| (venue, host))
        });
        join_all(looks.map(|(venue, host)| look(&upstreams, venue, host))).await;
        join_all(Venue::ALL.into_iter().map(|venue| upstreams.learn_limits_again(venue))).await;
    }
}

async fn look(upstreams: &Upstreams, venue: Venue, host: &Host) {
    let ask = Ask { bucket: Bucket::Weight, weight: 1, priority: Priority::Refresh, frequency: u32::MAX };
    // A ping is a call like any other: none during a ban.
    let Ok(spent) = host.budget.spend(ask) else { return };
    let path = match venue {
        Venue::Spot => "/api/v3/ping",
        Venue::UsdM => "/fapi/v1/ping",
        Venue::CoinM => "/dapi/v1/ping",
    };
    let request = join(&host.url, path).and_then(|uri| {
        let request = Request::get(uri).header(header::USER_AGENT, concat!("lastgood/", env!("CARGO_PKG_VERSION")));
        request.body(no_body())
    });
    let Ok(request) = request else { return };
    let progress = Progress::default();
    let answered = tokio::time::timeout(PING_PATIENCE, upstreams.client.send_with(request, &progress)).await;
    match answered {
        Ok(Ok(response)) if response.status().is_success() => {
            if let Some(used) = used_weight(response.headers()) {
                spent.learn_used(used);
            }
            host.health.looked_well();
            host.condition.recovered();
        }
        no_answer => {
            host.health.looked_ill();
            let why = match no_answer {
                Ok(Ok(response)) => format!("the status is {}", response.status().as_u16()),
                Ok(Err(why)) => why.in_words().into_owned(),
                Err(_) => progress.stage().late().to_owned(),
            };
            let why = format!("{} does not answer pings: {why}", host.url.name());
            host.condition.failed(path, &Error::new(Reason::Unreachable, why));
        }
    }
}

/// Writes new stops down and reads those of others, until it is aborted.
pub(crate) async fn share_bans(upstreams: Arc<Upstreams>) {
    let mut tick = interval(ASK_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick always asks: the store may not have answered in time for the start.
    let (mut idle_ticks, mut calls_before) = (0, u64::MAX);
    loop {
        tokio::select! {
            () = upstreams.stopped.notified() => upstreams.remember_stops().await,
            _ = tick.tick(), if upstreams.bans.is_shared() => {
                let calls = upstreams.budgets().map(|(_, budget)| budget.standing().calls).sum();
                // Others tell their stops with what they spend, too; the key is for those who come later.
                let hears_others = upstreams.hears_others.load(Ordering::Relaxed);
                idle_ticks = if calls == calls_before || hears_others { idle_ticks + 1 } else { 0 };
                calls_before = calls;
                let ticks = if hears_others && upstreams.stops().is_empty() { FOLLOWING_TICKS } else { IDLE_TICKS };
                if idle_ticks % ticks == 0 {
                    upstreams.exchange_stops().await;
                }
            }
        }
    }
}

impl Upstreams {
    /// Asks a venue's exchange for its limits again where one that is doubted holds calls back.
    async fn learn_limits_again(&self, venue: Venue) {
        let Some(host) = self.venue(venue).in_order().into_iter().next() else { return };
        let (path, weight) = match venue {
            Venue::Spot => ("/api/v3/exchangeInfo", 20),
            Venue::UsdM => ("/fapi/v1/exchangeInfo", 1),
            Venue::CoinM => ("/dapi/v1/exchangeInfo", 1),
        };
        let Some(spent) = host.budget.spend_on_limits(weight) else { return };
        let Ok(request) = public_request(&host.url, path, false, None) else { return };
        tracing::info!(%venue, "the exchange's limit is doubted, asking for it again");
        let asked = async {
            let response = self.client.send(request).await.ok()?;
            if let Some(used) = used_weight(response.headers()) {
                spent.learn_used(used);
            }
            read(response, self.max_answer, self.exchange_now()).await.ok()
        };
        let Ok(Some(fetched)) = tokio::time::timeout(LIMITS_WITHIN, asked).await else { return };
        spent.answered(fetched.status);
        if fetched.status == 200 {
            host.budget.learn_limits(&fetched.body);
        }
        self.apply_refusal(host, Bucket::Weight, &fetched);
    }

    /// Applies the stops that were remembered before this process began. Comes before the first call.
    pub(crate) async fn recall_stops(&self) {
        self.apply_stops(&self.bans.in_file().await);
        let from_store = async {
            loop {
                match self.bans.in_store(self.store_ahead.load(Ordering::Relaxed)).await {
                    Ok(stops) => return self.apply_stops(&stops),
                    Err(_) => tokio::time::sleep(RECALL_AGAIN_AFTER).await,
                }
            }
        };
        if tokio::time::timeout(RECALL_WITHIN, from_store).await.is_err() {
            tracing::info!("the store does not answer yet; bans that others saved there apply when it does");
        }
    }

    /// Writes the stops in force to where they are remembered.
    pub(crate) async fn remember_stops(&self) {
        let stops = self.stops();
        let Some((_, budget)) = self.budgets().next().filter(|_| !stops.is_empty()) else { return };
        self.bans.write_file(&stops, budget.now()).await;
        self.write_store(&stops).await;
    }

    /// Applies what others wrote into the store, and writes there what it lacks: it may have been away.
    async fn exchange_stops(&self) {
        let Ok(theirs) = self.bans.in_store(self.store_ahead.load(Ordering::Relaxed)).await else { return };
        self.apply_stops(&theirs);
        let ours = self.stops();
        let is_known = |(name, stop): (&String, &crate::budget::Stop)| {
            theirs.get(name).is_some_and(|known| known.until >= stop.until)
        };
        if !ours.iter().all(is_known) {
            self.write_store(&ours).await;
        }
    }

    async fn write_store(&self, stops: &Stops) {
        let Some((_, budget)) = self.budgets().next() else { return };
        let ahead = self.store_ahead.load(Ordering::Relaxed);
        let written: Result<(), StoreError> = self.bans.write_store(stops, budget.now(), ahead).await;
        if let Err(why) = written {
            tracing::debug!(%why, "a ban was not written to the store yet");
        }
    }

    fn stops(&self) -> Stops {
        self.budgets().filter_map(|(_, budget)| Some((budget.name().to_owned(), budget.stopped()?))).collect()
    }

    fn apply_stops(&self, stops: &Stops) {
        for (_, budget) in self.budgets() {
            if let Some(stop) = stops.get(budget.name()) {
                budget.apply_remembered(*stop);
            }
        }
    }
}
