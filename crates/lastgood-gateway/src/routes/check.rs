//! Whether the sources of the routes are there, for `lastgood check`.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::time::Duration;

use futures_util::future::join_all;
use lastgood::Clock;
use tokio::time::{Instant, timeout};

use super::build::Sources;
use super::error::RouteError;
use crate::config::Settings;
use crate::config::routes::{RouteSetting, SourceQuestion};
use crate::source::Source;

/// How one source of a route is.
#[derive(Debug)]
pub struct SourceCheck {
    /// The path of the route.
    pub route: String,
    /// The source, in words.
    pub source: String,
    /// What is wrong and how to fix it, if anything is.
    pub result: Result<(), Box<dyn Error + Send + Sync>>,
    /// How long the source took to say so.
    pub took: Duration,
}

/// A source that is this slow is no source.
const PATIENCE: Duration = Duration::from_secs(10);

/// A source does not answer within [`PATIENCE`].
#[derive(Debug)]
struct Late;

impl fmt::Display for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no answer within {} s; is it reachable from here?", PATIENCE.as_secs())
    }
}

impl Error for Late {}

/// Asks each source of each declared route whether it can do what is declared.
pub async fn check_sources(settings: &Settings) -> Vec<SourceCheck> {
    let sources = match Sources::new(settings, &Clock::system()) {
        Ok(sources) => sources,
        Err(why) => {
            let (route, source) = ("routes".to_owned(), "connections".to_owned());
            return vec![SourceCheck { route, source, result: Err(why.into()), took: Duration::ZERO }];
        }
    };
    // The same question may be asked by several routes; one answer is enough.
    let mut asked = BTreeMap::new();
    for route in &settings.declared.routes {
        for source in &route.sources {
            asked.entry(format!("{:?}", source.question)).or_insert((route, &source.question));
        }
    }
    let mut checks = join_all(asked.into_values().map(|(route, question)| check(&sources, route, question))).await;
    match sources.user_keys(settings) {
        Ok(None) => {}
        Ok(Some(statement)) => checks.push(checked("credentials.sql", &statement).await),
        Err(why) => checks.push(failed("credentials.sql", why)),
    }
    checks
}

async fn check(sources: &Sources, route: &RouteSetting, question: &SourceQuestion) -> SourceCheck {
    let path = route.path.to_string();
    match sources.source(question, &route.parameters) {
        Ok(source) => checked(&path, &*source).await,
        Err(why) => failed(&path, why),
    }
}

async fn checked(route: &str, source: &dyn Source) -> SourceCheck {
    let started = Instant::now();
    let result = match timeout(PATIENCE, source.check()).await {
        Ok(checked) => checked.map_err(Into::into),
        Err(_) => Err(Late.into()),
    };
    SourceCheck { route: route.to_owned(), source: source.to_string(), result, took: started.elapsed() }
}

fn failed(route: &str, why: RouteError) -> SourceCheck {
    SourceCheck { route: route.to_owned(), source: "source".to_owned(), result: Err(why.into()), took: Duration::ZERO }
}
