//! A counter for what every hit counts.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use super::add;

/// A counter in several places, one a thread: threads that add to one place would wait for each other's cache
/// line. The first are a thread's own, which adds without the lock of the bus.
#[derive(Default)]
pub(super) struct Striped {
    own: [Stripe; STRIPES],
    shared: [Stripe; STRIPES],
}

#[derive(Default)]
#[repr(align(128))]
struct Stripe(AtomicU64);

const STRIPES: usize = 8;

impl Striped {
    #[inline]
    pub(super) fn add(&self) {
        match Place::of_this_thread() {
            Place::Own(place) => {
                // No other thread writes here while this one lives.
                let own = &self.own[usize::from(place) % STRIPES].0;
                own.store(own.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
            }
            Place::Shared(place) => add(&self.shared[usize::from(place) % STRIPES].0),
        }
    }

    pub(super) fn read(&self) -> u64 {
        self.own.iter().chain(&self.shared).map(|stripe| stripe.0.load(Ordering::Relaxed)).sum()
    }
}

/// Where a thread counts.
#[derive(Clone, Copy)]
enum Place {
    Own(u8),
    Shared(u8),
}

/// Which places are some thread's own, a bit each.
static TAKEN: AtomicU8 = AtomicU8::new(0);

/// A thread's place, given back when the thread ends.
struct Held(Place);

impl Place {
    #[inline]
    fn of_this_thread() -> Place {
        thread_local!(static PLACE: Held = Held(Place::take()));
        // A thread that ends has given its place back.
        PLACE.try_with(|held| held.0).unwrap_or(Place::Shared(0))
    }

    #[cold]
    fn take() -> Place {
        static OTHERS: AtomicU8 = AtomicU8::new(0);
        // What the thread before has counted in the place is seen by the next one.
        let taken =
            TAKEN.fetch_update(Ordering::Acquire, Ordering::Relaxed, |taken| Some(taken | taken.wrapping_add(1)));
        let free = taken.unwrap_or_else(|taken| taken).trailing_ones();
        match u8::try_from(free) {
            Ok(free) if usize::from(free) < STRIPES => Place::Own(free),
            _ => Place::Shared(OTHERS.fetch_add(1, Ordering::Relaxed)),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Place::Own(place) = self.0 {
            TAKEN.fetch_and(!(1 << place), Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use super::*;

    #[test]
    fn every_thread_is_counted_whether_or_not_it_has_a_place_of_its_own_and_places_are_used_again() {
        const THREADS: usize = 3 * STRIPES;
        let (counter, all_there) = (Striped::default(), Barrier::new(THREADS));
        for round in 1..=3 {
            let count = || {
                counter.add();
                let own = usize::from(matches!(Place::of_this_thread(), Place::Own(_)));
                all_there.wait();
                (0..999).for_each(|_| counter.add());
                own
            };
            let own: usize = thread::scope(|scope| {
                let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(count)).collect();
                threads.into_iter().map(|thread| thread.join().expect("it counts")).sum()
            });
            assert_eq!(counter.read(), 1_000 * (round * THREADS) as u64);
            assert_eq!(own, STRIPES, "each place is one thread's at a time");
        }
    }
}
