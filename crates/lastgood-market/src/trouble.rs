//! What went wrong last, by region.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use lastgood::{Clock, Error, Reason, Timestamp};

use crate::region::RegionName;

/// A load that failed. Readers may have been given the last good answer all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// In which region.
    pub region: RegionName,
    /// Why.
    pub reason: Reason,
    /// For a person.
    pub message: String,
    /// When.
    pub at: Timestamp,
}

/// The last failure of every region.
pub(crate) struct Troubles {
    last: Mutex<[Option<Trouble>; RegionName::ALL.len()]>,
    /// By region: whether its latest load failed.
    is_failing: [AtomicBool; RegionName::ALL.len()],
    clock: Clock,
}

impl Troubles {
    pub(crate) fn new(clock: Clock) -> Arc<Troubles> {
        Arc::new(Troubles {
            last: Mutex::new([const { None }; RegionName::ALL.len()]),
            is_failing: [const { AtomicBool::new(false) }; RegionName::ALL.len()],
            clock,
        })
    }

    /// Notes a failure, and gives back what it was given.
    pub(crate) fn note<T>(&self, region: RegionName, ended: Result<T, Error>) -> Result<T, Error> {
        match &ended {
            Ok(_) => self.is_failing[region as usize].store(false, Ordering::Relaxed),
            // It yielded to other requests, which says nothing of the source.
            Err(error) if error.reason == Reason::Yielded => {}
            Err(error) => {
                let (reason, message, at) = (error.reason, error.message.clone(), self.clock.now());
                // That there is no such symbol speaks against the question.
                self.is_failing[region as usize].fetch_or(reason != Reason::NotFound, Ordering::Relaxed);
                let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
                last[region as usize] = Some(Trouble { region, reason, message, at });
            }
        }
        ended
    }

    /// The regions whose latest load failed.
    pub(crate) fn failing(&self) -> Vec<RegionName> {
        let is_failing = |region: &RegionName| self.is_failing[*region as usize].load(Ordering::Relaxed);
        RegionName::ALL.into_iter().filter(is_failing).collect()
    }

    /// The newest first.
    pub(crate) fn last(&self) -> Vec<Trouble> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<Trouble> = last.iter().flatten().cloned().collect();
        all.sort_by_key(|trouble| std::cmp::Reverse(trouble.at));
        all
    }
}
