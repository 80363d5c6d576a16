//! The integration tests of the cache, in one binary.

mod batches;
mod bound;
mod conformance;
mod embedded;
mod explain;
mod fills;
mod invalidation;
mod last_good;
mod memory_taken;
mod migrations;
mod model;
mod nodes;
mod redis_cluster;
mod redis_faults;
mod redis_sentinel;
mod redis_tls;
mod refresh;
mod reload;
mod single_flight;
mod store_tier;
mod stores;
mod support;
mod sweeps;
mod ttl;
mod typed;
mod upstash;
