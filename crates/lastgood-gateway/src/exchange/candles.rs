//! Candles: an answer is put together of the rows that are known, without copying them.

use std::pin::pin;
use std::sync::Arc;

use bytes::Buf as _;
use http::HeaderMap;
use lastgood::{Error, Reason};
use lastgood_market::candles::{Question, Slice};
use lastgood_market::{Line, RegionName, Venue};

use super::answer::{JSON, state_weight};
use super::cached::{self, answer_with};
use super::failure::fail;
use crate::app::App;
use crate::response::cached::packed;
use crate::response::found;
use crate::response::label::{Accepts, Label};
use crate::response::list::List;
use crate::response::payload::{Payload, Reply};
use crate::response::prepared::GZIP_FROM;

/// Answers a question about candles.
pub(super) async fn candles(app: &App, venue: Venue, question: &Arc<Question>, asked: HeaderMap) -> Reply {
    app.engine.upstreams.frequency.count(question.series.name());
    match answered(app, question).await {
        Ok(slice) => respond(app, venue, slice, asked).await,
        // What cannot be put together, the exchange is asked as it was asked.
        Err(error) if error.reason == Reason::Abandoned => {
            let line = Line::only(question.direct.clone());
            let klines = app.region(RegionName::Klines);
            match cached::answered_uncounted(app, &line).await {
                Ok(answered) => {
                    klines.composite().count(answered.answer.outcome());
                    answer_with(app, venue, &answered, asked).await
                }
                Err(error) if error.reason == Reason::NotFound => {
                    klines.composite().count_failed(&error);
                    fail(app, venue, &error).map(Payload::from)
                }
                Err(error) => match last_good(app, question, error.clone()).await {
                    Ok(slice) => respond(app, venue, slice, asked).await,
                    Err(_) => fail(app, venue, &error).map(Payload::from),
                },
            }
        }
        Err(error) => fail(app, venue, &error).map(Payload::from),
    }
}

/// The candles; the last good ones where they would have to be waited for and no place is left.
async fn answered(app: &App, question: &Arc<Question>) -> Result<Slice, Error> {
    match app.places.wait(pin!(app.engine.candles.answer(question))).await {
        Ok(answered) => answered,
        Err(full) => last_good(app, question, full.into()).await,
    }
}

async fn last_good(app: &App, question: &Question, error: Error) -> Result<Slice, Error> {
    let kept = app.places.wait(pin!(app.engine.candles.last_good(question, error.clone()))).await;
    let kept = kept.unwrap_or(Err(error));
    let klines = app.region(RegionName::Klines);
    match &kept {
        Ok(slice) => klines.composite().count(slice.outcome),
        Err(error) => klines.composite().count_failed(error),
    }
    kept
}

async fn respond(app: &App, venue: Venue, slice: Slice, asked: HeaderMap) -> Reply {
    let list = List::of(&slice.runs);
    let mut response = match list.remaining() {
        length if length >= GZIP_FROM && Accepts::of(&asked).gzip => {
            packed(asked, JSON, app.packed.pack(slice.runs.clone()).await)
        }
        length if length < COPIED => found(asked, JSON, Payload::Whole(list.collect())),
        _ => found(asked, JSON, Payload::Rows(list)),
    };
    let label = Label::from(&slice);
    label.write(response.headers_mut());
    state_weight(response.headers_mut(), app, venue, label.given_at);
    response
}

/// Shorter lists are sent in one piece.
const COPIED: usize = 4 << 10;
