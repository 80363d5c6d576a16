//! Answers of the engine: entries and candles.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use http::HeaderMap;
use lastgood::{Answer, Error, Reason, Region};
use lastgood_market::engine::{Answered, Asked, Face};
use lastgood_market::line::{self, Keeper, Loader};
use lastgood_market::projection::Index;
use lastgood_market::{UpstreamRequest, Venue};

use super::answer::respond;
use super::candles;
use super::failure::fail;
use super::part::part;
use super::ready::Target;
use crate::app::{App, Counts};
use crate::response::coding::Coding;
use crate::response::payload::{Payload, Reply};
use crate::response::prepared::Prepared;

/// Answers a question as the engine does. `target` holds the known facts of the request's target.
pub(super) async fn cached(
    app: &App,
    venue: Venue,
    question: Asked<'_>,
    asked: HeaderMap,
    target: Option<&Target>,
) -> Reply {
    Counts::add(&app.counts.weight_asked, u64::from(question.weight()));
    let answered = match app.engine.ask(question, app).await {
        Ok(answered) => answered,
        Err(error) => return fail(app, venue, &error).map(Payload::from),
    };
    let coding = Coding::of(&asked);
    let reply = match &answered {
        Answered::Entry(answered) => answer_with(app, venue, answered, asked).await,
        Answered::Candles(slice) => candles::respond(app, venue, slice, asked).await,
    };
    if let Some(target) = target {
        target.learn(app, &answered, coding, &reply);
    }
    reply
}

/// Answers with the part of an answer that was asked for.
async fn answer_with(app: &App, venue: Venue, answered: &line::Answered<'_>, asked: HeaderMap) -> Reply {
    match part(&answered.answer, answered.request) {
        Some(part) => respond(app, venue, &answered.answer, part, asked).await,
        None => {
            fail(app, venue, &Error::new(Reason::Malformed, "the answer that is kept cannot be cut")).map(Payload::from)
        }
    }
}

impl Keeper for App {
    fn region(&self, request: &UpstreamRequest) -> &Region {
        App::region(self, request.region())
    }

    fn with_index<R>(&self, answer: &Answer, with: impl FnOnce(Option<&Index>) -> R) -> R {
        with(Prepared::of(answer).index(answer.body()))
    }

    fn loader(&self) -> Arc<dyn Loader> {
        self.engine.loader()
    }
}

impl Face for App {
    async fn wait<F>(&self, work: Pin<&mut F>) -> Result<F::Output, Error>
    where
        F: Future + Send,
        F::Output: Send,
    {
        self.places.wait(work).await.map_err(Error::from)
    }
}
