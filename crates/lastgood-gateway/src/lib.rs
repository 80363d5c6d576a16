//! The lastgood gateway: a drop-in exchange API that answers from the cache and stays up.
//!
//! [`Gateway::build`] puts the parts together, [`Gateway::serve`] runs them on a listener until it is stopped. The URL
//! map is `router.rs`, what every request passes is `middleware.rs`, hits that need neither are answered by `fast_path.rs`,
//! the exchange's endpoint table is
//! `lastgood_market::venue`.

// The future of a request nests those of handler, region, load and source: deeper than the compiler looks by itself.
#![recursion_limit = "256"]

mod activity;
mod admin;
mod app;
mod bars;
mod body;
mod bulk_limit;
mod cache_api;
mod claims;
mod cors;
mod diagnosis;
mod durations;
mod exchange;
mod fast_path;
mod fear_greed;
mod figures;
mod fleet;
mod gateway;
mod handles;
mod health;
mod kv;
mod llm;
pub mod logging;
mod metrics;
mod middleware;
mod openapi;
mod own_site;
mod page;
mod peer;
mod pending;
mod places;
mod problem;
mod process;
mod query;
mod reload;
mod response;
mod router;
mod routes;
mod server;
mod stats_log;
mod stored_value;
mod symbols;
#[cfg(feature = "testing")]
pub mod testing {
    //! What the fuzz targets call of parts that are private.

    pub use crate::routes::testing::HeldRoutes;
}
mod traffic;
mod user_keys;

pub use self::gateway::{BuildError, Gateway, open_embedded, open_store};
pub use self::handles::raise_open_files;
pub use self::page::demonstration::{DemoFault, Demonstration};
pub use self::reload::Reloaded;
pub use self::routes::check_sources;
pub use self::server::certificate::{NoCertificate, check_certificate};
pub use self::server::listening::{Listening, listen};
pub use self::traffic::Traffic;
pub use lastgood_routes::SourceCheck;
