//! The integration tests of the cache, in one binary.

mod conformance;
mod embedded;
mod redis_faults;
mod stores;
