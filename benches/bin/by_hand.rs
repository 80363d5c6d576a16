//! What a cache over HTTP costs at least: tokio's sockets, httparse for the heads of requests, and answers that are put together
//! before they are asked for, but for their `Date`.
//!
//! `by_hand ADDRESS FOLDER [origin]` serves what `benches/hits.py` has recorded, with each header that the gateway sends; as
//! `origin` with those alone that let the caches in front of it keep an answer for a day.

#![expect(clippy::disallowed_methods, reason = "the date is the system's")]

use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use lastgood_benches::{Answers, Recorded, form, recorded};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Bodies up to this size are copied behind their head.
const COPIED: usize = 4 << 10;

/// The head up to its `Date`, and the body.
struct Prepared {
    head: Vec<u8>,
    body: Bytes,
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_default();
    let folder = arguments.next().unwrap_or_default();
    let is_origin = arguments.next().is_some();
    let answers = Arc::new(recorded(Path::new(&folder), |recorded| Prepared::of(recorded, is_origin))?);
    let listener = TcpListener::bind(address).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let answers = Arc::clone(&answers);
        // A connection that ends badly is its client's affair.
        tokio::spawn(async move { drop(serve(&answers, stream).await) });
    }
}

impl Prepared {
    fn of(recorded: Recorded, is_origin: bool) -> Prepared {
        let mut head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n", recorded.body.len()).into_bytes();
        for (name, value) in &recorded.headers {
            if !is_origin || name.as_str().starts_with("content-") {
                head.extend_from_slice(&[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
            }
        }
        if is_origin {
            head.extend_from_slice(b"cache-control: max-age=86400\r\nvary: accept-encoding\r\n");
        }
        Prepared { head, body: recorded.body }
    }
}

async fn serve(answers: &Answers<Prepared>, mut stream: TcpStream) -> io::Result<()> {
    let (mut input, mut filled) = (vec![0; 16 << 10], 0);
    let (mut output, mut date) = (Vec::with_capacity(8 << 10), Date::default());
    loop {
        let read = stream.read(&mut input[filled..]).await?;
        if read == 0 {
            return Ok(());
        }
        filled += read;
        let mut taken = 0;
        output.clear();
        while let Some((length, found)) = parse(answers, &input[taken..filled])? {
            taken += length;
            date.write_now();
            output.extend_from_slice(&found.head);
            output.extend_from_slice(&date.line);
            if found.body.len() <= COPIED {
                output.extend_from_slice(&found.body);
            } else {
                write_both(&mut stream, &output, &found.body).await?;
                output.clear();
            }
        }
        if !output.is_empty() {
            stream.write_all(&output).await?;
        }
        input.copy_within(taken..filled, 0);
        filled -= taken;
    }
}

/// The length of the first request's head, and what answers it.
fn parse<'a>(answers: &'a Answers<Prepared>, input: &[u8]) -> io::Result<Option<(usize, &'a Prepared)>> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut request = httparse::Request::new(&mut headers);
    let length = match request.parse(input).map_err(io::Error::other)? {
        httparse::Status::Complete(length) => length,
        httparse::Status::Partial => return Ok(None),
    };
    let encoding = request.headers.iter().find(|header| header.name.eq_ignore_ascii_case("accept-encoding"));
    let form = form(encoding.map(|header| header.value));
    let forms = request.path.and_then(|target| answers.get(target));
    forms.map(|forms| Some((length, &forms[form]))).ok_or_else(|| io::Error::other("an unknown target"))
}

async fn write_both(stream: &mut TcpStream, head: &[u8], body: &[u8]) -> io::Result<()> {
    let mut written = 0;
    while written < head.len() {
        written += stream.write_vectored(&[IoSlice::new(&head[written..]), IoSlice::new(body)]).await?;
    }
    stream.write_all(&body[written - head.len()..]).await
}

/// The end of a head: its `Date`, written again each second.
#[derive(Default)]
struct Date {
    second: u64,
    line: Vec<u8>,
}

impl Date {
    fn write_now(&mut self) {
        let now = SystemTime::now();
        let second = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        if second != self.second {
            self.second = second;
            self.line = format!("date: {}\r\n\r\n", httpdate::fmt_http_date(now)).into_bytes();
        }
    }
}
