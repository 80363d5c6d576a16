//! What an answer of memory was, as far as memory does not hold it.

use std::sync::{Arc, Weak};

use bytes::{Buf as _, Bytes};
use http::header::IF_NONE_MATCH;
use http::{HeaderMap, StatusCode};
use lastgood::Answer;
use lastgood_market::candles::{self, Question, Slice};
use lastgood_market::line::{self, Answered, Keeper};
use lastgood_market::projection::Projection;
use lastgood_market::{Line, Plan};

use super::head::{Head, Heads};
use crate::app::App;
use crate::exchange::part::cut_out;
use crate::response::cached::Form;
use crate::response::coding::Coding;
use crate::response::etag::{Comparison, EntityTag};
use crate::response::label::Label;
use crate::response::list::List;
use crate::response::packed_lists;
use crate::response::payload::Payload;
use crate::response::prepared::{PACKED_FROM, Prepared, PreparedPart};

/// An answer of memory. It keeps no more of memory's than a short part.
pub(super) enum Kept {
    Entry { repeat: line::Repeat, body: Body },
    Candles { repeat: candles::Repeat, packed: [Option<packed_lists::Kept>; Coding::COUNT] },
}

/// The body of an answer that is of one entry.
pub(super) enum Body {
    Whole,
    Part(Weak<PreparedPart>),
    /// A part that is shorter than a compressed body. As a piece of the entry's it would keep all of that.
    Copied(Bytes, EntityTag),
}

/// An answer that is given once more.
pub(super) struct Given<'a> {
    pub(super) label: Label,
    pub(super) status: StatusCode,
    pub(super) head: &'a Head,
    pub(super) body: Payload,
}

impl Kept {
    /// What answered `line`, and whether it is long enough to be packed.
    pub(super) fn of_entry(app: &App, line: &Line, answered: &Answered<'_>) -> Option<(Kept, bool)> {
        let repeat = line.repeat(app, answered)?;
        let (answer, request) = (&answered.answer, answered.request);
        let prepared = Prepared::of(answer);
        let (body, length) = match prepared.part(request) {
            _ if request.projection == Projection::Whole => (Body::Whole, answer.body().len()),
            Some(part) => (Body::Part(Arc::downgrade(&part)), part.body.len()),
            None => {
                let bytes = cut_out(answer, &prepared, request).filter(|bytes| bytes.len() < PACKED_FROM)?;
                (Body::Copied(Bytes::copy_from_slice(&bytes), EntityTag::of_answer(&bytes)), bytes.len())
            }
        };
        Some((Kept::Entry { repeat, body }, length >= PACKED_FROM))
    }

    /// The candles that answered `question`, and whether they are long enough to be packed.
    pub(super) fn of_candles(app: &App, question: &Question, slice: &Slice) -> Option<(Kept, bool)> {
        let repeat = app.engine.candles.repeat(question, slice)?;
        let is_packable = List::of(&slice.runs).remaining() >= PACKED_FROM;
        let packed = |coding| if is_packable { app.packed_lists.kept(&slice.runs, coding) } else { None };
        let packed = [None, packed(Coding::Gzip), packed(Coding::Zstd)];
        Some((Kept::Candles { repeat, packed }, is_packable))
    }

    /// Whether both are the same answer.
    pub(super) fn is_same(&self, other: &Kept) -> bool {
        match (self, other) {
            (Kept::Entry { repeat, .. }, Kept::Entry { repeat: other, .. }) => repeat.is_same(other),
            (Kept::Candles { repeat, .. }, Kept::Candles { repeat: other, .. }) => repeat.is_same(other),
            _ => false,
        }
    }

    /// The answer once more, counted as one of its region's, if memory still gives it and its head is known. `condition` are
    /// the headers of a request that has one.
    pub(super) fn give<'a>(
        &self,
        app: &App,
        plan: &Plan,
        coding: Coding,
        condition: Option<&HeaderMap>,
        heads: &'a Heads,
    ) -> Option<Given<'a>> {
        // Lists of candles have no tag that a condition could name.
        let of_candles = Form { coding, is_known: false };
        let (form, label, body) = match (self, plan) {
            (Kept::Entry { repeat, body }, Plan::Cached(line)) => {
                let region = Keeper::region(app, line.load());
                let stopwatch = region.composite().stopwatch();
                let answer = repeat.answer()?;
                let (is_known, body) = body.of(&answer, coding, condition)?;
                let form = Form { coding, is_known };
                heads.get(form)?;
                region.composite().count_timed(answer.outcome(), stopwatch);
                (form, Label::from(&answer), Payload::Whole(body))
            }
            (Kept::Candles { repeat, packed }, Plan::Candles(question)) if coding != Coding::Identity => {
                heads.get(of_candles)?;
                let body = app.packed_lists.get(packed[coding.place()].as_ref()?)?;
                let slice = app.engine.candles.again(question, repeat, |_, _| {})?;
                (of_candles, Label::from(&slice), Payload::Whole(body))
            }
            (Kept::Candles { repeat, .. }, Plan::Candles(question)) => {
                heads.get(of_candles)?;
                let mut list = List::with_room(repeat.runs());
                let slice = app.engine.candles.again(question, repeat, |place, run| list.set(place, run))?;
                (of_candles, Label::from(&slice), Payload::Rows(list))
            }
            _ => return None,
        };
        let status = if form.is_known { StatusCode::NOT_MODIFIED } else { StatusCode::OK };
        Some(Given { label, status, head: heads.get(form)?, body })
    }
}

impl Body {
    /// Whether the client has it, and what it gets.
    fn of(&self, answer: &Answer, coding: Coding, condition: Option<&HeaderMap>) -> Option<(bool, Bytes)> {
        let is_known = |etag: Option<&EntityTag>| {
            let names = |(asked, etag): (_, &EntityTag)| etag.is_named(asked, &IF_NONE_MATCH, Comparison::Weak);
            condition.zip(etag).is_some_and(names)
        };
        let prepared = |prepared: &Prepared, body: &Bytes| match is_known(prepared.etag.as_ref()) {
            true => Some((true, Bytes::new())),
            false if coding == Coding::Identity => Some((false, body.clone())),
            false => Some((false, prepared.packed(coding)?)),
        };
        match self {
            Body::Whole if condition.is_none() && coding == Coding::Identity => Some((false, answer.body().clone())),
            Body::Whole => prepared(&Prepared::of(answer), answer.body()),
            Body::Part(part) => {
                let part = part.upgrade()?;
                prepared(&part.prepared, &part.body)
            }
            Body::Copied(_, etag) if is_known(Some(etag)) => Some((true, Bytes::new())),
            Body::Copied(bytes, _) => Some((false, bytes.clone())),
        }
    }
}
