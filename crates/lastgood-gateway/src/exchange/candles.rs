//! Candles: an answer is put together of the rows that are known, without copying them.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::hash::{BuildHasher, RandomState};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http_body::{Body as HttpBody, Frame, SizeHint};
use lastgood::Reason;
use lastgood_market::Venue;
use lastgood_market::candles::{Question, Slice};
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::answer::{Accepts, JSON, label, respond_packed};
use super::failure::fail;
use super::prepared::{GZIP_FROM, pack};
use crate::app::App;
use crate::response::{headed, plain};

/// Answers a question about candles.
pub(super) async fn candles(app: &App, venue: Venue, question: &Arc<Question>, accepts: Accepts) -> Response {
    app.upstreams.heat.count(question.series.name());
    match app.candles.answer(question).await {
        Ok(slice) => respond(app, venue, slice, accepts).await,
        // What cannot be put together, the exchange is asked as it was asked.
        Err(error) if error.reason == Reason::Abandoned => {
            super::cached(app, venue, &question.direct, None, accepts).await
        }
        Err(error) => fail(app, venue, &error),
    }
}

async fn respond(app: &App, venue: Venue, slice: Slice, accepts: Accepts) -> Response {
    let list = List::of(&slice.runs);
    let mut response = match list.length {
        length if accepts.gzip && length >= GZIP_FROM => respond_packed(app.packed.pack(slice.runs.clone()).await),
        length if length < COPIED => plain(StatusCode::OK, JSON, list.collect()),
        _ => headed(StatusCode::OK, JSON, Body::new(list)),
    };
    label(&mut response, app, venue, &(&slice).into());
    response
}

/// Shorter lists are sent in one piece.
const COPIED: usize = 4 << 10;

/// A JSON array of runs of rows, each sent from where it lies.
struct List {
    pieces: VecDeque<Bytes>,
    length: usize,
}

impl List {
    fn of(runs: &[Bytes]) -> List {
        let mut pieces = VecDeque::with_capacity(2 * runs.len() + 1);
        pieces.push_back(Bytes::from_static(b"["));
        for (index, run) in runs.iter().enumerate() {
            if index > 0 {
                pieces.push_back(Bytes::from_static(b","));
            }
            pieces.push_back(run.clone());
        }
        pieces.push_back(Bytes::from_static(b"]"));
        let length = pieces.iter().map(Bytes::len).sum();
        List { pieces, length }
    }

    fn collect(self) -> Bytes {
        let mut whole = BytesMut::with_capacity(self.length);
        self.pieces.iter().for_each(|piece| whole.extend_from_slice(piece));
        whole.freeze()
    }
}

impl HttpBody for List {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = self.pieces.pop_front();
        self.length -= piece.as_ref().map_or(0, Bytes::len);
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length as u64)
    }
}

/// Lists that were packed before: those who ask for the newest candles of a pair ask for the same.
pub(crate) struct Packed {
    lists: Cache<u64, Arc<PackedList>, BySize>,
    places: RandomState,
}

/// A packed list, and the runs it is of, so that their places in memory stay theirs.
struct PackedList {
    runs: Vec<Bytes>,
    gzip: Bytes,
}

#[derive(Clone)]
struct BySize;

impl Weighter<u64, Arc<PackedList>> for BySize {
    fn weight(&self, _: &u64, list: &Arc<PackedList>) -> u64 {
        (list.gzip.len() + list.runs.iter().map(Bytes::len).sum::<usize>() + 128) as u64
    }
}

/// Lists kept packed, with what they are of: the newest of some hundred series.
const PACKED_BYTES: u64 = 64 << 20;

impl Default for Packed {
    fn default() -> Self {
        Packed { lists: Cache::with_weighter(1_024, PACKED_BYTES, BySize), places: RandomState::new() }
    }
}

impl Packed {
    async fn pack(&self, runs: Vec<Bytes>) -> Bytes {
        let key = self.places.hash_one(runs.iter().map(place).collect::<Vec<_>>());
        if let Some(known) =
            self.lists.get(&key).filter(|known| known.runs.iter().map(place).eq(runs.iter().map(place)))
        {
            return known.gzip.clone();
        }
        let list = List::of(&runs);
        let gzip = tokio::task::spawn_blocking(move || pack(&list.collect())).await.unwrap_or_default();
        self.lists.insert(key, Arc::new(PackedList { runs, gzip: gzip.clone() }));
        gzip
    }
}

/// Where a run lies. While it is held, nothing else lies there.
fn place(run: &Bytes) -> (usize, usize) {
    (run.as_ptr() as usize, run.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_list_is_its_runs_between_brackets() {
        for (runs, list) in [(vec![], "[]"), (vec!["[1]"], "[[1]]"), (vec!["[1],[2]", "[3]"], "[[1],[2],[3]]")] {
            let runs: Vec<Bytes> = runs.into_iter().map(Bytes::from).collect();
            assert_eq!(List::of(&runs).collect(), list);
            assert_eq!(List::of(&runs).length, list.len());
            assert_eq!(List::of(&runs).collect().len(), list.len());
            let body = HttpBody::size_hint(&List::of(&runs)).exact();
            assert_eq!(body, Some(list.len() as u64));
            assert_eq!(axum::body::to_bytes(Body::new(List::of(&runs)), 1 << 10).await.unwrap(), list);
        }
    }

    #[tokio::test]
    async fn the_same_rows_are_packed_once_and_others_apart() {
        let packed = Packed::default();
        let runs = vec![Bytes::from(vec![b'1'; 5_000])];
        let first = packed.pack(runs.clone()).await;
        assert_eq!(packed.pack(runs.clone()).await.as_ptr(), first.as_ptr());
        let others = vec![Bytes::from(vec![b'2'; 5_000])];
        assert_ne!(packed.pack(others).await, first);
    }
}
