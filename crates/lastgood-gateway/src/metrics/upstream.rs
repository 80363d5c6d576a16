//! Metrics of the exchange's hosts, and of what may be asked of them.

use std::fmt;
use std::sync::Arc;

use lastgood_market::budget::{BucketStanding, Standing};
use lastgood_market::upstream::CallResult;
use lastgood_market::{Bucket, Budget, Priority, Venue};
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::gauge;
use crate::app::App;

type Standings = [(Venue, String, Standing)];
type BucketField = fn(&BucketStanding) -> u64;
type StandingField = fn(&Standing) -> u64;

const BUCKET_GAUGES: [(&str, &str, BucketField); 6] = [
    ("budget_used", "Used in the current window, by bucket", |bucket| u64::from(bucket.used)),
    ("budget_own", "Sent by this gateway in the current window, by bucket", |bucket| u64::from(bucket.own)),
    ("budget_others", "Sent by the other gateways in the current window, by bucket", |bucket| u64::from(bucket.others)),
    ("budget_limit", "What the exchange allows in a window, by bucket", |bucket| u64::from(bucket.limit)),
    ("budget_reserve", "The part of the limit that is left to signed calls", |bucket| u64::from(bucket.reserve)),
    ("budget_stopped", "1 while the exchange refuses requests of the bucket", |bucket| {
        u64::from(bucket.stop.is_some())
    }),
];

const BUDGET_COUNTERS: [(&str, &str, StandingField); 5] = [
    ("upstream_calls", "Cacheable requests sent to the exchange", |standing| standing.calls),
    ("upstream_weight", "Request weight spent on them", |standing| standing.buckets[Bucket::Weight as usize].spent),
    ("upstream_pauses", "Pauses (429) that the exchange asked for", |standing| standing.pauses),
    ("upstream_bans", "Bans (418)", |standing| standing.bans),
    ("upstream_firewall_refusals", "Refusals of the exchange's firewall (403)", |standing| standing.firewalled),
];

pub(super) fn upstream_values(encoder: &mut DescriptorEncoder<'_>, app: &App) -> fmt::Result {
    let standing = |(venue, budget): (Venue, &Arc<Budget>)| (venue, budget.name().to_owned(), budget.standing());
    let standings: Vec<_> = app.engine.budgets().into_iter().map(standing).collect();
    budget_counters(encoder, &standings)?;
    bucket_values(encoder, &standings)?;
    let help = "How far the exchange's clock is ahead of this machine's, as far as its answers tell";
    let ahead = app.engine.upstreams.clock_skew() as f64 / 1e3;
    let name = "exchange_clock_offset_seconds";
    ConstGauge::new(ahead).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
    host_values(encoder, app)
}

fn budget_counters(encoder: &mut DescriptorEncoder<'_>, standings: &Standings) -> fmt::Result {
    for (name, help, field) in BUDGET_COUNTERS {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (venue, exchange, standing) in standings {
            let labels = [("venue", venue.as_str()), ("exchange", exchange)];
            ConstCounter::new(field(standing)).encode(family.encode_family(&labels)?)?;
        }
    }
    let help = "Calls that the budget did not allow, by priority";
    let mut family = encoder.encode_descriptor("budget_refused", help, None, MetricType::Counter)?;
    for (venue, exchange, standing) in standings {
        for (priority, &refused) in Priority::ALL.iter().zip(&standing.refused) {
            let labels = [("venue", venue.as_str()), ("exchange", exchange), ("priority", priority.as_str())];
            ConstCounter::new(refused).encode(family.encode_family(&labels)?)?;
        }
    }
    let help = "Gateways that spend the budget together, absent where each goes by itself";
    let mut family = encoder.encode_descriptor("budget_gateways", help, None, MetricType::Gauge)?;
    for (venue, exchange, standing) in standings {
        if let Some(gateways) = standing.gateways {
            let labels = [("venue", venue.as_str()), ("exchange", exchange)];
            gauge(u64::from(gateways)).encode(family.encode_family(&labels)?)?;
        }
    }
    let help = "1 while the gateway backs off from the exchange, as it asked";
    let mut family = encoder.encode_descriptor("upstream_stopped", help, None, MetricType::Gauge)?;
    for (venue, exchange, standing) in standings {
        let labels = [("venue", venue.as_str()), ("exchange", exchange)];
        gauge(u64::from(standing.stop.is_some())).encode(family.encode_family(&labels)?)?;
    }
    let help = "When the exchange may be asked again, in seconds since the epoch; absent while it may be";
    let mut family =
        encoder.encode_descriptor("upstream_stopped_until_timestamp_seconds", help, None, MetricType::Gauge)?;
    for (venue, exchange, standing) in standings {
        if let Some(stop) = standing.stop {
            let labels = [("venue", venue.as_str()), ("exchange", exchange.as_str()), ("reason", stop.reason.as_str())];
            let until = ConstGauge::new(stop.until.as_millis() as f64 / 1e3);
            until.encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

fn bucket_values(encoder: &mut DescriptorEncoder<'_>, standings: &Standings) -> fmt::Result {
    for (name, help, field) in BUCKET_GAUGES {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (venue, exchange, standing) in standings {
            for bucket in &standing.buckets {
                let labels = [("venue", venue.as_str()), ("exchange", exchange), ("bucket", bucket.bucket.as_str())];
                gauge(field(bucket)).encode(family.encode_family(&labels)?)?;
            }
        }
    }
    let help = "What was spent since the start, by bucket";
    let mut family = encoder.encode_descriptor("budget_spent", help, None, MetricType::Counter)?;
    for (venue, exchange, standing) in standings {
        for bucket in &standing.buckets {
            let labels = [("venue", venue.as_str()), ("exchange", exchange), ("bucket", bucket.bucket.as_str())];
            ConstCounter::new(bucket.spent).encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

fn host_values(encoder: &mut DescriptorEncoder<'_>, app: &App) -> fmt::Result {
    let hosts = || {
        let venues = Venue::ALL.into_iter();
        venues.flat_map(|venue| app.engine.upstreams.venue(venue).hosts.iter().map(move |host| (venue, host)))
    };
    let help = "Calls to a host, signed ones included, by how they ended";
    let mut family = encoder.encode_descriptor("upstream_results", help, None, MetricType::Counter)?;
    for (venue, host) in hosts() {
        if CallResult::ALL.into_iter().all(|result| host.calls(result) == 0) {
            continue;
        }
        for result in CallResult::ALL {
            let labels = [("venue", venue.as_str()), ("base", host.url.as_str()), ("result", result.as_str())];
            ConstCounter::new(host.calls(result)).encode(family.encode_family(&labels)?)?;
        }
    }
    let help = "1 while a host is asked in its turn, 0 while it is passed over";
    let mut family = encoder.encode_descriptor("upstream_healthy", help, None, MetricType::Gauge)?;
    for (venue, host) in hosts() {
        let labels = [("venue", venue.as_str()), ("base", host.url.as_str())];
        gauge(u64::from(host.is_healthy())).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}
