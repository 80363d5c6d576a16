//! Candles: an answer is put together of the rows that are known, without copying them.

use bytes::Buf as _;
use http::HeaderMap;
use lastgood_market::Venue;
use lastgood_market::candles::Slice;

use super::answer::{JSON, state_weight};
use crate::app::App;
use crate::response::cached::packed;
use crate::response::coding::Coding;
use crate::response::found;
use crate::response::label::Label;
use crate::response::list::List;
use crate::response::payload::{Payload, Reply};
use crate::response::prepared::PACKED_FROM;

/// Candles, sent from where they lie.
pub(super) async fn respond(app: &App, venue: Venue, slice: &Slice, asked: HeaderMap) -> Reply {
    let list = List::of(&slice.runs);
    let coding = if list.remaining() >= PACKED_FROM { Coding::of(&asked) } else { Coding::Identity };
    let body = match coding {
        Coding::Identity => None,
        coding => app.packed_lists.pack(slice.runs.clone(), coding).await,
    };
    let mut response = match body {
        Some(body) => packed(asked, JSON, coding, body),
        None if list.remaining() < COPIED => found(asked, JSON, Payload::Whole(list.collect())),
        None => found(asked, JSON, Payload::Rows(list)),
    };
    let label = Label::from(slice);
    label.write(response.headers_mut());
    state_weight(response.headers_mut(), app, venue, label.given_at);
    response
}

/// Shorter lists are sent in one piece.
const COPIED: usize = 4 << 10;
