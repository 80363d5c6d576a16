//! What is worked out of an answer once and then served many times.

use std::io::Write as _;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::HeaderValue;
use lastgood::Answer;
use lastgood_market::cut::Index;

use super::etag::EntityTag;

/// The derived forms of one answer; it lives as long as the answer does.
pub(crate) struct Prepared {
    /// The upstream's content type.
    pub(crate) content_type: HeaderValue,
    pub(crate) etag: Option<EntityTag>,
    index: OnceLock<Option<Index>>,
    gzip: OnceLock<Bytes>,
}

/// Bodies smaller than this are sent as they are: they fit a packet.
pub(crate) const GZIP_FROM: usize = 1_400;
/// Packing more than this takes longer than other requests should wait.
const GZIP_ASIDE_FROM: usize = 128 << 10;

impl Prepared {
    pub(crate) fn of(answer: &Answer) -> Arc<Prepared> {
        answer.memoised(|value| {
            let content_type = value.meta.as_deref().and_then(|meta| HeaderValue::from_str(meta).ok());
            let content_type = content_type.unwrap_or(HeaderValue::from_static("application/json;charset=UTF-8"));
            Prepared::new(content_type, Some(EntityTag::of_answer(&value.body)))
        })
    }

    pub(crate) fn new(content_type: HeaderValue, etag: Option<EntityTag>) -> Arc<Prepared> {
        Arc::new(Prepared { content_type, etag, index: OnceLock::new(), gzip: OnceLock::new() })
    }

    /// Where each symbol's row lies in the body.
    pub(crate) fn index(&self, body: &Bytes) -> Option<&Index> {
        self.index.get_or_init(|| Index::of(body)).as_ref()
    }

    /// The body, packed. The first caller packs it; the others take what is there.
    pub(crate) async fn gzip(self: Arc<Self>, body: &Bytes) -> Bytes {
        if let Some(packed) = self.gzip.get() {
            return packed.clone();
        }
        if body.len() < GZIP_ASIDE_FROM {
            return self.gzip.get_or_init(|| pack(body)).clone();
        }
        let (aside, body) = (body.clone(), body);
        let prepared = Arc::clone(&self);
        let packed = tokio::task::spawn_blocking(move || prepared.gzip.get_or_init(|| pack(&aside)).clone()).await;
        packed.unwrap_or_else(|_| pack(body))
    }
}

/// Packs a body, at the speed that suits an answer of a second's life.
pub(crate) fn pack(body: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    // Writing into a Vec cannot fail.
    let _ = encoder.write_all(body);
    encoder.finish().unwrap_or_default().into()
}
