//! Metrics of requests, and which program answers them.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;

use super::gauge;
use crate::app::App;

pub(super) fn build_info(encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let help = "The program that is running, as labels";
    let mut family = encoder.encode_descriptor("build_info", help, None, MetricType::Gauge)?;
    gauge(1).encode(family.encode_family(&[("version", env!("CARGO_PKG_VERSION"))])?)
}

/// How long requests took from their head to that of their answer. Their number by status is that of the histogram.
pub(super) fn durations(encoder: &mut DescriptorEncoder<'_>, app: &App) -> fmt::Result {
    let help = "Requests by class of route and status, and how long each took to be answered";
    let mut family = encoder.encode_descriptor("request_duration_seconds", help, None, MetricType::Histogram)?;
    for ended in app.durations.ended() {
        let labels = [("class", ended.class.as_str()), ("status", ended.status)];
        family.encode_family(&labels)?.encode_histogram::<[(&str, &str); 0]>(
            ended.seconds,
            ended.count,
            &ended.buckets,
            None,
        )?;
    }
    Ok(())
}
