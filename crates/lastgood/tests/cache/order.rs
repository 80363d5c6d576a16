//! The order of the crate's modules: each imports only what stands above it in the list.

use lastgood_testing::check_module_order;

const ORDER: [&str; 43] = [
    "clock",
    "policy",
    "keyed_mutex",
    "private",
    "proxy",
    "http_client",
    "schedules",
    "sync",
    "entry",
    "error",
    "memory",
    "outcome",
    "verification",
    "metrics",
    "condition",
    "store",
    "invalidation",
    "publisher",
    "flight",
    "lease",
    "seen",
    "write_behind",
    "tags",
    "given",
    "shared",
    "region",
    "cache",
    "bulk",
    "take_up",
    "read",
    "leasing",
    "warm",
    "testing",
    "reload",
    "refresh",
    "notice",
    "migrate",
    "subscriber",
    "listing",
    "explain",
    "confirm",
    "builder",
    "batch",
];

#[test]
fn no_module_imports_one_that_is_built_on_it() {
    check_module_order(env!("CARGO_MANIFEST_DIR"), &ORDER);
}
