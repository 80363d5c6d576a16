//! A cache that serves the last good answer whatever fails.
//!
//! Bytes under names, in [`Region`]s with one [`Policy`] each, in two tiers: this process's memory and an optional
//! [`store::Store`] below it. One load of a key runs at a time; when the source fails, the last good answer is
//! served, and says so. The store can be slow, full, absent or lying: that is never an error, and its price is bounded.
//!
//! ```
//! # async fn ask_the_source() -> std::io::Result<bytes::Bytes> { Ok("94000.1".into()) }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use lastgood::{Cache, Loaded, Policy};
//!
//! let cache = Cache::builder().build()?;
//! let prices = cache.region("prices", Policy::fresh_for(Duration::from_secs(1)))?;
//! let answer = prices.get_or_load("BTCUSDT", || async { Ok(Loaded::from(ask_the_source().await?)) }).await?;
//! assert_eq!(answer.outcome().as_x_cache(), "MISS");
//! # Ok(())
//! # }
//! ```
//!
//! Features: `embedded`, `redis` and `zstd` (default), `upstash`, `proxy`, `testing`. Without any the cache is memory alone, and
//! takes any [`store::Store`] of yours.
//!
//! Start at [`Cache::builder`]. The read path is `read.rs`, one page.

pub mod clock;
pub mod condition;
#[cfg(feature = "proxy")]
pub mod http_client;
pub mod migrate;
pub mod private;
#[cfg(feature = "proxy")]
pub mod proxy;
pub mod store;
pub mod warm;

mod batch;
mod builder;
mod bulk;
mod cache;
mod confirm;
mod entry;
mod error;
mod explain;
mod flight;
mod given;
mod invalidation;
mod keyed_mutex;
mod lease;
mod leasing;
mod listing;
mod memory;
mod metrics;
mod notice;
mod outcome;
mod policy;
mod publisher;
mod read;
mod refresh;
mod region;
mod reload;
#[cfg(test)]
mod schedules;
mod seen;
mod shared;
mod subscriber;
mod sync;
mod tags;
mod take_up;
#[cfg(feature = "testing")]
pub mod testing;
mod verification;
mod write_behind;

pub use self::batch::LoadedMany;
pub use self::builder::CacheBuilder;
pub use self::bulk::{Invalidated, Selector};
pub use self::cache::{Cache, CacheStatus, Largest, StoreStatus};
pub use self::clock::{Clock, Timestamp};
pub use self::confirm::Unconfirmed;
pub use self::entry::{Freshness, Loaded, Memoised, Persist, Value};
pub use self::error::{BuildError, Error, LoadError, Reason, error_chain};
pub use self::explain::{Backoff, Explanation};
pub use self::invalidation::{Matches, Mode, Selectors};
pub use self::keyed_mutex::{KeyGuard, KeyedMutex};
pub use self::listing::{Listing, Tiers};
pub use self::metrics::{LATENCY_BOUNDS_MS, RegionStats, Stopwatch, Timed};
pub use self::outcome::{BypassReason, Outcome, Tier};
pub use self::policy::{Keep, Policy};
pub use self::region::{
    Answer, Basis, Composed, Composite, Conditional, Filled, Region, Siblings, TypedAnswer, TypedRegion, WasThere,
};
