//! Where the market's answers are kept, and how they are loaded.

use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use lastgood::{Answer, Error, Loaded, Region};

use super::{Shared, unreadable};
use crate::engine::Face;
use crate::line::{Doubts, Keeper, Loader};
use crate::projection::Index;
use crate::{Priority, UpstreamRequest};

/// The answers of the exchange, each of which must be readable as `T` to be kept.
pub(super) struct Shelf<'a, T> {
    pub(super) market: &'a Arc<Shared>,
    pub(super) parse: fn(&[u8]) -> Option<T>,
}

impl<T: Send + Sync + 'static> Keeper for Shelf<'_, T> {
    fn region(&self, request: &UpstreamRequest) -> &Region {
        self.market.engine.region(request.region())
    }

    fn with_index<R>(&self, answer: &Answer, with: impl FnOnce(Option<&Index>) -> R) -> R {
        let index = answer.memoised(|value| Arc::new(Index::of(&value.body)));
        with(Option::as_ref(&index))
    }

    fn loader(&self) -> Arc<dyn Loader> {
        Arc::new(Parsing { market: Arc::clone(self.market), parse: self.parse })
    }
}

impl<T: Send + Sync + 'static> Face for Shelf<'_, T> {
    async fn wait<F>(&self, work: Pin<&mut F>) -> Result<F::Output, Error>
    where
        F: Future + Send,
        F::Output: Send,
    {
        Ok(work.await)
    }
}

/// Loads what can be read, and notes what fails.
struct Parsing<T> {
    market: Arc<Shared>,
    parse: fn(&[u8]) -> Option<T>,
}

#[async_trait]
impl<T: Send + Sync + 'static> Loader for Parsing<T> {
    async fn load_request(&self, request: &UpstreamRequest, priority: Priority) -> Result<Loaded, Error> {
        let loaded = self.market.engine.loader.load(request, priority).await;
        let sound = loaded.and_then(|loaded| match (self.parse)(&loaded.value.body) {
            Some(_) => Ok(loaded),
            None => Err(unreadable("the exchange's answer")),
        });
        self.market.engine.troubles.note(request.region(), sound)
    }

    fn doubts(&self) -> &Doubts {
        self.market.engine.loader.doubts()
    }
}
