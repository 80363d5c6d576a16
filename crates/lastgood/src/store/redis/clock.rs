//! Until when a server may carry out a change that it was sent.
//!
//! A network that held a command back delivers it when it is well again, long after the sender has given it up and others
//! have changed the key. So a change says until when it may be made, by the server's own clock.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::clock::Timestamp;

/// So long a change may be on its way: a little longer than a caller waits for it.
const ON_ITS_WAY: Duration = Duration::from_millis(1_500);

/// What is known of a server's clock. Where nothing is, changes have no end.
#[derive(Debug, Default)]
pub(super) struct ServerClock(Mutex<Option<Told>>);

/// A time that the server told, and when it was asked for it.
#[derive(Clone, Copy, Debug)]
struct Told {
    time: Timestamp,
    asked_at: Instant,
}

/// This moment.
#[expect(clippy::disallowed_methods, reason = "the server's clock goes on where tests pause this process's")]
pub(super) fn moment() -> Instant {
    Instant::now()
}

impl ServerClock {
    fn told(&self) -> MutexGuard<'_, Option<Told>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The server told the time to who asked at `asked_at`.
    pub(super) fn note(&self, time: Timestamp, asked_at: Instant) {
        *self.told() = Some(Told { time, asked_at });
    }

    /// Another server may answer by now, or the clock was set.
    pub(super) fn forget(&self) {
        *self.told() = None;
    }

    /// Until when a change that is sent now is in time, by the server's clock.
    pub(super) fn in_time(&self) -> Option<Timestamp> {
        // The server told the time after it was asked, so that its clock says no more than this now.
        self.told().map(|told| told.time.plus(told.asked_at.elapsed() + ON_ITS_WAY))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_has_an_end_once_the_time_is_known() {
        let clock = ServerClock::default();
        assert_eq!(clock.in_time(), None);
        let asked_at = moment().checked_sub(Duration::from_secs(3)).unwrap();
        clock.note(Timestamp::from_millis(1_000_000), asked_at);
        let until = clock.in_time().unwrap().as_millis();
        assert!((1_004_500..1_006_000).contains(&until), "{until}");
        clock.forget();
        assert_eq!(clock.in_time(), None);
    }
}
