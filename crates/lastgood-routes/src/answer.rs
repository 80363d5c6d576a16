//! An answer of a route, and the values worked out of it once.

use std::any::Any;
use std::sync::{Arc, OnceLock};

use lastgood::Answer;

use crate::meta::Meta;

/// What a route answers.
pub struct RouteAnswer {
    answer: Answer,
    form: Arc<Form>,
}

/// Values worked out of an answer once; they live as long as the answer.
struct Form {
    meta: Meta,
    memoised: OnceLock<Box<dyn Any + Send + Sync>>,
}

impl RouteAnswer {
    pub(crate) fn of(answer: Answer) -> RouteAnswer {
        let form = answer.memoised(|value| {
            let meta = value.meta.as_deref().map(Meta::parse).unwrap_or_default();
            Arc::new(Form { meta, memoised: OnceLock::new() })
        });
        RouteAnswer { answer, form }
    }

    /// The bytes, their age, and where they come from.
    pub fn answer(&self) -> &Answer {
        &self.answer
    }

    /// As the source says, for example `application/json`; empty where it is not known.
    pub fn content_type(&self) -> &str {
        &self.form.meta.content_type
    }

    /// What `make` makes of the answer, worked out once for all who read it from memory. Only the first type asked for is
    /// kept.
    pub fn memoised<T: Clone + Send + Sync + 'static>(&self, make: impl Fn(&RouteAnswer) -> T) -> T {
        let kept = self.form.memoised.get_or_init(|| Box::new(make(self)));
        kept.downcast_ref::<T>().cloned().unwrap_or_else(|| make(self))
    }

    pub(crate) fn meta(&self) -> &Meta {
        &self.form.meta
    }
}
