//! Declared routes and their sources: paths over databases, buckets and HTTP APIs, read through a
//! [cache](lastgood::Cache). No server and no exchange.
//!
//! [`spec`] says what may be declared. [`Connections`] are opened over the declared sources, and [`Routes`] over those; then
//! [`Routes::ask`] answers a path and its query from the cache, or from the sources in turn.
//!
//! ```no_run
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::collections::BTreeMap;
//! use std::time::Duration;
//!
//! use lastgood::{Cache, Clock, Policy};
//! use lastgood_routes::parameter::{Case, Kind, Parameter};
//! use lastgood_routes::path::RoutePath;
//! use lastgood_routes::spec::{DatabaseSpec, Question, RouteSpec, Shape, SourceSpec, SourceSpecs, StatementSpec};
//! use lastgood_routes::{ConnectOptions, Connections, Routes};
//!
//! let cache = Cache::builder().build()?;
//! let stocks = cache.region("stocks", Policy::fresh_for(Duration::from_secs(300)))?;
//!
//! let main = DatabaseSpec::new("postgres://user:password@host/name");
//! let sources = SourceSpecs { databases: BTreeMap::from([("main".to_owned(), main)]), ..SourceSpecs::default() };
//! let connections = Connections::open(&sources, &ConnectOptions::default(), &Clock::system())?;
//!
//! let mut latest = RouteSpec::new(RoutePath::parse("/stocks/{symbol}")?, "stocks");
//! let symbol = Kind::Text { max_length: 10, pattern: None, case: Case::Upper };
//! latest.parameters.push(Parameter::new("symbol", symbol));
//! let sql = "SELECT symbol, price FROM stocks WHERE symbol = :symbol";
//! latest.sources.push(SourceSpec::new(Question::Statement(StatementSpec::new("main", sql, Shape::Row))));
//!
//! let routes = Routes::new(&[latest], &connections, &BTreeMap::from([("stocks".to_owned(), stocks)]))?;
//! let answered = routes.ask("/stocks/aapl", "").await?;
//! println!("{:?} {}", answered.answer().body(), answered.answer().outcome());
//! # Ok(())
//! # }
//! ```

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
pub use self::route::{LastFailure, Route};
pub use self::routes::{AskError, Routes};
pub use self::source::ConnectOptions;
pub use self::source::sql::Statement;
