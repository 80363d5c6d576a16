//! Places for requests that wait: for a load, the exchange, the store, or their own body. Requests that are answered at
//! once, as hits and `/health` are, need none.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use lastgood::{Answer, Error, Outcome, Reason, Region};

/// How many requests may wait at once, and how many of them for an answer that the exchange streams to them.
pub(crate) struct Places {
    waiting: Arc<Counted>,
    passing: Arc<Counted>,
}

struct Counted {
    taken: AtomicUsize,
    most: usize,
}

/// A place, given back when it is dropped.
pub(crate) struct Place(Arc<Counted>);

impl Counted {
    fn of(most: usize) -> Arc<Counted> {
        Arc::new(Counted { taken: AtomicUsize::new(0), most })
    }

    fn take(self: &Arc<Self>) -> Option<Place> {
        let taken = self.taken.fetch_add(1, Ordering::Relaxed);
        let place = Place(Arc::clone(self));
        (taken < self.most).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Places {
    /// Places for `waiting` requests; `passing` of them may be passed on to the exchange at the same time.
    pub(crate) fn new(waiting: usize, passing: usize) -> Places {
        Places { waiting: Counted::of(waiting), passing: Counted::of(passing) }
    }

    /// How many requests wait now.
    pub(crate) fn taken(&self) -> usize {
        self.waiting.taken.load(Ordering::Relaxed)
    }

    /// The places of a request that is passed on, until its answer has ended.
    pub(crate) fn pass(&self) -> Result<(Place, Place), Full> {
        self.waiting.take().zip(self.passing.take()).ok_or_else(|| self.full())
    }

    /// Runs `work`. If it does not end at once, it needs a place while it waits; without one the caller must drop it.
    pub(crate) async fn wait<F: Future>(&self, mut work: Pin<&mut F>) -> Result<F::Output, Full> {
        let mut place = None;
        let ended = poll_fn(|context| match work.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if place.is_some() => Poll::Pending,
            Poll::Pending => {
                place = self.waiting.take();
                if place.is_some() { Poll::Pending } else { Poll::Ready(None) }
            }
        });
        ended.await.ok_or_else(|| self.full())
    }

    /// As [`Places::wait`], for a read of `region`: without a place the last good answer under `name` stands in.
    pub(crate) async fn answer(
        &self,
        region: &Region,
        name: &str,
        read: impl Future<Output = Result<Answer, Error>>,
    ) -> Result<Answer, Error> {
        let full = match self.wait(pin!(read)).await {
            Ok(answer) => return answer,
            Err(full) => Error::from(full),
        };
        match region.peek(name).filter(|_| region.is_enabled()) {
            Some(kept) => {
                let outcome = Outcome::LastGood(full.reason);
                region.composite().count(outcome);
                Ok(kept.given_as(outcome))
            }
            None => {
                region.composite().count_failed(&full);
                Err(full)
            }
        }
    }

    fn full(&self) -> Full {
        Full { most: self.waiting.most }
    }
}

/// No place is left for a request that would have to wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Full {
    most: usize,
}

impl Full {
    /// The word for clients.
    pub(crate) fn detail(self) -> String {
        format!("Too many requests are waiting already; limits.max_concurrent_requests allows {}.", self.most)
    }
}

impl From<Full> for Error {
    fn from(full: Full) -> Error {
        Error::new(Reason::Overloaded, format!("{} requests are waiting already", full.most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_what_waits_needs_a_place() {
        let places = Places::new(1, 1);
        assert_eq!(places.wait(pin!(async { 1 })).await.unwrap(), 1);
        let (send, receive) = tokio::sync::oneshot::channel::<()>();
        let mut receive = pin!(receive);
        let mut waiting = pin!(places.wait(receive.as_mut()));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        assert_eq!(places.taken(), 1);
        assert_eq!(places.wait(pin!(async { 2 })).await.unwrap(), 2, "at once");
        assert!(places.wait(pin!(std::future::pending::<()>())).await.is_err(), "no place is left");
        assert!(places.pass().is_err());
        send.send(()).unwrap();
        assert!(waiting.await.unwrap().is_ok());
        assert_eq!(places.taken(), 0);
        let _passing = places.pass().unwrap();
        assert_eq!(places.taken(), 1);
    }
}
