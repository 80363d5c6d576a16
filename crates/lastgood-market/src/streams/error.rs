//! Why streams end, or do not begin.

use std::error::Error;
use std::fmt;

use lastgood::http_client::NoTls;
use tokio_tungstenite::tungstenite;

use super::session::SILENCE;

/// Why there is no connection, or no longer one.
#[derive(Debug)]
pub(super) enum StreamError {
    /// The host and the path make no address.
    Address(http::uri::InvalidUri),
    /// No TLS can be spoken here.
    Tls(NoTls),
    /// The host, or the proxy that leads there, cannot be reached.
    Unreachable(Box<dyn Error + Send + Sync>),
    /// The exchange did not let us in, or the connection broke.
    WebSocket(Box<tungstenite::Error>),
    /// It took too long to connect.
    Late,
    /// It took too long to send.
    Stuck,
    /// The exchange closed the connection.
    Closed,
    /// Nothing comes on the subscriptions.
    Silent,
    /// Nothing comes on the connection that was to take over.
    SuccessorSilent,
}

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(why) => why.fmt(f),
            Self::Tls(why) => why.fmt(f),
            Self::Unreachable(why) => write!(f, "{}", innermost(&**why)),
            Self::WebSocket(why) => match &**why {
                tungstenite::Error::Http(answer) => write!(f, "the exchange answered {}", answer.status().as_u16()),
                why => why.fmt(f),
            },
            Self::Late => f.write_str("no connection in time"),
            Self::Stuck => f.write_str("nothing can be sent"),
            Self::Closed => f.write_str("closed by the exchange"),
            Self::Silent => write!(f, "subscribed but silent for {} s", SILENCE.as_secs()),
            Self::SuccessorSilent => f.write_str("the new connection delivers nothing"),
        }
    }
}

impl Error for StreamError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            // Displayed, it says what these say.
            Self::Address(why) => why.source(),
            Self::Tls(why) => why.source(),
            // The cause that says most is displayed; the whole chain is here.
            Self::Unreachable(why) => Some(&**why),
            // Displayed, tungstenite's errors say what their sources say.
            Self::WebSocket(_) => None,
            Self::Late | Self::Stuck | Self::Closed | Self::Silent | Self::SuccessorSilent => None,
        }
    }
}

impl From<tungstenite::Error> for StreamError {
    fn from(why: tungstenite::Error) -> Self {
        match why {
            tungstenite::Error::ConnectionClosed => Self::Closed,
            why => Self::WebSocket(Box::new(why)),
        }
    }
}

/// The cause that says most: the outer ones only say that connecting failed.
fn innermost<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    let mut innermost = error;
    while let Some(inner) = innermost.source() {
        innermost = inner;
    }
    innermost
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn what_passes_on_another_error_says_it_once() {
        let address = "http://[".parse::<http::Uri>().unwrap_err();
        for error in [
            StreamError::Address(address),
            StreamError::Tls(NoTls::Authorities(io::Error::other("no such folder"))),
            StreamError::WebSocket(Box::new(tungstenite::Error::AttackAttempt)),
            StreamError::WebSocket(Box::new(tungstenite::Error::Io(io::Error::other("it is gone")))),
            StreamError::Late,
        ] {
            lastgood_testing::says_each_part_once(&error);
        }
    }

    #[test]
    fn a_refusal_is_reported_by_its_status() {
        let answer = http::Response::builder().status(418).body(None).unwrap();
        let why = StreamError::from(tungstenite::Error::Http(Box::new(answer)));
        assert_eq!(why.to_string(), "the exchange answered 418");
    }

    #[test]
    fn an_unreachable_host_is_reported_by_the_innermost_cause_and_the_whole_chain_is_kept() {
        let refused = io::Error::new(io::ErrorKind::ConnectionRefused, "connection refused");
        let why = StreamError::Unreachable(Box::new(tungstenite::Error::Io(refused)));
        assert_eq!(why.to_string(), "connection refused");
        assert!(why.source().is_some_and(|source| source.is::<tungstenite::Error>()));
    }
}
