//! The order of the crate's modules: each imports only what stands above it in the list.

use lastgood_testing::{Exception, check_module_order};

const ORDER: [&str; 43] = [
    "activity",
    "peer",
    "response",
    "bulk_limit",
    "claims",
    "cluster",
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
    "totals",
    "values",
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

/// What runs back up all the same. The test fails of an exception that is no longer needed, so this list only shrinks.
const EXCEPTIONS: [Exception<'_>; 1] = [
    // What open pages are sent is kept by the page, which shows what `App` knows.
    ("app", "page"),
];

#[test]
fn no_module_imports_one_that_is_built_on_it() {
    check_module_order(env!("CARGO_MANIFEST_DIR"), &ORDER, &EXCEPTIONS);
}
