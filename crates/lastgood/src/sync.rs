//! The mutex of the flight table and of the queue of writes. In the unit tests shuttle decides at each of its locks which
//! thread goes on; anywhere else it is the standard library's.

#[cfg(not(test))]
pub(crate) use std::sync::{Mutex, MutexGuard};

#[cfg(test)]
pub(crate) use self::scheduled::{Mutex, MutexGuard};
#[cfg(test)]
pub(crate) use self::scheduled::{on_schedules, point};

/// A point at which another thread may go on, in tests.
#[cfg(not(test))]
#[inline]
pub(crate) fn point() {}

#[cfg(test)]
mod scheduled {
    use std::cell::Cell;
    use std::sync::{LockResult, TryLockError};

    pub(crate) use std::sync::MutexGuard;

    const STACK_BYTES: usize = 1 << 19;

    thread_local! {
        static IS_SCHEDULED: Cell<bool> = const { Cell::new(false) };
    }

    /// Runs `subject` on this many random schedules of its threads. One that fails is printed, with how to run it
    /// again.
    pub(crate) fn on_schedules(count: usize, subject: impl Fn() + Send + Sync + 'static) {
        // What tokio's timers need; they never fire.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = runtime.expect("a runtime can be built");
        let _entered = runtime.enter();
        IS_SCHEDULED.set(true);
        // Futures of a debug build are large, and shuttle's threads have little stack: too little ends the process.
        let mut config = shuttle::Config::new();
        config.stack_size = STACK_BYTES;
        shuttle::Runner::new(shuttle::scheduler::RandomScheduler::new(count), config).run(subject);
        IS_SCHEDULED.set(false);
    }

    pub(crate) fn point() {
        if IS_SCHEDULED.get() {
            shuttle::thread::yield_now();
        }
    }

    /// The standard library's, at whose lock another thread may go on. All threads of a schedule are one of the system's, so
    /// that none may wait for it.
    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(std::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Mutex(std::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
            point();
            while IS_SCHEDULED.get() {
                match self.0.try_lock() {
                    Ok(guard) => return Ok(guard),
                    Err(TryLockError::Poisoned(poisoned)) => return Err(poisoned),
                    Err(TryLockError::WouldBlock) => point(),
                }
            }
            self.0.lock()
        }
    }
}
