//! Answers that memory gave, to be given again while nothing that they were chosen from has changed.

use std::sync::Arc;

use lastgood::{Answer, Basis, Freshness};

use super::{Answered, Keeper, Line};

/// What an answer was chosen from.
#[derive(Debug)]
pub struct Repeat {
    basis: Basis,
    /// The number of the part that was chosen.
    newest: usize,
}

impl Line {
    /// What `answered`, a fresh answer to this question, was chosen from. `None` where memory would answer with another, or
    /// each answer must be loaded.
    pub fn repeat<K: Keeper>(&self, keeper: &K, answered: &Answered<'_>) -> Option<Repeat> {
        let is_of_one_region = self.candidates.iter().all(|request| request.region() == self.load.region());
        if self.starts_book || !is_of_one_region {
            return None;
        }
        let mut basis = keeper.region(&self.load).composite().basis();
        let newest = self.newest_of(keeper, |request| basis.peek(&request.key).1)?;
        let is_the_one = newest.answer.is_same_entry(&answered.answer)
            && Arc::ptr_eq(newest.request, answered.request)
            && newest.answer.freshness() == Freshness::Fresh;
        let number = self.candidates.iter().position(|request| Arc::ptr_eq(request, newest.request));
        number.filter(|_| is_the_one).map(|newest| Repeat { basis, newest })
    }
}

impl Repeat {
    /// The answer, as [`Line::answer`] would give it now. `None` where that has to look. Not counted.
    pub fn answer(&self) -> Option<Answer> {
        let mut newest = None;
        self.basis.again(|number, answer| {
            if number == self.newest {
                newest = Some(answer);
            }
        })?;
        newest
    }

    /// Whether both were chosen from the same.
    pub fn is_same(&self, other: &Repeat) -> bool {
        self.newest == other.newest && self.basis.is_same(&other.basis)
    }
}
