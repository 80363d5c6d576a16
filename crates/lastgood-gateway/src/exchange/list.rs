//! A list of candles, put together of runs of rows that are sent from where they lie.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame, SizeHint};

/// A JSON array of runs of rows, each sent from where it lies.
pub(super) struct List {
    pieces: VecDeque<Bytes>,
    length: usize,
}

impl List {
    pub(super) fn of(runs: &[Bytes]) -> List {
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

    pub(super) fn length(&self) -> usize {
        self.length
    }

    pub(super) fn collect(self) -> Bytes {
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

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

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
}
