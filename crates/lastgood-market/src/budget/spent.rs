//! A call between its payment and its answer.

use super::peers::Word;
use super::{Budget, State};
use crate::venue::Bucket;

/// A call that was paid for and is under way.
#[derive(Debug)]
pub struct Spent<'a> {
    pub(super) budget: &'a Budget,
    pub(super) calls: u32,
    pub(super) weight: u32,
    pub(super) turn: u64,
    /// Its place in the order of what was sent and heard.
    pub(super) sent: u64,
}

impl Spent<'_> {
    /// Takes the exchange's word, out of the answer's header, for the weight used in this minute. Other calls may be
    /// under way that it has not counted yet: they are added. A word about the last minute is not believed in this, nor a
    /// lower one on a call that was sent before the higher was heard: it has been overtaken.
    ///
    /// A count above the limit stops until the minute ends, however high it is. One below half of what was sent from
    /// here is not believed: whatever the headers say, no more than twice the limit is sent in a minute.
    pub fn learn_used(&self, used: u32) {
        let now = self.budget.clock.now();
        let mut state = self.budget.state(now);
        let under_way = state.in_flight.saturating_sub(self.weight);
        let word =
            Word { used, under_way, sent: self.sent, heard: state.next(), now, at: self.budget.exchange_time(now) };
        let State { windows, peers, .. } = &mut *state;
        let weight = &mut windows[Bucket::Weight as usize];
        if weight.turn == self.turn {
            weight.learn_used(&word, peers);
            self.budget.publish(&state);
        }
    }

    /// The exchange answered with this status.
    pub fn answered(&self, status: u16) {
        let mut state = self.budget.state(self.budget.clock.now());
        if status == 200 {
            state.good = state.good.saturating_add(1);
        }
        // A refusal of the question is an answer too: the exchange does not refuse all that comes from here.
        if !matches!(status, 403 | 418 | 429 | 500..) {
            (state.stops_in_a_row, state.is_probing) = (0, false);
        }
    }
}

impl Drop for Spent<'_> {
    fn drop(&mut self) {
        let mut state = self.budget.state(self.budget.clock.now());
        state.in_flight = state.in_flight.saturating_sub(self.weight);
        state.calls_in_flight = state.calls_in_flight.saturating_sub(self.calls);
    }
}
