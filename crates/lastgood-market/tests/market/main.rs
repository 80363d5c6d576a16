//! The integration tests of the market layer, in one binary.

#![expect(clippy::unwrap_used, reason = "in tests a panic is the report")]

mod bars;
mod candles;
mod facade;
mod ledger;
mod lines;
mod writes;
