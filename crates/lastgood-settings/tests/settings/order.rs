//! The order of the crate's modules: each imports only what stands above it in the list.

use lastgood_testing::check_module_order;

const ORDER: [&str; 28] = [
    "redact",
    "problem",
    "duration",
    "size",
    "variable",
    "value",
    "address",
    "listening",
    "proxy",
    "store",
    "upstream",
    "warm",
    "regions",
    "fields",
    "user_keys",
    "sources",
    "routes",
    "declared",
    "settings",
    "show",
    "keys",
    "defaults",
    "file",
    "environment",
    "worth_knowing",
    "layers",
    "reached",
    "effective",
];

#[test]
fn no_module_imports_one_that_is_built_on_it() {
    check_module_order(env!("CARGO_MANIFEST_DIR"), &ORDER);
}
