//! One at a time for each name.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OwnedMutexGuard;

type Lane = Arc<tokio::sync::Mutex<()>>;

/// A lock for each series that is being loaded or written. The table holds no others.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lanes(Arc<Mutex<HashMap<Box<str>, Lane>>>);

/// The lane of a series; dropped, it is the next one's.
pub(crate) struct Turn {
    lanes: Lanes,
    name: Box<str>,
    lane: Option<OwnedMutexGuard<()>>,
}

impl Lanes {
    fn table(&self) -> MutexGuard<'_, HashMap<Box<str>, Lane>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the lane of a series.
    pub(crate) async fn enter(&self, name: &str) -> Turn {
        let lane = Arc::clone(self.table().entry(name.into()).or_default());
        // A caller that gives up waiting leaves the table as the holder does.
        let mut turn = Turn { lanes: self.clone(), name: name.into(), lane: None };
        turn.lane = Some(lane.lock_owned().await);
        turn
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.table().len()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        drop(self.lane.take());
        let mut table = self.lanes.table();
        // The table's own is the last one: no caller holds the lane or waits for it.
        if table.get(&self.name).is_some_and(|lane| Arc::strong_count(lane) == 1) {
            table.remove(&self.name);
        }
    }
}

impl fmt::Debug for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Turn({})", self.name)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_at_a_time_and_nothing_stays_behind() {
        let lanes = Lanes::default();
        let first = lanes.enter("a").await;
        let other = lanes.enter("b").await;
        let gave_up = tokio::time::timeout(Duration::from_secs(1), lanes.enter("a")).await;
        assert!(gave_up.is_err());
        let waiting = tokio::spawn({
            let lanes = lanes.clone();
            async move { drop(lanes.enter("a").await) }
        });
        tokio::task::yield_now().await;
        drop(first);
        waiting.await.unwrap();
        drop(other);
        assert_eq!(lanes.len(), 0);
    }
}
