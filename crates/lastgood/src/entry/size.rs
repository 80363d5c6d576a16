//! What an entry's allocations take of memory, and how its body gets one of its own size.

use bytes::Bytes;

/// The largest body whose entry weighs no more than `weight`, where nothing else of the entry is large.
pub(crate) fn largest_body(weight: u64) -> u64 {
    weight.saturating_sub(AROUND_A_BODY) / 3 * 2
}

/// What the name of a type, tags and the bookkeeping of an entry may take, and the key.
const AROUND_A_BODY: u64 = 16 << 10;
/// The memoised parts of a small body: a content type, a tag, the places of the rest.
pub(super) const MEMOISED: u64 = 384;
/// Larger bodies are packed and indexed, too.
pub(super) const MEMOISED_FROM: usize = 1_400;

/// The two counts of an `Arc`.
pub(super) const COUNTS: usize = size_of::<[usize; 2]>();

/// What an allocation takes of the process's memory: the allocator rounds up, and keeps a word of its own.
pub(crate) const fn allocated(bytes: usize) -> u64 {
    match bytes {
        0 => 0,
        1..=24 => 32,
        _ => (bytes as u64 + 8).next_multiple_of(16),
    }
}

/// Bodies up to this size are copied without a look at where they lie.
const COPIED: usize = 64 << 10;

/// The same bytes in an allocation of their own size: a slice would keep all that it is cut from in memory.
pub(crate) fn compact(body: Bytes) -> Bytes {
    if body.len() <= COPIED {
        return Bytes::copy_from_slice(&body);
    }
    match body.try_into_mut() {
        Ok(alone) if alone.capacity() - alone.len() <= alone.len() / 8 => alone.freeze(),
        Ok(alone) => Bytes::copy_from_slice(&alone),
        Err(shared) => Bytes::copy_from_slice(&shared),
    }
}
