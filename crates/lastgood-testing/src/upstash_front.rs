//! Upstash's REST protocol in front of a real `redis-server`.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ::redis::aio::MultiplexedConnection;
use ::redis::{Client, Cmd, RedisError, Value};
use arc_swap::ArcSwapOption;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use serde_json::{Value as Json, json};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use super::RedisServer;

/// An answer of a front that has nothing to do with what was asked.
#[derive(Clone, Debug)]
pub struct Canned {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: BTreeMap<String, String>,
    /// Its body.
    pub body: Bytes,
}

/// Speaks Upstash's REST protocol on a free port of the loopback address, and Redis to a [`RedisServer`]. It keeps to
/// the rules that Upstash documents: the command in the path, the query and the raw body, or as a JSON array;
/// `/pipeline`; a bearer token; replies in base64 on request. Commands are the server's business, so what works and what
/// fails is what works and fails in Redis. It ends when dropped.
pub struct UpstashFront {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    token: String,
    redis: MultiplexedConnection,
    canned: ArcSwapOption<Canned>,
    asked: AtomicU64,
    writes: AtomicU64,
    sync_token: ArcSwapOption<HeaderValue>,
}

impl UpstashFront {
    /// Starts to answer those who bring `token`, for `server`.
    ///
    /// # Panics
    ///
    /// When no port is free or the server does not answer.
    pub async fn start(server: &RedisServer, token: &str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("the loopback address has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let client = Client::open(server.url()).expect("a good URL");
        let shared = Arc::new(Shared {
            token: token.to_owned(),
            redis: client.get_multiplexed_async_connection().await.expect("redis-server answers"),
            canned: ArcSwapOption::empty(),
            asked: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            sync_token: ArcSwapOption::empty(),
        });
        let task = tokio::spawn(serve(listener, Arc::clone(&shared)));
        UpstashFront { address, shared, task }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:port`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on gives this answer to everything; `None` ends that.
    pub fn answer_with(&self, canned: Option<Canned>) {
        self.shared.canned.store(canned.map(Arc::new));
    }

    /// How many requests reached it so far, refused ones included.
    pub fn asked(&self) -> u64 {
        self.shared.asked.load(Ordering::Relaxed)
    }

    /// The sync token that came with the last request, and the one that was given out last.
    pub fn sync_tokens(&self) -> (Option<String>, String) {
        let brought = self.shared.sync_token.load().as_ref().map(|token| text(token.as_bytes()));
        (brought, self.shared.writes.load(Ordering::Relaxed).to_string())
    }
}

impl Drop for UpstashFront {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for UpstashFront {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpstashFront").field("address", &self.address).finish_non_exhaustive()
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        _ = stream.set_nodelay(true);
        while connections.try_join_next().is_some() {}
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let service = service_fn(|request| {
                let shared = Arc::clone(&shared);
                async move { Ok::<_, Infallible>(shared.answer(request).await) }
            });
            _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

impl Shared {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if let Some(canned) = &*self.canned.load() {
            let mut response = Response::builder().status(canned.status);
            for (name, value) in &canned.headers {
                response = response.header(name, value);
            }
            return response.body(Full::new(canned.body.clone())).expect("a good answer");
        }
        let (status, answer) =
            self.execute(request).await.unwrap_or_else(|(status, why)| (status, json!({"error": why})));
        Response::builder()
            .status(status)
            .header(header::CONTENT_TYPE, "application/json")
            .header("upstash-sync-token", self.writes.fetch_add(1, Ordering::Relaxed) + 1)
            .body(Full::new(answer.to_string().into()))
            .expect("a good answer")
    }

    async fn execute(&self, request: Request<Incoming>) -> Result<(StatusCode, Json), (StatusCode, String)> {
        let bad = |why: &str| (StatusCode::BAD_REQUEST, format!("ERR {why}"));
        let (head, body) = request.into_parts();
        let body = body.collect().await.map_err(|_| bad("the body broke off"))?.to_bytes();
        let said = |name: &str| head.headers.get(name).map(HeaderValue::as_bytes).unwrap_or_default();
        if said("authorization") != format!("Bearer {}", self.token).as_bytes() {
            return Err((StatusCode::UNAUTHORIZED, "WRONGPASS invalid or missing auth token".to_owned()));
        }
        if ![Method::GET, Method::HEAD, Method::POST, Method::PUT].contains(&head.method) {
            return Err((StatusCode::METHOD_NOT_ALLOWED, "ERR method not allowed".to_owned()));
        }
        self.sync_token.store(head.headers.get("upstash-sync-token").cloned().map(Arc::new));
        let encoded = said("upstash-encoding") == b"base64";
        match head.uri.path() {
            "/" => {
                let command = of_json(serde_json::from_slice(&body).map_err(|_| bad("failed to parse command"))?)?;
                match self.run(command, encoded).await {
                    Ok(result) => Ok((StatusCode::OK, json!({ "result": result }))),
                    Err(why) => Err((StatusCode::BAD_REQUEST, why)),
                }
            }
            "/pipeline" => {
                let commands: Vec<Json> =
                    serde_json::from_slice(&body).map_err(|_| bad("failed to parse pipeline request"))?;
                let mut answers = Vec::new();
                for command in commands {
                    answers.push(match self.run(of_json(command)?, encoded).await {
                        Ok(result) => json!({ "result": result }),
                        Err(why) => json!({ "error": why }),
                    });
                }
                Ok((StatusCode::OK, answers.into()))
            }
            path => {
                let command = of_path(path, &body, head.uri.query());
                match self.run(command, encoded).await {
                    Ok(result) => Ok((StatusCode::OK, json!({ "result": result }))),
                    Err(why) => Err((StatusCode::BAD_REQUEST, why)),
                }
            }
        }
    }

    async fn run(&self, words: Vec<Vec<u8>>, encoded: bool) -> Result<Json, String> {
        let mut command = Cmd::new();
        for word in &words {
            command.arg(word);
        }
        match command.query_async::<Value>(&mut self.redis.clone()).await {
            Ok(value) => Ok(to_json(value, encoded)),
            Err(error) => Err(said_by(&error)),
        }
    }
}

fn said_by(error: &RedisError) -> String {
    match error.code() {
        Some(code) => format!("{code} {}", error.detail().unwrap_or_default()),
        None => format!("ERR {error}"),
    }
}

/// A command as an array, of strings and numbers.
fn of_json(command: Json) -> Result<Vec<Vec<u8>>, (StatusCode, String)> {
    let words = command.as_array().filter(|words| !words.is_empty());
    let words = words.ok_or((StatusCode::BAD_REQUEST, "ERR empty command".to_owned()))?;
    let word = |word: &Json| match word {
        Json::String(text) => text.clone().into_bytes(),
        other => other.to_string().into_bytes(),
    };
    Ok(words.iter().map(word).collect())
}

/// A command as a path: the body is the argument behind those of the path, and the query follows.
fn of_path(path: &str, body: &Bytes, query: Option<&str>) -> Vec<Vec<u8>> {
    let decoded = |text: &str| percent_decode_str(text).collect::<Vec<u8>>();
    let mut words: Vec<Vec<u8>> = path.trim_start_matches('/').split('/').map(decoded).collect();
    if !body.is_empty() {
        words.push(body.to_vec());
    }
    for pair in query.into_iter().flat_map(|query| query.split('&')) {
        words.extend(pair.splitn(2, '=').filter(|part| !part.is_empty()).map(decoded));
    }
    words
}

fn to_json(value: Value, encoded: bool) -> Json {
    let string = |bytes: &[u8]| if encoded { STANDARD.encode(bytes) } else { text(bytes) };
    match value {
        Value::Int(number) => number.into(),
        Value::BulkString(bytes) => string(&bytes).into(),
        Value::SimpleString(line) => string(line.as_bytes()).into(),
        // The one string that is never encoded.
        Value::Okay => "OK".into(),
        Value::VerbatimString { text, .. } => string(text.as_bytes()).into(),
        Value::Array(values) => values.into_iter().map(|value| to_json(value, encoded)).collect::<Vec<_>>().into(),
        _ => Json::Null,
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
