//! The HTTP client of APIs, for requests to buckets. The one that the driver of buckets brings speaks HTTP/2 and streams bodies,
//! which no request here needs, and which take long to compile.

use async_trait::async_trait;
use http_body_util::BodyExt as _;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody, HttpService,
};
use reqwest::{Client, Request, Url};

/// Hands the one client to the driver.
#[derive(Debug)]
pub(super) struct Connector(pub(super) Client);

impl HttpConnector for Connector {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Service(self.0.clone())))
    }
}

#[derive(Debug)]
struct Service(Client);

#[async_trait]
impl HttpService for Service {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (head, body) = request.into_parts();
        let url = Url::parse(&head.uri.to_string()).map_err(|why| HttpError::new(HttpErrorKind::Unknown, why))?;
        let mut asked = Request::new(head.method, url);
        *asked.headers_mut() = head.headers;
        *asked.body_mut() = Some(body.collect().await?.to_bytes().into());
        let response: http::Response<reqwest::Body> = self.0.execute(asked).await.map_err(failed)?.into();
        Ok(response.map(|body| HttpResponseBody::new(body.map_err(failed))))
    }
}

/// Reads are all that is asked, so what breaks off may be asked again.
fn failed(why: reqwest::Error) -> HttpError {
    let kind = match &why {
        why if why.is_timeout() => HttpErrorKind::Timeout,
        why if why.is_connect() => HttpErrorKind::Connect,
        why if why.is_decode() => HttpErrorKind::Decode,
        why if why.is_builder() => HttpErrorKind::Unknown,
        _ => HttpErrorKind::Interrupted,
    };
    // URLs may be signed.
    HttpError::new(kind, why.without_url())
}
