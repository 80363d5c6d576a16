//! An answer out of the cache: 304 where the client has it, packed where it takes that, and labelled.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::coding::Coding;
use super::etag::{Comparison, EntityTag};
use super::label::Label;
use super::payload::{Payload, Reply};
use super::prepared::{PACKED_FROM, Prepared};
use super::{HEADERS, found, with_headers};

/// The served body.
pub(crate) struct Cached<'a> {
    pub(crate) body: &'a Bytes,
    pub(crate) content_type: &'a HeaderValue,
    pub(crate) etag: Option<&'a EntityTag>,
    /// Where its packed form is kept; if nowhere, it is packed each time.
    pub(crate) prepared: Option<&'a Arc<Prepared>>,
    pub(crate) label: &'a Label,
}

impl<'a> Cached<'a> {
    /// A body whose forms are kept as long as it is.
    pub(crate) fn whole(body: &'a Bytes, prepared: &'a Arc<Prepared>, label: &'a Label) -> Cached<'a> {
        let Prepared { content_type, etag, .. } = &**prepared;
        Cached { body, content_type, etag: etag.as_ref(), prepared: Some(prepared), label }
    }

    /// The answer to a request with these headers.
    pub(crate) async fn respond(self, asked: &HeaderMap) -> Response {
        let form = self.form(asked);
        self.in_form(form, HeaderMap::with_capacity(HEADERS)).await.map(Body::from)
    }

    /// The same, ready for the connection and in the room of the request's headers.
    pub(crate) async fn reply(self, asked: HeaderMap) -> Reply {
        let form = self.form(&asked);
        self.in_form(form, asked).await
    }

    fn form(&self, asked: &HeaderMap) -> Form {
        let coding = match (Coding::of(asked), self.prepared) {
            (coding, Some(prepared)) => prepared.coding(self.body, coding),
            (coding, None) if self.body.len() >= PACKED_FROM => coding,
            _ => Coding::Identity,
        };
        let is_known = self.etag.is_some_and(|etag| etag.is_named(asked, &IF_NONE_MATCH, Comparison::Weak));
        Form { coding, is_known }
    }

    /// The same, without waiting; `None` where it would have to be packed first.
    pub(crate) fn at_once(&self, asked: &HeaderMap) -> Option<Reply> {
        let form = self.form(asked);
        let packed = if form.is_sent_packed() { Some(self.prepared?.packed(form.coding)?) } else { None };
        Some(self.with_packed(form, packed, HeaderMap::with_capacity(HEADERS)))
    }

    async fn in_form(self, mut form: Form, room: HeaderMap) -> Reply {
        let packed = if form.is_sent_packed() { self.pack(form.coding).await } else { None };
        if form.is_sent_packed() && packed.is_none() {
            form.coding = Coding::Identity;
        }
        self.with_packed(form, packed, room)
    }

    fn with_packed(&self, form: Form, packed_body: Option<Bytes>, room: HeaderMap) -> Reply {
        let mut response = match (form.is_known, packed_body) {
            (true, _) => not_modified(room),
            (false, Some(body)) => packed(room, self.content_type.clone(), form.coding, body),
            (false, None) => found(room, self.content_type.clone(), Payload::Whole(self.body.clone())),
        };
        let headers = response.headers_mut();
        if let Some(etag) = self.etag {
            headers.insert(ETAG, etag.header(form.coding));
        }
        self.label.write(headers);
        response
    }

    async fn pack(&self, coding: Coding) -> Option<Bytes> {
        match self.prepared {
            Some(prepared) => Arc::clone(prepared).pack(self.body, coding).await,
            None => coding.pack(self.body),
        }
    }
}

/// How an answer is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Form {
    pub(crate) coding: Coding,
    /// The client has it.
    pub(crate) is_known: bool,
}

impl Form {
    fn is_sent_packed(self) -> bool {
        self.coding != Coding::Identity && !self.is_known
    }
}

/// A body that is packed already.
pub(crate) fn packed(room: HeaderMap, content_type: HeaderValue, coding: Coding, body: Bytes) -> Reply {
    let mut response = found(room, content_type, Payload::Whole(body));
    if let Some(name) = coding.name() {
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static(name));
    }
    response
}

fn not_modified(mut room: HeaderMap) -> Reply {
    room.clear();
    with_headers(StatusCode::NOT_MODIFIED, room, Payload::Whole(Bytes::new()))
}
