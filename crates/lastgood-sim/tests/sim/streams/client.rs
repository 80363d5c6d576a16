//! A subscriber.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error, Message, protocol::CloseFrame};

use crate::support::Exchange;

pub(super) struct Client(WebSocketStream<TcpStream>);

impl Client {
    pub(super) async fn open(exchange: &Exchange, path: &str) -> Client {
        Client::try_open(exchange, path).await.unwrap_or_else(|(status, body)| panic!("{path}: {status} {body}"))
    }

    /// Or the status and the body of the refusal.
    pub(super) async fn try_open(exchange: &Exchange, path: &str) -> Result<Client, (u16, String)> {
        let stream = TcpStream::connect(exchange.address).await.unwrap();
        let url = format!("ws://{}{path}", exchange.address);
        match tokio_tungstenite::client_async(url, stream).await {
            Ok((socket, _)) => Ok(Client(socket)),
            Err(Error::Http(response)) => {
                let body = String::from_utf8(response.body().clone().unwrap_or_default()).unwrap();
                Err((response.status().as_u16(), body))
            }
            Err(error) => panic!("{path}: {error}"),
        }
    }

    /// Whatever comes next, none at the end.
    pub(super) async fn message(&mut self) -> Option<Result<Message, Error>> {
        tokio::time::timeout(Duration::from_secs(20), self.0.next()).await.expect("something comes")
    }

    /// The next text.
    pub(super) async fn text(&mut self) -> String {
        loop {
            match self.message().await {
                Some(Ok(Message::Text(text))) => return text.to_string(),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("no text: {other:?}"),
            }
        }
    }

    pub(super) async fn event(&mut self) -> Value {
        let text = self.text().await;
        serde_json::from_str(&text).unwrap_or_else(|why| panic!("{why}: {text}"))
    }

    /// How the connection ends: with a frame or without. What comes before is passed over.
    pub(super) async fn end(&mut self) -> Option<CloseFrame> {
        loop {
            match self.message().await {
                Some(Ok(Message::Close(frame))) => return frame,
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return None,
            }
        }
    }

    pub(super) async fn send(&mut self, message: impl Into<Message>) {
        self.0.send(message.into()).await.unwrap();
    }

    /// The next text after a request, answer or not.
    pub(super) async fn ask_first(&mut self, request: Value) -> Value {
        self.send(request.to_string()).await;
        self.event().await
    }

    /// The answer to a request; events before it are passed over.
    pub(super) async fn ask(&mut self, request: Value) -> Value {
        let mut reply = self.ask_first(request).await;
        while reply.get("id").is_none() && reply.get("error").is_none() {
            reply = self.event().await;
        }
        reply
    }

    pub(super) async fn list(&mut self) -> Vec<String> {
        let answer = self.ask(json!({"method": "LIST_SUBSCRIPTIONS", "id": 77})).await;
        serde_json::from_value(answer["result"].clone()).unwrap()
    }

    /// Nothing was sent that was not read: the next thing to come is the answer to a question.
    pub(super) async fn assert_silent(&mut self) {
        let first = self.ask_first(json!({"method": "LIST_SUBSCRIPTIONS", "id": 78})).await;
        assert_eq!(first["id"], json!(78), "{first}");
    }
}
