//! A call between its payment and its answer.

use super::Budget;
use crate::venue::Bucket;

/// A call that was paid for and is under way.
#[derive(Debug)]
pub struct Spent<'a> {
    pub(super) budget: &'a Budget,
    pub(super) calls: u32,
    pub(super) weight: u32,
    pub(super) window: u64,
}

impl Spent<'_> {
    /// Takes the exchange's word, out of the answer's header, for the weight used in this minute. Other calls may be
    /// under way that it has not counted yet: they are added. A word about the last minute is not believed in this.
    pub fn learn_used(&self, used: u32) {
        let mut state = self.budget.state(self.budget.clock.now());
        let others = state.in_flight.saturating_sub(self.weight);
        let weight = &mut state.windows[Bucket::Weight as usize];
        if weight.index() == self.window {
            weight.used = used.saturating_add(others);
            self.budget.publish(&state);
        }
    }

    /// The answer was good.
    pub fn answered_well(&self) {
        let mut state = self.budget.state(self.budget.clock.now());
        state.good = state.good.saturating_add(1);
    }
}

impl Drop for Spent<'_> {
    fn drop(&mut self) {
        let mut state = self.budget.state(self.budget.clock.now());
        state.in_flight = state.in_flight.saturating_sub(self.weight);
        state.calls_in_flight = state.calls_in_flight.saturating_sub(self.calls);
    }
}
