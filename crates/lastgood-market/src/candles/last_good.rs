//! The candles kept for a question, believed or not, for when the exchange does not answer.

use lastgood::{Answer, Error, Outcome, Reason};

use super::block::Tail;
use super::keep::{Draft, TAIL};
use super::resolve::{Resolution, resolve};
use super::series::Question;
use super::spans::Belief;
use super::{Candles, Slice};
use crate::budget::Priority;

impl Candles {
    /// Whether the exchange gave nothing to the question as it was asked: that is for it to say again.
    pub(super) fn is_known_to_be_empty(&self, question: &Question) -> bool {
        let direct = self.region.peek(&question.direct.key);
        question.start.is_some() && direct.is_some_and(|direct| &direct.body()[..] == b"[]")
    }

    /// What any tier keeps for a question, believed or not, for when the exchange does not answer it.
    ///
    /// # Errors
    ///
    /// `error` where not all that is asked for is kept. [`Reason::Abandoned`] if the answer to [`Question::direct`] is to be given
    /// instead: it is later than the kept candles, or the exchange contradicts itself.
    pub async fn last_good(&self, question: &Question, error: Error) -> Result<Slice, Error> {
        let series = &question.series;
        let key = series.key(TAIL);
        let kept = match self.region.peek(&key) {
            Some(held) => Some(held),
            None => self.region.stored(&[key]).await.into_iter().flatten().flatten().next(),
        };
        let end = kept.as_ref().and_then(Tail::of);
        let mut draft = Draft::new(self, series, Priority::Refresh).believing(Belief::All);
        loop {
            match resolve(question, &draft, end.as_deref(), self.now()) {
                Resolution::Whole { runs, ends_in_tail } => {
                    let outcome = Outcome::LastGood(error.reason);
                    let (tail, age) = (kept.filter(|_| ends_in_tail), draft.age());
                    // It was passed on as it was asked, and readers are not taken back behind that answer.
                    if self.has_own_since(question, tail.as_ref()) {
                        return Err(error.with_reason(Reason::Abandoned));
                    }
                    let (given_at, unverified) = (self.clock.now(), self.region.is_unverified());
                    return Ok(Slice { runs, outcome, given_at, age, tail, unverified });
                }
                Resolution::Missing(hole) if draft.recall_around(&hole).await => {}
                // The exchange contradicts itself, and nothing is kept: what it says to the question as asked is its own.
                _ if error.reason == Reason::Malformed => return Err(error.with_reason(Reason::Abandoned)),
                _ => return Err(error),
            }
        }
    }

    /// Whether memory holds the exchange's answer to the question as it was asked, and it was asked for after this end of the
    /// series.
    fn has_own_since(&self, question: &Question, end: Option<&Answer>) -> bool {
        let own = self.region.peek(&question.direct.key);
        own.zip(end).is_some_and(|(own, end)| own.age() < end.age())
    }

    /// Whether all that a question asks for is kept, believed or not.
    pub(super) fn has_kept(&self, question: &Question) -> bool {
        let end = self.region.peek(&question.series.key(TAIL)).as_ref().and_then(Tail::of);
        let view = self.view(&question.series, Belief::All);
        matches!(resolve(question, &view, end.as_deref(), self.now()), Resolution::Whole { .. })
    }
}
