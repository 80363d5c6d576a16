//! The table at the end.

use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Value, json};

use crate::ledger::Ledger;
use crate::measure::Taken;
use crate::tally::{Tally, Violation};

/// Violations that are printed one by one.
const MOST_SHOWN: usize = 40;

/// What came of a run.
pub(crate) struct Outcome {
    pub(crate) seed: u64,
    pub(crate) took: Duration,
    pub(crate) faults: usize,
    /// For how long altogether the machine was too busy for Redis.
    pub(crate) paused: Duration,
    pub(crate) tally: Tally,
    pub(crate) loads: Loads,
    /// Of gateway a, which lives through it: near the start, in the middle, at the end.
    pub(crate) taken: [Taken; 3],
}

/// How often the source was asked for answers that are never invalidated.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Loads {
    /// For each key and window of freshness.
    pub(crate) a_window: f64,
    /// The most for one key within one window.
    pub(crate) most: usize,
}

impl Loads {
    /// Counts the times at which each key was asked for, in a run of `took`, where answers are fresh for `fresh` ms.
    pub(crate) fn of(asked: impl Iterator<Item = Vec<u64>>, took: Duration, fresh: u64) -> Loads {
        let asked: Vec<Vec<u64>> = asked.collect();
        let windows = (took.as_millis() as f64 / fresh as f64).max(1.0) * asked.len().max(1) as f64;
        let within = |times: &[u64]| {
            let counts = times
                .iter()
                .enumerate()
                .map(|(index, from)| times.iter().skip(index).take_while(|at| **at < from + fresh * 9 / 10).count());
            counts.max().unwrap_or(0)
        };
        let total: usize = asked.iter().map(Vec::len).sum();
        let most = asked.iter().map(|times| within(times)).max().unwrap_or(0);
        Loads { a_window: total as f64 / windows, most }
    }
}

impl Outcome {
    pub(crate) fn violations(&self) -> u64 {
        self.tally.violations.values().sum()
    }

    fn rows(&self) -> Vec<(&'static str, String)> {
        let tally = &self.tally;
        let labels: Vec<String> = tally.by_label.iter().map(|(label, count)| format!("{label} {count}")).collect();
        let of_three = |of: fn(&Taken) -> String| self.taken.iter().map(of).collect::<Vec<_>>().join(" · ");
        let mut rows = vec![
            ("run", format!("{} s, {} faults, seed {}", self.took.as_secs(), self.faults, self.seed)),
            ("reads", tally.reads.to_string()),
            ("their labels", labels.join(", ")),
            (
                "changes",
                format!(
                    "{} ({} acknowledged, {} pending, {} without an answer)",
                    tally.changes, tally.acknowledged, tally.pending, tally.unknown
                ),
            ),
            ("  pending without any fault", tally.pending_in_quiet.to_string()),
            ("errors of the source or of a gateway that was down", tally.explained_errors.to_string()),
            ("values not found while Redis did not answer", tally.not_found.to_string()),
            ("the machine was too busy for Redis", format!("{:.1} s", self.paused.as_secs_f64())),
            ("pending changes that went with a killed gateway", tally.gone_with_gateway.to_string()),
            ("older than an acknowledged change, within the bound", within(tally.old_within_bound, tally.longest)),
            ("  the longest without any fault", format!("{} ms", tally.longest_in_quiet)),
            ("  labelled unverified", within(tally.old_unverified, tally.longest_unverified)),
            ("  the clocks do not tell which came first", tally.old_by_clocks.to_string()),
            ("answers asked for just before the one before", within(tally.swapped, tally.swapped_by)),
            (
                "loads of a key in a window of freshness",
                format!("{:.2}, at most {}", self.loads.a_window, self.loads.most),
            ),
            ("memory of gateway a, start · middle · end", of_three(|taken| format!("{} MiB", taken.memory >> 20))),
            ("its open handles", of_three(|taken| taken.handles.to_string())),
            ("its threads", of_three(|taken| taken.threads.to_string())),
        ];
        let count = |violation| {
            let count = tally.violations.get(&violation).copied().unwrap_or(0);
            match tally.worst.get(&violation) {
                Some(worst) => within(count, *worst),
                None => count.to_string(),
            }
        };
        rows.extend(Violation::ALL.into_iter().map(|(violation, name)| (name, count(violation))));
        rows.push(("VIOLATIONS", self.violations().to_string()));
        rows
    }

    /// The table and the violations, for people.
    pub(crate) fn report(&self, ledger: &Ledger) -> String {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        for (name, value) in self.rows() {
            table.add_row([name.to_owned(), value]);
        }
        if let Some(column) = table.column_mut(0) {
            column.set_cell_alignment(CellAlignment::Left);
        }
        let mut text = table.trim_fmt();
        let reported = &self.tally.reported;
        for reported in reported.iter().take(MOST_SHOWN) {
            let name = Violation::ALL.iter().find(|(kind, _)| *kind == reported.violation).map_or("", |(_, name)| name);
            let at = ledger.clock.seconds_to(reported.at);
            let again = match reported.times {
                1 => String::new(),
                times => format!(" ({times} times, until {:.3} s)", ledger.clock.seconds_to(reported.last)),
            };
            text += &format!(
                "\n\n{at:.3} s: {name}{again}\n  {}\n  during the last seconds: {}",
                reported.what, reported.faults
            );
        }
        let shown: u64 = reported.iter().take(MOST_SHOWN).map(|reported| reported.times).sum();
        if self.violations() > shown {
            text += &format!("\n\nand {} more", self.violations() - shown);
        }
        text
    }

    /// The same for programs.
    pub(crate) fn json(&self, ledger: &Ledger) -> Value {
        let rows: serde_json::Map<String, Value> =
            self.rows().into_iter().map(|(name, value)| (name.trim().to_owned(), value.into())).collect();
        let reported = self.tally.reported.iter().map(|reported| {
            let name = Violation::ALL.iter().find(|(kind, _)| *kind == reported.violation).map_or("", |(_, name)| name);
            let seconds = ledger.clock.seconds_to(reported.at);
            json!({
                "seconds": seconds, "violation": name, "what": reported.what, "times": reported.times, "faults": reported.faults,
            })
        });
        json!({
            "violations": self.violations(),
            "reads": self.tally.reads,
            "acknowledged": self.tally.acknowledged,
            "table": rows,
            "reported": reported.collect::<Vec<_>>(),
        })
    }
}

fn within(count: u64, longest: u64) -> String {
    if count == 0 { "0".to_owned() } else { format!("{count}, the longest by {longest} ms") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loads_are_counted_for_each_key_and_window() {
        let asked = [vec![0, 1_000, 2_000], vec![0, 10, 1_000, 2_000]];
        let loads = Loads::of(asked.into_iter(), Duration::from_secs(3), 1_000);
        assert_eq!(loads.most, 2);
        assert!((loads.a_window - 7.0 / 6.0).abs() < 0.01, "{}", loads.a_window);
    }
}
