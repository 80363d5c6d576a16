//! Why there is no answer, or no fresh one.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::entry::Value;

/// Why a source gave no usable answer. Metric label, header detail and log field come from [`Reason::as_str`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// The source answered that there is no such thing, or that the question is wrong. Cached for `negative_for`.
    NotFound,
    /// The source could not be reached, or broke off.
    Unreachable,
    /// The source did not answer within the hard timeout.
    TimedOut,
    /// The source is slower than the soft timeout; the load goes on behind.
    Slow,
    /// The source answered with an error of its own (5xx).
    Upstream,
    /// The source answered something that is not what was asked for: empty, truncated, an error page.
    Malformed,
    /// The source answered with something older than the kept answer, as a replica does that lags behind.
    Outdated,
    /// The source asks us to wait (429).
    RateLimited,
    /// The source has banned us for a time (418).
    Banned,
    /// A firewall in front of the source refused us (403). It says nothing about limits, and names no time.
    Firewall,
    /// Too many loads are under way already; this one was not begun.
    Overloaded,
    /// The loader panicked.
    Panicked,
    /// The load ended without an answer, as when the program stops.
    Abandoned,
    /// The store holds something under the key that is no entry, as where another program wrote there. There is no source to ask.
    Unreadable,
    /// A load failed a moment ago and is not repeated yet.
    Throttled,
    /// The load yielded before it asked, which says nothing of the source. It leaves no backoff, and its waiters load
    /// for themselves.
    Yielded,
}

impl Reason {
    /// Every reason, for metrics that want to exist before they happen.
    pub const ALL: [Reason; 16] = [
        Reason::NotFound,
        Reason::Unreachable,
        Reason::TimedOut,
        Reason::Slow,
        Reason::Upstream,
        Reason::Malformed,
        Reason::Outdated,
        Reason::RateLimited,
        Reason::Banned,
        Reason::Firewall,
        Reason::Overloaded,
        Reason::Panicked,
        Reason::Abandoned,
        Reason::Unreadable,
        Reason::Throttled,
        Reason::Yielded,
    ];

    /// The word for headers, labels and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Reason::NotFound => "not-found",
            Reason::Unreachable => "unreachable",
            Reason::TimedOut => "timed-out",
            Reason::Slow => "slow",
            Reason::Upstream => "upstream-error",
            Reason::Malformed => "malformed",
            Reason::Outdated => "outdated",
            Reason::RateLimited => "rate-limited",
            Reason::Banned => "banned",
            Reason::Firewall => "firewall",
            Reason::Overloaded => "overloaded",
            Reason::Panicked => "panicked",
            Reason::Abandoned => "abandoned",
            Reason::Unreadable => "unreadable",
            Reason::Throttled => "throttled",
            Reason::Yielded => "yielded",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A load that failed, or the answer to a read for which there is neither a fresh value nor a last good one.
///
/// The cache itself causes none of these: a store that fails is a miss, never an error.
#[derive(Clone, Debug)]
pub struct Error {
    /// Why.
    pub reason: Reason,
    /// For a person; names no secret.
    pub message: String,
    /// What the message leaves out because a client may read it, such as the address or the source's own words. For the
    /// log alone; names no secret.
    pub detail: Option<String>,
    /// The source's own error answer, where it gave one that a caller may be shown.
    pub answer: Option<Box<Value>>,
    /// How long a pause the source asks for. Loads of the key wait at least that long.
    pub retry_after: Option<Duration>,
    /// Whether this was remembered from an earlier load rather than caused by one for this read.
    pub remembered: bool,
    /// The loader's own error, where it failed with one: what [`std::error::Error::source`] gives.
    pub(crate) source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error for `reason` with a message for a person.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Error {
            reason,
            message: message.into(),
            detail: None,
            answer: None,
            retry_after: None,
            remembered: false,
            source: None,
        }
    }

