//! What tests of stores, and of programs that use them, are made of. Feature `testing`.
//!
//! * [`conformance`] checks the whole contract of [`Store`](crate::store::Store) against any implementation;
//! * [`FaultyStore`] fails, hangs and delays on command.
//!
//! Both panic, with a text that says why, where a test could not go on anyway.

pub mod conformance;
mod faulty_store;

pub use self::faulty_store::{Fault, FaultyStore};

/// Takes the randomness out of the waits of this thread's runtimes, so that a schedule runs the same way each time.
pub fn wait_evenly() {
    crate::store::wait_evenly();
}

/// Checks what must hold of any bytes that lie in a store. For fuzzing.
pub fn hold_entry(bytes: &[u8]) {
    crate::entry::hold::entry(bytes);
}

/// Checks what must hold of any text that may be packed as rows, and of any packing. For fuzzing.
pub fn hold_rows(text: &[u8]) {
    crate::entry::hold::of_rows(text);
}

/// Stored entries that a fuzzer may begin with.
pub fn entries() -> Vec<Vec<u8>> {
    crate::entry::hold::seeds()
}
