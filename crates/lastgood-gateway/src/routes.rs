//! Declared routes: paths over the databases, buckets and APIs that the configuration names.
//!
//! `route.rs` is a route as its parts know it. `path.rs` says which paths there may be, `parameter.rs` what may be asked
//! for, `key.rs` what names a question, `load.rs` how sources are asked in turn, `answer.rs` what is answered, `warm.rs`
//! what is loaded ahead.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;

use axum::Router;
use axum::response::Response;
use axum::routing::get;
use http::{HeaderMap, StatusCode, Uri};
use lastgood::condition::Condition;
use lastgood::{Answer, Clock, Error, Outcome, Reason, Region};

use crate::config::Settings;
use crate::places::Places;
use crate::problem;
use crate::problem::Refusal;
use crate::source::Arguments;
use crate::source::sql::Statement;

mod answer;
mod build;
mod check;
mod error;
mod key;
mod load;
mod meta;
pub(crate) mod parameter;
pub(crate) mod path;
mod place;
mod question;
pub(crate) mod route;
pub(crate) mod template;
#[cfg(feature = "testing")]
pub(crate) mod testing;
mod warm;

use self::answer::Form;
pub use self::check::{SourceCheck, check_sources};
use self::error::RouteError;
use self::route::Route;
pub(crate) use self::warm::{SharedTurns, Wanted, keep};

/// The routes of the configuration.
#[derive(Default)]
pub(crate) struct DeclaredRoutes {
    routes: Vec<Arc<Route>>,
    /// What `[credentials.sql]` asks.
    user_keys: Option<Arc<Statement>>,
    /// How each declared database, bucket and API answers.
    conditions: Vec<Arc<Condition>>,
}

impl DeclaredRoutes {
    /// # Errors
    ///
    /// When a source cannot be made of its settings. None of them needs to be there.
    pub(crate) fn new(
        settings: &Settings,
        regions: &BTreeMap<String, Region>,
        clock: &Clock,
    ) -> Result<Self, RouteError> {
        let sources = build::Sources::new(settings, clock)?;
        let routes = settings.declared.routes.iter();
        let routes =
            routes.map(|setting| sources.route(setting, regions).map(Arc::new)).collect::<Result<Vec<_>, _>>()?;
        let user_keys = sources.user_keys(settings)?.map(Arc::new);
        Ok(DeclaredRoutes { routes, user_keys, conditions: sources.into_conditions() })
    }

    /// The statement that finds the API keys of a user, over the connections of the routes.
    pub(crate) fn user_keys(&self) -> Option<Arc<Statement>> {
        self.user_keys.clone()
    }

    /// How each declared database, bucket and API answers, as far as it was asked.
    pub(crate) fn conditions(&self) -> &[Arc<Condition>] {
        &self.conditions
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.routes.iter()
    }

    /// Adds every route to the URL map. `GET` answers `HEAD`, too.
    pub(crate) fn add_to<S: Clone + Send + Sync + 'static>(
        &self,
        router: Router<S>,
        places: &Arc<Places>,
    ) -> Router<S> {
        let paths = self
            .routes
            .iter()
            .flat_map(|route| route.setting.path.for_router().into_iter().map(move |path| (path, Arc::clone(route))));
        paths.fold(router, |router, (path, route)| {
            let places = Arc::clone(places);
            let handler =
                move |uri: Uri, headers: HeaderMap| async move { route.answer(&places, &uri, &headers).await };
            router.route(&path, get(handler))
        })
    }
}

impl Route {
    async fn answer(self: Arc<Self>, places: &Places, uri: &Uri, headers: &HeaderMap) -> Response {
        let arguments = match self.arguments(uri.path(), uri.query().unwrap_or_default()) {
            Ok(arguments) => arguments,
            Err(refusal) => return self.refuse(&refusal),
        };
        let key = self.key(&arguments);
        let asked = places.wait(pin!(self.ask(&key, arguments))).await;
        match asked.unwrap_or_else(|full| self.last_good(&key, full.into())) {
            Ok(answer) => answer::respond(&answer, headers).await,
            Err(error) => answer::fail(&self, &error),
        }
    }

    fn refuse(&self, refusal: &Refusal) -> Response {
        problem::parameter(StatusCode::BAD_REQUEST, refusal)
    }

    /// The answer, from the cache or the sources.
    async fn ask(self: &Arc<Self>, key: &str, arguments: Arguments) -> Result<Answer, Error> {
        let answer = self.read_own(key, &arguments).await?;
        let is_of_others = Form::of(&answer).meta.definition.as_ref().is_some_and(|by| *by != self.definition);
        match answer.outcome() {
            // The configuration has changed since, and these sources may say something else.
            Outcome::Hit(_) | Outcome::Stale if is_of_others => {
                self.region.expire(key).await;
                self.read_own(key, &arguments).await
            }
            _ => Ok(answer),
        }
    }

    /// As [`Route::read`], but never what another database, bucket or API answered: not even as the last good answer.
    async fn read_own(self: &Arc<Self>, key: &str, arguments: &Arguments) -> Result<Answer, Error> {
        // A gateway that shares the store may write its own in between.
        for _ in 0..3 {
            let answer = self.read(key, arguments).await?;
            if self.is_own(&answer) {
                return Ok(answer);
            }
            self.region.remove(key).await;
        }
        let message =
            "another gateway keeps the answers of another source under this key; give it a namespace of its own";
        Err(Error::new(Reason::Abandoned, message))
    }

    /// Whether one of this route's sources answered it.
    fn is_own(&self, answer: &Answer) -> bool {
        let meta = &Form::of(answer).meta;
        let is_own = |place: &String| self.links.iter().any(|link| link.place == *place);
        meta.definition.is_none() || meta.place.as_ref().is_some_and(is_own)
    }

    /// The last good answer in memory, for a request that cannot wait; `error` where there is none.
    fn last_good(&self, key: &str, error: Error) -> Result<Answer, Error> {
        let kept = self.region.peek(key).filter(|kept| self.region.is_enabled() && self.is_own(kept));
        let outcome = Outcome::LastGood(error.reason);
        match &kept {
            Some(_) => self.region.composite().count(outcome),
            None => self.region.composite().count_failed(&error),
        }
        kept.map(|kept| kept.given_as(outcome)).ok_or(error)
    }

    async fn read(self: &Arc<Self>, key: &str, arguments: &Arguments) -> Result<Answer, Error> {
        let (route, name, arguments) = (Arc::clone(self), key.to_owned(), arguments.clone());
        self.region.get_or_load(key, move || async move { Ok(route.load(&name, &arguments).await?) }).await
    }
}
