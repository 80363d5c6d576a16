//! Declared routes over HTTP.

use std::pin::pin;
use std::sync::Arc;

use axum::Router;
use axum::response::Response;
use axum::routing::get;
use futures_util::future::BoxFuture;
use http::{HeaderMap, StatusCode, Uri};
use lastgood::Clock;
use lastgood_routes::path::{RoutePath, Segment};
use lastgood_routes::{Connections, Route, Routes, SourceCheck};
use lastgood_settings::Settings;

use self::known::KnownTargets;
use crate::places::Places;
use crate::problem;
use crate::user_keys;

mod answer;
pub(crate) mod known;
#[cfg(feature = "testing")]
pub(crate) mod testing;

/// Adds every route to the URL map. `GET` answers `HEAD`, too.
pub(crate) fn add_to<S: Clone + Send + Sync + 'static>(
    router: Router<S>,
    routes: &Routes,
    places: &Arc<Places>,
    known: &Arc<KnownTargets>,
) -> Router<S> {
    let paths =
        routes.iter().flat_map(|route| for_router(&route.spec().path).into_iter().map(move |path| (path, route)));
    paths.fold(router, |router, (path, route)| {
        let (route, places, known) = (Arc::clone(route), Arc::clone(places), Arc::clone(known));
        let handler =
            move |uri: Uri, headers: HeaderMap| async move { answer(&route, &places, &known, &uri, &headers).await };
        router.route(&path, get(handler))
    })
}

/// The paths for a router that wants parameters of one place to have one name.
fn for_router(path: &RoutePath) -> Vec<String> {
    let part = |(at, segment): (usize, &Segment)| match segment {
        Segment::Literal(text) => format!("/{text}"),
        Segment::Parameter(_) => format!("/{{p{at}}}"),
    };
    let parts: String = path.segments().iter().enumerate().map(part).collect();
    match path.ends_with_slash() {
        true => vec![format!("{parts}/"), parts],
        false => vec![parts],
    }
}

async fn answer(route: &Arc<Route>, places: &Places, known: &KnownTargets, uri: &Uri, headers: &HeaderMap) -> Response {
    let arguments = match route.arguments(uri.path(), uri.query().unwrap_or_default()) {
        Ok(arguments) => arguments,
        Err(refusal) => return problem::parameter(StatusCode::BAD_REQUEST, &refusal),
    };
    let asked = places.wait(pin!(route.answer(&arguments))).await;
    match asked.unwrap_or_else(|full| route.last_good(&arguments, full.into())) {
        Ok(answered) => {
            known.learn(uri, route, &arguments, &answered);
            answer::respond(&answered, headers).await
        }
        Err(error) => answer::fail(route, &error),
    }
}

/// Asks each source of each declared route whether it can do what the route declares.
pub fn check_sources(settings: &Settings) -> BoxFuture<'_, Vec<SourceCheck>> {
    Box::pin(checked(settings))
}

async fn checked(settings: &Settings) -> Vec<SourceCheck> {
    let connections = match Connections::open(&settings.declared.sources, &settings.connect_options(), &Clock::system())
    {
        Ok(connections) => connections,
        Err(why) => return vec![SourceCheck::failed("routes", "connections", why)],
    };
    let mut checks = connections.check(&settings.declared.routes).await;
    match user_keys::sql::statement(settings, &connections) {
        Ok(None) => {}
        Ok(Some(statement)) => checks.push(connections.check_statement("credentials.sql", &statement).await),
        Err(why) => checks.push(SourceCheck::failed("credentials.sql", "source", why)),
    }
    checks
}
