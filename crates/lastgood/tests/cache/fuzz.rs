//! The fuzz targets of this crate, each for a few seconds; `fuzz/` runs them without end.

#[path = "../../../../fuzz/targets/entries.rs"]
mod entries;
#[path = "../../../../fuzz/mutate.rs"]
mod mutate;
#[path = "../../../../fuzz/targets/rows.rs"]
mod rows;

#[test]
fn whatever_lies_in_a_store_is_an_entry_or_a_miss() {
    mutate::short_run(&entries::seeds(), 40_000, entries::run);
}

#[test]
fn whatever_is_packed_as_rows_comes_back_to_the_letter() {
    mutate::short_run(&rows::seeds(), 60_000, rows::run);
}
