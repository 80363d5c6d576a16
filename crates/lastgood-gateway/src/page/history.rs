//! `GET /page/history`: the counters of the last minutes, so that the page's charts do not begin when it is opened.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::{Extension, Json};
use serde::Serialize;
use tokio::time::{MissedTickBehavior, interval};

use super::Page;
use crate::app::App;
use crate::cache_api::caller::Caller;
use crate::traffic::Traffic;

const EVERY: Duration = Duration::from_secs(5);
/// Five minutes.
const MOST: usize = 60;

/// The gateway's counters at a moment.
#[derive(Clone, Copy, Serialize)]
pub(crate) struct Sample {
    /// In milliseconds since the epoch.
    at: u64,
    totals: Traffic,
}

/// The last samples, oldest first.
#[derive(Default)]
pub(crate) struct History(Mutex<VecDeque<Sample>>);

impl History {
    fn samples(&self) -> MutexGuard<'_, VecDeque<Sample>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, sample: Sample) {
        let mut samples = self.samples();
        if samples.len() == MOST {
            samples.pop_front();
        }
        samples.push_back(sample);
    }
}

pub(crate) async fn history(Extension(page): Extension<Arc<Page>>, _: Caller) -> Json<Vec<Sample>> {
    let samples = page.history.samples().iter().copied().collect();
    Json(samples)
}

/// Reads the counters every few seconds, until the task is dropped.
pub(crate) async fn keep(app: Arc<App>, page: Arc<Page>) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        page.history.add(Sample { at: app.clock.now().as_millis(), totals: app.traffic() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_minutes_are_kept() {
        let history = History::default();
        (0..500).for_each(|at| history.add(Sample { at, totals: Traffic::default() }));
        let samples = history.samples();
        assert_eq!((samples.len(), samples.front().map(|first| first.at)), (MOST, Some(500 - MOST as u64)));
    }
}
