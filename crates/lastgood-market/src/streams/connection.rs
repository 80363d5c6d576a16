//! One WebSocket connection to the exchange.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use http::Uri;
use hyper_util::rt::TokioIo;
use lastgood::http_client::{Trust, tls};
use lastgood::proxy::{Proxies, ProxyConnector, ProxyStream};
use rustls::ClientConfig;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, client_async_tls_with_config};

use super::error::StreamError;
use crate::Venue;
use crate::stream::stream_path;
use crate::upstream::BaseUrl;

/// How long the exchange may take to let us in.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// No market-data message is longer.
const LONGEST_MESSAGE: usize = 1 << 20;

/// How connections are made.
pub(super) struct Connector {
    proxies: Proxies,
}

impl Connector {
    pub(super) fn new(proxies: &Proxies) -> Connector {
        Connector { proxies: proxies.clone() }
    }

    /// Connects to where a URL leads, directly or by a proxy, without TLS as yet. Also gives the TLS to be spoken.
    async fn connect(&self, url: &Uri) -> Result<(ProxyStream, Option<ClientConfig>), StreamError> {
        let is_tls = url.scheme_str() == Some("wss");
        let trust = if is_tls || self.proxies.of(url).is_some() { Trust::System } else { Trust::Nothing };
        let tls = tls(trust).map_err(StreamError::Tls)?;
        let connector = ProxyConnector::new(self.proxies.clone(), tls.clone(), CONNECT_WITHIN);
        let connected = connector.connect(url.clone()).await;
        Ok((connected.map_err(StreamError::Unreachable)?, is_tls.then_some(tls)))
    }
}

/// A connection that text is sent to and read from. Pings are answered on the way.
pub(super) struct Connection(WebSocketStream<MaybeTlsStream<TokioIo<ProxyStream>>>);

impl Connection {
    /// Connects to a host's combined streams.
    pub(super) async fn open(connector: &Connector, host: &BaseUrl, venue: Venue) -> Result<Connection, StreamError> {
        let url = format!("{}{}", host.as_str(), stream_path(venue));
        let connecting = async {
            let uri: Uri = url.parse().map_err(StreamError::Address)?;
            let (stream, tls) = connector.connect(&uri).await?;
            let mut limits = WebSocketConfig::default();
            limits.max_message_size = Some(LONGEST_MESSAGE);
            limits.max_frame_size = Some(LONGEST_MESSAGE);
            let tls = tls
                .map_or(tokio_tungstenite::Connector::Plain, |tls| tokio_tungstenite::Connector::Rustls(Arc::new(tls)));
            let opened = client_async_tls_with_config(url, TokioIo::new(stream), Some(limits), Some(tls)).await;
            opened.map(|(socket, _)| Connection(socket)).map_err(StreamError::from)
        };
        timeout(CONNECT_WITHIN, connecting).await.unwrap_or(Err(StreamError::Late))
    }

    pub(super) async fn send(&mut self, text: String) -> Result<(), StreamError> {
        let sent = timeout(CONNECT_WITHIN, self.0.send(Message::text(text))).await;
        Ok(sent.map_err(|_| StreamError::Stuck)??)
    }

    /// The next text. May be dropped at any time without losing one.
    pub(super) async fn next(&mut self) -> Result<String, StreamError> {
        loop {
            match self.0.next().await {
                Some(Ok(Message::Text(text))) => return Ok(text.as_str().to_owned()),
                // Pings are answered as the next message is read; the rest says nothing.
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Binary(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Close(_))) | None => return Err(StreamError::Closed),
                Some(Err(why)) => return Err(why.into()),
            }
        }
    }
}
