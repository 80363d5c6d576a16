//! Asking the engine: the one way to the exchange's kept answers and, where none is fresh, to the exchange.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;

use lastgood::{Error, Reason};

use super::Engine;
use crate::RegionName;
use crate::candles::{Question, Slice};
use crate::line::{self, Keeper, Line};

/// A question that the cache answers.
#[derive(Clone, Copy, Debug)]
pub enum Asked<'a> {
    /// One that an entry answers.
    Entry(&'a Line),
    /// One about candles.
    Candles(&'a Arc<Question>),
}

/// An answer of the engine's.
#[derive(Clone, Debug)]
pub enum Answered<'a> {
    /// An entry: the part that was asked for must still be cut out of it.
    Entry(line::Answered<'a>),
    /// Candles, put together from the known ones.
    Candles(Slice),
}

/// Who asks the engine: where its answers are kept, and how many of its questions may wait.
pub trait Face: Keeper {
    /// Waits for `work` if it does not end at once.
    ///
    /// # Errors
    ///
    /// When no more may wait; then the last good answer stands in.
    fn wait<F>(&self, work: Pin<&mut F>) -> impl Future<Output = Result<F::Output, Error>> + Send
    where
        F: Future + Send,
        F::Output: Send;
}

impl Asked<'_> {
    /// The request weight that the question costs at the exchange.
    pub fn weight(&self) -> u32 {
        match self {
            Asked::Entry(line) => line.question().weight,
            Asked::Candles(question) => question.direct.weight,
        }
    }
}

impl Engine {
    /// Answers a question: from memory while that is fresh, else by loading, else with the last good answer. The priority of
    /// a load follows from the kept answer. The question counts as use, which streams and budgets go by.
    ///
    /// # Errors
    ///
    /// The exchange's refusal of the question; any other only where nothing that is kept answers it.
    pub async fn ask<'a, F: Face>(&self, asked: Asked<'a>, face: &F) -> Result<Answered<'a>, Error> {
        match asked {
            Asked::Entry(line) => {
                // A ticker that is asked for is worth a stream.
                self.streams.note(line.question());
                self.upstreams.frequency.count(&line.load().key);
                self.entry(line, face).await.map(Answered::Entry)
            }
            Asked::Candles(question) => {
                self.upstreams.frequency.count(question.series.name());
                self.slice_or_entry(question, face).await
            }
        }
    }

    async fn entry<'a, F: Face>(&self, line: &'a Line, face: &F) -> Result<line::Answered<'a>, Error> {
        let composite = face.region(line.load()).composite();
        let stopwatch = composite.stopwatch();
        let is_alone = || self.lone.as_ref().is_some_and(|lone| lone.is_alone(line));
        let answered = entry_uncounted(line, face, is_alone).await;
        match &answered {
            Ok(answered) => composite.count_timed(answered.answer.outcome(), stopwatch),
            Err(error) => composite.count_failed(error),
        }
        answered
    }

    async fn slice_or_entry<'a, F: Face>(&self, question: &'a Arc<Question>, face: &F) -> Result<Answered<'a>, Error> {
        let error = match face.wait(pin!(self.candles.answer(question))).await {
            Ok(Ok(slice)) => return Ok(Answered::Candles(slice)),
            Ok(Err(error)) if error.reason == Reason::Abandoned => {
                // Boxed, so that a hit does not carry the room for rare cases.
                return Box::pin(self.entry_of_candles(question, face)).await;
            }
            Ok(Err(error)) => return Err(error),
            Err(full) => full,
        };
        Box::pin(self.last_good_candles(question, face, error)).await
    }

    /// What cannot be put together, the exchange is asked as it was asked.
    async fn entry_of_candles<'a, F: Face>(
        &self,
        question: &'a Arc<Question>,
        face: &F,
    ) -> Result<Answered<'a>, Error> {
        let composite = self.region(RegionName::Klines).composite();
        let line = Line::only(Arc::clone(&question.direct));
        let error = match entry_uncounted(&line, face, || false).await {
            Ok(line::Answered { answer, .. }) => {
                composite.count(answer.outcome());
                return Ok(Answered::Entry(line::Answered { answer, request: &question.direct }));
            }
            Err(error) => error,
        };
        if error.reason == Reason::NotFound {
            composite.count_failed(&error);
            return Err(error);
        }
        self.last_good_candles(question, face, error.clone()).await.map_err(|_| error)
    }

    /// The candles that are kept for a question which cannot be waited for, or which the exchange does not answer; its own last
    /// answer where that is the later one.
    async fn last_good_candles<'a, F: Face>(
        &self,
        question: &'a Arc<Question>,
        face: &F,
        error: Error,
    ) -> Result<Answered<'a>, Error> {
        let composite = self.region(RegionName::Klines).composite();
        let kept = face.wait(pin!(self.candles.last_good(question, error.clone()))).await.unwrap_or_else(Err);
        let kept = match kept {
            Err(abandoned) if abandoned.reason == Reason::Abandoned => {
                let line = Line::only(Arc::clone(&question.direct));
                line.last_good(face, error).map(|line::Answered { answer, .. }| {
                    composite.count(answer.outcome());
                    Answered::Entry(line::Answered { answer, request: &question.direct })
                })
            }
            kept => kept.map(|slice| {
                composite.count(slice.outcome);
                Answered::Candles(slice)
            }),
        };
        kept.inspect_err(|error| composite.count_failed(error))
    }
}

/// The answer of an entry, for the caller to count; the last good one where it would have to wait and may not.
async fn entry_uncounted<'a, F: Face>(
    line: &'a Line,
    face: &F,
    is_alone: impl FnOnce() -> bool + Send,
) -> Result<line::Answered<'a>, Error> {
    match face.wait(pin!(line.answer_uncounted(face, is_alone))).await {
        Ok(answered) => answered,
        Err(full) => line.last_good(face, full),
    }
}
