//! Answers made of a prepared list: each form once, then served as it is.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use axum::response::Response;
use bytes::Bytes;
use http::header::{AGE, CONTENT_ENCODING, CONTENT_TYPE, ETAG, VARY};
use http::{HeaderMap, HeaderValue, StatusCode};
use lastgood::{Answer, Outcome, Value};
use lastgood_market::Venue;
use lastgood_market::symbols::{Listing, Rendered, Selection, Stamp};

use crate::problem;
use crate::response::label::{Accepts, CACHE_STATUS, X_CACHE, cache_status, names};
use crate::response::plain;
use crate::response::prepared::{GZIP_FROM, pack};

const JSON: HeaderValue = HeaderValue::from_static("application/json;charset=UTF-8");
/// So many forms of a list are kept; a client with more questions has them made each time.
const MOST_FORMS: usize = 32;
/// Packing more than this takes longer than other requests should wait.
const GZIP_ASIDE_FROM: usize = 128 << 10;

/// What is worked out of a list; it lives as long as the list does.
struct Forms {
    listing: Listing,
    stamp: Stamp,
    made: Mutex<Made>,
}

#[derive(Default)]
struct Made {
    forms: HashMap<(Selection, bool), Arc<Form>>,
    bytes: usize,
}

/// The answer to one selection.
struct Form {
    body: Bytes,
    etag: HeaderValue,
    gzip: OnceLock<Bytes>,
}

impl Forms {
    /// `None` for a value that is no list of this version's making.
    fn of(value: &Value) -> Option<Arc<Forms>> {
        let stamp = Stamp::parse(value.meta.as_deref()?)?;
        let listing = Listing::of(&value.body)?;
        Some(Arc::new(Forms { listing, stamp, made: Mutex::default() }))
    }

    fn form(&self, venue: Venue, selection: Selection, last_good: bool, list_bytes: usize) -> Arc<Form> {
        let wanted = (selection, last_good);
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(form) = made.forms.get(&wanted) {
            return Arc::clone(form);
        }
        let Rendered { body, etag } = self.listing.render(venue, &self.stamp, last_good, &wanted.0);
        let etag = HeaderValue::try_from(etag).unwrap_or(HeaderValue::from_static("W/\"\""));
        let form = Arc::new(Form { body, etag, gzip: OnceLock::new() });
        // Together they take little more than twice the list itself: whole, and in parts.
        let bytes = made.bytes + form.body.len();
        if made.forms.len() < MOST_FORMS && bytes <= 2 * list_bytes + (64 << 10) {
            made.bytes = bytes;
            made.forms.insert(wanted, Arc::clone(&form));
        }
        form
    }
}

impl Form {
    /// The body, packed. The first caller packs it; the others take what is there.
    async fn packed(self: &Arc<Self>) -> Bytes {
        if let Some(packed) = self.gzip.get() {
            return packed.clone();
        }
        let form = Arc::clone(self);
        let make = move || form.gzip.get_or_init(|| pack(&form.body)).clone();
        if self.body.len() < GZIP_ASIDE_FROM {
            return make();
        }
        tokio::task::spawn_blocking(make).await.unwrap_or_else(|_| pack(&self.body))
    }
}

/// The part of `list` that is selected, or 304 when the client has it.
pub(super) async fn respond(
    list: &Answer,
    venue: Venue,
    selection: Selection,
    asked: &HeaderMap,
    accepts: Accepts,
) -> Response {
    let Some(forms) = list.derived(Forms::of) else {
        return problem::problem(StatusCode::SERVICE_UNAVAILABLE, "The list that is kept cannot be read.");
    };
    let last_good = matches!(list.outcome(), Outcome::LastGood(_));
    let form = forms.form(venue, selection, last_good, list.body().len());
    let mut response = if names(asked, &form.etag) {
        let mut unchanged = plain(StatusCode::NOT_MODIFIED, JSON, Bytes::new());
        unchanged.headers_mut().remove(CONTENT_TYPE);
        unchanged
    } else if accepts.gzip && form.body.len() >= GZIP_FROM {
        let mut packed = plain(StatusCode::OK, JSON, form.packed().await);
        packed.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        packed
    } else {
        plain(StatusCode::OK, JSON, form.body.clone())
    };
    let headers = response.headers_mut();
    headers.insert(ETAG, form.etag.clone());
    headers.insert(VARY, HeaderValue::from_static("accept-encoding, x-lastgood-user"));
    headers.insert(AGE, HeaderValue::from(list.age().as_secs()));
    headers.insert(X_CACHE, HeaderValue::from_static(list.outcome().as_x_cache()));
    headers.insert(CACHE_STATUS, cache_status(&list.into()));
    response
}
