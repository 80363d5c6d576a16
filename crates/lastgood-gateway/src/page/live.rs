//! `GET /page/live`: what the page shows, once a second, as server-sent events.
//!
//! One task computes an event while somebody looks, and all open pages are sent the same bytes: a hundred pages cost what
//! one does. A page that reads slowly misses events and queues none.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use http::header::{CACHE_CONTROL, RETRY_AFTER};
use http::{HeaderName, HeaderValue, StatusCode};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{MissedTickBehavior, interval};

use super::{Page, moment};
use crate::app::App;
use crate::cache_api::caller::Caller;
use crate::problem::{Answered, problem};
use crate::response::headed;

/// Pages that may be open at once.
const MOST_PAGES: usize = 256;
const EVERY: Duration = Duration::from_secs(1);
const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");

/// The message sent to every page.
#[derive(Clone, Debug, Default)]
enum Sent {
    /// No current event: no page has been open for a while.
    #[default]
    Nothing,
    Event(Bytes),
    /// The gateway stops.
    End,
}

/// The event that all pages are sent.
pub(crate) struct Live {
    sent: watch::Sender<Sent>,
    places: Arc<Semaphore>,
    opened: Notify,
}

impl Default for Live {
    fn default() -> Live {
        let places = Arc::new(Semaphore::new(MOST_PAGES));
        Live { sent: watch::Sender::default(), places, opened: Notify::new() }
    }
}

impl Live {
    /// A stream of events; `None` where too many pages are open.
    fn open(&self) -> Option<Reading> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        let mut sent = self.sent.subscribe();
        // What was sent last is the first event.
        sent.mark_changed();
        self.opened.notify_one();
        Some(Reading { sent, _place: place })
    }

    /// Waits until a page is open.
    async fn is_open(&self) {
        while self.sent.receiver_count() == 0 {
            self.send(Sent::Nothing);
            self.opened.notified().await;
        }
    }

    fn send(&self, next: Sent) {
        self.sent.send_if_modified(|last| {
            let goes_on = !matches!(last, Sent::End);
            if goes_on {
                *last = next;
            }
            goes_on
        });
    }

    /// Ends all streams, so that the gateway need not wait for pages that stay open.
    pub(crate) fn end(&self) {
        self.send(Sent::End);
    }
}

/// The stream of one page.
struct Reading {
    sent: watch::Receiver<Sent>,
    _place: OwnedSemaphorePermit,
}

impl Reading {
    async fn next(mut self) -> Option<(Result<Bytes, Infallible>, Reading)> {
        loop {
            self.sent.changed().await.ok()?;
            let sent = self.sent.borrow_and_update().clone();
            match sent {
                Sent::Nothing => {}
                Sent::Event(event) => return Some((Ok(event), self)),
                Sent::End => return None,
            }
        }
    }
}

pub(crate) async fn live(Extension(page): Extension<Arc<Page>>, _: Caller) -> Answered {
    let Some(reading) = page.live.open() else {
        let detail = format!("{MOST_PAGES} pages are open, which is the most; close one.");
        let mut refusal = problem(StatusCode::SERVICE_UNAVAILABLE, &detail);
        refusal.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("10"));
        return Err(refusal.into());
    };
    let body = Body::from_stream(stream::unfold(reading, Reading::next));
    let mut response = headed(StatusCode::OK, EVENTS, body);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // A reverse proxy would wait for more.
    response.headers_mut().insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    Ok(response)
}

/// Computes the events, until the task is dropped; nothing while no page is open.
pub(crate) async fn keep(app: Arc<App>, page: Arc<Page>) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        page.live.is_open().await;
        ticks.tick().await;
        page.live.send(Sent::Event(moment::event(&app, &page)));
    }
}
