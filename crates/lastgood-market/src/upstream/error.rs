//! Why upstreams cannot be made of their options.

use std::error::Error;
use std::fmt;

use lastgood::http_client::NoTls;

use super::exchange::Mixed;

/// Why upstreams cannot be made of their options.
#[derive(Debug)]
#[non_exhaustive]
pub enum UpstreamError {
    /// The hosts of one venue are known to be of different exchanges.
    Mixed(Mixed),
    /// No TLS can be spoken.
    Tls(NoTls),
}

impl fmt::Display for UpstreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mixed(why) => why.fmt(f),
            Self::Tls(why) => why.fmt(f),
        }
    }
}

impl Error for UpstreamError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Mixed(why) => why.source(),
            Self::Tls(why) => why.source(),
        }
    }
}

impl From<Mixed> for UpstreamError {
    fn from(why: Mixed) -> Self {
        Self::Mixed(why)
    }
}

impl From<NoTls> for UpstreamError {
    fn from(why: NoTls) -> Self {
        Self::Tls(why)
    }
}
