//! The one HTTP client, for all that is asked over HTTP. Feature `proxy`.
//!
//! It speaks HTTP/1.1, with TLS or without, by the proxies that lead out ([`crate::proxy`]). A request goes out with the
//! headers and the bytes of the URL that it has, `Host` added; one whose kept connection turns out to be closed goes out over
//! another. No redirect is followed.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::timeout;
use tower_service::Service;

use crate::proxy::{Names, Proxies, ProxyConnector, ProxyStream};

mod body;
mod cause;
mod error;
mod tls;

pub use self::body::read;
pub use self::cause::{Progress, Stage};
pub use self::error::{HttpError, NoTls};
pub use self::tls::{Trust, tls};
pub use hyper::body::Incoming;

/// How long an unused connection is kept.
const IDLE_FOR: Duration = Duration::from_secs(60);

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of a request.
pub type RequestBody = UnsyncBoxBody<Bytes, BoxError>;

/// A body of these bytes, or of none.
pub fn body(bytes: impl Into<Bytes>) -> RequestBody {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// How a client connects.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// For a connection to be made; its name and TLS may take that long again. By way of a proxy both may take twice as long.
    pub connect_timeout: Duration,
    /// The proxies that lead out. None by default.
    pub proxies: Proxies,
    /// The certificates that are trusted. By default those of the system.
    pub trust: Trust,
    /// The addresses that a name may lead to, where no proxy resolves it. By default all of them.
    pub may_lead_to: Option<fn(IpAddr) -> bool>,
}

impl HttpOptions {
    /// Options with this timeout, and all else at its default.
    pub fn new(connect_timeout: Duration) -> HttpOptions {
        HttpOptions { connect_timeout, proxies: Proxies::default(), trust: Trust::System, may_lead_to: None }
    }
}

/// An HTTP client with its connections. Clones share them.
#[derive(Clone)]
pub struct HttpClient {
    client: Client<Connector, RequestBody>,
    connector: Connector,
}

impl HttpClient {
    /// A client that connects in this way.
    ///
    /// # Errors
    ///
    /// When nothing can be trusted.
    pub fn new(options: &HttpOptions) -> Result<HttpClient, NoTls> {
        let tls = tls(options.trust)?;
        let HttpOptions { connect_timeout, proxies, may_lead_to, .. } = options;
        let names = Names(*may_lead_to);
        let tcp = ProxyConnector::with_names(names, proxies.clone(), tls.clone(), *connect_timeout);
        let inner =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(tcp);
        let connector = Connector { inner, proxies: proxies.clone(), connect_timeout: *connect_timeout };
        Ok(HttpClient { client: client(connector.clone()), connector })
    }

    /// The same client with connections of its own, none of them made yet.
    pub fn without_connections(&self) -> HttpClient {
        HttpClient { client: client(self.connector.clone()), connector: self.connector.clone() }
    }

    /// Sends a request. How long that may take is for the caller to say, who also reads the answer's body: see [`read`].
    ///
    /// # Errors
    ///
    /// When there is no connection, or it breaks off before the answer's head has come.
    pub async fn send(&self, request: Request<RequestBody>) -> Result<Response<Incoming>, HttpError> {
        self.client.request(request).await.map_err(HttpError::of)
    }

    /// As [`HttpClient::send`], and `progress` says how far the request has come.
    ///
    /// # Errors
    ///
    /// Those of [`HttpClient::send`].
    pub async fn send_with(
        &self,
        mut request: Request<RequestBody>,
        progress: &Progress,
    ) -> Result<Response<Incoming>, HttpError> {
        progress.sends(&mut request);
        let answer = self.send(request).await?;
        progress.answered();
        Ok(answer)
    }

    /// Sends a request and reads the whole answer, at most `max` bytes of it, `within` this time.
    ///
    /// # Errors
    ///
    /// Those of [`HttpClient::send`] and [`read`], and when it takes too long.
    pub async fn fetch(
        &self,
        request: Request<RequestBody>,
        max: usize,
        within: Duration,
    ) -> Result<Response<Bytes>, HttpError> {
        let fetched = async {
            let (head, body) = self.send(request).await?.into_parts();
            let body = read(&head.headers, body, max).await?;
            Ok(Response::from_parts(head, body))
        };
        timeout(within, fetched).await.unwrap_or(Err(HttpError::TimedOut))
    }
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HttpClient")
    }
}

fn client(connector: Connector) -> Client<Connector, RequestBody> {
    Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE_FOR).build(connector)
}

/// Connects, with TLS where the URL asks for it, and gives up a handshake that hangs.
#[derive(Clone)]
struct Connector {
    inner: HttpsConnector<ProxyConnector>,
    proxies: Proxies,
    connect_timeout: Duration,
}

impl Service<Uri> for Connector {
    type Response = MaybeHttpsStream<ProxyStream>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, destination: Uri) -> Self::Future {
        let within = self.connect_timeout * if self.proxies.of(&destination).is_some() { 4 } else { 2 };
        let connected = self.inner.call(destination);
        Box::pin(async move {
            timeout(within, connected)
                .await
                .unwrap_or_else(|late| Err(io::Error::new(io::ErrorKind::TimedOut, late).into()))
        })
    }
}

#[cfg(test)]
mod tests;
