//! Real servers for the tests of lastgood, what breaks the connections to them, and what several test suites share. Not
//! published.
//!
//! * [`RedisServer`] starts, stops and kills a real `redis-server`;
//! * [`RedisSentinels`] does so with a primary, its replicas and the Sentinels that watch them;
//! * [`RedisCluster`] does so with servers that hold a part of the keys each;
//! * [`UpstashFront`] speaks Upstash's REST protocol in front of a real `redis-server`;
//! * [`PostgresServer`] starts, stops and kills a real PostgreSQL;
//! * [`PgBouncer`] is a real pooler in front of it;
//! * [`Authority`] issues certificates for servers and clients;
//! * [`ChaosProxy`] refuses, resets, delays, cuts and swallows what passes through a TCP connection;
//! * [`Disk`] is small, or read-only;
//! * [`Port`] is one that no other test gets;
//! * [`check_module_order`] holds the modules of a crate in one order;
//! * [`says_each_part_once`] holds errors to that;
//! * [`eventually`] waits until something holds.
//!
//! All of it panics, with a text that says why, where a test could not go on anyway. What tests of a store of your own
//! need is published: `lastgood::testing`.

mod authority;
mod chaos_proxy;
mod disk;
mod errors;
#[cfg(test)]
mod map;
mod modules;
mod pgbouncer;
mod port;
mod postgres_server;
mod redis_cluster;
mod redis_sentinels;
mod redis_server;
#[cfg(test)]
mod sizes;
mod upstash_front;
mod wait;
#[cfg(test)]
mod words;

pub use self::authority::Authority;
pub use self::chaos_proxy::{Chaos, ChaosProxy};
pub use self::disk::Disk;
pub use self::errors::says_each_part_once;
pub use self::modules::check_module_order;
pub use self::pgbouncer::PgBouncer;
pub use self::port::Port;
pub use self::postgres_server::PostgresServer;
pub use self::redis_cluster::RedisCluster;
pub use self::redis_sentinels::RedisSentinels;
pub use self::redis_server::RedisServer;
pub use self::upstash_front::{Canned, UpstashFront};
pub use self::wait::eventually;
