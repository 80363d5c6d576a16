//! The one HTTP client, for requests to buckets. The one that the driver of buckets brings speaks HTTP/2 and streams bodies,
//! which no request here needs, and which take long to compile.

use async_trait::async_trait;
use http::{HeaderValue, Request, header};
use http_body_util::BodyExt as _;
use lastgood::http_client::{self, HttpError as Unanswered};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody, HttpService,
};

/// Hands the one client to the driver.
#[derive(Debug)]
pub(super) struct Connector(pub(super) http_client::HttpClient);

impl HttpConnector for Connector {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Service(self.0.clone())))
    }
}

#[derive(Debug)]
struct Service(http_client::HttpClient);

#[async_trait]
impl HttpService for Service {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (mut head, body) = request.into_parts();
        head.headers.entry(header::ACCEPT).or_insert(HeaderValue::from_static("*/*"));
        let body = http_client::body(body.collect().await?.to_bytes());
        let response = self.0.send(Request::from_parts(head, body)).await.map_err(failed)?;
        Ok(response.map(|body| HttpResponseBody::new(body.map_err(|why| failed(Unanswered::BrokeOff(why.into()))))))
    }
}

/// Reads are all that is asked, so what breaks off may be asked again.
fn failed(why: Unanswered) -> HttpError {
    let kind = match &why {
        why if why.is_timeout() => HttpErrorKind::Timeout,
        why if why.is_unsent() => HttpErrorKind::Connect,
        _ => HttpErrorKind::Interrupted,
    };
    HttpError::new(kind, why)
}
