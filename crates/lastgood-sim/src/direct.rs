//! Questions asked in process, without a network.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};

use crate::counters::LoggedRequest;
use crate::faults::FaultKind;
use crate::server::{self, Asked, Made};
use crate::{Lie, Sim, lies};

/// A GET request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SimRequest<'a> {
    /// The path, such as `/api/v3/klines`.
    pub path: &'a str,
    /// The query, not decoded.
    pub query: &'a str,
    /// Whether spot's times are wanted in microseconds.
    pub micros: bool,
}

impl<'a> SimRequest<'a> {
    /// A request for `path?query`.
    pub fn of(target: &'a str) -> SimRequest<'a> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        SimRequest { path, query, micros: false }
    }
}

/// An answer, as far as clients look at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimAnswer {
    /// The status.
    pub status: u16,
    /// The content type.
    pub content_type: &'static str,
    /// `Retry-After`, in seconds.
    pub retry_after: Option<u64>,
    /// The weight used in this minute.
    pub used_weight: u32,
    /// The body.
    pub body: Bytes,
}

impl Sim {
    /// What a GET request is answered over HTTP: counted, limited and struck by faults like any other. Faults of the
    /// connection (late, hanging, reset and truncated answers) have no meaning here and are passed over.
    pub fn answer(&self, request: SimRequest<'_>) -> SimAnswer {
        let faults = self.state.faults.strike(request.path);
        with_asked(request, |asked| {
            self.state.counters().remember(LoggedRequest::new(asked.method, asked.path, asked.query, asked.headers));
            let made = server::faulty(&self.state, &faults, asked);
            let made = made.unwrap_or_else(|| server::made(&self.state, &faults, asked));
            self.state.counters().count_status(made.status);
            let answer = self.finished(made);
            match faults.contains(&FaultKind::WrongContentType) {
                true => SimAnswer { content_type: "text/plain", ..answer },
                false => answer,
            }
        })
    }

    /// The true answer of this moment: no limit, no fault, and it is not counted.
    pub fn honest(&self, request: SimRequest<'_>) -> SimAnswer {
        self.honest_at(request, self.now())
    }

    /// The true answer as of `now`, in milliseconds since the epoch.
    pub fn honest_at(&self, request: SimRequest<'_>, now: u64) -> SimAnswer {
        with_asked(request, |asked| {
            let venue = server::venue_of(asked.path, asked.query);
            let (status, body) = match server::public(&self.state, &self.state.catalogue, asked, now, &[]) {
                Ok(body) => (200, body),
                Err(error) => (error.status, error.body().into()),
            };
            self.finished(Made { status, content_type: server::JSON, body, venue, retry_after: None })
        })
    }

    /// The answer of this moment as `lie` changes it; nothing where the lie does not apply. It is not counted.
    pub fn lie(&self, lie: Lie, seed: u64, request: SimRequest<'_>) -> Option<Bytes> {
        with_asked(request, |asked| lies::changed(&self.state, lie, seed, asked)).map(Bytes::from)
    }

    fn finished(&self, made: Made) -> SimAnswer {
        let used_weight = self.state.limits(made.venue).used(self.now());
        let Made { status, content_type, retry_after, .. } = made;
        SimAnswer { status, content_type, retry_after, used_weight, body: made.body.plain() }
    }
}

fn with_asked<T>(request: SimRequest<'_>, answer: impl FnOnce(&Asked<'_>) -> T) -> T {
    let mut headers = HeaderMap::new();
    if request.micros {
        headers.insert("x-mbx-time-unit", HeaderValue::from_static("MICROSECOND"));
    }
    let (method, body) = (Method::GET, Bytes::new());
    answer(&Asked { method: &method, path: request.path, query: request.query, headers: &headers, body: &body })
}
