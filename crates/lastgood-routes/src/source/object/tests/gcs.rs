//! As much of Google Cloud Storage as is asked of it: objects and listings of the XML API. No double that can be installed
//! answers the calls that are made.

use std::process::Command;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, StatusCode, header};
use secrecy::SecretString;

/// The server's objects, and the headers of the requests that it saw.
#[derive(Clone, Default)]
pub(super) struct Gcs {
    objects: Arc<Mutex<Vec<(String, String)>>>,
    pub(super) seen: Arc<Mutex<Vec<HeaderMap>>>,
}

impl Gcs {
    pub(super) async fn serve(self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = Router::new().fallback(handle).with_state(self);
        tokio::spawn(async move { axum::serve(listener, app).await });
        url
    }

    pub(super) fn put(&self, key: &str, content: &str) {
        let mut objects = self.objects.lock().unwrap();
        objects.retain(|(known, _)| known != key);
        objects.push((key.to_owned(), content.to_owned()));
    }
}

async fn handle(State(gcs): State<Gcs>, request: Request) -> Response {
    let path = percent_encoding::percent_decode_str(request.uri().path()).decode_utf8_lossy().into_owned();
    gcs.seen.lock().unwrap().push(request.headers().clone());
    let objects = gcs.objects.lock().unwrap().clone();
    let query = request.uri().query().unwrap_or_default().to_owned();
    if query.contains("list-type=2") {
        let prefix = query.split('&').find_map(|pair| pair.strip_prefix("prefix=")).unwrap_or_default();
        let prefix = percent_encoding::percent_decode_str(prefix).decode_utf8_lossy().into_owned();
        let listed = objects.iter().filter(|(key, _)| key.starts_with(&prefix)).map(|(key, content)| {
            let size = content.len();
            format!("<Contents><Key>{key}</Key><LastModified>2025-01-01T00:00:00.000Z</LastModified><ETag>\"e\"</ETag><Size>{size}</Size></Contents>")
        });
        return format!("<ListBucketResult>{}</ListBucketResult>", listed.collect::<String>()).into_response();
    }
    let found = path.strip_prefix("/stocks/").and_then(|key| objects.iter().find(|(known, _)| known == key));
    let Some((_, content)) = found else { return StatusCode::NOT_FOUND.into_response() };
    let tag = format!("\"{}\"", content.len());
    if request.headers().get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
        return (StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response();
    }
    let headers = [(header::ETAG, tag), (header::LAST_MODIFIED, "Wed, 01 Jan 2025 00:00:00 GMT".to_owned())];
    (headers, content.clone()).into_response()
}

pub(super) fn service_account() -> SecretString {
    let made =
        Command::new("openssl").args(["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]).output();
    let key = String::from_utf8(made.expect("openssl runs").stdout).unwrap();
    let json = serde_json::json!({
        "type": "service_account", "client_email": "me@example.com", "private_key_id": "1", "private_key": key,
    });
    json.to_string().into()
}
