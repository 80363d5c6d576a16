//! Why a request has no answer, in words for a person.

use std::borrow::Cow;
use std::error::Error;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use hyper_util::client::legacy::connect::{CaptureConnection, capture_connection};
use rustls::CertificateError;

use super::HttpError;
use super::error::causes;
use crate::proxy::Unresolved;

impl HttpError {
    /// Why there is no answer, in plain words that may follow "cannot be reached: ". They name no URL, and no host or address
    /// but those of a proxy; [`Error::source`] says the rest.
    pub fn in_words(&self) -> Cow<'static, str> {
        match self {
            Self::TimedOut => "timed out".into(),
            Self::Proxy(failure) => failure.to_string().into(),
            Self::Unresolved(why) => of_name(&**why).into(),
            Self::NotAllowed => "its name leads to no address that it may lead to".into(),
            Self::Tls(refused) => of_tls(refused).into(),
            Self::Connect(why) => of_connection(&**why).unwrap_or("there is no connection").into(),
            Self::BrokeOff(why) => of_broken(&**why).into(),
            Self::TooLarge | Self::Encoding | Self::Damaged => self.to_string().into(),
        }
    }
}

/// The resolver tells its failures apart only by their texts.
fn of_name(why: &(dyn Error + 'static)) -> &'static str {
    /// As glibc and musl call it.
    const NO_RESOLVER: [&str; 2] = ["emporary failure", "Try again"];
    let said = causes(why).find_map(|cause| cause.downcast_ref::<Unresolved>()).map(ToString::to_string);
    match said.is_some_and(|said| NO_RESOLVER.iter().any(|text| said.contains(text))) {
        true => "its name cannot be looked up, because no name server answers",
        false => "its name is not found",
    }
}

fn of_tls(refused: &rustls::Error) -> &'static str {
    use CertificateError as Certificate;
    let rustls::Error::InvalidCertificate(why) = refused else {
        return match refused {
            rustls::Error::InvalidMessage(_) => "it does not speak TLS",
            rustls::Error::AlertReceived(_) => "it refuses TLS with this machine",
            rustls::Error::PeerIncompatible(_) => "it speaks no TLS that this machine speaks",
            _ => "the two sides do not agree on TLS",
        };
    };
    match why {
        Certificate::UnknownIssuer => "its TLS certificate is not trusted",
        Certificate::Expired | Certificate::ExpiredContext { .. } => "its TLS certificate has expired",
        Certificate::NotValidYet | Certificate::NotValidYetContext { .. } => "its TLS certificate is not valid yet",
        Certificate::NotValidForName | Certificate::NotValidForNameContext { .. } => {
            "its TLS certificate is for another name"
        }
        Certificate::Revoked => "its TLS certificate is revoked",
        _ => "its TLS certificate is not valid",
    }
}

fn of_connection(why: &(dyn Error + 'static)) -> Option<&'static str> {
    causes(why).filter_map(|cause| cause.downcast_ref::<io::Error>()).find_map(|why| of_kind(why.kind()))
}

fn of_kind(kind: io::ErrorKind) -> Option<&'static str> {
    match kind {
        io::ErrorKind::ConnectionRefused => Some("the connection is refused"),
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Some("there is no route to it"),
        io::ErrorKind::NetworkDown => Some("the network is down"),
        io::ErrorKind::TimedOut => Some(Stage::Connecting.late()),
        io::ErrorKind::AddrNotAvailable => Some("this machine has no free port or address left for it"),
        io::ErrorKind::PermissionDenied => Some("this machine does not permit the connection"),
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::UnexpectedEof => Some(CLOSED),
        _ => None,
    }
}

const CLOSED: &str = "the connection was closed early";

fn of_broken(why: &(dyn Error + 'static)) -> &'static str {
    if let Some(refused) = causes(why).find_map(|cause| cause.downcast_ref::<rustls::Error>()) {
        return of_tls(refused);
    }
    let hyper = || causes(why).filter_map(|cause| cause.downcast_ref::<hyper::Error>());
    if hyper().any(|why| why.is_parse() && !why.is_incomplete_message()) {
        return "its answer is not HTTP";
    }
    let is_late = |cause: &(dyn Error + 'static)| {
        cause.downcast_ref::<io::Error>().is_some_and(|why| why.kind() == io::ErrorKind::TimedOut)
    };
    if causes(why).any(is_late) { "the connection went dead" } else { CLOSED }
}

/// How far a request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// There is no connection for it yet.
    Connecting,
    /// It has a connection, and its answer has not begun.
    Waiting,
    /// The head of its answer has come.
    Reading,
}

impl Stage {
    /// That its time ran out at this stage.
    pub const fn late(self) -> &'static str {
        match self {
            Stage::Connecting => "timed out while connecting",
            Stage::Waiting => "timed out while waiting for the answer's head",
            Stage::Reading => "timed out while reading the answer's body",
        }
    }

    /// The work that goes on at this stage.
    pub const fn doing(self) -> &'static str {
        match self {
            Stage::Connecting => "connecting",
            Stage::Waiting => "waiting for the answer's head",
            Stage::Reading => "reading the answer's body",
        }
    }
}

/// Says how far a request has come, to who gives it up: [`super::HttpClient::send_with`] moves it on. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<Mutex<Come>>);

#[derive(Debug, Default)]
enum Come {
    #[default]
    NoWay,
    Sent(CaptureConnection),
    Answered,
}

impl Progress {
    /// How far it has come.
    pub fn stage(&self) -> Stage {
        match &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Come::NoWay => Stage::Connecting,
            Come::Sent(connection) if connection.connection_metadata().is_none() => Stage::Connecting,
            Come::Sent(_) => Stage::Waiting,
            Come::Answered => Stage::Reading,
        }
    }

    pub(super) fn sends<B>(&self, request: &mut http::Request<B>) {
        self.is(Come::Sent(capture_connection(request)));
    }

    pub(super) fn answered(&self) {
        self.is(Come::Answered);
    }

    fn is(&self, come: Come) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = come;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_that_is_refused_says_why_and_names_no_host() {
        use rustls::pki_types::{ServerName, UnixTime};
        let at = |seconds| UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
        let name = ServerName::try_from("secret.example").unwrap();
        for (why, words) in [
            (CertificateError::UnknownIssuer, "its TLS certificate is not trusted"),
            (CertificateError::Expired, "its TLS certificate has expired"),
            (CertificateError::ExpiredContext { time: at(2), not_after: at(1) }, "its TLS certificate has expired"),
            (CertificateError::NotValidYet, "its TLS certificate is not valid yet"),
            (
                CertificateError::NotValidForNameContext { expected: name, presented: Vec::new() },
                "its TLS certificate is for another name",
            ),
        ] {
            let error = HttpError::Tls(rustls::Error::InvalidCertificate(why));
            assert_eq!(error.in_words(), words);
        }
    }

    #[test]
    fn what_the_system_says_of_a_connection_is_put_into_words() {
        for (kind, words) in [
            (io::ErrorKind::ConnectionRefused, "the connection is refused"),
            (io::ErrorKind::HostUnreachable, "there is no route to it"),
            (io::ErrorKind::NetworkUnreachable, "there is no route to it"),
            (io::ErrorKind::TimedOut, "timed out while connecting"),
            (io::ErrorKind::UnexpectedEof, "the connection was closed early"),
            (io::ErrorKind::Other, "there is no connection"),
        ] {
            let held = io::Error::new(kind, "https://user:hunter2@host/?apiKey=s3cret");
            assert_eq!(HttpError::Connect(held.into()).in_words(), words);
        }
        let name = |text: &str| HttpError::Unresolved(Box::new(Unresolved(io::Error::other(text.to_owned()))));
        let known = name("failed to lookup address information: Name or service not known");
        assert_eq!(known.in_words(), "its name is not found");
        let away = name("failed to lookup address information: Temporary failure in name resolution");
        assert_eq!(away.in_words(), "its name cannot be looked up, because no name server answers");
    }
}
