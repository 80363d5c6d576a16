//! How many commands the store is sent, and what that costs.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// How often the count is noted for the rate of the last day.
const NOTE_EVERY: Duration = Duration::from_secs(600);
/// What the first seconds cost says nothing of a day: a rate is of a minute at least.
const SHORTEST: Duration = Duration::from_secs(60);
/// Prices are for this many commands.
const PRICED: f64 = 100_000.0;

/// The commands of this gateway.
pub(crate) struct Commands {
    /// US dollars for 100,000 of them.
    price: Option<f64>,
    /// How many there were at which time, oldest first: the first is from before the last day, or from the start.
    noted: Mutex<VecDeque<(Instant, u64)>>,
}

/// What this gateway asks of its store.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct StoreCommands {
    /// Commands that were sent since the start, background work included.
    commands: u64,
    /// The same by the day, at the rate of the last 24 hours or since the start; of a minute at least.
    commands_per_day: u64,
    /// What a day costs at that rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    cost_per_day_usd: Option<f64>,
}

impl Commands {
    pub(super) fn new(price: Option<f64>, now: Instant) -> Commands {
        Commands { price, noted: Mutex::new(VecDeque::from([(now, 0)])) }
    }

    /// Notes how many were sent until `now`, if that is due.
    pub(super) fn note(&self, sent: u64, now: Instant) {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.back().is_some_and(|(at, _)| now.duration_since(*at) < NOTE_EVERY) {
            return;
        }
        noted.push_back((now, sent));
        while noted.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= DAY) {
            noted.pop_front();
        }
    }

    /// The figures, where `sent` is the count at `now`.
    pub(crate) fn figures(&self, sent: u64, now: Instant) -> StoreCommands {
        let first = self.noted.lock().unwrap_or_else(PoisonError::into_inner).front().copied();
        let (since, before) = first.unwrap_or((now, 0));
        let window = now.duration_since(since).max(SHORTEST);
        let per_day = sent.saturating_sub(before) as f64 / window.as_secs_f64() * DAY.as_secs_f64();
        let cost = |price: f64| (per_day / PRICED * price * 1e4).round() / 1e4;
        StoreCommands {
            commands: sent,
            commands_per_day: per_day.round() as u64,
            cost_per_day_usd: self.price.map(cost),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_costs_what_the_last_day_did() {
        let start = Instant::now();
        let commands = Commands::new(Some(0.2), start);
        let hours = |hours: u64| start + Duration::from_secs(hours * 3_600);
        let first = commands.figures(50, start + Duration::from_secs(1));
        assert_eq!(first.commands_per_day, 50 * 24 * 60, "a rate of a minute at least");
        let expected = |commands, commands_per_day, cost| StoreCommands {
            commands,
            commands_per_day,
            cost_per_day_usd: Some(cost),
        };
        assert_eq!(commands.figures(25_000, hours(12)), expected(25_000, 50_000, 0.1));
        // A million on the first day, 100,000 on each day after it.
        for hour in 0..=72 {
            let sent = if hour <= 24 { hour * 1_000_000 / 24 } else { 1_000_000 + (hour - 24) * 100_000 / 24 };
            commands.note(sent, hours(hour));
        }
        assert_eq!(commands.figures(1_200_000, hours(72)), expected(1_200_000, 100_000, 0.2));
        assert!(commands.noted.lock().unwrap().len() < 30, "no more is noted than a day needs");
        let free = Commands::new(None, start).figures(7, hours(24));
        assert_eq!((free.commands, free.cost_per_day_usd), (7, None));
    }
}
