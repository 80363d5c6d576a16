//! The order of the crate's modules: each imports only what stands above it in the list.

use lastgood_testing::{Exception, check_module_order};

const ORDER: [&str; 41] = [
    "clock",
    "policy",
    "keyed_mutex",
    "private",
    "proxy",
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
    "region",
    "given",
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

/// What runs back up all the same. The test fails of an exception that is no longer needed, so this list only shrinks.
const EXCEPTIONS: [Exception<'_>; 1] = [
    // A region names the cache that it is in, and the cache its regions.
    ("region", "cache"),
];

#[test]
fn no_module_imports_one_that_is_built_on_it() {
    check_module_order(env!("CARGO_MANIFEST_DIR"), &ORDER, &EXCEPTIONS);
}
