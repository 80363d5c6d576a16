//! What the demonstration shows while it runs and at its end.

use std::fmt::Write as _;
use std::time::Duration;

use lastgood_gateway::{DemoFault, Traffic};
use serde::Serialize;

use super::faults::HEALTHY;
use super::keys::Key;
use super::screen::Mood;
use super::traffic::Seen;
use crate::words::counted;

/// The state of the demonstration at one moment.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Snapshot {
    pub(super) seconds: f64,
    pub(super) gateway: String,
    pub(super) simulator: String,
    pub(super) bots: u32,
    pub(super) requests: u64,
    pub(super) hit_rate: f64,
    pub(super) hits: u64,
    pub(super) stale: u64,
    pub(super) last_good: u64,
    pub(super) misses: u64,
    pub(super) joined: u64,
    pub(super) passed: u64,
    pub(super) errors: u64,
    pub(super) failures_seen_by_bots: u64,
    pub(super) upstream_calls: u64,
    pub(super) weight_spent: u64,
    pub(super) weight_saved: u64,
    #[serde(skip)]
    pub(super) median: Option<Duration>,
    /// Requests of the last second.
    #[serde(skip)]
    pub(super) per_second: u64,
    /// How long the exchange may not be asked yet.
    #[serde(skip)]
    pub(super) paused_for: Option<Duration>,
}

impl Snapshot {
    pub(super) fn fill(&mut self, elapsed: Duration, traffic: &Traffic, seen: &Seen) {
        self.seconds = elapsed.as_millis() as f64 / 1000.0;
        self.requests = traffic.requests;
        self.hits = traffic.hits;
        self.stale = traffic.stale;
        self.last_good = traffic.last_good;
        self.misses = traffic.misses;
        self.joined = traffic.joined;
        self.passed = traffic.passed;
        self.errors = traffic.errors;
        self.upstream_calls = traffic.upstream_calls;
        self.weight_spent = traffic.weight_spent;
        self.weight_saved = traffic.weight_asked.saturating_sub(traffic.weight_spent);
        self.failures_seen_by_bots = seen.failures();
        self.hit_rate = traffic.hit_rate();
    }

    /// For a terminal: a few lines that are drawn over again.
    pub(super) fn lines(&self, exchange: &DemoFault, since: Duration) -> Vec<(Mood, String)> {
        let is_healed = exchange.name == HEALTHY;
        let is_well = is_healed && self.paused_for.is_none();
        let state = match self.paused_for {
            None if is_healed => "answers".to_owned(),
            Some(left) if is_healed => {
                format!("answers; its ban of this address lasts for {} s more", left.as_secs())
            }
            _ => format!("{} for {} s", exchange.label.to_uppercase(), since.as_secs()),
        };
        let keys: Vec<String> = Key::ALL.iter().map(|(letter, _, what)| format!("{letter} {what}")).collect();
        let mut lines = vec![(if is_well { Mood::Good } else { Mood::Bad }, format!("  {:<16}{state}", "exchange"))];
        let failed = self.failures_seen_by_bots > 0;
        lines.extend(self.rows().into_iter().map(|(name, text)| match name {
            "last good" if failed => (Mood::Bad, text),
            "last good" if !is_well => (Mood::Good, text),
            _ => (Mood::Plain, text),
        }));
        lines.push((Mood::Faint, format!("  keys            {}", keys.join("   "))));
        // Below the keys, so that nothing moves where the healthy exchange has nothing to say; a sentence fits a line.
        let effect = if is_healed { "" } else { exchange.effect };
        let mut sentences = effect.split_inclusive(". ");
        lines.extend([0, 1].map(|_| (Mood::Plain, format!("  {}", sentences.next().unwrap_or_default().trim()))));
        lines
    }

    fn rows(&self) -> Vec<(&'static str, String)> {
        let percent = self.hit_rate * 100.0;
        let spent_and_saved = (self.weight_spent + self.weight_saved).max(1);
        let saved = self.weight_saved as f64 * 100.0 / spent_and_saved as f64;
        let median = self.median.map_or_else(|| "-".to_owned(), |median| format!("{:.1} ms", millis(median)));
        let row = |name: &'static str, value: String, more: String| (name, format!("  {name:<16}{value:>10}   {more}"));
        vec![
            row(
                "time",
                format!("{:.0} s", self.seconds),
                format!("{}, median answer {median}", counted(self.bots.into(), "bot")),
            ),
            row("requests", self.requests.to_string(), format!("{} a second", self.per_second)),
            row("hit rate", format!("{percent:.1} %"), bar(self.hit_rate)),
            row(
                "last good",
                self.last_good.to_string(),
                format!("{} reached a bot", counted(self.failures_seen_by_bots, "error")),
            ),
            row("upstream calls", self.upstream_calls.to_string(), "what the exchange saw".to_owned()),
            row("weight spent", self.weight_spent.to_string(), String::new()),
            row(
                "weight saved",
                self.weight_saved.to_string(),
                format!("{saved:.1} % of what the bots alone would spend"),
            ),
        ]
    }

    /// For a file or a pipe: one line.
    pub(super) fn line(&self) -> String {
        let mut line = format!(
            "{:>4.0}s  requests {}  hit rate {:.1} %  upstream calls {}  weight spent {}  weight saved {}  \
             last good {}  errors {}",
            self.seconds,
            self.requests,
            self.hit_rate * 100.0,
            self.upstream_calls,
            self.weight_spent,
            self.weight_saved,
            self.last_good,
            self.failures_seen_by_bots,
        );
        if let Some(median) = self.median {
            let _ = write!(line, "  median {:.1} ms", millis(median));
        }
        line
    }
}

/// A part of a whole, as twenty marks.
fn bar(part: f64) -> String {
    const MARKS: usize = 20;
    let filled = (part.clamp(0.0, 1.0) * MARKS as f64).round() as usize;
    format!("{}{}", "#".repeat(filled), ".".repeat(MARKS - filled))
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use lastgood_gateway::Demonstration as _;
    use lastgood_sim::{Sim, SimConfig};

    use super::super::faults::Faults;
    use super::*;

    fn snapshot() -> Snapshot {
        Snapshot { bots: 1, ..Snapshot::default() }
    }

    #[test]
    fn an_exchange_that_was_healed_is_not_called_well_while_its_ban_lasts() {
        let faults = Faults::of(Sim::new(SimConfig::default()));
        let state = |snapshot: &Snapshot| snapshot.lines(faults.now(), Duration::from_secs(3)).remove(0);
        let mut snapshot = snapshot();
        assert_eq!(state(&snapshot), (Mood::Good, "  exchange        answers".to_owned()));
        faults.switch("ban");
        assert_eq!(state(&snapshot), (Mood::Bad, "  exchange        BAN for 3 s".to_owned()));
        faults.switch(HEALTHY);
        snapshot.paused_for = Some(Duration::from_secs(93));
        let said = "  exchange        answers; its ban of this address lasts for 93 s more";
        assert_eq!(state(&snapshot), (Mood::Bad, said.to_owned()));
    }

    #[test]
    fn every_line_fits_eighty_columns_and_their_number_stays_whatever_breaks() {
        let faults = Faults::of(Sim::new(SimConfig::default()));
        let healthy = snapshot().lines(faults.now(), Duration::ZERO).len();
        for fault in faults.faults() {
            assert!(faults.switch(fault.name));
            let lines = snapshot().lines(faults.now(), Duration::from_secs(3));
            assert_eq!(lines.len(), healthy, "{}", fault.name);
            for (_, line) in lines {
                assert!(line.chars().count() < 80, "{line}");
            }
        }
    }
}
