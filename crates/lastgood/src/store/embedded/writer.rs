//! The one thread that writes to the file, and repairs what it can.

use std::sync::{Arc, PoisonError};
use std::time::Duration;
use std::{fmt, io};

use super::file::{self, Handle, READ_ONLY, Trouble};
use super::shared::{Shared, State};
use crate::clock::Timestamp;
use crate::store::StoreError;

/// How long writes gather before they are committed together.
const GATHER: Duration = Duration::from_millis(150);
/// How often an idle store looks for expired rows.
const SWEEP_EVERY: Duration = Duration::from_secs(10);
/// An idle store reads a page of the file's keys so often, until it has them all: a start has its first answers first.
const READ_KEYS_EVERY: Duration = Duration::from_millis(20);
/// Keys of a page, and how many of them are taken while readers wait.
const PAGE_OF_KEYS: usize = 8_192;
const TAKEN_AT_ONCE: usize = 256;
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
        read_keys(shared);
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
        let at_most = if state.keys.are_to_be_read() { READ_KEYS_EVERY } else { SWEEP_EVERY };
        let idle = shared.work.wait_timeout_while(state, at_most, quiet);
        state = idle.unwrap_or_else(PoisonError::into_inner).0;
    }
    let gathering = |state: &mut State| {
        state.overlay.bytes() < shared.bounds.enough()
            && state.trouble.is_none()
            && !state.closing
            && !state.is_awaited
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
    let (batch, number, failing) = {
        let mut state = shared.state();
        state.is_awaited = false;
        (state.overlay.batch(), state.overlay.last_number(), state.write_trouble.is_some())
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
            state.overlay.written_to(number);
            shared.written.notify_all();
            if state.write_trouble.take().is_some() {
                state.logged = None;
                tracing::debug!(path = %shared.path().display(), "the cache file can be written again");
            }
        }
        Err(trouble) => {
            shared.state().write_trouble = Some(trouble.why().to_owned());
            shared.written.notify_all();
            shared.report(trouble);
            // redb serves no reads after a failed write until it is opened again.
            repair(shared);
        }
    }
}

/// Reads a page of the file's keys, where they are to be read.
fn read_keys(shared: &Shared) {
    let is_due = {
        let state = shared.state();
        state.keys.are_to_be_read() && !state.closing
    };
    let Some(handle) = shared.database.load_full().filter(|_| is_due) else { return };
    let read = file::contained(|| {
        let (rows, _) = file::usage(&handle)?;
        let after = {
            let State { keys, overlay, .. } = &mut *shared.state();
            let count = usize::try_from(rows).unwrap_or(usize::MAX).saturating_add(overlay.len());
            keys.read_on(count, overlay.keys())
        };
        // Those that have expired, too: the clock may be set back.
        file::keys(&handle, "", after.as_deref(), PAGE_OF_KEYS, Timestamp::EPOCH)
    });
    drop(handle);
    match read {
        Ok((keys, end)) => {
            keys.chunks(TAKEN_AT_ONCE).for_each(|some| shared.state().keys.take(some));
            shared.state().keys.are_read_to(end);
        }
        Err(trouble) => {
            shared.state().keys.give_up();
            shared.report(trouble);
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
