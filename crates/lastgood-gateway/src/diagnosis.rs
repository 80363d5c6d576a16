//! Whether all answers are the ones that would be served without a fault, and why not. The one place that decides it:
//! `/health` and the metrics report its findings.

use std::time::Duration;

use lastgood::condition::{LoadDurations, Report, State};
use lastgood::store::BreakerState;
use lastgood::{Reason, StoreStatus, Timestamp};
use lastgood_market::Venue;
use lastgood_market::fear_greed::FearGreed;

use crate::app::App;

/// How long after a last good answer stood in for the source that still counts. Longer than it takes to ask twice.
const RECENT: Duration = Duration::from_secs(5);

/// A finding.
pub(crate) struct Diagnosis {
    /// Why the gateway is degraded, for a person; empty while it is not. Names no secret.
    pub(crate) reasons: Vec<String>,
    /// Whether the store does all that it should, its invalidation log included; true without a store.
    pub(crate) store_is_well: bool,
    /// The condition of the store, the exchanges and their hosts, and the declared sources.
    pub(crate) conditions: Vec<Named>,
    /// The regions that serve last good answers now, and why.
    pub(crate) last_good: Vec<LastGood>,
}

/// A region that served a last good answer a moment ago, because its source failed.
pub(crate) struct LastGood {
    pub(crate) region: String,
    pub(crate) reason: Reason,
    pub(crate) at: Timestamp,
}

/// The condition of something that answers are made from.
pub(crate) struct Named {
    /// `store`, `exchange`, `host` or `source`.
    pub(crate) kind: &'static str,
    pub(crate) name: String,
    pub(crate) report: Report,
    /// How long loads of a host or a source took.
    pub(crate) durations: LoadDurations,
}

fn conditions(app: &App) -> Vec<Named> {
    let mut all = Vec::new();
    if let Some(store) = app.cache.status().store {
        all.push(Named { kind: "store", name: store.name, report: store.report, durations: LoadDurations::default() });
    }
    let mut add = |condition: &lastgood::condition::Condition| {
        let (kind, name) = (condition.kind(), condition.name().to_owned());
        // A host may serve several markets; it fails where it fails for one of them.
        let (report, durations) = (condition.report(), condition.durations());
        match all.iter_mut().find(|known: &&mut Named| known.kind == kind && known.name == name) {
            Some(known) => {
                known.durations = known.durations.and(durations);
                if report.is_failing() || known.report.state == State::Unknown {
                    known.report = report;
                }
            }
            None => all.push(Named { kind, name, report, durations }),
        }
    };
    for venue in Venue::ALL.map(|venue| app.engine.upstreams.venue(venue)) {
        if !venue.hosts.is_empty() {
            add(&venue.condition);
        }
        venue.hosts.iter().for_each(|host| add(&host.condition));
    }
    app.engine.fear_greed.iter().map(FearGreed::condition).for_each(&mut add);
    app.declared.conditions().iter().for_each(|condition| add(condition));
    all
}

impl Diagnosis {
    pub(crate) fn of(app: &App) -> Diagnosis {
        let mut reasons = Vec::new();
        let store = app.cache.status().store;
        let of_store = store.as_ref().and_then(why_not_well);
        let store_is_well = of_store.is_none();
        reasons.extend(of_store);
        // The store may be well: then nothing waits, but what will wait is not kept.
        let of_pending = store.as_ref().and_then(|store| store.pending_trouble.as_ref());
        reasons.extend(
            of_pending.map(|why| format!("changes that wait for the store would not outlive a restart: {why}")),
        );
        for venue in Venue::ALL {
            let upstream = app.engine.upstreams.venue(venue);
            let none_left = !upstream.hosts.is_empty() && !upstream.hosts.iter().any(|host| host.is_healthy());
            match upstream.condition.report() {
                Report { state: State::Failing, reason, .. } => {
                    reasons.push(format!("exchange {venue}: {}", reason.unwrap_or_default()));
                }
                _ if none_left => reasons.push(format!("exchange {venue}: no host of it answers")),
                _ => {}
            }
        }
        for (venue, budget) in app.engine.budgets() {
            let standing = budget.standing();
            let of_buckets = standing.buckets.iter().filter_map(|bucket| bucket.stop);
            if let Some(stop) = standing.stop.into_iter().chain(of_buckets).next() {
                reasons.push(format!("exchange {venue}: backing off, as it asked ({})", stop.reason));
            }
        }
        let conditions = conditions(app);
        for Named { kind, name, report, .. } in conditions.iter().filter(|named| named.kind == "source") {
            if report.is_failing() {
                reasons.push(format!("{kind} {name}: {}", report.reason.as_deref().unwrap_or_default()));
            }
        }
        let last_good = last_good(app);
        let served = |LastGood { region, reason, .. }: &LastGood| format!("region {region} serves last good: {reason}");
        reasons.extend(last_good.iter().map(served));
        Diagnosis { reasons, store_is_well, conditions, last_good }
    }
}

fn last_good(app: &App) -> Vec<LastGood> {
    let now = app.clock.now();
    let served = app.cache.last_good_served().into_iter();
    let recent = served.filter(|(_, at, _)| now.since(*at) <= RECENT);
    recent.map(|(region, at, reason)| LastGood { region, reason, at }).collect()
}

fn why_not_well(store: &StoreStatus) -> Option<String> {
    let name = &store.name;
    match (&store.report, store.breaker, store.hears_others) {
        (Report { state: State::Failing, reason, .. }, ..) => {
            Some(format!("store {name}: {}", reason.clone().unwrap_or_default()))
        }
        (_, BreakerState::Open | BreakerState::HalfOpen, _) => Some(format!("store {name}: it is not being asked")),
        (_, _, Some(false)) => Some(format!("store {name}: invalidations by others cannot be heard")),
        _ => None,
    }
}
