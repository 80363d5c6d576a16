//! The exchange's clock, which tests may stop and set.

use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

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

/// The clock.
#[derive(Debug)]
pub(crate) struct Clock {
    mode: Mutex<(ClockMode, u64)>,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Clock { mode: Mutex::new((ClockMode::Live, 0)) }
    }

    /// Milliseconds since the epoch.
    pub(crate) fn now(&self) -> u64 {
        let (mode, ahead) = *self.mode.lock().unwrap_or_else(PoisonError::into_inner);
        let at = match mode {
            ClockMode::Live => system_millis(),
            ClockMode::Frozen(at) => at,
        };
        at.saturating_add(ahead).min(LATEST)
    }

    pub(crate) fn set(&self, mode: ClockMode) {
        *self.mode.lock().unwrap_or_else(PoisonError::into_inner) = (mode, 0);
    }

    /// Moves the clock forward, frozen or not.
    pub(crate) fn advance(&self, millis: u64) {
        let mut mode = self.mode.lock().unwrap_or_else(PoisonError::into_inner);
        mode.1 = mode.1.saturating_add(millis);
    }
}

#[expect(clippy::disallowed_methods, reason = "the simulator stands alone and has this one look at the time")]
fn system_millis() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
