//! What the crate can be built with.

use std::collections::BTreeSet;

/// The names in the section `[features]` of the manifest.
fn declared() -> BTreeSet<&'static str> {
    let manifest = include_str!("../../Cargo.toml");
    let section = manifest.split("[features]").nth(1).and_then(|rest| rest.split("\n[").next()).expect("a section");
    section
        .lines()
        .filter(|line| !line.starts_with([' ', '#', ']']))
        .filter_map(|line| line.split_once(" = "))
        .map(|(name, _)| name)
        .collect()
}

#[test]
fn the_documentation_has_a_row_for_each_feature_and_says_which_are_defaults() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/library.md");
    let page = std::fs::read_to_string(page).expect("the page is in the repository");
    let rows: Vec<(&str, &str)> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` | "))
        .filter_map(|(name, rest)| Some((name, rest.split_once('|')?.0.trim())))
        .collect();
    let mut named: BTreeSet<&str> = rows.iter().map(|(name, _)| *name).collect();
    named.insert("default");
    assert_eq!(named, declared());
    let defaults: Vec<String> =
        rows.iter().filter(|(_, is)| *is == "yes").map(|(name, _)| format!("{name:?}")).collect();
    let line = format!("default = [{}]", defaults.join(", "));
    assert!(include_str!("../../Cargo.toml").contains(&line), "{line}");
}
