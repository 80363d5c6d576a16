//! The exchange's clock, which tests may stop and set.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// How the exchange's clock runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "mode", content = "at", rename_all = "lowercase")]
pub enum ClockMode {
    /// With the system's.
    Live,
    /// Not at all: it stands at these milliseconds since the epoch.
    Frozen(u64),
}

/// The end of the year 9999: no clock goes further, so that times can be added to.
const LATEST: u64 = 253_402_300_799_999;

/// Tells milliseconds since the epoch.
pub(crate) type TimeSource = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Where the clock has its time from.
#[derive(Clone)]
enum TimeKeeping {
    Mode(ClockMode),
    Other(TimeSource),
}

/// The clock.
pub(crate) struct Clock {
    /// The source, and how far the clock was moved forward by hand.
    source: Mutex<(TimeKeeping, u64)>,
    moved: watch::Sender<()>,
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clock({})", self.now())
    }
}

impl Clock {
    pub(crate) fn new() -> Self {
        Clock { source: Mutex::new((TimeKeeping::Mode(ClockMode::Live), 0)), moved: watch::Sender::new(()) }
    }

    /// Milliseconds since the epoch.
    pub(crate) fn now(&self) -> u64 {
        let (source, ahead) = self.source.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let at = match source {
            TimeKeeping::Mode(ClockMode::Live) => system_millis(),
            TimeKeeping::Mode(ClockMode::Frozen(at)) => at,
            TimeKeeping::Other(now) => now(),
        };
        at.saturating_add(ahead).min(LATEST)
    }

    pub(crate) fn set(&self, mode: ClockMode) {
        self.take(TimeKeeping::Mode(mode));
    }

    /// Shows what `now` tells from here on.
    pub(crate) fn follow(&self, now: TimeSource) {
        self.take(TimeKeeping::Other(now));
    }

    fn take(&self, source: TimeKeeping) {
        *self.source.lock().unwrap_or_else(PoisonError::into_inner) = (source, 0);
        self.moved.send_replace(());
    }

    /// Moves the clock forward, frozen or not.
    pub(crate) fn advance(&self, millis: u64) {
        let mut source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        source.1 = source.1.saturating_add(millis);
        drop(source);
        self.moved.send_replace(());
    }

    /// Tells whenever the clock is set or moved by hand.
    pub(crate) fn moves(&self) -> watch::Receiver<()> {
        self.moved.subscribe()
    }

    /// How long until it shows `at`; without end if it stands still before that.
    pub(crate) fn until(&self, at: u64) -> Option<Duration> {
        let missing = at.saturating_sub(self.now());
        let source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        let stands = matches!(source.0, TimeKeeping::Mode(ClockMode::Frozen(_)));
        (missing == 0 || !stands).then(|| Duration::from_millis(missing))
    }
}

#[expect(clippy::disallowed_methods, reason = "the simulator stands alone and has this one look at the time")]
fn system_millis() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
