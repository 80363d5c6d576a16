//! The order of the crate's modules: each imports only what stands above it in the list.

use lastgood_testing::check_module_order;

const ORDER: [&str; 43] = [
    "activity",
    "peer",
    "response",
    "bulk_limit",
    "claims",
    "fleet",
    "durations",
    "figures",
    "places",
    "process",
    "handles",
    "problem",
    "query",
    "user_keys",
    "own_site",
    "cors",
    "routes",
    "admin",
    "app",
    "pending",
    "body",
    "diagnosis",
    "health",
    "metrics",
    "openapi",
    "symbols",
    "traffic",
    "stored_value",
    "cache_api",
    "fear_greed",
    "kv",
    "llm",
    "page",
    "bars",
    "exchange",
    "middleware",
    "fast_path",
    "router",
    "server",
    "stats_log",
    "logging",
    "gateway",
    "reload",
];

#[test]
fn no_module_imports_one_that_is_built_on_it() {
    check_module_order(env!("CARGO_MANIFEST_DIR"), &ORDER);
}
