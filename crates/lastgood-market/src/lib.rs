//! Market data on the lastgood cache: which exchange endpoints there are, how their answers are keyed, what they cost,
//! how one answer serves many questions, and when to back off from the exchange.
//!
//! [`plan()`](plan::plan) says what to do with a request, [`project()`](projection::project) takes what was asked out of what was
//! fetched, [`Line`] finds the newest answer among the keys that may hold it, [`Budget`] says whether the exchange may be asked now.
//!
//! With the feature `http`, `upstream` asks it, `engine` puts all parts together, once for every program, and `market` is all
//! of this in a few lines for a Rust program. Without it
//! nothing here speaks HTTP.

#![cfg_attr(not(feature = "http"), expect(dead_code, reason = "only what asks the exchange needs it"))]

#[cfg(feature = "http")]
pub mod api_keys;
pub mod bars;
pub mod budget;
pub mod calendar;
pub mod candles;
pub mod credentials;
#[cfg(feature = "http")]
pub mod engine;
pub mod fear_greed;
pub mod identity;
pub mod interval;
pub mod line;
pub mod llm;
#[cfg(feature = "http")]
pub mod market;
pub mod plan;
pub mod projection;
pub mod query;
pub mod region;
#[cfg(feature = "http")]
mod regions;
mod stream;
#[cfg(feature = "http")]
pub mod streams;
#[cfg(feature = "http")]
pub mod symbol_chain;
pub mod symbols;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(feature = "http")]
mod trouble;
#[cfg(feature = "http")]
pub mod upstream;
pub mod upstream_request;
pub mod validate;
pub mod venue;
#[cfg(feature = "http")]
pub mod warm;

pub use self::budget::{Budget, Priority};
#[cfg(feature = "http")]
pub use self::engine::Engine;
pub use self::identity::Identities;
pub use self::line::Line;
#[cfg(feature = "http")]
pub use self::market::Market;
pub use self::plan::{Plan, Plans, Request, plan};
pub use self::region::{Preset, RegionName};
pub use self::upstream_request::{Received, UpstreamRequest};
pub use self::venue::{Bucket, Endpoint, ExchangeError, PassOnly, Venue};
