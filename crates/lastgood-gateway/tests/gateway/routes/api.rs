//! An HTTP API with scripted answers that remembers its requests.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::Request;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// The scripted answer.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: String,
    after: Duration,
}

impl Reply {
    pub(crate) fn json(value: serde_json::Value) -> Reply {
        Reply { body: value.to_string(), ..Reply::status(200) }
    }

    pub(crate) fn text(text: &str) -> Reply {
        Reply { body: text.to_owned(), ..Reply::status(200) }
    }

    pub(crate) fn status(status: u16) -> Reply {
        Reply { status, headers: Vec::new(), body: String::new(), after: Duration::ZERO }
    }

    pub(crate) fn with_status(self, status: u16) -> Reply {
        Reply { status, ..self }
    }

    pub(crate) fn redirect(to: &str) -> Reply {
        Reply::status(302).header("location", to)
    }

    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Reply {
        self.headers.push((name, value.to_owned()));
        self
    }

    pub(crate) fn after(mut self, after: Duration) -> Reply {
        self.after = after;
        self
    }
}

#[derive(Default)]
struct Memory {
    reply: Option<Reply>,
    asked: Vec<String>,
    headers: http::HeaderMap,
}

pub(crate) struct Api {
    address: SocketAddr,
    memory: Arc<Mutex<Memory>>,
    serving: Option<JoinHandle<()>>,
}

impl Api {
    pub(crate) async fn start() -> Api {
        Api::start_at(Ipv4Addr::LOCALHOST.into()).await
    }

    pub(crate) async fn start_at(address: IpAddr) -> Api {
        let listener = TcpListener::bind((address, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let memory = Arc::new(Mutex::new(Memory::default()));
        let router = Router::new().fallback(answer).with_state(Arc::clone(&memory));
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Api { address, memory, serving: Some(serving) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(crate) fn answers(&self, reply: Reply) {
        self.memory.lock().unwrap().reply = Some(reply);
    }

    /// Path and query of every request.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.memory.lock().unwrap().asked.clone()
    }

    pub(crate) fn last_header(&self, name: &str) -> Option<String> {
        let memory = self.memory.lock().unwrap();
        Some(memory.headers.get(name)?.to_str().unwrap().to_owned())
    }

    /// The API is gone: its port refuses.
    pub(crate) async fn stop(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
            let _ = serving.await;
        }
    }
}

async fn answer(State(memory): State<Arc<Mutex<Memory>>>, request: Request<Body>) -> Response {
    let reply = {
        let mut memory = memory.lock().unwrap();
        memory.asked.push(request.uri().to_string());
        memory.headers = request.headers().clone();
        memory.reply.clone().unwrap_or(Reply::status(500))
    };
    tokio::time::sleep(reply.after).await;
    let mut response = Response::builder().status(reply.status).header("content-type", "application/json");
    for (name, value) in &reply.headers {
        response = response.header(*name, value);
    }
    response.body(Body::from(reply.body)).unwrap()
}
