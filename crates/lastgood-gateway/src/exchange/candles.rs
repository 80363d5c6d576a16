//! Candles: an answer is put together of the rows that are known, without copying them.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use http::StatusCode;
use lastgood::Reason;
use lastgood_market::candles::{Question, Slice};
use lastgood_market::{Line, RegionName, Venue};

use super::answer::{JSON, label, respond_packed};
use super::cached::answer_with;
use super::failure::fail;
use super::list::List;
use crate::app::App;
use crate::response::label::Accepts;
use crate::response::prepared::GZIP_FROM;
use crate::response::{headed, plain};

/// Answers a question about candles.
pub(super) async fn candles(app: &App, venue: Venue, question: &Arc<Question>, accepts: Accepts) -> Response {
    app.upstreams.heat.count(question.series.name());
    match app.candles.answer(question).await {
        Ok(slice) => respond(app, venue, slice, accepts).await,
        // What cannot be put together, the exchange is asked as it was asked.
        Err(error) if error.reason == Reason::Abandoned => {
            let line = Line::only(question.direct.clone());
            let klines = app.region(RegionName::Klines);
            match line.answer_uncounted(app).await {
                Ok(answered) => {
                    klines.count_served(answered.answer.outcome());
                    answer_with(app, venue, &answered, accepts).await
                }
                Err(error) => {
                    let kept = match error.reason {
                        Reason::NotFound => None,
                        _ => app.candles.last_good(question, error.clone()).await.ok(),
                    };
                    match kept {
                        Some(slice) => {
                            klines.count_served(slice.outcome);
                            respond(app, venue, slice, accepts).await
                        }
                        None => {
                            klines.count_failed(&error);
                            fail(app, venue, &error)
                        }
                    }
                }
            }
        }
        Err(error) => fail(app, venue, &error),
    }
}

async fn respond(app: &App, venue: Venue, slice: Slice, accepts: Accepts) -> Response {
    let list = List::of(&slice.runs);
    let mut response = match list.length() {
        length if accepts.gzip && length >= GZIP_FROM => respond_packed(app.packed.pack(slice.runs.clone()).await),
        length if length < COPIED => plain(StatusCode::OK, JSON, list.collect()),
        _ => headed(StatusCode::OK, JSON, Body::new(list)),
    };
    label(&mut response, app, venue, &(&slice).into());
    response
}

/// Shorter lists are sent in one piece.
const COPIED: usize = 4 << 10;
