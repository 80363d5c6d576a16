//! A list of candles, put together of runs of rows that are sent from where they lie.

use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};

/// A JSON array of runs of rows, each sent from where it lies.
#[derive(Default)]
pub(crate) struct List {
    /// None from `next` on is empty.
    pieces: Vec<Bytes>,
    next: usize,
    length: usize,
}

impl List {
    /// A list of this many runs, which [`List::set`] puts in. None of them is empty.
    pub(crate) fn with_room(runs: usize) -> List {
        let mut pieces = vec![Bytes::from_static(b","); 2 * runs + 1];
        match pieces.as_mut_slice() {
            [only] => *only = Bytes::from_static(b"[]"),
            [first, .., last] => (*first, *last) = (Bytes::from_static(b"["), Bytes::from_static(b"]")),
            [] => {}
        }
        List { pieces, next: 0, length: 2 + runs.saturating_sub(1) }
    }

    /// Puts a run in its place, once.
    pub(crate) fn set(&mut self, place: usize, run: Bytes) {
        self.length += run.len();
        self.pieces[2 * place + 1] = run;
    }

    pub(crate) fn of(runs: &[Bytes]) -> List {
        let mut list = List::with_room(runs.iter().filter(|run| !run.is_empty()).count());
        let runs = runs.iter().filter(|run| !run.is_empty());
        runs.enumerate().for_each(|(place, run)| list.set(place, run.clone()));
        list
    }

    pub(crate) fn collect(self) -> Bytes {
        let mut whole = BytesMut::with_capacity(self.length);
        self.pieces[self.next..].iter().for_each(|piece| whole.extend_from_slice(piece));
        whole.freeze()
    }
}

impl Buf for List {
    fn remaining(&self) -> usize {
        self.length
    }

    fn chunk(&self) -> &[u8] {
        self.pieces.get(self.next).map_or(&[], |piece| piece)
    }

    fn advance(&mut self, count: usize) {
        self.length -= count;
        let mut left = count;
        while let Some(piece) = self.pieces.get_mut(self.next) {
            if left < piece.len() {
                return piece.advance(left);
            }
            left -= piece.len();
            // It may be the last that keeps its rows in memory.
            *piece = Bytes::new();
            self.next += 1;
        }
    }

    fn chunks_vectored<'a>(&'a self, into: &mut [IoSlice<'a>]) -> usize {
        let left = &self.pieces[self.next..];
        let filled = into.iter_mut().zip(left).map(|(slice, piece)| *slice = IoSlice::new(piece));
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