    /// Adds the error behind this one, for the log and for [`std::error::Error::source`]; what it says becomes the
    /// detail where there is none yet.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        let source: Arc<dyn std::error::Error + Send + Sync> = source.into().into();
        self.detail.get_or_insert_with(|| error_chain(&*source));
        self.source = Some(source);
        self
    }

    /// Adds what only the log may say.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// The same error for another reason.
    #[must_use]
    pub fn with_reason(self, reason: Reason) -> Self {
        Error { reason, ..self }
    }

    /// Adds the source's own error answer.
    #[must_use]
    pub fn with_answer(mut self, answer: Value) -> Self {
        self.answer = Some(Box::new(answer));
        self
    }

    /// Adds how long a pause the source asks for.
    #[must_use]
    pub fn with_retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason, self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// What an error and those behind it say, in one line: what an error of this library displays is its own part, and its source
/// says the rest.
pub fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text.push_str(": ");
        text.push_str(&error.to_string());
        next = error.source();
    }
    text
}

/// What a loader fails with: any error, so that `?` works in it.
///
/// An [`Error`] stays as it is, with its reason. Any other becomes one of [`Reason::Upstream`] that has it as its source.
/// What it says is for the log alone ([`Error::detail`]), because callers may show an error's message to their clients.
/// A boxed error is no error itself, so it takes `.map_err(LoadError::boxed)?`, as does one of `anyhow`.
///
/// ```
/// use bytes::Bytes;
/// use lastgood::{LoadError, Loaded};
///
/// async fn price() -> Result<Loaded, LoadError> {
///     let price: f64 = "94000.1".parse()?;
///     Ok(Loaded::from(Bytes::from(price.to_string())))
/// }
/// ```
pub struct LoadError(Box<Error>);

impl LoadError {
    /// As `?` does, of a boxed error, and of what can be boxed as one.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use lastgood::{LoadError, Loaded};
    ///
    /// fn read() -> Result<Bytes, Box<dyn std::error::Error + Send + Sync>> {
    ///     Ok(Bytes::from_static(b"94000.1"))
    /// }
    ///
    /// async fn price() -> Result<Loaded, LoadError> {
    ///     Ok(Loaded::from(read().map_err(LoadError::boxed)?))
    /// }
    /// ```
    pub fn boxed(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> LoadError {
        LoadError(
            error
                .into()
                .downcast()
                .unwrap_or_else(|other| Box::new(Error::new(Reason::Upstream, "the source failed").with_source(other))),
        )
    }

    /// The cache's error.
    pub fn into_error(self) -> Error {
        *self.0
    }
}

/// The load, failing with the cache's error.
pub(crate) async fn own_error<T>(load: impl Future<Output = Result<T, LoadError>>) -> Result<T, Error> {
    load.await.map_err(LoadError::into_error)
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for LoadError {
    fn from(error: E) -> Self {
        LoadError::boxed(error)
    }
}

impl fmt::Debug for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A cache or region that cannot be built as asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildError(pub(crate) String);

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BuildError {}

#[cfg(test)]
mod tests {
    use std::io;

    use lastgood_testing::says_each_part_once;

    use super::*;
    use crate::entry::Loaded;

    fn refused() -> io::Error {
        io::Error::new(io::ErrorKind::ConnectionRefused, "no one is there")
    }

    #[test]
    fn a_loader_fails_with_a_boxed_error_as_with_any_other() {
        let boxed = || -> Result<(), Box<dyn std::error::Error + Send + Sync>> { Err(refused().into()) };
        let load = || -> Result<Loaded, LoadError> {
            boxed().map_err(LoadError::boxed)?;
            Ok(Loaded::default())
        };
        let error = load().unwrap_err().into_error();
        assert_eq!((error.reason, error.detail.as_deref()), (Reason::Upstream, Some("no one is there")));
        assert!(std::error::Error::source(&error).is_some_and(|source| source.is::<io::Error>()));
        let own = LoadError::boxed(Error::new(Reason::NotFound, "no such coin")).into_error();
        assert_eq!(own.reason, Reason::NotFound, "its own error stays what it is");
        assert_eq!(LoadError::boxed("a text").into_error().detail.as_deref(), Some("a text"));
    }

    #[test]
    fn an_error_and_its_source_say_each_part_once() {
        let error = LoadError::from(refused()).into_error();
        says_each_part_once(&error);
        assert_eq!(error_chain(&error), "upstream-error: the source failed: no one is there");
        says_each_part_once(&BuildError("no".to_owned()));
    }
}
