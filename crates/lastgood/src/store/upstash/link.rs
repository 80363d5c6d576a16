//! Requests and their answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, StatusCode, header};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, sleep, timeout};

use super::UpstashOptions;
use crate::http_client::{self, HttpClient, HttpError, HttpOptions, NoTls, RequestBody, Trust};
use crate::keyed_mutex::KeyedMutex;
use crate::store::StoreError;

/// The backstop of callers that set no deadline of their own.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// The longest that connecting may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);

/// How long a read goes on after its caller gave up. It so makes a connection that the next caller finds, and leaves
/// one whole that is merely slower than that caller's budget.
const FINISH_WITHIN: Duration = Duration::from_secs(1);

/// A request that was given up after this long without an answer says that the connections are dead.
const SILENT_AFTER: Duration = Duration::from_millis(500);

/// The most reads, and the most writes, under way at once, each with a connection of its own; more wait for their turn.
const READS_AT_ONCE: usize = 64;
const WRITES_AT_ONCE: usize = 32;

/// The most that one answer may hold, in bytes.
const LONGEST_ANSWER: usize = 64 << 20;

/// Has a database of many regions read what this client wrote before.
const SYNC_TOKEN: HeaderName = HeaderName::from_static("upstash-sync-token");
const LONGEST_SYNC_TOKEN: usize = 4096;

const ENCODING: HeaderName = HeaderName::from_static("upstash-encoding");
const USER_AGENT: &str = concat!("lastgood/", env!("CARGO_PKG_VERSION"));

/// What came back, whatever it says.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

/// The connections to one database.
pub(super) struct Link {
    options: UpstashOptions,
    client: ArcSwap<HttpClient>,
    reads: Arc<Semaphore>,
    writes: Arc<Semaphore>,
    /// Keys that are being written.
    written: KeyedMutex,
    sync_token: ArcSwapOption<HeaderValue>,
    /// Commands that were sent.
    commands: AtomicU64,
}

impl Link {
    pub(super) fn new(options: UpstashOptions) -> Result<Arc<Link>, StoreError> {
        let client = client(&options).map_err(|why| StoreError::Unavailable(format!("{options}: {why}")))?;
        Ok(Arc::new(Link {
            options,
            client: ArcSwap::from_pointee(client),
            reads: Arc::new(Semaphore::new(READS_AT_ONCE)),
            writes: Arc::new(Semaphore::new(WRITES_AT_ONCE)),
            written: KeyedMutex::default(),
            sync_token: ArcSwapOption::empty(),
            commands: AtomicU64::new(0),
        }))
    }

    pub(super) fn options(&self) -> &UpstashOptions {
        &self.options
    }

    /// How many commands were sent so far, whatever became of them.
    pub(super) fn commands(&self) -> u64 {
        self.commands.load(Ordering::Relaxed)
    }

    /// From now on nothing is asked.
    pub(super) fn close(&self) {
        self.reads.close();
        self.writes.close();
    }

    /// Sends this many commands that change nothing. They go on for a while when the caller gives up.
    pub(super) async fn read(self: &Arc<Self>, path: &str, body: Bytes, commands: usize) -> Result<Answer, StoreError> {
        let request = self.request(path, body)?;
        let asked = async {
            let place = self.place(&self.reads).await?;
            self.commands.fetch_add(commands as u64, Ordering::Relaxed);
            self.in_background(request, FINISH_WITHIN, place).await
        };
        timeout(ANSWER_WITHIN, asked).await.unwrap_or(Err(StoreError::Timeout))
    }

    /// Sends a request that changes these keys, after what was sent for any of them before has been answered: requests
    /// go over many connections, and one that its caller gave up could otherwise take effect after the next.
    pub(super) async fn write(
        self: &Arc<Self>,
        path: &str,
        body: Bytes,
        keys: &[String],
    ) -> Result<Answer, StoreError> {
        let request = self.request(path, body)?;
        let asked = async {
            let held = self.written.lock_all(keys).await;
            let place = self.place(&self.writes).await?;
            self.commands.fetch_add(1, Ordering::Relaxed);
            self.in_background(request, ANSWER_WITHIN, (held, place)).await
        };
        timeout(ANSWER_WITHIN, asked).await.unwrap_or(Err(StoreError::Timeout))
    }

