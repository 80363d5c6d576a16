//! Connecting, directly or by a proxy.

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::SocksV5;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tower_service::Service;

use super::failure::Why;
use super::names::Names;
use super::{Proxies, Proxy, ProxyFailure, port_of};

/// The longest head of a proxy's answer.
const LONGEST_HEAD: usize = 8 << 10;

/// A connection to a destination, or a tunnel to it. TLS with the destination is still to begin; what there may be of it
/// here is with the proxy.
pub type ProxyStream = MaybeHttpsStream<TokioIo<TcpStream>>;

type BoxError = Box<dyn Error + Send + Sync>;

/// Connects to destinations for an HTTP client, which speaks TLS over it if need be.
#[derive(Clone, Debug)]
pub struct ProxyConnector {
    inner: HttpsConnector<HttpConnector<Names>>,
    proxies: Proxies,
    connect_timeout: Duration,
}

impl ProxyConnector {
    /// A connector by these proxies. `tls` is for proxies that are reached over TLS. A connection may take
    /// `connect_timeout`, and a proxy that long again to lead on.
    pub fn new(proxies: Proxies, tls: ClientConfig, connect_timeout: Duration) -> ProxyConnector {
        ProxyConnector::with_names(Names::default(), proxies, tls, connect_timeout)
    }

    /// The same, where names may lead to these addresses alone. The proxy's own name is held to it, too.
    pub(crate) fn with_names(
        names: Names,
        proxies: Proxies,
        tls: ClientConfig,
        connect_timeout: Duration,
    ) -> ProxyConnector {
        let mut tcp = HttpConnector::new_with_resolver(names);
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(Duration::from_secs(30)));
        tcp.set_connect_timeout(Some(connect_timeout));
        let inner =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(tcp);
        ProxyConnector { inner, proxies, connect_timeout }
    }

    /// Connects to where a URL leads: its scheme, host and port.
    ///
    /// # Errors
    ///
    /// Why there is no connection; a [`ProxyFailure`] where it is the proxy's.
    pub async fn connect(mut self, destination: Uri) -> Result<ProxyStream, BoxError> {
        let host = destination.host().ok_or("the URL names no host")?;
        let port = port_of(&destination).ok_or("the URL names no port")?;
        let Some(proxy) = self.proxies.of(&destination) else {
            return self.inner.call(at("http", host, port)?).await;
        };
        let failed = |why| ProxyFailure { proxy: proxy.to_string(), destination: format!("{host}:{port}"), why };
        if proxy.is_socks() {
            let by_socks = self.socks(&proxy, at("http", host, port)?);
            let connected = timeout(self.connect_timeout * 2, by_socks).await;
            let connected = connected.unwrap_or_else(|_| Err("no answer in time".into()));
            return connected.map_err(|why| failed(Why::Socks(innermost(&*why))).into());
        }
        let scheme = proxy.0.uri().scheme_str().unwrap_or("http");
        let connected =
            timeout(self.connect_timeout * 2, self.inner.call(at(scheme, proxy.host(), proxy.port())?)).await;
        let connected = connected.unwrap_or_else(|_| Err("no answer in time".into()));
        let stream = connected.map_err(|why| failed(Why::Unreachable(innermost(&*why))))?;
        let tunnel = timeout(self.connect_timeout, tunnel(stream, &proxy, host, port)).await;
        let tunnel = tunnel.unwrap_or_else(|_| Err(Why::Unreachable("no answer in time".to_owned())));
        Ok(tunnel.map_err(failed)?)
    }

    async fn socks(&self, proxy: &Proxy, destination: Uri) -> Result<ProxyStream, BoxError> {
        let mut socks = SocksV5::new(at("http", proxy.host(), proxy.port())?, self.inner.clone());
        if let Some((user, password)) = proxy.0.raw_auth() {
            socks = socks.with_auth(user.to_owned(), password.to_owned());
        }
        socks.call(destination).await.map_err(|why| why.to_string().into())
    }
}

fn at(scheme: &str, host: &str, port: u16) -> Result<Uri, BoxError> {
    let authority = format!("{host}:{port}");
    Ok(Uri::builder().scheme(scheme).authority(authority).path_and_query("/").build()?)
}

/// Has the proxy lead on to a host.
async fn tunnel(stream: ProxyStream, proxy: &Proxy, host: &str, port: u16) -> Result<ProxyStream, Why> {
    let broken = |why: std::io::Error| Why::Unreachable(why.to_string());
    let mut head = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n").into_bytes();
    if let Some(authorization) = proxy.authorization() {
        head.extend_from_slice(b"Proxy-Authorization: ");
        head.extend_from_slice(authorization.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    let mut stream = TokioIo::new(stream);
    stream.write_all(&head).await.map_err(broken)?;
    stream.flush().await.map_err(broken)?;
    let mut answer = Vec::new();
    // Byte by byte, so that nothing of what the destination says is taken for the proxy's.
    while !answer.ends_with(b"\r\n\r\n") {
        if answer.len() == LONGEST_HEAD {
            return Err(Why::Unreachable("it does not answer as a proxy does".to_owned()));
        }
        answer.push(stream.read_u8().await.map_err(|_| Why::Unreachable("it closed the connection".to_owned()))?);
    }
    match status(&answer) {
        Some(200..=299) => Ok(stream.into_inner()),
        // Some proxies answer as if they were the destination.
        Some(401 | 407) => Err(Why::Unauthorized { given: proxy.authorization().is_some() }),
        Some(status @ (500 | 502..=599)) => Err(Why::Failed(status)),
        Some(status) => Err(Why::Refused(status)),
        None => Err(Why::Unreachable("it does not answer as a proxy does".to_owned())),
    }
}

/// The status of an answer that begins with `HTTP/1.1 200`.
fn status(answer: &[u8]) -> Option<u16> {
    let line = std::str::from_utf8(answer.split(|byte| *byte == b'\r').next()?).ok()?;
    let (version, rest) = line.split_once(' ')?;
    let code = rest.get(..3).filter(|_| rest.as_bytes().get(3).is_none_or(|byte| *byte == b' '))?;
    code.parse().ok().filter(|_| version.starts_with("HTTP/1."))
}

fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(inner) = innermost.source() {
        innermost = inner;
    }
    innermost.to_string()
}

impl Service<Uri> for ProxyConnector {
    type Response = ProxyStream;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<ProxyStream, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, destination: Uri) -> Self::Future {
        Box::pin(self.clone().connect(destination))
    }
}
