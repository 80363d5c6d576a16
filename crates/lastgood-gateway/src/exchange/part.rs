//! Of an answer that serves many questions, the part that was asked for.

use std::sync::Arc;

use bytes::Bytes;
use lastgood::Answer;
use lastgood_market::{UpstreamRequest, projection};

use crate::response::prepared::{PACKED_FROM, Prepared, PreparedPart};

/// What of an answer's body is served.
pub(super) enum Part {
    Whole,
    /// A small part, which costs less to cut out than to find again.
    Cut(Bytes),
    Kept(Arc<PreparedPart>),
}

/// The part of `answer` that was asked for; `None` where it lacks it.
pub(super) fn part(answer: &Answer, request: &Arc<UpstreamRequest>) -> Option<Part> {
    if request.projection == projection::Projection::Whole {
        return Some(Part::Whole);
    }
    let prepared = Prepared::of(answer);
    if let Some(kept) = prepared.part(request) {
        return Some(Part::Kept(kept));
    }
    let body = cut_out(answer, &prepared, request)?;
    Some(if body.len() < PACKED_FROM { Part::Cut(body) } else { Part::Kept(prepared.keep_part(request, body)) })
}

/// The part, cut out now; `prepared` holds the values worked out of `answer`.
pub(super) fn cut_out(answer: &Answer, prepared: &Prepared, request: &UpstreamRequest) -> Option<Bytes> {
    let index = if request.projection.needs_index() { prepared.index(answer.body()) } else { None };
    projection::project(answer.body(), &request.projection, index)
}