    async fn place(&self, places: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, StoreError> {
        let place = Arc::clone(places).acquire_owned().await;
        place.map_err(|_| self.unavailable("the store was closed"))
    }

    /// Sends a request on a task of its own, which keeps `held` until there is an answer, and ends `patience` after the
    /// caller gave up.
    async fn in_background(
        self: &Arc<Self>,
        request: Request<RequestBody>,
        patience: Duration,
        held: impl Send + 'static,
    ) -> Result<Answer, StoreError> {
        let (mut tell, outcome) = oneshot::channel();
        let link = Arc::clone(self);
        tokio::spawn(async move {
            let given_up = async {
                tell.closed().await;
                sleep(patience).await;
            };
            let answer = tokio::select! {
                answer = timeout(ANSWER_WITHIN, link.exchange(request)) => answer.unwrap_or(Err(StoreError::Timeout)),
                () = given_up => return,
            };
            drop(held);
            _ = tell.send(answer);
        });
        outcome.await.unwrap_or_else(|_| Err(self.unavailable("the request was given up")))
    }

    fn request(&self, path: &str, body: Bytes) -> Result<Request<RequestBody>, StoreError> {
        let mut request = Request::post(format!("{}{path}", self.options.base()))
            .header(header::AUTHORIZATION, self.options.authorization())
            .header(header::USER_AGENT, USER_AGENT)
            .header(header::ACCEPT, "application/json")
            .header(ENCODING, "base64");
        if let Some(token) = &*self.sync_token.load() {
            request = request.header(SYNC_TOKEN, &**token);
        }
        request.body(http_client::body(body)).map_err(|_| self.unavailable("the request cannot be written"))
    }

    async fn exchange(&self, request: Request<RequestBody>) -> Result<Answer, StoreError> {
        let client = self.client.load_full();
        let mut watch = Unanswered { link: self, client: &client, since: Instant::now(), answered: false };
        let answer = self.send(&client, request).await;
        watch.answered = true;
        answer
    }

    async fn send(&self, client: &HttpClient, request: Request<RequestBody>) -> Result<Answer, StoreError> {
        let response = client.send(request).await.map_err(|error| self.unavailable(&error.cause()))?;
        let (head, body) = response.into_parts();
        if let Some(token) = head.headers.get(SYNC_TOKEN).filter(|token| token.len() <= LONGEST_SYNC_TOKEN) {
            self.sync_token.store(Some(Arc::new(token.clone())));
        }
        let body = http_client::read(&head.headers, body, LONGEST_ANSWER).await.map_err(|error| match error {
            HttpError::TooLarge => self.unavailable(&format!("the answer is longer than {} MiB", LONGEST_ANSWER >> 20)),
            HttpError::BrokeOff(_) => self.unavailable("the answer broke off"),
            error => self.unavailable(&error.to_string()),
        })?;
        Ok(Answer { status: head.status, body })
    }

    fn unavailable(&self, why: &str) -> StoreError {
        StoreError::Unavailable(self.options.redact(&format!("{} cannot be used: {why}", self.options)))
    }

    /// Lets go of connections on which nothing comes back, unless somebody did already.
    fn replace(&self, dead: &Arc<HttpClient>) {
        self.client.compare_and_swap(dead, Arc::new(dead.without_connections()));
    }
}

/// Notices a request that was given up.
struct Unanswered<'a> {
    link: &'a Link,
    client: &'a Arc<HttpClient>,
    since: Instant,
    answered: bool,
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if !self.answered && self.since.elapsed() >= SILENT_AFTER {
            self.link.replace(self.client);
        }
    }
}

fn client(options: &UpstashOptions) -> Result<HttpClient, NoTls> {
    // With no TLS there is nothing to check.
    let trust = if options.is_tls() { Trust::System } else { Trust::Nothing };
    HttpClient::new(&HttpOptions { proxies: options.proxies().clone(), trust, ..HttpOptions::new(CONNECT_WITHIN) })
}
