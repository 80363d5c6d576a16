//! A list of candles, put together of runs of rows that are sent from where they lie.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};

/// A JSON array of runs of rows, each sent from where it lies.
#[derive(Default)]
pub(crate) struct List {
    /// None is empty.
    pieces: VecDeque<Bytes>,
    length: usize,
}

impl List {
    pub(crate) fn of(runs: &[Bytes]) -> List {
        let mut pieces = VecDeque::with_capacity(2 * runs.len() + 1);
        pieces.push_back(Bytes::from_static(b"["));
        for (index, run) in runs.iter().filter(|run| !run.is_empty()).enumerate() {
            if index > 0 {
                pieces.push_back(Bytes::from_static(b","));
            }
            pieces.push_back(run.clone());
        }
        pieces.push_back(Bytes::from_static(b"]"));
        let length = pieces.iter().map(Bytes::len).sum();
        List { pieces, length }
    }

    pub(crate) fn collect(self) -> Bytes {
        let mut whole = BytesMut::with_capacity(self.length);
        self.pieces.iter().for_each(|piece| whole.extend_from_slice(piece));
        whole.freeze()
    }
}

impl Buf for List {
    fn remaining(&self) -> usize {
        self.length
    }

    fn chunk(&self) -> &[u8] {
        self.pieces.front().map_or(&[], |piece| piece)
    }

    fn advance(&mut self, count: usize) {
        self.length -= count;
        let mut left = count;
        while let Some(piece) = self.pieces.front_mut() {
            if left < piece.len() {
                return piece.advance(left);
            }
            left -= piece.len();
            self.pieces.pop_front();
        }
    }

    fn chunks_vectored<'a>(&'a self, into: &mut [IoSlice<'a>]) -> usize {
        let filled = into.iter_mut().zip(&self.pieces).map(|(slice, piece)| *slice = IoSlice::new(piece));
        filled.count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_its_runs_between_brackets() {
        for (runs, list) in [(vec![], "[]"), (vec!["[1]"], "[[1]]"), (vec!["[1],[2]", "[3]"], "[[1],[2],[3]]")] {
            let runs: Vec<Bytes> = runs.into_iter().map(Bytes::from).collect();
            assert_eq!(List::of(&runs).collect(), list);
            assert_eq!(List::of(&runs).remaining(), list.len());
        }
    }

    #[test]
    fn a_list_is_sent_whole_wherever_a_write_ends() {
        let runs = [Bytes::from_static(b"[1],[2]"), Bytes::from_static(b"[3]")];
        let whole = List::of(&runs).collect();
        for step in 1..=whole.len() {
            let (mut list, mut sent) = (List::of(&runs), Vec::new());
            while list.has_remaining() {
                let mut slices = [IoSlice::new(&[]); 16];
                let filled = list.chunks_vectored(&mut slices);
                let together: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.iter().copied()).collect();
                assert_eq!(together[..], whole[sent.len()..]);
                assert!(together.starts_with(list.chunk()));
                let taken = step.min(list.remaining());
                sent.extend_from_slice(&together[..taken]);
                list.advance(taken);
            }
            assert_eq!(sent, whole);
        }
    }
}
