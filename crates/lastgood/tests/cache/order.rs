//! The order of the crate's modules: each imports only what stands above it in the list.

use lastgood_testing::{Exception, check_module_order};

const ORDER: [&str; 37] = [
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
    "condition",
    "metrics",
    "store",
    "publisher",
    "flight",
    "tags",
    "write_behind",
    "region",
    "given",
    "cache",
    "bulk",
    "lease",
    "read",
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
const EXCEPTIONS: [Exception<'_>; 10] = [
    // What a region is made of names the parts of the cache that it is in, and these name it.
    ("region", "cache"),
    ("region", "lease"),
    ("region", "read"),
    ("cache", "lease"),
    ("cache", "bulk"),
    ("lease", "read"),
    // A load that an invalidation overtook knows whether that was a removal: `Mode`, which is the same for tags.
    ("flight", "tags"),
    // Marks of tags are written by the queue that writes entries, and what it writes is marked.
    ("tags", "write_behind"),
    // A fill is written only while its lease holds.
    ("write_behind", "lease"),
    // What waited for the store when the last process ended is taken up once the cache is there.
    ("write_behind", "cache"),
];

#[test]
fn no_module_imports_one_that_is_built_on_it() {
    check_module_order(env!("CARGO_MANIFEST_DIR"), &ORDER, &EXCEPTIONS);
}
