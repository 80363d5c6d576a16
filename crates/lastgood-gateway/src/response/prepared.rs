//! Parts of an answer that are worked out once and served many times.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use bytes::Bytes;
use http::HeaderValue;
use lastgood::Answer;
use lastgood_market::UpstreamRequest;
use lastgood_market::projection::Index;

use super::coding::Coding;
use super::etag::EntityTag;
use super::media_type;

/// The derived forms of one answer; it lives as long as the answer does.
pub(crate) struct Prepared {
    /// The upstream's content type.
    pub(crate) content_type: HeaderValue,
    pub(crate) etag: Option<EntityTag>,
    /// Most small answers need none of it, and have no room for it.
    more: OnceLock<Box<More>>,
}

/// Parts worked out of large answers.
#[derive(Default)]
struct More {
    index: OnceLock<Option<Index>>,
    /// The packed forms, by their codings; nothing where packing does not make it smaller.
    packed: [OnceLock<Option<Bytes>>; Coding::COUNT],
    /// Large parts that were cut out of it.
    parts: RwLock<Parts>,
}

/// Parts with the request that names each, by its place in memory.
type Parts = HashMap<usize, (Arc<UpstreamRequest>, Arc<PreparedPart>)>;

/// A part of an answer, with the values worked out of it once.
pub(crate) struct PreparedPart {
    pub(crate) body: Bytes,
    pub(crate) prepared: Arc<Prepared>,
}

/// Parts that are kept of one answer; its memory is charged for half its size.
const MOST_PARTS: usize = 128;

/// Bodies smaller than this are sent as they are: they fit a packet.
pub(crate) const PACKED_FROM: usize = 1_400;
/// Packing more than this takes longer than other requests should wait.
const PACKED_ASIDE_FROM: usize = 128 << 10;

impl Prepared {
    pub(crate) fn of(answer: &Answer) -> Arc<Prepared> {
        answer.memoised(|value| {
            let content_type = value.meta.as_deref().and_then(media_type);
            let content_type = content_type.unwrap_or(HeaderValue::from_static("application/json;charset=UTF-8"));
            Prepared::new(content_type, Some(EntityTag::of_answer(&value.body)))
        })
    }

    pub(crate) fn new(content_type: HeaderValue, etag: Option<EntityTag>) -> Arc<Prepared> {
        Arc::new(Prepared { content_type, etag, more: OnceLock::new() })
    }

    fn more(&self) -> &More {
        self.more.get_or_init(Box::default)
    }

    /// The part that `request` names, if it is kept. While its request is held, no other lies in that place.
    pub(crate) fn part(&self, request: &Arc<UpstreamRequest>) -> Option<Arc<PreparedPart>> {
        let parts = self.more.get()?.parts.read().unwrap_or_else(PoisonError::into_inner);
        parts.get(&(Arc::as_ptr(request) as usize)).map(|(_, part)| Arc::clone(part))
    }

    /// Keeps a part that was cut out, so that it is copied, tagged and packed once.
    pub(crate) fn keep_part(&self, request: &Arc<UpstreamRequest>, body: Bytes) -> Arc<PreparedPart> {
        let prepared = Prepared::new(self.content_type.clone(), Some(EntityTag::of_answer(&body)));
        let part = Arc::new(PreparedPart { body, prepared });
        let mut parts = self.more().parts.write().unwrap_or_else(PoisonError::into_inner);
        if parts.len() < MOST_PARTS {
            parts.insert(Arc::as_ptr(request) as usize, (Arc::clone(request), Arc::clone(&part)));
        }
        part
    }

    /// Where each symbol's row lies in the body.
    pub(crate) fn index(&self, body: &Bytes) -> Option<&Index> {
        self.more().index.get_or_init(|| Index::of(body)).as_ref()
    }

    /// How the body is sent to who takes `coding`: as it is, where it is short or does not become smaller.
    pub(crate) fn coding(&self, body: &Bytes, coding: Coding) -> Coding {
        let is_dense =
            || self.more.get().and_then(|more| more.packed[coding.place()].get()).is_some_and(Option::is_none);
        if body.len() < PACKED_FROM || is_dense() { Coding::Identity } else { coding }
    }

    /// The body in a coding, if it was packed before.
    pub(crate) fn packed(&self, coding: Coding) -> Option<Bytes> {
        self.more.get()?.packed[coding.place()].get()?.clone()
    }

    /// The body, packed. The first caller packs it; the others take the result.
    pub(crate) async fn pack(self: Arc<Self>, body: &Bytes, coding: Coding) -> Option<Bytes> {
        if let Some(packed) = self.packed(coding) {
            return Some(packed);
        }
        let in_place = move |prepared: &Prepared, body: &Bytes| {
            prepared.more().packed[coding.place()].get_or_init(|| coding.pack(body)).clone()
        };
        if body.len() < PACKED_ASIDE_FROM {
            return in_place(&self, body);
        }
        let (prepared, body) = (Arc::clone(&self), body.clone());
        tokio::task::spawn_blocking(move || in_place(&prepared, &body)).await.ok().flatten()
    }
}

#[cfg(test)]
mod tests {
    use lastgood_market::{Identities, Plan, Request, Venue, plan};

    use super::*;

    fn request(symbol: &str) -> Arc<UpstreamRequest> {
        let query = format!("symbol={symbol}");
        let request = Request { is_get: true, path: "/api/v3/exchangeInfo", query: &query, ..Request::default() };
        match plan(&Identities::public(), Venue::Spot, request) {
            Plan::Cached(line) => Arc::clone(line.load()),
            other => unreachable!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_part_is_packed_once_and_kept_for_its_own_request() {
        let prepared = Prepared::new(HeaderValue::from_static("application/json"), None);
        let requests = ["BTCUSDT", "ETHUSDT"].map(request);
        for request in &requests {
            assert!(prepared.part(request).is_none());
            prepared.keep_part(request, Bytes::from(request.key.clone().repeat(100)));
        }
        for request in &requests {
            let part = prepared.part(request).expect("it is kept");
            assert_eq!(part.body, request.key.repeat(100));
            for coding in [Coding::Gzip, Coding::Zstd] {
                let packed = Arc::clone(&part.prepared).pack(&part.body, coding).await.expect("it is smaller");
                let again = prepared.part(request).expect("it is kept");
                let once_more = Arc::clone(&again.prepared).pack(&again.body, coding).await;
                assert_eq!(once_more.map(|again| again.as_ptr()), Some(packed.as_ptr()));
            }
        }
        for number in 0..2 * MOST_PARTS {
            prepared.keep_part(&request(&format!("X{number}")), Bytes::from_static(b"x"));
        }
        assert_eq!(prepared.more().parts.read().expect("no panic").len(), MOST_PARTS);
    }
}
