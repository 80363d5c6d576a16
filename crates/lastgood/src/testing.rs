//! What tests of stores, and of programs that use them, are made of. Feature `testing`.
//!
//! * [`conformance`] checks the whole contract of [`Store`](crate::store::Store) against any implementation;
//! * [`FaultyStore`] fails, hangs and delays on command;
//! * [`ChaosProxy`] does the same to a TCP connection;
//! * [`RedisServer`] starts, stops and kills a real `redis-server`;
//! * [`RedisSentinels`] does so with a primary, its replicas and the Sentinels that watch them;
//! * [`RedisCluster`] does so with servers that have a part of the keys each;
//! * [`Authority`] issues certificates for servers and clients;
//! * [`PostgresServer`] does the same with a real PostgreSQL;
//! * [`PgBouncer`] is a real pooler in front of it;
//! * [`UpstashFront`] speaks Upstash's REST protocol in front of a real `redis-server` (feature `upstash`, too);
//! * [`Disk`] is small, or read-only;
//! * [`Port`] is one that no other test gets.
//!
//! All of it panics, with a text that says why, where a test could not go on anyway.

mod authority;
mod chaos_proxy;
pub mod conformance;
mod disk;
mod faulty_store;
mod pgbouncer;
mod port;
mod postgres_server;
mod redis_cluster;
mod redis_sentinels;
mod redis_server;
#[cfg(feature = "upstash")]
mod upstash_front;

pub use self::authority::Authority;
pub use self::chaos_proxy::{Chaos, ChaosProxy};
pub use self::disk::Disk;
pub use self::faulty_store::{Fault, FaultyStore};
pub use self::pgbouncer::PgBouncer;
pub use self::port::Port;
pub use self::postgres_server::PostgresServer;
pub use self::redis_cluster::RedisCluster;
pub use self::redis_sentinels::RedisSentinels;
pub use self::redis_server::RedisServer;
#[cfg(feature = "upstash")]
pub use self::upstash_front::{Canned, UpstashFront};

/// Takes the randomness out of the waits of this thread's runtimes, so that a schedule runs the same way each time.
pub fn wait_evenly() {
    crate::store::wait_evenly();
}

/// Checks what must hold of any bytes that lie in a store. For fuzzing.
pub fn hold_entry(bytes: &[u8]) {
    crate::entry::hold::entry(bytes);
}

/// Checks what must hold of any text that may be packed as rows, and of any packing. For fuzzing.
pub fn hold_rows(text: &[u8]) {
    crate::entry::hold::of_rows(text);
}

/// Stored entries that a fuzzer may begin with.
pub fn entries() -> Vec<Vec<u8>> {
    crate::entry::hold::seeds()
}
