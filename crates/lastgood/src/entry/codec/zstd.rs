//! Compression by zstd. What it works with is kept for each thread: to set it up takes longer than a small body.

use std::cell::RefCell;

use ::zstd::bulk::{Compressor, Decompressor};

/// Fast enough for the write path, and within a few per cent of the default level on market JSON.
const LEVEL: i32 = 1;

thread_local! {
    static COMPRESSOR: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// The body packed; `None` if that does not work.
pub(super) fn pack(body: &[u8]) -> Option<Vec<u8>> {
    COMPRESSOR.with_borrow_mut(|kept| {
        let compressor = match kept {
            Some(compressor) => compressor,
            None => kept.insert(Compressor::new(LEVEL).ok()?),
        };
        compressor.compress(body).ok()
    })
}

/// What was packed, of at most `length` bytes; `None` for anything else.
pub(super) fn unpack(packed: &[u8], length: usize) -> Option<Vec<u8>> {
    DECOMPRESSOR.with_borrow_mut(|kept| {
        let decompressor = match kept {
            Some(decompressor) => decompressor,
            None => kept.insert(Decompressor::new().ok()?),
        };
        decompressor.decompress(packed, length).ok()
    })
}
