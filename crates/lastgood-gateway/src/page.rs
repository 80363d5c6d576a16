//! The operator's page: `/`, its files below `/page`, and the stream that keeps it up to date.
//!
//! The page has no figures and no powers of its own. It reads `/page/live`, whose figures are those of `/health` and of the
//! Cache API, and it changes the cache through the Cache API, by the same rules: see [`crate::admin`] and
//! [`crate::own_site`]. Its files hold no data, so that a page which is to ask for the token can be loaded without it.

use std::sync::{Arc, OnceLock};

use axum::Extension;
use axum::extract::Path;
use axum::response::Response;
use axum::routing::{MethodRouter, get, post};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, ETAG, IF_NONE_MATCH, REFERRER_POLICY};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::app::App;
use crate::problem::not_found;
use crate::response::coding::Coding;
use crate::response::etag::{Comparison, EntityTag};
use crate::response::plain;

pub(crate) mod demonstration;
pub(crate) mod history;
pub(crate) mod live;
mod moment;

use self::demonstration::Demonstration;
use self::history::History;
use self::live::Live;

/// No script, style or request but of the gateway's own files, and no frame around it.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'none'",
);
/// The page's own headers; `nosniff` comes with every answer.
const HEADERS: [(HeaderName, HeaderValue); 5] = [
    (CONTENT_SECURITY_POLICY, POLICY),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
    // Browsers revalidate, so that the page after an upgrade is the new one.
    (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
];

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// A file of the page.
struct File {
    name: &'static str,
    content_type: &'static str,
    body: &'static str,
}

macro_rules! files {
    ($($name:literal $content_type:ident),* $(,)?) => {
        [$(File { name: $name, content_type: $content_type, body: include_str!(concat!("page/web/", $name)) }),*]
    };
}

static INDEX: [File; 1] = files!["index.html" HTML];
static FILES: [File; 10] = files![
    "page.css" CSS,
    "start.js" SCRIPT,
    "main.js" SCRIPT,
    "api.js" SCRIPT,
    "dom.js" SCRIPT,
    "charts.js" SCRIPT,
    "overview.js" SCRIPT,
    "keys.js" SCRIPT,
    "market.js" SCRIPT,
    "routes.js" SCRIPT,
];

/// What open pages are sent, and what they may switch. The gateway itself knows nothing of them.
#[derive(Default)]
pub(crate) struct Page {
    pub(crate) live: Live,
    pub(crate) history: History,
    /// Set where the exchange is a simulated one, whose faults the page may switch.
    pub(crate) demonstration: OnceLock<Arc<dyn Demonstration>>,
}

/// The page's paths. They are no API: they change with the page.
pub(crate) fn routes(page: &Arc<Page>) -> [(&'static str, MethodRouter<Arc<App>>); 5] {
    let routes = [
        ("/", get(async |headers: HeaderMap| respond(&INDEX[0], &headers))),
        ("/page/live", get(live::live)),
        ("/page/history", get(history::history)),
        ("/page/faults/{name}", post(demonstration::switch)),
        ("/page/{file}", get(file)),
    ];
    routes.map(|(path, methods)| (path, methods.layer(Extension(Arc::clone(page)))))
}

async fn file(Path(name): Path<String>, headers: HeaderMap) -> Response {
    match FILES.iter().find(|file| file.name == name) {
        Some(file) => respond(file, &headers),
        None => not_found(&format!("/page/{name}")),
    }
}

fn respond(file: &File, asked: &HeaderMap) -> Response {
    let content_type = HeaderValue::from_static(file.content_type);
    let etag = EntityTag::of_value(&content_type, file.body.as_bytes());
    let (status, body) = match etag.is_named(asked, &IF_NONE_MATCH, Comparison::Weak) {
        true => (StatusCode::NOT_MODIFIED, ""),
        false => (StatusCode::OK, file.body),
    };
    let mut response = plain(status, content_type, Bytes::from_static(body.as_bytes()));
    for (name, value) in HEADERS.into_iter().chain([(ETAG, etag.header(Coding::Identity))]) {
        response.headers_mut().insert(name, value);
    }
    response
}
