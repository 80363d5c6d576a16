//! The fuzz target of the configuration, for a few seconds; `fuzz/` runs it without end.

#[path = "../../../../fuzz/mutate.rs"]
pub(crate) mod mutate;
#[path = "../../../../fuzz/targets/configuration.rs"]
mod target;

#[test]
fn whatever_a_configuration_file_says_is_settings_or_problems() {
    mutate::short_run(&target::seeds(), 4_000, target::run);
}
