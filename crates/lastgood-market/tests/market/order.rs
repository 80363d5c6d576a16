//! The order of the crate's modules: each imports only what stands above it in the list.

use lastgood_testing::check_module_order;

const ORDER: [&str; 29] = [
    "region",
    "query",
    "venue",
    "calendar",
    "interval",
    "bars",
    "budget",
    "identity",
    "projection",
    "upstream_request",
    "line",
    "validate",
    "candles",
    "plan",
    "credentials",
    "llm",
    "symbols",
    "stream",
    "api_keys",
    "regions",
    "trouble",
    "upstream",
    "fear_greed",
    "streams",
    "symbol_chain",
    "warm",
    "engine",
    "market",
    "testing",
];

#[test]
fn no_module_imports_one_that_is_built_on_it() {
    check_module_order(env!("CARGO_MANIFEST_DIR"), &ORDER);
}
