//! What hyper costs with a body in memory and nothing else.
//!
//! `bare_hyper ADDRESS FOLDER [all-headers]` serves what `benches/hits.py` has recorded; by default with its content type and
//! encoding alone, with `all-headers` with each header that the gateway sends.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use lastgood_benches::{Answers, Recorded, form, recorded};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_default();
    let folder = arguments.next().unwrap_or_default();
    let all_headers = arguments.next().is_some();
    let answers = recorded(Path::new(&folder), |mut recorded| {
        recorded.headers.retain(|(name, _)| all_headers || name == CONTENT_TYPE || name == CONTENT_ENCODING);
        recorded
    });
    let answers = Arc::new(answers?);
    let listener = TcpListener::bind(address).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let answers = Arc::clone(&answers);
        let service = service_fn(move |request| {
            let response = answer(&answers, &request);
            async move { Ok::<_, Infallible>(response) }
        });
        let mut http = http1::Builder::new();
        http.writev(true);
        // A connection that ends badly is its client's affair.
        tokio::spawn(async move { drop(http.serve_connection(TokioIo::new(stream), service).await) });
    }
}

fn answer(answers: &Answers<Recorded>, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let target = request.uri().path_and_query().map_or("", |target| target.as_str());
    let form = form(request.headers().get(ACCEPT_ENCODING).map(HeaderValue::as_bytes));
    let Some(forms) = answers.get(target) else {
        let mut missing = Response::default();
        *missing.status_mut() = StatusCode::NOT_FOUND;
        return missing;
    };
    let recorded = &forms[form];
    let mut headers = HeaderMap::with_capacity(recorded.headers.len() + 2);
    headers.extend(recorded.headers.iter().cloned());
    let mut response = Response::new(Full::new(recorded.body.clone()));
    *response.headers_mut() = headers;
    response
}
