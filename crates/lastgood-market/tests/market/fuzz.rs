//! The fuzz targets of this crate, each for a few seconds; `fuzz/` runs them without end.

#[path = "../../../../fuzz/targets/candles.rs"]
mod candles;
#[path = "../../../../fuzz/targets/exchange.rs"]
mod exchange;
#[path = "../../../../fuzz/mutate.rs"]
mod mutate;
#[path = "../../../../fuzz/targets/parameters.rs"]
mod parameters;

#[test]
fn whatever_comes_for_candles_is_rows_that_ascend_or_nothing() {
    mutate::short_run(&candles::seeds(), 60_000, candles::run);
}

#[test]
fn whatever_an_exchange_answers_is_judged_without_a_panic_and_kept_to_the_letter() {
    mutate::short_run(&exchange::seeds(), 20_000, exchange::run);
}

#[test]
fn whatever_a_client_asks_has_one_form_and_a_key() {
    mutate::short_run(&parameters::seeds(), 60_000, parameters::run);
}
