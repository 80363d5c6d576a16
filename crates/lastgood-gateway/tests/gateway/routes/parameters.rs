//! The fuzz target of declared routes, for a few seconds; `fuzz/` runs it without end.

#[path = "../../../../../fuzz/targets/routes.rs"]
mod target;

use crate::configuration::mutate;

#[test]
fn whatever_a_client_asks_of_a_declared_route_is_refused_by_name_or_asked_as_it_is() {
    mutate::short_run(&target::seeds(), 6_000, target::run);
    std::fs::remove_dir_all(target::folder()).unwrap();
}
