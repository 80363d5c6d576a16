//! How bodies are packed that are no rows of numbers.

#[cfg(feature = "zstd")]
mod zstd;

/// A way to pack bodies.
#[derive(Clone, Copy)]
pub(super) struct Codec {
    /// The body packed; `None` if that does not work.
    pub(super) pack: fn(&[u8]) -> Option<Vec<u8>>,
    /// Decompresses a packed text of at most this many bytes; `None` for anything else.
    pub(super) unpack: fn(&[u8], usize) -> Option<Vec<u8>>,
}

/// By zstd; `None` in a build without it. Such a build stores these bodies as they are, and what another program packed is
/// unreadable to it.
#[cfg(feature = "zstd")]
pub(super) const ZSTD: Option<Codec> = Some(Codec { pack: zstd::pack, unpack: zstd::unpack });
#[cfg(not(feature = "zstd"))]
pub(super) const ZSTD: Option<Codec> = None;
