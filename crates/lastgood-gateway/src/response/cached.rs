//! An answer out of the cache: 304 where the client has it, packed where it takes that, and labelled.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::etag::{Comparison, EntityTag};
use super::label::{Accepts, Label};
use super::payload::{Payload, Reply};
use super::prepared::{GZIP_FROM, Prepared, pack};
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
        let is_packed = self.body.len() >= GZIP_FROM && Accepts::of(asked).gzip;
        let is_known = self.etag.is_some_and(|etag| etag.is_named(asked, &IF_NONE_MATCH, Comparison::Weak));
        Form { is_packed, is_known }
    }

    /// The same, without waiting; `None` where it would have to be packed first.
    pub(crate) fn at_once(&self, asked: &HeaderMap) -> Option<Reply> {
        let form = self.form(asked);
        let gzip = match form {
            Form { is_packed: true, is_known: false } => Some(self.prepared?.packed()?),
            _ => None,
        };
        Some(self.with_gzip(form, gzip, HeaderMap::with_capacity(HEADERS)))
    }

    async fn in_form(self, form: Form, room: HeaderMap) -> Reply {
        let gzip = match form {
            Form { is_packed: true, is_known: false } => Some(self.pack().await),
            _ => None,
        };
        self.with_gzip(form, gzip, room)
    }

    fn with_gzip(&self, form: Form, gzip: Option<Bytes>, room: HeaderMap) -> Reply {
        let mut response = match (form.is_known, gzip) {
            (true, _) => not_modified(room),
            (false, Some(gzip)) => packed(room, self.content_type.clone(), gzip),
            (false, None) => found(room, self.content_type.clone(), Payload::Whole(self.body.clone())),
        };
        let headers = response.headers_mut();
        if let Some(etag) = self.etag {
            headers.insert(ETAG, etag.header(form.is_packed));
        }
        self.label.write(headers);
        response
    }

    async fn pack(&self) -> Bytes {
        match self.prepared {
            Some(prepared) => Arc::clone(prepared).gzip(self.body).await,
            None => pack(self.body),
        }
    }
}

/// How an answer is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Form {
    pub(crate) is_packed: bool,
    /// The client has it.
    pub(crate) is_known: bool,
}

/// A body that is packed already.
pub(crate) fn packed(room: HeaderMap, content_type: HeaderValue, gzip: Bytes) -> Reply {
    let mut response = found(room, content_type, Payload::Whole(gzip));
    response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    response
}

fn not_modified(mut room: HeaderMap) -> Reply {
    room.clear();
    with_headers(StatusCode::NOT_MODIFIED, room, Payload::Whole(Bytes::new()))
}
