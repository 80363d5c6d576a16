//! Metrics of the process, by the names that every client of Prometheus has for them.

use std::fmt;

use lastgood::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::gauge;
use crate::app::App;
use crate::process::Process;

/// The figures of the operating system, read when they are scraped; absent where there is no `/proc`.
#[derive(Debug)]
pub(super) struct Scrape {
    began: Timestamp,
}

impl Scrape {
    pub(super) fn of(app: &App) -> Scrape {
        Scrape { began: app.began }
    }
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let began = ConstGauge::new(self.began.as_millis() as f64 / 1e3);
        let help = "When the program started, in seconds since the epoch";
        began.encode(encoder.encode_descriptor("process_start_time_seconds", help, None, MetricType::Gauge)?)?;
        let Some(process) = Process::now() else { return Ok(()) };
        let cpu = ConstCounter::new(process.cpu.as_secs_f64());
        let help = "Time on the CPU, of user and system";
        cpu.encode(encoder.encode_descriptor("process_cpu_seconds", help, None, MetricType::Counter)?)?;
        let gauges = [
            ("process_resident_memory_bytes", "Memory in RAM", Some(process.resident_bytes)),
            ("process_open_fds", "Open files and connections", Some(process.open_files)),
            ("process_max_fds", "How many there may be", process.most_files),
        ];
        for (name, help, value) in gauges {
            if let Some(value) = value {
                gauge(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
            }
        }
        Ok(())
    }
}
