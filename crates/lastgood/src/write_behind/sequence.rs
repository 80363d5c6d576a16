//! Which of two changes came first, as far as the clocks tell.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::entry::{is_put, started_at};
use crate::lease::Claim;
use crate::store::Ahead;

/// By so much more two processes may differ in what they call one moment: clocks drift between two looks at the store's.
/// What was asked for earlier by more than that, and arrives later, must not take the place of the other.
pub(crate) const APART: Duration = Duration::from_millis(20);

/// When the load began of what a key holds, an entry or a claim.
fn since(bytes: &[u8]) -> Option<Timestamp> {
    started_at(bytes).or_else(|| Claim::decode(bytes).map(|claim| claim.started_at))
}

/// What may have begun before `at` in a process whose clock differs.
pub(super) fn at_about(at: Timestamp, ahead: Ahead) -> Timestamp {
    ahead.stored(at).plus(ahead.at_most_wrong_by * 2 + APART)
}

/// Whether what a key holds came after a change that was asked for at `at` and comes late. A load that began at about the same
/// time did not: it may be repeated, and a put is not to be lost for it.
pub(super) fn is_later(bytes: &[u8], at: Timestamp, ahead: Ahead) -> bool {
    let limit = if is_put(bytes) { ahead.stored(at) } else { at_about(at, ahead) };
    since(bytes).is_some_and(|since| since > limit)
}
