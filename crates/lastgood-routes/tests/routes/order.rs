//! The order of the crate's modules: each imports only what stands above it in the list.

use lastgood_testing::check_module_order;

const ORDER: [&str; 22] = [
    "suggest",
    "query",
    "refusal",
    "arguments",
    "template",
    "path",
    "parameter",
    "source",
    "spec",
    "error",
    "meta",
    "answer",
    "route",
    "key",
    "place",
    "question",
    "load",
    "connections",
    "check",
    "routes",
    "warm",
    "testing",
];

#[test]
fn no_module_imports_one_that_is_built_on_it() {
    check_module_order(env!("CARGO_MANIFEST_DIR"), &ORDER);
}
