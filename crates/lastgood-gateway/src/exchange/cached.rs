//! Answers of the cache, loaded where it has none.

use std::pin::pin;
use std::sync::Arc;

use http::HeaderMap;
use lastgood::{Answer, Error, Reason, Region};
use lastgood_market::cut::Index;
use lastgood_market::line::{Answered, Keeper, Loader};
use lastgood_market::{Line, Source, Venue};

use super::answer::respond;
use super::failure::fail;
use super::part::part;
use crate::app::App;
use crate::response::payload::{Payload, Reply};
use crate::response::prepared::Prepared;

/// Answers a question from the newest of the keys that may hold its answer.
pub(super) async fn cached(app: &App, venue: Venue, line: &Line, asked: HeaderMap) -> Reply {
    app.engine.upstreams.frequency.count(&line.load().key);
    match answered(app, line).await {
        Ok(answered) => answer_with(app, venue, &answered, asked).await,
        Err(error) => fail(app, venue, &error).map(Payload::from),
    }
}

/// The answer to a question; the last good one where it would have to wait and no place is left.
pub(super) async fn answered<'a>(app: &App, line: &'a Line) -> Result<Answered<'a>, Error> {
    let region = Keeper::region(app, line.load());
    let stopwatch = region.composite().stopwatch();
    let answered = answered_uncounted(app, line).await;
    match &answered {
        Ok(answered) => region.composite().count_timed(answered.answer.outcome(), stopwatch),
        Err(error) => region.composite().count_failed(error),
    }
    answered
}

/// As [`answered`], for who may have something else to serve: what is served is for the caller to count.
pub(super) async fn answered_uncounted<'a>(app: &App, line: &'a Line) -> Result<Answered<'a>, Error> {
    match app.places.wait(pin!(line.answer_uncounted(app))).await {
        Ok(answered) => answered,
        Err(full) => line.last_good(app, full.into()),
    }
}

/// Answers with the part of an answer that was asked for.
pub(super) async fn answer_with(app: &App, venue: Venue, answered: &Answered<'_>, asked: HeaderMap) -> Reply {
    match part(&answered.answer, answered.source) {
        Some(part) => respond(app, venue, &answered.answer, part, asked).await,
        None => {
            fail(app, venue, &Error::new(Reason::Malformed, "the answer that is kept cannot be cut")).map(Payload::from)
        }
    }
}

impl Keeper for App {
    fn region(&self, source: &Source) -> &Region {
        App::region(self, source.region())
    }

    fn with_index<R>(&self, answer: &Answer, with: impl FnOnce(Option<&Index>) -> R) -> R {
        with(Prepared::of(answer).index(answer.body()))
    }

    fn loader(&self) -> Arc<dyn Loader> {
        Arc::clone(&self.engine.loader) as _
    }
}
