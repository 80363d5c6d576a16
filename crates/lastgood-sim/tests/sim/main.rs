//! Tests of the simulated exchange as its clients see it.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod books;
mod candles;
mod control;
mod errors;
mod faults;
mod hostile;
mod info;
mod lies;
mod limits;
mod ranges;
mod seeds;
mod shapes;
mod signed;
mod streams;
mod support;
mod tickers;
mod trades;
