//! One WebSocket connection to the exchange.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use hyper_rustls::ConfigBuilderExt as _;
use lastgood_market::Venue;
use lastgood_market::stream::stream_path;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, client_async_tls_with_config};

use crate::config::BaseUrl;

/// How long the exchange may take to let us in.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// No market-data message is longer.
const LONGEST_MESSAGE: usize = 1 << 20;

/// A connection that text is sent to and read from. Pings are answered on the way.
pub(super) struct Connection(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Connection {
    /// Connects to a base's combined streams.
    pub(super) async fn open(base: &BaseUrl, venue: Venue) -> Result<Connection, String> {
        let url = format!("{}{}", base.as_str(), stream_path(venue));
        let connecting = async {
            let socket = TcpStream::connect((base.host(), base.port())).await.map_err(|why| why.to_string())?;
            socket.set_nodelay(true).map_err(|why| why.to_string())?;
            let mut limits = WebSocketConfig::default();
            limits.max_message_size = Some(LONGEST_MESSAGE);
            limits.max_frame_size = Some(LONGEST_MESSAGE);
            let connector = match base.url().scheme() {
                "wss" => Connector::Rustls(Arc::new(tls()?)),
                _ => Connector::Plain,
            };
            let opened = client_async_tls_with_config(url, socket, Some(limits), Some(connector)).await;
            opened.map(|(socket, _)| Connection(socket)).map_err(|why| why.to_string())
        };
        timeout(CONNECT_WITHIN, connecting).await.unwrap_or_else(|_| Err("no connection in time".to_owned()))
    }

    pub(super) async fn send(&mut self, text: String) -> Result<(), String> {
        let sent = timeout(CONNECT_WITHIN, self.0.send(Message::text(text))).await;
        sent.map_err(|_| "nothing can be sent".to_owned())?.map_err(|why| why.to_string())
    }

    /// The next text. May be dropped at any time without losing one.
    pub(super) async fn next(&mut self) -> Result<String, String> {
        loop {
            match self.0.next().await {
                Some(Ok(Message::Text(text))) => return Ok(text.as_str().to_owned()),
                // Pings are answered as the next message is read; the rest says nothing.
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Binary(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Close(_))) | None => return Err("closed by the exchange".to_owned()),
                Some(Err(tungstenite::Error::ConnectionClosed)) => return Err("closed by the exchange".to_owned()),
                Some(Err(why)) => return Err(why.to_string()),
            }
        }
    }
}

fn tls() -> Result<rustls::ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let roots = builder.map_err(|why| why.to_string())?.with_native_roots();
    Ok(roots.map_err(|why| why.to_string())?.with_no_client_auth())
}
