//! The one thread that writes to the file, and repairs what it can.

use std::sync::{Arc, PoisonError};
use std::time::Duration;
use std::{fmt, io};

use super::file::{self, Handle, READ_ONLY, Trouble};
use super::shared::{Shared, State};
use crate::store::StoreError;

/// How long writes gather before they are committed together.
const GATHER: Duration = Duration::from_millis(150);
/// Enough to commit without waiting for more.
const ENOUGH: u64 = 16 << 20;
/// How often an idle store looks for expired rows.
const SWEEP_EVERY: Duration = Duration::from_secs(10);
/// How long after a failed write the disk is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// How long to wait for readers of a file that is to be opened again.
const READERS_GONE_WITHIN: Duration = Duration::from_secs(5);

pub(super) fn start(shared: &Arc<Shared>) -> Result<(), StoreError> {
    let shared = Arc::clone(shared);
    // Inside the runtime the clock follows a test's paused time.
    let runtime = tokio::runtime::Handle::try_current().ok();
    let thread = std::thread::Builder::new().name("lastgood-store".to_owned()).spawn(move || {
        let _inside = runtime.as_ref().map(tokio::runtime::Handle::enter);
        run(&shared);
    });
    thread.map(drop).map_err(|error| StoreError::Unavailable(format!("no thread to write with: {error}")))
}

fn run(shared: &Shared) {
    loop {
        let closing = wait(shared);
        repair(shared);
        write(shared);
        shared.room.notify_waiters();
        if closing {
            break;
        }
    }
    if let Some(database) = shared.database.swap(None) {
        release(database);
    }
    shared.closed.send_replace(true);
}

/// Waits until there is something to do, then a little for more of it. `true` when the store is closing.
fn wait(shared: &Shared) -> bool {
    let mut state = shared.state();
    if (state.write_trouble.is_some() || state.hopeless) && !state.closing {
        // A disk in trouble is not asked more often, however much there is to write.
        let paused = |state: &mut State| !state.closing && (state.trouble.is_none() || state.hopeless);
        let paused = shared.work.wait_timeout_while(state, RETRY_AFTER, paused);
        return paused.unwrap_or_else(PoisonError::into_inner).0.closing;
    }
    if state.overlay.is_empty() && !state.closing {
        let quiet =
            |state: &mut super::shared::State| state.overlay.is_empty() && state.trouble.is_none() && !state.closing;
        let idle = shared.work.wait_timeout_while(state, SWEEP_EVERY, quiet);
        state = idle.unwrap_or_else(PoisonError::into_inner).0;
    }
    let gathering = |state: &mut State| {
        state.overlay.bytes() < ENOUGH.min(shared.bounds.memory / 2)
            && state.trouble.is_none()
            && !state.closing
            && !state.overlay.is_empty()
    };
    let gathered = shared.work.wait_timeout_while(state, GATHER, gathering);
    gathered.unwrap_or_else(PoisonError::into_inner).0.closing
}

fn write(shared: &Shared) {
    let Some(handle) = shared.database.load_full() else { return };
    let Handle::Writable(database) = &*handle else {
        // It is opened for writing as soon as that can be.
        if file::is_writable(shared.path()) {
            drop(handle);
            shared.report(Trouble::Failed(READ_ONLY.to_owned()));
            repair(shared);
        }
        return;
    };
    let now = shared.now();
    let (batch, failing) = {
        let state = shared.state();
        (state.overlay.batch(), state.write_trouble.is_some())
    };
    let written = file::contained(|| {
        if batch.is_empty() && !failing && !file::has_expired(&handle, now)? {
            return Ok(());
        }
        file::commit(database, &batch, now, shared.bounds.file)
    });
    drop(handle);
    match written {
        Ok(()) => {
            let mut state = shared.state();
            state.overlay.settle(&batch);
            if state.write_trouble.take().is_some() {
                state.logged = None;
                tracing::info!(path = %shared.path().display(), "the cache file can be written again");
            }
        }
        Err(trouble) => {
            shared.state().write_trouble = Some(trouble.why().to_owned());
            shared.report(trouble);
            // redb serves no reads after a failed write until it is opened again.
            repair(shared);
        }
    }
}

/// Why a file in trouble is still out of use.
#[derive(Debug)]
enum Unrepaired {
    /// Reads of it have not ended.
    ReadersHang,
    /// It is damaged and cannot be moved out of the way.
    NotMoved(io::Error),
    Unopened(StoreError),
}

impl fmt::Display for Unrepaired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unrepaired::ReadersHang => f.write_str("its last readers hang"),
            Unrepaired::NotMoved(why) => write!(f, "it cannot be moved: {why}"),
            Unrepaired::Unopened(why) => why.fmt(f),
        }
    }
}

/// Opens the file again after trouble, or sets it aside and begins a new one.
fn repair(shared: &Shared) {
    let Some((trouble, old)) = shared.state().trouble.take() else { return };
    let gone = old.is_none_or(release);
    let opened = match &trouble {
        Trouble::Failed(_) if !gone => Err(Unrepaired::ReadersHang),
        Trouble::Failed(_) => open(shared),
        Trouble::Damaged(_) => set_aside(shared).and_then(|()| open(shared)),
    };
    if let Err(why) = &opened {
        tracing::debug!(path = %shared.path().display(), %why, "the cache file is still out of use");
    }
    shared.repaired(opened.map_err(|_| trouble));
}

fn set_aside(shared: &Shared) -> Result<(), Unrepaired> {
    // A first attempt may have got this far already.
    if !shared.path().exists() {
        return Ok(());
    }
    let aside = file::set_aside(shared.path(), &shared.clock).map_err(Unrepaired::NotMoved)?;
    tracing::warn!(set_aside = %aside.display(), "the cache file is damaged, starting empty");
    Ok(())
}

fn open(shared: &Shared) -> Result<Handle, Unrepaired> {
    let opened = file::open_or_set_aside(shared.path(), &shared.clock, shared.bounds);
    opened.map(|(database, _)| database).map_err(Unrepaired::Unopened)
}

/// Closes the file once its last reader is gone; `false` when one does not go.
fn release(mut database: Arc<Handle>) -> bool {
    let nap = Duration::from_millis(5);
    for _ in 0..READERS_GONE_WITHIN.as_millis() / nap.as_millis() {
        match Arc::try_unwrap(database) {
            Ok(database) => {
                _ = file::contained(|| {
                    drop(database);
                    Ok(())
                });
                return true;
            }
            Err(shared) => database = shared,
        }
        std::thread::sleep(nap);
    }
    false
}
