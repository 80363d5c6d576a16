//! Why upstreams cannot be made of their options.

use std::error::Error;
use std::{fmt, io};

use super::exchange::Mixed;

/// Why upstreams cannot be made of their options.
#[derive(Debug)]
#[non_exhaustive]
pub enum UpstreamError {
    /// The hosts of one venue are known to be of different exchanges.
    Mixed(Mixed),
    /// The TLS library refuses its settings.
    Tls(rustls::Error),
    /// The system's certificate authorities cannot be read.
    Authorities(io::Error),
}

impl fmt::Display for UpstreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mixed(why) => why.fmt(f),
            Self::Tls(why) => why.fmt(f),
            Self::Authorities(why) => {
                write!(f, "the system's certificate authorities cannot be read: {why}; install ca-certificates")
            }
        }
    }
}

impl Error for UpstreamError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Mixed(why) => Some(why),
            Self::Tls(why) => Some(why),
            Self::Authorities(why) => Some(why),
        }
    }
}

impl From<Mixed> for UpstreamError {
    fn from(why: Mixed) -> Self {
        Self::Mixed(why)
    }
}
