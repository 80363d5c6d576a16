//! What few entries have.

use std::any::Any;
use std::sync::{Arc, OnceLock};

use super::size::allocated;
use crate::clock::Timestamp;

/// The parts of an entry that not every entry has.
#[derive(Default)]
pub(super) struct Rare {
    pub(super) meta: Option<Arc<str>>,
    pub(super) tags: Option<Box<Tags>>,
    /// Where that is not when it was written.
    pub(super) stored_at: Option<Timestamp>,
    pub(super) memoised: OnceLock<Arc<dyn Any + Send + Sync>>,
}

/// In a box of its own, which takes half of what the boxed list would take of entries without tags.
pub(super) struct Tags(pub(super) Box<[String]>);

impl Tags {
    /// What its allocations take.
    pub(super) fn weight(&self) -> u64 {
        let texts: u64 = self.0.iter().map(|tag| allocated(tag.len())).sum();
        allocated(size_of::<Tags>()) + allocated(size_of_val(&*self.0)) + texts
    }
}
