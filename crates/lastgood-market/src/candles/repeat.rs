//! Answers that memory gave, to be given again while nothing that they were put together of has changed.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lastgood::{Answer, Basis, Freshness, Outcome, Tier};

use super::block::{Block, Tail};
use super::keep::{TAIL, VOIDS, kept_block};
use super::resolve::{Known, Resolution, resolve};
use super::series::{Question, Series};
use super::spans::Belief;
use super::{Candles, Slice};

/// What an answer was put together of, and where in it the rows lie.
#[derive(Debug)]
pub struct Repeat {
    basis: Basis,
    /// Where the rows lie, by the number of the part.
    runs: Vec<Run>,
    /// The number of the part that is the end of the series, where the answer reaches it.
    tail: Option<usize>,
    /// The numbers of the parts that the answer is as old as.
    blocks: Vec<usize>,
    /// Until when all is believed that is believed now, by our own clock, in ms.
    until: u64,
    clock_skew: i64,
}

#[derive(Debug, PartialEq, Eq)]
struct Run {
    part: usize,
    /// Its place among the runs of the answer.
    place: usize,
    /// Where it lies in the part's body.
    bytes: Range<usize>,
}

impl Candles {
    /// What `slice`, a fresh answer to this question, was put together of. `None` where memory would answer with anything
    /// else.
    pub fn repeat(&self, question: &Question, slice: &Slice) -> Option<Repeat> {
        let (series, now, clock_skew) = (&question.series, self.said_at(), self.exchange.clock_skew());
        let noted = Noted { series, belief: Belief::At(now), notes: RefCell::new(self.notes()) };
        let known = noted.look(&series.key(TAIL));
        let end = known.as_ref().and_then(|(_, tail)| Tail::of(tail));
        let Resolution::Whole { runs, ends_in_tail } = resolve(question, &noted, end.as_deref(), self.now()) else {
            return None;
        };
        let tail = known.filter(|_| ends_in_tail);
        let is_same_tail = match (&tail, &slice.tail) {
            (Some((_, one)), Some(other)) => one.is_same_entry(other) && one.freshness() == Freshness::Fresh,
            (one, other) => one.is_none() && other.is_none(),
        };
        let is_same = is_same_tail && runs.iter().map(place).eq(slice.runs.iter().map(place));
        let Notes { basis, found, blocks, until } = noted.notes.into_inner();
        let lies_in = |(at, run): (usize, &Bytes)| {
            let (part, body) = found.iter().find(|(_, body)| body.as_ptr_range().contains(&run.as_ptr()))?;
            let begin = run.as_ptr() as usize - body.as_ptr() as usize;
            (begin + run.len() <= body.len()).then(|| Run { part: *part, place: at, bytes: begin..begin + run.len() })
        };
        let mut runs: Vec<Run> = runs.iter().enumerate().map(lies_in).collect::<Option<_>>()?;
        runs.sort_unstable_by_key(|run| run.part);
        let tail = tail.map(|(part, _)| part);
        is_same.then_some(Repeat { basis, runs, tail, blocks, until, clock_skew })
    }

    /// The answer to a question once more, as [`Candles::answer`] would give and count it now; its rows are given to `run`
    /// instead, each with its place among them. `None` where that has to look: nothing is counted then.
    pub fn again(&self, question: &Question, repeat: &Repeat, mut run: impl FnMut(usize, Bytes)) -> Option<Slice> {
        let stopwatch = self.region.composite().stopwatch();
        let (mut runs, mut tail, mut age) = (repeat.runs.iter().peekable(), None, Duration::ZERO);
        let given_at = repeat.basis.again(|number, answer| {
            while let Some(of) = runs.next_if(|run| run.part == number) {
                run(of.place, answer.body().slice(of.bytes.clone()));
            }
            if repeat.tail == Some(number) {
                tail = Some(answer);
            } else if repeat.blocks.contains(&number) {
                age = age.max(answer.age());
            }
        })?;
        if given_at.as_millis() >= repeat.until || self.exchange.clock_skew() != repeat.clock_skew {
            return None;
        }
        if tail.as_ref().is_some_and(|tail| self.is_passed(&question.series, tail)) {
            return None;
        }
        self.in_use.note(&question.series, given_at);
        let outcome = Outcome::Hit(Tier::Memory);
        self.region.composite().count_timed(outcome, stopwatch);
        Some(Slice { runs: Vec::new(), outcome, given_at, age, tail, unverified: self.region.is_unverified() })
    }

    fn notes(&self) -> Notes {
        let basis = self.region.composite().basis();
        Notes { basis, found: Vec::new(), blocks: Vec::new(), until: u64::MAX }
    }
}

impl Repeat {
    /// Whether both were put together of the same, believed for the same time.
    pub fn is_same(&self, other: &Repeat) -> bool {
        let of = |repeat: &Repeat| (repeat.tail, repeat.until, repeat.clock_skew);
        of(self) == of(other) && self.runs == other.runs && self.basis.is_same(&other.basis)
    }

    /// In how many runs its rows lie.
    pub fn runs(&self) -> usize {
        self.runs.len()
    }
}

/// What memory knows of a series, and what of it was looked at.
struct Noted<'a> {
    series: &'a Series,
    belief: Belief,
    notes: RefCell<Notes>,
}

struct Notes {
    basis: Basis,
    /// The bodies of what was found.
    found: Vec<(usize, Bytes)>,
    blocks: Vec<usize>,
    until: u64,
}

impl Noted<'_> {
    fn look(&self, key: &str) -> Option<(usize, Answer)> {
        let mut notes = self.notes.borrow_mut();
        let (number, answer) = notes.basis.peek(key);
        let answer = answer?;
        notes.found.push((number, answer.body().clone()));
        Some((number, answer))
    }

    fn believe(&self, block: &Block) {
        let until = block.known.believed_until(self.belief);
        let mut notes = self.notes.borrow_mut();
        notes.until = notes.until.min(until);
    }
}

impl Known for Noted<'_> {
    fn block(&self, index: u64) -> Option<Arc<Block>> {
        let (number, answer) = self.look(&self.series.block_key(index))?;
        self.notes.borrow_mut().blocks.push(number);
        let block = kept_block(&answer)?;
        self.believe(&block);
        Some(block)
    }

    fn voids(&self) -> Option<Arc<Block>> {
        let (_, answer) = self.look(&self.series.key(VOIDS))?;
        let voids = kept_block(&answer)?;
        self.believe(&voids);
        Some(voids)
    }

    fn belief(&self) -> Belief {
        self.belief
    }
}

/// Where a run lies. While it is held, nothing else lies there.
fn place(run: &Bytes) -> (usize, usize) {
    (run.as_ptr() as usize, run.len())
}
