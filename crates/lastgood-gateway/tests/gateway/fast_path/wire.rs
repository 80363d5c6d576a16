//! Requests as they are written, and their answers byte by byte.

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::Running;

const TOKEN: &str = "authorization: Bearer the-right-admin-token";

/// An answer, its fields sorted, and what it says of the moment apart.
#[derive(Debug, PartialEq)]
pub(super) struct Answered {
    pub(super) status: String,
    pub(super) fields: Vec<String>,
    pub(super) body: Vec<u8>,
}

impl Answered {
    pub(super) fn field(&self, name: &str) -> &str {
        let value = |field: &'_ String| field.strip_prefix(name).and_then(|rest| rest.strip_prefix(": ")).map(str::len);
        let found = self.fields.iter().find_map(|field| value(field).map(|length| &field[field.len() - length..]));
        found.unwrap_or_default()
    }

    pub(super) fn is_hit(&self) -> bool {
        self.field("x-cache") == "HIT"
    }

    /// Takes out what another moment would say: how old it is, and how long it is fresh.
    pub(super) fn take_moment(&mut self) -> (i64, i64) {
        let age = self.field("age").parse().unwrap_or_default();
        let parts: Vec<String> = self.field("cache-status").split("; ").map(str::to_owned).collect();
        let ttl = parts.iter().find_map(|part| part.strip_prefix("ttl=")?.parse().ok()).unwrap_or_default();
        let status: Vec<&str> = parts.iter().map(String::as_str).filter(|part| !part.starts_with("ttl=")).collect();
        let status = format!("cache-status: {}", status.join("; "));
        self.fields.retain(|field| !["age: ", "date: ", "cache-status: "].iter().any(|name| field.starts_with(name)));
        self.fields.push(status);
        (age, ttl)
    }
}

/// Sends a request as it is written, and reads its answer to the end of the connection.
pub(super) async fn round_trip(gateway: &Running, line: &str, fields: &[String], end: &str) -> Answered {
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let host = format!("host: {}\r\n", gateway.address);
    let host = if fields.iter().any(|field| field.starts_with("host:")) { "" } else { &host };
    let named: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
    let close = if named.contains("connection:") { "" } else { "connection: close\r\n" };
    let request = format!("{line}\r\n{host}{named}{close}{end}");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let head = answer.windows(4).position(|end| end == b"\r\n\r\n").unwrap_or_else(|| panic!("no answer to {request}"));
    let text = String::from_utf8(answer[..head].to_vec()).unwrap();
    let mut lines = text.lines().map(str::to_owned);
    let status = lines.next().unwrap();
    let mut fields: Vec<String> = lines.collect();
    fields.sort();
    Answered { status, fields, body: answer[head + 4..].to_vec() }
}

pub(super) async fn get(gateway: &Running, target: &str, fields: &[String]) -> Answered {
    round_trip(gateway, &format!("GET {target} HTTP/1.1"), fields, "\r\n").await
}

pub(super) async fn send(gateway: &Running, line: &str, content_type: &str, body: &str) {
    let fields = [TOKEN.to_owned(), format!("content-type: {content_type}"), format!("content-length: {}", body.len())];
    let got = round_trip(gateway, line, &fields, &format!("\r\n{body}")).await;
    assert!(got.status.contains(" 20"), "{line}: {got:?}");
}

pub(super) async fn put(gateway: &Running, target: &str, body: &str) {
    send(gateway, &format!("PUT {target} HTTP/1.1"), "text/plain", body).await;
}

pub(super) async fn change(gateway: &Running, what: &Value) {
    send(gateway, "POST /api/cache/invalidate HTTP/1.1", "application/json", &what.to_string()).await;
}
