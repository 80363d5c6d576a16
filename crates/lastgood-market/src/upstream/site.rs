//! A site besides the exchange, with one kind of question and no published weights.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use lastgood::condition::Condition;
use lastgood::http_client::{HttpClient, Progress};
use lastgood::{Clock, Error, Reason, Timestamp};
use tokio::sync::Semaphore;

use super::client::{client, public_request, read};
use super::error::UpstreamError;
use super::{BaseUrl, Options, own_name, unanswered};
use crate::budget::bounds::USUAL_PAUSE;

/// The most questions under way at once; the next waits, or is refused with a time to come back.
const MOST_AT_ONCE: usize = 4;
const PATIENCE: Duration = Duration::from_secs(3);
/// More than any such answer has.
const LARGEST_ANSWER: usize = 4 << 20;
/// A site that names a longer pause is asked again all the same.
const LONGEST_PAUSE: Duration = Duration::from_secs(3_600);

/// Asks a site besides the exchange, such as that of the fear & greed index: asked a little at a time, with a pause when it
/// asks for one.
pub struct SiteClient {
    name: String,
    host: BaseUrl,
    client: HttpClient,
    clock: Clock,
    places: Arc<Semaphore>,
    backing_off_until: Mutex<Timestamp>,
    condition: Condition,
}

impl SiteClient {
    /// The site at `host`; of `options` only the connection timeout matters.
    ///
    /// # Errors
    ///
    /// When the system's certificate authorities cannot be read.
    pub fn new(host: BaseUrl, options: &Options, clock: &Clock) -> Result<SiteClient, UpstreamError> {
        Ok(SiteClient {
            name: own_name(&host),
            condition: Condition::new("source", host.name(), clock.clone()),
            host,
            client: client(options.connect_timeout, &options.proxies)?,
            clock: clock.clone(),
            places: Arc::new(Semaphore::new(MOST_AT_ONCE)),
            backing_off_until: Mutex::new(Timestamp::EPOCH),
        })
    }

    /// How it answers.
    pub fn condition(&self) -> &Condition {
        &self.condition
    }

    /// Its host, with its port where that is not the scheme's own.
    pub fn host(&self) -> &str {
        self.host.name()
    }

    /// What distinguishes it from other sites, in keys.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Until when we back off from it, if we do.
    pub fn stopped(&self) -> Option<Timestamp> {
        let until = *self.backing_off_until.lock().unwrap_or_else(PoisonError::into_inner);
        (until > self.clock.now()).then_some(until)
    }

    /// What `read` makes of the answer to `target`, a path and query.
    ///
    /// # Errors
    ///
    /// When there is none: the site cannot be reached, answers with another status than 200, or has asked for a pause; and
    /// those of `read`.
    pub async fn get<T>(&self, target: &str, read: impl FnOnce(Bytes) -> Result<T, Error>) -> Result<T, Error> {
        let part = target.split('?').next().unwrap_or_default();
        if let Some(until) = self.stopped() {
            let refused = Err(self.pause(until.since(self.clock.now())));
            self.condition.ended(part, &refused);
            return refused;
        }
        let progress = Progress::default();
        let seen = progress.clone();
        let load = self.condition.begin(part).late_because(move || seen.stage().late());
        let answer = self.fetch(target, &progress).await.and_then(read);
        load.ended(&answer);
        answer
    }

    fn pause(&self, wait: Duration) -> Error {
        let message = format!("backing off from {}, as it asked", self.host());
        Error::new(Reason::RateLimited, message).with_retry_after(wait)
    }

    async fn fetch(&self, target: &str, progress: &Progress) -> Result<Bytes, Error> {
        let host = self.host();
        let place = tokio::time::timeout(PATIENCE, self.places.acquire()).await;
        let Ok(Ok(_place)) = place else {
            return Err(Error::new(Reason::Overloaded, format!("too many requests to {host} are under way already")));
        };
        let request = public_request(&self.host, target, false, None)
            .map_err(|why| Error::new(Reason::Unreachable, format!("not a request that can be sent: {why}")))?;
        let response = self.client.send_with(request, progress).await.map_err(|why| unanswered::error(host, why))?;
        let fetched = read(response, LARGEST_ANSWER, self.clock.now()).await?;
        match fetched.status {
            200 => Ok(fetched.body),
            403 | 418 | 429 => {
                let wait = fetched.retry_after.unwrap_or(USUAL_PAUSE).min(LONGEST_PAUSE);
                *self.backing_off_until.lock().unwrap_or_else(PoisonError::into_inner) = self.clock.now().plus(wait);
                Err(self.pause(wait))
            }
            status => Err(Error::new(Reason::Upstream, format!("{host} answered {status}"))),
        }
    }
}
