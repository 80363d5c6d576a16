//! Why a proxy led nowhere.

use std::error::Error;
use std::fmt;

/// Why there is no connection by a proxy. It is the proxy's failure: the destination was not reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyFailure {
    /// The proxy, as `host:port`.
    pub proxy: String,
    /// Where to, as `host:port`.
    pub destination: String,
    pub(super) why: Why,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// It does not answer, or not as a proxy does.
    Unreachable(String),
    /// It asks who we are; whether a user and a password were given.
    Unauthorized { given: bool },
    /// It does not lead there.
    Refused(u16),
    /// It cannot get there itself.
    Failed(u16),
    /// What a SOCKS proxy says.
    Socks(String),
}

impl ProxyFailure {
    /// The failure of a proxy among the causes of an error.
    pub fn among_causes_of<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a ProxyFailure> {
        let mut cause = Some(error);
        while let Some(one) = cause {
            if let Some(failure) = one.downcast_ref::<ProxyFailure>() {
                return Some(failure);
            }
            cause = one.source();
        }
        None
    }

    /// How to fix it.
    pub fn hint(&self) -> &'static str {
        match &self.why {
            Why::Unreachable(_) => {
                "start the proxy, or correct its address in LASTGOOD_PROXY, HTTPS_PROXY or ALL_PROXY; \
                 LASTGOOD_PROXY=off connects directly"
            }
            Why::Unauthorized { given: false } => {
                "give the proxy's user and password in its URL: http://user:password@proxy.example:3128"
            }
            Why::Unauthorized { given: true } => {
                "correct the user and password in the proxy's URL, special characters percent-encoded"
            }
            Why::Refused(_) => {
                "let the proxy allow CONNECT to this host and port, or name the host in NO_PROXY if it is reached directly"
            }
            Why::Failed(_) => "correct the host, or ask the proxy's operator why it cannot reach it",
            Why::Socks(_) => "correct the proxy's address, user and password, or the host",
        }
    }
}

impl fmt::Display for ProxyFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ProxyFailure { proxy, destination, why } = self;
        match why {
            Why::Unreachable(why) => write!(f, "the proxy {proxy} cannot be used: {why}"),
            Why::Unauthorized { given: false } => write!(f, "the proxy {proxy} wants a user and a password"),
            Why::Unauthorized { given: true } => write!(f, "the proxy {proxy} refuses its user and password"),
            Why::Refused(status) => write!(f, "the proxy {proxy} refuses to lead to {destination} ({status})"),
            Why::Failed(status) => write!(f, "the proxy {proxy} cannot reach {destination} ({status})"),
            Why::Socks(why) => write!(f, "the proxy {proxy} does not lead to {destination}: {why}"),
        }
    }
}

impl Error for ProxyFailure {}
