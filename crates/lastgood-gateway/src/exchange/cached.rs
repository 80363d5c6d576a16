//! Answers of the cache, loaded where it has none.

use std::sync::Arc;

use axum::response::Response;
use lastgood::{Error, Freshness, Reason};
use lastgood_market::{Source, Venue};

use super::answer::respond;
use super::failure::fail;
use super::part::{Part, part};
use crate::app::App;
use crate::response::label::Accepts;

/// Answers with what `chosen` loads, or, where that lacks what was asked for, with what `direct` does.
pub(super) async fn cached(
    app: &App,
    venue: Venue,
    chosen: &Arc<Source>,
    direct: Option<&Arc<Source>>,
    accepts: Accepts,
) -> Response {
    let mut answered = app.ask(chosen).await.map(|answer| (part(&answer, chosen), answer));
    // The canonical answer does not hold what was asked for: let the exchange say what it thinks of the question.
    if let (Ok((None, _)), Some(direct)) = (&answered, direct) {
        answered = app.ask(direct).await.map(|answer| (Some(Part::Whole), answer));
    }
    match answered {
        Ok((Some(part), answer)) => respond(app, venue, &answer, part, accepts).await,
        Ok((None, _)) => {
            let missing = Error::new(Reason::Malformed, "the exchange's answer lacks what was asked for");
            fail(app, venue, &missing)
        }
        Err(error) => fail(app, venue, &error),
    }
}

/// Whether memory holds a fresh answer of `source` with the part that was asked for.
pub(super) fn serves_now(app: &App, source: &Source) -> bool {
    let held = app.region(source.region()).peek(&source.key);
    held.is_some_and(|answer| answer.freshness() == Freshness::Fresh && part(&answer, source).is_some())
}
