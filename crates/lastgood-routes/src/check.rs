//! Whether the sources of the routes are there, for `lastgood check`.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, timeout};

use crate::connections::Connections;
use crate::source::Source;
use crate::source::sql::Statement;
use crate::spec::{Question, RouteSpec};

/// How one source of a route is.
#[derive(Debug)]
pub struct SourceCheck {
    /// The path of the route.
    pub route: String,
    /// The source, in words.
    pub source: String,
    /// The problem and how to fix it, if there is one.
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

impl Connections {
    /// Asks each source of the routes whether it can do what its routes declare.
    pub async fn check(&self, routes: &[RouteSpec]) -> Vec<SourceCheck> {
        // The same question may be asked by several routes; one answer is enough.
        let mut asked = BTreeMap::new();
        for route in routes {
            for source in &route.sources {
                asked.entry(format!("{:?}", source.question)).or_insert((route, &source.question));
            }
        }
        join_all(asked.into_values().map(|(route, question)| self.check_one(route, question))).await
    }

    /// Asks a statement's database whether it can do what the statement declares; `what` is what needs it.
    pub async fn check_statement(&self, what: &str, statement: &Statement) -> SourceCheck {
        SourceCheck::of(what, statement).await
    }

    async fn check_one(&self, route: &RouteSpec, question: &Question) -> SourceCheck {
        let path = route.path.to_string();
        match self.source(question, &route.parameters) {
            Ok(source) => SourceCheck::of(&path, &*source).await,
            Err(why) => SourceCheck::failed(&path, "source", why),
        }
    }
}

impl SourceCheck {
    /// Asks a source whether it can do what `route` declares.
    async fn of(route: &str, source: &dyn Source) -> SourceCheck {
        let started = Instant::now();
        let result = match timeout(PATIENCE, source.check()).await {
            Ok(checked) => checked.map_err(Into::into),
            Err(_) => Err(Late.into()),
        };
        SourceCheck { route: route.to_owned(), source: source.to_string(), result, took: started.elapsed() }
    }

    /// What could not even be asked.
    pub fn failed(route: &str, source: &str, why: impl Into<Box<dyn Error + Send + Sync>>) -> SourceCheck {
        let (route, source) = (route.to_owned(), source.to_owned());
        let why = lastgood::error_chain(&*why.into());
        SourceCheck { route, source, result: Err(why.into()), took: Duration::ZERO }
    }
}
