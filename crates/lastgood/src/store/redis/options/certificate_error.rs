//! Why certificates cannot be used.

use std::error::Error;
use std::path::PathBuf;
use std::{fmt, io};

use ::redis::RedisError;

/// Why the files that a Redis URL names make no connection over TLS.
#[derive(Debug)]
pub(in crate::store::redis) enum CertificateError {
    /// A file cannot be read.
    Unread(PathBuf, io::Error),
    /// A file holds no certificate in PEM form.
    NoCertificate(PathBuf),
    /// A file holds no private key in PEM form without a password.
    NoKey(PathBuf),
    /// The key is not that of the certificate.
    OtherKey { certificate: PathBuf, key: PathBuf },
    /// Certificate and key are of no use together.
    Unusable { certificate: PathBuf, key: PathBuf, why: ::rustls::Error },
    /// The client for Redis does not take them.
    Refused(RedisError),
}

impl fmt::Display for CertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CertificateError::Unread(path, _) => write!(f, "{} cannot be read", path.display()),
            CertificateError::NoCertificate(path) => {
                write!(f, "{} holds no certificate in PEM form", path.display())
            }
            CertificateError::NoKey(path) => {
                write!(f, "{} holds no private key in PEM form without a password", path.display())
            }
            CertificateError::OtherKey { certificate, key } => {
                let (certificate, key) = (certificate.display(), key.display());
                write!(f, "the key in {key} is not that of the certificate in {certificate}")
            }
            CertificateError::Unusable { certificate, key, .. } => {
                write!(f, "{} and {} cannot be used", certificate.display(), key.display())
            }
            CertificateError::Refused(why) => why.fmt(f),
        }
    }
}

impl Error for CertificateError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            CertificateError::Unread(_, why) => Some(why),
            CertificateError::Unusable { why, .. } => Some(why),
            // Displayed, it says what this and its source say.
            CertificateError::Refused(_) => None,
            CertificateError::NoCertificate(_) | CertificateError::NoKey(_) | CertificateError::OtherKey { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use lastgood_testing::says_each_part_once;

    use super::*;

    #[test]
    fn each_says_each_part_once() {
        let path = || PathBuf::from("client.pem");
        for error in [
            CertificateError::Unread(path(), io::Error::other("no such file")),
            CertificateError::NoCertificate(path()),
            CertificateError::NoKey(path()),
            CertificateError::OtherKey { certificate: path(), key: path() },
            CertificateError::Unusable {
                certificate: path(),
                key: path(),
                why: ::rustls::Error::General("a key of a kind that is not known".to_owned()),
            },
            CertificateError::Refused(RedisError::from(io::Error::other("not this one"))),
        ] {
            says_each_part_once(&error);
        }
    }
}
