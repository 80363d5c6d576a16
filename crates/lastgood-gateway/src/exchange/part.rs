//! Of an answer that serves many questions, the part that was asked for.

use bytes::Bytes;
use lastgood::Answer;
use lastgood_market::{Source, cut};

use crate::response::prepared::Prepared;

/// What of an answer's body is served.
pub(super) enum Part {
    Whole,
    Cut(Bytes),
}

/// The part of `answer` that was asked for; `None` where it lacks it.
pub(super) fn part(answer: &Answer, source: &Source) -> Option<Part> {
    if source.cut == cut::Cut::Whole {
        return Some(Part::Whole);
    }
    let prepared = Prepared::of(answer);
    let index = if source.cut.needs_index() { prepared.index(answer.body()) } else { None };
    cut::cut(answer.body(), &source.cut, index).map(Part::Cut)
}
