//! The integration tests of the market layer, in one binary.

#![expect(clippy::unwrap_used, reason = "in tests a panic is the report")]

mod answers;
mod bars;
mod belief;
mod belief_at_any_hour;
mod candles;
mod facade;
mod fuzz;
mod late_candles;
mod ledger;
mod lines;
mod order;
mod own_bars;
mod round_trips;
mod several_hosts;
mod truth;
mod word;
mod writes;
