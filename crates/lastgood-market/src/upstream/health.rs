//! Whether a host can be asked, and when to look again once it cannot.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How a call to a host ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallResult {
    /// With an answer, good or bad, that speaks of a working host.
    Answered,
    /// With 403, 418 or 429: the host works, and wants less of us.
    HeldOff,
    /// With an error of its own: 5xx, a page for people, or an answer to another question than was asked.
    Failed,
    /// No connection was made, so nothing was sent.
    Unreachable,
    /// The connection ended before the answer did.
    BrokeOff,
    /// It did not answer in time.
    TimedOut,
    /// The call ended by our own or the client's doing: says nothing of the host.
    GivenUp,
}

impl CallResult {
    /// Every result, in the order of their discriminants.
    pub const ALL: [CallResult; 7] = [
        CallResult::Answered,
        CallResult::HeldOff,
        CallResult::Failed,
        CallResult::Unreachable,
        CallResult::BrokeOff,
        CallResult::TimedOut,
        CallResult::GivenUp,
    ];

    /// The word for labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            CallResult::Answered => "answered",
            CallResult::HeldOff => "held-off",
            CallResult::Failed => "failed",
            CallResult::Unreachable => "unreachable",
            CallResult::BrokeOff => "broke-off",
            CallResult::TimedOut => "timed-out",
            CallResult::GivenUp => "given-up",
        }
    }

    /// The result that an answer is.
    pub(super) fn of(status: u16, is_page: bool) -> CallResult {
        match status {
            403 | 418 | 429 => CallResult::HeldOff,
            500.. => CallResult::Failed,
            _ if is_page => CallResult::Failed,
            _ => CallResult::Answered,
        }
    }
}

/// This many failures in a row make a host unhealthy; one is enough where no connection was made.
const PATIENCE: u32 = 3;
/// When an unhealthy host is looked at for the first time; each look in vain doubles it.
const FIRST_LOOK: Duration = Duration::from_secs(1);
const LAST_LOOK: Duration = Duration::from_secs(60);

/// The health of a host.
#[derive(Debug)]
pub(super) struct Health(Mutex<State>);

#[derive(Debug)]
struct State {
    failures: u32,
    /// When to look again, while it is unhealthy.
    look_at: Option<Instant>,
    wait: Duration,
}

impl Health {
    pub(super) fn new() -> Self {
        Health(Mutex::new(State { failures: 0, look_at: None, wait: FIRST_LOOK }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it can be asked.
    pub(super) fn is_healthy(&self) -> bool {
        self.look_at().is_none()
    }

    /// When it is to be looked at; `None` while it is healthy.
    pub(super) fn look_at(&self) -> Option<Instant> {
        self.state().look_at
    }

    /// Takes in how a call ended. Says whether that changed its health.
    pub(super) fn note(&self, result: CallResult) -> bool {
        let mut state = self.state();
        let was_healthy = state.look_at.is_none();
        match result {
            CallResult::Answered | CallResult::HeldOff => {
                *state = State { failures: 0, look_at: None, wait: FIRST_LOOK };
            }
            CallResult::GivenUp => {}
            CallResult::Unreachable => state.fail(PATIENCE),
            CallResult::Failed | CallResult::BrokeOff | CallResult::TimedOut => state.fail(1),
        }
        was_healthy != state.look_at.is_none()
    }

    /// The look found it answering. It is healthy until its next failure; only a real call makes it wholly so.
    pub(super) fn looked_well(&self) {
        let mut state = self.state();
        state.look_at = None;
        state.failures = PATIENCE - 1;
    }

    /// The look found it as it was.
    pub(super) fn looked_ill(&self) {
        let mut state = self.state();
        if state.look_at.is_some() {
            state.look_later();
        }
    }
}

impl State {
    fn fail(&mut self, by: u32) {
        self.failures = self.failures.saturating_add(by);
        match self.look_at {
            // Many calls fail together: only one that ends after the look was due is a look in vain.
            Some(look_at) if look_at > Instant::now() => {}
            None if self.failures < PATIENCE => {}
            _ => self.look_later(),
        }
    }

    fn look_later(&mut self) {
        self.look_at = Some(Instant::now() + self.wait);
        self.wait = (self.wait * 2).min(LAST_LOOK);
    }
}

/// How a call ended whose connection was not made: for want of something of our own, the host is not to blame.
pub(super) fn not_connected(why: &(dyn std::error::Error + 'static)) -> CallResult {
    let causes = std::iter::successors(Some(why), |why| why.source());
    match causes.filter_map(|cause| cause.downcast_ref::<io::Error>()).any(is_of_this_machine) {
        true => CallResult::GivenUp,
        false => CallResult::Unreachable,
    }
}

fn is_of_this_machine(why: &io::Error) -> bool {
    /// ENFILE and EMFILE, which have no kind.
    const NO_HANDLES: [i32; 2] = [23, 24];
    why.raw_os_error().is_some_and(|code| NO_HANDLES.contains(&code))
        || matches!(why.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::OutOfMemory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn failures_in_a_row_make_it_unhealthy_and_one_answer_heals_it() {
        let health = Health::new();
        for result in [CallResult::Failed, CallResult::TimedOut, CallResult::HeldOff, CallResult::Failed] {
            assert!(!health.note(result));
        }
        health.note(CallResult::Failed);
        assert!(health.note(CallResult::BrokeOff));
        assert!(!health.is_healthy());
        assert!(health.note(CallResult::Answered));
        assert!(health.is_healthy());
        assert!(!health.note(CallResult::GivenUp), "says nothing");
        assert!(health.note(CallResult::Unreachable), "nothing was sent: at once");
        assert!(!health.note(CallResult::GivenUp) && !health.is_healthy(), "nor does it heal");
    }

    #[tokio::test(start_paused = true)]
    async fn looks_in_vain_double_the_wait_and_a_burst_of_failures_does_not() {
        let health = Health::new();
        let wait = || health.look_at().unwrap() - Instant::now();
        (0..100).for_each(|_| {
            health.note(CallResult::Unreachable);
        });
        assert_eq!(wait(), FIRST_LOOK);
        health.looked_ill();
        assert_eq!(wait(), FIRST_LOOK * 2);
        // It answers the look and fails the next call: the wait goes on from where it was.
        health.looked_well();
        assert!(health.is_healthy());
        health.note(CallResult::Failed);
        assert_eq!(wait(), FIRST_LOOK * 4);
        (0..10).for_each(|_| health.looked_ill());
        assert_eq!(wait(), LAST_LOOK);
        health.note(CallResult::Answered);
        health.note(CallResult::Unreachable);
        assert_eq!(wait(), FIRST_LOOK);
    }
}
