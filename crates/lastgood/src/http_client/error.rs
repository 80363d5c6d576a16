//! Why there is no answer, and why there can be no client.

use std::error::Error;
use std::{fmt, io};

use hyper_util::client::legacy;

use crate::proxy::{NotAllowed, ProxyFailure, Unresolved};

/// Why there is no answer. Displayed, it names no URL; it may name hosts and addresses.
#[derive(Debug)]
#[non_exhaustive]
pub enum HttpError {
    /// It did not come in the time that it was given.
    TimedOut,
    /// The proxy leads nowhere.
    Proxy(ProxyFailure),
    /// The name of the host has no address.
    Unresolved(Box<dyn Error + Send + Sync>),
    /// The name of the host has no address that it may lead to.
    NotAllowed,
    /// The two sides do not agree on TLS, such as for want of a certificate that is trusted.
    Tls(rustls::Error),
    /// There is no connection for another reason: it is refused, or not made in time.
    Connect(Box<dyn Error + Send + Sync>),
    /// The request may have been sent, and the connection broke.
    BrokeOff(Box<dyn Error + Send + Sync>),
    /// The answer is larger than it may be.
    TooLarge,
    /// The answer has an encoding that was not asked for.
    Encoding,
    /// The answer cannot be unpacked.
    Damaged,
}

impl HttpError {
    pub(super) fn of(why: legacy::Error) -> HttpError {
        if !why.is_connect() {
            return HttpError::BrokeOff(why.into());
        }
        let mut is_unresolved = false;
        for cause in causes(&why) {
            if let Some(failure) = cause.downcast_ref::<ProxyFailure>() {
                return HttpError::Proxy(failure.clone());
            }
            if let Some(refused) = cause.downcast_ref::<rustls::Error>() {
                return HttpError::Tls(refused.clone());
            }
            if cause.is::<NotAllowed>() {
                return HttpError::NotAllowed;
            }
            is_unresolved |= cause.is::<Unresolved>();
        }
        match is_unresolved {
            true => HttpError::Unresolved(why.into()),
            false => HttpError::Connect(why.into()),
        }
    }

    /// Whether there was no connection, so that nothing was sent.
    pub fn is_unsent(&self) -> bool {
        matches!(self, Self::Proxy(_) | Self::Unresolved(_) | Self::NotAllowed | Self::Tls(_) | Self::Connect(_))
    }

    /// Whether it took too long, be it only for the connection to be made.
    pub fn is_timeout(&self) -> bool {
        let is_late = |cause: &(dyn Error + 'static)| {
            cause.downcast_ref::<io::Error>().is_some_and(|why| why.kind() == io::ErrorKind::TimedOut)
        };
        match self {
            Self::TimedOut => true,
            Self::Connect(why) | Self::BrokeOff(why) => causes(&**why).any(is_late),
            _ => false,
        }
    }

    /// The innermost cause, which says what happened.
    pub fn cause(&self) -> String {
        causes(self).last().map_or_else(String::new, ToString::to_string)
    }
}

/// An error and its causes.
pub(super) fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&one| {
        // An I/O error passes over the error it holds when it is asked for its source.
        match one.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(held) => Some(held),
            None => one.source(),
        }
    })
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut => f.write_str("no answer in time"),
            Self::Proxy(_) => f.write_str("the proxy does not lead there"),
            Self::Unresolved(_) => f.write_str("the name of the host has no address"),
            Self::NotAllowed => f.write_str("the name of the host leads to no address that it may lead to"),
            Self::Tls(_) => f.write_str("TLS failed"),
            Self::Connect(_) => f.write_str("there is no connection"),
            Self::BrokeOff(_) => f.write_str("the connection broke off"),
            Self::TooLarge => f.write_str("the answer is too large"),
            Self::Encoding => f.write_str("the answer has an encoding that was not asked for"),
            Self::Damaged => f.write_str("the answer's compression is damaged"),
        }
    }
}

impl Error for HttpError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Proxy(failure) => Some(failure),
            Self::Tls(refused) => Some(refused),
            Self::Unresolved(why) | Self::Connect(why) | Self::BrokeOff(why) => Some(&**why),
            Self::TimedOut | Self::NotAllowed | Self::TooLarge | Self::Encoding | Self::Damaged => None,
        }
    }
}

/// Why no TLS can be spoken, and so no client be made.
#[derive(Debug)]
#[non_exhaustive]
pub enum NoTls {
    /// The TLS library refuses its settings.
    Settings(rustls::Error),
    /// The system's certificate authorities cannot be read.
    Authorities(io::Error),
}

impl fmt::Display for NoTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Settings(why) => why.fmt(f),
            Self::Authorities(why) => {
                write!(
                    f,
                    "no connections can be made: No CA certificates can be read ({why}); install ca-certificates, or correct \
                 SSL_CERT_FILE"
                )
            }
        }
    }
}

impl Error for NoTls {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            // Displayed, it says what these say.
            Self::Settings(why) => why.source(),
            Self::Authorities(why) => why.source(),
        }
    }
}
