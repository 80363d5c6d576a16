//! Answers made of a prepared list: each form once, then served as it is.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::response::Response;
use bytes::Bytes;
use http::header::VARY;
use http::{HeaderMap, HeaderValue, StatusCode};
use lastgood::{Answer, Outcome, Value};
use lastgood_market::Venue;
use lastgood_market::symbols::{Listing, Rendered, Selection, Stamp};

use crate::problem;
use crate::response::cached::Cached;
use crate::response::etag::EntityTag;
use crate::response::prepared::Prepared;

const JSON: HeaderValue = HeaderValue::from_static("application/json;charset=UTF-8");
/// The most forms of a list that are kept; a client with more questions has them made each time.
const MOST_FORMS: usize = 32;

/// Values worked out of a list; they live as long as the list.
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
    prepared: Arc<Prepared>,
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
        let form = Arc::new(Form { body, prepared: Prepared::new(JSON, Some(EntityTag::weak(&etag))) });
        // Together they take little more than twice the list itself: whole, and in parts.
        let bytes = made.bytes + form.body.len();
        if made.forms.len() < MOST_FORMS && bytes <= 2 * list_bytes + (64 << 10) {
            made.bytes = bytes;
            made.forms.insert(wanted, Arc::clone(&form));
        }
        form
    }
}

/// The part of `list` that is selected, or 304 when the client has it.
pub(super) async fn respond(list: &Answer, venue: Venue, selection: Selection, asked: &HeaderMap) -> Response {
    let Some(forms) = list.memoised(Forms::of) else {
        return problem::problem(StatusCode::SERVICE_UNAVAILABLE, "The list that is kept cannot be read.");
    };
    let last_good = matches!(list.outcome(), Outcome::LastGood(_));
    let form = forms.form(venue, selection, last_good, list.body().len());
    let mut response = Cached::whole(&form.body, &form.prepared, &list.into()).respond(asked).await;
    response.headers_mut().insert(VARY, HeaderValue::from_static("accept-encoding, x-lastgood-user"));
    response
}
