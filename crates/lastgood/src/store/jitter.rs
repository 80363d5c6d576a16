//! Randomness that keeps many nodes from doing the same thing at the same moment.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

#[cfg(feature = "testing")]
thread_local! {
    static EVEN: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// From now on no wait of this thread is shortened, so that a schedule runs the same way each time.
#[cfg(feature = "testing")]
pub(crate) fn wait_evenly() {
    EVEN.set(true);
}

/// Between three quarters of `wait` and all of it.
pub(crate) fn jittered(wait: Duration) -> Duration {
    #[cfg(feature = "testing")]
    if EVEN.get() {
        return wait;
    }
    // Every `RandomState` has its own seed: unpredictable enough to spread nodes out, and no dependency.
    let random = RandomState::new().hash_one(0_u8) >> 32;
    let quarter = wait / 4;
    wait - quarter.mul_f64(random as f64 / f64::from(u32::MAX))
}

/// Anything from nothing to `wait`.
pub(crate) fn somewhere_in(wait: Duration) -> Duration {
    (jittered(wait) - wait * 3 / 4) * 4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jittered_wait_is_never_longer_and_at_least_three_quarters() {
        let wait = Duration::from_millis(400);
        let waits: Vec<_> = (0..1000).map(|_| jittered(wait)).collect();
        assert!(waits.iter().all(|jittered| (wait * 3 / 4..=wait).contains(jittered)));
        assert!(waits.iter().any(|jittered| *jittered < wait * 4 / 5));
        assert!(waits.iter().any(|jittered| *jittered > wait * 19 / 20));
    }
}
