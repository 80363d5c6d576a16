//! Declared routes and their sources: paths over databases, buckets and HTTP APIs, read through a
//! [cache](lastgood::Cache). No server and no exchange.
//!
//! [`spec`] says what may be declared. [`Connections`] are opened over the declared sources, and [`Routes`] over those; then
//! [`Routes::ask`] answers a path and its query from the cache, or from the sources in turn.

// The future of a request nests those of region, load and source: deeper than the compiler looks by itself.
#![recursion_limit = "256"]

mod answer;
mod arguments;
mod check;
mod connections;
mod error;
mod key;
mod load;
mod meta;
pub mod parameter;
pub mod path;
mod place;
pub mod query;
mod question;
mod refusal;
mod route;
mod routes;
mod source;
pub mod spec;
pub mod suggest;
pub mod template;
#[cfg(feature = "testing")]
pub mod testing;
pub mod warm;

pub use self::answer::RouteAnswer;
pub use self::arguments::{Argument, Arguments};
pub use self::check::SourceCheck;
pub use self::connections::Connections;
pub use self::error::RouteError;
pub use self::refusal::Refusal;
pub use self::route::Route;
pub use self::routes::{AskError, Routes};
pub use self::source::ConnectOptions;
pub use self::source::sql::Statement;
